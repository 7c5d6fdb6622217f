//! What a call that failed says.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tonic_types::StatusExt as _;
use twinlock_core::{Malformed, Refusal};
use twinlock_proto::code_name;

/// A call that failed: refused by the server, or never answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Error {
    /// Why, in the API's own words.
    pub reason: Reason,
    /// The gRPC status code.
    pub code: Code,
    /// A plain sentence that says what to do. It never holds a secret.
    pub message: String,
    /// After how long another attempt makes sense: the rest of a backoff, or the time until the
    /// next code.
    pub retry_after: Option<Duration>,
    /// Which fields of the request are wrong, where that is the reason.
    pub violations: Vec<FieldViolation>,
}

/// A field of a request that is not of its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path, `client.ip_address` for instance.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// What kind of failure a reason is: one exception class each in the SDKs (`docs/sdk-errors.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// What the user presented is not accepted. Ask for another one.
    Proof,
    /// The proof was not looked at, because of failures before it. Wait.
    Blocked,
    /// The session has no recent proof of identity. Ask for one.
    Elevation,
    /// The user or the administrator is not in a state that allows the call.
    State,
    /// The request is not of its form. It will never succeed.
    Request,
    /// The caller of the API may not do this.
    Caller,
    /// There was no verdict; the same call may succeed later.
    Unavailable,
    /// Something is broken and needs an operator.
    Internal,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:ident, $family:ident;)*) => {
        /// Why a call failed, as the API names it.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)*
            /// A reason that this release does not know, or the name of a bare gRPC code.
            Other(String),
        }

        impl Reason {
            /// Every reason that this release knows by name.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The reason of that name, in UPPER_SNAKE_CASE.
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($text => Self::$name,)*
                    _ => Self::Other(name.to_owned()),
                }
            }

            /// The name in the API, in UPPER_SNAKE_CASE.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(name) => name,
                }
            }

            /// The gRPC status code that goes with it; `UNKNOWN` where this release does not know it.
            pub const fn code(&self) -> Code {
                match self {
                    $(Self::$name => Code::$code,)*
                    Self::Other(_) => Code::Unknown,
                }
            }

            fn family(&self) -> Option<Family> {
                match self {
                    $(Self::$name => Some(Family::$family),)*
                    Self::Other(_) => None,
                }
            }
        }
    };
}

