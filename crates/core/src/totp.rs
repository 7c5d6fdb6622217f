//! One-time codes: HOTP (RFC 4226) and TOTP (RFC 6238).

use std::fmt;
use std::time::Duration;

use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use crate::{Malformed, Timestamp};

/// Finds the step, within the window around `now`, that `code` belongs to (RFC 6238 section 5.2).
///
/// All candidate steps are computed and compared in constant time, whichever matches. Where two match,
/// the later one is returned: a caller that accepts only later steps than the last one has then used
/// up both. Steps before 0 and after `u64::MAX` do not exist and never match. A code of another length
/// than `parameters.digits` matches nothing.
pub fn matched_step(
    secret: &Secret,
    parameters: &Parameters,
    window: Window,
    now: Timestamp,
    code: &TotpCode,
) -> Option<Step> {
    fn among<D: EagerHash>(
        secret: &Secret,
        digits: Digits,
        window: Window,
        current: Step,
        code: &TotpCode,
    ) -> Option<Step> {
        let keyed = Keyed::<D>::new(secret);
        search(current, window, code.value, |counter| keyed.value(counter, digits))
    }

    let current = parameters.period.step(now);
    let search = match parameters.algorithm {
        Algorithm::Sha1 => among::<Sha1>,
        Algorithm::Sha256 => among::<Sha256>,
        Algorithm::Sha512 => among::<Sha512>,
    };
    let matched = search(secret, parameters.digits, window, current, code);
    matched.filter(|_| code.digits == parameters.digits)
}

/// The code of one step (RFC 6238 section 4).
pub fn generate(secret: &Secret, parameters: &Parameters, step: Step) -> TotpCode {
    let Parameters { algorithm, digits, .. } = *parameters;
    TotpCode { value: hotp(secret, algorithm, digits, step.0), digits }
}

/// The HOTP value of a counter (RFC 4226 section 5.3), below 10 to the power of `digits`.
///
/// It is shown with leading zeros up to `digits`.
pub fn hotp(secret: &Secret, algorithm: Algorithm, digits: Digits, counter: u64) -> u32 {
    match algorithm {
        Algorithm::Sha1 => Keyed::<Sha1>::new(secret).value(counter, digits),
        Algorithm::Sha256 => Keyed::<Sha256>::new(secret).value(counter, digits),
        Algorithm::Sha512 => Keyed::<Sha512>::new(secret).value(counter, digits),
    }
}

/// The secret that the server shares with an authenticator app: 10 to 128 bytes.
///
/// RFC 4226 section 4 R6 asks for 128 bits at least and recommends 160, which is what [`Self::generate`]
/// makes; the lower limit of 80 bits is for imports. It is wiped from memory when dropped, never shown
/// by `Debug`, and compared in constant time.
#[derive(Clone)]
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// The fewest bytes that one may have: 80 bits.
    pub const MIN_BYTES: usize = 10;
    /// The most bytes that one may have: a block of SHA-512, above which HMAC only shortens it.
    pub const MAX_BYTES: usize = 128;

    /// A new secret of 160 bits, out of bytes from a cryptographic random number generator.
    pub fn generate(random: [u8; 20]) -> Self {
        let random = Zeroizing::new(random);
        Self(Zeroizing::new(Box::from(random.as_slice())))
    }

    /// Takes the bytes of an existing secret; refuses fewer than 10 and more than 128.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        if (Self::MIN_BYTES..=Self::MAX_BYTES).contains(&bytes.len()) {
            Ok(Self(Zeroizing::new(Box::from(bytes))))
        } else {
            let problem = "must have 80 to 1024 bits";
            Err(Malformed { field: "secret", problem })
        }
    }

    /// Parses base32 (RFC 4648 section 6) in either case, with or without `=` at the end.
    ///
    /// Bits that are left over at the end and make no whole byte are dropped, as authenticator apps do.
    /// Refuses other characters, lengths that no encoder makes, and what [`Self::from_bytes`] refuses.
    pub fn parse_base32(text: &str) -> Result<Self, Malformed> {
        let malformed = |problem| Malformed { field: "secret", problem };
        let symbols = text.trim_end_matches('=').as_bytes();
        if symbols.len() > (Self::MAX_BYTES * 8).div_ceil(5) || text.len() - symbols.len() > 6 {
            return Err(malformed("is too long"));
        }
        if matches!(symbols.len() % 8, 1 | 3 | 6) {
            return Err(malformed("has a length that base32 cannot have"));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(symbols.len() * 5 / 8));
        let mut pending = 0_u16;
        let mut bits = 0;
        for symbol in symbols {
            let value = match symbol {
                b'A'..=b'Z' => symbol - b'A',
                b'a'..=b'z' => symbol - b'a',
                b'2'..=b'7' => symbol - b'2' + 26,
                _ => return Err(malformed("must be base32")),
            };
            pending = pending << 5 | u16::from(value);
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                let [_, byte] = (pending >> bits).to_be_bytes();
                bytes.push(byte);
            }
        }
        Self::from_bytes(&bytes)
    }

    /// Base32 (RFC 4648 section 6), upper case, without padding: 16 to 205 characters.
    pub fn to_base32(&self) -> Zeroizing<String> {
        Zeroizing::new(data_encoding::BASE32_NOPAD.encode(&self.0))
    }

    /// The bytes themselves, to be sealed or computed with; never to be logged.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// A one-time code: 6 to 8 ASCII digits. It knows its length, so that "012345" is not "0012345".
