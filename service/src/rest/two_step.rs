//! What a product's backend calls: parse every field, call the engine, write the answer.

use super::read::Asked;
use super::request::Object;
use super::{Answered, answer, json, nothing, request, time};
use crate::input;
use twinlock_core::login::Channel;
use twinlock_core::recovery::RecoveryKey;
use twinlock_core::totp::TotpCode;
use twinlock_core::{AccountName, Malformed, SessionId};
use twinlock_engine::engine::Credential;
use twinlock_engine::hash::{Password, PasswordHash};
use twinlock_engine::{Engine, LoginRequest, NewPassword, Proof};
use zeroize::Zeroizing;

pub async fn describe_user(engine: &Engine, asked: Asked) -> Answered {
    let description = engine.describe_user(&asked.call, asked.user()?).await?;
    Ok(json(&answer::User::from(&description)))
}

pub async fn enroll(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::Enroll = asked.fields()?;
    let call = asked.call(fields.request_id, fields.client)?;
    let user = asked.user()?;
    let session = session(fields.session_id)?;
    let account = fields.account_name.unwrap_or_default();
    let account = input::optional(&account, AccountName::parse)?;
    let begun = engine.enroll(&call, user, &session, account).await?;
    Ok(json(&answer::Enrollment::from(&begun)))
}

pub async fn confirm_enrollment(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::ConfirmEnrollment = asked.fields()?;
    let call = asked.call(fields.request_id, fields.client)?;
    let user = asked.user()?;
    let session = session(fields.session_id)?;
    let code = TotpCode::parse(&fields.totp_code.unwrap_or_default())?;
    let confirmed = engine.confirm_enrollment(&call, user, &session, &code).await?;
    Ok(json(&answer::Confirmation::from(&confirmed)))
}

pub async fn unenroll(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::OfSession = asked.fields()?;
    let call = asked.call(fields.request_id, fields.client)?;
    let user = asked.user()?;
    engine.unenroll(&call, user, &session(fields.session_id)?).await?;
    Ok(nothing())
}

pub async fn evaluate_login(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::EvaluateLogin = asked.fields()?;
    let call = asked.call(fields.request_id, fields.client)?;
    let user = asked.user()?;
    let login = LoginRequest {
        channel: channel(fields.channel.as_deref())?,
        authorities: fields.authorities.unwrap_or_default(),
        resource: fields.resource.unwrap_or_default(),
    };
    let verdict = engine.evaluate_login(&call, user, &login).await?;
    Ok(json(&answer::Login::from(verdict)))
}

pub async fn verify(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::Verify = asked.fields()?;
    let call = asked.call(fields.request_id, fields.client)?;
    let user = asked.user()?;
    let session = input::session(&fields.session_id.unwrap_or_default())?;
    let credential = match (fields.totp_code, fields.recovery_key) {
        (Some(code), None) => Credential::Totp(TotpCode::parse(&code)?),
        (None, Some(key)) => Credential::RecoveryKey(RecoveryKey::parse(&key)?),
        _ => {
            let problem = "must be given, as either totpCode or recoveryKey";
            return Err(Malformed { field: "credential", problem }.into());
        }
    };
    let proven = engine.verify(&call, user, session.as_ref(), credential).await?;
    Ok(json(&answer::Verified::from(&proven)))
}

pub async fn elevate(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::Elevate = asked.fields()?;
    let call = asked.call(fields.request_id, fields.client)?;
    let user = asked.user()?;
    let session = session(fields.session_id)?;
    let given = (fields.totp_code, fields.recovery_key, fields.password, fields.asserted);
    let proof = match given {
        (Some(code), None, None, None) => Proof::Totp(TotpCode::parse(&code)?),
        (None, Some(key), None, None) => Proof::RecoveryKey(RecoveryKey::parse(&key)?),
        (None, None, Some(Object(given)), None) => {
            let hash = given.password_hash.unwrap_or_default();
            let hash = input::optional(&hash, PasswordHash::parse)?;
            Proof::Password(password(given.password.unwrap_or_default())?, hash)
        }
        (None, None, None, Some(Object(given))) => Proof::Asserted(given.how.unwrap_or_default()),
        _ => {
            let problem = "must be given, as one of totpCode, recoveryKey, password and asserted";
            return Err(Malformed { field: "credential", problem }.into());
        }
    };
    let proven = engine.elevate(&call, user, &session, proof).await?;
    Ok(json(&answer::Elevated::from(&proven)))
}

pub async fn check_elevation(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::CheckElevation = asked.fields()?;
    let user = asked.user()?;
    let session = session(fields.session_id)?;
    let max_age = input::max_age(time::read_duration(fields.max_age.as_deref())?)?;
    let granted = engine.check_elevation(&asked.call, user, &session, max_age).await?;
    Ok(json(&answer::Checked::from(granted)))
}

pub async fn drop_elevation(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::DropElevation = asked.fields()?;
    let user = asked.user()?;
    let session = fields.session_id.unwrap_or_default();
    let session = input::session_to_drop(&session, fields.all_sessions.unwrap_or_default())?;
    engine.drop_elevation(&asked.call, user, session.as_ref()).await?;
    Ok(nothing())
}

pub async fn rotate_recovery_key(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::OfSession = asked.fields()?;
    let call = asked.call(fields.request_id, fields.client)?;
    let user = asked.user()?;
    let session = session(fields.session_id)?;
    let issued = engine.rotate_recovery_key(&call, user, &session).await?;
    Ok(json(&answer::RecoveryKey::from(Some(&issued))))
}

pub async fn acknowledge_recovery_key(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::AcknowledgeRecoveryKey = asked.fields()?;
    let user = asked.user()?;
    let created_at = time::read(fields.recovery_key_create_time.as_deref())?;
    let created_at = input::key_time(created_at)?;
    engine.acknowledge_recovery_key(&asked.call, user, created_at).await?;
    Ok(nothing())
}

pub async fn set_password(engine: &Engine, asked: Asked) -> Answered {
    let fields: request::SetPassword = asked.fields()?;
    let user = asked.user()?;
    let new = match (fields.password, fields.password_hash) {
        (Some(text), None) => NewPassword::Plain(password(text)?),
        (None, Some(hash)) => NewPassword::Hash(PasswordHash::parse(&hash)?),
        _ => {
            let problem = "must be given, as either password or passwordHash";
            return Err(Malformed { field: "verifier", problem }.into());
        }
    };
    engine.set_password(&asked.call, user, new).await?;
    Ok(nothing())
}

pub async fn clear_password(engine: &Engine, asked: Asked) -> Answered {
    let request::Nothing {} = asked.fields()?;
    engine.clear_password(&asked.call, asked.user()?).await?;
    Ok(nothing())
}

fn session(text: Option<Zeroizing<String>>) -> Result<SessionId, Malformed> {
    SessionId::parse(&text.unwrap_or_default())
}

fn password(mut text: Zeroizing<String>) -> Result<Password, Malformed> {
    Password::parse(std::mem::take(&mut *text))
}

fn channel(name: Option<&str>) -> Result<Channel, Malformed> {
    match name {
        Some("LOGIN_CHANNEL_FORM") => Ok(Channel::Form),
        Some("LOGIN_CHANNEL_BASIC") => Ok(Channel::Basic),
        Some("LOGIN_CHANNEL_RECOVERY_ADMIN") => Ok(Channel::RecoveryAdmin),
        _ => {
            let problem = "must be LOGIN_CHANNEL_FORM, LOGIN_CHANNEL_BASIC or \
                           LOGIN_CHANNEL_RECOVERY_ADMIN";
            Err(Malformed { field: "channel", problem })
        }
    }
}
