//! Times and durations as proto3 JSON writes them, and the time of an answer.

use http::HeaderValue;
use prost_types::{Duration as WireDuration, Timestamp as WireTimestamp};
use std::time::{Duration, SystemTime};
use twinlock_core::{Malformed, Timestamp};
use twinlock_engine::clock;
use twinlock_proto::NEVER_SECONDS;

/// A time in RFC 3339, in UTC, with milliseconds where there are any, which is what names a recovery key. A
/// later one than there can be is the last second that there is.
pub fn write(time: Timestamp) -> String {
    let never = u64::try_from(NEVER_SECONDS).unwrap_or(u64::MAX);
    let time = time.min(Timestamp::from_secs(never));
    // A fraction of proto3 JSON has none or three digits.
    match time.as_millis() % 1000 {
        0 => humantime::format_rfc3339_seconds(system_time(time)).to_string(),
        _ => humantime::format_rfc3339_millis(system_time(time)).to_string(),
    }
}

/// The present as a `Date` header has it (RFC 9110 section 5.6.7).
pub fn date() -> HeaderValue {
    let date = httpdate::fmt_http_date(system_time(clock::system()()));
    HeaderValue::try_from(date).expect("it is ASCII")
}

fn system_time(time: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(time.as_millis())
}

/// A time in RFC 3339, with any fraction and any offset.
pub fn read(text: Option<&str>) -> Result<Option<WireTimestamp>, Malformed> {
    let problem = "must be a time such as 2026-01-02T03:04:05.678Z";
    let malformed = Malformed { field: "recovery_key_create_time", problem };
    let time = text.map(|text| if text.len() > 10 { text.parse().ok() } else { None });
    time.map(|time| time.ok_or(malformed)).transpose()
}

/// A duration in seconds, such as `1.5s`.
pub fn read_duration(text: Option<&str>) -> Result<Option<WireDuration>, Malformed> {
    let malformed = Malformed { field: "max_age", problem: "must be a duration such as 1.5s" };
    text.map(|text| text.parse().map_err(|_| malformed)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input;

    #[test]
    fn a_time_keeps_its_milliseconds_and_is_read_back_unchanged() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_767_323_045_678, "2026-01-02T03:04:05.678Z"),
            (1_767_323_045_600, "2026-01-02T03:04:05.600Z"),
            (951_827_696_001, "2000-02-29T12:34:56.001Z"),
        ] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(write(time), text);
            assert_eq!(input::key_time(read(Some(text)).expect("a time")), Ok(time));
        }
        assert_eq!(write(Timestamp::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn other_spellings_of_a_time_are_the_same_time() {
        let time = read(Some("2026-01-02T03:04:05.678Z")).expect("a time");
        for text in [
            "2026-01-02T03:04:05.678000Z",
            "2026-01-02T03:04:05.678000+00:00",
            "2026-01-02T04:04:05.678+01:00",
            "2026-01-02T03:04:05.678000000Z",
        ] {
            assert_eq!(read(Some(text)).expect(text), time);
        }
        for text in ["", "now", "2026-01-02", "2026-13-02T03:04:05Z", "1767323045"] {
            assert!(read(Some(text)).is_err(), "{text}");
        }
        assert_eq!(read(None), Ok(None));
    }

    #[test]
    fn durations_have_seconds_and_a_fraction() {
        let of = |text| input::max_age(read_duration(Some(text)).expect(text)).ok().flatten();
        assert_eq!(of("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(of("600s"), Some(Duration::from_secs(600)));
        assert_eq!(of("0s"), Some(Duration::ZERO));
        assert_eq!(of("-1s"), None);
        for text in ["", "1", "s", "1m", "1,5s", "1.5 s"] {
            assert!(read_duration(Some(text)).is_err(), "{text}");
        }
    }
}
