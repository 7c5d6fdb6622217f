//! Lists of `otpauth://` URIs: JSON Lines, a JSON list, CSV with a header, or one URI a line.

use serde::Deserialize;
use serde_json::value::RawValue;
use twinlock_core::otpauth::OtpauthUri;
use zeroize::Zeroizing;

use super::json::{self, Lines, Scalar};
use super::table::Table;
use super::{Authenticator, Entries, Found, Skipped, Unreadable, account};

/// The columns and fields that may hold a URI, the usual one first.
pub(super) const URI: &[&str] = &[
    "otpauth_uri",
    "otpauth_url",
    "otpauthUri",
    "otpauthUrl",
    "otpauthuri",
    "otpauthurl",
    "uri",
    "url",
];

const USER: &[&str] = &["user_id", "userid", "user"];

pub(super) fn read(text: &str) -> Result<Vec<Found>, Unreadable> {
    let mut entries = Entries::default();
    match text.trim_start() {
        rest if rest.starts_with('[') => {
            let mut lines = Lines::of(text);
            for value in json::values(text)? {
                push(&mut entries, lines.line(value), json::object(value));
            }
        }
        rest if rest.starts_with('{') => {
            for (number, line) in numbered(text) {
                let value = serde_json::from_str::<&RawValue>(line).or(Err(Skipped::NotJson));
                push(&mut entries, Some(number), value.and_then(json::object));
            }
        }
        rest if rest.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("otpauth://")) => {
            for (number, line) in numbered(text) {
                let line = Line { uri: Some(Zeroizing::new(line.to_owned())), user: None };
                push(&mut entries, Some(number), Ok(line));
            }
        }
        _ => table(text, &mut entries)?,
    }
    Ok(entries.0)
}

#[derive(Deserialize)]
struct Line {
    #[serde(
        rename = "otpauth_uri",
        alias = "otpauth_url",
        alias = "otpauthUri",
        alias = "otpauthUrl",
        alias = "uri",
        alias = "url"
    )]
    uri: Option<Zeroizing<String>>,
    #[serde(rename = "user_id", alias = "userId", alias = "user")]
    user: Option<Scalar>,
}

fn push(entries: &mut Entries, line: Option<usize>, read: Result<Line, Skipped>) {
    let (user, uri) = match read {
        Ok(line) => (line.user, line.uri.ok_or(Skipped::Missing("otpauth_uri"))),
        Err(skipped) => (None, Err(skipped)),
    };
    let uri = uri.and_then(|uri| parse(&uri));
    let mut names = uri.as_ref().map(account).unwrap_or_default();
    names.extend(user.map(|user| ("user_id", user.as_str().to_owned())));
    entries.push(line, names, uri.map(Authenticator::from));
}

fn table(text: &str, entries: &mut Entries) -> Result<(), Unreadable> {
    let table = Table::read(text);
    let (uri, user) = (table.column(URI)?, table.column(USER)?);
    for record in table.records() {
        let line = Line {
            uri: record.field(uri).map(|uri| Zeroizing::new(uri.trim().to_owned())),
            user: record.field(user).map(Scalar::from),
        };
        push(entries, Some(record.line), record.check().map(|()| line));
    }
    Ok(())
}

/// Parses a URI, and says of one for HOTP what it is.
pub(super) fn parse(uri: &str) -> Result<OtpauthUri, Skipped> {
    const HOTP: &str = "otpauth://hotp/";
    if uri.get(..HOTP.len()).is_some_and(|start| start.eq_ignore_ascii_case(HOTP)) {
        return Err(Skipped::Counter);
    }
    Ok(OtpauthUri::parse(uri)?)
}

/// The lines that are not blank, with their numbers from 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty())
}
