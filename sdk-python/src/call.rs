//! A call that can be waited for, by a thread or by an event loop.

use crate::failure::{exception, panicked};
use crate::mailbox::Mailbox;
use crate::process::{self, Own};
use futures_util::FutureExt;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use twinlock_client::Error;

/// How often a thread that waits looks whether somebody pressed Ctrl-C.
const SIGNALS: Duration = Duration::from_millis(50);

/// An answer, still to be made a Python object; or the failure.
pub type Outcome = Result<Answer, Error>;
pub type Answer = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One call, not sent before it is waited for.
#[pyclass(module = "twinlock._native")]
pub struct Call {
    /// The mutex is never locked: it makes `Sync` what one holder at a time takes out.
    work: Mutex<Own<Work>>,
    running: Option<Running>,
}

/// What it takes to give a call up.
struct Running {
    task: Own<AbortHandle>,
    mailbox: Py<Mailbox>,
    number: u64,
}

impl Call {
    /// A call whose answer `convert` makes a Python object.
    pub fn new<T: Send + 'static>(
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
        convert: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Self {
        // Without this, a panic would leave an event loop waiting for ever.
        let work = AssertUnwindSafe(work).catch_unwind();
        let work = async move {
            let answer = work.await.unwrap_or_else(|panic| Err(panicked(panic)))?;
            Ok(Box::new(move |py: Python<'_>| convert(py, answer)) as Answer)
        };
        let work: Work = Box::pin(work);
        Self { work: Mutex::new(Own::new(work)), running: None }
    }

    fn take(&mut self) -> PyResult<Work> {
        let work = self.work.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        work.ok_or_else(|| PyRuntimeError::new_err("a call is waited for once"))
    }
}

#[pymethods]
impl Call {
    /// Sends it and waits for the answer, without the interpreter's lock. Ctrl-C gives the call up.
    fn wait(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mut work = self.take()?;
        let runtime = process::runtime(py).map_err(|error| exception(py, &error))?;
        loop {
            let outcome = py.detach(|| {
                runtime.block_on(async { tokio::time::timeout(SIGNALS, &mut work).await })
            });
            match outcome {
                Ok(Ok(answer)) => return answer(py),
                Ok(Err(error)) => return Err(exception(py, &error)),
                Err(_not_yet) => py.check_signals()?,
            }
        }
    }

    /// Sends it, and gives the answer to the future of an event loop.
    fn start(
        &mut self,
        py: Python<'_>,
        mailbox: &Bound<'_, Mailbox>,
        future: Py<PyAny>,
    ) -> PyResult<()> {
        let work = self.take()?;
        let runtime = process::runtime(py).map_err(|error| exception(py, &error))?;
        let (number, slot) = mailbox.get().expect(future).ok_or_else(|| {
            PyRuntimeError::new_err("an event loop does not go on after a fork; run a new one")
        })?;
        let task = runtime.spawn(async move { slot.put(number, work.await) }).abort_handle();
        let mailbox = mailbox.clone().unbind();
        self.running = Some(Running { task: Own::new(task), mailbox, number });
        Ok(())
    }

    /// Gives it up, if it is still under way.
    fn cancel(&mut self) {
        if let Some(Running { task, mailbox, number }) = self.running.take() {
            if let Some(task) = task.get() {
                task.abort();
            }
            mailbox.get().forget(number);
        }
    }
}
