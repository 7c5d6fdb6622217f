//! Secrets at rest: what the keyring seals, and how a record is bound to its user.
//!
//! Every user has keys of their own, derived from each key of the keyring (HKDF, RFC 5869): one for
//! AES-256-GCM and one for keyed digests. So the bound on random nonces (NIST SP 800-38D §8.3) is one of a
//! single user's record and never comes near, and nothing sealed for one user opens for another.

mod marker;
mod stream;

pub(crate) use marker::key_of_marker;
pub(crate) use stream::{Broken, CHUNK, FileSeal, SEALED_CHUNK};

use crate::entropy;
use crate::store::RecordKey;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use std::sync::OnceLock;
use twinlock_core::Record;
use twinlock_core::record::{Digest, Sealed};
use zeroize::Zeroizing;

/// The record format that this release writes.
const FORMAT: u8 = 1;
/// The newest that it reads: the one of the next minor release.
const NEWEST_READABLE_FORMAT: u8 = 2;
const KEY_ID_LEN: usize = 4;
const TAG_LEN: usize = 16;
/// What stands before a record: its format, the key of its tag, and the tag.
pub(crate) const HEAD_LEN: usize = 1 + KEY_ID_LEN + TAG_LEN;

/// The name of a key, kept beside everything that it seals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

impl KeyId {
    /// A random name.
    pub fn random() -> Self {
        Self(u32::from_be_bytes(entropy::bytes()))
    }

    /// Reads eight hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hexadecimal = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hexadecimal.then(|| u32::from_str_radix(text, 16).ok()).flatten().map(Self)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The keys that open what is at rest; the primary one seals.
#[derive(Clone)]
pub struct Keyring {
    /// The primary first.
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    id: KeyId,
    derive: Hkdf<Sha256>,
    /// Whether it is to be the primary one day, and other processes may have it as theirs already.
    is_prepared: bool,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.id)).finish()
    }
}

/// A keyring that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The primary key is none of the keys.
    #[error("the keyring has no key {0}, which it names as the primary")]
    NoPrimary(KeyId),
    /// Two keys have one id.
    #[error("the keyring has two keys {0}")]
    Twice(KeyId),
    /// The primary key is said to be prepared only.
    #[error("key {0} cannot be the primary and prepared to be one")]
    PreparedPrimary(KeyId),
}

/// Why something at rest cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The keyring lacks the key.
    #[error("the keyring has no key {0}")]
    NoKey(KeyId),
    /// Damaged, edited, or another user's.
    #[error("the bytes are damaged or belong to another user")]
    Damaged,
    /// Written by a release that is too new.
    #[error("record format {0} is newer than this release reads")]
    Format(u8),
}

impl Keyring {
    /// A keyring of 256-bit random keys.
    pub fn new(
        primary: KeyId,
        keys: impl IntoIterator<Item = (KeyId, Zeroizing<[u8; 32]>)>,
    ) -> Result<Self, KeyringError> {
        let mut ring: Vec<Key> = Vec::new();
        for (id, secret) in keys {
            if ring.iter().any(|key| key.id == id) {
                return Err(KeyringError::Twice(id));
            }
            // The key is uniformly random, so the extraction that HKDF begins with has nothing to do.
            let derive = Hkdf::from_prk(secret.as_slice()).expect("32 bytes are a whole PRK");
            ring.push(Key { id, derive, is_prepared: false });
        }
        let primary_at = ring.iter().position(|key| key.id == primary);
        ring.swap(0, primary_at.ok_or(KeyringError::NoPrimary(primary))?);
        Ok(Self { keys: ring })
    }

    /// The keys of one user.
    pub fn vault(&self, key: &RecordKey) -> Vault {
        let (namespace, user) = (key.namespace.as_str(), key.user.as_str());
        let mut context = Vec::with_capacity(2 + namespace.len() + user.len());
        // Both are shorter than 256 bytes, and neither is empty.
        context.push(namespace.len() as u8);
        context.extend_from_slice(namespace.as_bytes());
        context.push(user.len() as u8);
        context.extend_from_slice(user.as_bytes());
        self.vault_of(context)
    }

