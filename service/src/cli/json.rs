//! Answers as scripts read them: the API's own field names, times in RFC 3339, and nothing for a
//! field that is not set.

use prost_types::Timestamp;
use serde_json::{Map, Value, json};
use twinlock_client::proto::{
    Backoff, ConfirmEnrollmentResponse, DescribeUserResponse, ElevateResponse, Elevation,
    EnrollResponse, VerifyResponse,
};

pub(super) fn enrollment(answer: &EnrollResponse) -> Value {
    object([
        ("stage", Some(json!("enrollment"))),
        ("secret", Some(json!(answer.secret))),
        ("otpauth_uri", Some(json!(answer.otpauth_uri))),
        ("qr_svg", Some(json!(answer.qr_svg))),
        ("expire_time", time(&answer.expire_time)),
    ])
}

pub(super) fn confirmation(answer: &ConfirmEnrollmentResponse, acknowledged: bool) -> Value {
    object([
        ("stage", Some(json!("confirmation"))),
        ("recovery_key", text(&answer.recovery_key)),
        ("enroll_time", time(&answer.enroll_time)),
        ("recovery_key_create_time", time(&answer.recovery_key_create_time)),
        ("recovery_key_acknowledged", Some(json!(acknowledged))),
    ])
}

pub(super) fn verification(answer: &VerifyResponse) -> Value {
    object([
        ("method", Some(json!(answer.method().as_str_name()))),
        ("verify_time", time(&answer.verify_time)),
        ("recovery_key", text(&answer.recovery_key)),
        ("recovery_key_create_time", time(&answer.recovery_key_create_time)),
        ("elevation", answer.elevation.as_ref().map(elevation)),
    ])
}

pub(super) fn elevated(answer: &ElevateResponse) -> Value {
    object([
        ("elevation", answer.elevation.as_ref().map(elevation)),
        ("recovery_key", text(&answer.recovery_key)),
        ("recovery_key_create_time", time(&answer.recovery_key_create_time)),
    ])
}

pub(super) fn user(user_id: &str, answer: &DescribeUserResponse) -> Value {
    object([
        ("user_id", Some(json!(user_id))),
        ("enrolled", Some(json!(answer.enrolled))),
        ("enroll_time", time(&answer.enroll_time)),
        ("pending_expire_time", time(&answer.pending_expire_time)),
        ("recovery_key_create_time", time(&answer.recovery_key_create_time)),
        ("recovery_key_acknowledged", Some(json!(answer.recovery_key_acknowledged))),
        ("has_password", Some(json!(answer.has_password))),
        ("second_factor_backoff", Some(backoff(answer.second_factor_backoff.as_ref()))),
        ("password_backoff", Some(backoff(answer.password_backoff.as_ref()))),
    ])
}

fn elevation(elevation: &Elevation) -> Value {
    object([
        ("method", Some(json!(elevation.method().as_str_name()))),
        ("elevate_time", time(&elevation.elevate_time)),
        ("expire_time", time(&elevation.expire_time)),
    ])
}

fn backoff(backoff: Option<&Backoff>) -> Value {
    object([
        ("failures", Some(json!(backoff.map_or(0, |backoff| backoff.failures)))),
        ("blocked_until", backoff.and_then(|backoff| time(&backoff.blocked_until))),
    ])
}

fn object<const FIELDS: usize>(fields: [(&str, Option<Value>); FIELDS]) -> Value {
    let set = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(set.collect::<Map<_, _>>())
}

fn text(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| json!(text))
}

fn time(time: &Option<Timestamp>) -> Option<Value> {
    time.as_ref().map(|time| json!(time.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_fields_are_left_out_and_times_are_rfc_3339() {
        let answer = VerifyResponse {
            method: 1,
            verify_time: Some(Timestamp { seconds: 1_767_323_045, nanos: 0 }),
            ..Default::default()
        };
        let expected = json!({ "method": "METHOD_TOTP", "verify_time": "2026-01-02T03:04:05Z" });
        assert_eq!(verification(&answer), expected);
    }

    #[test]
    fn nobody_is_a_whole_answer_too() {
        let expected = json!({
            "user_id": "nobody",
            "enrolled": false,
            "recovery_key_acknowledged": false,
            "has_password": false,
            "second_factor_backoff": { "failures": 0 },
            "password_backoff": { "failures": 0 },
        });
        assert_eq!(user("nobody", &DescribeUserResponse::default()), expected);
    }
}
