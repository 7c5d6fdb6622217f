//! The text of a password hash, and what it says.

use super::function::{BCRYPT_DIGEST_BYTES, EXCESSIVE, Problem, UNREADABLE};
use super::function::{BcryptKey, Function, Pbkdf2Digest};
use super::{Argon2Parameters, Failure, Password};
use crate::entropy;
use argon2::{Algorithm, Version};
use data_encoding::{BASE64, BASE64_NOPAD, Encoding, Specification};
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::LazyLock;
use subtle::ConstantTimeEq;
use twinlock_core::Malformed;
use zeroize::Zeroizing;

/// A password hash that was read and found bearable; a [`Permit`](super::Permit) checks passwords
/// against it.
///
/// These are read:
/// - PHC strings of `argon2id`, `argon2i`, `scrypt`, `pbkdf2-sha1`, `pbkdf2-sha256` and
///   `pbkdf2-sha512`; the last four also as passlib writes them.
/// - bcrypt, `$2a$`, `$2b$` and `$2y$`, all three as `$2b$` is today: older mistakes of bcrypt are
///   not imitated.
/// - Django's `pbkdf2_sha256`, `pbkdf2_sha1`, `argon2`, `scrypt`, `bcrypt_sha256` and `bcrypt`.
///
/// Salts have 8 to 64 bytes and digests 16 to 64 (bcrypt's own lengths aside), and the costs are
/// limited, so that one hash takes about two seconds of one core at the worst:
///
/// | function | limits |
/// |---|---|
/// | Argon2 | 256 MiB of memory; memory × iterations of 1 GiB; 1,024 iterations; 64 lanes |
/// | scrypt | 256 MiB of memory; 128 × N × r × p of 512 MiB |
/// | PBKDF2 | 5,000,000 iterations, counted once for each block of the digest |
/// | bcrypt | cost 15 |
///
/// bcrypt reads 72 bytes of a password, so a longer one is right where its first 72 bytes are:
/// that is how the users of such a product log in today.
#[derive(Clone)]
pub struct PasswordHash {
    text: Zeroizing<String>,
    verifier: Verifier,
}

#[derive(Clone)]
struct Verifier {
    function: Function,
    salt: Vec<u8>,
    digest: Zeroizing<Vec<u8>>,
}

const SALT_BYTES: RangeInclusive<usize> = 8..=64;
/// An empty digest would match every password, and a short one many.
const DIGEST_BYTES: RangeInclusive<usize> = 16..=64;

const OWN_SALT_BYTES: usize = 16;
const OWN_DIGEST_BYTES: usize = 32;

impl PasswordHash {
    /// The most bytes that the text of one may have.
    pub const MAX_BYTES: usize = 1024;

    /// Reads one without computing anything; refuses what is unreadable, of an unknown function, or
    /// dearer than the limits allow.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let read = if text.len() > Self::MAX_BYTES {
            Err("must have at most 1024 bytes")
        } else {
            Verifier::read(text)
        };
        match read {
            Ok(verifier) => Ok(Self { text: Zeroizing::new(text.to_owned()), verifier }),
            Err(problem) => Err(Malformed { field: "password_hash", problem }),
        }
    }

    /// The text, as it was given and as a record keeps it.
    pub fn expose_text(&self) -> &str {
        &self.text
    }

    /// Hashes a password with Argon2id under a fresh salt.
    pub(super) fn create(
        parameters: Argon2Parameters,
        password: &Password,
    ) -> Result<Self, Failure> {
        let Argon2Parameters { memory_kib, iterations, parallelism } = parameters;
        let function = parameters.function().map_err(|_| Failure::Function)?;
        let salt = entropy::bytes::<OWN_SALT_BYTES>();
        let mut digest = Zeroizing::new(vec![0; OWN_DIGEST_BYTES]);
        function.derive(password.expose(), &salt, &mut digest)?;
        let text = format!(
            "$argon2id$v=19$m={memory_kib},t={iterations},p={parallelism}${}${}",
            BASE64_NOPAD.encode(&salt),
            BASE64_NOPAD.encode(&digest),
        );
        let verifier = Verifier { function, salt: salt.to_vec(), digest };
        Ok(Self { text: Zeroizing::new(text), verifier })
    }

    /// Whether the password is the right one; takes as long as the hash is dear.
    pub(super) fn verify(&self, password: &Password) -> Result<bool, Failure> {
        let Verifier { function, salt, digest } = &self.verifier;
        let mut derived = Zeroizing::new(vec![0; digest.len()]);
        function.derive(password.expose(), salt, &mut derived)?;
        Ok(derived.ct_eq(digest).into())
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(redacted)")
    }
}

