//! All records at one moment, for backup and examination.

use super::fault::{Fault, guarded};
use super::format::{self, RECORDS, Stored};
use crate::store::{RecordKey, StoreError, Version};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use std::ops::Bound;
use twinlock_core::Timestamp;

/// All records at one moment.
pub struct Snapshot {
    transaction: ReadTransaction,
    name: String,
}

/// A record with all that the store keeps of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub key: RecordKey,
    /// Its version.
    pub version: Version,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// When the store may forget it; `None` for never. One that has lapsed may still be here.
    pub expire_at: Option<Timestamp>,
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction, name: String) -> Self {
        Self { transaction, name }
    }

    /// How many records there are.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the file was closed, or is damaged.
    pub fn count(&self) -> Result<u64, StoreError> {
        self.read(|| Ok(self.transaction.open_table(RECORDS)?.len()?))
    }

    /// At most `limit` records after a key, in the order of the store; from the first where there is
    /// no key. Fewer than `limit` are the last.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the file was closed, or one of the records is damaged.
    pub fn page(&self, after: Option<&RecordKey>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let after = after.map(format::key);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|| {
            let records = self.transaction.open_table(RECORDS)?;
            let range = ReadableTable::range::<&[u8]>(&records, (from, Bound::Unbounded))?;
            range
                .take(limit)
                .map(|entry| {
                    let (key, value) = entry?;
                    let stored = Stored::read(key.value(), value.value())?;
                    Ok(Record {
                        key: format::parse_key(key.value())?,
                        version: stored.version,
                        bytes: stored.bytes.to_vec(),
                        expire_at: stored.expire_at(),
                    })
                })
                .collect()
        })
    }

    fn read<T>(&self, work: impl FnOnce() -> Result<T, Fault>) -> Result<T, StoreError> {
        guarded(work).map_err(|fault| fault.error(&self.name, false))
    }
}
