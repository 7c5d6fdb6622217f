//! `otpauth://` URIs, in which an authenticator app reads its secret from a QR code.
//!
//! The format is Google's Key Uri Format:
//! <https://github.com/google/google-authenticator/wiki/Key-Uri-Format>.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zeroize::Zeroizing;

use crate::totp::{Algorithm, Digits, Parameters, Period, Secret};
use crate::{AccountName, Malformed};

/// Builds the URI for an authenticator app, with every parameter written out.
///
/// It holds the secret: it is shown to its user once, and never logged. It has 1,809 ASCII characters at
/// most, so that it always fits into a QR code.
///
/// The colon between issuer and account name is literal, and one within the account name is `%3A`: apps
/// split at the first, whether they look before or after decoding. For the same reason a colon in the
/// issuer becomes a hyphen: apps would take what is before it for the issuer, and those that compare it
/// with the `issuer` parameter would refuse the enrollment.
pub fn build(
    issuer: &Issuer,
    account_name: &AccountName,
    secret: &Secret,
    parameters: &Parameters,
) -> Zeroizing<String> {
    let issuer = issuer.as_str().replace(':', "-");
    let issuer = utf8_percent_encode(&issuer, ENCODED);
    let account = utf8_percent_encode(account_name.as_str(), ENCODED);
    let secret = secret.to_base32();
    let Parameters { algorithm, digits, period } = parameters;
    let (algorithm, digits, period) = (algorithm.name(), digits.count(), period.as_secs());
    Zeroizing::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}\
         &algorithm={algorithm}&digits={digits}&period={period}",
        *secret,
    ))
}

/// Everything but RFC 3986's unreserved characters. A space is `%20`: in these URIs `+` is a plus.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What an `otpauth://totp/` URI says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtpauthUri {
    /// Who issued it: the `issuer` parameter, else what is before the label's colon, if anything.
    pub issuer: Option<Issuer>,
    /// The account, where the label names one.
    pub account_name: Option<AccountName>,
    /// The shared secret.
    pub secret: Secret,
    /// Algorithm, digits and period; those that the URI leaves out have their defaults.
    pub parameters: Parameters,
}

impl OtpauthUri {
    /// The most bytes of a URI that is looked at; icons that some issuers add fit in.
    pub const MAX_BYTES: usize = 4096;

    /// Parses a URI that this or another system has made.
    ///
    /// Accepted are either case in scheme, type, parameter names, secret and algorithm; a literal or an
    /// encoded colon after the issuer and spaces after it; padding of the secret; and parameters that
    /// mean nothing here. A `%` that begins no encoded byte stands for itself.
    ///
    /// Refused, always as `otpauth_uri` and without quoting it, are: other schemes and types than
    /// `totp`; more than [`Self::MAX_BYTES`]; a secret, issuer, algorithm, number of digits or period that
    /// is given twice; no secret, one that is not base32, and one outside 80 to 1024 bits; an unknown
    /// algorithm; other than 6 to 8 digits; a period outside 1 to 86,400 seconds; an issuer of
    /// over 128 bytes, an account name of over 255, and control characters in either.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > Self::MAX_BYTES {
            return Err(malformed("must have at most 4096 bytes"));
        }
        let rest = strip_prefix_ignoring_case(text, "otpauth://")
            .ok_or(malformed("must begin with otpauth://"))?;
        let rest = rest.split_once('#').map_or(rest, |(before, _fragment)| before);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (kind, label) = path.split_once('/').unwrap_or((path, ""));
        if !kind.eq_ignore_ascii_case("totp") {
            return Err(malformed("must be of the type totp"));
        }

        let query = Query::split(query)?;
        let secret = query.secret.ok_or(malformed("must have a secret"))?;
        let secret = Zeroizing::new(decode(secret)?.into_owned());
        let secret = Secret::parse_base32(&secret)
            .map_err(|_| malformed("must have a base32 secret of 80 to 1024 bits"))?;
        let parameters = query.parameters()?;

        let issuer = decode(query.issuer.unwrap_or(""))?;
        let (prefix, account) = split_label(label, &issuer)?;
        let issuer = if issuer.is_empty() { &*prefix } else { &*issuer };
        Ok(Self {
            issuer: name(issuer, Issuer::parse)?,
            account_name: name(&account, AccountName::parse)?,
            secret,
            parameters,
        })
    }
}

