//! The tasks that pass events on.

use super::{Event, EventId, Hub, Occurrence, SharedLog, Sink};
use crate::entropy;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How many events are passed on at a time.
const BATCH: usize = 256;
/// How long events are gathered after some were appended to a shared log: each time costs a trip, and many at once
/// share entries of the log. The first one after a while goes at once.
const GATHERED_FOR: Duration = Duration::from_millis(2);
/// How long to leave a shared log alone that cannot be read.
const PAUSE: Duration = Duration::from_millis(500);

/// Numbers what happens and passes it on until it is told to finish, and then what still waits.
pub(super) async fn run(
    hub: Arc<Hub>,
    mut waiting: mpsc::Receiver<Occurrence>,
    mut finish: oneshot::Receiver<()>,
    mut sinks: Vec<Box<dyn Sink>>,
) {
    // Of a shared log, its follower shows the events to watchers.
    let shows = hub.shared.is_none();
    let mut batch = Vec::with_capacity(BATCH);
    let mut is_finishing = false;
    loop {
        let taken = tokio::select! {
            biased;
            taken = waiting.recv_many(&mut batch, BATCH) => taken,
            _ = &mut finish, if !is_finishing => {
                waiting.close();
                is_finishing = true;
                continue;
            }
        };
        if taken == 0 {
            return;
        }
        let ids = match &hub.shared {
            Some(shared) => append(&hub, shared, &batch).await,
            None => number(&hub, &batch),
        };
        hub.told.fetch_add(taken as u64, Ordering::Relaxed);
        let mut shown = Vec::new();
        for (what, id) in batch.drain(..).zip(ids) {
            log(&what, Some(id));
            if shows || !sinks.is_empty() {
                let event = Arc::new(Event { id, what });
                sinks.iter_mut().for_each(|sink| sink.take(&event));
                shown.extend(shows.then_some(event));
            }
        }
        if shows {
            hub.show(shown);
        } else if taken < BATCH && !is_finishing {
            tokio::time::sleep(GATHERED_FOR).await;
        }
    }
}

/// Shows this process's watchers what all processes told.
pub(super) async fn follow(hub: Arc<Hub>, shared: Arc<dyn SharedLog>) {
    loop {
        let last = hub.ring().last();
        match shared.follow(last).await {
            Ok(page) => {
                hub.show(page.events.into_iter().map(Arc::new));
                if let Some(last) = page.last {
                    hub.ring().advance(last);
                }
            }
            Err(cause) => {
                if hub.log_of_following.is_due() {
                    tracing::warn!("the shared log of events cannot be read: {cause}");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The ids of events where no log is shared.
fn number(hub: &Hub, batch: &[Occurrence]) -> Vec<EventId> {
    let last = hub.ring().last();
    let ids = batch.iter().scan(last, |id, what| {
        *id = id.next(what.at);
        Some(*id)
    });
    ids.collect()
}

/// Appends events to the shared log, which gives them their ids.
async fn append(hub: &Hub, shared: &Arc<dyn SharedLog>, batch: &[Occurrence]) -> Vec<EventId> {
    let ids = shared.append(batch).await;
    let lost = batch.len() - ids.iter().flatten().count();
    if lost > 0 {
        hub.not_shared.fetch_add(lost as u64, Ordering::Relaxed);
        if hub.log_of_sharing.is_due() {
            tracing::error!(lost, "watchers miss events: the shared log did not take them");
        }
    }
    let ids = ids.into_iter().chain(std::iter::repeat(None));
    ids.zip(batch).map(|(id, what)| id.unwrap_or_else(|| alone(what))).collect()
}

/// The id of an event that no shared log has. The upper half of the numbers is never one of a log.
fn alone(what: &Occurrence) -> EventId {
    let chance = u64::from_be_bytes(entropy::bytes());
    EventId { millis: what.at.as_millis(), sequence: chance | 1 << 63 }
}

/// Tells the log.
pub(crate) fn log(what: &Occurrence, id: Option<EventId>) {
    tracing::debug!(
        target: "twinlock::audit",
        event_id = id.map(tracing::field::display),
        event = what.kind.as_str(),
        namespace = %what.namespace,
        user = %what.user,
        actor = what.actor.as_ref().map(tracing::field::display),
        caller = &*what.caller,
        method = what.method.map(tracing::field::debug),
        reason = what.reason.as_deref(),
        ip_address = what.client.ip_address,
        user_agent = what.client.user_agent,
    );
}
