//! privacyIDEA: what `pi-tokenjanitor find export` writes. `pi` is an encrypted JSON that tells all; `csv`
//! has no header and does not say the hash; `pskc` is the XML of RFC 6030.

mod pskc;

use serde::Deserialize;
use twinlock_core::totp::{Algorithm, Secret};
use zeroize::Zeroizing;

use super::json::{self, Lines, Scalar};
use super::{
    Authenticator, Entries, Found, Hints, Skipped, Unreadable, cipher, hexadecimal_secret,
    parameters, table,
};

/// How a Fernet token begins: its version and the first bytes of a time before the year 10889.
const FERNET: &str = "gAAAA";

/// Whether a text is certainly one of these exports that nothing else can be.
pub(super) fn is_likely(text: &str) -> bool {
    let is_export = |line: &str| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        matches!(fields.as_slice(), [_, _, _, "totp" | "hotp", _, ..])
    };
    text.starts_with(FERNET) || text.starts_with('<') || text.lines().next().is_some_and(is_export)
}

pub(super) fn read(text: &str, hints: &Hints) -> Result<Vec<Found>, Unreadable> {
    let text = text.trim_start();
    let key = hints.key.as_ref().map(|key| key.trim());
    match text {
        text if text.starts_with(FERNET) => {
            let opened = cipher::fernet(text.trim_end(), key.ok_or(Unreadable::KeyNeeded)?)?;
            let opened = std::str::from_utf8(&opened).or(Err(Unreadable::WrongKey))?;
            tokens(opened, None)
        }
        text if text.starts_with('[') => tokens(text, Some(Lines::of(text))),
        text if text.starts_with('<') => pskc::read(text, key),
        text => list(text, hints.algorithm.ok_or(Unreadable::AlgorithmNeeded)?),
    }
}

fn tokens(text: &str, mut lines: Option<Lines<'_>>) -> Result<Vec<Found>, Unreadable> {
    let mut entries = Entries::default();
    for value in json::values(text)? {
        let line = lines.as_mut().and_then(|lines| lines.line(value));
        let token = json::object::<Token>(value);
        let names = token.as_ref().map(Token::names).unwrap_or_default();
        entries.push(line, names, token.and_then(|token| token.authenticator()));
    }
    Ok(entries.0)
}

#[derive(Deserialize)]
struct Token {
    serial: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    otpkey: Option<Zeroizing<String>>,
    otplen: Option<Scalar>,
    active: Option<bool>,
    revoked: Option<bool>,
    rollout_state: Option<String>,
    info_list: Option<Info>,
    user: Option<User>,
}

#[derive(Default, Deserialize)]
struct Info {
    hashlib: Option<String>,
    #[serde(rename = "timeStep")]
    step: Option<Scalar>,
    #[serde(rename = "timeShift")]
    shift: Option<Scalar>,
}

#[derive(Deserialize)]
struct User {
    login: Option<String>,
    realm: Option<String>,
    uid: Option<Scalar>,
}

impl Token {
    fn names(&self) -> Vec<(&'static str, String)> {
        let user = self.user.as_ref();
        let login = user.and_then(|user| user.login.clone());
        let realm = user.and_then(|user| user.realm.as_ref());
        let uid = user.and_then(|user| user.uid.as_ref());
        let owner = login.as_ref().zip(realm).map(|(login, realm)| format!("{login}@{realm}"));
        let names = [
            ("login", login),
            ("owner", owner),
            ("uid", uid.map(|uid| uid.as_str().to_owned())),
            ("serial", self.serial.clone()),
        ];
        names.into_iter().filter_map(|(kind, name)| Some((kind, name?))).collect()
    }

    fn authenticator(&self) -> Result<Authenticator, Skipped> {
        kind(self.kind.as_deref().ok_or(Skipped::Missing("type"))?)?;
        if self.revoked == Some(true) || self.active == Some(false) {
            return Err(Skipped::Disabled);
        }
        if self
            .rollout_state
            .as_ref()
            .is_some_and(|state| !["", "enrolled"].contains(&state.as_str()))
        {
            return Err(Skipped::Unconfirmed);
        }
        let info = self.info_list.as_ref().ok_or(Skipped::Missing("info_list"))?;
        let algorithm =
            Algorithm::parse(info.hashlib.as_ref().ok_or(Skipped::Missing("hashlib"))?)?;
        let step = info.step.as_ref().ok_or(Skipped::Missing("timeStep"))?.number("timeStep")?;
        let digits = self.otplen.as_ref().ok_or(Skipped::Missing("otplen"))?.number("otplen")?;
        let secret = hexadecimal_secret(self.otpkey.as_ref().ok_or(Skipped::Missing("otpkey"))?)?;
        let shift = info.shift.as_ref().and_then(|shift| shift.as_str().parse().ok());
        let authenticator = Authenticator::new(secret, parameters(algorithm, digits, step)?);
        Ok(authenticator.with_drift(shift.unwrap_or(0.0)))
    }
}

/// Lets tokens with codes by time pass alone.
fn kind(name: &str) -> Result<(), Skipped> {
    match name.to_ascii_lowercase().as_str() {
        "totp" => Ok(()),
        "hotp" => Err(Skipped::Counter),
        _ => Err(Skipped::OtherKind),
    }
}

/// `owner, serial, key, type, length, step`, without a header.
fn list(text: &str, algorithm: Algorithm) -> Result<Vec<Found>, Unreadable> {
    let mut entries = Entries::default();
    for record in table::records(text) {
        let field = |column| record.field(column).map(str::trim).unwrap_or_default();
        let (owner, serial) = (field(0), field(1));
        let login = owner.rsplit_once('@').map(|(login, _realm)| login);
        let names = [("login", login), ("owner", login.map(|_| owner)), ("serial", Some(serial))];
        let names = names.into_iter().filter_map(|(kind, name)| Some((kind, name?.to_owned())));
        let authenticator = record.check().and_then(|()| {
            if record.len() < 5 {
                return Err(Skipped::Missing("a column"));
            }
            kind(field(3))?;
            let digits = json::number(field(4), "the length")?;
            let step = json::number(field(5), "the step")?;
            let parameters = parameters(algorithm, digits, step)?;
            Ok(Authenticator::new(listed_secret(field(2))?, parameters))
        });
        entries.push(Some(record.line), names.collect(), authenticator);
    }
    Ok(entries.0)
}

/// Keys are hexadecimal in small letters, or base32 in capitals where the export was told so (`--b32`). A
/// secret that is both would have no letter at all, and neither 0, 1, 8 nor 9.
fn listed_secret(text: &str) -> Result<Secret, Skipped> {
    let is_base32 = text.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_base32 { Ok(Secret::parse_base32(text)?) } else { hexadecimal_secret(text) }
}
