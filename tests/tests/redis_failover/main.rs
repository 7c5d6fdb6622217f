//! Redis is killed under load, and what was acknowledged is still there.
//!
//! `TWINLOCK_TEST_LONG` makes ten times as many rounds of kills; each failover is done once. `TWINLOCK_TEST_SEED`
//! repeats the choices of a run (not its timing, which is the kernel's).

mod witness;

use fastrand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;
use twinlock_engine::store::redis::Layout;
use twinlock_tests::fault_proxy::seeded;
use twinlock_tests::redis::{Program, Sentinels, Server as Redis};
use twinlock_tests::{Client, Options, Server};
use witness::{Promise, Witness};

const WITNESSES: usize = 12;

fn settings() -> Options {
    Options::default()
        .set("backoff.tolerated_failures=10")
        .set("backoff.initial=10ms")
        .set("backoff.maximum=20ms")
        .set("totp.window=2")
        .set("server.deadline=2s")
        .set("store.redis.timeout=300ms")
        .set("telemetry.log=error")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_of_redis() {
    let rounds = if std::env::var_os("TWINLOCK_TEST_LONG").is_some() { 80 } else { 8 };
    let mut rng = seeded();
    let always = ["--appendfsync", "always"];
    let mut redis = Redis::start(Program::Redis, &always);
    // Shorter than most outages, so that calls end in between.
    let options = settings().set("server.deadline=400ms").over_redis(&redis.url());
    let first = Server::start(options.clone());
    let second = first.beside(options);
    let mut checker = first.client().await;
    let (mut users, mut changes, mut attempts, mut repeated) = (0, 0, 0, 0);
    let mut known = Vec::new();
    for round in 0..rounds {
        let load = Load::start(&[&first, &second], &mut rng, round, Promise::Everything).await;
        sleep(Duration::from_millis(rng.u64(100..900))).await;
        redis.kill();
        sleep(Duration::from_millis(rng.u64(0..800))).await;
        redis.restart();
        sleep(Duration::from_millis(rng.u64(0..300))).await;
        for mut witness in load.end().await {
            witness.check(&mut checker, Promise::Everything).await;
            users += usize::from(witness.changes() > 0);
            changes += witness.changes();
            attempts += witness.attempts;
            repeated += witness.repeated;
            known.push(witness);
        }
    }
    println!(
        "{rounds} kills: {users} users, {changes} changes to enrollments and {attempts} attempts \
         acknowledged, {repeated} of them only by a repeat"
    );
    assert!(repeated > 0, "no kill came at the right time: nothing was shown");
    for witness in &mut known {
        witness.check(&mut checker, Promise::Enrollments).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_acknowledging_replica_a_failover_loses_no_change_to_an_enrollment() {
    let options = settings().set("store.redis.acknowledging_replicas=1");
    fail_over(options, Promise::Enrollments).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_verify_waits_too_a_failover_loses_nothing() {
    let options = settings()
        .set("store.redis.acknowledging_replicas=1")
        .set("store.redis.acknowledge_verify=true");
    fail_over(options, Promise::Everything).await;
}

/// What the two tests above are needed for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_one_a_failover_loses_what_the_replica_had_not_taken() {
    fail_over(settings(), Promise::Nothing).await;
}

/// A replica falls behind, its primary is killed, and the sentinels make the replica the primary.
async fn fail_over(options: Options, promise: Promise) {
    let mut rng = seeded();
    let mut sentinels = blocking(|| Sentinels::start(Program::Redis)).await;
    let Layout::Sentinel { sentinels: addresses, master } = sentinels.layout() else {
        panic!("no sentinels");
    };
    let urls: Vec<String> = addresses.iter().map(|address| format!("redis://{address}")).collect();
    let options = options
        .over_redis(&urls.join(","))
        .set("store.redis.mode=sentinel")
        .set(&format!("store.redis.sentinel_master={master}"));
    let first = Server::start(options.clone());
    let second = first.beside(options);
    let mut checker = first.client().await;

    let load = Load::start(&[&first, &second], &mut rng, 0, promise).await;
    sleep(Duration::from_millis(rng.u64(1000..1500))).await;
    let old = sentinels.primary();
    // The replica is cut off, and cannot come back.
    sentinels.servers[old].command("ACL SETUSER default -psync -sync");
    sentinels.servers[old].command("CLIENT KILL TYPE replica");
    sleep(Duration::from_millis(rng.u64(300..700))).await;
    sentinels.servers[old].kill();
    let new = 1 - old;
    let mut sentinels = blocking(move || {
        sentinels.wait_for_another(old);
        sentinels
    })
    .await;
    let port = sentinels.servers[new].port.to_string();
    sentinels.servers[old].begin_again_with(&["--replicaof", "127.0.0.1", &port]);
    let sentinels = blocking(move || {
        sentinels.servers[new].wait_for("connected_slaves", "1");
        sentinels
    })
    .await;
    sleep(Duration::from_millis(500)).await;

    let mut witnesses = load.end().await;
    let changes: usize = witnesses.iter().map(Witness::changes).sum();
    let repeated: usize = witnesses.iter().map(|witness| witness.repeated).sum();
    let mut lost = 0;
    for witness in &mut witnesses {
        if promise == Promise::Nothing {
            lost += witness.lost(&mut checker).await;
        } else {
            witness.check(&mut checker, promise).await;
        }
    }
    println!(
        "{promise:?} promised: of {changes} acknowledged changes to enrollments, {lost} were lost in \
         the failover; {repeated} calls were answered only at a repeat"
    );
    assert!(repeated > 0, "no call met the failover: nothing was shown");
    if promise == Promise::Nothing {
        assert!(lost > 0, "nothing could be lost here: the other tests show nothing");
        let told: Vec<&String> =
            witnesses.iter().filter_map(|witness| witness.contradiction.as_ref()).collect();
        println!("those who lost something were told {told:?}");
    }
    drop(sentinels);
}

/// Witnesses at work.
struct Load {
    working: JoinSet<Witness>,
    stop: Arc<AtomicBool>,
}

impl Load {
    async fn start(servers: &[&Server], rng: &mut Rng, round: usize, promise: Promise) -> Self {
        let mut clients: Vec<Client> = Vec::new();
        for server in servers {
            clients.push(server.client().await);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut working = JoinSet::new();
        for number in 0..WITNESSES {
            let id = format!("round-{round}-witness-{number}");
            working.spawn(Witness::live(id, clients.clone(), rng.fork(), promise, stop.clone()));
        }
        Self { working, stop }
    }

    /// Stops them when they have all been answered.
    async fn end(self) -> Vec<Witness> {
        self.stop.store(true, Ordering::SeqCst);
        self.working.join_all().await
    }
}

/// Starting and waiting for servers blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it ends")
}
