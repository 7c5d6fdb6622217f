//! A backup that is read: all of it is verified before anything of it is used.

use super::Scope;
use super::format::{self, Dataset, ENTRY_HEAD, End, Entry, HEADER, MAX_ENTRY, Strange};
use crate::examine::examine;
use crate::seal::{Broken, FileSeal, KeyId, Keyring, SEALED_CHUNK, Unreadable};
use crate::store::Record;
use std::io::{self, Read, Seek, SeekFrom};
use twinlock_core::Timestamp;

/// How many unreadable records are named.
const NAMED: usize = 100;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It does not begin like one.
    #[error("it is no backup of Twinlock's")]
    NotABackup,
    /// A later release made it.
    #[error("it has format {0}, which this release does not read: use the release that made it")]
    Format(u8),
    /// The keyring lacks the key.
    #[error("it needs the key {0}, and the keyring does not have it: add that key to the keyring")]
    NoKey(KeyId),
    /// Some bit is not as it was made.
    #[error("it is damaged, or was changed, in the 64 KiB from byte {0} on: use another backup")]
    Damaged(u64),
    /// Its end is missing.
    #[error("it was cut off: its end is missing after byte {0}. Use another backup")]
    CutOff(u64),
    /// Something is behind its end.
    #[error("something was added behind its end, at byte {0}: use another backup")]
    Extended(u64),
    /// It opens, and what is in it is not of the form.
    #[error("what is in it is not of its form: {0}. Use the release that made it")]
    Content(&'static str),
    /// The keyring does not open its marker.
    #[error("the keyring does not open its dataset marker: {0}")]
    Marker(Unreadable),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// What a verified backup holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// When it was made, by the clock of the process that made it.
    pub made_at: Timestamp,
    /// Whose records it is about.
    pub scope: Scope,
    /// The dataset's marker, sealed.
    pub marker: Vec<u8>,
    /// How many records it holds; one that the store met twice counts twice.
    pub records: u64,
    /// How many records of other namespaces the store had.
    pub left_out: u64,
    /// How many of the records the keyring does not open.
    pub unreadable: u64,
    /// The first hundred of them, and why.
    pub unreadable_users: Vec<(String, Unreadable)>,
}

/// A backup of which every bit was checked.
pub struct Verified<R> {
    reader: Reader<R>,
    contents: Contents,
}

impl<R: Read + Seek> Verified<R> {
    /// Reads all of a backup: every chunk, in its order, to the end; that as many records are there as were
    /// written; and that the keyring opens each and every secret in it.
    ///
    /// # Errors
    /// Where the file is not, bit by bit, what was made, or the keyring does not open it. That single
    /// records are unreadable is told by [`Contents::unreadable`].
    pub fn read(file: R, keyring: &Keyring) -> Result<Self, BackupError> {
        let mut reader = Reader::open(file, keyring)?;
        let Dataset { made_at, scope, marker } = reader.dataset.clone();
        let mut contents = Contents {
            made_at,
            scope,
            marker,
            records: 0,
            left_out: 0,
            unreadable: 0,
            unreadable_users: Vec::new(),
        };
        while let Some(record) = reader.next_record()? {
            contents.records += 1;
            if let Err(why) = examine(keyring, &record) {
                contents.unreadable += 1;
                if contents.unreadable_users.len() < NAMED {
                    contents.unreadable_users.push((record.key.user.to_string(), why));
                }
            }
        }
        contents.left_out = reader.end.map_or(0, |end| end.left_out);
        Ok(Self { reader, contents })
    }

    /// What it holds.
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Begins again with the first record; it is verified again as it is read, under the same key.
    pub fn records(&mut self) -> Result<&mut Reader<R>, BackupError> {
        self.reader.rewind()?;
        Ok(&mut self.reader)
    }
}

