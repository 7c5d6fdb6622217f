//! Keycloak: realm exports with users, whose credentials are JSON within JSON.

use serde::Deserialize;
use serde_json::value::RawValue;
use twinlock_core::totp::{Algorithm, Secret};
use zeroize::Zeroizing;

use super::json::{self, Lines, Scalar};
use super::{Authenticator, Entries, Found, Skipped, Unreadable, parameters};

pub(super) fn read(text: &str) -> Result<Vec<Found>, Unreadable> {
    let mut entries = Entries::default();
    let mut lines = Lines::of(text);
    for value in json::values(text)? {
        let line = lines.line(value);
        let realm: Realm<'_> = match json::object(value) {
            Ok(realm) => realm,
            Err(skipped) => {
                entries.push(line, Vec::new(), Err(skipped));
                continue;
            }
        };
        for list in [realm.users, realm.federated_users].into_iter().flatten() {
            match json::parts(list) {
                Ok(users) => {
                    users.into_iter().for_each(|value| user(value, &mut lines, &mut entries))
                }
                Err(skipped) => entries.push(lines.line(list), Vec::new(), Err(skipped)),
            }
        }
    }
    Ok(entries.0)
}

fn user(value: &RawValue, lines: &mut Lines<'_>, entries: &mut Entries) {
    let line = lines.line(value);
    let user: User<'_> = match json::object(value) {
        Ok(user) => user,
        Err(skipped) => return entries.push(line, Vec::new(), Err(skipped)),
    };
    for value in user.credentials.iter().flatten() {
        let credential = json::object::<Credential>(value);
        let kind = credential.as_ref().ok().and_then(|credential| credential.kind.as_deref());
        // Passwords, recovery codes and passkeys are no authenticators.
        if credential.is_ok() && !matches!(kind, Some("otp" | "totp" | "hotp")) {
            continue;
        }
        let authenticator = credential.and_then(|credential| credential.authenticator());
        entries.push(lines.line(value), user.names(), authenticator);
    }
}

#[derive(Deserialize)]
struct Realm<'a> {
    #[serde(borrow)]
    users: Option<&'a RawValue>,
    #[serde(borrow, rename = "federatedUsers")]
    federated_users: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct User<'a> {
    id: Option<String>,
    username: Option<String>,
    email: Option<String>,
    #[serde(borrow)]
    credentials: Option<Vec<&'a RawValue>>,
}

impl User<'_> {
    fn names(&self) -> Vec<(&'static str, String)> {
        let names = [("id", &self.id), ("username", &self.username), ("email", &self.email)];
        names.into_iter().filter_map(|(kind, name)| Some((kind, name.clone()?))).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    #[serde(rename = "type")]
    kind: Option<String>,
    secret_data: Option<Zeroizing<String>>,
    credential_data: Option<String>,
}

#[derive(Deserialize)]
struct SecretData {
    value: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CredentialData {
    sub_type: Option<String>,
    digits: Option<Scalar>,
    period: Option<Scalar>,
    algorithm: Option<String>,
    secret_encoding: Option<String>,
}

impl Credential {
    fn authenticator(&self) -> Result<Authenticator, Skipped> {
        if self.kind.as_deref() != Some("otp") {
            return Err(Skipped::OldKeycloak);
        }
        let data = self.credential_data.as_ref().ok_or(Skipped::Missing("credentialData"))?;
        let data: CredentialData = json::text(data)?;
        match data.sub_type.as_deref() {
            Some("totp") => {}
            Some("hotp") => return Err(Skipped::Counter),
            _ => return Err(Skipped::OtherKind),
        }
        let algorithm = data.algorithm.as_deref().ok_or(Skipped::Missing("algorithm"))?;
        // The names are those of Java: HmacSHA1.
        let algorithm = Algorithm::parse(algorithm.strip_prefix("Hmac").unwrap_or(algorithm))?;
        let digits = data.digits.as_ref().ok_or(Skipped::Missing("digits"))?.number("digits")?;
        let period = data.period.as_ref().ok_or(Skipped::Missing("period"))?.number("period")?;

        let secret = self.secret_data.as_ref().ok_or(Skipped::Missing("secretData"))?;
        let secret: SecretData = json::text(secret)?;
        let secret = secret.value.ok_or(Skipped::Missing("secretData.value"))?;
        let secret = match data.secret_encoding.as_deref() {
            // The secrets that Keycloak makes itself are texts, and their bytes are the key.
            None => Secret::from_bytes(secret.as_bytes())?,
            Some(encoding) if encoding.eq_ignore_ascii_case("BASE32") => {
                Secret::parse_base32(&secret)?
            }
            Some(_) => return Err(Skipped::UnknownEncoding),
        };
        Ok(Authenticator::new(secret, parameters(algorithm, digits, period)?))
    }
}
