//! How a command fails.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use twinlock_client::{Error, Family, Reason};

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The server refused, or did not answer.
    #[error(transparent)]
    Call(#[from] Error),
    /// The arguments or the input are not what the command needs.
    #[error("{0}")]
    Usage(String),
    /// The state does not allow it, as it is now.
    #[error("{0}")]
    Refused(String),
    /// The work began and could not be done to its end.
    #[error("{0}")]
    Broken(String),
    /// Standard input or output failed.
    #[error("The terminal cannot be used: {0}.")]
    Terminal(#[from] io::Error),
}

impl Failure {
    /// 1: the proof or the state was refused; 2: it can never succeed; 3: anything else.
    pub(super) fn exit_status(&self) -> u8 {
        match self {
            Self::Call(error) => match error.family() {
                Family::Proof | Family::Blocked | Family::Elevation | Family::State => 1,
                Family::Request => 2,
                _ => 3,
            },
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Broken(_) | Self::Terminal(_) => 3,
        }
    }

    /// The failure as people read it, with the wait that a script finds in a field of its own.
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Call(Error { message, retry_after: Some(delay), .. }) => {
                let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
                let delay = humantime::format_duration(Duration::from_secs(seconds));
                format!("{message} Another attempt makes sense in {delay}.")
            }
            _ => self.to_string(),
        }
    }

    /// The failure as scripts read it: the fields of a REST failure, with the names in snake case.
    pub(super) fn json(&self) -> Value {
        let message = self.to_string();
        let (code, reason, retry_after) = match self {
            Self::Call(error) => (error.code_name(), error.reason.as_str(), error.retry_after),
            Self::Refused(_) => ("FAILED_PRECONDITION", "FAILED_PRECONDITION", None),
            Self::Usage(_) => ("INVALID_ARGUMENT", Reason::InvalidRequest.as_str(), None),
            Self::Broken(_) | Self::Terminal(_) => ("INTERNAL", "INTERNAL", None),
        };
        let mut object = json!({ "code": code, "reason": reason, "message": message });
        if let Some(delay) = retry_after {
            let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            object["retry_after_ms"] = milliseconds.into();
        }
        if let Self::Call(Error { violations, .. }) = self
            && let Some(violation) = violations.first()
        {
            object["field"] = violation.field.as_str().into();
        }
        object
    }
}

#[cfg(test)]
mod tests {
    use twinlock_client::{Client, Options};

    use super::*;

    #[test]
    fn a_usage_failure_is_readable_by_scripts() {
        let failure = Failure::Usage("Nothing was typed.".into());
        assert_eq!(failure.exit_status(), 2);
        assert_eq!(
            failure.json(),
            json!({
                "code": "INVALID_ARGUMENT",
                "reason": "INVALID_REQUEST",
                "message": "Nothing was typed.",
            })
        );
    }

    #[test]
    fn an_argument_that_is_wrong_is_told_from_a_server_that_is_away() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let options = |address: &str| Options { address: address.into(), ..Options::default() };
        let error = Client::connect_lazy(&options("ftp://nowhere")).unwrap_err();
        assert_eq!(Failure::from(error).exit_status(), 2);

        let client = Client::connect_lazy(&options("unix:/nowhere/twinlock.sock")).unwrap();
        let error = runtime.block_on(client.check_health("")).unwrap_err();
        let failure = Failure::from(error);
        assert_eq!(failure.exit_status(), 3);
        assert_eq!(failure.json()["reason"], "UNAVAILABLE");
        assert!(failure.advice().contains("twinlock serve"), "{failure}");
    }

    #[test]
    fn the_client_knows_every_reason_of_the_server() {
        for reason in twinlock_core::reason::Reason::ALL {
            let known = Reason::from_name(reason.as_str());
            assert!(Reason::ALL.contains(&known), "{reason}");
            assert_eq!(known.code(), crate::errors::statuses(*reason).0, "{reason}");
        }
    }
}
