//! Between the messages of the API and the engine's own types.

use prost_types::{Duration as WireDuration, Timestamp as WireTimestamp};
use std::time::Duration;
use twinlock_core::enrollment::{Description, Failures};
use twinlock_core::login::{Channel, Owed, Verdict};
use twinlock_core::record::Method;
use twinlock_core::second_factor::{Granted, Issued, Proven};
use twinlock_core::{Malformed, RequestId, SessionId, Timestamp};
use twinlock_engine::ClientContext;
use twinlock_proto::{NEVER_SECONDS, v1};

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

/// Where the attempt came from.
pub fn client(context: Option<v1::ClientContext>) -> ClientContext {
    let context = context.unwrap_or_default();
    ClientContext { ip_address: cut(context.ip_address), user_agent: cut(context.user_agent) }
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

/// How the user comes in.
pub fn channel(channel: i32) -> Result<Channel, Malformed> {
    match v1::LoginChannel::try_from(channel) {
        Ok(v1::LoginChannel::Form) => Ok(Channel::Form),
        Ok(v1::LoginChannel::Basic) => Ok(Channel::Basic),
        Ok(v1::LoginChannel::RecoveryAdmin) => Ok(Channel::RecoveryAdmin),
        Ok(v1::LoginChannel::Unspecified) | Err(_) => {
            Err(Malformed { field: "channel", problem: "must be FORM, BASIC or RECOVERY_ADMIN" })
        }
    }
}

pub fn timestamp(time: Timestamp) -> WireTimestamp {
    match i64::try_from(time.as_secs()) {
        Ok(seconds) if seconds < NEVER_SECONDS => {
            let nanos = (time.as_millis() % 1000) as i32 * 1_000_000;
            WireTimestamp { seconds, nanos }
        }
        _ => WireTimestamp { seconds: NEVER_SECONDS, nanos: 0 },
    }
}

fn method(method: Method) -> i32 {
    let method = match method {
        Method::Totp => v1::Method::Totp,
        Method::RecoveryKey => v1::Method::RecoveryKey,
        Method::Password => v1::Method::Password,
        Method::Asserted => v1::Method::Asserted,
    };
    method.into()
}

pub fn elevation(granted: Granted) -> v1::Elevation {
    v1::Elevation {
        method: method(granted.method),
        elevate_time: Some(timestamp(granted.at)),
        expire_time: Some(timestamp(granted.expire_at)),
    }
}

pub fn issued(issued: Option<&Issued>) -> (String, Option<WireTimestamp>) {
    match issued {
        None => (String::new(), None),
        Some(issued) => (issued.key.expose().to_string(), Some(timestamp(issued.created_at))),
    }
}

pub fn verified(proven: &Proven) -> v1::VerifyResponse {
    let (recovery_key, recovery_key_create_time) = issued(proven.issued.as_ref());
    v1::VerifyResponse {
        method: method(proven.method),
        verify_time: Some(timestamp(proven.at)),
        recovery_key,
        elevation: proven.elevation.map(elevation),
        recovery_key_create_time,
    }
}

pub fn elevated(proven: &Proven) -> v1::ElevateResponse {
    let (recovery_key, recovery_key_create_time) = issued(proven.issued.as_ref());
    v1::ElevateResponse {
        elevation: proven.elevation.map(elevation),
        recovery_key,
        recovery_key_create_time,
    }
}

pub fn verdict(verdict: Verdict) -> v1::EvaluateLoginResponse {
    let decision = match verdict.owed {
        Owed::Allow => v1::Decision::Allow,
        Owed::Verify => v1::Decision::Verify,
        Owed::Enroll => v1::Decision::Enroll,
        Owed::Deny => v1::Decision::Deny,
    };
    v1::EvaluateLoginResponse {
        decision: decision.into(),
        reason: verdict.ground.as_str().into(),
        notify: verdict.notify,
        remind_recovery_key: verdict.remind_recovery_key,
    }
}

pub fn description(description: &Description) -> v1::DescribeUserResponse {
    v1::DescribeUserResponse {
        enrolled: description.enrolled_at.is_some(),
        enroll_time: description.enrolled_at.map(timestamp),
        pending_expire_time: description.pending_expire_at.map(timestamp),
        recovery_key_create_time: description.recovery_key_created_at.map(timestamp),
        recovery_key_acknowledged: description.recovery_key_acknowledged,
        has_password: description.has_password,
        second_factor_backoff: Some(failures(description.second_factor)),
        password_backoff: Some(failures(description.password)),
    }
}

fn failures(failures: Failures) -> v1::Backoff {
    v1::Backoff { failures: failures.count, blocked_until: failures.blocked_until.map(timestamp) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_key_survives_the_wire_unchanged() {
        for millis in [0, 1, 999, 1_790_000_000_123] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(key_time(Some(timestamp(time))), Ok(time));
        }
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
    fn never_is_the_last_second_of_the_year_9999() {
        assert_eq!(timestamp(Timestamp::MAX).seconds, 253_402_300_799);
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
