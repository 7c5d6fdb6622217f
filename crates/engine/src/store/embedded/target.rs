//! A file that a backup is restored to.

use super::fault::{Fault, guarded};
use super::format::{self, EXPIRY, FORMAT, FORMAT_NUMBER, MARKER, META, RECORDS, Stored};
use super::medium::{self, Purpose};
use super::{Embedded, FILE_NAME};
use crate::backup::Scope;
use crate::store::{Found, Marked, Record, StoreError, Target};
use async_trait::async_trait;
use redb::{Database, Durability, ReadableTable, ReadableTableMetadata, WriteTransaction};
use std::path::{Path, PathBuf};

/// A file that a backup is restored to. It is made when something is written to it first, and is this
/// process's alone.
///
/// Its work is done on the caller's own thread.
pub struct Restoring {
    directory: PathBuf,
    name: String,
    database: Option<Database>,
}

impl Embedded {
    /// Opens what a backup is to be restored to, whatever is there; it makes nothing yet.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another process has the file; [`StoreError::Unavailable`] where it cannot
    /// be read or written;
    /// [`StoreError::Incomplete`] where it is none of Twinlock's.
    pub fn restoring(directory: &Path) -> Result<Restoring, StoreError> {
        let path = directory.join(FILE_NAME);
        let name = path.display().to_string();
        let database = if path.exists() {
            let file = medium::existing_file(directory)?;
            let opened = guarded(|| file.connect(Purpose::Create));
            Some(opened.map_err(|fault| fault.error(&name, false))?)
        } else {
            None
        };
        Ok(Restoring { directory: directory.to_owned(), name, database })
    }
}

#[async_trait]
impl Target for Restoring {
    async fn look(&mut self, scope: &Scope) -> Result<Found, StoreError> {
        let nothing = Found { marker: Marked::Nowhere, inside: 0, outside: 0 };
        let Some(database) = &self.database else { return Ok(nothing) };
        guarded(|| {
            // A table that is missing is made within it, and is gone again at its end.
            let transaction = database.begin_write()?;
            let found = look(&transaction, scope)?;
            transaction.abort()?;
            Ok(found)
        })
        .map_err(|fault| fault.error(&self.name, false))
    }

    async fn clear(&mut self, scope: &Scope) -> Result<(), StoreError> {
        self.work(|transaction| {
            transaction.open_table(META)?.remove(MARKER)?;
            Ok(())
        })?;
        self.work(|transaction| clear(transaction, scope))
    }

    async fn put(&mut self, records: Vec<Record>) -> Result<(), StoreError> {
        self.work(|transaction| put(transaction, &records))
    }

    async fn mark(&mut self, marker: &[u8]) -> Result<(), StoreError> {
        self.work(|transaction| {
            transaction.open_table(META)?.insert(MARKER, marker)?;
            Ok(())
        })?;
        medium::sync_names(&self.directory)
    }
}

impl Restoring {
    /// Does work in a transaction of its own, durably.
    fn work(
        &mut self,
        work: impl FnOnce(&WriteTransaction) -> Result<(), Fault>,
    ) -> Result<(), StoreError> {
        let failed = |fault: Fault| fault.error(&self.name, true);
        if self.database.is_none() {
            let file = medium::new_file(&self.directory)?;
            self.database = Some(guarded(|| file.connect(Purpose::Create)).map_err(failed)?);
        }
        let Some(database) = &self.database else { return Ok(()) };
        guarded(|| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            transaction.open_table(META)?.insert(FORMAT, FORMAT_NUMBER.to_be_bytes().as_slice())?;
            transaction.open_table(RECORDS)?;
            transaction.open_table(EXPIRY)?;
            work(&transaction)?;
            Ok(transaction.commit()?)
        })
        .map_err(failed)
    }
}

fn look(transaction: &WriteTransaction, scope: &Scope) -> Result<Found, Fault> {
    let marker = transaction.open_table(META)?.get(MARKER)?.map(|found| found.value().to_vec());
    let records = transaction.open_table(RECORDS)?;
    let total = records.len()?;
    let inside = match scope {
        Scope::Everything => total,
        Scope::Namespace(namespace) => {
            let (from, to) = format::keys_of(namespace);
            let mut inside = 0;
            for entry in records.range(from.as_slice()..to.as_slice())? {
                entry?;
                inside += 1;
            }
            inside
        }
    };
    let marker = marker.map_or(Marked::Nowhere, Marked::Everywhere);
    Ok(Found { marker, inside, outside: total - inside })
}

fn clear(transaction: &WriteTransaction, scope: &Scope) -> Result<(), Fault> {
    match scope {
        Scope::Everything => {
            transaction.delete_table(RECORDS)?;
            transaction.delete_table(EXPIRY)?;
            transaction.open_table(RECORDS)?;
            transaction.open_table(EXPIRY)?;
        }
        Scope::Namespace(namespace) => {
            let (from, to) = format::keys_of(namespace);
            let ours = from.as_slice()..to.as_slice();
            let mut records = transaction.open_table(RECORDS)?;
            records.retain_in::<&[u8], _>(ours.clone(), |_, _| false)?;
            transaction.open_table(EXPIRY)?.retain(|(_, key), ()| !ours.contains(&key))?;
        }
    }
    Ok(())
}

fn put(transaction: &WriteTransaction, records: &[Record]) -> Result<(), Fault> {
    let mut table = transaction.open_table(RECORDS)?;
    let mut expiries = transaction.open_table(EXPIRY)?;
    for record in records {
        let key = format::key(&record.key);
        let expiry = format::expiry(record.expire_at);
        let value = format::value(&key, record.version, expiry, &record.bytes);
        // One that came up twice may have expired at another time before.
        let before = match table.insert(key.as_slice(), value.as_slice())? {
            Some(replaced) => Stored::read(&key, replaced.value())?.expiry,
            None => 0,
        };
        if before != 0 {
            expiries.remove((before, key.as_slice()))?;
        }
        if expiry != 0 {
            expiries.insert((expiry, key.as_slice()), ())?;
        }
    }
    Ok(())
}
