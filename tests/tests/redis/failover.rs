//! Sentinels that make another server the primary.

use super::{Program, Sentinels, ample, blocking, initialize, options, suite, user};
use std::sync::Arc;
use std::time::Duration;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::redis::Options;
use twinlock_engine::store::{Durability, Store, Swap, Swapped};

async fn store_under(sentinels: &Sentinels) -> Arc<dyn Store> {
    let options = Options { acknowledging_replicas: 1, ..options(sentinels.layout()) };
    initialize(options).await
}

fn lasting(swap: Swap) -> Swap {
    Swap { durability: Durability::Enrollment, ..swap }
}

/// Loads until it succeeds, and says what is there.
async fn found(store: &Arc<dyn Store>, n: usize) -> Option<Vec<u8>> {
    for _ in 0..60 {
        if let Ok(loaded) = store.load(&user(n), Deadline::after(Duration::from_secs(1))).await {
            return loaded.record.map(|(_, bytes)| bytes);
        }
    }
    panic!("the store does not come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_was_asked_for_is_followed() {
    let sentinels = Arc::new(blocking(|| Sentinels::start(Program::Redis)).await);
    let store = store_under(&sentinels).await;
    for n in 0..10 {
        let change = lasting(suite::change(&user(n), None, Some(b"before"), None));
        assert_eq!(store.swap(change, ample()).await.expect("confirmed"), Swapped::Done);
    }
    let moving = sentinels.clone();
    blocking(move || moving.fail_over()).await;
    // As readiness does it every second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let _ = store.check(ample()).await;
    for n in 0..10 {
        assert_eq!(found(&store, n).await.as_deref(), Some(&b"before"[..]));
    }
    let (version, _) = suite::record(&store, &user(1)).await.expect("a record");
    assert_eq!(suite::write(&store, &user(1), Some(version), b"after").await.0, Swapped::Done);
    let primary = &sentinels.servers[sentinels.primary()];
    let bytes: String =
        redis::from_redis_value(primary.command("INFO commandstats")).expect("text");
    assert!(bytes.contains("cmdstat_evalsha"), "the new primary is the one that is asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_is_replaced() {
    let mut sentinels = blocking(|| Sentinels::start(Program::Valkey)).await;
    let store = store_under(&sentinels).await;
    let change = lasting(suite::change(&user(1), None, Some(b"confirmed"), None));
    assert_eq!(store.swap(change, ample()).await.expect("confirmed"), Swapped::Done);
    let before = sentinels.primary();
    sentinels.servers[before].kill();
    let sentinels = blocking(move || {
        sentinels.wait_for_another(before);
        sentinels
    })
    .await;
    assert_eq!(found(&store, 1).await.as_deref(), Some(&b"confirmed"[..]));
    store.check(ample()).await.expect("every bucket has its marker");
    drop(sentinels);
}

/// The old primary still answers whoever asks it, but nobody asks it for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_replaced_behind_our_back_is_left() {
    let sentinels = blocking(|| Sentinels::start(Program::Redis)).await;
    let store = store_under(&sentinels).await;
    suite::write(&store, &user(1), None, b"x").await;
    let old = sentinels.primary();
    // Frozen, it notices nothing of the failover.
    sentinels.servers[old].signal("STOP");
    let sentinels = blocking(move || {
        sentinels.wait_for_another(old);
        sentinels
    })
    .await;
    sentinels.servers[old].signal("CONT");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let _ = store.check(ample()).await;
    let (version, _) = suite::record(&store, &user(1)).await.expect("a record");
    suite::write(&store, &user(1), Some(version), b"at the new one").await;
    let new = &sentinels.servers[1 - old];
    let keys: Vec<String> = redis::from_redis_value(new.command("KEYS *user-1")).expect("keys");
    let value: Vec<u8> =
        redis::from_redis_value(new.run_command(&["GET", &keys[0]])).expect("bytes");
    assert_eq!(&value[16..], b"at the new one");
}
