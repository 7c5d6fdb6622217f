//! Changes that replicas must confirm, and what becomes of those that they did not.

use super::{
    Program, Replicated, ample, blocking, call, initialize, layout_of, options, suite, timed, user,
};
use std::sync::Arc;
use std::time::Duration;
use twinlock_core::{Reason, UserId};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::redis::Options;
use twinlock_engine::store::{Durability, Store, StoreError, Swap, Swapped};

async fn store_of(servers: &Replicated, replicas: u32) -> Arc<dyn Store> {
    let layout = layout_of(&servers.primary);
    initialize(Options { acknowledging_replicas: replicas, ..options(layout) }).await
}

fn lasting(swap: Swap) -> Swap {
    Swap { durability: Durability::Enrollment, ..swap }
}

async fn confirmed_or_not(program: Program) {
    let servers = blocking(move || Replicated::start(program, &[])).await;
    let store = store_of(&servers, 1).await;
    assert!(store.waits_for(Durability::Enrollment) && !store.waits_for(Durability::Attempt));
    let change = lasting(suite::change(&user(1), None, Some(b"one"), None));
    let made = change.version;
    let (swapped, took) = timed(store.swap(change, ample())).await;
    assert_eq!(swapped.expect("confirmed"), Swapped::Done);
    assert!(took < Duration::from_secs(3), "{took:?}");

    servers.replica.signal("STOP");
    let deadline = Deadline::after(Duration::from_secs(1));
    let change = lasting(suite::change(&user(1), Some(made), Some(b"two"), None));
    let next = change.version;
    let (swapped, took) = timed(store.swap(change, deadline)).await;
    let Err(StoreError::Unavailable { cause, may_have_happened: true }) = swapped else {
        panic!("{program:?}: {swapped:?}");
    };
    assert!(cause.contains("0 of 1 replicas"), "{program:?}: {cause}");
    assert!(took <= Duration::from_millis(1050), "{program:?}: {took:?}");
    assert_eq!(suite::version(&store, &user(1)).await, Some(next), "it was written all the same");
    // What need not wait does not, on a connection of its own.
    let (swapped, _) = suite::write(&store, &user(2), None, b"attempt").await;
    assert_eq!(swapped, Swapped::Done);

    servers.replica.signal("CONT");
    let change = lasting(suite::change(&user(1), Some(next), Some(b"three"), None));
    assert_eq!(store.swap(change, ample()).await.expect("confirmed"), Swapped::Done);
    let old = lasting(suite::change(&user(1), Some(next), Some(b"late"), None));
    assert_eq!(store.swap(old, ample()).await.expect("a swap"), Swapped::Changed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_counts_when_a_replica_has_it() {
    confirmed_or_not(Program::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_counts_when_a_replica_has_it_on_its_disk() {
    confirmed_or_not(Program::Valkey).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_replicas_are_warned_about() {
    let servers = blocking(|| Replicated::start(Program::Redis, &[])).await;
    drop(store_of(&servers, 0).await);
    let layout = layout_of(&servers.primary);
    let store = super::open(Options { acknowledging_replicas: 2, ..options(layout) }).await;
    let warnings = store.warnings();
    assert!(
        warnings.iter().any(|it| it.contains("1 replicas follow it, and 2 must")),
        "{warnings:?}"
    );
}

/// The recovery key is withheld until it is safe, and then the same request brings it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_brings_the_key_once_it_is_confirmed_and_not_before() {
    let servers = blocking(|| Replicated::start(Program::Redis, &[])).await;
    let store = store_of(&servers, 1).await;
    let (engine, _) = super::engine_over(store.clone());
    let alice = || UserId::parse("alice").expect("a user");
    let (session, code) = super::begun(&engine, &alice()).await;

    servers.replica.signal("STOP");
    let confirm = || async {
        engine.confirm_enrollment(&call("confirm---------", 800), alice(), &session, &code).await
    };
    for _ in 0..2 {
        let refused = confirm().await.expect_err("not confirmed");
        assert_eq!(refused.reason(), Some(Reason::StoreUnavailable), "{refused}");
    }
    servers.replica.signal("CONT");
    servers.primary.wait_for("connected_slaves", "1");
    let first = confirm().await.expect("confirmed");
    let again = confirm().await.expect("confirmed");
    assert_eq!(first.issued.key.expose(), again.issued.key.expose());

    // What the replica now has is the whole truth: the enrollment and its key.
    let key = redis::from_redis_value::<Vec<String>>(servers.primary.command("KEYS *:alice"));
    let key = &key.expect("keys")[0];
    let on = |server: &twinlock_tests::redis::Server| server.run_command(&["GET", key]);
    assert_eq!(on(&servers.replica), on(&servers.primary));
    // A repeat of a confirmed request is written once more, and changes nothing.
    let description =
        engine.describe_user(&call("describe--------", 800), alice()).await.expect("known");
    assert!(description.enrolled_at.is_some());
}
