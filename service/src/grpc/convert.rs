//! Between the messages of the API and the engine's own types.

use prost_types::Timestamp as WireTimestamp;
use twinlock_core::enrollment::{Description, Failures};
use twinlock_core::login::{Channel, Owed, Verdict};
use twinlock_core::record::Method;
use twinlock_core::second_factor::{Granted, Issued, Proven};
use twinlock_core::{Malformed, Timestamp};
use twinlock_proto::{NEVER_SECONDS, v1};

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

pub fn method(method: Method) -> i32 {
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
    use crate::input::key_time;

    #[test]
    fn the_time_of_a_key_survives_the_wire_unchanged() {
        for millis in [0, 1, 999, 1_790_000_000_123] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(key_time(Some(timestamp(time))), Ok(time));
        }
    }

    #[test]
    fn never_is_the_last_second_of_the_year_9999() {
        assert_eq!(timestamp(Timestamp::MAX).seconds, 253_402_300_799);
    }
}
