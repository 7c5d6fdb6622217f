//! The dataset's marker: who opens it has the keyring of the dataset.
//!
//! It is the dataset's public name, and a seal over its id. The name stays when the seal is renewed under
//! another key, so that stores, which compare names alone, know the dataset again.

use super::{KEY_ID_LEN, KeyId, Keyring, NONCE_LEN, Purpose, TAG_LEN, Unreadable, key_id};
use crate::entropy;
use crate::store::{DATASET_NAME_BYTES, dataset_name};
use twinlock_core::record::Sealed;

const ID_LEN: usize = 16;
const SEAL_LEN: usize = KEY_ID_LEN + NONCE_LEN + ID_LEN + TAG_LEN;

/// No namespace is empty, so no user has this context.
const CONTEXT: &[u8] = b"\0dataset marker";

impl Keyring {
    /// A new marker, with a random name and id.
    pub fn new_marker(&self) -> Vec<u8> {
        self.marker(&entropy::bytes::<DATASET_NAME_BYTES>(), &entropy::bytes::<ID_LEN>())
    }

    /// Opens a marker and gives the dataset's id.
    pub fn open_marker(&self, marker: &[u8]) -> Result<[u8; ID_LEN], Unreadable> {
        let (name, seal) = parts(marker)?;
        let vault = self.vault_of([CONTEXT, name].concat());
        let id = vault.open(Purpose::Marker, &Sealed(seal.to_vec()))?;
        id.as_slice().try_into().map_err(|_| Unreadable::Damaged)
    }

    /// The same marker under the primary key; `None` where no former key seals it.
    pub fn renewed_marker(&self, marker: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
        let id = self.open_marker(marker)?;
        let is_former = self.is_former(key_of_marker(marker)?);
        Ok(is_former.then(|| self.marker(dataset_name(marker), &id)))
    }

    fn marker(&self, name: &[u8], id: &[u8]) -> Vec<u8> {
        let vault = self.vault_of([CONTEXT, name].concat());
        [name, &vault.seal(Purpose::Marker, id).0].concat()
    }
}

/// The key that seals a marker.
pub(crate) fn key_of_marker(marker: &[u8]) -> Result<KeyId, Unreadable> {
    key_id(parts(marker)?.1.get(..KEY_ID_LEN).ok_or(Unreadable::Damaged)?)
}

/// The name that the seal is bound to, and the seal. The earliest markers had a seal alone: there nothing is
/// bound, and stores take its first bytes for the name.
fn parts(marker: &[u8]) -> Result<(&[u8], &[u8]), Unreadable> {
    if marker.len() == SEAL_LEN {
        return Ok((&[], marker));
    }
    marker.split_at_checked(DATASET_NAME_BYTES).ok_or(Unreadable::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn ring(ids: &[u32]) -> Keyring {
        let keys = ids.iter().map(|id| (KeyId(*id), Zeroizing::new([*id as u8; 32])));
        Keyring::new(KeyId(ids[0]), keys).expect("a keyring")
    }

    #[test]
    fn a_marker_opens_with_its_keyring_alone() {
        let marker = ring(&[1]).new_marker();
        assert!(ring(&[2, 1]).open_marker(&marker).is_ok());
        assert_eq!(ring(&[2]).open_marker(&marker), Err(Unreadable::NoKey(KeyId(1))));
        for index in 0..marker.len() {
            let mut damaged = marker.clone();
            damaged[index] ^= 1;
            assert!(ring(&[1]).open_marker(&damaged).is_err(), "byte {index}");
            assert!(ring(&[1]).open_marker(&marker[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn a_renewed_marker_is_the_same_datasets_and_opens_with_the_new_key_alone() {
        let both = ring(&[2, 1]);
        let marker = ring(&[1]).new_marker();
        let renewed = both.renewed_marker(&marker).expect("readable").expect("an old key's");
        assert_eq!(ring(&[2]).open_marker(&renewed), both.open_marker(&marker));
        assert_eq!(dataset_name(&renewed), dataset_name(&marker));
        assert_eq!(key_of_marker(&renewed), Ok(KeyId(2)));
        assert_eq!(both.renewed_marker(&renewed), Ok(None));
        let prepared = ring(&[1, 2]).with_prepared(&[KeyId(2)]).expect("a keyring");
        assert_eq!(prepared.renewed_marker(&renewed), Ok(None), "its time is still to come");
    }

    #[test]
    fn a_marker_without_a_name_is_known_again_by_what_stores_took_for_it() {
        let early = ring(&[1]).vault_of(CONTEXT.to_vec()).seal(Purpose::Marker, &[7; ID_LEN]).0;
        assert_eq!(ring(&[1]).open_marker(&early), Ok([7; ID_LEN]));
        let renewed = ring(&[2, 1]).renewed_marker(&early).expect("readable").expect("an old one");
        assert_eq!(dataset_name(&renewed), dataset_name(&early));
        assert_eq!(ring(&[2]).open_marker(&renewed), Ok([7; ID_LEN]));
    }
}
