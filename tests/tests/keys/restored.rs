//! Backups that were made under a key which is no longer the primary, or gone.

use crate::rotation::blocking;
use crate::{all_opens_with, done, ids, keyring_file, load, primary_alone, secrets, wait_for_log};
use std::sync::Arc;
use twinlock_engine::clock;
use twinlock_engine::store::embedded::Embedded;
use twinlock_tests::{Options, Server, User, finish};

const USERS: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_former_key_is_restored_and_resealed_and_of_a_retired_one_refused() {
    let server = blocking(|| Server::start(Options::default())).await;
    load::import(&server, USERS).await;
    let user = User::enroll(&mut server.client().await, "alice").await;
    let (old, _) = ids(&keyring_file(&server));

    // The key is a former one: it opens the backup, and everything in it is resealed.
    let retired = old.clone();
    let server = blocking(move || {
        let mut server = server;
        let mut backup = server.command("backup");
        let (status, _, why) = finish(backup.args(["backup", "--address", &server.address]));
        assert_eq!(status, Some(0), "{why}");
        done(&server, &["rotate"]);
        server.stop();
        let (status, _, why) = restore(&server);
        assert_eq!(status, Some(0), "{why}");
        let server = server.restart();
        wait_for_log(&server, "no former key seals anything");
        done(&server, &["retire", &retired, "--force"]);
        server
    })
    .await;
    let mut client = server.client().await;
    client.verify(user.verify(user.code(0))).await.expect("a right code");

    // It is retired: the key is named, and nothing of the backup is written.
    let (store, new) = blocking(move || {
        let mut server = server;
        server.stop();
        let (status, said, why) = restore(&server);
        assert_ne!(status, Some(0), "{said}");
        let sentence = format!("it needs the key {old}, and the keyring does not have it");
        assert!(why.contains(&sentence), "{why}");
        let file = keyring_file(&server);
        assert!(secrets(&file).iter().all(|secret| !why.contains(secret)));
        let store = Embedded::open(&server.directory().join("twinlock-data"), clock::system());
        (Arc::new(store.expect("the store is as it was")), primary_alone(&file))
    })
    .await;
    assert!(all_opens_with(store, &new).await > USERS);
}

fn restore(server: &Server) -> (Option<i32>, String, String) {
    finish(server.command("restore").args(["backup", "--replace"]))
}