    /// The same with keys that are to be the primary one day. What is sealed under one of them stays so.
    pub fn with_prepared(mut self, ids: &[KeyId]) -> Result<Self, KeyringError> {
        for key in &mut self.keys {
            key.is_prepared = ids.contains(&key.id);
        }
        if self.keys[0].is_prepared {
            return Err(KeyringError::PreparedPrimary(self.keys[0].id));
        }
        Ok(self)
    }

    /// The key that seals.
    pub fn primary(&self) -> KeyId {
        self.keys[0].id
    }

    /// All keys, the primary first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(|key| key.id)
    }

    /// Whether a key is here.
    pub fn has(&self, id: KeyId) -> bool {
        self.ids().any(|known| known == id)
    }

    /// Whether a key is to be the primary one day.
    pub fn is_prepared(&self, id: KeyId) -> bool {
        self.keys.iter().any(|key| key.id == id && key.is_prepared)
    }

    /// Whether a key was the primary once: what it seals is to be sealed anew.
    pub fn is_former(&self, id: KeyId) -> bool {
        id != self.primary() && self.has(id) && !self.is_prepared(id)
    }

    /// Whether two keyrings say the same.
    pub fn is_same(&self, other: &Self) -> bool {
        let says = |ring: &Self| {
            let mut keys: Vec<_> = ring.keys.iter().map(|key| (key.id, key.is_prepared)).collect();
            keys.sort_unstable();
            (ring.primary(), keys)
        };
        says(self) == says(other) && self.contradiction(other).is_none()
    }

    /// A key that stands for one secret here and for another there.
    pub fn contradiction(&self, other: &Self) -> Option<KeyId> {
        let proof = |key: &Key| UserKey::derive(key, CONTRADICTION_CONTEXT).digest(b"", &[]);
        let differs = |key: &Key| {
            let there = other.keys.iter().find(|there| there.id == key.id);
            there.is_some_and(|there| proof(there) != proof(key))
        };
        self.keys.iter().find(|key| differs(key)).map(|key| key.id)
    }

    /// This keyring with the keys of another one besides, as prepared ones: what other processes have sealed
    /// under them already stays so.
    #[must_use]
    pub fn knowing(&self, other: &Self) -> Self {
        let more = other.keys.iter().filter(|key| !self.has(key.id)).cloned();
        let more = more.map(|key| Key { is_prepared: true, ..key });
        Self { keys: self.keys.iter().cloned().chain(more).collect() }
    }

    fn vault_of(&self, context: Vec<u8>) -> Vault {
        let keys = self.keys.iter().map(|key| UserKey::derive(key, &context)).collect();
        Vault { keys, context }
    }
}

/// No namespace is empty, so no user has this context.
const CONTRADICTION_CONTEXT: &[u8] = b"\0the same secret";

/// What a sealed value is for. It is authenticated with it, so that one cannot stand for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The secret of an authenticator.
    TotpSecret,
    /// The hash of a recovery key.
    RecoveryKey,
    /// A password verifier.
    Password,
    /// An answer that may be repeated.
    Answer,
    /// The marker of the dataset.
    Marker,
}

impl Purpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::TotpSecret => b"totp secret",
            Self::RecoveryKey => b"recovery key",
            Self::Password => b"password",
            Self::Answer => b"answer",
            Self::Marker => b"marker",
        }
    }
}

/// What a keyed digest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A session.
    Session,
    /// A request id.
    RequestId,
    /// A whole request.
    Request,
}

impl Named {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Session => b"session\0",
            Self::RequestId => b"request id\0",
            Self::Request => b"request\0",
        }
    }
}

/// The keys of one user: seals, opens, and names things of that user alone.
pub struct Vault {
    /// The one of the primary key first.
    keys: Vec<UserKey>,
    context: Vec<u8>,
}

