//! What happened, on its way to whoever wants to know: the audit trail, watchers, a webhook.
//!
//! The engine hands an event over after the swap that made it true, and never waits: the queue is
//! bounded, and what does not fit is dropped, counted and loudly logged, since a login is worth more than
//! the news of it. One task gives each event its id, in order, and passes it on. Watchers
//! hold nothing back either: they read from a ring of the latest events at their own pace, and who falls
//! off its end is told so.

mod pipeline;
mod ring;
mod watch;

pub(crate) use pipeline::log;
pub use watch::{Ended, Watch};

use crate::clock::Clock;
use crate::deadline::Deadline;
use crate::engine::ClientContext;
use async_trait::async_trait;
use ring::Ring;
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch as news};
use tokio::task::{AbortHandle, JoinHandle};
use twinlock_core::decision::EventKind;
use twinlock_core::record::Method;
use twinlock_core::{Malformed, Namespace, Timestamp, UserId};

/// How many events may wait to be passed on.
const QUEUE: usize = 10_000;
/// How many of the latest events a process keeps for its watchers.
const RING: usize = 10_000;
/// How many may watch one process at once.
const WATCHERS: usize = 100;
/// The least time between two lines in the log about one kind of loss.
const SELDOM: Duration = Duration::from_secs(10);

/// An event that was told. It holds no secret, code, key, password, session or request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its name; later events have greater ones.
    pub id: EventId,
    /// What it tells.
    pub what: Occurrence,
}

/// What an event tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// When it happened, by the store's clock where the store was asked, else by the machine's.
    pub at: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// Whose user it is.
    pub namespace: Namespace,
    /// The user to whom it happened.
    pub user: UserId,
    /// Who did it, where that is somebody else.
    pub actor: Option<UserId>,
    /// The authenticated caller of the API.
    pub caller: Arc<str>,
    /// By which proof, where there was one.
    pub method: Option<Method>,
    /// Why: the reason of a refusal, the ground of a decision on a login, or an operator's own words.
    pub reason: Option<Cow<'static, str>>,
    /// Where the attempt came from, as the product saw it.
    pub client: ClientContext,
}

/// The name of an event: milliseconds, and a number among the events of that millisecond. It is written
/// `1790000000000-0`, and greater ones come later. Over Redis a stream of it numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// Milliseconds since the Unix epoch.
    pub millis: u64,
    /// The number within the millisecond.
    pub sequence: u64,
}

impl EventId {
    /// Reads an id as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let number = |digits: &str| {
            let is_canonical = digits == "0" || !digits.starts_with(['0', '+']);
            is_canonical.then(|| digits.parse().ok()).flatten()
        };
        let parts = text.split_once('-').and_then(|(millis, sequence)| {
            Some(Self { millis: number(millis)?, sequence: number(sequence)? })
        });
        let problem = "must be the event_id of an event";
        parts.ok_or(Malformed { field: "after_event_id", problem })
    }

    /// The next id, for an event of this time.
    fn next(self, at: Timestamp) -> Self {
        if at.as_millis() > self.millis {
            return Self { millis: at.as_millis(), sequence: 0 };
        }
        Self { sequence: self.sequence.saturating_add(1), ..self }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

/// Takes every event of this process, in order. It must not block.
pub trait Sink: Send + 'static {
    /// Takes one.
    fn take(&mut self, event: &Arc<Event>);
}

/// A log of events that several processes share; it numbers the events.
#[async_trait]
pub trait SharedLog: Send + Sync + 'static {
    /// Appends these in their order. The id is `None` of what is not known to be kept; none is tried
    /// twice.
    async fn append(&self, what: &[Occurrence]) -> Vec<Option<EventId>>;

    /// Reads what comes after an event, the oldest first: `limit` events, or a few times as many.
    async fn after(&self, id: EventId, limit: usize) -> Result<Page, String>;

    /// Waits a moment for what comes after an event; the page is empty where nothing did.
    async fn follow(&self, id: EventId) -> Result<Page, String>;

    /// The ids of the oldest and the newest event that are kept; `None` where there are none.
    async fn ends(&self) -> Result<Option<(EventId, EventId)>, String>;
}

/// Events of a shared log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The events that this release knows.
    pub events: Vec<Event>,
    /// Where to go on: no event up to this one is to come, known or not; `None` where there was none.
    pub last: Option<EventId>,
}

/// How many events took which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Passed on.
    pub told: u64,
    /// Dropped, since the queue was full.
    pub dropped: u64,
    /// Told to this process's audit trail and webhook alone, since the shared log did not take them.
    pub not_shared: u64,
}

/// The events of one process.
#[derive(Clone)]
pub struct Events {
    hub: Arc<Hub>,
    queue: mpsc::Sender<Occurrence>,
    ending: Arc<Mutex<Option<Ending>>>,
}

