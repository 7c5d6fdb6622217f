//! The keyring's file, and the keys in the environment.

use crate::{done, ids, keyring_file, keys, load, log_has, put, refused, secrets, wait_for_log};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use twinlock::keyring::File;
use twinlock_engine::seal::KeyId;
use twinlock_tests::redis::until;
use twinlock_tests::{Options, Server, User, finish, twinlock};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyring_that_cannot_be_used_does_no_harm() {
    let server = Server::start_default();
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "alice").await;
    let file = keyring_file(&server);
    let good = fs::read(&file).expect("a file");
    let other = Server::start_default();
    let foreign = fs::read(keyring_file(&other)).expect("a file");
    let text = String::from_utf8(good.clone()).expect("text");
    let (id, _) = ids(&file);
    let secrets = [&file, &keyring_file(&other)].map(|file| secrets(file).remove(0));
    let swapped = text.replace(&secrets[0], &secrets[1]).into_bytes();
    let half = good[..good.len() / 2].to_vec();

    for (broken, why) in [
        (b"primary = ".to_vec(), "is not a TOML file".to_owned()),
        (half, "is not a TOML file".to_owned()),
        (Vec::new(), "is not a TOML file".to_owned()),
        (foreign, format!("it lacks key {id}, which seals now")),
        (swapped, format!("its key {id} is another one")),
    ] {
        let refusals = || server.log().matches(&why).count();
        let before = refusals();
        put(&file, &broken);
        server.signal("HUP");
        until(|| refusals() > before, &format!("{why:?} in the log: {}", server.log()));
        let warned = || server.probe("/readyz").contains(&why);
        until(warned, &format!("a warning of {why:?}: {}", server.probe("/readyz")));
        let ready = server.probe("/readyz");
        assert!(ready.contains("200 OK") && ready.contains("keyring was refused"), "{ready}");
        assert!(user.describe(&mut client).await.enrolled, "the keyring before goes on");
    }
    fs::remove_file(&file).expect("removed");
    until(|| server.probe("/readyz").contains("cannot read the keyring"), "a warning");
    put(&file, &good);
    let fine = || !server.probe("/readyz").contains("warning");
    until(fine, "the warning to end");
    client.verify(user.verify(user.code(0))).await.expect("a right code");
    assert!(secrets.iter().all(|secret| !server.log().contains(secret)), "a key is in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_needed_key_is_neither_retired_nor_taken_away_by_hand() {
    let server = Server::start_default();
    let mut client = server.client().await;
    User::enroll(&mut client, "alice").await;
    let file = keyring_file(&server);
    let before = fs::read_to_string(&file).expect("a file");
    let (old, _) = ids(&file);
    let said = done(&server, &["rotate", "--file-only"]);
    assert!(said.contains("Hand the file to the servers"), "{said}");
    // Before the server has taken it, all is sealed under the old key.
    let why = refused(&server, &["retire", &old, "--force"]);
    assert!(why.contains("seals with another key than the file's primary"), "{why}");
    let why = refused(&server, &["rotate"]);
    assert!(why.contains("Nothing was changed"), "{why}");
    assert_eq!(ids(&file).1, std::slice::from_ref(&old));
    server.signal("HUP");
    wait_for_log(&server, "no former key seals anything");
    done(&server, &["retire", &old, "--force"]);

    // A file of before the rotation lacks what everything is sealed under by now.
    put(&file, before.as_bytes());
    server.signal("HUP");
    until(|| server.probe("/readyz").contains("it lacks key"), "a warning");
    assert!(client.describe_user(describe("alice")).await.expect("known").into_inner().enrolled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_comes_too_early_is_taken_when_everything_is_resealed() {
    let server = Server::start_default();
    load::import(&server, 2000).await;
    let file = keyring_file(&server);
    let (old, _) = ids(&file);
    done(&server, &["rotate", "--file-only"]);
    server.signal("HUP");
    wait_for_log(&server, "resealing records");
    let mut early = File::read(&file).expect("a keyring");
    early.retire(KeyId::parse(&old).expect("a name")).expect("removed");
    let alone = file.with_extension("alone");
    early.create(&alone).expect("a file");
    put(&file, &fs::read(&alone).expect("a file"));
    server.signal("HUP");
    wait_for_log(&server, &format!("it lacks key {old}, which still seals"));
    wait_for_log(&server, "no former key seals anything");
    until(|| !done(&server, &["list"]).contains(&old), "the key to be gone");
    assert!(!server.probe("/readyz").contains("warning"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_at_rest_is_resealed_without_a_server() {
    let mut server = Server::start_default();
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "alice").await;
    let (old, _) = ids(&keyring_file(&server));
    let (status, _, why) = finish(keys_direct(&server, &["rotate"]).arg("--json"));
    assert_eq!(status, Some(3), "the server has the file: {why}");
    assert_eq!(ids(&keyring_file(&server)).0, old, "nothing was changed");
    server.stop();
    let (status, said, noted) = finish(&mut keys_direct(&server, &["rotate"]));
    assert_eq!(status, Some(0), "{said}{noted}");
    assert!(said.contains("Everything is sealed under it"), "{said}");
    let (status, said, noted) = finish(&mut keys_direct(&server, &["retire", &old, "--force"]));
    assert_eq!(status, Some(0), "{said}{noted}");
    let server = server.restart();
    let mut client = server.client().await;
    client.verify(user.verify(user.code(0))).await.expect("a right code");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_may_come_from_the_environment() {
    let [one, two] = [printed(), printed()];
    let with = |keys: &str| Options::default().env("TWINLOCK_KEYRING__KEYS", keys);
    let server = Server::start(with(&one));
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "alice").await;
    assert!(!keyring_file(&server).exists(), "no file is made beside");
    let (status, _, why) = finish(keys(&server, &["rotate"]).env("TWINLOCK_KEYRING__KEYS", &one));
    assert_eq!(status, Some(2), "{why}");
    assert!(why.contains("keyring.keys"), "{why}");

    let mut server = server.restart_with(with(&format!("{one},+{two}")));
    assert!(!log_has(&server, "resealed"), "a prepared key changes nothing");
    server.stop();
    let early = finish(server.command("serve").env("TWINLOCK_KEYRING__KEYS", &two));
    let (id, _) = one.split_once(':').expect("a line");
    assert!(early.0 != Some(0) && early.2.contains(&format!("has no key {id}")), "{early:?}");
    let server = server.restart_with(with(&format!("{two},{one}")));
    wait_for_log(&server, "no former key seals anything");
    let mut server = server.restart_with(with(&two));
    let mut client = server.client().await;
    client.verify(user.verify(user.code(0))).await.expect("a right code");
    server.stop();
    let log = server.log();
    for key in [one, two] {
        let secret = key.split_once(':').expect("a line").1;
        assert!(!log.contains(secret));
    }
}

#[test]
fn a_keyring_is_made_once_and_is_its_owners_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let generate = || {
        let mut command = twinlock();
        command.current_dir(directory.path()).args(["keys", "generate"]);
        command.args(["--set", "keyring.file=keys/keyring.toml"]);
        finish(&mut command)
    };
    let (status, said, noted) = generate();
    assert_eq!(status, Some(0), "{noted}");
    assert!(said.contains("Made the keyring keys/keyring.toml"), "{said}");
    let file = directory.path().join("keys/keyring.toml");
    let mode = |path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&directory.path().join("keys"))), (0o600, 0o700));
    let before = fs::read(&file).expect("a file");
    let (status, _, why) = generate();
    assert_eq!(status, Some(1), "{why}");
    assert!(why.contains("stays as it is"), "{why}");
    assert_eq!(fs::read(&file).expect("a file"), before);
}

/// A key as `keys generate --print` prints it.
fn printed() -> String {
    let (status, said, why) = finish(twinlock().args(["keys", "generate", "--print"]));
    assert_eq!(status, Some(0), "{why}");
    said.trim().to_owned()
}

fn keys_direct(server: &Server, arguments: &[&str]) -> Command {
    let mut command = twinlock();
    command.current_dir(server.directory()).arg("keys").args(arguments).arg("--direct");
    command
}

fn describe(user: &str) -> twinlock_proto::v1::DescribeUserRequest {
    twinlock_proto::v1::DescribeUserRequest { user_id: user.into() }
}
