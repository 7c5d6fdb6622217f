//! The answers, from protobuf to JavaScript. A text or a time that is not set is left out; `lib/client.js`
//! makes dates of the times.

use napi_derive::napi;
use twinlock_client::{Error, proto};

use crate::time::date;

#[napi(object, object_from_js = false)]
pub struct Empty {}

macro_rules! empty {
    ($($name:ident)*) => {$(
        impl From<proto::$name> for Empty {
            fn from(proto::$name {}: proto::$name) -> Self {
                Self {}
            }
        }
    )*};
}

empty! {
    UnenrollResponse DropElevationResponse AcknowledgeRecoveryKeyResponse SetPasswordResponse
    ClearPasswordResponse UnenrollUserResponse ClearBackoffResponse EraseUserResponse ResetUserResponse
}

#[napi(object, object_from_js = false)]
pub struct EnrollResponse {
    pub secret: String,
    pub otpauth_uri: String,
    pub qr_svg: String,
    pub expire_time: Option<f64>,
}

impl From<proto::EnrollResponse> for EnrollResponse {
    fn from(answer: proto::EnrollResponse) -> Self {
        Self {
            secret: answer.secret,
            otpauth_uri: answer.otpauth_uri,
            qr_svg: answer.qr_svg,
            expire_time: answer.expire_time.map(date),
        }
    }
}

#[napi(object, object_from_js = false)]
pub struct ConfirmEnrollmentResponse {
    pub recovery_key: String,
    pub enroll_time: Option<f64>,
    pub recovery_key_create_time: Option<f64>,
}

impl From<proto::ConfirmEnrollmentResponse> for ConfirmEnrollmentResponse {
    fn from(answer: proto::ConfirmEnrollmentResponse) -> Self {
        Self {
            recovery_key: answer.recovery_key,
            enroll_time: answer.enroll_time.map(date),
            recovery_key_create_time: answer.recovery_key_create_time.map(date),
        }
    }
}

#[napi(object, object_from_js = false)]
pub struct DescribeUserResponse {
    pub enrolled: bool,
    pub enroll_time: Option<f64>,
    pub pending_expire_time: Option<f64>,
    pub recovery_key_create_time: Option<f64>,
    pub recovery_key_acknowledged: bool,
    pub has_password: bool,
    pub second_factor_backoff: Backoff,
    pub password_backoff: Backoff,
}

impl From<proto::DescribeUserResponse> for DescribeUserResponse {
    fn from(answer: proto::DescribeUserResponse) -> Self {
        Self {
            enrolled: answer.enrolled,
            enroll_time: answer.enroll_time.map(date),
            pending_expire_time: answer.pending_expire_time.map(date),
            recovery_key_create_time: answer.recovery_key_create_time.map(date),
            recovery_key_acknowledged: answer.recovery_key_acknowledged,
            has_password: answer.has_password,
            second_factor_backoff: answer.second_factor_backoff.unwrap_or_default().into(),
            password_backoff: answer.password_backoff.unwrap_or_default().into(),
        }
    }
}

#[napi(object, object_from_js = false)]
pub struct Backoff {
    pub failures: u32,
    pub blocked_until: Option<f64>,
}

impl From<proto::Backoff> for Backoff {
    fn from(backoff: proto::Backoff) -> Self {
        Self { failures: backoff.failures, blocked_until: backoff.blocked_until.map(date) }
    }
}

#[napi(object, object_from_js = false)]
pub struct EvaluateLoginResponse {
    pub decision: &'static str,
    pub reason: String,
    pub notify: bool,
    pub remind_recovery_key: bool,
}

impl TryFrom<proto::EvaluateLoginResponse> for EvaluateLoginResponse {
    type Error = Error;

    fn try_from(answer: proto::EvaluateLoginResponse) -> Result<Self, Error> {
        // One of a later release is a failure: to guess what it asks for would be to let somebody in.
        let known = match answer.decision() {
            proto::Decision::Unspecified => None,
            known => known.as_str_name().strip_prefix("DECISION_"),
        };
        let decision = known.ok_or_else(|| {
            Error::internal(
                "The server's decision is not known to this release. Upgrade it.".into(),
            )
        })?;
        Ok(Self {
            decision,
            reason: answer.reason,
            notify: answer.notify,
            remind_recovery_key: answer.remind_recovery_key,
        })
    }
}

