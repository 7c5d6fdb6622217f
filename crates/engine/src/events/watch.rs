//! One who watches events.

use super::ring::After;
use super::{Event, EventId, Following, Hub, SharedLog};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, watch as news};
use twinlock_core::Namespace;

/// How many events are read at a time.
const PAGE: usize = 256;

/// A watch over the events of a namespace. Dropping it ends it.
pub struct Watch {
    hub: Arc<Hub>,
    namespace: Namespace,
    news: news::Receiver<bool>,
    after: EventId,
    /// The log to read from until what the ring holds is reached.
    history: Option<Arc<dyn SharedLog>>,
    is_complete: bool,
    /// Held while this lives, where there is a shared log.
    _following: Option<Arc<Following>>,
    _place: OwnedSemaphorePermit,
}

/// Why a watch ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// It was read so slowly that events are no longer kept that it has not seen.
    #[error("This watch was too slow and has missed events. Watch again after the last event_id.")]
    TooSlow,
    /// The process is about to stop.
    #[error("The server is stopping. Watch again after the last event_id.")]
    Stopping,
    /// The shared log cannot be read; the cause is for the log.
    #[error("Events cannot be read at the moment. Watch again after the last event_id.")]
    Unavailable(String),
}

impl Watch {
    pub(super) async fn begin(
        hub: Arc<Hub>,
        namespace: Namespace,
        asked: Option<EventId>,
    ) -> Result<Option<Self>, String> {
        let Ok(place) = hub.watchers.clone().try_acquire_owned() else { return Ok(None) };
        let news = hub.news.subscribe();
        let _following = match &hub.shared {
            Some(log) => Some(hub.follow(log).await?),
            None => None,
        };
        let (floor, last) = {
            let ring = hub.ring();
            (ring.floor(), ring.last())
        };
        let (mut after, mut history, mut is_complete) = (asked.unwrap_or(last), None, true);
        match (&hub.shared, asked) {
            (Some(shared), Some(id)) if id < floor => {
                // What is kept of all after it is complete if something older is kept still.
                let oldest = shared.ends().await?.map(|(oldest, _)| oldest);
                is_complete = oldest.is_some_and(|oldest| oldest <= id);
                history = Some(shared.clone());
            }
            // An id of an earlier process, or from a clock that has gone back since: all that is kept.
            (None, Some(id)) if id < floor || id > last => (after, is_complete) = (floor, false),
            _ => {}
        }
        let _place = place;
        Ok(Some(Self { hub, namespace, news, after, history, is_complete, _following, _place }))
    }

    /// Whether everything after the event that was asked for is still kept.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Waits for the next events, at least one. It may be cancelled.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, Ended> {
        loop {
            if *self.news.borrow_and_update() {
                return Err(Ended::Stopping);
            }
            let after = self.hub.ring().after(self.after, PAGE);
            let events = match after {
                After::Events(events, last) => {
                    (self.after, self.history) = (last, None);
                    events
                }
                After::Nothing => {
                    self.history = None;
                    // The sender lives as long as the hub, and that as long as this.
                    let _ = self.news.changed().await;
                    continue;
                }
                After::Gone => match self.history.clone() {
                    Some(history) => self.recall(&*history).await?,
                    None => return Err(Ended::TooSlow),
                },
            };
            let is_seen = |event: &Arc<Event>| event.what.namespace == self.namespace;
            let seen: Vec<_> = events.into_iter().filter(is_seen).collect();
            if !seen.is_empty() {
                return Ok(seen);
            }
        }
    }

    async fn recall(&mut self, history: &dyn SharedLog) -> Result<Vec<Arc<Event>>, Ended> {
        let page = history.after(self.after, PAGE).await.map_err(Ended::Unavailable)?;
        // Where nothing is left of what came in between, the ring has the rest.
        self.after = page.last.unwrap_or_else(|| self.hub.ring().floor());
        Ok(page.events.into_iter().map(Arc::new).collect())
    }
}
