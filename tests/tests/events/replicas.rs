//! Several processes over one Redis.

use crate::{Watch, deny, ids, order, users, written};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::task::JoinSet;
use twinlock_proto::v1::Event;
use twinlock_tests::over_redis::Replicas;
use twinlock_tests::redis::{Cluster, Program};
use twinlock_tests::{Options, Server};

fn replicas() -> Replicas {
    let audit = |n: u32| Options::default().set(&format!("audit.path=audit-{n}.log"));
    Replicas::start_each((0..3).map(audit))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_shows_the_events_of_all_exactly_once() {
    const EACH: usize = 300;
    let replicas = replicas();
    let mut watches = Vec::new();
    for server in &replicas.servers {
        watches.push(Watch::begin(server, "").await);
    }
    let mut logins = JoinSet::new();
    for (replica, mut client) in replicas.connect(6).await.into_iter().enumerate() {
        logins.spawn(async move {
            for n in 0..EACH / 2 {
                deny(&mut client, &format!("user-{replica}-{n}")).await;
            }
        });
    }
    logins.join_all().await;
    let mut seen = Vec::new();
    for watch in &mut watches {
        seen.push(watch.take(3 * EACH).await);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    let whose: BTreeSet<&str> = users(&seen[0]).into_iter().collect();
    assert_eq!(whose.len(), 3 * EACH, "each is there once");
    assert!(ids(&seen[0]).is_sorted_by(|one, next| order(one) < order(next)));

    // Each replica keeps the trail of its own calls, under the ids that watchers see.
    let mut kept = BTreeSet::new();
    for n in 0..3 {
        let path = replicas.servers[0].directory().join(format!("audit-{n}.log"));
        for line in written(&path, EACH).await {
            assert!(kept.insert(line["event_id"].as_str().expect("an id").to_owned()));
        }
    }
    assert_eq!(kept, ids(&seen[0]).into_iter().map(str::to_owned).collect());

    // Nothing more comes.
    deny(&mut replicas.servers[2].client().await, "last").await;
    for watch in &mut watches {
        assert_eq!(users(&watch.take(1).await), ["last"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_a_replica_goes_on_at_another_and_misses_nothing() {
    let mut replicas = replicas();
    let mut watch = Watch::begin(&replicas.servers[0], "").await;
    let mut clients = replicas.connect(3).await;
    for n in 0..30 {
        deny(&mut clients[n % 3], &format!("user-{n}")).await;
    }
    // All of it was told before the replica dies; what it has not passed on yet dies with it.
    let mut seen: Vec<Event> = watch.take(30).await;
    seen.truncate(10);
    replicas.servers[0].kill();
    for n in 30..40 {
        deny(&mut clients[1 + n % 2], &format!("user-{n}")).await;
    }
    let mut watch = Watch::begin(&replicas.servers[1], ids(&seen)[9]).await;
    assert!(!watch.missed);
    seen.extend(watch.take(30).await);
    // A process that begins only now shows what was before it.
    let late = replicas.servers[1].beside(Options::default().over_redis(&replicas.redis.url()));
    let mut watch = Watch::begin(&late, ids(&seen)[0]).await;
    assert!(!watch.missed);
    assert_eq!(watch.take(39).await, seen[1..]);
    let whose: BTreeSet<&str> = users(&seen).into_iter().collect();
    assert_eq!(whose.len(), 40);
    assert!(Watch::begin(&late, "1-0").await.missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_among_events_of_the_same_moment_gets_just_the_rest() {
    const AT_ONCE: usize = 64;
    let replicas = replicas();
    let mut watch = Watch::begin(&replicas.servers[0], "").await;
    let client = replicas.servers[0].client().await;
    let mut logins = JoinSet::new();
    for n in 0..AT_ONCE {
        let mut client = client.clone();
        logins.spawn(async move { deny(&mut client, &format!("user-{n}")).await });
    }
    logins.join_all().await;
    let seen = watch.take(AT_ONCE).await;
    let entries = replicas.redis.command("XLEN twinlock:{000}:events");
    let entries: usize = redis::from_redis_value(entries).expect("a number");
    assert!(entries < AT_ONCE, "no two events share an entry, so this shows nothing");
    for (place, id) in ids(&seen).into_iter().enumerate() {
        // Nobody watches there, so it reads what was.
        let mut late = Watch::begin(&replicas.servers[1], id).await;
        assert!(!late.missed);
        deny(&mut client.clone(), &format!("after-{place}")).await;
        let rest = late.take(AT_ONCE).await;
        assert_eq!(rest[..AT_ONCE - place - 1], seen[place + 1..], "after {id}");
        assert_eq!(rest[AT_ONCE - 1].user_id, format!("after-{place}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_be_written_costs_watchers_events_and_nothing_else() {
    let replicas = replicas();
    let (server, redis) = (&replicas.servers[0], &replicas.redis);
    let mut client = server.client().await;
    let mut watch = Watch::begin(server, "").await;
    redis.command("SET twinlock:{000}:events spoiled");
    deny(&mut client, "unshared").await;
    let path = server.directory().join("audit-0.log");
    let lines = written(&path, 1).await;
    assert_eq!(lines[0]["user_id"], "unshared");
    redis.command("DEL twinlock:{000}:events");
    deny(&mut client, "shared").await;
    assert_eq!(users(&watch.take(1).await), ["shared"]);
    let lines = written(&path, 2).await;
    assert_eq!(lines.len(), 2);
    assert!(server.log().contains("the shared log did not take them"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_starts_again_shows_what_comes_then() {
    let mut replicas = replicas();
    let mut watch = Watch::begin(&replicas.servers[1], "").await;
    deny(&mut replicas.servers[0].client().await, "before").await;
    assert_eq!(users(&watch.take(1).await), ["before"]);
    replicas.redis.restart();
    let mut client = replicas.servers[0].client().await;
    let mut seen = Vec::new();
    // What happens while nobody can write it down is in the trail alone.
    while seen.is_empty() {
        deny(&mut client, "after").await;
        let next = tokio::time::timeout(Duration::from_millis(300), watch.next()).await;
        seen.extend(next.into_iter().map(|event| event.expect("a watch that goes on")));
    }
    assert_eq!(users(&seen), ["after"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_has_the_events_too() {
    let cluster = Cluster::start(Program::Redis);
    let options =
        Options::default().over_redis(&cluster.nodes[0].url()).set("store.redis.mode=cluster");
    let server = Server::start(options.clone());
    let other = server.beside(options);
    let mut watch = Watch::begin(&other, "").await;
    deny(&mut server.client().await, "alice").await;
    let seen = watch.take(1).await;
    assert_eq!(users(&seen), ["alice"]);
    let mut again = Watch::begin(&server, "").await;
    deny(&mut other.client().await, "bob").await;
    assert_eq!(users(&again.take(1).await), ["bob"]);
}
