//! The store of one machine: one file, one writer, an exclusive lock.
//!
//! All swaps go through one thread, which commits whatever waits in one transaction, so that
//! concurrent callers share one fsync. Loads read a snapshot of the last commit on the caller's own
//! thread and wait for nobody; it is begun once a commit, and not by every load.
//!
//! What it promises of its file:
//! - A swap that was reported as done is on the disk. A power loss tears at most the commit that
//!   nobody was told of; that commit then counts as not made, or as made, but never in part.
//! - A full disk or a failed write is an error to the callers that it concerns. The store reopens its
//!   file by itself and serves again as soon as the disk does.
//! - Every record carries a checksum over its key and contents, so damage is never served as a
//!   record. Whether every page of the file is checked as well is told at [`Embedded::open`].

mod fault;
mod format;
mod medium;
mod snapshot;
mod target;
mod writer;

pub use target::Restoring;

use super::{Loaded, RecordKey, Store, StoreError, Swap, Swapped, Walk, dataset_name};
use crate::clock::Clock;
use crate::deadline::Deadline;
use async_trait::async_trait;
use fault::{Fault, guarded};
use format::{RECORDS, Stored};
use medium::{Medium, Purpose};
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, StorageBackend};
use snapshot::Snapshot;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::{io, thread};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::yield_now;
use writer::{Job, Message, Writer};

/// The name of the store's one file in its directory.
pub const FILE_NAME: &str = "twinlock.redb";

/// How many swaps may wait at once; more of them wait for room.
const ROOM: usize = 4096;

/// A store in one file of this machine.
///
/// Dropping it makes the swaps that still wait, closes the file and gives up its lock.
pub struct Embedded {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    // Both are there until the store is dropped.
    queue: Option<Sender<Message>>,
    writer: Option<JoinHandle<()>>,
}

impl Embedded {
    /// Makes a new store in a directory, which is created with mode 0700 where it is missing.
    ///
    /// The marker is kept as it is; the engine seals it.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`] where there is a marker or a record already, or a file that is no
    /// store; [`StoreError::InUse`] where another process has the file; [`StoreError::Unavailable`] where the
    /// directory or the file cannot be written.
    pub fn initialize(directory: &Path, marker: &[u8], clock: Clock) -> Result<Self, StoreError> {
        let store = Self::create(medium::new_file(directory)?, marker, clock)?;
        medium::sync_names(directory)?;
        Ok(store)
    }

    /// Opens the store in a directory. It never creates one.
    ///
    /// The file belongs to one process at a time. A file that group or others can read is closed to
    /// them, with a warning; a directory that others can write to is only warned about, for it may be
    /// the root of a mounted volume.
    ///
    /// After an unclean stop, and where the file has at most 16 MiB, the checksum of every page is
    /// checked here; a larger file that was closed properly is opened at once, however large it is.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`] where the file, its marker or one of its tables is missing, or where
    /// it is something else; [`StoreError::InUse`] where another process has the file;
    /// [`StoreError::Unavailable`] where it is damaged, not to be read or written.
    pub fn open(directory: &Path, clock: Clock) -> Result<Self, StoreError> {
        Self::attach(medium::existing_file(directory)?, clock)
    }

    /// Like [`Embedded::initialize`], on whatever redb can write to; the function makes a handle to it
    /// each time that the store is opened.
    pub fn initialize_on<B: StorageBackend>(
        backend: impl Fn() -> io::Result<B> + Send + 'static,
        marker: &[u8],
        clock: Clock,
    ) -> Result<Self, StoreError> {
        Self::create(Medium::new("the store's medium".into(), backend), marker, clock)
    }

    /// Like [`Embedded::open`], on whatever redb can write to; the function makes a handle to it each
    /// time that the store is opened.
    pub fn open_on<B: StorageBackend>(
        backend: impl Fn() -> io::Result<B> + Send + 'static,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        Self::attach(Medium::new("the store's medium".into(), backend), clock)
    }

    fn create(medium: Medium, marker: &[u8], clock: Clock) -> Result<Self, StoreError> {
        let name = medium.name().to_owned();
        let database = guarded(|| {
            let database = medium.connect(Purpose::Create)?;
            format::initialize(&database, marker)?;
            Ok(database)
        })
        .map_err(|fault| fault.error(&name, false))?;
        Self::start(medium, database, marker.to_vec(), clock)
    }

