//! The one table from reasons to the statuses of gRPC and HTTP, and what else both say of a failure.

use std::time::Duration;
use tonic::Code;
use twinlock_core::Reason;
use twinlock_engine::Error;

/// The gRPC status code and the HTTP status of a reason.
pub const fn statuses(reason: Reason) -> (Code, u16) {
    match reason {
        Reason::InvalidCode | Reason::CodeAlreadyUsed => (Code::Unauthenticated, 401),
        Reason::Backoff | Reason::Locked => (Code::ResourceExhausted, 429),
        Reason::MalformedCode | Reason::InvalidRequest | Reason::RequestIdReused => {
            (Code::InvalidArgument, 400)
        }
        Reason::NotEnrolled
        | Reason::NoPendingEnrollment
        | Reason::SecondFactorRequired
        | Reason::NoPassword
        | Reason::AssertionNotAllowed
        | Reason::AdminNotEnrolled => (Code::FailedPrecondition, 400),
        Reason::ElevationRequired | Reason::SelfUnenroll => (Code::PermissionDenied, 403),
        Reason::UserNotFound => (Code::NotFound, 404),
        Reason::AlreadyEnrolled => (Code::AlreadyExists, 409),
        Reason::CallerUnauthenticated => (Code::Unauthenticated, 401),
        Reason::CallerForbidden => (Code::PermissionDenied, 403),
        Reason::Overloaded | Reason::StoreUnavailable => (Code::Unavailable, 503),
        Reason::StoreIncomplete => (Code::FailedPrecondition, 503),
        Reason::SecretUnreadable => (Code::DataLoss, 500),
    }
}

/// Tells the log what the caller need not know.
pub fn log(error: &Error) {
    match error {
        Error::Refused(_) | Error::Overloaded | Error::TooManyWatches => {}
        Error::Internal(_) => tracing::error!(%error, "a call failed inside"),
        _ => tracing::warn!(%error, "a call failed at the store"),
    }
}

/// A wait in milliseconds, rounded up: whoever waits exactly so long must not come a moment too early.
pub fn wait_millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
