//! A Cluster that is laid out anew while it is used, and one that loses a node.

use super::{
    Cluster, Program, RIGHTS, RIGHTS_IN_A_CLUSTER, ample, blocking, initialize, options, suite,
    user,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::redis::Options;
use twinlock_engine::store::{Durability, Store, StoreError, Swap, Swapped};

/// The key of a user, as the format at rest has it.
fn key_of(cluster: &Cluster, name: &str) -> String {
    let suffix = format!(":5:suite:{name}");
    let keys = cluster.nodes.iter().flat_map(|node| {
        redis::from_redis_value::<Vec<String>>(node.command(&format!("KEYS *{suffix}")))
            .expect("keys")
    });
    keys.into_iter().find(|key| key.ends_with(&suffix)).expect("the record's key")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_move_while_they_are_written_to() {
    for program in [Program::Redis, Program::Valkey] {
        moves(program).await;
    }
}

async fn moves(program: Program) {
    let cluster = Arc::new(blocking(move || Cluster::start(program)).await);
    let store: Arc<dyn Store> = initialize(options(cluster.layout())).await;
    let (swapped, _) = suite::write(&store, &user(1), None, &0_u64.to_be_bytes()).await;
    assert_eq!(swapped, Swapped::Done);

    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for _ in 0..4 {
        let (store, stop) = (store.clone(), stop.clone());
        writers.spawn(async move {
            let mut added = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let (version, bytes) = suite::record(&store, &user(1)).await.expect("the record");
                let count = u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
                let next = (count + 1).to_be_bytes();
                if suite::write(&store, &user(1), Some(version), &next).await.0 == Swapped::Done {
                    added += 1;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            added
        });
    }
    let moved = cluster.clone();
    blocking(move || {
        let key = key_of(&moved, "user-1");
        let slot = moved.nodes[0].slot_of(&key);
        let mut from = moved.node_of(slot);
        for _ in 0..4 {
            let to = (from + 1) % 3;
            move_slot(&moved, slot, from, to);
            from = to;
        }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let added: u64 = writers.join_all().await.iter().sum();
    let (_, bytes) = suite::record(&store, &user(1)).await.expect("the record");
    assert_eq!(
        u64::from_be_bytes(bytes.try_into().expect("eight bytes")),
        added,
        "none lost, none twice"
    );
    assert!(added > 20, "{added} changes in all that time");
    store.check(ample()).await.expect("every bucket has its marker");
}

/// Moves a slot as `redis-cli --cluster reshard` does, one key at a time, with a pause between the steps.
fn move_slot(cluster: &Cluster, slot: u16, from: usize, to: usize) {
    let (source, target) = (&cluster.nodes[from], &cluster.nodes[to]);
    let pause = || std::thread::sleep(Duration::from_millis(30));
    target.command(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", source.cluster_id()));
    source.command(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", target.cluster_id()));
    pause();
    loop {
        let keys = source.command(&format!("CLUSTER GETKEYSINSLOT {slot} 1"));
        let keys: Vec<String> = redis::from_redis_value(keys).expect("keys");
        let Some(key) = keys.first() else { break };
        source.run_command(&["MIGRATE", "127.0.0.1", &target.port.to_string(), key, "0", "5000"]);
        pause();
    }
    for node in [target, source] {
        node.command(&format!("CLUSTER SETSLOT {slot} NODE {}", target.cluster_id()));
        pause();
    }
    for node in &cluster.nodes {
        node.try_command(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &target.cluster_id()])
            .expect("every node learns of it");
    }
}

/// A user's keys are all on their way, and one who is asked for anew is asked for there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_between_two_nodes_is_found_at_the_one_that_has_it() {
    let cluster = blocking(|| Cluster::start(Program::Redis)).await;
    let store: Arc<dyn Store> = initialize(options(cluster.layout())).await;
    let (_, made) = suite::write(&store, &user(1), None, b"here").await;
    let key = key_of(&cluster, "user-1");
    let slot = cluster.nodes[0].slot_of(&key);
    let from = cluster.node_of(slot);
    let (source, target) = (&cluster.nodes[from], &cluster.nodes[(from + 1) % 3]);
    target.command(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", source.cluster_id()));
    source.command(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", target.cluster_id()));
    assert_eq!(suite::version(&store, &user(1)).await, Some(made), "still at the source");

    let marker = format!(
        "{}:marker",
        key.split_once("}:").map(|(tag, _)| format!("{tag}}}")).expect("a tag")
    );
    let port = target.port.to_string();
    source.run_command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "5000"]);
    // The record is there and the marker here: nobody can see both, and nobody guesses.
    let between = store.load(&user(1), Deadline::after(Duration::from_millis(400))).await;
    assert!(matches!(between, Err(StoreError::Unavailable { .. })), "{between:?}");
    source.run_command(&["MIGRATE", "127.0.0.1", &port, &marker, "0", "5000"]);
    assert_eq!(suite::version(&store, &user(1)).await, Some(made), "ASK leads to the target");
    let (swapped, next) = suite::write(&store, &user(1), Some(made), b"there").await;
    assert_eq!(swapped, Swapped::Done);
    target.command("SCRIPT FLUSH");
    assert_eq!(suite::version(&store, &user(1)).await, Some(next), "and in full where it must");
}

/// With the rights that are documented and no others, through a moved slot, with a wait for disks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_the_documented_rights_will_do() {
    let cluster = blocking(|| Cluster::start(Program::Valkey)).await;
    for node in &cluster.nodes {
        node.command(&format!("ACL SETUSER twinlock on >secret {RIGHTS} {RIGHTS_IN_A_CLUSTER}"));
    }
    let options = Options {
        username: Some("twinlock".into()),
        password: Some("secret".to_owned().into()),
        // Without replicas no wait can succeed; that it is allowed shows in the cause.
        acknowledging_replicas: 0,
        ..options(cluster.layout())
    };
    let redis = initialize(options.clone()).await;
    let store: Arc<dyn Store> = redis.clone();
    for n in 0..20 {
        assert_eq!(suite::write(&store, &user(n), None, b"here").await.0, Swapped::Done);
    }
    store.check(ample()).await.expect("every bucket has its marker");
    assert_eq!(redis.warnings(), [""; 0]);
    let mut walk = redis.walk(ample()).await.expect("a walk");
    let mut found = 0;
    while let Some(page) = walk.next(ample()).await.expect("a page") {
        found += page.len();
    }
    assert_eq!(found, 20);
    let slot = cluster.nodes[0].slot_of(&key_of(&cluster, "user-1"));
    let from = cluster.node_of(slot);
    move_slot(&cluster, slot, from, (from + 1) % 3);
    assert!(suite::record(&store, &user(1)).await.is_some());

    let waiting = super::open(Options { acknowledging_replicas: 1, ..options }).await;
    let change = suite::change(&user(30), None, Some(b"x"), None);
    let change = Swap { durability: Durability::Enrollment, ..change };
    let swapped = waiting.swap(change, Deadline::after(Duration::from_millis(1500))).await;
    let Err(StoreError::Unavailable { cause, .. }) = swapped else { panic!("{swapped:?}") };
    assert!(cause.contains("0 of 1 replicas"), "{cause}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_takes_its_own_users_alone() {
    let mut cluster = blocking(|| Cluster::start(Program::Redis)).await;
    let store: Arc<dyn Store> = initialize(options(cluster.layout())).await;
    for node in &cluster.nodes {
        node.command("CONFIG SET cluster-require-full-coverage no");
    }
    for n in 0..30 {
        suite::write(&store, &user(n), None, b"here").await;
    }
    cluster.nodes[2].kill();
    let (mut served, mut gone) = (0, 0);
    for n in 0..30 {
        match store.load(&user(n), Deadline::after(Duration::from_millis(500))).await {
            Ok(loaded) => {
                assert!(loaded.record.is_some());
                served += 1;
            }
            Err(StoreError::Unavailable { may_have_happened: false, .. }) => gone += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(served >= 10 && gone >= 3, "{served} served, {gone} gone");
    cluster.nodes[2].restart();
    for n in 0..30 {
        assert!(suite::record(&store, &user(n)).await.is_some());
    }
}