/// What all parts share.
struct Hub {
    clock: Clock,
    ring: Mutex<Ring>,
    /// Changes whenever the ring has; true once no more may be watched.
    news: news::Sender<bool>,
    watchers: Arc<Semaphore>,
    shared: Option<Arc<dyn SharedLog>>,
    /// Whoever reads the shared log while somebody watches.
    following: tokio::sync::Mutex<Weak<Following>>,
    told: AtomicU64,
    dropped: AtomicU64,
    not_shared: AtomicU64,
    log_of_drops: Seldom,
    log_of_sharing: Seldom,
    log_of_following: Seldom,
}

struct Ending {
    finish: oneshot::Sender<()>,
    pipeline: JoinHandle<()>,
}

/// A task that fills the ring from the shared log; it ends when the last watch does.
struct Following(AbortHandle);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Events {
    /// Starts to pass events on. Without a shared log, the events are those of this process alone, and
    /// their ids follow the clock.
    pub fn start(
        clock: Clock,
        shared: Option<Arc<dyn SharedLog>>,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Self {
        // Without a shared log, what came before this process is not kept.
        let begin = EventId { millis: clock().as_millis(), sequence: 0 };
        let hub = Arc::new(Hub {
            clock,
            ring: Mutex::new(Ring::new(RING, begin)),
            news: news::channel(false).0,
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            shared,
            following: tokio::sync::Mutex::default(),
            told: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            not_shared: AtomicU64::new(0),
            log_of_drops: Seldom::default(),
            log_of_sharing: Seldom::default(),
            log_of_following: Seldom::default(),
        });
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (finish, finished) = oneshot::channel();
        let pipeline = tokio::spawn(pipeline::run(hub.clone(), waiting, finished, sinks));
        let ending = Ending { finish, pipeline };
        Self { hub, queue, ending: Arc::new(Mutex::new(Some(ending))) }
    }

    /// Hands an event over; never waits.
    pub fn tell(&self, what: Occurrence) {
        if self.queue.try_send(what).is_err() {
            let dropped = self.hub.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if self.hub.log_of_drops.is_due() {
                tracing::error!(dropped, "events are lost: more happens than can be told");
            }
        }
    }

    /// The time of what happens without the store.
    pub fn now(&self) -> Timestamp {
        (self.hub.clock)()
    }

    /// Watches the events of a namespace: those after one that is named as far as they are kept, or
    /// those from now on. `None` where too many watch already.
    pub async fn watch(
        &self,
        namespace: Namespace,
        after: Option<EventId>,
    ) -> Result<Option<Watch>, String> {
        Watch::begin(self.hub.clone(), namespace, after).await
    }

    /// Ends all watches, and lets none begin.
    pub fn end_watches(&self) {
        self.hub.news.send_replace(true);
    }

    /// Passes on what still waits, but for no longer than this. What is told later is dropped.
    pub async fn finish(&self, limit: Duration) {
        self.end_watches();
        let ending = lock(&self.ending).take();
        let Some(Ending { finish, mut pipeline }) = ending else { return };
        let _ = finish.send(());
        if tokio::time::timeout(limit, &mut pipeline).await.is_err() {
            pipeline.abort();
            tracing::error!("the last events could not be passed on in time");
        }
    }

    /// How many watch now.
    pub fn watchers(&self) -> usize {
        WATCHERS.saturating_sub(self.hub.watchers.available_permits())
    }

    /// How many events took which way so far.
    pub fn counts(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            told: read(&self.hub.told),
            dropped: read(&self.hub.dropped),
            not_shared: read(&self.hub.not_shared),
        }
    }
}

impl Hub {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        lock(&self.ring)
    }

    /// Fills the ring from the shared log, beginning with what comes next, for as long as what is returned
    /// lives: where nobody watches, the log is not read.
    async fn follow(self: &Arc<Self>, log: &Arc<dyn SharedLog>) -> Result<Arc<Following>, String> {
        let mut following = self.following.lock().await;
        if let Some(present) = following.upgrade() {
            return Ok(present);
        }
        let begin = log.ends().await?.map(|(_, newest)| newest).unwrap_or_default();
        *self.ring() = Ring::new(RING, begin);
        let task = tokio::spawn(pipeline::follow(self.clone(), log.clone()));
        let begun = Arc::new(Following(task.abort_handle()));
        *following = Arc::downgrade(&begun);
        Ok(begun)
    }

    /// Lets watchers see events.
    fn show(&self, events: impl IntoIterator<Item = Arc<Event>>) {
        {
            let mut ring = self.ring();
            events.into_iter().for_each(|event| ring.push(event));
        }
        self.news.send_if_modified(|_| true);
    }
}

/// Lets a line into the log now and then.
#[derive(Default)]
pub struct Seldom(Mutex<Option<Deadline>>);

impl Seldom {
    /// Whether it is time for another line.
    pub fn is_due(&self) -> bool {
        let mut next = lock(&self.0);
        let is_due = next.is_none_or(|next| next.remaining().is_zero());
        if is_due {
            *next = Some(Deadline::after(SELDOM));
        }
        is_due
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