reasons! {
    /// A wrong code, recovery key or password.
    InvalidCode = "INVALID_CODE", Unauthenticated, Proof;
    /// A right code, but one that was used, or is older than one that was.
    CodeAlreadyUsed = "CODE_ALREADY_USED", Unauthenticated, Proof;
    /// An attempt within the wait after failures.
    Backoff = "BACKOFF", ResourceExhausted, Blocked;
    /// The hard limit of failures is reached.
    Locked = "LOCKED", ResourceExhausted, Blocked;
    /// A code or recovery key that cannot be one.
    MalformedCode = "MALFORMED_CODE", InvalidArgument, Proof;
    /// A field, or an option of the client, that is not of its form.
    InvalidRequest = "INVALID_REQUEST", InvalidArgument, Request;
    /// The same request id with another request.
    RequestIdReused = "REQUEST_ID_REUSED", InvalidArgument, Request;
    /// The user has no active authenticator.
    NotEnrolled = "NOT_ENROLLED", FailedPrecondition, State;
    /// No pending enrollment, a lapsed one, or another session's.
    NoPendingEnrollment = "NO_PENDING_ENROLLMENT", FailedPrecondition, State;
    /// A password or an assertion where the user is enrolled.
    SecondFactorRequired = "SECOND_FACTOR_REQUIRED", FailedPrecondition, State;
    /// No password is known for the user.
    NoPassword = "NO_PASSWORD", FailedPrecondition, State;
    /// The server's configuration does not take the product's word.
    AssertionNotAllowed = "ASSERTION_NOT_ALLOWED", FailedPrecondition, State;
    /// The administrator has no active authenticator.
    AdminNotEnrolled = "ADMIN_NOT_ENROLLED", FailedPrecondition, State;
    /// Nothing is known of the user.
    UserNotFound = "USER_NOT_FOUND", NotFound, State;
    /// An import over an active enrollment.
    AlreadyEnrolled = "ALREADY_ENROLLED", AlreadyExists, State;
    /// No elevation, an expired one, or one that is not strong enough.
    ElevationRequired = "ELEVATION_REQUIRED", PermissionDenied, Elevation;
    /// Administrators never unenroll themselves.
    SelfUnenroll = "SELF_UNENROLL", PermissionDenied, State;
    /// The caller of the API did not say who it is.
    CallerUnauthenticated = "CALLER_UNAUTHENTICATED", Unauthenticated, Caller;
    /// The caller of the API may not do this.
    CallerForbidden = "CALLER_FORBIDDEN", PermissionDenied, Caller;
    /// Too many expensive checks at once.
    Overloaded = "OVERLOADED", Unavailable, Unavailable;
    /// The server's store is not reachable, did not confirm, or was contended.
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable, Unavailable;
    /// The server cannot be reached, or the connection broke off. Of the client alone.
    Unavailable = "UNAVAILABLE", Unavailable, Unavailable;
    /// No answer within the deadline.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded, Unavailable;
    /// The server's store is not the one that was initialized.
    StoreIncomplete = "STORE_INCOMPLETE", FailedPrecondition, Internal;
    /// No key of the server's keyring opens the record.
    SecretUnreadable = "SECRET_UNREADABLE", DataLoss, Internal;
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Error {
    /// What kind of failure this is.
    pub fn family(&self) -> Family {
        self.reason.family().unwrap_or(match self.code {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
                Family::Unavailable
            }
            Code::InvalidArgument | Code::OutOfRange => Family::Request,
            Code::Unauthenticated | Code::PermissionDenied => Family::Caller,
            // Without a reason it is no word of the rules: a limit of the transport, or a watch that is
            // read too slowly.
            Code::ResourceExhausted if self.reason.as_str() == self.code_name() => {
                Family::Unavailable
            }
            Code::ResourceExhausted => Family::Blocked,
            Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists => Family::State,
            _ => Family::Internal,
        })
    }

    /// The gRPC code's name, in UPPER_SNAKE_CASE.
    pub fn code_name(&self) -> &'static str {
        code_name(self.code)
    }

    /// Reads what the server said of a failure: `google.rpc` details first, the plain trailers
    /// where there are none. A status that says nothing of that kind comes from the transport, or
    /// from something between here and the server.
    pub(crate) fn from_status(status: &Status, address: &str) -> Self {
        let details = status.get_error_details();
        let named = details.error_info().filter(|info| info.domain == "twinlock");
        let named = named.map(|info| info.reason.as_str()).or_else(|| trailer(status, "reason"));
        let Some(name) = named else {
            return Self::from_transport(status, address);
        };
        let delay = details.retry_info().and_then(|info| info.retry_delay);
        let milliseconds = || trailer(status, "retry-after-ms")?.parse().ok();
        let violations = details.bad_request().map(|request| request.field_violations.clone());
        Self {
            reason: Reason::from_name(name),
            code: status.code(),
            message: status.message().to_owned(),
            retry_after: delay.or_else(|| milliseconds().map(Duration::from_millis)),
            violations: violations
                .unwrap_or_default()
                .into_iter()
                .map(|violation| FieldViolation {
                    field: violation.field,
                    description: violation.description,
                })
                .collect(),
        }
    }

    fn from_transport(status: &Status, address: &str) -> Self {
        let code = status.code();
        let source = status.source();
        let caused_by = |is: fn(&(dyn StdError + 'static)) -> bool| {
            source.is_some_and(|source| chain(source).any(is))
        };
        // tonic calls a time-out CANCELLED, its own and the server's, but a connection that went
        // away as well.
        let timed_out = source.is_none() || caused_by(|error| error.is::<TimeoutExpired>());
        if code == Code::DeadlineExceeded || (code == Code::Cancelled && timed_out) {
            return Self::late(address);
        }
        if code != Code::Unavailable && source.is_none() {
            let message = format!("Twinlock at {address} answered: {}.", said(status));
            return Self::bare(Reason::Other(code_name(code).to_owned()), code, message);
        }
        let cause = source.map_or_else(|| said(status), |source| root(source).to_string());
        let message = if caused_by(|error| error.is::<ConnectError>()) {
            format!(
                "Twinlock cannot be reached at {address} ({cause}). Is the server running there? \
                 Start it with `twinlock serve`."
            )
        } else {
            format!(
                "The connection to Twinlock at {address} broke off ({cause}). Is the server \
                 running there? The call may have taken effect."
            )
        };
        Self::bare(Reason::Unavailable, Code::Unavailable, message)
    }

    /// No answer came in time.
    pub(crate) fn late(address: &str) -> Self {
        let message = format!(
            "No answer came from Twinlock at {address} in time. The call may have taken effect; \
             ask again, or allow more time."
        );
        Self::bare(Reason::DeadlineExceeded, Code::DeadlineExceeded, message)
    }

    /// An option or argument of the client's own caller is not of its form.
    pub fn invalid(field: &str, message: String) -> Self {
        let violation = FieldViolation { field: field.to_owned(), description: message.clone() };
        let mut error = Self::bare(Reason::InvalidRequest, Code::InvalidArgument, message);
        error.violations.push(violation);
        error
    }

    /// A failure on this side, with the code of its reason.
    pub fn new(reason: Reason, message: String) -> Self {
        let code = reason.code();
        Self::bare(reason, code, message)
    }

    /// Something that must not happen has happened on this side.
    pub fn internal(message: String) -> Self {
        Self::bare(Reason::Other(code_name(Code::Internal).to_owned()), Code::Internal, message)
    }

    fn bare(reason: Reason, code: Code, message: String) -> Self {
        Self { reason, code, message, retry_after: None, violations: Vec::new() }
    }
}

/// What the rules refuse in the caller's own process, in the server's words.
impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let reason = Reason::from_name(refusal.reason().as_str());
        let code = reason.code();
        let violations = match &refusal {
            Refusal::Malformed(malformed) => vec![FieldViolation {
                field: malformed.field.to_owned(),
                description: malformed.problem.to_owned(),
            }],
            _ => Vec::new(),
        };
        let message = refusal.to_string();
        Self { reason, code, message, retry_after: refusal.retry_after(), violations }
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Refusal::from(malformed).into()
    }
}

fn trailer<'status>(status: &'status Status, name: &str) -> Option<&'status str> {
    status.metadata().get(format!("twinlock-{name}"))?.to_str().ok()
}

fn said(status: &Status) -> String {
    match status.message() {
        "" => code_name(status.code()).to_owned(),
        message => message.trim_end_matches('.').to_owned(),
    }
}

fn chain<'error>(
    error: &'error (dyn StdError + 'static),
) -> impl Iterator<Item = &'error (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn root<'error>(error: &'error (dyn StdError + 'static)) -> &'error (dyn StdError + 'static) {
    chain(error).last().unwrap_or(error)
}

#[cfg(test)]
mod tests;
