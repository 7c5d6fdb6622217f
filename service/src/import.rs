//! What other systems tell of their users' authenticators, read into one type.
//!
//! A file is read as a whole, at most [`MAX_BYTES`] of it. What is wrong with one entry is said of that entry
//! ([`Skipped`]) and loses no other; what leaves the whole file without meaning is [`Unreadable`]. Neither
//! ever quotes the file, which is full of secrets.

mod cipher;
mod django_otp;
mod google_authenticator;
mod json;
mod keycloak;
mod kratos;
mod otpauth_list;
mod privacyidea;
mod problem;
mod supertokens;
mod table;
mod users;
mod vault;

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use twinlock_core::otpauth::OtpauthUri;
use twinlock_core::totp::{Algorithm, Digits, Parameters, Period, Secret};
use zeroize::Zeroizing;

pub use self::problem::{Skipped, Unreadable};
pub use self::users::{Entry, Users, assign};

/// The most bytes of a file that is read: 256 MiB. Whoever has more splits it.
pub const MAX_BYTES: u64 = 256 << 20;

/// Reads every authenticator that a file tells of, in the file's order.
pub fn read(format: Format, text: &str, hints: &Hints) -> Result<Vec<Found>, Unreadable> {
    let found = match format {
        Format::Otpauth => otpauth_list::read(text),
        Format::GoogleAuthenticator => google_authenticator::read(text),
        Format::DjangoOtp => django_otp::read(text),
        Format::Keycloak => keycloak::read(text),
        Format::Vault => vault::read(text),
        Format::Kratos => kratos::read(text),
        Format::PrivacyIdea => privacyidea::read(text, hints),
        Format::SuperTokens => supertokens::read(text),
    }?;
    if found.is_empty() {
        return Err(Unreadable::Empty(format));
    }
    Ok(found)
}

/// The text of a file, without the byte order mark that some editors put before it.
pub fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Unreadable::Utf16);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or(bytes);
        Unreadable::NotUtf8 { line: 1 + before.iter().filter(|byte| **byte == b'\n').count() }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Where a file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// otpauth:// URIs with user ids: JSON Lines, CSV with a header, or one URI a line
    Otpauth,
    /// Google Authenticator's otpauth-migration:// URIs, one a line
    GoogleAuthenticator,
    /// django-otp: `manage.py dumpdata otp_totp`
    DjangoOtp,
    /// Keycloak: a realm export with users
    Keycloak,
    /// Vault's or OpenBao's TOTP engine: the JSON answers to the creation of keys
    Vault,
    /// Ory Kratos: identities with their TOTP credentials
    Kratos,
    /// privacyIDEA: `pi-tokenjanitor find export`, in the formats pi, pskc and csv
    #[value(name = "privacyidea")]
    PrivacyIdea,
    /// SuperTokens: the table totp_user_devices, as CSV with a header or as JSON
    #[value(name = "supertokens")]
    SuperTokens,
}