impl Verifier {
    fn read(text: &str) -> Result<Self, Problem> {
        let fields: Vec<&str> = text.split('$').collect();
        match *fields.as_slice() {
            ["" | "argon2", name @ ("argon2id" | "argon2i"), ref rest @ ..] => {
                Self::argon2(name, rest)
            }
            ["", "scrypt", costs, salt, digest] => {
                let [log_n, r, p] = named_costs(costs, ["ln", "r", "p"])?;
                let function = Function::scrypt(log_n, r, p)?;
                Self::new(function, unpadded(salt)?, unpadded(digest)?)
            }
            ["scrypt", n, salt, r, p, digest] => {
                let n = decimal(n)?;
                if !n.is_power_of_two() {
                    return Err(UNREADABLE);
                }
                let function = Function::scrypt(n.ilog2(), decimal(r)?, decimal(p)?)?;
                Self::new(function, salt.into(), padded(digest)?)
            }
            ["", name, costs, salt, digest] if name.starts_with("pbkdf2") => {
                let hash = match name {
                    "pbkdf2" | "pbkdf2-sha1" => Pbkdf2Digest::Sha1,
                    "pbkdf2-sha256" => Pbkdf2Digest::Sha256,
                    "pbkdf2-sha512" => Pbkdf2Digest::Sha512,
                    _ => return Err(UNREADABLE),
                };
                Self::pbkdf2(hash, costs, salt, digest)
            }
            [name @ ("pbkdf2_sha256" | "pbkdf2_sha1"), iterations, salt, digest] => {
                let hash = match name {
                    "pbkdf2_sha1" => Pbkdf2Digest::Sha1,
                    _ => Pbkdf2Digest::Sha256,
                };
                let digest = padded(digest)?;
                let function = Function::pbkdf2(hash, decimal(iterations)?, digest.len())?;
                Self::new(function, salt.into(), digest)
            }
            ["", "2a" | "2b" | "2y", cost, rest]
            | ["bcrypt", "", "2a" | "2b" | "2y", cost, rest] => {
                Self::bcrypt(BcryptKey::Password, cost, rest)
            }
            ["bcrypt_sha256", "", "2a" | "2b" | "2y", cost, rest] => {
                Self::bcrypt(BcryptKey::Sha256Hex, cost, rest)
            }
            _ => Err(UNREADABLE),
        }
    }

    fn argon2(name: &str, fields: &[&str]) -> Result<Self, Problem> {
        let algorithm = if name == "argon2i" { Algorithm::Argon2i } else { Algorithm::Argon2id };
        // A string without a version is from before there were two.
        let (version, [costs, salt, digest]) = match *fields {
            [costs, salt, digest] => (Version::V0x10, [costs, salt, digest]),
            ["v=16", costs, salt, digest] => (Version::V0x10, [costs, salt, digest]),
            ["v=19", costs, salt, digest] => (Version::V0x13, [costs, salt, digest]),
            _ => return Err(UNREADABLE),
        };
        let function = Function::argon2(algorithm, version, named_costs(costs, ["m", "t", "p"])?)?;
        Self::new(function, unpadded(salt)?, unpadded(digest)?)
    }

