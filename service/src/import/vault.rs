//! Vault's TOTP engine, and OpenBao's: the JSON answers to `vault write -format=json totp/keys/…
//! generate=true`. Nothing else ever tells the secrets.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::json::{self, Lines};
use super::{Authenticator, Entries, Found, Skipped, Unreadable, account, otpauth_list};

pub(super) fn read(text: &str) -> Result<Vec<Found>, Unreadable> {
    let mut entries = Entries::default();
    let mut lines = Lines::of(text);
    for value in json::values(text)? {
        let line = lines.line(value);
        let url = json::object::<Answer>(value)
            .and_then(|answer| answer.data.and_then(|data| data.url).ok_or(Skipped::NotTold));
        let uri = url.and_then(|url| otpauth_list::parse(&url));
        let names = uri.as_ref().map(account).unwrap_or_default();
        entries.push(line, names, uri.map(Authenticator::from));
    }
    Ok(entries.0)
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    url: Option<Zeroizing<String>>,
}
