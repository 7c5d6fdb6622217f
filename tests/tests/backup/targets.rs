//! Restores into every layout of Redis, and those that break off there.

use super::{contents, enrolled, keyring};
use std::fs::File;
use std::sync::Arc;
use twinlock_engine::backup::{Allowed, Backup, Scope, Verified};
use twinlock_engine::seal::Keyring;
use twinlock_engine::store::redis::{Options as RedisOptions, Redis};
use twinlock_engine::store::{Marked, Store, StoreError, Target};
use twinlock_tests::redis::{Cluster, Program, Sentinels, Server as RedisServer, ample};
use twinlock_tests::redis::{options, standalone};
use twinlock_tests::{Options, Server};

const REPLACING: Allowed = Allowed { replace: true, partial: false, unreadable: false };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_restored_into_one_server() {
    let redis = RedisServer::start(Program::Valkey, &[]);
    restores_into(options(standalone(&redis.url()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_restored_into_a_cluster() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(Program::Redis)).await;
    restores_into(options(cluster.expect("a Cluster").layout())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_restored_under_sentinels_and_confirmed_by_a_replica() {
    let sentinels = tokio::task::spawn_blocking(|| Sentinels::start(Program::Redis)).await;
    let sentinels = sentinels.expect("sentinels");
    let options = options(sentinels.layout());
    restores_into(RedisOptions { acknowledging_replicas: 1, ..options }).await;
}

async fn restores_into(options: RedisOptions) {
    let mut server = Server::start(Options::default());
    assert!(server.stop().success());
    let keyring = keyring(&server);
    let (first, second) = (server.directory().join("first"), server.directory().join("second"));
    make(&server, &keyring, &first).await;

    // As far as it came: no marker, and some of the records.
    let mut target = Redis::restoring(options.clone(), ample()).await.expect("a target");
    let some = (0..100).map(|n| enrolled(&keyring, n)).collect();
    target.put(some).await.expect("a write");
    let found = target.look(&Scope::Everything).await.expect("a look");
    assert_eq!((found.marker, found.inside), (Marked::Nowhere, 100));
    let opened = Redis::open(options.clone(), ample()).await;
    assert!(matches!(opened.err(), Some(StoreError::Incomplete(_))));

    let mut verified = Verified::read(File::open(&first).expect("a file"), &keyring).expect("one");
    let refused = verified.restore(&mut target, &keyring, Allowed::default()).await;
    assert!(refused.expect_err("not empty").to_string().contains("100 records and no marker"));
    for removed in [100, 3000] {
        let outcome = verified.restore(&mut target, &keyring, REPLACING).await.expect("a restore");
        assert_eq!((outcome.written, outcome.removed), (3000, removed));
    }

    let store: Arc<dyn Store> =
        Arc::new(Redis::open(options, ample()).await.expect("a whole dataset"));
    store.check(ample()).await.expect("every marker");
    write(&*store, &keyring, &second).await;
    assert!(contents(&first, &keyring) == contents(&second, &keyring), "it is something else");
}

/// A backup of 3,000 users.
async fn make(server: &Server, keyring: &Keyring, file: &std::path::Path) {
    use twinlock_engine::clock;
    use twinlock_engine::store::embedded::Embedded;
    let data = server.directory().join("twinlock-data");
    let mut target = Embedded::restoring(&data).expect("a target");
    target.put((0..3000).map(|n| enrolled(keyring, n)).collect()).await.expect("a write");
    drop(target);
    let store = Embedded::open(&data, clock::system()).expect("a store");
    write(&store, keyring, file).await;
}

async fn write(store: &dyn Store, keyring: &Keyring, file: &std::path::Path) {
    use std::io::Write;
    let begun = Backup::begin(store, keyring, Scope::Everything, ample()).await;
    let mut backup = begun.expect("a backup");
    let mut file = File::create(file).expect("a file");
    while let Some(part) = backup.next(ample()).await.expect("a part") {
        file.write_all(&part.bytes).expect("a write");
    }
}

/// Who empties a server during a backup gets no backup of what was left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_emptied_during_its_backup_is_not_backed_up() {
    let redis = RedisServer::start(Program::Redis, &[]);
    let mut server = Server::start(Options::default());
    assert!(server.stop().success());
    let keyring = keyring(&server);
    let options = options(standalone(&redis.url()));
    let mut target = Redis::restoring(options.clone(), ample()).await.expect("a target");
    target.put((0..3000).map(|n| enrolled(&keyring, n)).collect()).await.expect("a write");
    target.mark(&keyring.new_marker()).await.expect("a marker");
    let store = Redis::open(options, ample()).await.expect("a dataset");
    let begun = Backup::begin(&store, &keyring, Scope::Everything, ample()).await;
    let mut backup = begun.expect("a backup");
    backup.next(ample()).await.expect("the header");
    redis.command("FLUSHALL");
    let ended = loop {
        match backup.next(ample()).await {
            Ok(Some(part)) => assert!(!part.is_last, "it passes for whole"),
            Ok(None) => panic!("it ended"),
            Err(error) => break error,
        }
    };
    assert!(matches!(ended, StoreError::Incomplete(_)), "{ended}");
}