#[napi(object, object_from_js = false)]
pub struct VerifyResponse {
    pub method: &'static str,
    pub verify_time: Option<f64>,
    pub recovery_key: Option<String>,
    pub recovery_key_create_time: Option<f64>,
    pub elevation: Option<Elevation>,
}

impl From<proto::VerifyResponse> for VerifyResponse {
    fn from(answer: proto::VerifyResponse) -> Self {
        Self {
            method: method(answer.method),
            verify_time: answer.verify_time.map(date),
            recovery_key: set(answer.recovery_key),
            recovery_key_create_time: answer.recovery_key_create_time.map(date),
            elevation: answer.elevation.map(Into::into),
        }
    }
}

#[napi(object, object_from_js = false)]
pub struct ElevateResponse {
    pub elevation: Option<Elevation>,
    pub recovery_key: Option<String>,
    pub recovery_key_create_time: Option<f64>,
}

impl From<proto::ElevateResponse> for ElevateResponse {
    fn from(answer: proto::ElevateResponse) -> Self {
        Self {
            elevation: answer.elevation.map(Into::into),
            recovery_key: set(answer.recovery_key),
            recovery_key_create_time: answer.recovery_key_create_time.map(date),
        }
    }
}

#[napi(object, object_from_js = false)]
pub struct Elevation {
    pub method: &'static str,
    pub elevate_time: Option<f64>,
    pub expire_time: Option<f64>,
}

impl From<proto::Elevation> for Elevation {
    fn from(elevation: proto::Elevation) -> Self {
        Self {
            method: method(elevation.method),
            elevate_time: elevation.elevate_time.map(date),
            expire_time: elevation.expire_time.map(date),
        }
    }
}

impl From<proto::CheckElevationResponse> for Elevation {
    fn from(answer: proto::CheckElevationResponse) -> Self {
        answer.elevation.unwrap_or_default().into()
    }
}

#[napi(object, object_from_js = false)]
pub struct RecoveryKeyResponse {
    pub recovery_key: Option<String>,
    pub recovery_key_create_time: Option<f64>,
}

impl From<proto::RotateRecoveryKeyResponse> for RecoveryKeyResponse {
    fn from(answer: proto::RotateRecoveryKeyResponse) -> Self {
        Self {
            recovery_key: set(answer.recovery_key),
            recovery_key_create_time: answer.recovery_key_create_time.map(date),
        }
    }
}

impl From<proto::ImportEnrollmentResponse> for RecoveryKeyResponse {
    fn from(answer: proto::ImportEnrollmentResponse) -> Self {
        Self {
            recovery_key: set(answer.recovery_key),
            recovery_key_create_time: answer.recovery_key_create_time.map(date),
        }
    }
}

#[napi(object, object_from_js = false)]
pub struct Event {
    pub event_id: String,
    pub event_time: Option<f64>,
    pub r#type: String,
    pub user_id: Option<String>,
    pub actor_id: Option<String>,
    pub caller: Option<String>,
    pub method: Option<&'static str>,
    pub reason: Option<String>,
    pub client: Option<EventClient>,
    pub namespace: Option<String>,
}

#[napi(object, object_from_js = false)]
pub struct EventClient {
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
}

impl From<proto::Event> for Event {
    fn from(event: proto::Event) -> Self {
        Self {
            // 0 stands for none: most events have no proof in them.
            method: (event.method != 0).then(|| method(event.method)),
            event_id: event.event_id,
            event_time: event.event_time.map(date),
            r#type: event.r#type,
            user_id: set(event.user_id),
            actor_id: set(event.actor_id),
            caller: set(event.caller),
            reason: set(event.reason),
            client: event.client.map(|client| EventClient {
                ip_address: set(client.ip_address),
                user_agent: set(client.user_agent),
            }),
            namespace: set(event.namespace),
        }
    }
}

/// The name of a method of proof without its prefix; `UNKNOWN` for one of a later release.
fn method(method: i32) -> &'static str {
    let known = proto::Method::try_from(method).ok();
    let known = known.filter(|known| *known != proto::Method::Unspecified);
    known.and_then(|known| known.as_str_name().strip_prefix("METHOD_")).unwrap_or("UNKNOWN")
}

fn set(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}
