//! Servers that will not do, and what is said of them.

use super::{
    Cluster, Program, Secured, Sentinels, Server, ample, blocking, initialize, layout_of, options,
    standalone,
};
use std::time::Duration;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::redis::{Address, Layout, Options, Redis};
use twinlock_engine::store::{Store, StoreError};

async fn refusal(options: Options) -> String {
    match Redis::open(options, ample()).await {
        Err(StoreError::Unavailable { cause, may_have_happened: false }) => cause,
        other => panic!("{:?}", other.err()),
    }
}

#[tokio::test]
async fn an_eviction_policy_that_deletes_records_is_refused() {
    let server = Server::start(Program::Redis, &["--maxmemory-policy", "allkeys-lru"]);
    let why = refusal(options(layout_of(&server))).await;
    assert!(why.contains("CONFIG SET maxmemory-policy noeviction"), "{why}");
    // The remedy mends it.
    server.command("CONFIG SET maxmemory-policy noeviction");
    initialize(options(layout_of(&server))).await;
    for policy in ["volatile-ttl", "volatile-lru", "allkeys-random"] {
        server.command(&format!("CONFIG SET maxmemory-policy {policy}"));
        assert!(refusal(options(layout_of(&server))).await.contains(policy));
    }
}

#[tokio::test]
async fn a_server_that_is_out_of_memory_still_answers_loads() {
    let server = Server::start(Program::Redis, &[]);
    let store: std::sync::Arc<dyn Store> = initialize(options(layout_of(&server))).await;
    super::suite::write(&store, &super::user(1), None, b"here").await;
    server.command("CONFIG SET maxmemory 1");
    assert!(store.load(&super::user(1), ample()).await.expect("a load").record.is_some());
    let change = super::suite::change(&super::user(2), None, Some(b"x"), None);
    let swapped = store.swap(change, ample()).await;
    let not_made = matches!(swapped, Err(StoreError::Unavailable { may_have_happened: false, .. }));
    assert!(not_made, "{swapped:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layout_that_is_not_the_servers_is_named() {
    let server = Server::start(Program::Redis, &[]);
    let address = Address::parse(&server.url()).expect("an address");
    let why = refusal(options(Layout::Cluster(vec![address.clone()]))).await;
    assert!(why.contains("standalone or sentinel"), "{why}");
    let sentinel = Layout::Sentinel { sentinels: vec![address], master: "main".into() };
    assert!(!refusal(options(sentinel)).await.is_empty());

    let port = server.port.to_string();
    let replica = Server::start(Program::Valkey, &["--replicaof", "127.0.0.1", &port]);
    let why = refusal(options(layout_of(&replica))).await;
    assert!(why.contains("replica"), "{why}");

    let cluster = blocking(|| Cluster::start(Program::Valkey)).await;
    let why = refusal(options(layout_of(&cluster.nodes[0]))).await;
    assert!(why.contains("set store.redis.mode to cluster"), "{why}");

    let sentinels = blocking(|| Sentinels::start(Program::Redis)).await;
    let Layout::Sentinel { sentinels: addresses, .. } = sentinels.layout() else { panic!() };
    let why = refusal(options(Layout::Standalone(addresses[0].clone()))).await;
    assert!(why.contains("set store.redis.mode to sentinel"), "{why}");
    let unknown = Layout::Sentinel { sentinels: addresses, master: "other".into() };
    let why = refusal(options(unknown)).await;
    assert!(why.contains("No such master"), "{why}");
}

#[tokio::test]
async fn nobody_there_is_told_at_once_and_silence_in_time() {
    let port = twinlock_tests::redis::free_port();
    let why = refusal(options(standalone(&format!("redis://127.0.0.1:{port}")))).await;
    assert!(why.contains(&format!("127.0.0.1:{port}")) && why.contains("refused"), "{why}");

    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("redis://{}", mute.local_addr().expect("an address"));
    let deadline = Deadline::after(Duration::from_secs(5));
    let (opened, took) = super::timed(Redis::open(options(standalone(&url)), deadline)).await;
    assert!(opened.is_err());
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (secured, other) = (Secured::start(), Secured::start());
    initialize(secured.options()).await;
    let foreign = Options { tls_authorities: other.options().tls_authorities, ..secured.options() };
    let why = refusal(foreign).await;
    assert!(why.contains("TLS") && why.contains("ertificate"), "{why}");
    let garbage = Options { tls_authorities: Some(b"no PEM".to_vec()), ..secured.options() };
    assert!(refusal(garbage).await.contains("no certificate"));
    // Who speaks plainly to it gets no answer that could be taken for one.
    let plain = standalone(&format!("redis://127.0.0.1:{}", secured.port));
    assert!(!refusal(options(plain)).await.is_empty());
    assert_ne!(secured.server.port, secured.port);
}
