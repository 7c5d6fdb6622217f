//! Servers that stop, hang, load, lose scripts and connections, and come back.

use super::{Program, Server, ample, initialize, layout_of, options, suite, timed, user};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::redis::{Options, Redis};
use twinlock_engine::store::{Store, StoreError, Swapped};

/// A server that keeps every write, and a store on it that waits `timeout` for an answer.
async fn start(arguments: &[&str], timeout: Duration) -> (Server, Arc<dyn Store>) {
    let server = Server::start(Program::Redis, arguments);
    let store = initialize(Options { timeout, ..options(layout_of(&server)) }).await;
    (server, store)
}

const TIMEOUT: Duration = Duration::from_secs(1);

fn within(milliseconds: u64) -> Deadline {
    Deadline::after(Duration::from_millis(milliseconds))
}

/// What an unavailable store says, and whether the change may have been made.
fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> (String, bool) {
    match result {
        Err(StoreError::Unavailable { cause, may_have_happened }) => (cause, may_have_happened),
        other => panic!("not unavailable: {other:?}"),
    }
}

#[tokio::test]
async fn scripts_that_are_forgotten_are_sent_again() {
    let (server, store) = start(&[], TIMEOUT).await;
    for n in 0..3 {
        server.command("SCRIPT FLUSH");
        assert!(store.load(&user(n), ample()).await.expect("a load").record.is_none());
        server.command("SCRIPT FLUSH");
        assert_eq!(suite::write(&store, &user(n), None, b"x").await.0, Swapped::Done);
    }
    // And once only: what the server has is run by its name.
    let before = server.info("total_net_input_bytes").parse::<u64>().expect("a number");
    for n in 0..3 {
        suite::version(&store, &user(n)).await;
    }
    let sent = server.info("total_net_input_bytes").parse::<u64>().expect("a number") - before;
    assert!(sent < 2000, "{sent} bytes for three loads");
}

#[tokio::test]
async fn a_blocked_call_is_one_round_trip_and_a_change_two() {
    let (server, store) = start(&[], TIMEOUT).await;
    let (_, made) = suite::write(&store, &user(1), None, b"x").await;
    suite::version(&store, &user(1)).await;
    let commands = || server.info("total_commands_processed").parse::<i64>().expect("a number");
    // Each command of a script counts, and the script itself, and INFO.
    let before = commands();
    assert_eq!(suite::version(&store, &user(1)).await, Some(made));
    let load = commands() - before;
    let before = commands();
    suite::write(&store, &user(1), Some(made), b"y").await;
    let swap = commands() - before;
    assert_eq!((load, swap), (4, 4), "EVALSHA, GET, TIME; EVALSHA, GETRANGE, SET");
}

