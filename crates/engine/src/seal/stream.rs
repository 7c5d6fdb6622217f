//! Files sealed as a whole and in order, in chunks: STREAM (Hoang, Reyhanitabar, Rogaway and Vizár, "Online
//! Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015) over AES-256-GCM.
//!
//! A chunk's nonce is its number and whether it is the last. So one that is changed, left out, moved or taken
//! from another file does not open, and neither does a last one that has something behind it.

use super::{KeyId, Keyring, Unreadable};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

/// How many bytes of content a chunk has; the last one may have fewer.
pub(crate) const CHUNK: usize = 64 * 1024;
/// How many bytes that is in the file.
pub(crate) const SEALED_CHUNK: usize = CHUNK + 16;

/// The key of one file, and which chunk is next.
pub(crate) struct FileSeal {
    key: LessSafeKey,
    next: u64,
}

/// A chunk that is not the one that was sealed at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It was changed, or belongs elsewhere.
    Damaged,
    /// It is whole, but another one followed it.
    CutOff,
    /// It is whole, and was the last one, but something follows it.
    Extended,
}

impl Keyring {
    /// The key of a file, which nobody else's header leads to.
    pub(crate) fn file_seal(&self, id: KeyId, header: &[u8]) -> Result<FileSeal, Unreadable> {
        let key = self.keys.iter().find(|key| key.id == id).ok_or(Unreadable::NoKey(id))?;
        let mut bytes = Zeroizing::new([0; 32]);
        key.derive
            .expand_multi_info(&[b"twinlock v1 file\0", header], bytes.as_mut_slice())
            .expect("HKDF-SHA-256 gives up to 8,160 bytes");
        let key = UnboundKey::new(&AES_256_GCM, bytes.as_slice()).expect("AES-256 takes 32 bytes");
        Ok(FileSeal { key: LessSafeKey::new(key), next: 0 })
    }
}

impl FileSeal {
    /// Seals the next chunk in place.
    pub(crate) fn seal(&mut self, chunk: &mut Vec<u8>, is_last: bool) {
        self.key
            .seal_in_place_append_tag(self.nonce(is_last), Aad::empty(), chunk)
            .expect("AES-GCM seals any chunk that fits in memory");
        self.next += 1;
    }

    /// Opens the next chunk in place.
    pub(crate) fn open(&mut self, chunk: &mut Vec<u8>, is_last: bool) -> Result<(), Broken> {
        // Opening in place spoils what does not open.
        let mut sealed = chunk.clone();
        match self.try_open(chunk, is_last) {
            Some(length) => chunk.truncate(length),
            None if self.try_open(&mut sealed, !is_last).is_none() => return Err(Broken::Damaged),
            None if is_last => return Err(Broken::CutOff),
            None => return Err(Broken::Extended),
        }
        self.next += 1;
        Ok(())
    }

    /// Begins again with the first chunk.
    pub(crate) fn rewind(&mut self) {
        self.next = 0;
    }

    fn try_open(&self, chunk: &mut [u8], is_last: bool) -> Option<usize> {
        let opened = self.key.open_in_place(self.nonce(is_last), Aad::empty(), chunk);
        opened.map(|content| content.len()).ok()
    }

    fn nonce(&self, is_last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[NONCE_LEN - 9..NONCE_LEN - 1].copy_from_slice(&self.next.to_be_bytes());
        nonce[NONCE_LEN - 1] = u8::from(is_last);
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(header: &[u8]) -> FileSeal {
        let keys = [(KeyId(1), Zeroizing::new([1; 32]))];
        let ring = Keyring::new(KeyId(1), keys).expect("a keyring");
        ring.file_seal(KeyId(1), header).expect("a key")
    }

    fn sealed() -> [Vec<u8>; 3] {
        let mut seal = seal(b"header");
        [(b"one", false), (b"two", false), (b"end", true)].map(|(content, is_last)| {
            let mut chunk = content.to_vec();
            seal.seal(&mut chunk, is_last);
            chunk
        })
    }

    fn open(seal: &mut FileSeal, chunk: &[u8], is_last: bool) -> Result<Vec<u8>, Broken> {
        let mut chunk = chunk.to_vec();
        seal.open(&mut chunk, is_last).map(|()| chunk)
    }

    #[test]
    fn chunks_open_in_their_order_alone() {
        let [one, two, end] = sealed();
        let mut file = seal(b"header");
        assert_eq!(open(&mut file, &two, false), Err(Broken::Damaged), "moved forward");
        assert_eq!(open(&mut file, &one, false), Ok(b"one".to_vec()));
        assert_eq!(open(&mut file, &one, false), Err(Broken::Damaged), "doubled");
        assert_eq!(open(&mut file, &two, true), Err(Broken::CutOff));
        assert_eq!(open(&mut file, &two, false), Ok(b"two".to_vec()));
        assert_eq!(open(&mut file, &end, false), Err(Broken::Extended));
        assert_eq!(open(&mut file, &end, true), Ok(b"end".to_vec()));
    }

    #[test]
    fn chunks_open_under_their_own_header_alone() {
        let [one, ..] = sealed();
        assert_eq!(open(&mut seal(b"headers"), &one, false), Err(Broken::Damaged));
        for index in 0..one.len() {
            let mut damaged = one.clone();
            damaged[index] ^= 1;
            assert_eq!(open(&mut seal(b"header"), &damaged, false), Err(Broken::Damaged));
            assert_eq!(open(&mut seal(b"header"), &one[..index], true), Err(Broken::Damaged));
        }
    }
}
