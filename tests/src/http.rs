//! HTTP/1.1 as any program speaks it.

use crate::Server;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::time::Duration;

/// How long a connection may have been idle and still be used.
const IDLE: Duration = Duration::from_secs(10);

/// A client with connections that it keeps alive.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
    address: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Http {
    /// A client of a server.
    pub fn new(server: &Server) -> Self {
        // The server ends a connection that is idle for half a minute, perhaps just when a call begins.
        let client = Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build_http();
        Self { client, address: server.address.clone() }
    }

    /// Sends a request with these headers and bytes.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let (head, body) = self.begin(method, path, headers, body).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// Sends a request, and gives the status without waiting for the end of the answer, which may have none.
    pub async fn status(&self, method: &str, path: &str) -> Result<u16> {
        let json = [("content-type", "application/json")];
        Ok(self.begin(method, path, &json, "{}").await?.status().as_u16())
    }

    async fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(self.address.clone() + path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(self.client.request(request.body(Full::new(body.into()))?).await?)
    }

    /// Sends JSON, and checks what every answer of the API must be like.
    pub async fn json(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> Result<Answer> {
        let headers = [&[("content-type", "application/json")], headers].concat();
        let answer = self.send(method, path, &headers, body.to_string()).await?;
        answer.check().with_context(|| format!("{answer:?}"))?;
        Ok(answer)
    }
}

impl Answer {
    /// A header as text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; null where it is none.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The reason of a failure.
    pub fn reason(&self) -> String {
        self.value()["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Checks what every answer of the API must be like.
    pub fn check(&self) -> Result<()> {
        ensure!(self.header("cache-control") == "no-store", "it may be kept");
        let dates: Vec<_> = self.headers.get_all("date").iter().collect();
        ensure!(
            matches!(dates[..], [date] if date.as_bytes().ends_with(b" GMT")),
            "it does not say when it was made, or more than once"
        );
        let allows = self.headers.keys().find(|name| name.as_str().starts_with("access-control"));
        ensure!(allows.is_none(), "it lets pages in a browser read it");
        if self.status == 204 {
            ensure!(self.body.is_empty(), "it has nothing to say and says something");
            return Ok(());
        }
        ensure!(
            self.header("content-type") == "application/json",
            "it does not say that it is JSON"
        );
        ensure!(self.value().is_object(), "it is no JSON object");
        if self.status >= 400 {
            let value = self.value();
            for name in ["code", "reason", "message"] {
                ensure!(value[name].is_string(), "it has no {name}");
            }
        }
        Ok(())
    }
}

/// A text in percent-encoding, with nothing left that could mean anything else.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
