//! The embedded store: what every store does, and what only a file can go through.

mod suite;

#[path = "embedded/damage.rs"]
mod damage;
#[path = "embedded/disk.rs"]
mod disk;
#[path = "embedded/faults.rs"]
mod faults;
#[path = "embedded/files.rs"]
mod files;
#[path = "embedded/power_loss.rs"]
mod power_loss;
#[path = "embedded/reopening.rs"]
mod reopening;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use suite::{key, named, record, version, write, write_until};
use tempfile::TempDir;
use twinlock_core::Timestamp;
use twinlock_engine::clock::{self, Clock};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{RecordKey, Store, Swapped, Version};

const MARKER: &[u8] = b"the marker of a test";

async fn in_a_directory() -> (Arc<dyn Store>, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Embedded::initialize(directory.path(), MARKER, clock::system()).expect("a store");
    (Arc::new(store), directory)
}

async fn on_a_disk() -> (Arc<dyn Store>, disk::Disk) {
    let (store, disk) = new_store();
    (store, disk)
}

mod file {
    crate::store_suite!(super::in_a_directory);
}

mod backend {
    crate::store_suite!(super::on_a_disk);
}

/// A new store on a new disk in memory.
fn new_store() -> (Arc<Embedded>, disk::Disk) {
    let disk = disk::Disk::default();
    let handles = disk.clone();
    let store = Embedded::initialize_on(move || handles.handle(), MARKER, clock::system());
    (Arc::new(store.expect("a store")), disk)
}

fn open(disk: &disk::Disk) -> Result<Arc<Embedded>, twinlock_engine::store::StoreError> {
    let handles = disk.clone();
    Embedded::open_on(move || handles.handle(), clock::system()).map(Arc::new)
}

/// A clock that a test can turn.
fn turnable(start: Timestamp) -> (Clock, Arc<AtomicU64>) {
    let time = Arc::new(AtomicU64::new(start.as_millis()));
    let shown = Arc::clone(&time);
    (Arc::new(move || Timestamp::from_millis(shown.load(Ordering::SeqCst))), time)
}

async fn total(store: &Arc<dyn Store>) -> u64 {
    store.walk(suite::soon()).await.expect("a walk").total().expect("a count")
}

#[tokio::test]
async fn expires_by_the_clock_that_it_was_given() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = Timestamp::from_secs(1_000);
    let (clock, time) = turnable(start);
    let store: Arc<dyn Store> =
        Arc::new(Embedded::initialize(directory.path(), MARKER, clock).expect("a store"));
    let key = key("alice");
    let end = start.after(Duration::from_secs(60));
    let (_, made) = write_until(&store, &key, None, b"for a minute", Some(end)).await;

    time.store(end.as_millis() - 1, Ordering::SeqCst);
    let loaded = store.load(&key, suite::soon()).await.expect("a load");
    assert_eq!(loaded.now, Timestamp::from_millis(end.as_millis() - 1));
    assert_eq!(loaded.record.map(|(version, _)| version), Some(made));

    time.store(end.as_millis(), Ordering::SeqCst);
    assert_eq!(record(&store, &key).await, None);
}

#[tokio::test]
async fn sweeps_away_what_has_lapsed_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = Timestamp::from_secs(1_000);
    let (clock, time) = turnable(start);
    let store: Arc<dyn Store> =
        Arc::new(Embedded::initialize(directory.path(), MARKER, clock).expect("a store"));
    let minute = start.after(Duration::from_secs(60));
    let hour = start.after(Duration::from_secs(3600));
    for n in 0..100 {
        let user = |kind: &str| key(&format!("{kind} {n}"));
        write_until(&store, &user("a minute"), None, b"m", Some(minute)).await;
        write_until(&store, &user("an hour"), None, b"h", Some(hour)).await;
        write(&store, &user("for ever"), None, b"e").await;
        // Its first end must not be held against it.
        let (_, made) = write_until(&store, &user("longer"), None, b"l", Some(minute)).await;
        write_until(&store, &user("longer"), Some(made), b"l", Some(hour)).await;
    }
    assert_eq!(total(&store).await, 400);

    time.store(minute.as_millis(), Ordering::SeqCst);
    let mut current = version(&store, &key("for ever 0")).await;
    for _ in 0..3 {
        current = Some(write(&store, &key("for ever 0"), current, b"e").await.1);
    }
    assert_eq!(total(&store).await, 300);
    for n in 0..100 {
        for (kind, there) in
            [("a minute", false), ("an hour", true), ("for ever", true), ("longer", true)]
        {
            let user = key(&format!("{kind} {n}"));
            assert_eq!(version(&store, &user).await.is_some(), there, "{user:?}");
        }
    }
}

#[tokio::test]
async fn a_walk_meets_all_records_of_one_moment() {
    let (store, _disk) = new_store();
    let store: Arc<dyn Store> = store;
    let mut made = Vec::new();
    for n in 0..600_u32 {
        let key = named(if n % 2 == 0 { "even" } else { "odd" }, &format!("user {n}"));
        let (_, version) = write(&store, &key, None, &n.to_be_bytes()).await;
        made.push((key, version));
    }
    let mut walk = store.walk(suite::soon()).await.expect("a walk");
    for (key, version) in &made {
        assert_eq!(write(&store, key, Some(*version), b"later").await.0, Swapped::Done);
    }
    write(&store, &key("too late"), None, b"later").await;

    assert_eq!(walk.total(), Some(600));
    let mut found = Vec::new();
    while let Some(page) = walk.next(suite::soon()).await.expect("a page") {
        found.extend(page.into_iter().map(|record| (record.key, record.version)));
    }
    let by_user = |(key, _): &(RecordKey, Version)| key.user.as_str().to_owned();
    made.sort_by_key(by_user);
    found.sort_by_key(by_user);
    assert_eq!(found, made);
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let store: Arc<dyn Store> =
        Arc::new(Embedded::initialize(directory.path(), MARKER, clock::system()).expect("a store"));
    let (_, made) = write(&store, &key("alice"), None, b"kept").await;
    drop(store);
    let store = Embedded::open(directory.path(), clock::system()).expect("the same store");
    assert_eq!(store.marker(), MARKER);
    let store: Arc<dyn Store> = Arc::new(store);
    assert_eq!(record(&store, &key("alice")).await, Some((made, b"kept".to_vec())));
}