///
/// It is wiped from memory when dropped, and never shown by `Debug`.
pub struct TotpCode {
    value: u32,
    digits: Digits,
}

impl TotpCode {
    /// Parses what a user typed: 6, 7 or 8 ASCII digits and nothing else.
    ///
    /// Blanks are not trimmed and digits of other scripts are refused, so that one code has one spelling.
    /// How many digits the user's own authenticator shows is for the caller to compare with
    /// [`Self::digits`], once the user is known.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let digits = Digits::ALL.into_iter().find(|digits| digits.count() == text.len());
        match digits {
            Some(digits) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                let value = text.bytes().fold(0, |value, byte| value * 10 + u32::from(byte - b'0'));
                Ok(Self { value, digits })
            }
            _ => {
                Err(Malformed { field: "totp_code", problem: "must be 6 to 8 digits from 0 to 9" })
            }
        }
    }

    /// How many digits it has.
    pub fn digits(&self) -> Digits {
        self.digits
    }

    /// The digits as text, leading zeros included; never to be logged.
    pub fn expose(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{:0width$}", self.value, width = self.digits.count()))
    }
}

impl Drop for TotpCode {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

impl fmt::Debug for TotpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpCode(redacted)")
    }
}

/// What an authenticator app must know beside the secret.
///
/// The default, SHA-1 with 6 digits every 30 seconds, is the one that every app supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// The hash within the HMAC.
    pub algorithm: Algorithm,
    /// How many digits a code has.
    pub digits: Digits,
    /// How long a step is.
    pub period: Period,
}

/// The hash within the HMAC (RFC 6238 section 1.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-1, the default. HMAC does not rest on the collision resistance that SHA-1 has lost.
    #[default]
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Parses "SHA1", "SHA256" or "SHA512", in either case.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let all = [Self::Sha1, Self::Sha256, Self::Sha512];
        let named = all.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(text));
        named.ok_or(Malformed { field: "algorithm", problem: "must be SHA1, SHA256 or SHA512" })
    }

    /// The name as `otpauth` URIs and the configuration write it: "SHA1", "SHA256" or "SHA512".
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }
}

/// How many digits a code has: 6 by default. 7 comes from imports only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digits {
    /// 6 digits, the default.
    #[default]
    Six,
    /// 7 digits.
    Seven,
    /// 8 digits.
    Eight,
}

impl Digits {
    const ALL: [Self; 3] = [Self::Six, Self::Seven, Self::Eight];

    /// From their number; refuses all but 6, 7 and 8.
    pub fn new(count: u32) -> Result<Self, Malformed> {
        match count {
            6 => Ok(Self::Six),
            7 => Ok(Self::Seven),
            8 => Ok(Self::Eight),
            _ => Err(Malformed { field: "digits", problem: "must be 6, 7 or 8" }),
        }
    }

    /// How many they are: 6, 7 or 8.
    pub const fn count(self) -> usize {
        match self {
            Self::Six => 6,
            Self::Seven => 7,
            Self::Eight => 8,
        }
    }

