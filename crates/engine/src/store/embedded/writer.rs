//! The one thread that writes.

use super::fault::{Fault, guarded};
use super::format::{self, EXPIRY, RECORDS, Stored};
use super::medium::{Medium, Purpose};
use super::{Shared, State, unavailable};
use crate::deadline::Deadline;
use crate::store::recent::is_in_time;
use crate::store::{StoreError, Swap, Swapped, Version, dataset_name};
use redb::{Durability, ReadableTable, Table, WriteTransaction};
use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use twinlock_core::Timestamp;

/// How many swaps one commit may hold.
const BATCH: usize = 512;

/// How many lapsed records one commit may sweep away besides.
const SWEEP: usize = 64;

/// How long to wait between two tries to reopen the file.
const RETRY: Duration = Duration::from_secs(1);

/// The same, where the file is damaged: checking all of it every second would help nobody.
const RETRY_DAMAGED: Duration = Duration::from_secs(30);

pub(super) enum Message {
    Swap(Job),
    /// The marker is to be put in the place of the present one.
    Renew {
        marker: Vec<u8>,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    /// A reader's database of this generation failed.
    Failed {
        generation: u64,
        error: StoreError,
    },
}

type Answer = Result<Swapped, StoreError>;

/// A swap that waits for its turn.
pub(super) struct Job {
    key: Vec<u8>,
    expected: Option<Version>,
    decided_at: Option<Timestamp>,
    value: Option<Vec<u8>>,
    expiry: u64,
    answer: oneshot::Sender<Answer>,
    runtime: Handle,
    // Its place in the queue, which it gives up when it is answered.
    _room: OwnedSemaphorePermit,
}

impl Job {
    pub(super) fn new(
        swap: &Swap,
        answer: oneshot::Sender<Answer>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let key = format::key(&swap.key);
        let expiry = format::expiry(swap.expire_at);
        let value =
            swap.bytes.as_ref().map(|bytes| format::value(&key, swap.version, expiry, bytes));
        let Swap { expected, decided_at, .. } = *swap;
        let runtime = Handle::current();
        Self { key, expected, decided_at, value, expiry, answer, runtime, _room: room }
    }

    fn answer(self, answer: Answer) {
        // A caller that no longer waits has given up its interest and nothing else.
        let _ = self.answer.send(answer);
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    medium: Medium,
    messages: Receiver<Message>,
    generation: u64,
    // When the file may be reopened; `None` while it is open.
    reopen: Option<Deadline>,
    // The pace of reopening holds across a success that does not last.
    pace: Deadline,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, medium: Medium, messages: Receiver<Message>) -> Self {
        let pace = Deadline::after(Duration::ZERO);
        Self { shared, medium, messages, generation: 0, reopen: None, pace }
    }

