//! Whether what is in the store can be read.

use crate::reseal::sealed_values;
use crate::seal::{Keyring, Unreadable};
use crate::store::Record;

/// Opens a record and everything that is sealed in it.
///
/// # Errors
/// Where the keyring lacks a key, or the record is damaged, another user's, or a later release's.
pub fn examine(keyring: &Keyring, record: &Record) -> Result<(), Unreadable> {
    let vault = keyring.vault(&record.key);
    let mut read = vault.read(&record.bytes)?;
    for (purpose, sealed) in sealed_values(&mut read) {
        vault.open(purpose, sealed)?;
    }
    Ok(())
}
