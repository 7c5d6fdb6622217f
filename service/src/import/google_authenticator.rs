//! Google Authenticator's export: one or several QR codes with `otpauth-migration://` URIs, each of which
//! holds a part of the accounts as a protobuf message. Google has not published the message; the numbers
//! are those that other apps agree on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use percent_encoding::percent_decode_str;
use prost::Message;
use twinlock_core::Malformed;
use twinlock_core::totp::{Algorithm, Secret};
use zeroize::{Zeroize, Zeroizing};

use super::otpauth_list::numbered;
use super::{Authenticator, Entries, Found, Skipped, Unreadable, parameters};

pub(super) fn read(text: &str) -> Result<Vec<Found>, Unreadable> {
    let mut entries = Entries::default();
    let mut exports = BTreeMap::<i32, Export>::new();
    for (number, line) in numbered(text) {
        let payload = match payload(line) {
            Ok(payload) => payload,
            Err(skipped) => {
                entries.push(Some(number), Vec::new(), Err(skipped));
                continue;
            }
        };
        let export = exports.entry(payload.batch_id).or_default();
        export.parts.insert(payload.batch_index);
        export.size = usize::try_from(payload.batch_size).unwrap_or(0);
        export.last_line = number;
        for account in &payload.accounts {
            entries.push(Some(number), account.names(), account.authenticator());
        }
    }
    for export in exports.into_values() {
        let missing = export.size.saturating_sub(export.parts.len());
        if missing > 0 {
            let skipped = Skipped::MissingParts { missing, of: export.size };
            entries.push(Some(export.last_line), Vec::new(), Err(skipped));
        }
    }
    Ok(entries.0)
}

/// The QR codes of one export that were seen.
#[derive(Default)]
struct Export {
    parts: BTreeSet<i32>,
    size: usize,
    last_line: usize,
}

/// The period is not in the message: the app knows only this one.
const PERIOD: u64 = 30;

#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(message, repeated, tag = "1")]
    accounts: Vec<Account>,
    #[prost(int32, tag = "3")]
    batch_size: i32,
    #[prost(int32, tag = "4")]
    batch_index: i32,
    #[prost(int32, tag = "5")]
    batch_id: i32,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Account {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    issuer: String,
    #[prost(int32, tag = "4")]
    algorithm: i32,
    #[prost(int32, tag = "5")]
    digits: i32,
    #[prost(int32, tag = "6")]
    kind: i32,
}

impl Account {
    fn names(&self) -> Vec<(&'static str, String)> {
        let after_issuer =
            self.name.strip_prefix(&self.issuer).and_then(|rest| rest.strip_prefix(':'));
        let account = match after_issuer.filter(|_| !self.issuer.is_empty()) {
            Some(account) => account,
            None => self.name.split_once(':').map_or(&*self.name, |(_, account)| account),
        };
        vec![("account", account.trim_start_matches(' ').to_owned()), ("label", self.name.clone())]
    }

    fn authenticator(&self) -> Result<Authenticator, Skipped> {
        match self.kind {
            1 => return Err(Skipped::Counter),
            2 => {}
            _ => return Err(Skipped::OtherKind),
        }
        let algorithm = match self.algorithm {
            0 | 1 => Algorithm::Sha1,
            2 => Algorithm::Sha256,
            3 => Algorithm::Sha512,
            _ => {
                let problem = "must be SHA1, SHA256 or SHA512";
                return Err(Malformed { field: "algorithm", problem }.into());
            }
        };
        let digits = match self.digits {
            0 | 1 => 6,
            2 => 8,
            _ => 0,
        };
        let secret = Secret::from_bytes(&self.secret)?;
        Ok(Authenticator::new(secret, parameters(algorithm, digits, PERIOD)?))
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Account(redacted)")
    }
}

fn payload(uri: &str) -> Result<Payload, Skipped> {
    const START: &str = "otpauth-migration://offline?";
    let (start, query) = uri.split_at_checked(START.len()).ok_or(Skipped::NotMigration)?;
    let data = query.split('&').find_map(|parameter| parameter.strip_prefix("data="));
    let data = data.filter(|_| start.eq_ignore_ascii_case(START)).ok_or(Skipped::NotMigration)?;
    let data = Zeroizing::new(percent_decode_str(data).collect::<Vec<u8>>());
    // Some readers of QR codes decode the URI, or take its plus for a space, before they hand it on.
    let plain = data.iter().map(|byte| match byte {
        b' ' | b'-' => b'+',
        b'_' => b'/',
        byte => *byte,
    });
    let mut plain = Zeroizing::new(plain.collect::<Vec<u8>>());
    while plain.last() == Some(&b'=') {
        plain.pop();
    }
    let bytes = data_encoding::BASE64_NOPAD.decode(&plain).or(Err(Skipped::NotMigration))?;
    Payload::decode(Zeroizing::new(bytes).as_slice()).or(Err(Skipped::NotMigration))
}
