//! Events as they happen.

use crate::call::Call;
use crate::convert;
use crate::process::Own;
use futures_util::future::{Either, select};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};
use twinlock_client::proto::WatchEventsResponse;
use twinlock_client::{Error, Reason, Stream};

/// A stream of events that is open.
#[pyclass(frozen, module = "twinlock._native")]
pub struct Watch {
    open: Own<Open>,
    /// Whether events are missing before the first one.
    #[pyo3(get)]
    missed_events: bool,
}

struct Open {
    stream: Arc<Mutex<Stream<WatchEventsResponse>>>,
    /// Tells whoever waits for an event that there will be none.
    closed: watch::Sender<bool>,
}

impl Watch {
    pub fn new(stream: Stream<WatchEventsResponse>) -> Self {
        let missed_events = stream.missed_events();
        let stream = Arc::new(Mutex::new(stream));
        Self { open: Own::new(Open { stream, closed: watch::Sender::new(false) }), missed_events }
    }
}

#[pymethods]
impl Watch {
    /// The next event; `None` after the last one, and once the watch is closed.
    fn next(&self) -> Call {
        let open = self.open.get();
        let open = open.map(|open| (open.stream.clone(), open.closed.subscribe()));
        let next = async move {
            let Some((stream, mut closed)) = open else {
                let message = "This watch was begun before the process forked. \
                               Watch again after the last event.";
                return Err(Error::new(Reason::Unavailable, message.into()));
            };
            let arrival = pin!(async { stream.lock().await.next().await });
            let end = pin!(closed.wait_for(|closed| *closed));
            match select(arrival, end).await {
                Either::Left((part, _)) => part,
                Either::Right(_) => Ok(None),
            }
        };
        Call::new(next, |py, part| match part.and_then(|part| part.event) {
            Some(event) => convert::event(event).into_py_any(py),
            None => Ok(py.None()),
        })
    }

    /// Ends it for whoever waits for the next event.
    fn close(&self) {
        if let Some(open) = self.open.get() {
            open.closed.send_replace(true);
        }
    }
}
