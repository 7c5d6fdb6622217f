//! What can go wrong with one command, sorted by what is to be done about it.

use redis::{ServerError, Value};

/// A command that was not answered.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// It never left this process.
    NotSent(String),
    /// The connection broke after it was sent: it may have been executed.
    Broken(String),
    /// No answer came in time: it may have been executed, or may still be.
    Silent(String),
}

impl Fault {
    pub(super) fn into_cause(self) -> String {
        match self {
            Self::NotSent(cause) | Self::Broken(cause) | Self::Silent(cause) => cause,
        }
    }
}

/// An answer that says that the command was not executed. All of these may be repeated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The server does not know the script.
    NoScript,
    /// The slot is another node's, for good.
    Moved(String),
    /// The slot is on its way to another node, and these keys are there already.
    Ask(String),
    /// The server is no primary, or one that must not write at the moment.
    Demoted(String),
    /// It passes by itself.
    Later(String),
    /// Nothing here mends it.
    Final(String),
}

/// What a server's error means. The scripts write last, so none of these leaves a change behind.
pub(super) fn refusal(error: &ServerError) -> Refusal {
    let detail = error.details().unwrap_or_default();
    let said = format!("{} {detail}", error.code());
    match error.code() {
        "NOSCRIPT" => Refusal::NoScript,
        "MOVED" => target(detail).map_or(Refusal::Later(said), Refusal::Moved),
        "ASK" => target(detail).map_or(Refusal::Later(said), Refusal::Ask),
        "READONLY" | "MASTERDOWN" | "NOREPLICAS" => Refusal::Demoted(said),
        "LOADING" | "TRYAGAIN" | "CLUSTERDOWN" | "BUSY" => Refusal::Later(said),
        _ => Refusal::Final(said),
    }
}

/// The server's error, where an answer is one.
pub(super) fn error_of(answer: &Value) -> Option<&ServerError> {
    match answer {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

/// The address in the answers `MOVED slot host:port` and `ASK slot host:port`.
fn target(detail: &str) -> Option<String> {
    detail.split_ascii_whitespace().nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> Refusal {
        let answer =
            redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).expect("an answer");
        refusal(error_of(&answer).expect("an error"))
    }

    #[test]
    fn errors_are_sorted_by_what_mends_them() {
        assert_eq!(said("NOSCRIPT No matching script."), Refusal::NoScript);
        assert_eq!(said("MOVED 3999 127.0.0.1:6381"), Refusal::Moved("127.0.0.1:6381".into()));
        assert_eq!(said("ASK 3999 [::1]:6381"), Refusal::Ask("[::1]:6381".into()));
        for line in [
            "LOADING Redis is loading",
            "TRYAGAIN Multiple keys",
            "CLUSTERDOWN Hash slot",
            "BUSY Redis is busy",
            "MOVED",
            "ASK 1",
        ] {
            assert!(matches!(said(line), Refusal::Later(_)), "{line}");
        }
        for line in ["READONLY You can't write", "MASTERDOWN Link", "NOREPLICAS Not enough"] {
            assert!(matches!(said(line), Refusal::Demoted(_)), "{line}");
        }
        for line in
            ["OOM command not allowed", "MISCONF Errors writing", "NOPERM this user", "ERR x"]
        {
            assert!(matches!(said(line), Refusal::Final(_)), "{line}");
        }
    }
}
