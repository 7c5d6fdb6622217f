//! Ory Kratos: identities as its admin API tells them when asked with `include_credential=totp`.

use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::json::{self, Lines};
use super::{Authenticator, Entries, Found, Skipped, Unreadable, otpauth_list};

pub(super) fn read(text: &str) -> Result<Vec<Found>, Unreadable> {
    let mut entries = Entries::default();
    let mut lines = Lines::of(text);
    for value in json::values(text)? {
        let line = lines.line(value);
        match json::object::<Identity<'_>>(value) {
            Ok(identity) => {
                if let Some(totp) = identity.credentials.as_ref().and_then(|all| all.totp.as_ref())
                {
                    entries.push(line, identity.names(), totp.authenticator());
                }
            }
            Err(skipped) => entries.push(line, Vec::new(), Err(skipped)),
        }
    }
    Ok(entries.0)
}

#[derive(Deserialize)]
struct Identity<'a> {
    id: Option<String>,
    // Traits are of the project's own schema: they are looked into only for the names that they may have.
    #[serde(borrow)]
    traits: Option<&'a RawValue>,
    credentials: Option<Credentials>,
}

#[derive(Default, Deserialize)]
struct Traits {
    email: Option<String>,
    username: Option<String>,
}

impl Identity<'_> {
    fn names(&self) -> Vec<(&'static str, String)> {
        let traits = self.traits.and_then(|traits| json::object::<Traits>(traits).ok());
        let Traits { email, username } = traits.unwrap_or_default();
        let names = [("id", self.id.clone()), ("email", email), ("username", username)];
        names.into_iter().filter_map(|(kind, name)| Some((kind, name?))).collect()
    }
}

#[derive(Deserialize)]
struct Credentials {
    totp: Option<Totp>,
}

#[derive(Deserialize)]
struct Totp {
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    totp_url: Option<Zeroizing<String>>,
}

impl Totp {
    fn authenticator(&self) -> Result<Authenticator, Skipped> {
        let url = self.config.as_ref().and_then(|config| config.totp_url.as_ref());
        Ok(otpauth_list::parse(url.ok_or(Skipped::NotIncluded)?)?.into())
    }
}