impl Format {
    /// The format of a text, where its beginning leaves no doubt.
    pub fn detect(text: &str) -> Result<Self, Unreadable> {
        let text = text.trim_start();
        let begins = |prefix: &str| {
            text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        if begins("otpauth-migration://") {
            return Ok(Self::GoogleAuthenticator);
        }
        if begins("otpauth://") {
            return Ok(Self::Otpauth);
        }
        if privacyidea::is_likely(text) {
            return Ok(Self::PrivacyIdea);
        }
        let fields = match text.starts_with(['{', '[']) {
            true => json::fields(text)?,
            false => table::header(text),
        };
        let has = |name: &str| fields.iter().any(|field| field == name);
        let mut fitting = [
            (Self::DjangoOtp, has("model") && has("fields")),
            (Self::Keycloak, has("realm") && (has("users") || has("federatedUsers"))),
            (Self::Kratos, has("credentials") && (has("traits") || has("schema_id"))),
            (Self::Vault, has("data")),
            (Self::PrivacyIdea, has("otpkey") && has("serial")),
            (Self::SuperTokens, has("secret_key") && has("device_name")),
            (Self::Otpauth, otpauth_list::URI.iter().any(|name| has(name))),
        ]
        .into_iter()
        .filter_map(|(format, fits)| fits.then_some(format));
        match (fitting.next(), fitting.next()) {
            (Some(format), None) => Ok(format),
            _ => Err(Unreadable::UnknownFormat),
        }
    }

    /// The names of a user that the format tells, the one that is taken by default first.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Otpauth => &["user_id", "account"],
            Self::GoogleAuthenticator => &["account", "label"],
            Self::DjangoOtp => &["pk", "username", "email"],
            Self::Keycloak => &["id", "username", "email"],
            Self::Vault => &["account"],
            Self::Kratos => &["id", "email", "username"],
            Self::PrivacyIdea => &["login", "owner", "uid", "serial"],
            Self::SuperTokens => &["user_id"],
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        formatter.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// What some files do not tell themselves.
#[derive(Default)]
pub struct Hints {
    /// The key that opens an encrypted file.
    pub key: Option<Zeroizing<String>>,
    /// The hash of all codes, for files that do not name it.
    pub algorithm: Option<Algorithm>,
}

/// An entry of a file: whose authenticator it is, as the file calls them, and the authenticator.
#[derive(Debug)]
pub struct Found {
    /// Where it is in the file.
    pub place: Place,
    /// What the file calls the user, by the kinds of [`Format::names`].
    pub names: Vec<(&'static str, String)>,
    /// The authenticator, or why it cannot be taken over.
    pub authenticator: Result<Authenticator, Skipped>,
}

/// An authenticator as another system has it.
#[derive(Debug)]
pub struct Authenticator {
    /// What its app holds.
    pub uri: OtpauthUri,
    /// By how much its clock was off, in words, where codes may be refused because of that.
    pub remark: Option<String>,
}

impl From<OtpauthUri> for Authenticator {
    fn from(uri: OtpauthUri) -> Self {
        Self { uri, remark: None }
    }
}

impl Authenticator {
    fn new(secret: Secret, parameters: Parameters) -> Self {
        OtpauthUri { issuer: None, account_name: None, secret, parameters }.into()
    }

    /// Remarks on a clock that is too far off for a window of one step.
    fn with_drift(mut self, seconds: f64) -> Self {
        if seconds.abs() > f64::from(self.uri.parameters.period.as_secs()) {
            let direction = if seconds < 0.0 { "behind" } else { "ahead" };
            let seconds = seconds.abs();
            self.remark = Some(format!(
                "its clock was {seconds:.0} s {direction} there, which may be too far off for its codes here"
            ));
        }
        self
    }
}

/// Where in a file an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which entry of the file it is, from 1.
    pub entry: usize,
    /// The line that it begins in, from 1; `None` in files that were encrypted.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "entry {} (line {line})", self.entry),
            None => write!(formatter, "entry {}", self.entry),
        }
    }
}

/// Collects the entries of a file and counts them.
#[derive(Default)]
struct Entries(Vec<Found>);

impl Entries {
    fn push(
        &mut self,
        line: Option<usize>,
        names: Vec<(&'static str, String)>,
        authenticator: Result<Authenticator, Skipped>,
    ) {
        let place = Place { entry: self.0.len() + 1, line };
        self.0.push(Found { place, names, authenticator });
    }
}

fn parameters(algorithm: Algorithm, digits: u64, period: u64) -> Result<Parameters, Skipped> {
    let digits = Digits::new(u32::try_from(digits).unwrap_or(u32::MAX))?;
    let period = Period::new(Duration::from_secs(period))?;
    Ok(Parameters { algorithm, digits, period })
}

fn hexadecimal_secret(text: &str) -> Result<Secret, Skipped> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes());
    let bytes = Zeroizing::new(bytes.or(Err(Skipped::NotHexadecimal))?);
    Ok(Secret::from_bytes(&bytes)?)
}

/// The names of whoever an `otpauth://` URI is for.
fn account(uri: &OtpauthUri) -> Vec<(&'static str, String)> {
    let name = uri.account_name.as_ref().map(|name| ("account", name.as_str().to_owned()));
    name.into_iter().collect()
}

#[cfg(test)]
mod tests;