/// The records of a backup, one after the other. What it gives is authentic; whether all of it is there is
/// known only at the end.
pub struct Reader<R> {
    file: R,
    seal: FileSeal,
    dataset: Dataset,
    end: Option<End>,
    /// What was read and not opened yet. A chunk is the last where nothing follows it.
    ahead: Vec<u8>,
    offset: u64,
    content: Vec<u8>,
    /// How much of the content was used.
    used: usize,
    has_ended: bool,
    records: u64,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the beginning of a file.
    ///
    /// # Errors
    /// Where it is no backup, is damaged there, or is sealed under a key that the keyring lacks.
    pub fn open(mut file: R, keyring: &Keyring) -> Result<Self, BackupError> {
        let mut header = [0; HEADER];
        file.seek(SeekFrom::Start(0))?;
        file.read_exact(&mut header).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::NotABackup,
            _ => error.into(),
        })?;
        let key = format::key_of(&header).map_err(|strange| match strange {
            Strange::Magic => BackupError::NotABackup,
            Strange::Format(number) => BackupError::Format(number),
        })?;
        let seal = keyring.file_seal(key, &header).map_err(|_| BackupError::NoKey(key))?;
        let dataset =
            Dataset { made_at: Timestamp::default(), scope: Scope::Everything, marker: Vec::new() };
        let mut reader = Self {
            file,
            seal,
            dataset,
            end: None,
            ahead: Vec::new(),
            offset: 0,
            content: Vec::new(),
            used: 0,
            has_ended: false,
            records: 0,
        };
        reader.rewind()?;
        keyring.open_marker(&reader.dataset.marker).map_err(BackupError::Marker)?;
        Ok(reader)
    }

    /// The next record; `None` after the last.
    ///
    /// # Errors
    /// Where the file is not what was made. Nothing comes after an error.
    pub fn next_record(&mut self) -> Result<Option<Record>, BackupError> {
        if self.end.is_some() {
            return Ok(None);
        }
        match self.entry()? {
            Entry::Record(record) => {
                self.records += 1;
                Ok(Some(record))
            }
            Entry::Dataset(_) => Err(BackupError::Content("it begins twice")),
            Entry::End(end) => {
                if end.records != self.records {
                    return Err(BackupError::Content("its number of records is another one"));
                }
                if !self.has_ended || self.used < self.content.len() {
                    return Err(BackupError::Content("something follows its end"));
                }
                self.end = Some(end);
                Ok(None)
            }
        }
    }

    fn rewind(&mut self) -> Result<(), BackupError> {
        self.offset = HEADER as u64;
        self.file.seek(SeekFrom::Start(self.offset))?;
        self.seal.rewind();
        self.content.clear();
        (self.used, self.has_ended, self.records, self.end) = (0, false, 0, None);
        self.ahead = self.read_chunk()?;
        match self.entry()? {
            Entry::Dataset(dataset) => self.dataset = dataset,
            _ => return Err(BackupError::Content("it has no beginning")),
        }
        Ok(())
    }

    fn entry(&mut self) -> Result<Entry, BackupError> {
        self.demand(ENTRY_HEAD)?;
        let head = self.content[self.used..].first_chunk::<ENTRY_HEAD>();
        let (kind, length) = Entry::head(*head.ok_or(BackupError::Content("an entry is cut"))?);
        if length > MAX_ENTRY {
            return Err(BackupError::Content("an entry is too long"));
        }
        self.demand(ENTRY_HEAD + length)?;
        let begin = self.used + ENTRY_HEAD;
        self.used = begin + length;
        Entry::read(kind, &self.content[begin..self.used])
            .ok_or(BackupError::Content("an entry is of no known kind"))
    }

    /// Opens chunks until so many bytes are there.
    fn demand(&mut self, bytes: usize) -> Result<(), BackupError> {
        while self.content.len() - self.used < bytes {
            if self.has_ended {
                return Err(BackupError::Content("an entry is cut"));
            }
            let following = self.read_chunk()?;
            let mut chunk = std::mem::replace(&mut self.ahead, following);
            let (length, is_last) = (chunk.len() as u64, self.ahead.is_empty());
            self.seal.open(&mut chunk, is_last).map_err(|broken| match broken {
                Broken::Damaged => BackupError::Damaged(self.offset),
                Broken::CutOff => BackupError::CutOff(self.offset + length),
                Broken::Extended => BackupError::Extended(self.offset + length),
            })?;
            self.offset += length;
            self.has_ended = is_last;
            self.content.drain(..self.used);
            self.used = 0;
            self.content.append(&mut chunk);
        }
        Ok(())
    }

    /// The next chunk as it is in the file; empty after the last.
    fn read_chunk(&mut self) -> Result<Vec<u8>, BackupError> {
        let mut chunk = Vec::with_capacity(SEALED_CHUNK);
        (&mut self.file).take(SEALED_CHUNK as u64).read_to_end(&mut chunk)?;
        Ok(chunk)
    }
}
