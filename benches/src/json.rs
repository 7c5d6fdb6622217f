//! Verify as JSON over HTTP/1.1: Twinlock's REST, and what the peers speak, too.

use crate::client::Answer;
use anyhow::Result;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// Connections to one server, one for each call in flight. They stay open.
#[derive(Clone)]
pub struct Connections {
    client: Client<HttpConnector, Full<Bytes>>,
    port: u16,
}

impl Connections {
    /// To a port of loopback; the first calls connect.
    pub fn to(port: u16) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self { client: Client::builder(TokioExecutor::new()).build(connector), port }
    }

    /// Calls Verify with a code.
    pub async fn verify(&self, user: &str, code: &str) -> Result<Answer> {
        let request =
            Request::post(format!("http://127.0.0.1:{}/v1/users/{user}/verify", self.port))
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(Full::from(format!(r#"{{"totpCode":"{code}"}}"#)))?;
        let response = self.client.request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status == StatusCode::OK {
            return Ok(Answer::Success(body));
        }
        let told: Value = serde_json::from_slice(&body).unwrap_or_default();
        let reason = told["reason"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        Ok(Answer::Refused(reason))
    }
}
