//! Where records are kept: two verbs on one record, and a walk over all, whatever is behind them.
//!
//! All rules are made exact by one property: a verdict leaves the process only after
//! [`Store::swap`] has replaced the very record that it was decided on.

pub mod embedded;
pub mod recent;
pub mod redis;
mod target;

pub use recent::Recent;
pub use target::{Found, Marked, Target};

use crate::deadline::Deadline;
use crate::entropy;
use async_trait::async_trait;
use std::cell::RefCell;
pub use twinlock_core::decision::Durability;
use twinlock_core::{Namespace, Timestamp, UserId};

/// A store of records, one a user. Whatever is behind it, each verb ends by its deadline.
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

    /// Begins a walk over all records, for backup, examination and resealing.
    ///
    /// Every record that is there from the walk's beginning to its end comes up. Over the embedded store
    /// all are as they were at its beginning; over Redis each is as it is when it comes up, perhaps twice.
    async fn walk(&self, deadline: Deadline) -> Result<Box<dyn Walk>, StoreError>;

    /// The dataset marker that the store was initialized with, sealed.
    fn marker(&self) -> &[u8];

    /// The markers that are in the store now, each once. Of one dataset there are several while their seal is
    /// being renewed.
    async fn markers(&self, _deadline: Deadline) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(vec![self.marker().to_vec()])
    }

    /// Puts a marker in the place of all that have the same name, and makes none where there is none.
    async fn renew_markers(&self, _marker: &[u8], _deadline: Deadline) -> Result<(), StoreError> {
        Err(StoreError::Unavailable {
            cause: "this store does not renew its marker".into(),
            may_have_happened: false,
        })
    }

    /// Whether the store can be used right now, and why not.
    async fn check(&self, deadline: Deadline) -> Result<(), StoreError>;

    /// Whether a change of this class counts as made only once others than the store itself have
    /// confirmed it. What a load finds may then be a change of which that is not known: it must be
    /// written again before anybody is told of it.
    fn waits_for(&self, _durability: Durability) -> bool {
        false
    }

    /// What was seen of records lately, where a load takes as long as asking somebody else.
    fn recent(&self) -> Option<&Recent> {
        None
    }

    /// What an operator should mend although the store can be used, as sentences.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How many bytes at the beginning of a marker name its dataset. The rest is a seal, which is renewed when keys
/// change: so a store knows its dataset by the name alone.
pub const DATASET_NAME_BYTES: usize = 16;

/// The name at the beginning of a marker.
pub fn dataset_name(marker: &[u8]) -> &[u8] {
    marker.get(..DATASET_NAME_BYTES).unwrap_or(marker)
}

/// A walk over all records, a page at a time.
#[async_trait]
pub trait Walk: Send {
    /// The next records, perhaps none and about 256 at most; `None` after the last. One that has lapsed
    /// may still be among them. The same page may be asked for again after an error.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where the store does not answer, or holds something that is no record.
    async fn next(&mut self, deadline: Deadline) -> Result<Option<Vec<Record>>, StoreError>;

    /// About how many records there are, as of the walk's beginning, to tell how far it is; `None` where
    /// the store does not say.
    fn total(&self) -> Option<u64>;
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
    /// When the store may forget it; `None` for never.
    pub expire_at: Option<Timestamp>,
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

impl Version {
    /// A fresh one. It is a name and no secret, so it may wait in memory for its turn: the generator takes about as
    /// long over a stock of them as over one.
    pub fn fresh() -> Self {
        STOCK.with_borrow_mut(|stock| {
            if stock.is_empty() {
                let random: [u8; 256] = entropy::bytes();
                stock.extend_from_slice(random.as_chunks().0);
            }
            Self(stock.pop().expect("it is not empty"))
        })
    }
}

thread_local! {
    /// Random bytes for the next versions.
    static STOCK: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

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
    /// Where it was decided on what [`Recent`] gave: the time that was decided by. The swap is made only where
    /// the store's clock shows that, or a time that is at most [`recent::LATEST`] later.
    pub decided_at: Option<Timestamp>,
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
    /// Another process has the embedded store's file, of this name. It may pass.
    #[error("the store is not available: another Twinlock process is using {0}")]
    InUse(String),
    /// The store is not the one that was initialised, or only a part of it.
    #[error("the store is incomplete: {0}")]
    Incomplete(String),
    /// What is there belongs to a keyring that is not this one.
    #[error("the store cannot be read with this keyring: {0}")]
    Unreadable(String),
}
