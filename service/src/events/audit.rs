//! The audit trail: one line of JSON an event, in a file or on standard output.
//!
//! A thread of its own writes, so that a slow disk holds nothing back. What does not fit into its queue
//! is lost, counted and logged.

use super::{method, rfc3339};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use twinlock_engine::events::{Event, Seldom, Sink};

/// How many lines may wait to be written.
const QUEUE: usize = 10_000;
/// How long to wait for room in the queue for the word that the file is to be opened anew.
const PAUSE: Duration = Duration::from_millis(20);

/// The trail.
pub struct Trail {
    lost: Arc<Lost>,
    /// `None` once it is finished.
    running: Mutex<Option<(SyncSender<Order>, JoinHandle<()>)>>,
}

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    StandardOutput,
    File(PathBuf),
}

enum Order {
    Write(Vec<u8>),
    Reopen,
}

/// Lines that were not written.
#[derive(Default)]
pub struct Lost {
    count: AtomicU64,
    log: Seldom,
}

impl Trail {
    /// Opens a file, which is made for its owner alone where there is none; `stdout` or `-` stands for
    /// standard output.
    pub fn open(path: &Path) -> Result<Self> {
        let target = match path.to_str() {
            Some("stdout" | "-") => Target::StandardOutput,
            _ => Target::File(path.to_owned()),
        };
        let out = target.open().with_context(|| format!("cannot open {}", path.display()))?;
        let lost = Arc::new(Lost::default());
        let (orders, given) = sync_channel(QUEUE);
        let pen = Pen { target, out, is_torn: false, lost: lost.clone() };
        let thread = std::thread::Builder::new().name("audit".into()).spawn(|| pen.write(given))?;
        Ok(Self { lost, running: Mutex::new(Some((orders, thread))) })
    }

    /// What takes the events.
    pub fn writer(&self) -> Writer {
        Writer { orders: self.orders(), lost: self.lost.clone() }
    }

    /// What is lost, for as long as anybody asks.
    pub fn lost(&self) -> Arc<Lost> {
        self.lost.clone()
    }

    /// Opens the file anew, after the lines that wait.
    pub async fn reopen(&self) {
        let Some(orders) = self.orders() else { return };
        while let Err(TrySendError::Full(_)) = orders.try_send(Order::Reopen) {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until the lines that wait are written, once the writers are gone, but no longer than this.
    pub async fn finish(&self, limit: Duration) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((orders, thread)) = running else { return };
        drop(orders);
        let joined = tokio::task::spawn_blocking(|| thread.join());
        if tokio::time::timeout(limit, joined).await.is_err() {
            tracing::error!("the last lines of the audit trail could not be written in time");
        }
    }

    fn orders(&self) -> Option<SyncSender<Order>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|(orders, _)| orders.clone())
    }
}

/// Takes the events.
pub struct Writer {
    orders: Option<SyncSender<Order>>,
    lost: Arc<Lost>,
}

impl Sink for Writer {
    fn take(&mut self, event: &Arc<Event>) {
        let line = serde_json::to_vec(&Line::from(&**event)).map(|mut line| {
            line.push(b'\n');
            line
        });
        let written = match (line, &self.orders) {
            (Ok(line), Some(orders)) => orders.try_send(Order::Write(line)).is_ok(),
            _ => false,
        };
        if !written {
            self.lost.another("more happens than can be written");
        }
    }
}

/// A line of the trail. `docs/audit.md` explains the keys to users; a test compares them.
#[derive(Serialize)]
struct Line<'a> {
    event_id: String,
    event_time: String,
    r#type: &'static str,
    namespace: &'a str,
    user_id: &'a str,
    actor_id: &'a str,
    caller: &'a str,
    method: &'static str,
    reason: &'a str,
    ip_address: &'a str,
    user_agent: &'a str,
}

impl<'a> From<&'a Event> for Line<'a> {
    fn from(Event { id, what }: &'a Event) -> Self {
        Self {
            event_id: id.to_string(),
            event_time: rfc3339(what.at),
            r#type: what.kind.as_str(),
            namespace: what.namespace.as_str(),
            user_id: what.user.as_str(),
            actor_id: what.actor.as_ref().map(|actor| actor.as_str()).unwrap_or_default(),
            caller: &what.caller,
            method: method(what.method).unwrap_or_default(),
            reason: what.reason.as_deref().unwrap_or_default(),
            ip_address: &what.client.ip_address,
            user_agent: &what.client.user_agent,
        }
    }
}

impl Target {
    fn open(&self) -> io::Result<Out> {
        match self {
            Self::StandardOutput => Ok(Out::StandardOutput),
            Self::File(path) => {
                let mut options = OpenOptions::new();
                options.append(true).create(true).mode(0o600).open(path).map(Out::File)
            }
        }
    }
}

enum Out {
    StandardOutput,
    File(File),
}

impl Out {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::StandardOutput => {
                let mut out = io::stdout().lock();
                out.write_all(line)?;
                out.flush()
            }
            Self::File(file) => file.write_all(line),
        }
    }
}

/// What the thread writes with.
struct Pen {
    target: Target,
    out: Out,
    /// Whether the last line may be there in part.
    is_torn: bool,
    lost: Arc<Lost>,
}

impl Pen {
    fn write(mut self, orders: Receiver<Order>) {
        for order in orders {
            match order {
                Order::Reopen => match self.target.open() {
                    Ok(out) => (self.out, self.is_torn) = (out, false),
                    Err(error) => {
                        tracing::error!(%error, "the audit trail could not be opened anew");
                    }
                },
                Order::Write(mut line) => {
                    if self.is_torn {
                        // A line that was cut off must not spoil the next one.
                        line.insert(0, b'\n');
                    }
                    let written = self.out.write(&line);
                    self.is_torn = written.is_err();
                    if let Err(error) = written {
                        self.lost.another(&error.to_string());
                    }
                }
            }
        }
    }
}

impl Lost {
    /// How many lines.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn another(&self, cause: &str) {
        let lost = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        if self.log.is_due() {
            tracing::error!(lost, cause, "lines of the audit trail are lost");
        }
    }
}

#[cfg(test)]
mod tests;
