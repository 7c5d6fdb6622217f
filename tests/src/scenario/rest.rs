//! The REST interface, over HTTP/1.1. It checks every answer against the server's own OpenAPI document.

use super::{Reach, Refusal, Runner, Scenario};
use crate::Server;
use crate::http::{Answer, Http, encode};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Where the calls are.
const PATHS: [(&str, &str, &str); 16] = [
    ("Enroll", "POST", "/v1/users/{user_id}/enrollment"),
    ("ConfirmEnrollment", "POST", "/v1/users/{user_id}/enrollment/confirm"),
    ("Unenroll", "DELETE", "/v1/users/{user_id}/enrollment"),
    ("DescribeUser", "GET", "/v1/users/{user_id}"),
    ("EvaluateLogin", "POST", "/v1/users/{user_id}/login"),
    ("Verify", "POST", "/v1/users/{user_id}/verify"),
    ("Elevate", "POST", "/v1/users/{user_id}/elevation"),
    ("CheckElevation", "POST", "/v1/users/{user_id}/elevation/check"),
    ("DropElevation", "DELETE", "/v1/users/{user_id}/elevation"),
    ("RotateRecoveryKey", "POST", "/v1/users/{user_id}/recovery-key"),
    ("AcknowledgeRecoveryKey", "POST", "/v1/users/{user_id}/recovery-key/acknowledge"),
    ("SetPassword", "PUT", "/v1/users/{user_id}/password"),
    ("ClearPassword", "DELETE", "/v1/users/{user_id}/password"),
    ("UnenrollUser", "DELETE", "/v1/admin/users/{user_id}/enrollment"),
    ("ClearBackoff", "DELETE", "/v1/admin/users/{user_id}/backoff"),
    ("ImportEnrollment", "POST", "/v1/admin/users/{user_id}/import"),
];

/// A client of a server, and what the server says of itself.
#[derive(Clone)]
pub struct Rest {
    http: Http,
    document: Arc<Value>,
}

impl Rest {
    /// Checks that the document knows of such an answer.
    fn is_documented(&self, verb: &str, path: &str, answer: &Answer) -> Result<()> {
        let operation = &self.document["paths"][path][verb.to_ascii_lowercase()];
        let response = &operation["responses"][answer.status.to_string()];
        ensure!(response.is_object(), "the document has no status {}", answer.status);
        if answer.status >= 400 {
            let reason = json!(answer.reason());
            let reasons = response["x-reasons"].as_array().context("no reasons")?;
            ensure!(reasons.contains(&reason), "the document has no {reason} here");
        }
        Ok(())
    }
}

impl Runner for Rest {
    const NAME: &str = "rest";

    fn reach(scenario: &Scenario) -> Reach {
        let mut methods = scenario.calls().map(|call| &*call.method);
        match methods.find(|method| PATHS.iter().all(|(name, ..)| name != method)) {
            Some(method) => Reach::None(format!("no path for {method}")),
            None => Reach::Whole,
        }
    }

    async fn connect(server: &Server) -> Result<Self> {
        let http = Http::new(server);
        let document = http.send("GET", "/openapi.json", &[], "").await?;
        ensure!(document.status == 200, "{document:?}");
        Ok(Self { http, document: Arc::new(document.value()) })
    }

    async fn call(
        &self,
        name: &str,
        token: Option<&str>,
        mut fields: Map<String, Value>,
    ) -> Result<Result<Value, Refusal>> {
        let found = PATHS.iter().find(|(method, ..)| *method == name);
        let (_, verb, form) = found.with_context(|| format!("REST has no {name}"))?;
        let mut take = |field: &str| match fields.remove(field) {
            Some(Value::String(text)) => Some(encode(&text)),
            _ => None,
        };
        let path = form.replace("{user_id}", &take("userId").context("no user")?);
        let administrator = take("adminUserId");
        let token = token.map(|token| format!("Bearer {token}"));
        let mut headers = Vec::new();
        headers.extend(token.as_deref().map(|token| ("authorization", token)));
        headers.extend(administrator.as_deref().map(|id| ("twinlock-admin", id)));
        let answer = self.http.json(verb, &path, &headers, &Value::Object(fields)).await?;
        let checked = || {
            self.is_documented(verb, form, &answer)?;
            match answer.status {
                200 => Ok(Ok(answer.value())),
                204 => Ok(Ok(json!({}))),
                _ => refusal(&answer).map(Err),
            }
        };
        checked().with_context(|| format!("{answer:?}"))
    }
}

/// What a failure says.
fn refusal(answer: &Answer) -> Result<Refusal> {
    let body = answer.value();
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let reason = text("reason").context("no reason")?;
    let expected = super::Reasons::read()?.find(&reason)?.http;
    ensure!(expected == answer.status, "the status is not {expected}");
    let retry_after = match &body["retryAfterMs"] {
        Value::Null => None,
        millis => Some(Duration::from_millis(millis.as_u64().context("no number")?)),
    };
    let is_for_later = matches!(answer.status, 429 | 503);
    let told = retry_after.filter(|_| is_for_later).map(|wait| wait.as_millis().div_ceil(1000));
    let header = answer.headers.get("retry-after").map(|value| value.to_str()).transpose()?;
    ensure!(header.map(str::to_owned) == told.map(|seconds| seconds.to_string()), "Retry-After");
    let asks_for_token = answer.headers.contains_key("www-authenticate");
    ensure!(asks_for_token == (reason == "CALLER_UNAUTHENTICATED"), "WWW-Authenticate");
    Ok(Refusal {
        code: text("code").context("no code")?,
        reason,
        message: text("message").context("no message")?,
        retry_after,
        fields: text("field").map(|field| proto_name(&field)).into_iter().collect(),
    })
}

/// A field's name in the protobuf files.
fn proto_name(field: &str) -> String {
    if field == "Twinlock-Admin" {
        return "admin_user_id".into();
    }
    let mut name = String::new();
    for character in field.chars() {
        if character.is_uppercase() {
            name.push('_');
        }
        name.extend(character.to_lowercase());
    }
    name
}