    const fn modulus(self) -> u32 {
        match self {
            Self::Six => 1_000_000,
            Self::Seven => 10_000_000,
            Self::Eight => 100_000_000,
        }
    }
}

/// How long a step is, the `X` of RFC 6238 section 4.1: 1 to 86,400 whole seconds, 30 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u32);

impl Period {
    /// From a duration; refuses fractions of a second, zero, and more than a day.
    pub fn new(duration: Duration) -> Result<Self, Malformed> {
        match u32::try_from(duration.as_secs()) {
            Ok(secs @ 1..=86_400) if duration.subsec_nanos() == 0 => Ok(Self(secs)),
            _ => Err(Malformed { field: "period", problem: "must be 1 to 86400 whole seconds" }),
        }
    }

    /// Its length in seconds.
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// The step that `now` lies in.
    pub fn step(self, now: Timestamp) -> Step {
        Step(now.as_secs() / u64::from(self.0))
    }

    /// How long it is from `now` to the start of the next step: more than zero, at most the period.
    pub fn until_next_step(self, now: Timestamp) -> Duration {
        let length = u64::from(self.0) * 1000;
        Duration::from_millis(length - now.as_millis() % length)
    }
}

impl Default for Period {
    fn default() -> Self {
        Self(30)
    }
}

/// How many steps before and after the current one are accepted too: 0 to 2, 1 by default.
///
/// RFC 6238 section 5.2 recommends one step for the delay of network and user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(u8);

impl Window {
    /// From the number of steps on either side; refuses more than 2.
    pub fn new(steps: u32) -> Result<Self, Malformed> {
        match u8::try_from(steps) {
            Ok(steps @ 0..=2) => Ok(Self(steps)),
            _ => Err(Malformed { field: "window", problem: "must be 0, 1 or 2" }),
        }
    }

    /// The number of steps on either side.
    pub const fn steps(self) -> u8 {
        self.0
    }
}

impl Default for Window {
    fn default() -> Self {
        Self(1)
    }
}

/// The number of a step, the `T` of RFC 6238 section 4.2: whole periods since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Step(pub u64);

impl Step {
    /// How many steps this one lies after another; before it where negative. One that is farther away
    /// than any window is as far as can be told.
    pub fn offset_from(self, other: Self) -> i8 {
        let distance = i8::try_from(self.0.abs_diff(other.0)).unwrap_or(i8::MAX);
        if self < other { -distance } else { distance }
    }
}

/// An HMAC that has taken its key in, so that each candidate costs half of a whole computation.
struct Keyed<D: EagerHash>(Hmac<D>);

impl<D: EagerHash> Keyed<D> {
    fn new(secret: &Secret) -> Self {
        Self(Hmac::new_from_slice(&secret.0).expect("HMAC takes a key of any length"))
    }

    fn value(&self, counter: u64, digits: Digits) -> u32 {
        let mut mac = self.0.clone();
        mac.update(&counter.to_be_bytes());
        truncate(&mac.finalize().into_bytes()) % digits.modulus()
    }
}

/// The dynamic truncation of RFC 4226 section 5.3, to 31 bits.
fn truncate(hash: &[u8]) -> u32 {
    let offset = usize::from(hash[hash.len() - 1] & 0xf);
    let bytes = [hash[offset], hash[offset + 1], hash[offset + 2], hash[offset + 3]];
    u32::from_be_bytes(bytes) & 0x7fff_ffff
}

/// Looks at all of the window's steps, the ones that do not exist included, so that the work is the same
/// whatever the time and whichever matches.
fn search(current: Step, window: Window, code: u32, value_at: impl Fn(u64) -> u32) -> Option<Step> {
    let Step(current) = current;
    let before = u64::from(window.0);
    let mut found = Choice::from(0);
    let mut matched = 0;
    for offset in 0..=2 * before {
        let counter = current.wrapping_add(offset).wrapping_sub(before);
        let wrapped_around = (counter <= current) != (offset <= before);
        let exists = Choice::from(u8::from(!wrapped_around));
        let hit = value_at(counter).ct_eq(&code) & exists;
        matched.conditional_assign(&counter, hit);
        found |= hit;
    }
    bool::from(found).then_some(Step(matched))
}

#[cfg(test)]
mod tests;
