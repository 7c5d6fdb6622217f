//! Which failures a client may answer with the same call again, and when.

use std::time::Duration;

use crate::{Error, Reason};

/// One call, and at most two repeats.
const MAXIMUM_TRIES: u32 = 3;

const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// How long to wait before the next try of a call that may be repeated; `None` where `error` stands.
///
/// `tries` counts those already made, `remaining` is what is left of the call's deadline, and
/// `jitter` is between 0 and 1: it spreads clients that failed together over half of the pause.
pub(crate) fn pause(
    error: &Error,
    tries: u32,
    remaining: Duration,
    jitter: f64,
) -> Option<Duration> {
    if tries >= MAXIMUM_TRIES {
        return None;
    }
    let backoff = FIRST_PAUSE * 4_u32.pow(tries.saturating_sub(1));
    let backoff = backoff.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    let pause = match error.reason {
        Reason::Unavailable | Reason::StoreUnavailable => backoff,
        Reason::Overloaded => error.retry_after.unwrap_or_default().saturating_add(backoff),
        _ => return None,
    };
    (pause < remaining).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: Duration = Duration::from_secs(60);

    fn error(reason: &str, retry_after: Option<u64>) -> Error {
        let mut error = Error::internal(String::new());
        error.reason = Reason::from_name(reason);
        error.retry_after = retry_after.map(Duration::from_millis);
        error
    }

    #[test]
    fn only_what_never_reached_a_verdict_is_repeated() {
        for (reason, repeated) in [
            ("UNAVAILABLE", true),
            ("STORE_UNAVAILABLE", true),
            ("OVERLOADED", true),
            ("DEADLINE_EXCEEDED", false),
            ("STORE_INCOMPLETE", false),
            ("SECRET_UNREADABLE", false),
            ("INVALID_CODE", false),
            ("CODE_ALREADY_USED", false),
            ("BACKOFF", false),
            ("LOCKED", false),
            ("REQUEST_ID_REUSED", false),
            ("CALLER_UNAUTHENTICATED", false),
            ("INTERNAL", false),
            ("A_REASON_OF_A_LATER_RELEASE", false),
        ] {
            let pause = pause(&error(reason, Some(10)), 1, PLENTY, 0.5);
            assert_eq!(pause.is_some(), repeated, "{reason}");
        }
    }

    #[test]
    fn there_are_three_tries() {
        let error = error("UNAVAILABLE", None);
        assert!(pause(&error, 1, PLENTY, 0.0).is_some());
        assert!(pause(&error, 2, PLENTY, 0.0).is_some());
        assert!(pause(&error, 3, PLENTY, 0.0).is_none());
    }

    #[test]
    fn pauses_grow_and_jitter_spreads_them() {
        let error = error("STORE_UNAVAILABLE", None);
        let milliseconds =
            |tries, jitter| pause(&error, tries, PLENTY, jitter).unwrap().as_millis();
        assert_eq!([milliseconds(1, 0.0), milliseconds(1, 1.0)], [50, 100]);
        assert_eq!([milliseconds(2, 0.0), milliseconds(2, 1.0)], [200, 400]);
    }

    #[test]
    fn an_overloaded_server_is_left_alone_for_as_long_as_it_asks() {
        let pause = pause(&error("OVERLOADED", Some(700)), 1, PLENTY, 0.0).unwrap();
        assert_eq!(pause.as_millis(), 750);
    }

    #[test]
    fn no_pause_outlasts_the_deadline() {
        let error = error("OVERLOADED", Some(700));
        assert!(pause(&error, 1, Duration::from_millis(750), 0.0).is_none());
        assert!(pause(&error, 1, Duration::from_millis(751), 0.0).is_some());
    }
}
