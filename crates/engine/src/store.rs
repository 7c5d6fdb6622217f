//! Where records are kept: two verbs, whatever is behind them.
//!
//! All rules are made exact by one property: a verdict leaves the process only after
//! [`Store::swap`] has replaced the very record that it was decided on.

pub mod embedded;
pub mod redis;

use crate::deadline::Deadline;
use async_trait::async_trait;
pub use twinlock_core::decision::Durability;
use twinlock_core::{Namespace, Timestamp, UserId};

/// A store of records, one a user.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads what is durable of one record, with the store's own time.
    ///
    /// A missing record is `None` only where the store can vouch for it: beside the dataset marker that
    /// was written at initialisation. Otherwise it is [`StoreError::Incomplete`].
    async fn load(&self, key: &RecordKey, deadline: Deadline) -> Result<Loaded, StoreError>;

    /// Replaces a record if it is still the one that was loaded.
    ///
    /// `Ok(Swapped::Done)` means that the change is as durable as its class asks.
    async fn swap(&self, swap: Swap, deadline: Deadline) -> Result<Swapped, StoreError>;

    /// Whether the store can be used right now, and why not.
    async fn check(&self, deadline: Deadline) -> Result<(), StoreError>;

    /// Whether a change of this class counts as made only once others than the store itself have
    /// confirmed it. What a load finds may then be a change of which that is not known: it must be
    /// written again before anybody is told of it.
    fn waits_for(&self, _durability: Durability) -> bool {
        false
    }

    /// What an operator should mend although the store can be used, as sentences.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The name of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecordKey {
    /// Whose user it is.
    pub namespace: Namespace,
    /// The user.
    pub user: UserId,
}

/// The fresh random name that every swap gives to the record that it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub [u8; 16]);

/// What a load found.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The record's bytes and their version; `None` where there is no record.
    pub record: Option<(Version, Vec<u8>)>,
    /// The store's clock at the moment of the load.
    pub now: Timestamp,
}

/// A change to make if nobody was faster.
#[derive(Clone, Debug)]
pub struct Swap {
    /// Which record.
    pub key: RecordKey,
    /// The version that was loaded; `None` where there was no record.
    pub expected: Option<Version>,
    /// The version of what is written.
    pub version: Version,
    /// What is written; `None` removes the record.
    pub bytes: Option<Vec<u8>>,
    /// When the store may forget the record by itself; `None` for never.
    pub expire_at: Option<Timestamp>,
    /// How durable the change must be before it counts as made.
    pub durability: Durability,
}

/// How a swap ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The record was replaced.
    Done,
    /// Somebody was faster: load and decide again.
    Changed,
}

/// Why a store did not answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Not reachable, not writable, damaged, or too slow. It may pass.
    #[error("the store is not available: {cause}")]
    Unavailable {
        /// The cause, for the log alone; it names no user and no secret.
        cause: String,
        /// Whether the swap that failed may have been made all the same.
        may_have_happened: bool,
    },
    /// The store is not the one that was initialised, or only a part of it.
    #[error("the store is incomplete: {0}")]
    Incomplete(String),
    /// What is there belongs to a keyring that is not this one.
    #[error("the store cannot be read with this keyring: {0}")]
    Unreadable(String),
}
