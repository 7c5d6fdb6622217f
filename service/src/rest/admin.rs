//! What an administrator of the product does to another user.

use super::read::Asked;
use super::{Answered, answer, json, nothing, request};
use twinlock_core::otpauth::OtpauthUri;
use twinlock_core::totp::TotpCode;
use twinlock_engine::Engine;

pub async fn unenroll_user(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::ByAdministrator = asked.fields()?;
    let call = asked.call(fields.request_id, fields.client)?;
    let administrator = asked.administrator()?;
    let code = TotpCode::parse(&fields.totp_code.unwrap_or_default())?;
    engine.unenroll_user(&call, administrator, code, asked.user()?).await?;
    Ok(nothing())
}

pub async fn clear_backoff(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::ByAdministrator = asked.fields()?;
    let call = asked.call(fields.request_id, fields.client)?;
    let administrator = asked.administrator()?;
    let code = TotpCode::parse(&fields.totp_code.unwrap_or_default())?;
    engine.clear_backoff(&call, administrator, code, asked.user()?).await?;
    Ok(nothing())
}

pub async fn import_enrollment(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::ImportEnrollment = asked.fields()?;
    let call = asked.call(fields.request_id, None)?;
    let user = asked.user()?;
    let uri = OtpauthUri::parse(&fields.otpauth_uri.unwrap_or_default())?;
    let wants_key = fields.issue_recovery_key.unwrap_or_default();
    let issued = engine.import_enrollment(&call, user, &uri, wants_key).await?;
    Ok(json(&answer::RecoveryKey::from(issued.as_ref())))
}
