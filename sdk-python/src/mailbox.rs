//! How answers reach an event loop.
//!
//! The runtime's thread never touches Python: it puts what has arrived into a queue and writes a byte into a
//! socket that the loop watches. The loop fetches the answers on its own thread, some at a time, so that
//! neither waits for the other's locks and a flood of answers does not hold the loop up.

use crate::call::Outcome;
use crate::failure::exception;
use crate::process::Own;
use pyo3::intern;
use pyo3::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many answers are given out before the loop has its turn again: some half of a millisecond.
const BATCH: usize = 32;

/// Where the answers to the calls of one event loop arrive.
#[pyclass(frozen, module = "twinlock._native")]
pub struct Mailbox {
    slot: Own<Arc<Slot>>,
    reader: UnixStream,
    /// The futures that wait, by the number of their call.
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    last: u64,
    futures: HashMap<u64, Py<PyAny>>,
}

/// The side of a mailbox that the runtime knows.
pub struct Slot {
    arrived: Mutex<VecDeque<(u64, Outcome)>>,
    writer: UnixStream,
}

impl Slot {
    /// Puts an answer in. There is one byte in the socket while, and only while, there is an answer in the
    /// queue, so it can always be written at once.
    pub fn put(&self, number: u64, outcome: Outcome) {
        let mut arrived = lock(&self.arrived);
        if arrived.is_empty() {
            let _ = (&self.writer).write(&[0]);
        }
        arrived.push_back((number, outcome));
    }
}

impl Mailbox {
    /// Lets a future wait for an answer; gives the number of the call, and where the answer goes. `None` in
    /// another process than the mailbox's own.
    pub fn expect(&self, future: Py<PyAny>) -> Option<(u64, Arc<Slot>)> {
        let slot = self.slot.get()?.clone();
        let mut waiting = lock(&self.waiting);
        waiting.last += 1;
        let number = waiting.last;
        waiting.futures.insert(number, future);
        Some((number, slot))
    }

    /// Forgets a future.
    pub fn forget(&self, number: u64) {
        let future = lock(&self.waiting).futures.remove(&number);
        // It is dropped after the lock: that may run any code of Python's.
        drop(future);
    }
}

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let slot = Arc::new(Slot { arrived: Mutex::default(), writer });
        Ok(Self { slot: Own::new(slot), reader, waiting: Mutex::default() })
    }

    /// The socket that can be read while there are answers.
    fn fileno(&self) -> i32 {
        self.reader.as_raw_fd()
    }

    /// Gives out some of the answers that have arrived. The loop calls it whenever the socket can be read.
    fn deliver(&self, py: Python<'_>) -> PyResult<()> {
        for (number, outcome) in self.take() {
            let future = lock(&self.waiting).futures.remove(&number);
            let Some(future) = future else { continue };
            let future = future.bind(py);
            if future.call_method0(intern!(py, "done"))?.is_truthy()? {
                continue;
            }
            let answer = outcome.map_err(|error| exception(py, &error));
            match answer.and_then(|answer| answer(py)) {
                Ok(answer) => future.call_method1(intern!(py, "set_result"), (answer,))?,
                Err(error) => future.call_method1(intern!(py, "set_exception"), (error,))?,
            };
        }
        Ok(())
    }
}

impl Mailbox {
    fn take(&self) -> Vec<(u64, Outcome)> {
        let Some(slot) = self.slot.get() else { return Vec::new() };
        let mut arrived = lock(&slot.arrived);
        let some = arrived.len().min(BATCH);
        let batch = arrived.drain(..some).collect();
        if arrived.is_empty() {
            let _ = (&self.reader).read(&mut [0; 8]);
        }
        batch
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
