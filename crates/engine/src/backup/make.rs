//! A backup while it is made.

use super::Scope;
use super::format::{self, Dataset, End, Entry, MAX_ENTRY};
use crate::clock;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::seal::{CHUNK, FileSeal, Keyring, key_of_marker};
use crate::store::{Record, Store, StoreError, Walk};

/// What an entry holds besides the record's own bytes, at most.
const MAX_NAMES: usize = 1024;

/// A backup while it is made: a part at a time, as fast as they are asked for and no faster.
///
/// It never has more in memory than a page of the store and a chunk.
pub struct Backup {
    walk: Box<dyn Walk>,
    scope: Scope,
    seal: FileSeal,
    header: Option<Vec<u8>>,
    /// What is not sealed yet.
    content: Vec<u8>,
    looked_at: u64,
    end: End,
    progress: Progress,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Walking,
    /// The content is complete.
    Walked,
    Ended,
}

/// A piece of the file, to be appended to what came before.
#[derive(Clone, Debug)]
pub struct Part {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How many records were looked at so far, those that are left out included.
    pub records_done: u64,
    /// About how many there are; `None` where the store does not say.
    pub records_total: Option<u64>,
    /// Whether the file is complete with it.
    pub is_last: bool,
}

impl Backup {
    /// Begins a backup; it is sealed under a key of its own that the keyring's primary key leads to.
    ///
    /// # Errors
    /// [`Error::Store`] where the store does not answer or is not complete, [`Error::Unreadable`] where the
    /// keyring does not open its marker.
    pub async fn begin(
        store: &dyn Store,
        keyring: &Keyring,
        scope: Scope,
        deadline: Deadline,
    ) -> Result<Self, Error> {
        let walk = store.walk(deadline).await?;
        // While the seal is being renewed there are several; the one that a former key does not seal
        // outlives it.
        let markers = store.markers(deadline).await?;
        let is_primary = |marker: &Vec<u8>| key_of_marker(marker) == Ok(keyring.primary());
        let marker = markers.into_iter().max_by_key(is_primary);
        let marker = marker.unwrap_or_else(|| store.marker().to_vec());
        keyring.open_marker(&marker)?;
        let header = format::header(keyring.primary());
        let dataset = Dataset { made_at: clock::system()(), scope: scope.clone(), marker };
        let mut content = Vec::new();
        Entry::Dataset(dataset).write(&mut content);
        Ok(Self {
            walk,
            scope,
            seal: keyring.file_seal(keyring.primary(), &header)?,
            header: Some(header.to_vec()),
            content,
            looked_at: 0,
            end: End { records: 0, left_out: 0 },
            progress: Progress::Walking,
        })
    }

    /// The next part; `None` after the last.
    ///
    /// # Errors
    /// Where the store does not answer, or lost its data meanwhile. What was made until then is no backup,
    /// and does not pass for one.
    pub async fn next(&mut self, deadline: Deadline) -> Result<Option<Part>, StoreError> {
        if let Some(header) = self.header.take() {
            return Ok(Some(self.part(header, false)));
        }
        // The last chunk says that it is the last, so a full one waits until something follows it.
        while self.progress == Progress::Walking && self.content.len() <= CHUNK {
            match self.walk.next(deadline).await? {
                Some(page) => self.add(page)?,
                None => {
                    Entry::End(self.end).write(&mut self.content);
                    self.progress = Progress::Walked;
                }
            }
        }
        if self.progress == Progress::Ended {
            return Ok(None);
        }
        let is_last = self.content.len() <= CHUNK;
        let rest = self.content.split_off(self.content.len().min(CHUNK));
        let mut chunk = std::mem::replace(&mut self.content, rest);
        self.seal.seal(&mut chunk, is_last);
        if is_last {
            self.progress = Progress::Ended;
        }
        Ok(Some(self.part(chunk, is_last)))
    }

    fn add(&mut self, page: Vec<Record>) -> Result<(), StoreError> {
        for record in page {
            self.looked_at += 1;
            if !self.scope.covers(&record.key.namespace) {
                self.end.left_out += 1;
                continue;
            }
            if record.bytes.len() > MAX_ENTRY - MAX_NAMES {
                return Err(StoreError::Unavailable {
                    cause: format!("a record of {} bytes is none", record.bytes.len()),
                    may_have_happened: false,
                });
            }
            self.end.records += 1;
            Entry::Record(record).write(&mut self.content);
        }
        Ok(())
    }

    fn part(&self, bytes: Vec<u8>, is_last: bool) -> Part {
        let total = self.walk.total().map(|total| total.max(self.looked_at));
        Part { bytes, records_done: self.looked_at, records_total: total, is_last }
    }
}
