//! The functions behind password hashes, and what they may cost.
//!
//! A hash carries its own costs, and whoever hands one in would otherwise choose how long a core
//! computes and how much memory it fills. So costs are checked where they are read, and a function
//! with excessive ones cannot be built.

use super::Failure;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::pbkdf2;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// What is wrong with a hash, to be read after the field's name.
pub(super) type Problem = &'static str;

pub(super) const UNREADABLE: Problem = "must be an Argon2id, Argon2i, scrypt or PBKDF2 hash in PHC \
    form, a bcrypt hash, or one of these as Django writes them";
pub(super) const EXCESSIVE: Problem = "must not ask for more memory or time than the limits allow";

/// The most memory that one hash may fill, in KiB: 256 MiB.
pub const MAX_MEMORY_KIB: u32 = 256 * 1024;

/// The most memory, in KiB, that an Argon2 hash may fill over all its iterations: 1 GiB.
const MAX_ARGON2_FILLED_KIB: u64 = 1024 * 1024;
/// Small memory does not make iterations free: each pays for the bookkeeping of its segments.
const MAX_ARGON2_ITERATIONS: u32 = 1024;
const MAX_ARGON2_LANES: u32 = 64;

/// The most memory, in bytes, that a scrypt hash may fill over all its lanes: 512 MiB.
const MAX_SCRYPT_FILLED: u64 = 512 * 1024 * 1024;

/// The most iterations of PBKDF2, over all the blocks of its output.
const MAX_PBKDF2_ITERATIONS: u64 = 5_000_000;

/// The greatest cost of bcrypt: 2^15 rounds.
const MAX_BCRYPT_COST: u32 = 15;
const MIN_BCRYPT_COST: u32 = 4;
/// Where bcrypt stops to read.
const BCRYPT_KEY_BYTES: usize = 72;
/// What a bcrypt string keeps of the 24 bytes that the function makes.
pub(super) const BCRYPT_DIGEST_BYTES: usize = 23;

/// A function that turns a password and a salt into a digest, at a cost that is known to be bearable.
#[derive(Clone)]
pub(super) struct Function(Kind);

#[derive(Clone)]
enum Kind {
    Argon2(Algorithm, Version, Params),
    Scrypt(scrypt::Params),
    Pbkdf2(Pbkdf2Digest, NonZeroU32),
    Bcrypt(BcryptKey, u32),
}

#[derive(Clone, Copy)]
pub(super) enum Pbkdf2Digest {
    Sha1,
    Sha256,
    Sha512,
}

/// What bcrypt is given to hash.
#[derive(Clone, Copy)]
pub(super) enum BcryptKey {
    /// The password itself, up to its 72nd byte.
    Password,
    /// The password's SHA-256 in hexadecimal digits, as Django's `bcrypt_sha256` has it.
    Sha256Hex,
}

impl Function {
    /// Argon2 (RFC 9106): at most 256 MiB of memory, 1 GiB filled over all the iterations,
    /// 1,024 iterations and 64 lanes.
    pub(super) fn argon2(
        algorithm: Algorithm,
        version: Version,
        [memory_kib, iterations, lanes]: [u32; 3],
    ) -> Result<Self, Problem> {
        let filled = u64::from(memory_kib) * u64::from(iterations);
        if memory_kib > MAX_MEMORY_KIB
            || filled > MAX_ARGON2_FILLED_KIB
            || iterations > MAX_ARGON2_ITERATIONS
            || lanes > MAX_ARGON2_LANES
        {
            return Err(EXCESSIVE);
        }
        let parameters =
            Params::new(memory_kib, iterations, lanes, None).map_err(|_| UNREADABLE)?;
        Ok(Self(Kind::Argon2(algorithm, version, parameters)))
    }

    /// scrypt (RFC 7914): at most 256 MiB of memory, 512 MiB filled over all the lanes.
    pub(super) fn scrypt(log_n: u32, r: u32, p: u32) -> Result<Self, Problem> {
        if log_n == 0 || r == 0 || p == 0 {
            return Err(UNREADABLE);
        }
        let n = 1_u64.checked_shl(log_n).ok_or(EXCESSIVE)?;
        let block = u64::from(r) * 128;
        let memory = n.checked_add(u64::from(p)).and_then(|blocks| blocks.checked_mul(block));
        let filled = n.checked_mul(u64::from(p)).and_then(|blocks| blocks.checked_mul(block));
        if memory.is_none_or(|memory| memory > u64::from(MAX_MEMORY_KIB) * 1024)
            || filled.is_none_or(|filled| filled > MAX_SCRYPT_FILLED)
        {
            return Err(EXCESSIVE);
        }
        let log_n = u8::try_from(log_n).map_err(|_| EXCESSIVE)?;
        let parameters = scrypt::Params::new(log_n, r, p).map_err(|_| UNREADABLE)?;
        Ok(Self(Kind::Scrypt(parameters)))
    }