/// Who issues the codes, as the authenticator app shows it: 1 to 128 bytes of UTF-8 without control
/// characters, "Twinlock" by default.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Issuer(Box<str>);

impl Issuer {
    /// The most bytes that one may have.
    pub const MAX_BYTES: usize = 128;

    /// Parses one; refuses the empty, the over-long, and control characters.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let problem = if text.is_empty() {
            "must not be empty"
        } else if text.len() > Self::MAX_BYTES {
            "must have at most 128 bytes"
        } else if text.chars().any(char::is_control) {
            "must not contain control characters"
        } else {
            return Ok(Self(text.into()));
        };
        Err(Malformed { field: "issuer", problem })
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Self("Twinlock".into())
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The parameters that mean something here, still encoded.
#[derive(Default)]
struct Query<'a> {
    secret: Option<&'a str>,
    issuer: Option<&'a str>,
    algorithm: Option<&'a str>,
    digits: Option<&'a str>,
    period: Option<&'a str>,
}

impl<'a> Query<'a> {
    fn split(query: &'a str) -> Result<Self, Malformed> {
        let mut found = Self::default();
        for parameter in query.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name = percent_decode_str(name).decode_utf8_lossy();
            let slot = match name.to_ascii_lowercase().as_str() {
                "secret" => &mut found.secret,
                "issuer" => &mut found.issuer,
                "algorithm" => &mut found.algorithm,
                "digits" => &mut found.digits,
                "period" => &mut found.period,
                _ => continue,
            };
            // Readers differ in which of two they take, so the app might hold another secret.
            if slot.replace(value).is_some() {
                return Err(malformed("must not give a parameter twice"));
            }
        }
        Ok(found)
    }

    fn parameters(&self) -> Result<Parameters, Malformed> {
        let mut parameters = Parameters::default();
        if let Some(algorithm) = self.algorithm {
            parameters.algorithm = Algorithm::parse(&decode(algorithm)?)
                .or(Err(malformed("must have the algorithm SHA1, SHA256 or SHA512")))?;
        }
        if let Some(digits) = self.digits {
            let digits = number(&decode(digits)?).map(Digits::new);
            let Some(Ok(digits)) = digits else {
                return Err(malformed("must have 6 to 8 digits"));
            };
            parameters.digits = digits;
        }
        if let Some(period) = self.period {
            let secs = number(&decode(period)?).map(u64::from);
            let Some(Ok(period)) = secs.map(Duration::from_secs).map(Period::new) else {
                return Err(malformed("must have a period of 1 to 86400 seconds"));
            };
            parameters.period = period;
        }
        Ok(parameters)
    }
}

/// Splits a label into issuer, empty where there is none, and account name.
fn split_label(label: &str, issuer: &str) -> Result<(String, String), Malformed> {
    let decoded = decode(label)?;
    // The parameter tells how much of the label is issuer, even where that has a colon of its own.
    let after_issuer = decoded.strip_prefix(issuer).and_then(|rest| rest.strip_prefix(':'));
    let (prefix, account) = if let Some(account) = after_issuer.filter(|_| !issuer.is_empty()) {
        (issuer.into(), account.into())
    } else if let Some((prefix, account)) = label.split_once(':') {
        (decode(prefix)?, decode(account)?)
    } else {
        let (prefix, account) = decoded.split_once(':').unwrap_or(("", &decoded));
        (prefix.into(), account.into())
    };
    Ok((prefix.into_owned(), account.trim_start_matches(' ').to_owned()))
}

fn name<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if text.is_empty() {
        return Ok(None);
    }
    let problem = "must have no control characters in its names, nor over-long names";
    parse(text).map(Some).or(Err(malformed(problem)))
}

fn decode(text: &str) -> Result<Cow<'_, str>, Malformed> {
    percent_decode_str(text).decode_utf8().or(Err(malformed("must be percent-encoded UTF-8")))
}

/// Digits alone: the standard library's parser would take a sign too.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn malformed(problem: &'static str) -> Malformed {
    Malformed { field: "otpauth_uri", problem }
}

#[cfg(test)]
mod tests;
