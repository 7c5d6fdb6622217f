//! The two ways in which exports are encrypted: Fernet, and the AES-CBC with an HMAC of PSKC (RFC 6030
//! section 6). Whatever is opened was authenticated before.

use aws_lc_rs::cipher::{
    AES_128, AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use data_encoding::{BASE64_MIME_PERMISSIVE, BASE64URL, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

use super::{Skipped, Unreadable};

type Bytes = Zeroizing<Vec<u8>>;

const BLOCK: usize = 16;

/// Opens a Fernet token (<https://github.com/fernet/spec>): version, time, initialization vector, AES-128-CBC,
/// HMAC-SHA256. The time is not looked at: exports do not expire.
pub(super) fn fernet(token: &str, key: &str) -> Result<Bytes, Unreadable> {
    let malformed = Unreadable::MalformedKey("it must be 32 bytes in URL-safe base64");
    let key = Zeroizing::new(BASE64URL.decode(key.as_bytes()).or(Err(malformed.clone()))?);
    let Some((signing, encryption)) = key.split_at_checked(16).filter(|_| key.len() == 32) else {
        return Err(malformed);
    };
    let token = BASE64URL.decode(token.as_bytes()).or(Err(Unreadable::WrongKey))?;
    let mac_at = token.len().saturating_sub(32);
    let (signed, mac) = token.split_at(mac_at);
    let signing = hmac::Key::new(hmac::HMAC_SHA256, signing);
    hmac::verify(&signing, signed, mac).or(Err(Unreadable::WrongKey))?;
    let sealed = signed.get(1 + 8..).ok_or(Unreadable::WrongKey)?;
    cbc(encryption, sealed).ok_or(Unreadable::WrongKey)
}

/// The values of a PSKC document, sealed with one key and authenticated with another that it seals too.
pub(super) struct SealedValues {
    key: Bytes,
    mac: hmac::Key,
}

impl SealedValues {
    /// Takes the pre-shared key in hexadecimal, the sealed key of the HMAC, and the URI of its algorithm.
    pub(super) fn new(key: &str, mac_key: &str, algorithm: &str) -> Result<Self, Unreadable> {
        let malformed = Unreadable::MalformedKey("it must be 16 or 32 bytes in hexadecimal");
        let key = HEXLOWER_PERMISSIVE.decode(key.as_bytes()).or(Err(malformed.clone()))?;
        let key = Zeroizing::new(key);
        if ![16, 32].contains(&key.len()) {
            return Err(malformed);
        }
        let algorithm = match algorithm.rsplit('#').next().unwrap_or_default() {
            "hmac-sha1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            "hmac-sha256" => hmac::HMAC_SHA256,
            _ => return Err(Unreadable::NotXml("its MACMethod is not known")),
        };
        let mac_key = base64(mac_key).and_then(|sealed| cbc(&key, &sealed));
        let mac = hmac::Key::new(algorithm, &mac_key.ok_or(Unreadable::WrongKey)?);
        Ok(Self { key, mac })
    }

    pub(super) fn open(&self, method: &str, sealed: &str, mac: &str) -> Result<Bytes, Skipped> {
        let expected = match self.key.len() {
            16 => "aes128-cbc",
            _ => "aes256-cbc",
        };
        if method.rsplit('#').next() != Some(expected) {
            return Err(Skipped::UnknownCipher);
        }
        let sealed = base64(sealed).ok_or(Skipped::NotOpened)?;
        let mac = base64(mac).ok_or(Skipped::NotOpened)?;
        hmac::verify(&self.mac, &sealed, &mac).or(Err(Skipped::NotOpened))?;
        cbc(&self.key, &sealed).ok_or(Skipped::NotOpened)
    }
}

/// Base64 as XML has it, with blanks and line ends anywhere.
pub(super) fn base64(text: &str) -> Option<Bytes> {
    BASE64_MIME_PERMISSIVE.decode(text.as_bytes()).ok().map(Zeroizing::new)
}

/// Opens AES-CBC with its initialization vector before it. The length of the padding is in its last byte, and
/// its other bytes may be anything (XML Encryption section 5.2); so are those of PKCS #7.
fn cbc(key: &[u8], sealed: &[u8]) -> Option<Bytes> {
    let (vector, sealed) = sealed.split_at_checked(BLOCK)?;
    let algorithm = if key.len() == 16 { &AES_128 } else { &AES_256 };
    let key = UnboundCipherKey::new(algorithm, key).ok()?;
    let key = PaddedBlockDecryptingKey::cbc_iso10126(key).ok()?;
    let vector: [u8; BLOCK] = vector.try_into().ok()?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    let length =
        key.decrypt(&mut opened, DecryptionContext::Iv128(FixedLength::from(vector))).ok()?.len();
    opened.truncate(length);
    Some(opened)
}