    fn attach(medium: Medium, clock: Clock) -> Result<Self, StoreError> {
        let name = medium.name().to_owned();
        let (database, marker) = guarded(|| {
            let database = medium.connect(Purpose::Open)?;
            let marker = format::recognize(&database)?;
            Ok((database, marker))
        })
        .map_err(|fault| fault.error(&name, false))?;
        Self::start(medium, database, marker, clock)
    }

    fn start(
        medium: Medium,
        database: Database,
        marker: Vec<u8>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let name = medium.name().to_owned();
        let state = guarded(|| State::open(database, 0)).map_err(|fault| fault.error(&name, false));
        let state = RwLock::new(state?);
        let shared = Arc::new(Shared { state, name, marker, clock });
        let (queue, messages) = mpsc::channel();
        let writer = Writer::new(Arc::clone(&shared), medium, messages);
        let writer = thread::Builder::new()
            .name("twinlock-store".into())
            .spawn(move || writer.run())
            .map_err(|error| unavailable(format!("no thread for the store: {error}"), false))?;
        Ok(Self {
            shared,
            room: Arc::new(Semaphore::new(ROOM)),
            queue: Some(queue),
            writer: Some(writer),
        })
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(message).is_ok());
        if sent { Ok(()) } else { Err(unavailable("the store's writer has ended".into(), false)) }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The writer ends when the queue is closed and empty.
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn load(&self, key: &RecordKey, _deadline: Deadline) -> Result<Loaded, StoreError> {
        let key = format::key(key);
        let mut read_from = None;
        guarded(|| self.shared.load(&key, &mut read_from)).map_err(|fault| {
            if let Some(generation) = read_from.filter(|_| fault.needs_reopening()) {
                let error = fault.error(&self.shared.name, false);
                // Where the writer has ended, there is nobody left to reopen the file.
                let _ = self.send(Message::Failed { generation, error });
            }
            fault.error(&self.shared.name, false)
        })
    }

    async fn swap(&self, swap: Swap, deadline: Deadline) -> Result<Swapped, StoreError> {
        let room = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => match deadline.limit(Arc::clone(&self.room).acquire_owned()).await {
                Ok(Ok(room)) => room,
                _ => return Err(unavailable("too many changes wait for the disk".into(), false)),
            },
        };
        // Those who are as far in this turn of the runtime come first, and so share one commit: else the writer
        // would begin with whoever is the first, and the others wait for the next.
        yield_now().await;
        let (answer, answered) = oneshot::channel();
        self.send(Message::Swap(Job::new(&swap, answer, room)))?;
        match deadline.limit(answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(unavailable("the store's writer has ended".into(), true)),
            Err(_) => Err(unavailable("the disk was too slow".into(), true)),
        }
    }

    async fn walk(&self, _deadline: Deadline) -> Result<Box<dyn Walk>, StoreError> {
        let transaction = guarded(|| {
            let transaction = self.shared.begin_read()?;
            self.shared.vouch(&transaction)?;
            Ok(transaction)
        })
        .map_err(|fault| fault.error(&self.shared.name, false))?;
        Ok(Box::new(Snapshot::new(transaction, self.shared.name.clone())?))
    }

    fn marker(&self) -> &[u8] {
        &self.shared.marker
    }

    async fn markers(&self, _deadline: Deadline) -> Result<Vec<Vec<u8>>, StoreError> {
        guarded(|| Ok(vec![format::marker(&self.shared.begin_read()?)?]))
            .map_err(|fault| fault.error(&self.shared.name, false))
    }

    async fn renew_markers(&self, marker: &[u8], deadline: Deadline) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Renew { marker: marker.to_vec(), answer })?;
        match deadline.limit(answered).await {
            Ok(Ok(result)) => result,
            _ => Err(unavailable("the disk was too slow".into(), true)),
        }
    }

    async fn check(&self, _deadline: Deadline) -> Result<(), StoreError> {
        guarded(|| {
            let transaction = self.shared.begin_read()?;
            self.shared.vouch(&transaction)
        })
        .map_err(|fault| fault.error(&self.shared.name, false))
    }
}

/// What the callers and the writer share.
struct Shared {
    state: RwLock<State>,
    name: String,
    marker: Vec<u8>,
    clock: Clock,
}

enum State {
    /// The view is dropped before the database that it is of. The generation counts the reopenings, so that a
    /// reader's complaint is about the right one.
    Open { last: Arc<View>, database: Database, generation: u64 },
    /// Between a failure and the next try to reopen; every call is answered with its cause.
    Closed(StoreError),
}

