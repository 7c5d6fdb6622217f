//! Backups: everything in a store, or in one namespace of it, as a file that only the keyring opens.
//!
//! # The file
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `twinlock backup\n` |
//! | 1 | the format's number, 1 |
//! | 4 | the id of the keyring's key |
//! | 32 | salt, random |
//! | 65,552 each, the last perhaps fewer | chunks of the content, sealed |
//!
//! All that is before the chunks goes into the derivation of the file's own key (HKDF-SHA-256 from the
//! keyring's primary key), and each chunk is sealed for its place ([`crate::seal`]): so any bit that is
//! changed, and any chunk that is cut off, moved or added, is found, and user ids cannot be read.
//!
//! The content is a row of entries: kind (1), length of the rest (4), and the rest.
//!
//! | kind | rest |
//! |---|---|
//! | 1, dataset: the first | time (8), length of the scope (1), scope: a namespace, or nothing for all; the marker |
//! | 2, record | length (1), namespace; length (1), user; version (16); expiry (8), 0 for never; the record as it was |
//! | 3, end: the last | how many records (8); how many of other namespaces were left out (8) |
//!
//! Numbers are big endian, times in milliseconds since the Unix epoch. A record may come up twice, where
//! the store met it twice; the later one holds.
//!
//! # What it says of a moment
//!
//! Over the embedded store all records are as they were when the backup began. Over Redis each is as it was
//! when it came up. A user is one record, so nobody's counters, codes and keys ever disagree.

mod format;
mod make;
mod read;
mod restore;

pub use make::{Backup, Part};
pub use read::{BackupError, Contents, Reader, Verified};
pub use restore::{Allowed, Outcome, Plan, RestoreError};

use twinlock_core::Namespace;

/// Whose records a backup is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    Everything,
    /// Those of one namespace.
    Namespace(Namespace),
}

impl Scope {
    /// Whether the records of a namespace are in it.
    pub fn covers(&self, namespace: &Namespace) -> bool {
        match self {
            Self::Everything => true,
            Self::Namespace(ours) => ours == namespace,
        }
    }
}
