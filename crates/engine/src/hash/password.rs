//! The password that a user typed.

use std::fmt;
use twinlock_core::Malformed;
use zeroize::Zeroizing;

/// The password that a user typed: 1 to 1024 bytes of UTF-8, wiped from memory when dropped.
///
/// Nothing is trimmed, folded or normalised: what the product hashed is what must be typed.
pub struct Password(Zeroizing<String>);

impl Password {
    /// The most bytes that one may have. It bounds what a flood of long passwords can cost.
    pub const MAX_BYTES: usize = 1024;

    /// Takes one over, so that no copy stays behind; refuses the empty and the over-long.
    pub fn parse(text: String) -> Result<Self, Malformed> {
        let text = Zeroizing::new(text);
        let problem = if text.is_empty() {
            "must not be empty"
        } else if text.len() > Self::MAX_BYTES {
            "must have at most 1024 bytes"
        } else {
            return Ok(Self(text));
        };
        Err(Malformed { field: "password", problem })
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_have_1_to_1024_bytes_and_are_redacted() {
        assert!(Password::parse(String::new()).is_err());
        assert!(Password::parse("é".repeat(512)).is_ok());
        assert!(Password::parse("é".repeat(513)).is_err());
        let shown = format!("{:?}", Password::parse("canary".into()));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