struct UserKey {
    id: KeyId,
    seal: Zeroizing<[u8; 32]>,
    cipher: OnceLock<RandomizedNonceKey>,
    digest: Hmac<Sha256>,
}

impl UserKey {
    fn derive(key: &Key, context: &[u8]) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        key.derive
            .expand_multi_info(&[b"twinlock v1 user keys\0", context], bytes.as_mut_slice())
            .expect("HKDF-SHA-256 gives up to 8,160 bytes");
        let (seal, digest) = bytes.split_at(32);
        let mut sealing = Zeroizing::new([0; 32]);
        sealing.copy_from_slice(seal);
        let digest = Hmac::new_from_slice(digest).expect("HMAC takes a key of any length");
        Self { id: key.id, seal: sealing, cipher: OnceLock::new(), digest }
    }

    /// Its schedule takes longer than what it seals, and most calls seal and open nothing.
    fn cipher(&self) -> &RandomizedNonceKey {
        let make = || RandomizedNonceKey::new(&AES_256_GCM, &*self.seal);
        self.cipher.get_or_init(|| make().expect("AES-256 takes 32 bytes"))
    }

    fn digest(&self, label: &[u8], data: &[&[u8]]) -> [u8; 16] {
        let mut mac = self.digest.clone();
        mac.update(label);
        data.iter().for_each(|part| mac.update(part));
        shortened(mac)
    }
}

/// A value that is being named.
pub struct Naming(Vec<Hmac<Sha256>>);

impl Naming {
    /// Goes on with this part of it.
    pub fn add(&mut self, part: &[u8]) {
        self.0.iter_mut().for_each(|mac| mac.update(part));
    }

    /// Its keyed digests, under each key.
    pub fn digests(self) -> impl Iterator<Item = Digest> {
        self.0.into_iter().map(|mac| Digest(shortened(mac)))
    }
}

fn shortened(mac: Hmac<Sha256>) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&mac.finalize().into_bytes()[..16]);
    digest
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(redacted)")
    }
}