    /// Works until the store is dropped and the queue is empty.
    pub(super) fn run(mut self) {
        loop {
            let message = match self.reopen {
                None => self.messages.recv().map_err(RecvTimeoutError::from),
                Some(at) if at.remaining().is_zero() => Err(RecvTimeoutError::Timeout),
                Some(at) => self.messages.recv_timeout(at.remaining()),
            };
            match message {
                Ok(Message::Swap(job)) => self.swap(job),
                Ok(Message::Renew { marker, answer }) => self.renew(&marker, answer),
                Ok(Message::Failed { generation, error }) => self.failed(generation, error),
                Err(RecvTimeoutError::Timeout) => self.reopen(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.shut(unavailable("the store is closed".into(), false));
    }

    /// Commits a swap together with all that wait.
    fn swap(&mut self, first: Job) {
        let mut jobs = vec![first];
        while jobs.len() < BATCH {
            match self.messages.try_recv() {
                Ok(Message::Swap(job)) => jobs.push(job),
                Ok(Message::Renew { marker, answer }) => self.renew(&marker, answer),
                Ok(Message::Failed { generation, error }) => self.failed(generation, error),
                Err(_) => break,
            }
        }
        // From then on nobody knows what a failure, or a panic, has left on the disk.
        let mut began_to_commit = false;
        match guarded(|| self.commit(&jobs, &mut began_to_commit)) {
            Ok(answers) => {
                // By a task of the callers' runtime: each answer that is given from here wakes its thread by a
                // system call of its own.
                let runtime = jobs[0].runtime.clone();
                runtime.spawn(async move {
                    jobs.into_iter().zip(answers).for_each(|(job, answer)| job.answer(answer));
                });
            }
            Err(fault) => {
                let error = fault.error(&self.shared.name, began_to_commit);
                if fault.needs_reopening() {
                    self.close(fault.error(&self.shared.name, false));
                }
                jobs.into_iter().for_each(|job| job.answer(Err(error.clone())));
            }
        }
    }

    fn commit(&self, jobs: &[Job], began_to_commit: &mut bool) -> Result<Vec<Answer>, Fault> {
        let mut transaction = self.shared.with_database(|database| Ok(database.begin_write()?))?;
        transaction.set_durability(Durability::Immediate)?;
        let now = (self.shared.clock)();
        let mut batch = Batch::begin(&transaction, now)?;
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            answers.push(match batch.swap(job) {
                Ok(swapped) => Ok(swapped),
                // One record that is damaged keeps nobody from the others.
                Err(fault @ Fault::Damaged(_)) => Err(fault.error(&self.shared.name, false)),
                Err(fault) => return Err(fault),
            });
        }
        if !batch.changed {
            drop(batch);
            transaction.abort()?;
            return Ok(answers);
        }
        batch.sweep()?;
        drop(batch);
        *began_to_commit = true;
        transaction.commit()?;
        // Before anybody is answered: who knows of a change must not be shown the state before it.
        self.shared.advance()?;
        Ok(answers)
    }

    fn renew(&mut self, marker: &[u8], answer: oneshot::Sender<Result<(), StoreError>>) {
        let renewed = guarded(|| {
            self.shared.with_database(|database| format::renew(database, marker))?;
            self.shared.advance()
        });
        let renewed = renewed.map_err(|fault| {
            let error = fault.error(&self.shared.name, true);
            if fault.needs_reopening() {
                self.close(fault.error(&self.shared.name, false));
            }
            error
        });
        let _ = answer.send(renewed);
    }

    fn failed(&mut self, generation: u64, error: StoreError) {
        if self.reopen.is_none() && generation == self.generation {
            self.close(error);
        }
    }

    fn close(&mut self, error: StoreError) {
        tracing::error!(%error, "the store's file is closed, and will be reopened");
        self.shut(error);
        self.reopen = Some(self.pace);
    }

    fn reopen(&mut self) {
        self.pace = Deadline::after(RETRY);
        let opened = guarded(|| {
            let database = self.medium.connect(Purpose::Reopen)?;
            if dataset_name(&format::recognize(&database)?) != dataset_name(&self.shared.marker) {
                return Err(Fault::Incomplete("it is another store than before".into()));
            }
            State::open(database, self.generation + 1)
        });
        match opened {
            Ok(opened) => {
                tracing::info!(file = self.shared.name, "the store's file is open again");
                self.generation += 1;
                self.reopen = None;
                self.replace(opened);
            }
            Err(fault) => {
                let wait = if fault.is_damage() { RETRY_DAMAGED } else { RETRY };
                self.reopen = Some(Deadline::after(wait));
                self.replace(State::Closed(fault.error(&self.shared.name, false)));
            }
        }
    }

    /// Closes the file, however badly it is.
    fn shut(&self, error: StoreError) {
        let old = self.replace(State::Closed(error));
        let _ = guarded(|| {
            drop(old);
            Ok(())
        });
    }

    fn replace(&self, state: State) -> State {
        mem::replace(&mut self.shared.state.write().unwrap_or_else(PoisonError::into_inner), state)
    }
}

/// The changes of one transaction.
struct Batch<'a> {
    records: Table<'a, &'static [u8], &'static [u8]>,
    expiry: Table<'a, (u64, &'static [u8]), ()>,
    now: Timestamp,
    changed: bool,
}

impl<'a> Batch<'a> {
    fn begin(transaction: &'a WriteTransaction, now: Timestamp) -> Result<Self, Fault> {
        let records = transaction.open_table(RECORDS)?;
        let expiry = transaction.open_table(EXPIRY)?;
        Ok(Self { records, expiry, now, changed: false })
    }

    fn swap(&mut self, job: &Job) -> Result<Swapped, Fault> {
        let key = job.key.as_slice();
        let (current, old_expiry) = match self.records.get(key)? {
            None => (None, 0),
            Some(found) => {
                let stored = Stored::read(key, found.value())?;
                let current = (!stored.has_lapsed(self.now)).then_some(stored.version);
                (current, stored.expiry)
            }
        };
        if current != job.expected || !is_in_time(job.decided_at, self.now) {
            return Ok(Swapped::Changed);
        }
        match &job.value {
            Some(value) => {
                self.records.insert(key, value.as_slice())?;
                self.changed = true;
            }
            None => self.changed |= self.records.remove(key)?.is_some(),
        }
        let new_expiry = if job.value.is_some() { job.expiry } else { 0 };
        if old_expiry != new_expiry {
            if old_expiry != 0 {
                self.expiry.remove((old_expiry, key))?;
            }
            if new_expiry != 0 {
                self.expiry.insert((new_expiry, key), ())?;
            }
        }
        Ok(Swapped::Done)
    }

    /// Forgets some of the records that have lapsed; they ride along with a commit that is made anyhow.
    fn sweep(&mut self) -> Result<(), Fault> {
        let end = (self.now.as_millis().saturating_add(1), [].as_slice());
        let mut lapsed = Vec::new();
        for entry in self.expiry.range(..end)?.take(SWEEP) {
            let (entry, _) = entry?;
            let (expiry, key) = entry.value();
            lapsed.push((expiry, key.to_vec()));
        }
        for (expiry, key) in &lapsed {
            self.expiry.remove((*expiry, key.as_slice()))?;
            self.records.remove(key.as_slice())?;
        }
        Ok(())
    }
}
