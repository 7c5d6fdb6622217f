//! The bodies of answers: the messages of the API in proto3 JSON, with default values written out and
//! fields that may be unset left out.

use super::time;
use serde::Serialize;
use twinlock_core::enrollment::{Confirmed, Description, Failures};
use twinlock_core::login::{Owed, Verdict};
use twinlock_core::record::Method;
use twinlock_core::second_factor::{Granted, Issued, Proven};
use twinlock_engine::Enrollment as Begun;
use zeroize::Zeroizing;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Enrollment<'a> {
    secret: Zeroizing<String>,
    otpauth_uri: &'a str,
    qr_svg: &'a str,
    expire_time: String,
}

impl<'a> From<&'a Begun> for Enrollment<'a> {
    fn from(begun: &'a Begun) -> Self {
        Self {
            secret: begun.secret.to_base32(),
            otpauth_uri: &begun.otpauth_uri,
            qr_svg: &begun.qr_svg,
            expire_time: time::write(begun.expire_at),
        }
    }
}

/// A recovery key where one was issued, else the default values of its fields.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryKey {
    recovery_key: Zeroizing<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_key_create_time: Option<String>,
}

impl From<Option<&Issued>> for RecoveryKey {
    fn from(issued: Option<&Issued>) -> Self {
        Self {
            recovery_key: issued
                .map(|issued| Zeroizing::new(issued.key.expose().to_string()))
                .unwrap_or_default(),
            recovery_key_create_time: issued.map(|issued| time::write(issued.created_at)),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmation {
    #[serde(flatten)]
    recovery_key: RecoveryKey,
    enroll_time: String,
}

impl From<&Confirmed> for Confirmation {
    fn from(confirmed: &Confirmed) -> Self {
        Self {
            recovery_key: Some(&confirmed.issued).into(),
            enroll_time: time::write(confirmed.enrolled_at),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    enrolled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    enroll_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_expire_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_key_create_time: Option<String>,
    recovery_key_acknowledged: bool,
    has_password: bool,
    second_factor_backoff: Backoff,
    password_backoff: Backoff,
}

impl From<&Description> for User {
    fn from(description: &Description) -> Self {
        Self {
            enrolled: description.enrolled_at.is_some(),
            enroll_time: description.enrolled_at.map(time::write),
            pending_expire_time: description.pending_expire_at.map(time::write),
            recovery_key_create_time: description.recovery_key_created_at.map(time::write),
            recovery_key_acknowledged: description.recovery_key_acknowledged,
            has_password: description.has_password,
            second_factor_backoff: description.second_factor.into(),
            password_backoff: description.password.into(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Backoff {
    failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_until: Option<String>,
}

impl From<Failures> for Backoff {
    fn from(failures: Failures) -> Self {
        Self { failures: failures.count, blocked_until: failures.blocked_until.map(time::write) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    decision: &'static str,
    reason: &'static str,
    notify: bool,
    remind_recovery_key: bool,
}

impl From<Verdict> for Login {
    fn from(verdict: Verdict) -> Self {
        Self {
            decision: match verdict.owed {
                Owed::Allow => "DECISION_ALLOW",
                Owed::Verify => "DECISION_VERIFY",
                Owed::Enroll => "DECISION_ENROLL",
                Owed::Deny => "DECISION_DENY",
            },
            reason: verdict.ground.as_str(),
            notify: verdict.notify,
            remind_recovery_key: verdict.remind_recovery_key,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    method: &'static str,
    verify_time: String,
    #[serde(flatten)]
    recovery_key: RecoveryKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    elevation: Option<Elevation>,
}

impl From<&Proven> for Verified {
    fn from(proven: &Proven) -> Self {
        Self {
            method: method(proven.method),
            verify_time: time::write(proven.at),
            recovery_key: proven.issued.as_ref().into(),
            elevation: proven.elevation.map(Elevation::from),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Elevated {
    #[serde(skip_serializing_if = "Option::is_none")]
    elevation: Option<Elevation>,
    #[serde(flatten)]
    recovery_key: RecoveryKey,
}

impl From<&Proven> for Elevated {
    fn from(proven: &Proven) -> Self {
        Self {
            elevation: proven.elevation.map(Elevation::from),
            recovery_key: proven.issued.as_ref().into(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    elevation: Elevation,
}

impl From<Granted> for Checked {
    fn from(granted: Granted) -> Self {
        Self { elevation: granted.into() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Elevation {
    method: &'static str,
    elevate_time: String,
    expire_time: String,
}

impl From<Granted> for Elevation {
    fn from(granted: Granted) -> Self {
        Self {
            method: method(granted.method),
            elevate_time: time::write(granted.at),
            expire_time: time::write(granted.expire_at),
        }
    }
}

fn method(method: Method) -> &'static str {
    match method {
        Method::Totp => "METHOD_TOTP",
        Method::RecoveryKey => "METHOD_RECOVERY_KEY",
        Method::Password => "METHOD_PASSWORD",
        Method::Asserted => "METHOD_ASSERTED",
    }
}