    /// `i=1000,l=32` is the PHC form; a bare number is passlib's, which also writes `.` for `+`.
    fn pbkdf2(hash: Pbkdf2Digest, costs: &str, salt: &str, digest: &str) -> Result<Self, Problem> {
        let (iterations, length, salt, digest) = if costs.contains(',') {
            let [iterations, length] = named_costs(costs, ["i", "l"])?;
            (iterations, Some(length), unpadded(salt)?, unpadded(digest)?)
        } else if costs.starts_with("i=") {
            let [iterations] = named_costs(costs, ["i"])?;
            (iterations, None, unpadded(salt)?, unpadded(digest)?)
        } else {
            let standard = |text: &str| unpadded(&text.replace('.', "+"));
            (decimal(costs)?, None, standard(salt)?, standard(digest)?)
        };
        if length.is_some_and(|length| usize::try_from(length) != Ok(digest.len())) {
            return Err(UNREADABLE);
        }
        let function = Function::pbkdf2(hash, iterations, digest.len())?;
        Self::new(function, salt, digest)
    }

    /// `rest` is 22 characters of salt and 31 of digest, with nothing between them.
    fn bcrypt(key: BcryptKey, cost: &str, rest: &str) -> Result<Self, Problem> {
        let two_digits = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
        if !two_digits || rest.len() != 22 + 31 {
            return Err(UNREADABLE);
        }
        let cost = cost.parse().map_err(|_| UNREADABLE)?;
        let (salt, digest) = rest.split_at_checked(22).ok_or(UNREADABLE)?;
        let decode = |text: &str| BCRYPT_BASE64.decode(text.as_bytes()).map_err(|_| UNREADABLE);
        let (salt, digest) = (decode(salt)?, decode(digest)?);
        if salt.len() != 16 || digest.len() != BCRYPT_DIGEST_BYTES {
            return Err(UNREADABLE);
        }
        Self::new(Function::bcrypt(key, cost)?, salt, digest)
    }

    fn new(function: Function, salt: Vec<u8>, digest: Vec<u8>) -> Result<Self, Problem> {
        let digest = Zeroizing::new(digest);
        if !SALT_BYTES.contains(&salt.len()) {
            Err("must have a salt of 8 to 64 bytes")
        } else if !DIGEST_BYTES.contains(&digest.len()) {
            Err("must have a digest of 16 to 64 bytes")
        } else {
            Ok(Self { function, salt, digest })
        }
    }
}

/// bcrypt's own alphabet. Some products kept stray bits in the last character of the salt, which
/// every implementation drops; the lengths are checked, so dropping them here is safe too.
static BCRYPT_BASE64: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification
        .symbols
        .push_str("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    specification.check_trailing_bits = false;
    specification.encoding().expect("the alphabet has 64 different symbols")
});

fn unpadded(text: &str) -> Result<Vec<u8>, Problem> {
    BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| UNREADABLE)
}

fn padded(text: &str) -> Result<Vec<u8>, Problem> {
    BASE64.decode(text.as_bytes()).map_err(|_| UNREADABLE)
}

/// Reads `m=19456,t=2,p=1`: all the names, in their order, and no others.
fn named_costs<const N: usize>(text: &str, names: [&str; N]) -> Result<[u32; N], Problem> {
    let mut costs = [0; N];
    let mut parts = text.split(',');
    for (cost, name) in costs.iter_mut().zip(names) {
        let (found, value) =
            parts.next().and_then(|part| part.split_once('=')).ok_or(UNREADABLE)?;
        if found != name {
            return Err(UNREADABLE);
        }
        *cost = decimal(value)?;
    }
    if parts.next().is_some() { Err(UNREADABLE) } else { Ok(costs) }
}

/// Reads a number in its one spelling: no sign, no leading zero. One that does not fit is a cost
/// beyond every limit.
fn decimal(text: &str) -> Result<u32, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(UNREADABLE);
    }
    text.parse().map_err(|_| EXCESSIVE)
}
