//! What is believed of a store that was flushed, swapped or half restored: nothing.

use super::{
    Cluster, Program, Server, ample, as_user, count, initialize, layout_of, open, options,
    start_with_user, suite, user,
};
use std::sync::Arc;
use twinlock_engine::store::redis::{Options, Redis};
use twinlock_engine::store::{Store, StoreError, Swapped, Version};
use twinlock_tests::redis::{MARKER, try_initialize};

fn incomplete<T>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Incomplete(why)) => why,
        other => panic!("it is not incomplete: {:?}", other.err()),
    }
}

async fn records(store: &Arc<dyn Store>, count: usize) {
    for n in 0..count {
        assert_eq!(suite::write(store, &user(n), None, b"here").await.0, Swapped::Done);
    }
}

#[tokio::test]
async fn a_dataset_is_made_once() {
    let server = Server::start(Program::Redis, &[]);
    let how = || options(layout_of(&server));
    incomplete(Redis::open(how(), ample()).await);
    assert_eq!(count(server.command("DBSIZE")), 0, "opening makes nothing");
    initialize(how()).await;
    assert_eq!(count(server.command("DBSIZE")), 1024);
    let again = incomplete(try_initialize(how(), b"another").await);
    assert!(again.contains("1024 of the 1024"), "{again}");
    assert_eq!(open(how()).await.marker(), MARKER);

    server.command("FLUSHALL");
    server.command("SET twinlock:{1ef}:7:default:alice left-over");
    incomplete(try_initialize(how(), MARKER).await);
    assert_eq!(count(server.command("DBSIZE")), 1, "what was refused has written nothing");
    server.command("FLUSHALL");
    server.command("SET other:key of-another-program");
    initialize(how()).await;
}

#[tokio::test]
async fn a_flush_is_noticed_from_the_first_call() {
    let mut server = Server::start(Program::Redis, &[]);
    let store: Arc<dyn Store> = initialize(options(layout_of(&server))).await;
    records(&store, 5).await;
    server.command("FLUSHALL");
    for n in 0..10 {
        incomplete(store.load(&user(n), ample()).await);
        incomplete(store.swap(suite::change(&user(n), None, Some(b"new"), None), ample()).await);
        let old = suite::change(&user(n), Some(Version::fresh()), Some(b"new"), None);
        assert_eq!(store.swap(old, ample()).await.expect("a swap"), Swapped::Changed);
    }
    incomplete(store.check(ample()).await);
    assert_eq!(count(server.command("DBSIZE")), 0, "nothing was written to an empty store");

    server.restart();
    incomplete(store.load(&user(1), ample()).await);
    incomplete(store.check(ample()).await);
    incomplete(Redis::open(options(layout_of(&server)), ample()).await);
}

#[tokio::test]
async fn a_server_that_lost_its_data_while_it_was_down_is_noticed() {
    let mut server = Server::start_bare(Program::Redis, &["--save", ""]);
    let store: Arc<dyn Store> = initialize(options(layout_of(&server))).await;
    records(&store, 5).await;
    assert!(store.warnings().iter().any(|it| it.contains("PERSISTENCE IS OFF")));
    server.restart();
    for n in 0..10 {
        incomplete(store.load(&user(n), ample()).await);
    }
    incomplete(store.check(ample()).await);
}

#[tokio::test]
async fn a_flushed_store_is_healed_by_restoring_it() {
    let mut server = Server::start_bare(Program::Redis, &["--save", ""]);
    let store: Arc<dyn Store> = initialize(options(layout_of(&server))).await;
    records(&store, 5).await;
    server.command("SAVE");
    server.command("FLUSHALL");
    incomplete(store.load(&user(1), ample()).await);
    incomplete(store.check(ample()).await);
    // Without save points a flush leaves the snapshot as it is, and a restart reads it.
    server.restart();
    store.check(ample()).await.expect("it is whole again");
    for n in 0..5 {
        assert!(suite::record(&store, &user(n)).await.is_some());
    }
    assert!(suite::record(&store, &user(6)).await.is_none(), "and an absence is believed again");
}

#[tokio::test]
async fn another_dataset_is_not_believed() {
    let server = Server::start(Program::Redis, &[]);
    let store: Arc<dyn Store> = initialize(options(layout_of(&server))).await;
    records(&store, 1).await;
    server.command("FLUSHALL");
    let other = try_initialize(options(layout_of(&server)), b"another marker").await;
    other.expect("another dataset");
    incomplete(store.load(&user(0), ample()).await);
    incomplete(store.swap(suite::change(&user(0), None, Some(b"new"), None), ample()).await);
    let why = incomplete(store.check(ample()).await);
    assert!(why.contains("another dataset"), "{why}");
}