/// All as of one commit. Until it is dropped, the space of what it sees is not used again.
struct View {
    transaction: ReadTransaction,
    records: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl View {
    fn begin(database: &Database) -> Result<Arc<Self>, Fault> {
        let transaction = database.begin_read()?;
        let records = transaction.open_table(RECORDS)?;
        Ok(Arc::new(Self { transaction, records }))
    }
}

impl State {
    fn open(database: Database, generation: u64) -> Result<Self, Fault> {
        let last = View::begin(&database)?;
        Ok(Self::Open { last, database, generation })
    }
}

impl Shared {
    /// Works on the open database. It holds the state only for as long as a transaction takes to
    /// begin: redb lets a database be closed under its readers.
    fn with_database<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open { database, .. } => work(database),
            State::Closed(error) => Err(Fault::Closed(error.clone())),
        }
    }

    fn begin_read(&self) -> Result<ReadTransaction, Fault> {
        self.with_database(|database| Ok(database.begin_read()?))
    }

    /// The last commit, and the generation of the database.
    fn last(&self) -> Result<(Arc<View>, u64), Fault> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Open { last, generation, .. } => Ok((last.clone(), *generation)),
            State::Closed(error) => Err(Fault::Closed(error.clone())),
        }
    }

    /// Shows what was committed to all loads from now on.
    fn advance(&self) -> Result<(), Fault> {
        let view = self.with_database(View::begin)?;
        match &mut *self.state.write().unwrap_or_else(PoisonError::into_inner) {
            State::Open { last, .. } => *last = view,
            State::Closed(error) => return Err(Fault::Closed(error.clone())),
        }
        Ok(())
    }

    fn load(&self, key: &[u8], read_from: &mut Option<u64>) -> Result<Loaded, Fault> {
        let (view, generation) = self.last()?;
        *read_from = Some(generation);
        // Read after the record is fixed: what is in it may otherwise seem to lie in the future, and lapse.
        let now = (self.clock)();
        if let Some(found) = view.records.get(key)? {
            let stored = Stored::read(key, found.value())?;
            if !stored.has_lapsed(now) {
                let record = Some((stored.version, stored.bytes.to_vec()));
                return Ok(Loaded { record, now });
            }
        }
        self.vouch(&view.transaction)?;
        Ok(Loaded { record: None, now })
    }

    /// A missing record is believed only beside the marker, in the same snapshot.
    fn vouch(&self, transaction: &ReadTransaction) -> Result<(), Fault> {
        if dataset_name(&format::marker(transaction)?) == dataset_name(&self.marker) {
            Ok(())
        } else {
            Err(Fault::Incomplete("the marker is another one than at start".into()))
        }
    }
}

fn unavailable(cause: String, may_have_happened: bool) -> StoreError {
    StoreError::Unavailable { cause, may_have_happened }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::store::Durability;
    use crate::store::Version;
    use redb::backends::InMemoryBackend;
    use std::time::Duration;
    use twinlock_core::{Namespace, UserId};

    #[tokio::test]
    async fn a_missing_record_is_believed_only_beside_the_marker() {
        let backend = || Ok(InMemoryBackend::new());
        let store = Embedded::initialize_on(backend, b"one", clock::system()).expect("a store");
        let deadline = Deadline::after(Duration::from_secs(10));
        let key = |user| RecordKey {
            namespace: Namespace::default(),
            user: UserId::parse(user).expect("a user"),
        };
        let swap = Swap {
            key: key("alice"),
            expected: None,
            version: Version([1; 16]),
            bytes: Some(b"here".to_vec()),
            expire_at: None,
            durability: Durability::Attempt,
            decided_at: None,
        };
        store.swap(swap, deadline).await.expect("a swap");
        assert!(store.load(&key("bob"), deadline).await.expect("a load").record.is_none());

        // As if the marker in the file had become another one.
        let state = RwLock::new(std::mem::replace(
            &mut *store.shared.state.write().expect("a lock"),
            State::Closed(unavailable("moved".into(), false)),
        ));
        let shared = Shared {
            state,
            name: "file".into(),
            marker: b"another".to_vec(),
            clock: clock::system(),
        };
        let load = |user| shared.load(&format::key(&key(user)), &mut None);
        assert!(load("alice").expect("a load").record.is_some());
        assert!(matches!(load("bob"), Err(Fault::Incomplete(_))));
    }
}