#[tokio::test]
async fn a_connection_that_was_closed_is_replaced_before_anybody_notices() {
    let (server, store) = start(&[], TIMEOUT).await;
    let mut version = None;
    for n in 0..20_u8 {
        server.command("CLIENT KILL TYPE normal SKIPME yes");
        // The end of the connection must have arrived.
        sleep(Duration::from_millis(20)).await;
        let (swapped, made) = suite::write(&store, &user(1), version, &[n]).await;
        assert_eq!(swapped, Swapped::Done, "{n}");
        version = Some(made);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_told_in_time_and_noticed_when_it_is_back() {
    let (mut server, store) = start(&[], TIMEOUT).await;
    let (_, made) = suite::write(&store, &user(1), None, b"kept").await;
    for _ in 0..3 {
        server.kill();
        let (result, took) = timed(store.load(&user(1), within(5000))).await;
        assert!(!unavailable(result).1);
        assert!(took < Duration::from_millis(1300), "{took:?}");
        let change = suite::change(&user(1), Some(made), Some(b"lost"), None);
        let (result, took) = timed(store.swap(change, within(300))).await;
        assert!(!unavailable(result).1, "it was never sent");
        assert!(took < Duration::from_millis(350), "{took:?}");
        unavailable(store.check(within(500)).await);

        let mut waiting = JoinSet::new();
        for n in 0..200 {
            let store = store.clone();
            waiting.spawn(async move { store.load(&user(n % 7), within(600)).await.is_ok() });
        }
        waiting.join_all().await;

        server.restart();
        let (record, took) = timed(store.load(&user(1), within(5000))).await;
        let record = record.expect("a load").record.expect("what was acknowledged");
        assert_eq!(record, (made, b"kept".to_vec()));
        assert!(took < Duration::from_secs(1), "{took:?}");
        let connections: u32 = server.info("total_connections_received").parse().expect("a number");
        // Those of the tests come one for each command.
        assert!(connections < 12, "{connections} connections after the restart");
        store.check(ample()).await.expect("it is whole");
    }
}

/// It is stopped as a frozen machine is: its connections stay, and it takes what is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_costs_no_call_more_than_its_deadline() {
    let (server, store) = start(&[], Duration::from_millis(400)).await;
    let (_, made) = suite::write(&store, &user(1), None, b"before").await;
    server.signal("STOP");
    let mut calls = JoinSet::new();
    for n in 0..100_u64 {
        let store = store.clone();
        calls.spawn(async move {
            let allowed = Duration::from_millis(50 + 10 * n);
            let (result, took) = timed(store.load(&user(1), Deadline::after(allowed))).await;
            unavailable(result);
            assert!(took < allowed + Duration::from_millis(60), "{took:?} of {allowed:?}");
        });
    }
    calls.join_all().await;
    let change = suite::change(&user(1), Some(made), Some(b"after"), None);
    let version = change.version;
    let (result, took) = timed(store.swap(change, within(600))).await;
    unavailable(result);
    assert!(took < Duration::from_millis(650), "{took:?}");

    server.signal("CONT");
    let (result, took) = timed(store.load(&user(1), within(5000))).await;
    let found = result.expect("it answers again").record.expect("a record").0;
    assert!(found == made || found == version);
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_that_was_not_answered_may_have_happened_and_happens_once() {
    let (server, store) = start(&[], Duration::from_millis(300)).await;
    let (_, made) = suite::write(&store, &user(1), None, b"before").await;
    // The scripts are known and the connection stands, so that it is this very swap that is lost.
    server.signal("STOP");
    let change = suite::change(&user(1), Some(made), Some(b"after"), None);
    let version = change.version;
    let (_, may_have_happened) = unavailable(store.swap(change, within(1000)).await);
    assert!(may_have_happened);
    server.signal("CONT");
    // The server still had it in its hands.
    let found = store.load(&user(1), ample()).await.expect("a load").record.expect("a record");
    assert_eq!(found, (version, b"after".to_vec()));
    assert_eq!(suite::write(&store, &user(1), Some(made), b"late").await.0, Swapped::Changed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_for_all_clients_is_outlasted() {
    let (server, store) = start(&[], TIMEOUT).await;
    suite::write(&store, &user(1), None, b"x").await;
    server.command("CLIENT PAUSE 700 ALL");
    let (result, took) = timed(store.load(&user(1), within(200))).await;
    unavailable(result);
    assert!(took < Duration::from_millis(260), "{took:?}");
    assert!(store.load(&user(1), within(5000)).await.is_ok(), "the pause ended within its time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loads_its_data_is_waited_for() {
    let slowly = ["--key-load-delay", "1500", "--loading-process-events-interval-bytes", "1024"];
    let (mut server, store) = start(&[], TIMEOUT).await;
    let (_, made) = suite::write(&store, &user(1), None, b"x").await;
    server.kill();
    server.begin_again_with(&slowly);
    sleep(Duration::from_millis(300)).await;
    assert!(server.log().matches("Ready to accept").count() < 2, "it still loads");
    let mut found = store.load(&user(1), within(5000)).await;
    for _ in 0..10 {
        if found.is_ok() {
            break;
        }
        unavailable(found);
        found = store.load(&user(1), within(5000)).await;
    }
    assert_eq!(found.expect("a load").record.expect("a record").0, made);
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_answers_nothing() {
    let (server, store) = start(&[], TIMEOUT).await;
    let (_, made) = suite::write(&store, &user(1), None, b"x").await;
    let nobody = twinlock_tests::redis::free_port();
    server.command(&format!("REPLICAOF 127.0.0.1 {nobody}"));
    let (cause, may_have_happened) = unavailable(store.load(&user(1), within(3000)).await);
    assert!(!may_have_happened && cause.contains("READONLY"), "{cause}");
    let change = suite::change(&user(1), Some(made), Some(b"lost"), None);
    assert!(!unavailable(store.swap(change, within(3000)).await).1);
    server.command("REPLICAOF NO ONE");
    assert_eq!(suite::write(&store, &user(1), Some(made), b"y").await.0, Swapped::Done);
}

/// With `min-replicas-to-write`, a primary that was cut off from its replicas answers nothing either.
#[tokio::test]
async fn a_primary_that_lacks_its_replicas_answers_nothing() {
    let (server, store) = start(&[], TIMEOUT).await;
    suite::write(&store, &user(1), None, b"x").await;
    server.command("CONFIG SET min-replicas-to-write 1");
    let (cause, _) = unavailable(store.load(&user(1), within(2000)).await);
    assert!(cause.contains("NOREPLICAS"), "{cause}");
    let change = suite::change(&user(2), None, Some(b"lost"), None);
    assert!(!unavailable(store.swap(change, within(2000)).await).1);
}

#[tokio::test]
async fn a_policy_that_is_changed_later_is_noticed() {
    let (server, store) = start(&[], TIMEOUT).await;
    server.command("CONFIG SET maxmemory-policy allkeys-lru");
    let mut said = Ok(());
    for _ in 0..150 {
        said = store.check(ample()).await;
        if said.is_err() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(unavailable(said).0.contains("noeviction"));
    server.command("CONFIG SET maxmemory-policy noeviction");
    store.check(ample()).await.expect("it is mended");
}

#[tokio::test]
async fn a_new_password_is_wanted_only_of_new_connections() {
    let (server, store) = start(&[], TIMEOUT).await;
    server.command("CONFIG SET requirepass canary");
    suite::version(&store, &user(1)).await;
    let refused = Redis::open(options(layout_of(&server)), ample()).await.err().expect("refused");
    assert!(refused.to_string().contains("NOAUTH"), "{refused}");
    let password = Some("canary".to_owned().into());
    let knows = Options { password, ..options(layout_of(&server)) };
    let store: Arc<dyn Store> = super::open(knows).await;
    suite::write(&store, &user(1), None, b"x").await;
}
