//! Times for people: RFC 3339 in UTC, with how far away that is.

use prost_types::Timestamp;

/// `2026-01-02T03:04:05Z (in 9 minutes)`.
pub(super) fn describe(time: &Timestamp) -> String {
    let now = twinlock_engine::clock::system()().as_secs();
    describe_at(time, i64::try_from(now).unwrap_or(i64::MAX))
}

fn describe_at(time: &Timestamp, now: i64) -> String {
    let whole = Timestamp { nanos: 0, ..*time };
    format!("{whole} ({})", distance(time.seconds.saturating_sub(now)))
}

fn distance(seconds: i64) -> String {
    let length = seconds.unsigned_abs();
    let (count, unit) = match length {
        0 => return "now".into(),
        1..=119 => (length, "second"),
        120..=7_199 => (length / 60, "minute"),
        7_200..=172_799 => (length / 3_600, "hour"),
        _ => (length / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    match seconds > 0 {
        true => format!("in {count} {unit}{plural}"),
        false => format!("{count} {unit}{plural} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_given_in_utc_and_from_now() {
        let time = Timestamp { seconds: 1_767_323_045, nanos: 999_000_000 };
        for (now, expected) in [
            (1_767_323_045, "2026-01-02T03:04:05Z (now)"),
            (1_767_323_044, "2026-01-02T03:04:05Z (in 1 second)"),
            (1_767_323_045 - 540, "2026-01-02T03:04:05Z (in 9 minutes)"),
            (1_767_323_045 + 119, "2026-01-02T03:04:05Z (119 seconds ago)"),
            (1_767_323_045 + 7_200, "2026-01-02T03:04:05Z (2 hours ago)"),
            (1_767_323_045 + 3 * 86_400, "2026-01-02T03:04:05Z (3 days ago)"),
        ] {
            assert_eq!(describe_at(&time, now), expected);
        }
    }

    #[test]
    fn the_ends_of_time_do_no_harm() {
        for seconds in [i64::MIN, i64::MAX] {
            assert!(!describe_at(&Timestamp { seconds, nanos: 0 }, 0).is_empty());
            assert!(!distance(seconds).is_empty());
        }
    }
}
