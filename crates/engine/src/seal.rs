//! Secrets at rest: what the keyring seals, and how a record is bound to its user.
//!
//! Every user has keys of their own, derived from each key of the keyring (HKDF, RFC 5869): one for
//! AES-256-GCM and one for keyed digests. So the bound on random nonces (NIST SP 800-38D §8.3) is one of a
//! single user's record and never comes near, and nothing sealed for one user opens for another.

use crate::entropy;
use crate::store::RecordKey;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::fmt;
use twinlock_core::Record;
use twinlock_core::record::{Digest, Digests, Sealed};
use zeroize::Zeroizing;

/// The record format that this release writes.
const FORMAT: u8 = 1;
/// The newest that it reads: the one of the next minor release.
const NEWEST_READABLE_FORMAT: u8 = 2;
const KEY_ID_LEN: usize = 4;
const TAG_LEN: usize = 16;

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
pub struct Keyring {
    /// The primary first.
    keys: Vec<Key>,
}

struct Key {
    id: KeyId,
    derive: Hkdf<Sha256>,
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
            ring.push(Key { id, derive });
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

    /// A new dataset marker: a random id, sealed. Who opens it has the keyring of the dataset.
    pub fn new_marker(&self) -> Vec<u8> {
        self.vault_of(MARKER_CONTEXT.to_vec()).seal(Purpose::Marker, &entropy::bytes::<16>()).0
    }

    /// Opens a dataset marker and gives the dataset's id.
    pub fn open_marker(&self, marker: &[u8]) -> Result<[u8; 16], Unreadable> {
        let vault = self.vault_of(MARKER_CONTEXT.to_vec());
        let id = vault.open(Purpose::Marker, &Sealed(marker.to_vec()))?;
        id.as_slice().try_into().map_err(|_| Unreadable::Damaged)
    }

    fn vault_of(&self, context: Vec<u8>) -> Vault {
        let keys = self.keys.iter().map(|key| UserKey::derive(key, &context)).collect();
        Vault { keys, context }
    }
}

/// No namespace is empty, so no user has this context.
const MARKER_CONTEXT: &[u8] = b"\0dataset marker";

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
    seal: RandomizedNonceKey,
    digest: Hmac<Sha256>,
}

impl UserKey {
    fn derive(key: &Key, context: &[u8]) -> Self {
        let mut bytes = Zeroizing::new([0; 64]);
        key.derive
            .expand_multi_info(&[b"twinlock v1 user keys\0", context], bytes.as_mut_slice())
            .expect("HKDF-SHA-256 gives up to 8,160 bytes");
        let (seal, digest) = bytes.split_at(32);
        Self {
            id: key.id,
            seal: RandomizedNonceKey::new(&AES_256_GCM, seal).expect("AES-256 takes 32 bytes"),
            digest: Hmac::new_from_slice(digest).expect("HMAC takes a key of any length"),
        }
    }