#[tokio::test]
async fn a_dataset_in_part_is_not_opened() {
    let server = Server::start(Program::Redis, &[]);
    initialize(options(layout_of(&server))).await;
    server.command("DEL twinlock:{007}:marker twinlock:{3ff}:marker");
    let why = incomplete(Redis::open(options(layout_of(&server)), ample()).await);
    assert!(why.contains("2 of the 1024 buckets have no marker"), "{why}");
    server.run_command(&["SET", "twinlock:{007}:marker", "of another"]);
    server.run_command(&[
        "SET",
        "twinlock:{3ff}:marker",
        std::str::from_utf8(MARKER).expect("text"),
    ]);
    let why = incomplete(Redis::open(options(layout_of(&server)), ample()).await);
    assert!(why.contains("another dataset"), "{why}");
    server.command("DEL twinlock:{007}:marker");
    server.command("LPUSH twinlock:{007}:marker list");
    incomplete(Redis::open(options(layout_of(&server)), ample()).await);
}

/// One third of the users is unknown, and the others are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_shard_takes_its_own_users_alone() {
    let cluster = super::blocking(|| Cluster::start(Program::Redis)).await;
    let store: Arc<dyn Store> = initialize(options(cluster.layout())).await;
    records(&store, 60).await;
    cluster.nodes[1].command("FLUSHALL");
    let (mut lost, mut kept) = (0, 0);
    for n in 0..60 {
        match store.load(&user(n), ample()).await {
            Ok(loaded) => {
                assert!(loaded.record.is_some(), "a user must not be unknown");
                kept += 1;
            }
            Err(StoreError::Incomplete(_)) => lost += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(lost >= 5 && kept >= 20, "{lost} lost, {kept} kept");
    incomplete(store.check(ample()).await);
    let why = incomplete(Redis::open(options(cluster.layout()), ample()).await);
    assert!(why.contains("buckets have no marker"), "{why}");
}

#[tokio::test]
async fn what_is_no_record_is_an_error() {
    let server = Server::start(Program::Redis, &[]);
    let store: Arc<dyn Store> = initialize(options(layout_of(&server))).await;
    let key = suite::named("default", "alice");
    for set in ["SET twinlock:{1ef}:7:default:alice short", "SADD twinlock:{1ef}:7:default:alice a"]
    {
        server.command("DEL twinlock:{1ef}:7:default:alice");
        server.command(set);
        let loaded = store.load(&key, ample()).await;
        let unavailable =
            matches!(loaded, Err(StoreError::Unavailable { may_have_happened: false, .. }));
        assert!(unavailable, "{loaded:?}");
        let swapped = store.swap(suite::change(&key, None, Some(b"over"), None), ample()).await;
        assert!(!matches!(swapped, Ok(Swapped::Done)), "it was written over");
    }
}

#[tokio::test]
async fn a_walk_meets_every_record() {
    let server = start_with_user();
    server.run_command(&["SET", "of another program", "value"]);
    let redis = initialize(as_user(&server)).await;
    let store: Arc<dyn Store> = redis.clone();
    records(&store, 1500).await;
    let later = store.load(&user(0), ample()).await.expect("a load").now;
    let later = later.after(std::time::Duration::from_secs(3600));
    suite::write_until(&store, &suite::key("lapsing"), None, b"for now", Some(later)).await;

    let mut walk = redis.walk(ample()).await.expect("a walk");
    let mut found = std::collections::HashMap::new();
    while let Some(page) = walk.next(ample()).await.expect("a page") {
        for record in page {
            found.insert(record.key.user.to_string(), record);
        }
    }
    assert_eq!(found.len(), 1501);
    assert_eq!(found["user-7"].bytes, b"here");
    assert_eq!(found["user-7"].expire_at, None);
    assert_eq!(found["lapsing"].expire_at, Some(later));
    let version = suite::version(&store, &user(7)).await;
    assert_eq!(Some(found["user-7"].version), version);
}

#[tokio::test]
async fn a_user_without_rights_is_told_which() {
    let server = start_with_user();
    initialize(as_user(&server)).await;
    server.command("ACL SETUSER twinlock -info -config|get -role");
    let store = open(as_user(&server)).await;
    assert!(store.warnings().iter().any(|it| it.contains("does not tell its eviction policy")));
    server.command("ACL SETUSER twinlock -getrange");
    let store: Arc<dyn Store> = store;
    let swapped = store.swap(suite::change(&user(1), None, Some(b"x"), None), ample()).await;
    let Err(StoreError::Unavailable { cause, may_have_happened: false }) = swapped else {
        panic!("{swapped:?}");
    };
    assert!(cause.contains("can't run this command"), "{cause}");
    let wrong = Options { password: Some("canary".to_owned().into()), ..as_user(&server) };
    let refused = Redis::open(wrong, ample()).await.err().expect("refused").to_string();
    assert!(refused.contains("uthentication") && !refused.contains("canary"), "{refused}");
}
