//! All records at one moment.

use super::fault::{Fault, guarded};
use super::format::{self, RECORDS, Stored};
use super::unavailable;
use crate::deadline::Deadline;
use crate::store::{Record, RecordKey, StoreError, Walk};
use async_trait::async_trait;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};
use std::ops::Bound;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// How many records are read at a time.
const PAGE: usize = 256;

/// A walk over all records at one moment, in the order of the store.
///
/// While it is held, the space of what changes meanwhile is not used again: the file grows.
pub(super) struct Snapshot {
    view: Arc<View>,
    total: u64,
    after: Option<RecordKey>,
    has_ended: bool,
}

struct View {
    transaction: ReadTransaction,
    name: String,
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction, name: String) -> Result<Self, StoreError> {
        let view = View { transaction, name };
        let total = view.count()?;
        Ok(Self { view: Arc::new(view), total, after: None, has_ended: false })
    }
}

#[async_trait]
impl Walk for Snapshot {
    async fn next(&mut self, deadline: Deadline) -> Result<Option<Vec<Record>>, StoreError> {
        if self.has_ended {
            return Ok(None);
        }
        // What is not in memory is read from the disk, and other calls are not to wait for that.
        let (view, after) = (self.view.clone(), self.after.clone());
        let page = deadline.limit(spawn_blocking(move || view.page(after.as_ref()))).await;
        let page = match page {
            Ok(Ok(page)) => page?,
            Ok(Err(_)) => return Err(unavailable("reading a page was aborted".into(), false)),
            Err(_) => return Err(unavailable("the disk was too slow".into(), false)),
        };
        self.has_ended = page.len() < PAGE;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some(last.key.clone());
        Ok(Some(page))
    }

    fn total(&self) -> Option<u64> {
        Some(self.total)
    }
}

impl View {
    fn count(&self) -> Result<u64, StoreError> {
        self.read(|| Ok(self.transaction.open_table(RECORDS)?.len()?))
    }

    /// The records after a key, or the first; fewer than a page are the last.
    fn page(&self, after: Option<&RecordKey>) -> Result<Vec<Record>, StoreError> {
        let after = after.map(format::key);
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|| {
            let records = self.transaction.open_table(RECORDS)?;
            let range = ReadableTable::range::<&[u8]>(&records, (from, Bound::Unbounded))?;
            range
                .take(PAGE)
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
