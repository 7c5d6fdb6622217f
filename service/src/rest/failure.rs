//! From a failure to an answer: status, headers and the JSON that all failures share.

use super::json;
use crate::callers::Stranger;
use crate::errors;
use crate::telemetry::Outcome;
use axum::response::Response;
use http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use std::time::Duration;
use tonic::Code;
use twinlock_core::{Malformed, Reason};
use twinlock_engine::Error;
use twinlock_proto::code_name;

/// Why a call failed.
pub struct Failure {
    status: StatusCode,
    code: Code,
    /// None for what went wrong inside.
    reason: Option<Reason>,
    message: String,
    retry_after: Option<Duration>,
    field: Option<String>,
    header: Option<Box<(HeaderName, HeaderValue)>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'f> {
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    message: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'f str>,
}

impl Failure {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        let (code, status) = errors::statuses(reason);
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            reason: Some(reason),
            message: message.into(),
            retry_after: None,
            field: None,
            header: None,
        }
    }

    /// What went wrong inside; its cause is in the log.
    pub fn internal() -> Self {
        Self::from(&Error::Internal("an answer could not be written"))
    }

    /// No call has this path.
    pub fn no_route() -> Self {
        let message = "There is nothing at this path. GET /openapi.json lists what there is.";
        Self { status: StatusCode::NOT_FOUND, ..Self::new(Reason::InvalidRequest, message) }
    }

    /// Calls with this path have other methods.
    pub fn no_method(others: &[Method]) -> Self {
        let others = others.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        let header = HeaderValue::from_str(&others).ok().map(|allowed| Box::new((ALLOW, allowed)));
        let message = format!("This path does not know the method. It knows: {others}.");
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            header,
            ..Self::new(Reason::InvalidRequest, message)
        }
    }

    /// A request that HTTP has a status of its own for. What follows of it is not read, so the
    /// connection ends with the answer.
    pub fn unread(status: StatusCode, message: impl Into<String>) -> Self {
        let header = Some(Box::new((CONNECTION, HeaderValue::from_static("close"))));
        Self { status, header, ..Self::new(Reason::InvalidRequest, message) }
    }

    /// A request that is refused for its form, with the field at fault where there is one.
    pub fn invalid(message: impl Into<String>, field: Option<String>) -> Self {
        Self { field, ..Self::new(Reason::InvalidRequest, message) }
    }

    /// A body that is not JSON by its own word.
    pub fn unsupported_type() -> Self {
        let message = "Send the body as JSON, with the header `Content-Type: application/json`.";
        Self::unread(StatusCode::UNSUPPORTED_MEDIA_TYPE, message)
    }

    /// An administrator's call that does not say whose it is.
    pub fn no_administrator() -> Self {
        let message = "Name the administrator in the header `Twinlock-Admin`.";
        Self::new(Reason::CallerUnauthenticated, message)
    }

    /// How the call ended, for whoever counts.
    pub fn outcome(&self) -> Outcome {
        self.reason.map_or(Outcome::Code(self.code), Outcome::Reason)
    }

    /// The answer.
    pub fn into_response(self) -> Response {
        let mut response = json(&Written {
            code: code_name(self.code),
            reason: self.reason.map(Reason::as_str),
            message: &self.message,
            retry_after_ms: self.retry_after.map(errors::wait_millis),
            field: self.field.as_deref(),
        });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some((name, value)) = self.header.map(|header| *header) {
            headers.insert(name, value);
        }
        if self.reason == Some(Reason::CallerUnauthenticated) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let is_for_later =
            matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if let Some(wait) = self.retry_after.filter(|_| is_for_later) {
            headers.insert(RETRY_AFTER, whole_seconds(wait).into());
        }
        response
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        errors::log(error);
        if let Some(malformed) = error.malformed() {
            let field = json_name(malformed.field);
            let problem = malformed.problem;
            let message = format!("{field} {problem}. Correct it and call again.");
            return Self { field: Some(field), ..Self::new(malformed.reason(), message) };
        }
        match error.reason() {
            Some(reason) => {
                Self { retry_after: error.retry_after(), ..Self::new(reason, error.message()) }
            }
            None => Self {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                code: Code::Internal,
                reason: None,
                message: error.message(),
                retry_after: None,
                field: None,
                header: None,
            },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::from(&Error::from(malformed))
    }
}

impl From<Stranger> for Failure {
    fn from(stranger: Stranger) -> Self {
        Self::new(stranger.reason(), stranger.to_string())
    }
}

/// A wait in whole seconds, rounded up: RFC 9110 section 10.2.3 has no finer unit.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Where a REST client finds a field: proto3 JSON writes names in lowerCamelCase, and the
/// administrator's id is a header.
fn json_name(field: &str) -> String {
    if field == "admin_user_id" {
        return super::read::ADMINISTRATOR.into();
    }
    let mut name = String::new();
    for word in field.split('_') {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        if name.is_empty() {
            name.push_str(first);
        } else {
            name.push_str(&first.to_ascii_uppercase());
        }
        name.push_str(rest);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlock_core::Refusal;

    #[test]
    fn a_wait_is_rounded_up_and_only_told_where_waiting_is_the_answer() {
        for (millis, seconds) in [(1, "1"), (1000, "1"), (1001, "2"), (3_600_000, "3600")] {
            let retry_after = Duration::from_millis(millis);
            let response = Failure::from(Error::from(Refusal::Backoff { retry_after }));
            let response = response.into_response();
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
            let used = Failure::from(Error::from(Refusal::CodeAlreadyUsed { retry_after }));
            let used = used.into_response();
            assert_eq!(used.status(), 401);
            assert!(!used.headers().contains_key(RETRY_AFTER));
            assert!(!used.headers().contains_key(WWW_AUTHENTICATE), "no token would help");
        }
    }

    #[test]
    fn fields_are_named_as_a_client_wrote_them() {
        for (field, name) in [
            ("totp_code", "totpCode"),
            ("recovery_key_create_time", "recoveryKeyCreateTime"),
            ("channel", "channel"),
            ("admin_user_id", "Twinlock-Admin"),
        ] {
            assert_eq!(json_name(field), name);
        }
    }

    #[test]
    fn what_goes_wrong_inside_has_no_reason() {
        let response = Failure::internal().into_response();
        assert_eq!(response.status(), 500);
    }
}
