//! What is in the file.
//!
//! | table | key | value |
//! |---|---|---|
//! | `records` | length of the namespace (1 byte), namespace, user | checksum (4), version (16), expiry (8), record |
//! | `expiry` | expiry, then the key of the record | nothing |
//! | `meta` | `marker`, `format` | the marker; the format's number (4) |
//!
//! Numbers are big endian. An expiry is in milliseconds since the Unix epoch, and 0 for never; only
//! records that expire are in `expiry`. The checksum is the CRC-32 of the key and of what follows it
//! in the value: redb checks a page when it opens the file, but not when it reads one.

use super::fault::Fault;
use crate::store::{RecordKey, Version, dataset_name};
use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition,
};
use twinlock_core::{Namespace, Timestamp, UserId};

pub(super) const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");
pub(super) const EXPIRY: TableDefinition<'static, (u64, &[u8]), ()> =
    TableDefinition::new("expiry");
pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

pub(super) const MARKER: &str = "marker";
pub(super) const FORMAT: &str = "format";
pub(super) const FORMAT_NUMBER: u32 = 1;

const CHECKSUM: usize = 4;
const HEADER: usize = CHECKSUM + 16 + 8;

const _: () = assert!(Namespace::MAX_BYTES <= u8::MAX as usize, "its length is kept in one byte");

/// Makes the tables and the marker, all or nothing.
pub(super) fn initialize(database: &Database, marker: &[u8]) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        let records = transaction.open_table(RECORDS)?;
        if meta.get(MARKER)?.is_some() || records.first()?.is_some() {
            return Err(Fault::Incomplete("there is a data set already".into()));
        }
        meta.insert(MARKER, marker)?;
        meta.insert(FORMAT, FORMAT_NUMBER.to_be_bytes().as_slice())?;
        transaction.open_table(EXPIRY)?;
    }
    Ok(transaction.commit()?)
}

/// The marker of a store that is complete and of a format that is known here.
pub(super) fn recognize(database: &Database) -> Result<Vec<u8>, Fault> {
    let transaction = database.begin_read()?;
    let marker = marker(&transaction)?;
    let number = transaction.open_table(META)?.get(FORMAT)?.map(|found| found.value().to_vec());
    if number.as_deref() != Some(FORMAT_NUMBER.to_be_bytes().as_slice()) {
        return Err(Fault::Incomplete(format!(
            "this release knows format {FORMAT_NUMBER} and no other, and the file has {number:?}"
        )));
    }
    transaction.open_table(RECORDS)?;
    transaction.open_table(EXPIRY)?;
    Ok(marker)
}

/// Puts a marker in the place of the one that has the same name.
pub(super) fn renew(database: &Database, marker: &[u8]) -> Result<(), Fault> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut meta = transaction.open_table(META)?;
        let present = meta.get(MARKER)?.map(|found| found.value().to_vec());
        if present.is_none_or(|present| dataset_name(&present) != dataset_name(marker)) {
            return Err(Fault::Incomplete("it has no marker of this dataset".into()));
        }
        meta.insert(MARKER, marker)?;
    }
    Ok(transaction.commit()?)
}

/// The marker, from a snapshot.
pub(super) fn marker(transaction: &ReadTransaction) -> Result<Vec<u8>, Fault> {
    let found = transaction.open_table(META)?.get(MARKER)?;
    found
        .map(|marker| marker.value().to_vec())
        .ok_or_else(|| Fault::Incomplete("there is no marker in it".into()))
}

/// The bytes of a key. The length keeps namespaces apart: "a" + "bc" is not "ab" + "c".
pub(super) fn key(key: &RecordKey) -> Vec<u8> {
    let (namespace, user) = (key.namespace.as_str().as_bytes(), key.user.as_str().as_bytes());
    let mut bytes = Vec::with_capacity(1 + namespace.len() + user.len());
    bytes.push(namespace.len() as u8);
    bytes.extend_from_slice(namespace);
    bytes.extend_from_slice(user);
    bytes
}

/// The bounds of the keys of a namespace, the second one exclusive.
pub(super) fn keys_of(namespace: &Namespace) -> (Vec<u8>, Vec<u8>) {
    let name = namespace.as_str().as_bytes();
    let from = [&[name.len() as u8], name].concat();
    // No user begins with this byte, for it is in no UTF-8.
    let to = [from.as_slice(), &[0xff]].concat();
    (from, to)
}

/// The key that such bytes are of.
pub(super) fn parse_key(bytes: &[u8]) -> Result<RecordKey, Fault> {
    let parts = bytes.split_first().and_then(|(length, rest)| {
        let (namespace, user) = rest.split_at_checked(usize::from(*length))?;
        Some(RecordKey {
            namespace: Namespace::parse(str::from_utf8(namespace).ok()?).ok()?,
            user: UserId::parse(str::from_utf8(user).ok()?).ok()?,
        })
    });
    parts.ok_or_else(|| Fault::Damaged("a key has not the form of one".into()))
}

/// How an expiry is kept.
pub(super) fn expiry(expire_at: Option<Timestamp>) -> u64 {
    // What expires at the epoch itself has lapsed a millisecond later, too.
    expire_at.map_or(0, |at| at.as_millis().max(1))
}

/// The bytes of a value.
pub(super) fn value(key: &[u8], version: Version, expiry: u64, record: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + record.len());
    bytes.extend_from_slice(&[0; CHECKSUM]);
    bytes.extend_from_slice(&version.0);
    bytes.extend_from_slice(&expiry.to_be_bytes());
    bytes.extend_from_slice(record);
    let sum = checksum(key, &bytes[CHECKSUM..]);
    bytes[..CHECKSUM].copy_from_slice(&sum);
    bytes
}

/// A value, taken apart.
pub(super) struct Stored<'a> {
    pub(super) version: Version,
    pub(super) expiry: u64,
    pub(super) bytes: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Takes a value apart; refuses one that is not what was written under this key.
    pub(super) fn read(key: &[u8], value: &'a [u8]) -> Result<Self, Fault> {
        let parts = value.split_first_chunk::<CHECKSUM>().and_then(|(sum, rest)| {
            let (version, after) = rest.split_first_chunk()?;
            let (expiry, bytes) = after.split_first_chunk()?;
            let stored =
                Self { version: Version(*version), expiry: u64::from_be_bytes(*expiry), bytes };
            (*sum == checksum(key, rest)).then_some(stored)
        });
        parts.ok_or_else(|| Fault::Damaged("a record contradicts its checksum".into()))
    }

    /// Whether the record is to be taken for forgotten.
    pub(super) fn has_lapsed(&self, now: Timestamp) -> bool {
        self.expiry != 0 && self.expiry <= now.as_millis()
    }

    pub(super) fn expire_at(&self) -> Option<Timestamp> {
        (self.expiry != 0).then(|| Timestamp::from_millis(self.expiry))
    }
}

fn checksum(key: &[u8], rest: &[u8]) -> [u8; CHECKSUM] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(rest);
    hasher.finalize().to_be_bytes()
}
