//! django-otp: fixtures of its devices (`otp_totp.TOTPDevice`), with those of the users beside them or not.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use twinlock_core::totp::Algorithm;
use zeroize::Zeroizing;

use super::json::{self, Lines, Scalar};
use super::{Authenticator, Entries, Found, Skipped, Unreadable, hexadecimal_secret, parameters};

pub(super) fn read(text: &str) -> Result<Vec<Found>, Unreadable> {
    let values = json::values(text)?;
    let users: HashMap<String, User> = values.iter().copied().filter_map(user).collect();
    let mut entries = Entries::default();
    let mut lines = Lines::of(text);
    for value in values {
        let line = lines.line(value);
        match object(value) {
            Ok((model, fields)) if model == "otp_totp.totpdevice" => {
                let device = json::object::<Device>(fields);
                let names = device.as_ref().map(|device| names(device.user.as_ref(), &users));
                let names = names.unwrap_or_default();
                entries.push(line, names, device.and_then(|device| device.authenticator()));
            }
            Ok((model, fields)) if model == "otp_hotp.hotpdevice" => {
                let owner = json::object::<Owner>(fields);
                let names = owner.map(|owner| names(owner.user.as_ref(), &users));
                entries.push(line, names.unwrap_or_default(), Err(Skipped::Counter));
            }
            Ok(_) => {}
            Err(skipped) => entries.push(line, Vec::new(), Err(skipped)),
        }
    }
    Ok(entries.0)
}

fn object(value: &RawValue) -> Result<(String, &RawValue), Skipped> {
    let object: Object<'_> = json::object(value)?;
    let model = object.model.ok_or(Skipped::Missing("model"))?;
    Ok((model, object.fields.ok_or(Skipped::Missing("fields"))?))
}

#[derive(Deserialize)]
struct Object<'a> {
    model: Option<String>,
    pk: Option<Scalar>,
    #[serde(borrow)]
    fields: Option<&'a RawValue>,
}

/// The fields that every model of users has (`AbstractBaseUser`), whatever the project calls it, and names.
#[derive(Deserialize)]
struct User {
    #[serde(rename = "password")]
    _password: IgnoredAny,
    #[serde(rename = "last_login")]
    _last_login: IgnoredAny,
    username: Option<String>,
    email: Option<String>,
}

fn user(value: &RawValue) -> Option<(String, User)> {
    let object: Object<'_> = json::object(value).ok()?;
    let user = json::object(object.fields?).ok()?;
    Some((object.pk?.as_str().to_owned(), user))
}

#[derive(Deserialize)]
struct Owner {
    user: Option<Scalar>,
}

fn names(owner: Option<&Scalar>, users: &HashMap<String, User>) -> Vec<(&'static str, String)> {
    let Some(pk) = owner.map(Scalar::as_str) else { return Vec::new() };
    let user = users.get(pk);
    let name = |kind, name: Option<&String>| name.map(|name| (kind, name.clone()));
    let names = [
        Some(("pk", pk.to_owned())),
        name("username", user.and_then(|user| user.username.as_ref())),
        name("email", user.and_then(|user| user.email.as_ref())),
    ];
    names.into_iter().flatten().filter(|(_, name)| !name.is_empty()).collect()
}

#[derive(Deserialize)]
struct Device {
    user: Option<Scalar>,
    confirmed: Option<bool>,
    key: Option<Zeroizing<String>>,
    step: Option<Scalar>,
    t0: Option<Scalar>,
    digits: Option<Scalar>,
    drift: Option<f64>,
}

impl Device {
    fn authenticator(&self) -> Result<Authenticator, Skipped> {
        if !self.confirmed.ok_or(Skipped::Missing("confirmed"))? {
            return Err(Skipped::Unconfirmed);
        }
        if self.t0.as_ref().is_some_and(|t0| t0.as_str() != "0") {
            return Err(Skipped::OtherEpoch);
        }
        let secret = hexadecimal_secret(self.key.as_ref().ok_or(Skipped::Missing("key"))?)?;
        let step = self.step.as_ref().ok_or(Skipped::Missing("step"))?.number("step")?;
        let digits = self.digits.as_ref().ok_or(Skipped::Missing("digits"))?.number("digits")?;
        // django-otp computes its codes with SHA-1 alone.
        let parameters = parameters(Algorithm::Sha1, digits, step)?;
        let drift = self.drift.unwrap_or(0.0) * f64::from(parameters.period.as_secs());
        Ok(Authenticator::new(secret, parameters).with_drift(drift))
    }
}
