//! Why a call failed.

use crate::hash;
use crate::seal::Unreadable;
use crate::store::StoreError;
use std::time::Duration;
use twinlock_core::{Malformed, Reason, Refusal};

/// When to come back after an overload: about as long as a queue of hashes takes to move.
const OVERLOAD_WAIT: Duration = Duration::from_secs(1);

/// Why a call failed. Its text is for the log; [`Error::message`] is for the caller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The rules refuse it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Too many passwords are being checked.
    #[error("too many passwords are being checked at once")]
    Overloaded,
    /// Too many watch events.
    #[error("too many watch events at once")]
    TooManyWatches,
    /// The store did not answer as it must.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others kept changing the record until the deadline.
    #[error("the record was contended until the deadline")]
    Contended,
    /// Something at rest cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Something that must not happen did.
    #[error("{0}")]
    Internal(&'static str),
}

impl Error {
    /// The reason that the API gives; `None` for what has none: an internal error.
    pub fn reason(&self) -> Option<Reason> {
        Some(match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::Overloaded | Self::TooManyWatches => Reason::Overloaded,
            Self::Store(StoreError::Unavailable { .. } | StoreError::InUse(_))
            | Self::Contended => Reason::StoreUnavailable,
            Self::Store(StoreError::Incomplete(_)) => Reason::StoreIncomplete,
            Self::Store(StoreError::Unreadable(_)) | Self::Unreadable(_) => {
                Reason::SecretUnreadable
            }
            Self::Internal(_) => return None,
        })
    }

    /// A sentence that tells the caller what to do, and nothing of the inside.
    pub fn message(&self) -> String {
        match self {
            Self::Refused(refusal) => refusal.to_string(),
            Self::Overloaded => "Too many passwords are being checked. Try again in a moment.".into(),
            Self::TooManyWatches => "Too many watch events. End a watch, then try again.".into(),
            Self::Store(StoreError::Unavailable { .. } | StoreError::InUse(_)) => {
                "The store did not confirm in time. Repeat the call with the same request_id.".into()
            }
            Self::Contended => {
                "Too many calls for this user at once. Repeat the call with the same request_id."
                    .into()
            }
            Self::Store(StoreError::Incomplete(_)) => {
                "The store is not the one that was initialized. An operator must restore it; run `twinlock doctor`."
                    .into()
            }
            Self::Store(StoreError::Unreadable(_)) | Self::Unreadable(_) => {
                "The keyring does not open this record. An operator must mend it; run `twinlock doctor`."
                    .into()
            }
            Self::Internal(_) => "Something went wrong inside. The server's log has the cause.".into(),
        }
    }

    /// How long to wait before the same call can succeed, where time alone mends it.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after(),
            Self::Overloaded | Self::TooManyWatches => Some(OVERLOAD_WAIT),
            _ => None,
        }
    }

    /// The field and what is wrong with it, where the form is at fault.
    pub fn malformed(&self) -> Option<&Malformed> {
        match self {
            Self::Refused(Refusal::Malformed(malformed)) => Some(malformed),
            _ => None,
        }
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Refused(malformed.into())
    }
}

impl From<hash::Overloaded> for Error {
    fn from(_: hash::Overloaded) -> Self {
        Self::Overloaded
    }
}

impl From<hash::Failure> for Error {
    fn from(failure: hash::Failure) -> Self {
        match failure {
            hash::Failure::Memory => Self::Overloaded,
            hash::Failure::Function => Self::Internal("the hash function refused its input"),
            hash::Failure::Aborted => Self::Internal("hashing a password was aborted"),
        }
    }
}
