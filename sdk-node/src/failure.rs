//! Failures, as `lib/errors.js` makes errors of them.

use std::time::Duration;

use napi::Either;
use napi_derive::napi;
use twinlock_client::{Error, Family};

/// What a function answers that can fail.
pub type Outcome<T> = Either<T, Failure>;

/// What came of it, without an exception.
pub fn outcome<T, E: Into<Error>>(result: Result<T, E>) -> Outcome<T> {
    match result {
        Ok(answer) => Either::A(answer),
        Err(error) => Either::B(error.into().into()),
    }
}

/// A failed call.
#[napi(object, object_from_js = false)]
pub struct Failure {
    /// The kind of failure, which has a class of its own. Whatever has this field is a failure.
    pub family: &'static str,
    pub reason: String,
    pub code: &'static str,
    pub message: String,
    pub retry_after_ms: Option<f64>,
    pub fields: Vec<String>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let family = match error.family() {
            Family::Proof => "proof",
            Family::Blocked => "blocked",
            Family::Elevation => "elevation",
            Family::State => "state",
            Family::Request => "request",
            Family::Caller => "caller",
            Family::Unavailable => "unavailable",
            _ => "internal",
        };
        Self {
            family,
            code: error.code_name(),
            retry_after_ms: error.retry_after.map(milliseconds),
            fields: error.violations.into_iter().map(|violation| violation.field).collect(),
            reason: error.reason.to_string(),
            message: error.message,
        }
    }
}

/// Rounded up: whoever waits so long has waited long enough.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_nanos().div_ceil(1_000_000) as f64
}