    /// PBKDF2 (RFC 8018): at most 5,000,000 iterations, counted once for each block of the output.
    pub(super) fn pbkdf2(
        digest: Pbkdf2Digest,
        iterations: u32,
        output_bytes: usize,
    ) -> Result<Self, Problem> {
        let blocks = output_bytes.div_ceil(digest.bytes());
        let blocks = u64::try_from(blocks).unwrap_or(u64::MAX);
        if u64::from(iterations).saturating_mul(blocks) > MAX_PBKDF2_ITERATIONS {
            return Err(EXCESSIVE);
        }
        let iterations = NonZeroU32::new(iterations).ok_or(UNREADABLE)?;
        Ok(Self(Kind::Pbkdf2(digest, iterations)))
    }

    /// bcrypt, with a cost of 4 to 15.
    pub(super) fn bcrypt(key: BcryptKey, cost: u32) -> Result<Self, Problem> {
        match cost {
            ..MIN_BCRYPT_COST => Err(UNREADABLE),
            MIN_BCRYPT_COST..=MAX_BCRYPT_COST => Ok(Self(Kind::Bcrypt(key, cost))),
            _ => Err(EXCESSIVE),
        }
    }

    /// Fills the whole output, or fails.
    pub(super) fn derive(
        &self,
        password: &[u8],
        salt: &[u8],
        output: &mut [u8],
    ) -> Result<(), Failure> {
        match &self.0 {
            Kind::Argon2(algorithm, version, parameters) => {
                let mut memory = argon2_memory(parameters)?;
                Argon2::new(*algorithm, *version, parameters.clone())
                    .hash_password_into_with_memory(password, salt, output, memory.as_mut_slice())
                    .map_err(|_| Failure::Function)
            }
            Kind::Scrypt(parameters) => {
                scrypt::scrypt(password, salt, parameters, output).map_err(|_| Failure::Function)
            }
            Kind::Pbkdf2(digest, iterations) => {
                pbkdf2::derive(digest.algorithm(), *iterations, salt, password, output);
                Ok(())
            }
            Kind::Bcrypt(key, cost) => {
                let salt = salt.try_into().map_err(|_| Failure::Function)?;
                let derived = Zeroizing::new(match key {
                    BcryptKey::Password => bcrypt(*cost, salt, password),
                    BcryptKey::Sha256Hex => {
                        let digest = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(password)));
                        let hex = Zeroizing::new(HEXLOWER.encode(digest.as_slice()));
                        bcrypt(*cost, salt, hex.as_bytes())
                    }
                });
                let kept = derived.get(..output.len()).ok_or(Failure::Function)?;
                output.copy_from_slice(kept);
                Ok(())
            }
        }
    }
}

impl Pbkdf2Digest {
    fn bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn algorithm(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// Memory that is wiped before it is given back: what Argon2 leaves in it lets guesses be tested at
/// a fraction of its price. Whether it is kept for the next hash is the allocator's to say.
fn argon2_memory(parameters: &Params) -> Result<Zeroizing<Vec<Block>>, Failure> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(parameters.block_count()).map_err(|_| Failure::Memory)?;
    memory.resize(parameters.block_count(), Block::new());
    Ok(Zeroizing::new(memory))
}

/// Bcrypt as OpenBSD has it since 2014 (`$2b$`): the key is the password, a NUL after it, and
/// nothing beyond the 72nd byte. A NUL within the password is a byte like any other; C libraries
/// stop there and so take any password that goes on after it. As bcrypt repeats its key, `a` and `a`
/// NUL `a` are one to it, which helps only those who know the password.
fn bcrypt(cost: u32, salt: [u8; 16], password: &[u8]) -> [u8; 24] {
    let mut key = Zeroizing::new([0; BCRYPT_KEY_BYTES]);
    let taken = password.len().min(BCRYPT_KEY_BYTES);
    key[..taken].copy_from_slice(&password[..taken]);
    let with_nul = (taken + 1).min(BCRYPT_KEY_BYTES);
    ::bcrypt::bcrypt(cost, salt, &key[..with_nul])
}
