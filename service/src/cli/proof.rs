//! Reading a user's proof.

use twinlock_client::proto::{elevate_request, verify_request};
use zeroize::Zeroizing;

use super::{Console, Failure};

/// How many characters a recovery key has, its separators aside.
const RECOVERY_KEY_CHARACTERS: usize = 25;

/// A code or a recovery key, told apart by its form.
pub(super) enum SecondFactor {
    TotpCode(Zeroizing<String>),
    RecoveryKey(Zeroizing<String>),
}

impl SecondFactor {
    pub(super) async fn ask(console: &Console, whose: &str) -> Result<Self, Failure> {
        let question = format!("{whose} code from the authenticator app, or the recovery key:");
        Ok(Self::of_form(&console.ask(&question).await?))
    }

    /// Digits alone are a code, unless there are enough of them for a recovery key. What is neither
    /// is left for the server to refuse.
    fn of_form(text: &str) -> Self {
        let code = code(text);
        let digits = code.bytes().all(|byte| byte.is_ascii_digit());
        if digits && code.len() < RECOVERY_KEY_CHARACTERS {
            Self::TotpCode(code)
        } else {
            Self::RecoveryKey(Zeroizing::new(text.to_owned()))
        }
    }
}

/// A code as it is sent: apps show it in two groups, and so people type it.
pub(super) fn code(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().filter(|character| *character != ' ').collect())
}

impl From<SecondFactor> for verify_request::Credential {
    fn from(proof: SecondFactor) -> Self {
        match proof {
            SecondFactor::TotpCode(code) => Self::TotpCode(code.to_string()),
            SecondFactor::RecoveryKey(key) => Self::RecoveryKey(key.to_string()),
        }
    }
}

impl From<SecondFactor> for elevate_request::Credential {
    fn from(proof: SecondFactor) -> Self {
        match proof {
            SecondFactor::TotpCode(code) => Self::TotpCode(code.to_string()),
            SecondFactor::RecoveryKey(key) => Self::RecoveryKey(key.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> (&'static str, String) {
        match SecondFactor::of_form(text) {
            SecondFactor::TotpCode(code) => ("code", code.to_string()),
            SecondFactor::RecoveryKey(key) => ("key", key.to_string()),
        }
    }

    #[test]
    fn codes_and_keys_are_told_apart() {
        for (text, expected) in [
            ("373416", ("code", "373416")),
            ("373 416", ("code", "373416")),
            ("37341600", ("code", "37341600")),
            ("37341", ("code", "37341")),
            ("ABCDE-FGHJK-MNPQR-STVWX-YZ012", ("key", "ABCDE-FGHJK-MNPQR-STVWX-YZ012")),
            ("01234-56789-01234-56789-01234", ("key", "01234-56789-01234-56789-01234")),
            ("0123456789012345678901234", ("key", "0123456789012345678901234")),
            ("３７３４１６", ("key", "３７３４１６")),
        ] {
            assert_eq!(form(text), (expected.0, expected.1.to_owned()), "{text}");
        }
    }
}
