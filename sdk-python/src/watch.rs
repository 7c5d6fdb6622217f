//! Events as they happen.

use crate::call::Call;
use crate::convert;
use crate::process::Own;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use std::sync::Arc;
use tokio::sync::Mutex;
use twinlock_client::proto::WatchEventsResponse;
use twinlock_client::{Error, Reason, Stream};

/// A stream of events that is open.
#[pyclass(frozen, module = "twinlock._native")]
pub struct Watch {
    stream: Own<Arc<Mutex<Stream<WatchEventsResponse>>>>,
    /// Whether events are missing before the first one.
    #[pyo3(get)]
    missed_events: bool,
}

impl Watch {
    pub fn new(stream: Stream<WatchEventsResponse>) -> Self {
        let missed_events = stream.missed_events();
        Self { stream: Own::new(Arc::new(Mutex::new(stream))), missed_events }
    }
}

#[pymethods]
impl Watch {
    /// The next event; `None` after the last one.
    fn next(&self) -> Call {
        let stream = self.stream.get().cloned();
        let next = async move {
            let Some(stream) = stream else {
                let message = "This watch was begun before the process forked. \
                               Watch again after the last event.";
                return Err(Error::new(Reason::Unavailable, message.into()));
            };
            stream.lock().await.next().await
        };
        Call::new(next, |py, part| match part.and_then(|part| part.event) {
            Some(event) => convert::event(event).into_py_any(py),
            None => Ok(py.None()),
        })
    }
}
