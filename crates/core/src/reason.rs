//! The reasons that a failed call gives: one word of the contract for each.

use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a call failed, as the API names it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name in the API, in UPPER_SNAKE_CASE.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

reasons! {
    /// A wrong code, recovery key or password.
    InvalidCode = "INVALID_CODE",
    /// A right code, but one that was used, or is older than one that was.
    CodeAlreadyUsed = "CODE_ALREADY_USED",
    /// An attempt within the wait after failures.
    Backoff = "BACKOFF",
    /// The hard limit of failures is reached.
    Locked = "LOCKED",
    /// A code or recovery key that cannot be one.
    MalformedCode = "MALFORMED_CODE",
    /// A field that is not of its form.
    InvalidRequest = "INVALID_REQUEST",
    /// The same request id with another request.
    RequestIdReused = "REQUEST_ID_REUSED",
    /// The user has no active authenticator.
    NotEnrolled = "NOT_ENROLLED",
    /// No pending enrollment, a lapsed one, or another session's.
    NoPendingEnrollment = "NO_PENDING_ENROLLMENT",
    /// A password or an assertion where the user is enrolled.
    SecondFactorRequired = "SECOND_FACTOR_REQUIRED",
    /// No password is known for the user.
    NoPassword = "NO_PASSWORD",
    /// The configuration does not take the product's word.
    AssertionNotAllowed = "ASSERTION_NOT_ALLOWED",
    /// The administrator has no active authenticator.
    AdminNotEnrolled = "ADMIN_NOT_ENROLLED",
    /// No elevation, an expired one, or one that is not strong enough.
    ElevationRequired = "ELEVATION_REQUIRED",
    /// Administrators never unenroll themselves.
    SelfUnenroll = "SELF_UNENROLL",
    /// Nothing is known of the user.
    UserNotFound = "USER_NOT_FOUND",
    /// An import over an active enrollment.
    AlreadyEnrolled = "ALREADY_ENROLLED",
    /// The API's caller did not say who it is.
    CallerUnauthenticated = "CALLER_UNAUTHENTICATED",
    /// The API's caller may not do this.
    CallerForbidden = "CALLER_FORBIDDEN",
    /// Too many expensive checks at once.
    Overloaded = "OVERLOADED",
    /// The store is not reachable, did not confirm, or was contended.
    StoreUnavailable = "STORE_UNAVAILABLE",
    /// The store is not the one that was initialized.
    StoreIncomplete = "STORE_INCOMPLETE",
    /// No key of the keyring opens the record.
    SecretUnreadable = "SECRET_UNREADABLE",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
