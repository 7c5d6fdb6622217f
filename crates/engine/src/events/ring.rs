//! The latest events of a process, in order.

use super::{Event, EventId};
use std::collections::VecDeque;
use std::sync::Arc;

/// The latest events. All that came after [`Ring::floor`] are in it.
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    capacity: usize,
    floor: EventId,
    last: EventId,
}

/// What comes after an event.
pub(super) enum After {
    /// These; and where to go on.
    Events(Vec<Arc<Event>>, EventId),
    /// Nothing yet.
    Nothing,
    /// The ring does not reach back so far.
    Gone,
}

impl Ring {
    /// An empty ring, which knows what comes after `begin`.
    pub(super) fn new(capacity: usize, begin: EventId) -> Self {
        Self { events: VecDeque::new(), capacity, floor: begin, last: begin }
    }

    /// The id of the latest event, or where the ring began.
    pub(super) fn last(&self) -> EventId {
        self.last
    }

    /// The id after which all events are here.
    pub(super) fn floor(&self) -> EventId {
        self.floor
    }

    /// Takes an event; one that is not later than the latest is there already.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        if event.id <= self.last {
            return;
        }
        self.last = event.id;
        self.events.push_back(event);
        if self.events.len() > self.capacity
            && let Some(oldest) = self.events.pop_front()
        {
            self.floor = oldest.id;
        }
    }

    /// Moves on without an event, past entries that this release does not know.
    pub(super) fn advance(&mut self, id: EventId) {
        self.last = self.last.max(id);
    }

    /// At most `limit` events after one.
    pub(super) fn after(&self, id: EventId, limit: usize) -> After {
        if id < self.floor {
            return After::Gone;
        }
        let begin = self.events.partition_point(|event| event.id <= id);
        let events: Vec<_> = self.events.range(begin..).take(limit).cloned().collect();
        match events.last().map(|event| event.id) {
            Some(last) => After::Events(events, last),
            None => After::Nothing,
        }
    }
}
