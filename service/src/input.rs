//! What both edges make of the fields that a caller may leave out or get wrong.

use prost_types::{Duration as WireDuration, Timestamp as WireTimestamp};
use std::time::Duration;
use twinlock_core::{Malformed, RequestId, SessionId, Timestamp};
use twinlock_engine::ClientContext;

/// The most bytes of each part of a client context; what is longer is cut for the audit trail.
const MAX_CONTEXT_BYTES: usize = 512;

/// Text that may be left out.
pub fn optional<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    (!text.is_empty()).then(|| parse(text)).transpose()
}

/// A request id that may be left out.
pub fn request_id(text: &str) -> Result<Option<RequestId>, Malformed> {
    optional(text, RequestId::parse)
}

/// A session that may be left out.
pub fn session(text: &str) -> Result<Option<SessionId>, Malformed> {
    optional(text, SessionId::parse)
}

/// The session to drop the elevation of; `None` stands for all of them.
pub fn session_to_drop(text: &str, all: bool) -> Result<Option<SessionId>, Malformed> {
    match (all, text) {
        (true, "") => Ok(None),
        (true, _) => {
            let problem = "must be empty where all_sessions is set";
            Err(Malformed { field: "session_id", problem })
        }
        (false, text) => SessionId::parse(text).map(Some),
    }
}

/// Where the attempt came from.
pub fn client(ip_address: String, user_agent: String) -> ClientContext {
    ClientContext { ip_address: cut(ip_address), user_agent: cut(user_agent) }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_CONTEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_CONTEXT_BYTES));
    }
    text
}

/// How old a proof may be.
pub fn max_age(duration: Option<WireDuration>) -> Result<Option<Duration>, Malformed> {
    let malformed = Malformed { field: "max_age", problem: "must not be negative" };
    duration.map(|duration| duration.try_into().map_err(|_| malformed)).transpose()
}

/// The time that names a recovery key. Such times have whole milliseconds, so one that has not names no
/// key at all.
pub fn key_time(time: Option<WireTimestamp>) -> Result<Timestamp, Malformed> {
    let field = "recovery_key_create_time";
    let time = time.ok_or(Malformed { field, problem: "must be given" })?;
    let millis = u64::try_from(time.seconds)
        .ok()
        .zip(u64::try_from(time.nanos).ok())
        .filter(|(_, nanos)| nanos % 1_000_000 == 0)
        .and_then(|(secs, nanos)| secs.checked_mul(1000)?.checked_add(nanos / 1_000_000));
    let problem = "must be the time from the answer that showed the recovery key, unchanged";
    millis.map(Timestamp::from_millis).ok_or(Malformed { field, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_names_no_key_is_refused() {
        let broken = [
            WireTimestamp { seconds: 1, nanos: 1 },
            WireTimestamp { seconds: -1, nanos: 0 },
            WireTimestamp { seconds: 1, nanos: -1_000_000 },
            WireTimestamp { seconds: i64::MAX, nanos: 0 },
        ];
        for time in broken {
            assert!(key_time(Some(time)).is_err(), "{time:?}");
        }
        assert!(key_time(None).is_err());
    }

    #[test]
    fn a_negative_age_is_refused() {
        assert!(max_age(Some(WireDuration { seconds: -1, nanos: 0 })).is_err());
        assert_eq!(max_age(None), Ok(None));
    }

    #[test]
    fn a_long_client_context_is_cut_between_characters() {
        assert_eq!(cut("\u{e9}".repeat(400)).len(), 512);
        assert_eq!(cut("x\u{20ac}".repeat(200)).len(), 512);
    }
}
