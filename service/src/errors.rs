//! The one table from reasons to the statuses of gRPC and HTTP, and what else both say of a failure.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::Code;
use twinlock_core::Reason;
use twinlock_engine::Error;
use twinlock_engine::events::Seldom;
use twinlock_engine::store::StoreError;

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

/// Tells the log what the caller need not know: the first failure of a kind at once, and from then on one now
/// and then, with how many were left out.
pub fn log(error: &Error) {
    let Some(left_out) = FAILURES.of(error).and_then(Failure::is_due) else { return };
    match error {
        Error::Internal(_) => tracing::error!(%error, left_out, "a call failed inside"),
        _ => tracing::warn!(%error, left_out, "a call failed at the store"),
    }
}

/// A wait in milliseconds, rounded up: whoever waits exactly so long must not come a moment too early.
pub fn wait_millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// One for the process, as the log is.
static FAILURES: LazyLock<Failures> = LazyLock::new(Failures::default);

/// The failures that the log tells of. A flood of one kind hides no other.
#[derive(Default)]
struct Failures {
    unavailable: Failure,
    incomplete: Failure,
    unreadable: Failure,
    contended: Failure,
    internal: Failure,
}

/// The failures of one kind.
#[derive(Default)]
struct Failure {
    log: Seldom,
    left_out: AtomicU64,
}

impl Failures {
    /// Those of the same kind; `None` for what is the caller's affair alone.
    fn of(&self, error: &Error) -> Option<&Failure> {
        Some(match error {
            Error::Refused(_) | Error::Overloaded | Error::TooManyWatches => return None,
            Error::Store(StoreError::Unavailable { .. } | StoreError::InUse(_)) => {
                &self.unavailable
            }
            Error::Store(StoreError::Incomplete(_)) => &self.incomplete,
            Error::Store(StoreError::Unreadable(_)) | Error::Unreadable(_) => &self.unreadable,
            Error::Contended => &self.contended,
            Error::Internal(_) => &self.internal,
        })
    }
}

impl Failure {
    /// How many were left out before this one, where it is time for a line; otherwise it is left out, too.
    fn is_due(&self) -> Option<u64> {
        if self.log.is_due() {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlock_core::Refusal;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_and_hides_no_other_failure() {
        let failures = Failures::default();
        let due = |error: &Error| failures.of(error).map(Failure::is_due);
        let unavailable = |cause: &str| {
            Error::from(StoreError::Unavailable { cause: cause.into(), may_have_happened: false })
        };
        assert_eq!(due(&unavailable("first")), Some(Some(0)));
        for _ in 0..1000 {
            assert_eq!(due(&unavailable("flood")), Some(None));
        }
        for other in [
            StoreError::Incomplete("another".into()).into(),
            StoreError::Unreadable("another".into()).into(),
            Error::Contended,
            Error::Internal("another"),
        ] {
            assert_eq!(due(&other), Some(Some(0)), "{other}");
            assert_eq!(due(&other), Some(None), "{other}");
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(due(&StoreError::InUse("a file".into()).into()), Some(Some(1000)));
        assert_eq!(due(&unavailable("flood")), Some(None));
        assert!(due(&Refusal::InvalidCode.into()).is_none());
    }
}
