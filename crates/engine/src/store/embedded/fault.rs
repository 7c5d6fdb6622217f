//! What redb's failures mean to a caller.

use super::unavailable;
use crate::store::StoreError;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Why the file did not do what it was asked.
#[derive(Debug)]
pub(super) enum Fault {
    /// redb, or what is under it, failed.
    Storage(redb::Error),
    /// The marker or a table is missing, or it is another program's file.
    Incomplete(String),
    /// Something read contradicts its own checksum or form.
    Damaged(String),
    /// redb panicked, as it may on pages that it trusts.
    Panicked,
    /// The store is between a failure and its next reopening.
    Closed(StoreError),
}

/// Works, and makes an error of a panic.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    // What a panic may leave half-changed in redb is dropped with the database when it is reopened.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Fault::Panicked))
}

impl Fault {
    /// Whether the database must be closed and opened again before it can be used.
    pub(super) fn needs_reopening(&self) -> bool {
        match self {
            // The reader began before the file was closed; there is a newer database already.
            Self::Storage(redb::Error::DatabaseClosed) => false,
            Self::Storage(_) | Self::Panicked => true,
            // One bad record says nothing of the others.
            Self::Damaged(_) | Self::Incomplete(_) | Self::Closed(_) => false,
        }
    }

    /// Whether trying again soon is of no use.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Storage(redb::Error::Corrupted(_)))
    }

    /// The error for the caller; `name` says which file.
    pub(super) fn error(&self, name: &str, may_have_happened: bool) -> StoreError {
        use redb::Error as Redb;
        let cause = match self {
            Self::Closed(error) => return error.clone(),
            Self::Incomplete(what) => return StoreError::Incomplete(format!("{name}: {what}")),
            Self::Damaged(what) => damaged(name, what),
            Self::Panicked => format!("{name}: reading or writing it panicked; it may be damaged"),
            Self::Storage(Redb::Corrupted(what)) => damaged(name, what),
            Self::Storage(Redb::DatabaseAlreadyOpen | Redb::LockProtocolMismatch) => {
                return StoreError::InUse(name.into());
            }
            Self::Storage(
                error @ (Redb::TableDoesNotExist(_)
                | Redb::TableTypeMismatch { .. }
                | Redb::TableIsMultimap(_)
                | Redb::UpgradeRequired(_)),
            ) => return StoreError::Incomplete(format!("{name} is no Twinlock store: {error}")),
            Self::Storage(Redb::Io(error)) => match error.kind() {
                // redb's own word for a file that does not begin like a database.
                ErrorKind::InvalidData => {
                    return StoreError::Incomplete(format!("{name} is no Twinlock store: {error}"));
                }
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                    format!("the disk is full: {name} cannot be written ({error})")
                }
                ErrorKind::UnexpectedEof => damaged(name, "it ends too early"),
                _ => format!("{name}: {error}"),
            },
            Self::Storage(Redb::PreviousIo) => {
                format!("{name}: an earlier read or write failed, it is about to be reopened")
            }
            Self::Storage(Redb::DatabaseClosed) => format!("{name} is being reopened"),
            Self::Storage(error) => format!("{name}: {error}"),
        };
        unavailable(cause, may_have_happened)
    }
}

fn damaged(name: &str, what: &str) -> String {
    format!("{name} is damaged ({what}): restore it from a backup")
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Storage(error.into())
    }
}
