//! What belongs to one process. A fork copies memory but no thread: a runtime that was made before it never
//! runs anything again, and its locks may be held for ever. So what was made before a fork is neither used
//! nor dropped after it, and made anew.

use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::{Builder, Runtime};
use twinlock_client::Error;

/// The runtime on which this process waits for answers, made when it is first needed.
///
/// The lock is held only together with the interpreter's, so that no other thread can hold it while this one
/// forks.
pub fn runtime(_py: Python<'_>) -> Result<Arc<Runtime>, Error> {
    static RUNTIME: Mutex<Option<Own<Arc<Runtime>>>> = Mutex::new(None);
    let mut current = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = current.as_ref().and_then(Own::get) {
        return Ok(runtime.clone());
    }
    // One thread drives all connections; who waits for an answer does so on a thread of their own, or on
    // none.
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("twinlock")
        .enable_all()
        .build()
        .map_err(|error| Error::internal(format!("The runtime does not start: {error}.")))?;
    let runtime = Arc::new(runtime);
    *current = Some(Own::new(runtime.clone()));
    Ok(runtime)
}

/// A value of the process that made it. In a fork it is out of reach, and forgotten instead of dropped.
pub struct Own<T> {
    process: u32,
    value: Option<T>,
}

impl<T> Own<T> {
    pub fn new(value: T) -> Self {
        Self { process: std::process::id(), value: Some(value) }
    }

    /// The value; `None` in another process than the one that made it.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.is_here())
    }

    /// Takes the value; `None` in another process, and where it was taken.
    pub fn take(&mut self) -> Option<T> {
        if self.is_here() { self.value.take() } else { None }
    }

    fn is_here(&self) -> bool {
        self.process == std::process::id()
    }
}

impl<T> Drop for Own<T> {
    fn drop(&mut self) {
        if !self.is_here() {
            std::mem::forget(self.value.take());
        }
    }
}
