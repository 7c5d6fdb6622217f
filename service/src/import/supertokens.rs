//! SuperTokens: the table `totp_user_devices`, as CSV with a header or as JSON.

use serde::Deserialize;
use twinlock_core::totp::{Algorithm, Secret};
use zeroize::Zeroizing;

use super::json::{self, Lines, Scalar};
use super::table::Table;
use super::{Authenticator, Entries, Found, Skipped, Unreadable, parameters};

pub(super) fn read(text: &str) -> Result<Vec<Found>, Unreadable> {
    let mut entries = Entries::default();
    if text.trim_start().starts_with(['[', '{']) {
        let mut lines = Lines::of(text);
        for value in json::values(text)? {
            push(&mut entries, lines.line(value), json::object(value));
        }
        return Ok(entries.0);
    }
    let table = Table::read(text);
    let (user_id, secret_key) = (table.column(&["user_id"])?, table.column(&["secret_key"])?);
    let (period, verified) = (table.column(&["period"])?, table.column(&["verified"])?);
    for record in table.records() {
        let device = Device {
            user_id: record.field(user_id).map(str::to_owned),
            secret_key: record.field(secret_key).map(|key| Zeroizing::new(key.to_owned())),
            period: record.field(period).map(Scalar::from),
            verified: record.field(verified).map(Scalar::from),
        };
        push(&mut entries, Some(record.line), record.check().map(|()| device));
    }
    Ok(entries.0)
}

fn push(entries: &mut Entries, line: Option<usize>, device: Result<Device, Skipped>) {
    let user = device.as_ref().ok().and_then(|device| device.user_id.clone());
    let names = user.into_iter().map(|user| ("user_id", user)).collect();
    entries.push(line, names, device.and_then(|device| device.authenticator()));
}

#[derive(Deserialize)]
struct Device {
    user_id: Option<String>,
    secret_key: Option<Zeroizing<String>>,
    period: Option<Scalar>,
    verified: Option<Scalar>,
}

impl Device {
    fn authenticator(&self) -> Result<Authenticator, Skipped> {
        match self.verified.as_ref().map(Scalar::as_str) {
            Some("t" | "true" | "1") => {}
            Some("f" | "false" | "0") => return Err(Skipped::Unconfirmed),
            Some(_) => return Err(Skipped::WrongType("verified".into())),
            None => return Err(Skipped::Missing("verified")),
        }
        let secret = self.secret_key.as_ref().ok_or(Skipped::Missing("secret_key"))?;
        let secret = Secret::parse_base32(secret.trim())?;
        let period = self.period.as_ref().ok_or(Skipped::Missing("period"))?.number("period")?;
        // SuperTokens computes its codes with SHA-1 and six digits alone.
        Ok(Authenticator::new(secret, parameters(Algorithm::Sha1, 6, period)?))
    }
}