    fn digest(&self, label: &[u8], data: &[&[u8]]) -> [u8; 16] {
        let mut mac = self.digest.clone();
        mac.update(label);
        data.iter().for_each(|part| mac.update(part));
        let mut digest = [0; 16];
        digest.copy_from_slice(&mac.finalize().into_bytes()[..16]);
        digest
    }
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
            .seal
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
            .seal
            .open_in_place(nonce, Aad::from(self.associated(purpose)), &mut bytes)
            .map_err(|_| Unreadable::Damaged)?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }

    /// The keyed digests of a value, under each key.
    pub fn digests(&self, named: Named, value: &[u8]) -> Digests {
        Digests(self.keys.iter().map(|key| Digest(key.digest(named.label(), &[value]))).collect())
    }

    /// A record as the store keeps it: format, key id, tag, and the record. The tag binds it to its user
    /// and shows any damage.
    pub fn write(&self, record: &Record) -> Vec<u8> {
        let key = self.primary();
        let body = record.encode();
        let mut bytes = Vec::with_capacity(1 + KEY_ID_LEN + TAG_LEN + body.len());
        bytes.push(FORMAT);
        bytes.extend_from_slice(&key.id.0.to_be_bytes());
        bytes.extend_from_slice(&key.digest(RECORD_LABEL, &[&[FORMAT], &body]));
        bytes.extend_from_slice(&body);
        bytes
    }

    /// Reads a record of this user.
    pub fn read(&self, bytes: &[u8]) -> Result<Record, Unreadable> {
        let (&format, rest) = bytes.split_first().ok_or(Unreadable::Damaged)?;
        if !(FORMAT..=NEWEST_READABLE_FORMAT).contains(&format) {
            return Err(Unreadable::Format(format));
        }
        let (id, rest) = rest.split_at_checked(KEY_ID_LEN).ok_or(Unreadable::Damaged)?;
        let (tag, body) = rest.split_at_checked(TAG_LEN).ok_or(Unreadable::Damaged)?;
        let mut mac = self.key(key_id(id)?)?.digest.clone();
        mac.update(RECORD_LABEL);
        mac.update(&[format]);
        mac.update(body);
        mac.verify_truncated_left(tag).map_err(|_| Unreadable::Damaged)?;
        Record::decode(body).map_err(|_| Unreadable::Damaged)
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

fn key_id(bytes: &[u8]) -> Result<KeyId, Unreadable> {
    let bytes = bytes.try_into().map_err(|_| Unreadable::Damaged)?;
    Ok(KeyId(u32::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlock_core::{Namespace, UserId};

    fn ring(ids: &[u32]) -> Keyring {
        let keys = ids.iter().map(|id| (KeyId(*id), Zeroizing::new([*id as u8; 32])));
        Keyring::new(KeyId(ids[0]), keys).expect("a keyring")
    }

    fn user(namespace: &str, user: &str) -> RecordKey {
        RecordKey {
            namespace: Namespace::parse(namespace).expect("a namespace"),
            user: UserId::parse(user).expect("a user"),
        }
    }

    #[test]
    fn what_is_sealed_opens_for_the_same_user_and_purpose_alone() {
        let ring = ring(&[1]);
        let alice = ring.vault(&user("ns", "alice"));
        let sealed = alice.seal(Purpose::TotpSecret, b"secret");
        assert_eq!(alice.open(Purpose::TotpSecret, &sealed).as_deref(), Ok(&b"secret".to_vec()));
        let others = [
            ring.vault(&user("ns", "alicf")),
            ring.vault(&user("nt", "alice")),
            ring.vault(&user("nsa", "lice")),
        ];
        assert_eq!(alice.open(Purpose::RecoveryKey, &sealed), Err(Unreadable::Damaged));
        for other in others {
            assert_eq!(other.open(Purpose::TotpSecret, &sealed), Err(Unreadable::Damaged));
        }
        for cut in 0..sealed.0.len() {
            assert!(alice.open(Purpose::TotpSecret, &Sealed(sealed.0[..cut].to_vec())).is_err());
        }
        assert_ne!(alice.seal(Purpose::TotpSecret, b"secret"), sealed, "a fresh nonce");
    }

    #[test]
    fn an_older_key_still_opens_and_a_missing_one_is_named() {
        let old = ring(&[1]).vault(&user("ns", "alice"));
        let both = ring(&[2, 1]).vault(&user("ns", "alice"));
        let sealed = old.seal(Purpose::Password, b"x");
        assert!(both.open(Purpose::Password, &sealed).is_ok());
        let new = both.seal(Purpose::Password, b"x");
        assert_eq!(old.open(Purpose::Password, &new), Err(Unreadable::NoKey(KeyId(2))));
        let session = old.digests(Named::Session, b"s").primary();
        assert!(both.digests(Named::Session, b"s").contains(&session));
        assert_ne!(both.digests(Named::Session, b"s").primary(), session);
    }

    #[test]
    fn a_record_is_bound_to_its_user_and_shows_any_damage() {
        let ring = ring(&[1]);
        let alice = ring.vault(&user("ns", "alice"));
        let record = Record { unenrolled_at: Some(Default::default()), ..Record::default() };
        let bytes = alice.write(&record);
        assert_eq!(alice.read(&bytes), Ok(record));
        assert_eq!(ring.vault(&user("ns", "bob")).read(&bytes), Err(Unreadable::Damaged));
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] ^= 0x40;
            assert!(alice.read(&damaged).is_err(), "byte {index}");
        }
        assert!(alice.read(b"").is_err());
    }

    #[test]
    fn a_record_of_a_format_from_the_far_future_is_refused() {
        let alice = ring(&[1]).vault(&user("ns", "alice"));
        let mut bytes = alice.write(&Record::default());
        bytes[0] = 3;
        assert_eq!(alice.read(&bytes), Err(Unreadable::Format(3)));
    }

    #[test]
    fn a_keyring_needs_its_primary_and_no_key_twice() {
        let key = |id| (KeyId(id), Zeroizing::new([0; 32]));
        assert_eq!(Keyring::new(KeyId(1), [key(2)]).err(), Some(KeyringError::NoPrimary(KeyId(1))));
        assert_eq!(
            Keyring::new(KeyId(1), [key(1), key(1)]).err(),
            Some(KeyringError::Twice(KeyId(1)))
        );
    }

    #[test]
    fn the_marker_opens_with_its_keyring_alone() {
        let marker = ring(&[1]).new_marker();
        assert!(ring(&[2, 1]).open_marker(&marker).is_ok());
        assert_eq!(ring(&[2]).open_marker(&marker), Err(Unreadable::NoKey(KeyId(1))));
    }

    #[test]
    fn nothing_of_the_keyring_is_shown() {
        let ring = Keyring::new(KeyId(7), [(KeyId(7), Zeroizing::new([0x41; 32]))]);
        let shown = format!("{ring:?} {:?}", ring.as_ref().map(|ring| ring.vault(&user("n", "u"))));
        assert!(shown.contains("00000007") && !shown.contains("AAAA") && !shown.contains("65, 65"));
    }
}
