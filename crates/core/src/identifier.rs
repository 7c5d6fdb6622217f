//! Identifiers that a caller hands in, parsed once at the edge.

use std::fmt;
use std::sync::Arc;

/// An input that is not of the form that the contract asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Malformed {
    /// The name of the field, as in the API.
    pub field: &'static str,
    /// What is wrong with it, to be read after the name: "must not be empty". It never quotes the input.
    pub problem: &'static str,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $field:literal, $most:literal, $length:literal) => {
        $(#[$doc])*
        ///
        /// UTF-8 without control characters; nothing is trimmed, folded or normalised, and two are the
        /// same only where every byte is. A copy costs no allocation.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most bytes that one may have.
            pub const MAX_BYTES: usize = $most;

            /// Parses one; refuses the empty, the over-long, and control characters.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                let problem = if text.is_empty() {
                    "must not be empty"
                } else if text.len() > Self::MAX_BYTES {
                    $length
                } else if text.chars().any(char::is_control) {
                    "must not contain control characters"
                } else {
                    return Ok(Self(text.into()));
                };
                Err(Malformed { field: $field, problem })
            }

            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

identifier!(
    /// A user of the product: opaque, stable, case-sensitive; 1 to 255 bytes.
    UserId, "user_id", 255, "must have at most 255 bytes"
);
identifier!(
    /// A login session of the product: opaque; 1 to 512 bytes. It is a credential and never logged.
    SessionId, "session_id", 512, "must have at most 512 bytes"
);
identifier!(
    /// The account name that an authenticator app shows; 1 to 255 bytes.
    AccountName, "account_name", 255, "must have at most 255 bytes"
);
identifier!(
    /// What separates the users of one caller from those of another; 1 to 63 bytes.
    Namespace, "namespace", 63, "must have at most 63 bytes"
);

macro_rules! shown {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

macro_rules! redacted {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }
    )*};
}

shown!(UserId, AccountName, Namespace);
redacted!(SessionId, RequestId);

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

/// The caller's name for one request, random, so that a repeat gets the same answer:
/// 16 to 64 printable ASCII characters.
///
/// Whoever knows it can have the answer again, so it is redacted like a credential.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Parses one; refuses other lengths and characters.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if (16..=64).contains(&text.len()) && printable {
            Ok(Self(text.into()))
        } else {
            Err(Malformed {
                field: "request_id",
                problem: "must have 16 to 64 printable ASCII characters",
            })
        }
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_taken_byte_by_byte() {
        assert_ne!(UserId::parse("alice"), UserId::parse("Alice"));
        assert_ne!(UserId::parse("alice"), UserId::parse("alice "));
        assert_ne!(UserId::parse("\u{e9}"), UserId::parse("e\u{301}"));
    }

    #[test]
    fn an_identifier_is_the_text_that_was_given() {
        let text = " Alice \u{e9} -- ";
        assert_eq!(UserId::parse(text).as_ref().map(UserId::as_str), Ok(text));
        let text = " 0123456789 abcDEF~";
        assert_eq!(RequestId::parse(text).as_ref().map(RequestId::as_str), Ok(text));
    }

    #[test]
    fn identifiers_refuse_the_empty_the_long_and_control_characters() {
        assert!(UserId::parse("").is_err());
        assert!(UserId::parse(&"a".repeat(255)).is_ok());
        assert!(UserId::parse(&"a".repeat(256)).is_err());
        assert!(SessionId::parse(&"a".repeat(512)).is_ok());
        assert!(SessionId::parse(&"a".repeat(513)).is_err());
        for text in ["a\0", "a\n", "\u{7f}", "\u{85}"] {
            assert!(UserId::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn request_ids_have_16_to_64_printable_characters() {
        assert!(RequestId::parse(&"r".repeat(15)).is_err());
        assert!(RequestId::parse(&"r".repeat(16)).is_ok());
        assert!(RequestId::parse(&"r".repeat(64)).is_ok());
        assert!(RequestId::parse(&"r".repeat(65)).is_err());
        assert!(RequestId::parse("0123456789abcde\u{e9}").is_err());
        assert!(RequestId::parse("0123456789abcde\n").is_err());
    }

    #[test]
    fn credentials_are_redacted() {
        let session = SessionId::parse("canary-session").ok();
        let request = RequestId::parse("canary-request-id").ok();
        assert!(!format!("{session:?} {request:?}").contains("canary"));
    }
}