impl Vault {
    /// Seals a value: key id, nonce, ciphertext and tag.
    pub fn seal(&self, purpose: Purpose, plaintext: &[u8]) -> Sealed {
        let key = self.primary();
        let mut sealed = Vec::with_capacity(KEY_ID_LEN + NONCE_LEN + plaintext.len() + TAG_LEN);
        sealed.extend_from_slice(&key.id.0.to_be_bytes());
        let mut ciphertext = Zeroizing::new(Vec::with_capacity(plaintext.len() + TAG_LEN));
        ciphertext.extend_from_slice(plaintext);
        let nonce = key
            .cipher()
            .seal_in_place_append_tag(Aad::from(self.associated(purpose)), &mut *ciphertext)
            .expect("AES-GCM seals any value that fits in memory");
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&ciphertext);
        Sealed(sealed)
    }

    /// Opens a value that was sealed for this user and purpose.
    pub fn open(
        &self,
        purpose: Purpose,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, Unreadable> {
        let (id, rest) = sealed.0.split_at_checked(KEY_ID_LEN).ok_or(Unreadable::Damaged)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN).ok_or(Unreadable::Damaged)?;
        let key = self.key(key_id(id)?)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unreadable::Damaged)?;
        let mut bytes = Zeroizing::new(ciphertext.to_vec());
        let length = key
            .cipher()
            .open_in_place(nonce, Aad::from(self.associated(purpose)), &mut bytes)
            .map_err(|_| Unreadable::Damaged)?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// The keyed digests of a value, under each key.
    pub fn digests(&self, named: Named, value: &[u8]) -> impl Iterator<Item = Digest> {
        self.keys.iter().map(move |key| Digest(key.digest(named.label(), &[value])))
    }

    /// The same for a value that is told part by part, and is nowhere as a whole.
    pub fn naming(&self, named: Named) -> Naming {
        let begin = |key: &UserKey| key.digest.clone().chain_update(named.label());
        Naming(self.keys.iter().map(begin).collect())
    }

    /// A record as the store keeps it: format, key id, tag, and the record. The tag binds it to its user
    /// and shows any damage.
    pub fn write(&self, record: &Record) -> Vec<u8> {
        self.tag(record.encode_behind(&[FORMAT; HEAD_LEN]))
    }

    /// Tags a record: behind its format, the first byte, is room for the rest of what stands before it.
    pub(crate) fn tag(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let key = self.primary();
        let (head, body) = bytes.split_at_mut(HEAD_LEN);
        let tag = key.digest(RECORD_LABEL, &[&head[..1], body]);
        let (id, room) = head[1..].split_at_mut(KEY_ID_LEN);
        id.copy_from_slice(&key.id.0.to_be_bytes());
        room.copy_from_slice(&tag);
        bytes
    }

    /// Reads a record of this user.
    pub fn read(&self, bytes: &[u8]) -> Result<Record, Unreadable> {
        let parts = Parts::of(bytes)?;
        self.authenticate(&parts)?;
        Record::decode(parts.body).map_err(|_| Unreadable::Damaged)
    }

    /// Reads a record of this user that was read before and has been in this process's memory since.
    pub(crate) fn read_again(&self, bytes: &[u8]) -> Result<Record, Unreadable> {
        let parts = Parts::of(bytes)?;
        // The keyring may be another one by now.
        self.key(parts.key)?;
        Record::decode(parts.body).map_err(|_| Unreadable::Damaged)
    }

    /// Makes sure that the bytes are as they were written for this user.
    pub(crate) fn authenticate(&self, parts: &Parts<'_>) -> Result<(), Unreadable> {
        let mut mac = self.key(parts.key)?.digest.clone();
        mac.update(RECORD_LABEL);
        mac.update(&[parts.format]);
        mac.update(parts.body);
        mac.verify_truncated_left(parts.tag).map_err(|_| Unreadable::Damaged)
    }

    fn primary(&self) -> &UserKey {
        &self.keys[0]
    }

    fn key(&self, id: KeyId) -> Result<&UserKey, Unreadable> {
        self.keys.iter().find(|key| key.id == id).ok_or(Unreadable::NoKey(id))
    }

    fn associated(&self, purpose: Purpose) -> Vec<u8> {
        [purpose.label(), b"\0", &self.context].concat()
    }
}

const RECORD_LABEL: &[u8] = b"record\0";

/// What the bytes of a record are made of. Nothing of it is authenticated yet.
pub(crate) struct Parts<'a> {
    format: u8,
    /// The key of the tag.
    pub(crate) key: KeyId,
    tag: &'a [u8],
    /// The record.
    pub(crate) body: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, Unreadable> {
        let (&format, rest) = bytes.split_first().ok_or(Unreadable::Damaged)?;
        if !(FORMAT..=NEWEST_READABLE_FORMAT).contains(&format) {
            return Err(Unreadable::Format(format));
        }
        let (id, rest) = rest.split_at_checked(KEY_ID_LEN).ok_or(Unreadable::Damaged)?;
        let (tag, body) = rest.split_at_checked(TAG_LEN).ok_or(Unreadable::Damaged)?;
        Ok(Self { format, key: key_id(id)?, tag, body })
    }

    /// Whether this release writes records like it.
    pub(crate) fn is_of_this_release(&self) -> bool {
        self.format == FORMAT
    }
}

/// The key that a sealed value names.
pub(crate) fn key_of(sealed: &Sealed) -> Result<KeyId, Unreadable> {
    key_id(sealed.0.get(..KEY_ID_LEN).ok_or(Unreadable::Damaged)?)
}

fn key_id(bytes: &[u8]) -> Result<KeyId, Unreadable> {
    let bytes = bytes.try_into().map_err(|_| Unreadable::Damaged)?;
    Ok(KeyId(u32::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests;
