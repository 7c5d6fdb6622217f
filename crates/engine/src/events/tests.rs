use super::*;
use std::sync::atomic::AtomicBool;

fn occurrence(namespace: &str, user: &str, at: u64) -> Occurrence {
    Occurrence {
        at: Timestamp::from_millis(at),
        kind: EventKind::Verified,
        namespace: Namespace::parse(namespace).expect("a namespace"),
        user: UserId::parse(user).expect("a user"),
        actor: None,
        caller: "test".into(),
        method: Some(Method::Totp),
        reason: None,
        client: ClientContext::default(),
    }
}

fn clock() -> Clock {
    Arc::new(|| Timestamp::from_millis(1000))
}

fn id(text: &str) -> EventId {
    EventId::parse(text).expect("an id")
}

async fn users(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut users = Vec::new();
    while users.len() < count {
        let events = watch.next().await.expect("events");
        users.extend(events.iter().map(|event| event.what.user.as_str().to_owned()));
    }
    users
}

async fn watch(events: &Events, after: Option<&str>) -> Watch {
    let after = after.map(id);
    events.watch(Namespace::default(), after).await.expect("a ring").expect("a place")
}

#[test]
fn ids_are_read_as_they_are_written_and_in_no_other_way() {
    for text in ["0-0", "1790000000000-0", "18446744073709551615-18446744073709551615"] {
        assert_eq!(id(text).to_string(), text);
    }
    for text in ["", "1", "-", "1-", "-1", "01-0", "1-00", "+1-0", "1--1", " 1-0", "1-0-0", "1-x"] {
        let malformed = EventId::parse(text).expect_err(text);
        assert_eq!(malformed.field, "after_event_id", "{text:?}");
    }
    assert!(EventId::parse("18446744073709551616-0").is_err());
}

#[test]
fn ids_rise_even_where_the_clock_does_not() {
    let at = Timestamp::from_millis;
    assert_eq!(id("5-3").next(at(6)), id("6-0"));
    assert_eq!(id("5-3").next(at(5)), id("5-4"));
    assert_eq!(id("5-3").next(at(1)), id("5-4"));
}

#[tokio::test]
async fn a_watcher_sees_its_namespace_in_order_and_nothing_else() {
    let events = Events::start(clock(), None, Vec::new());
    let mut watch = watch(&events, None).await;
    for n in 0..600 {
        events.tell(occurrence("default", &n.to_string(), 2000));
        events.tell(occurrence("other", "hidden", 2000));
    }
    let expected: Vec<_> = (0..600).map(|n| n.to_string()).collect();
    assert_eq!(users(&mut watch, 600).await, expected);
}

#[tokio::test]
async fn who_comes_back_misses_nothing_that_is_kept_and_learns_of_what_is_not() {
    let events = Events::start(clock(), None, Vec::new());
    let mut first = watch(&events, None).await;
    for n in 0..5 {
        events.tell(occurrence("default", &n.to_string(), 2000 + n));
    }
    users(&mut first, 5).await;
    drop(first);

    let mut again = watch(&events, Some("2002-0")).await;
    assert!(again.is_complete());
    assert_eq!(users(&mut again, 2).await, ["3", "4"]);
    for unknown in ["999-0", "9000-0"] {
        let mut again = watch(&events, Some(unknown)).await;
        assert!(!again.is_complete());
        assert_eq!(users(&mut again, 5).await, ["0", "1", "2", "3", "4"]);
    }
}

#[tokio::test]
async fn who_falls_behind_the_ring_is_told_so() {
    let events = Events::start(clock(), None, Vec::new());
    let mut slow = watch(&events, None).await;
    let mut quick = watch(&events, None).await;
    for batch in 0..RING as u64 / 100 + 1 {
        for n in 0..100 {
            events.tell(occurrence("default", "alice", 2000 + batch * 100 + n));
        }
        assert_eq!(users(&mut quick, 100).await.len(), 100);
    }
    assert_eq!(slow.next().await, Err(Ended::TooSlow));
}

#[tokio::test]
async fn watches_end_when_the_process_does_and_are_bounded() {
    let events = Events::start(clock(), None, Vec::new());
    let mut watches = Vec::new();
    for _ in 0..WATCHERS {
        watches.push(watch(&events, None).await);
    }
    assert!(events.watch(Namespace::default(), None).await.expect("a ring").is_none());
    watches.pop();
    let mut last = watch(&events, None).await;
    let (ended, ()) = tokio::join!(last.next(), async { events.end_watches() });
    assert_eq!(ended, Err(Ended::Stopping));
}

