//! What an operator of one namespace gets of a store that has others, and what doctor finds through a server.

use super::{backup, contents, done, keyring, run, serving};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{Record, Target};
use twinlock_tests::{Options, Server};

fn callers() -> Options {
    let caller = |name: &str| {
        let hash = HEXLOWER.encode(&Sha256::digest(format!("token-of-{name}")));
        format!(
            "[[caller]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\n\
             roles = [\"product\", \"operator\"]\nnamespace = \"{name}\"\n"
        )
    };
    Options::default().file(&(caller("default") + &caller("shop")))
}

/// Writes a record into the file of a stopped server.
async fn put(server: &Server, record: Record) {
    let data = server.directory().join("twinlock-data");
    let mut target = Embedded::restoring(&data).expect("a target");
    target.put(vec![record]).await.expect("a write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_gets_the_users_of_its_own_namespace_alone() {
    let server = serving(callers(), 500).await;
    let keyring = keyring(&server);
    let with = |mut command: std::process::Command, name: &str| {
        command.env("TWINLOCK_TOKEN", format!("token-of-{name}"));
        command
    };
    done(&mut with(backup(&server, "own"), "default"));
    done(&mut with(backup(&server, "others"), "shop"));
    let refused = run(&mut with(backup(&server, "nobodys"), "nobody"));
    assert_eq!(refused.status, Some(3), "{}", refused.errors);
    assert!(!server.directory().join("nobodys").exists());
    assert_eq!(contents(&server.directory().join("own"), &keyring).len(), 500);
    assert_eq!(contents(&server.directory().join("others"), &keyring).len(), 0);

    let elsewhere = ["--set", "store.path=elsewhere"];
    let refused = run(server.command("restore").arg("others").args(elsewhere));
    assert_eq!(refused.status, Some(1));
    assert!(refused.errors.contains("--partial"), "{}", refused.errors);
    // The whole store was this namespace's when its backup was made.
    let restored = done(server.command("restore").arg("own").args(elsewhere));
    assert!(restored.output.contains("the only one then"), "{}", restored.output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_asks_the_server_that_has_the_store() {
    let mut server = serving(callers(), 300).await;
    let keyring = keyring(&server);
    assert!(server.stop().success());
    let one = super::enrolled(&keyring, 7);
    put(&server, Record { key: super::user("mallory"), ..one }).await;
    let server = server.restart();
    let doctor = |token: &str| {
        let mut command = server.command("doctor");
        command.args(["--address", &server.address]).env("TWINLOCK_TOKEN", token);
        run(&mut command)
    };
    let found = doctor("token-of-default");
    assert_eq!(found.status, Some(1), "{}", found.output);
    let line = found.output.lines().find(|line| line.starts_with("FAIL")).expect("a failure");
    assert!(line.contains("records: mallory") && line.contains("restore a backup"), "{line}");
    assert!(found.output.contains("is in use by a server"), "{}", found.output);
    let other = doctor("token-of-shop");
    assert_eq!(other.status, Some(0), "{}", other.output);
    assert!(!other.output.contains("mallory"), "{}", other.output);
    let stranger = doctor("token-of-nobody");
    assert_eq!(stranger.status, Some(1));
    assert!(stranger.output.contains("another Twinlock process is using"), "{}", stranger.output);
}
