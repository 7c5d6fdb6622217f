//! The bytes of a backup.

use super::Scope;
use crate::entropy;
use crate::seal::KeyId;
use crate::store::{Record, RecordKey, Version};
use twinlock_core::{Namespace, Timestamp, UserId};

const MAGIC: &[u8; 16] = b"twinlock backup\n";
const FORMAT: u8 = 1;
const SALT: usize = 32;

/// How many bytes are before the chunks.
pub(super) const HEADER: usize = MAGIC.len() + 1 + 4 + SALT;
/// How many bytes are before the rest of an entry.
pub(super) const ENTRY_HEAD: usize = 1 + 4;
/// The most bytes of the rest of an entry. A record has some kilobytes at most; the bound is on what a file
/// may make a reader keep in memory.
pub(super) const MAX_ENTRY: usize = 1 << 20;

/// The beginning of a new file.
pub(super) fn header(key: KeyId) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..16].copy_from_slice(MAGIC);
    header[16] = FORMAT;
    header[17..21].copy_from_slice(&key.0.to_be_bytes());
    header[21..].copy_from_slice(&entropy::bytes::<SALT>());
    header
}

/// Why bytes are not the beginning of a backup that this release reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strange {
    Magic,
    Format(u8),
}

/// The key that the beginning of a file names.
pub(super) fn key_of(header: &[u8; HEADER]) -> Result<KeyId, Strange> {
    if &header[..16] != MAGIC {
        return Err(Strange::Magic);
    }
    if header[16] != FORMAT {
        return Err(Strange::Format(header[16]));
    }
    Ok(KeyId(u32::from_be_bytes([header[17], header[18], header[19], header[20]])))
}

/// A part of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Dataset(Dataset),
    Record(Record),
    End(End),
}

/// What the content begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dataset {
    pub(super) made_at: Timestamp,
    pub(super) scope: Scope,
    pub(super) marker: Vec<u8>,
}

/// What it ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) records: u64,
    pub(super) left_out: u64,
}

impl Entry {
    pub(super) fn write(&self, content: &mut Vec<u8>) {
        let begin = content.len();
        content.extend_from_slice(&[0; ENTRY_HEAD]);
        let kind = match self {
            Self::Dataset(Dataset { made_at, scope, marker }) => {
                content.extend_from_slice(&made_at.as_millis().to_be_bytes());
                write_short(content, scope_name(scope).as_bytes());
                content.extend_from_slice(marker);
                1
            }
            Self::Record(Record { key, version, bytes, expire_at }) => {
                write_short(content, key.namespace.as_str().as_bytes());
                write_short(content, key.user.as_str().as_bytes());
                content.extend_from_slice(&version.0);
                let expiry = expire_at.map_or(0, |at| at.as_millis().max(1));
                content.extend_from_slice(&expiry.to_be_bytes());
                content.extend_from_slice(bytes);
                2
            }
            Self::End(End { records, left_out }) => {
                content.extend_from_slice(&records.to_be_bytes());
                content.extend_from_slice(&left_out.to_be_bytes());
                3
            }
        };
        let length = (content.len() - begin - ENTRY_HEAD) as u32;
        content[begin] = kind;
        content[begin + 1..begin + ENTRY_HEAD].copy_from_slice(&length.to_be_bytes());
    }

    /// The kind and the length of an entry.
    pub(super) fn head(bytes: [u8; ENTRY_HEAD]) -> (u8, usize) {
        let [kind, length @ ..] = bytes;
        (kind, u32::from_be_bytes(length) as usize)
    }

    /// An entry of a kind; `None` where the rest is not of its form.
    pub(super) fn read(kind: u8, rest: &[u8]) -> Option<Self> {
        match kind {
            1 => {
                let (made_at, rest) = read_number(rest)?;
                let (scope, marker) = read_short(rest)?;
                let scope = match scope {
                    "" => Scope::Everything,
                    name => Scope::Namespace(Namespace::parse(name).ok()?),
                };
                let made_at = Timestamp::from_millis(made_at);
                Some(Self::Dataset(Dataset { made_at, scope, marker: marker.to_vec() }))
            }
            2 => {
                let (namespace, rest) = read_short(rest)?;
                let (user, rest) = read_short(rest)?;
                let (version, rest) = rest.split_first_chunk()?;
                let (expiry, bytes) = read_number(rest)?;
                Some(Self::Record(Record {
                    key: RecordKey {
                        namespace: Namespace::parse(namespace).ok()?,
                        user: UserId::parse(user).ok()?,
                    },
                    version: Version(*version),
                    bytes: bytes.to_vec(),
                    expire_at: (expiry != 0).then(|| Timestamp::from_millis(expiry)),
                }))
            }
            3 => {
                let (records, rest) = read_number(rest)?;
                let (left_out, rest) = read_number(rest)?;
                rest.is_empty().then_some(Self::End(End { records, left_out }))
            }
            _ => None,
        }
    }
}

fn scope_name(scope: &Scope) -> &str {
    match scope {
        Scope::Everything => "",
        Scope::Namespace(namespace) => namespace.as_str(),
    }
}

const _: () = assert!(Namespace::MAX_BYTES <= u8::MAX as usize, "its length is kept in one byte");
const _: () = assert!(UserId::MAX_BYTES <= u8::MAX as usize, "its length is kept in one byte");

fn write_short(content: &mut Vec<u8>, text: &[u8]) {
    content.push(text.len() as u8);
    content.extend_from_slice(text);
}

fn read_short(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((str::from_utf8(text).ok()?, rest))
}

fn read_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_as_it_was_written_and_never_when_it_is_cut() {
        let namespace = Namespace::parse("shop").expect("a namespace");
        let record = |expire_at| Record {
            key: RecordKey {
                namespace: namespace.clone(),
                user: UserId::parse(&"\u{10ffff}".repeat(63)).expect("a user"),
            },
            version: Version([7; 16]),
            bytes: b"sealed".to_vec(),
            expire_at,
        };
        let dataset = |scope| Dataset {
            made_at: Timestamp::from_secs(1_700_000_000),
            scope,
            marker: b"marker".to_vec(),
        };
        for (entry, least) in [
            (Entry::Dataset(dataset(Scope::Everything)), 9),
            (Entry::Dataset(dataset(Scope::Namespace(namespace.clone()))), 13),
            (Entry::Record(record(None)), 282),
            (Entry::Record(record(Some(Timestamp::from_millis(1)))), 282),
            (Entry::End(End { records: 3, left_out: 4 }), 16),
        ] {
            let mut content = b"before".to_vec();
            entry.write(&mut content);
            let head = content[6..6 + ENTRY_HEAD].try_into().expect("a head");
            let rest = &content[6 + ENTRY_HEAD..];
            let (kind, length) = Entry::head(head);
            assert_eq!(length, rest.len());
            assert_eq!(Entry::read(kind, rest), Some(entry.clone()));
            for cut in 0..least {
                assert_eq!(Entry::read(kind, &rest[..cut]), None, "{entry:?} cut at {cut}");
            }
        }
        assert_eq!(Entry::read(4, b""), None);
        assert_eq!(Entry::read(3, &[0; 17]), None);
    }
}