/// Blocks the pipeline's thread until it is let go, as no sink should.
struct Stuck(Arc<AtomicBool>, Arc<AtomicU64>);

impl Sink for Stuck {
    fn take(&mut self, _: &Arc<Event>) {
        while !self.0.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_dropped_and_counted_and_nobody_waits() {
    let (go, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let stuck = Box::new(Stuck(go.clone(), taken.clone()));
    let events = Events::start(clock(), None, vec![stuck]);
    let all = QUEUE as u64 * 2;
    for n in 0..all {
        events.tell(occurrence("default", "alice", n));
    }
    assert!(events.counts().dropped >= QUEUE as u64 - 256);
    go.store(true, Ordering::Relaxed);
    events.finish(Duration::from_secs(10)).await;
    let counts = events.counts();
    assert_eq!(counts.told + counts.dropped, all);
    assert_eq!(taken.load(Ordering::Relaxed), counts.told, "none is lost on the way");
    events.tell(occurrence("default", "alice", 1));
    assert_eq!(events.counts().dropped, counts.dropped + 1);
}

/// A log that one test can break, and that another process writes to.
#[derive(Default)]
struct Fake {
    entries: Mutex<Vec<Event>>,
    is_broken: AtomicBool,
}

#[async_trait]
impl SharedLog for Fake {
    async fn append(&self, what: &[Occurrence]) -> Vec<Option<EventId>> {
        if self.is_broken.load(Ordering::Relaxed) {
            return vec![None; what.len()];
        }
        let mut entries = lock(&self.entries);
        let ids = what.iter().map(|what| {
            let last = entries.last().map_or(EventId::default(), |event| event.id);
            let id = last.next(what.at);
            entries.push(Event { id, what: what.clone() });
            Some(id)
        });
        ids.collect()
    }

    async fn after(&self, id: EventId, limit: usize) -> Result<Page, String> {
        let entries = lock(&self.entries);
        let events: Vec<_> =
            entries.iter().filter(|event| event.id > id).take(limit).cloned().collect();
        Ok(Page { last: events.last().map(|event| event.id), events })
    }

    async fn follow(&self, id: EventId) -> Result<Page, String> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.after(id, 10).await
    }

    async fn ends(&self) -> Result<Option<(EventId, EventId)>, String> {
        let entries = lock(&self.entries);
        Ok(entries.first().zip(entries.last()).map(|(first, last)| (first.id, last.id)))
    }
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<EventId>>>);

impl Sink for Heard {
    fn take(&mut self, event: &Arc<Event>) {
        lock(&self.0).push(event.id);
    }
}

#[tokio::test]
async fn a_shared_log_shows_what_every_process_told_and_what_was_before_this_one() {
    let log = Arc::new(Fake::default());
    for n in 0..700 {
        log.append(&[occurrence("default", &format!("before-{n}"), 10 + n)]).await;
    }
    let events = Events::start(clock(), Some(log.clone()), Vec::new());
    let mut late = watch(&events, Some("10-0")).await;
    assert!(late.is_complete());
    let mut now = watch(&events, None).await;
    log.append(&[occurrence("default", "of another process", 2000)]).await;
    events.tell(occurrence("default", "of this one", 2001));
    let both = ["of another process", "of this one"];
    assert_eq!(users(&mut now, 2).await, both);
    let all = users(&mut late, 701).await;
    assert_eq!((all.len(), all[0].as_str()), (701, "before-1"));
    assert_eq!(all[699..], both);
    assert!(!watch(&events, Some("9-0")).await.is_complete());
}

#[tokio::test]
async fn what_the_shared_log_does_not_take_is_still_told_to_the_audit_trail() {
    let (log, heard) = (Arc::new(Fake::default()), Heard::default());
    log.is_broken.store(true, Ordering::Relaxed);
    let events = Events::start(clock(), Some(log.clone()), vec![Box::new(heard.clone())]);
    events.tell(occurrence("default", "alice", 2000));
    events.tell(occurrence("default", "alice", 2000));
    events.finish(Duration::from_secs(10)).await;
    let ids = lock(&heard.0).clone();
    assert_eq!((ids.len(), events.counts().not_shared), (2, 2));
    assert_ne!(ids[0], ids[1]);
}
