//! What a user costs.

use super::{Program, Server, ample, initialize, layout_of, options};
use std::sync::Arc;
use tokio::task::JoinSet;
use twinlock_core::{Namespace, Record, UserId};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::{Durability, RecordKey, Store, Swap, Version};

/// The most bytes of Redis's memory for one that are promised.
const PROMISED: u64 = 700;
const USERS: u64 = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_costs_no_more_than_is_promised() {
    for program in [Program::Redis, Program::Valkey] {
        let (settled, fresh) = enrolled_record(program).await;
        let bytes = bytes_a_user(program, settled).await;
        let at_first = bytes_a_user(program, fresh).await;
        println!(
            "{program:?}: {bytes} bytes an enrolled user (a record of {settled}); {at_first} while the \
             receipts of the enrollment are kept (a record of {fresh})"
        );
        assert!(bytes <= PROMISED, "{bytes} bytes");
    }
}

/// The bytes of the record of a user who has just enrolled, without and with the receipts and the
/// elevation, which live for ten minutes.
async fn enrolled_record(program: Program) -> (usize, usize) {
    let server = Server::start(program, &[]);
    let store: Arc<dyn Store> = initialize(options(layout_of(&server))).await;
    let (engine, keyring) = super::engine_over(store.clone());
    let key = key(0);
    let _ = super::enrolled(&engine, &key.user).await;
    let (_, bytes) = store.load(&key, ample()).await.expect("a load").record.expect("a record");
    let vault = keyring.vault(&key);
    let record = vault.read(&bytes).expect("a record");
    let settled = Record { receipts: Vec::new(), elevations: Vec::new(), ..record };
    (vault.write(&settled).len(), bytes.len())
}

async fn bytes_a_user(program: Program, record: usize) -> u64 {
    let server = Server::start(program, &["--appendonly", "no"]);
    let store: Arc<dyn Store> = initialize(options(layout_of(&server))).await;
    let before: u64 = server.info("used_memory").parse().expect("a number");
    let mut writers = JoinSet::new();
    for part in 0..20 {
        let store = store.clone();
        writers.spawn(async move {
            for n in (part..USERS).step_by(20) {
                let swap = Swap {
                    key: key(n),
                    expected: None,
                    version: Version::fresh(),
                    bytes: Some(vec![7; record]),
                    expire_at: None,
                    durability: Durability::Attempt,
                    decided_at: None,
                };
                store
                    .swap(swap, Deadline::after(std::time::Duration::from_secs(20)))
                    .await
                    .expect("a swap");
            }
        });
    }
    writers.join_all().await;
    let after: u64 = server.info("used_memory").parse().expect("a number");
    store.check(ample()).await.expect("a store");
    (after - before) / USERS
}

/// A user id as long as a UUID.
fn key(n: u64) -> RecordKey {
    RecordKey {
        namespace: Namespace::default(),
        user: UserId::parse(&format!("00000000-0000-4000-8000-{n:012}")).expect("a user"),
    }
}
