//! What the rules refuse, and what they tell the reader to do.

use crate::{Malformed, Reason};
use std::time::Duration;

/// A refusal by the rules. Its text is a sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A wrong code, recovery key or password. It was counted.
    #[error("This is not right. Check it and try again.")]
    InvalidCode,
    /// A right code whose step was used, or lies before one that was. It was counted.
    #[error("This code was used before. Wait for the next one and enter that.")]
    CodeAlreadyUsed {
        /// Until a new code can be accepted.
        retry_after: Duration,
    },
    /// Refused unread and uncounted: an earlier failure still makes the user wait.
    #[error("Too many failed attempts. Wait, then try again.")]
    Backoff {
        /// What is left of the wait.
        retry_after: Duration,
    },
    /// Refused unread and uncounted until an administrator clears the counter.
    #[error("Too many failed attempts. An administrator must clear the lock.")]
    Locked,
    /// Not of the form that it must have. Not counted.
    #[error("{0}. Correct it and call again.")]
    Malformed(#[from] Malformed),
    /// A request id that stands for another request.
    #[error(
        "This request_id was used for another request. Make a new random one for each request."
    )]
    RequestIdReused,
    /// No active authenticator.
    #[error("No enrollment found for this user.")]
    NotEnrolled,
    /// No pending enrollment of this session.
    #[error("No enrollment of this session waits to be confirmed. Start again with Enroll.")]
    NoPendingEnrollment,
    /// An enrolled user elevates by second factor alone.
    #[error("This user is enrolled. Ask for a code or the recovery key instead.")]
    SecondFactorRequired,
    /// There is no password to compare with.
    #[error(
        "No password is known for this user. Call SetPassword first, or send the password_hash."
    )]
    NoPassword,
    /// `elevation.allow_asserted` is off.
    #[error("The configuration does not allow asserted elevation. Elevate with a password.")]
    AssertionNotAllowed,
    /// The administrator has no active authenticator to prove it with.
    #[error("The administrator is not enrolled. Enroll the administrator first.")]
    AdminNotEnrolled,
    /// `admin.users` does not list the name.
    #[error("admin.users does not list this administrator. Add the name, or let another do it.")]
    NotAnAdministrator,
    /// An administrator who means themselves.
    #[error(
        "Administrators cannot unenroll themselves here. Use Unenroll from an elevated session."
    )]
    SelfUnenroll,
    /// No record of the user.
    #[error("Nothing is known of this user. Check the user_id.")]
    UserNotFound,
    /// An import over an active enrollment.
    #[error("This user is enrolled already. Unenroll the user before the import.")]
    AlreadyEnrolled,
    /// No elevation that is strong and fresh enough.
    #[error("This needs a recent proof of identity from this session. Call Elevate first.")]
    ElevationRequired,
}

impl Refusal {
    /// The reason that the API gives.
    pub fn reason(&self) -> Reason {
        match self {
            Self::InvalidCode => Reason::InvalidCode,
            Self::CodeAlreadyUsed { .. } => Reason::CodeAlreadyUsed,
            Self::Backoff { .. } => Reason::Backoff,
            Self::Locked => Reason::Locked,
            Self::Malformed(malformed) => malformed.reason(),
            Self::RequestIdReused => Reason::RequestIdReused,
            Self::NotEnrolled => Reason::NotEnrolled,
            Self::NoPendingEnrollment => Reason::NoPendingEnrollment,
            Self::SecondFactorRequired => Reason::SecondFactorRequired,
            Self::NoPassword => Reason::NoPassword,
            Self::AssertionNotAllowed => Reason::AssertionNotAllowed,
            Self::AdminNotEnrolled => Reason::AdminNotEnrolled,
            Self::NotAnAdministrator => Reason::CallerForbidden,
            Self::SelfUnenroll => Reason::SelfUnenroll,
            Self::UserNotFound => Reason::UserNotFound,
            Self::AlreadyEnrolled => Reason::AlreadyEnrolled,
            Self::ElevationRequired => Reason::ElevationRequired,
        }
    }

    /// How long to wait before the same call can succeed, where time alone mends it.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CodeAlreadyUsed { retry_after } | Self::Backoff { retry_after } => {
                Some(*retry_after)
            }
            _ => None,
        }
    }
}

impl Malformed {
    /// The reason that the API gives: codes and keys have one of their own.
    pub fn reason(&self) -> Reason {
        match self.field {
            "totp_code" | "recovery_key" => Reason::MalformedCode,
            _ => Reason::InvalidRequest,
        }
    }
}
