//! A disk that is full, slow, failing or forgetful: an error to the caller, and never a lost record.

use crate::disk::{Disk, Loss, Random, Trouble};
use crate::suite::{self, change, key, record, try_record, version, write};
use crate::{MARKER, new_store, open};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::{RecordKey, Store, StoreError, Swapped, Version};

fn cause<T: std::fmt::Debug>(result: Result<T, StoreError>) -> (String, bool) {
    match result {
        Err(StoreError::Unavailable { cause, may_have_happened }) => (cause, may_have_happened),
        other => panic!("{other:?}"),
    }
}

async fn try_write(
    store: &Arc<dyn Store>,
    key: &RecordKey,
    expected: Option<Version>,
    bytes: &[u8],
) -> Result<Swapped, StoreError> {
    store.swap(change(key, expected, Some(bytes), None), suite::soon()).await
}

/// Waits until the store has come back by itself, for writing and for reading.
async fn recovered(store: &Arc<dyn Store>) {
    for n in 0..1000 {
        if try_write(store, &key(&format!("recovery {n}")), None, b"x").await.is_ok() {
            return store.check(suite::soon()).await.expect("what can be written can be used");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the store did not come back: {:?}", store.check(suite::soon()).await);
}

/// Some records, with their versions.
async fn fill(store: &Arc<dyn Store>, count: usize) -> Vec<(RecordKey, Version)> {
    let mut made = Vec::new();
    for n in 0..count {
        let key = key(&format!("user {n}"));
        let (swapped, version) = write(store, &key, None, &[n as u8; 300]).await;
        assert_eq!(swapped, Swapped::Done);
        made.push((key, version));
    }
    made
}

async fn all_there(store: &Arc<dyn Store>, made: &[(RecordKey, Version)]) {
    for (key, made) in made {
        assert_eq!(version(store, key).await, Some(*made), "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_swaps_share_a_sync() {
    let (store, disk) = new_store();
    disk.make_syncs_take(Duration::from_millis(5));
    let before = disk.syncs();
    let mut swaps = JoinSet::new();
    for n in 0..256 {
        let store: Arc<dyn Store> = store.clone();
        swaps.spawn(async move { write(&store, &key(&format!("user {n}")), None, b"x").await.0 });
    }
    assert!(swaps.join_all().await.iter().all(|swapped| *swapped == Swapped::Done));
    let syncs = disk.syncs() - before;
    assert!((1..=32).contains(&syncs), "{syncs} syncs for 256 swaps");
}

#[tokio::test]
async fn a_swap_that_changes_nothing_costs_no_sync() {
    let (store, disk) = new_store();
    let store: Arc<dyn Store> = store;
    let (_, made) = write(&store, &key("alice"), None, b"x").await;
    let before = disk.syncs();
    assert_eq!(write(&store, &key("alice"), None, b"y").await.0, Swapped::Changed);
    assert_eq!(suite::remove(&store, &key("nobody"), None).await, Swapped::Done);
    assert_eq!(disk.syncs(), before);
    assert_eq!(write(&store, &key("alice"), Some(made), b"z").await.0, Swapped::Done);
    assert_eq!(disk.syncs(), before + 1, "a commit costs one sync");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_an_error_until_there_is_room_and_loses_nothing() {
    for trouble in [Trouble::CannotGrow, Trouble::Full] {
        let (store, disk) = new_store();
        let store: Arc<dyn Store> = store;
        let mut made = fill(&store, 50).await;

        disk.set_trouble(trouble);
        let mut refused = None;
        // Where the file only cannot grow, there may be room in it for some more.
        for n in 0..1000 {
            let key = key(&format!("late {n}"));
            let swap = change(&key, None, Some(&[1; 2000]), None);
            let version = swap.version;
            match store.swap(swap, suite::soon()).await {
                Ok(swapped) => {
                    assert_eq!(swapped, Swapped::Done);
                    made.push((key, version));
                }
                Err(error) => {
                    refused = Some((key, error));
                    break;
                }
            }
        }
        let (last, error) = refused.expect("the disk is full");
        let (text, may_have_happened) = cause::<()>(Err(error));
        assert!(text.contains("the disk is full"), "{text}");
        if trouble == Trouble::Full {
            let (text, _) = cause(store.load(&made[0].0, suite::soon()).await);
            assert!(text.contains("the disk is full"), "{text}");
            let (text, happened) = cause(try_write(&store, &key("bob"), None, b"x").await);
            assert!(text.contains("the disk is full") && !happened, "{text}");
            cause(store.check(suite::soon()).await);
        }

        disk.set_trouble(Trouble::None);
        recovered(&store).await;
        all_there(&store, &made).await;
        let there = version(&store, &last).await;
        assert!(there.is_none() || may_have_happened);
        assert_eq!(write(&store, &last, there, b"now").await.0, Swapped::Done);
        drop(store);
        let store: Arc<dyn Store> = open(&disk).expect("the store");
        all_there(&store, &made).await;
    }
}

#[tokio::test]
async fn a_sync_that_failed_and_forgot_loses_nothing_that_is_built_on_it() {
    let mut random = Random(7);
    for _ in 0..20 {
        let (store, disk) = new_store();
        let store: Arc<dyn Store> = store;
        let mut made = fill(&store, 20).await;

        disk.set_trouble(Trouble::ForgetfulSync);
        let (_, happened) = cause(try_write(&store, &key("unsure"), None, &[9; 2000]).await);
        assert!(happened, "a commit whose sync failed may be on the disk");
        recovered(&store).await;
        for n in 0..3 {
            let key = key(&format!("after {n}"));
            let (swapped, version) = write(&store, &key, None, b"acknowledged").await;
            assert_eq!(swapped, Swapped::Done);
            made.push((key, version));
        }
        disk.lose_power(Loss::All, &mut random);
        drop(store);
        let store: Arc<dyn Store> = open(&disk).expect("the store");
        all_there(&store, &made).await;
    }
}

#[tokio::test]
async fn a_disk_that_cannot_be_read_is_an_error_and_passes() {
    let (store, disk) = new_store();
    let store: Arc<dyn Store> = store;
    let made = fill(&store, 20).await;
    drop(store);
    let store: Arc<dyn Store> = open(&disk).expect("the store");
    // The first call that needs the disk closes the store; nothing is in any cache afterwards.
    disk.set_trouble(Trouble::Unreadable);
    let mut failed = false;
    for (key, version) in &made {
        match try_record(&store, key).await {
            Ok(found) => assert_eq!(found.map(|(found, _)| found), Some(*version)),
            Err(error) => {
                cause::<()>(Err(error));
                failed = true;
            }
        }
    }
    if !failed {
        cause(try_write(&store, &made[0].0, Some(made[0].1), b"x").await);
    }
    disk.set_trouble(Trouble::None);
    recovered(&store).await;
    all_there(&store, &made[1..]).await;
}

#[tokio::test]
async fn a_panic_below_the_store_hangs_nobody_and_passes() {
    let (store, disk) = new_store();
    let store: Arc<dyn Store> = store;
    let made = fill(&store, 20).await;
    disk.set_trouble(Trouble::Panicking);
    for n in 0..3 {
        cause(try_write(&store, &key(&format!("panicking {n}")), None, b"x").await);
    }
    disk.set_trouble(Trouble::None);
    recovered(&store).await;
    all_there(&store, &made).await;
    assert_eq!(write(&store, &key("bob"), None, b"x").await.0, Swapped::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_disk_ends_swaps_by_their_deadline_and_leaves_loads_alone() {
    let (store, disk) = new_store();
    let store: Arc<dyn Store> = store;
    let (_, made) = write(&store, &key("alice"), None, b"before").await;
    disk.set_trouble(Trouble::Stalled);

    let swap = change(&key("alice"), Some(made), Some(b"after"), None);
    let next = swap.version;
    let (_, happened) = cause(store.swap(swap, Deadline::after(Duration::from_millis(50))).await);
    assert!(happened, "it is on its way to the disk");
    let seen = record(&store, &key("alice")).await;
    assert_eq!(seen, Some((made, b"before".to_vec())), "only what is durable is seen");

    // With the queue full, a swap is not even taken.
    let mut waiting = JoinSet::new();
    for n in 0..5000 {
        let store = Arc::clone(&store);
        waiting.spawn(async move {
            let swap = change(&key(&format!("user {n}")), None, Some(b"x"), None);
            cause(store.swap(swap, Deadline::after(Duration::from_millis(500))).await).1
        });
    }
    let refused = waiting.join_all().await.iter().filter(|happened| !**happened).count();
    assert!((1..=1000).contains(&refused), "{refused} were refused");

    disk.set_trouble(Trouble::None);
    for _ in 0..1000 {
        if version(&store, &key("alice")).await == Some(next) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(version(&store, &key("alice")).await, Some(next), "in the end it was made");
    assert_eq!(write(&store, &key("bob"), None, b"x").await.0, Swapped::Done);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_break_nothing() {
    let (store, disk) = new_store();
    disk.make_syncs_take(Duration::from_millis(2));
    let mut swaps = Vec::new();
    for n in 0..200 {
        let store: Arc<dyn Store> = store.clone();
        swaps.push(tokio::spawn(async move {
            write(&store, &key(&format!("user {n}")), None, b"x").await
        }));
    }
    tokio::time::sleep(Duration::from_millis(3)).await;
    let (kept, dropped): (Vec<_>, Vec<_>) =
        swaps.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    dropped.iter().for_each(|(_, swap)| swap.abort());
    let store: Arc<dyn Store> = store;
    for (n, swap) in kept {
        let (swapped, made) = swap.await.expect("a swap that nobody aborted");
        assert_eq!(swapped, Swapped::Done);
        assert_eq!(version(&store, &key(&format!("user {n}"))).await, Some(made));
    }
}

#[tokio::test]
async fn another_store_in_the_place_of_this_one_is_not_taken_for_it() {
    let (store, disk) = new_store();
    let store: Arc<dyn Store> = store;
    write(&store, &key("alice"), None, b"x").await;
    let other = Disk::default();
    let handles = other.clone();
    let another = twinlock_engine::store::embedded::Embedded::initialize_on(
        move || handles.handle(),
        b"another marker",
        twinlock_engine::clock::system(),
    );
    drop(another.expect("another store"));
    assert_ne!(MARKER, b"another marker");

    disk.replace(other.content(), Trouble::Full);
    cause(try_write(&store, &key("bob"), None, b"x").await);
    disk.set_trouble(Trouble::None);
    for _ in 0..1000 {
        if let Err(StoreError::Incomplete(text)) = store.check(suite::soon()).await {
            assert!(text.contains("another store"), "{text}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", store.check(suite::soon()).await);
}
