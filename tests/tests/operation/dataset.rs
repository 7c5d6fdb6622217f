//! Data that is missing, another's, moved or damaged: refused with a sentence, and never "not enrolled".

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use twinlock_proto::v1::DescribeUserRequest;
use twinlock_tests::{Client, Options, Server, User, calm_step, finish, reason};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

fn store(server: &Server) -> PathBuf {
    server.directory().join("twinlock-data/twinlock.redb")
}

fn keyring(server: &Server) -> PathBuf {
    server.directory().join("twinlock-data/keyring.toml")
}

/// Tries to start a stopped server; gives the sentence of its refusal.
fn refusal(server: &Server) -> String {
    let before = listing(server.directory());
    let mut serve = server.command("serve");
    // A setting, so that it is no first try.
    serve.args(["--listen", "127.0.0.1:0", "--set", "telemetry.listen=127.0.0.1:0"]);
    let (status, output, errors) = finish(&mut serve);
    assert_eq!(status, Some(1), "{output}{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    assert_eq!(listing(server.directory()), before, "a refused start left something behind");
    errors
}

/// All files below a directory, with their lengths; but for that of the store, which redb tidies as it closes it.
fn listing(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let metadata = entry.metadata().expect("metadata");
        if metadata.is_dir() {
            found.extend(listing(&entry.path()));
        } else {
            let is_store = entry.file_name() == "twinlock.redb";
            found.push((entry.path(), if is_store { 0 } else { metadata.len() }));
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_right_data_is_refused_and_makes_nothing() {
    let mut server = Server::start_default();
    let user = User::enroll(&mut server.client().await, "alice").await;
    assert!(server.stop().success());
    let (store, keyring) = (store(&server), keyring(&server));
    let store_bytes = fs::read(&store).expect("a file");
    let keyring_text = fs::read(&keyring).expect("a file");

    fs::remove_file(&store).expect("removed");
    let errors = refusal(&server);
    assert!(
        errors.contains("twinlock init --new-dataset") && errors.contains("restore"),
        "{errors}"
    );
    let data = server.directory().join("twinlock-data");
    fs::rename(&data, server.directory().join("elsewhere")).expect("moved");
    let errors = refusal(&server);
    assert!(errors.contains("There is no store in"), "{errors}");
    fs::create_dir(&data).expect("an empty directory");
    let errors = refusal(&server);
    assert!(errors.contains("There is no store in"), "{errors}");
    fs::remove_dir(&data).expect("removed");
    fs::rename(server.directory().join("elsewhere"), &data).expect("moved back");

    for (bytes, said) in [
        (&b""[..], "empty"),
        (&[0x55; 100_000], "no Twinlock store"),
        (&store_bytes[..store_bytes.len() / 2], ""),
    ] {
        fs::write(&store, bytes).expect("a file");
        let errors = refusal(&server);
        assert!(errors.contains("twinlock.redb") && errors.contains(said), "{errors}");
        assert_eq!(fs::read(&store).expect("a file"), bytes, "it was changed");
    }
    fs::write(&store, &store_bytes).expect("a file");

    let other = Server::start_default();
    fs::copy(self::keyring(&other), &keyring).expect("copied");
    let errors = refusal(&server);
    assert!(errors.contains("does not belong to the store"), "{errors}");
    assert!(errors.contains("Put the right keyring"), "{errors}");
    fs::remove_file(&keyring).expect("removed");
    assert!(refusal(&server).contains("cannot read the keyring"));
    fs::write(&keyring, "primary = ").expect("a file");
    let errors = refusal(&server);
    assert!(errors.contains("keyring.toml is not usable"), "{errors}");

    fs::write(&keyring, keyring_text).expect("a file");
    let server = server.restart();
    assert!(user.describe(&mut server.client().await).await.enrolled);
}

#[test]
fn a_new_dataset_is_never_made_over_another() {
    let mut server = Server::start_default();
    assert!(server.stop().success());
    let before = fs::read(store(&server)).expect("a file");
    let (status, _, errors) = finish(server.command("init").arg("--new-dataset"));
    assert_eq!(status, Some(1));
    assert!(errors.contains("There is a store in"), "{errors}");
    assert_eq!(fs::read(store(&server)).expect("a file"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_is_moved_or_no_record_is_an_error_for_that_user_alone() {
    let mut server = Server::start_default();
    let mut client = server.client().await;
    let alice = User::enroll(&mut client, "alice").await;
    let carol = User::enroll(&mut client, "carol").await;
    assert!(server.stop().success());
    edit(&store(&server), |record| {
        // Alice's record under names that are not hers, and bytes that no release ever wrote.
        vec![
            ("bob", valued("bob", &record("alice")[4..])),
            ("dave", valued("dave", &[&[0; 24][..], b"no record at all"].concat())),
            ("erin", valued("erin", &[0; 24])),
            ("frank", record("alice")),
        ]
    });
    let server = server.restart();
    let mut client = server.client().await;
    calm_step(std::time::Duration::from_secs(3)).await;
    for (user, expected) in [
        ("bob", "SECRET_UNREADABLE"),
        ("dave", "SECRET_UNREADABLE"),
        ("erin", "SECRET_UNREADABLE"),
        // The checksum of the file's own format says that it was not written here.
        ("frank", "STORE_UNAVAILABLE"),
    ] {
        let moved = User { id: user.into(), ..alice.clone() };
        let login = client.verify(moved.verify(moved.code(0))).await.expect_err("not theirs");
        assert_eq!(reason(&login), expected, "{user}: {login}");
        let key = client.verify(moved.redeem(&*alice.recovery_key)).await.expect_err("not theirs");
        assert_eq!(reason(&key), expected, "{user}: {key}");
        assert_eq!(described(&mut client, user).await, Err(expected.into()), "{user}");
    }
    client.verify(alice.verify(alice.code(0))).await.expect("alice is as before");
    client.verify(carol.verify(carol.code(0))).await.expect("carol is as before");
    assert_eq!(described(&mut client, "nobody").await, Ok(false));
}

async fn described(client: &mut Client, user: &str) -> Result<bool, String> {
    let request = DescribeUserRequest { user_id: user.into() };
    let answer = client.describe_user(request).await;
    answer.map(|answer| answer.into_inner().enrolled).map_err(|status| reason(&status))
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_what_is_wrong_and_says_what_to_do() {
    let mut server = Server::start_default();
    let mut client = server.client().await;
    User::enroll(&mut client, "alice").await;
    let (status, output, _) = finish(&mut server.command("doctor"));
    assert_eq!(status, Some(1));
    assert!(output.contains("another Twinlock process is using"), "{output}");

    assert!(server.stop().success());
    let (status, output, errors) = finish(&mut server.command("doctor"));
    assert_eq!(status, Some(0), "{output}{errors}");
    for subject in ["configuration", "clock", "keyring", "store", "records"] {
        assert!(output.contains(&format!("ok    {subject}:")), "{output}");
    }
    let (status, output, _) = finish(server.command("doctor").arg("--json"));
    assert_eq!(status, Some(0));
    for line in output.lines() {
        let finding: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(finding["is_right"], true, "{line}");
    }

    edit(&store(&server), |record| vec![("bob", valued("bob", &record("alice")[4..]))]);
    let failed = |advice: &[&str]| {
        let (status, output, errors) = finish(&mut server.command("doctor"));
        assert_eq!(status, Some(1), "{output}{errors}");
        let line = output.lines().find(|line| line.starts_with("FAIL")).expect("a failure");
        assert!(advice.iter().all(|advice| line.contains(advice)), "{line}");
    };
    failed(&["records", "bob"]);
    let mode = |mode| fs::set_permissions(keyring(&server), fs::Permissions::from_mode(mode));
    mode(0o644).expect("a mode");
    failed(&["keyring", "chmod 600"]);
    mode(0o600).expect("a mode");
    fs::write(store(&server), [0x55; 10_000]).expect("a file");
    failed(&["store", "no Twinlock store"]);
    fs::remove_file(store(&server)).expect("removed");
    failed(&["store", "twinlock init --new-dataset"]);
    fs::remove_file(keyring(&server)).expect("removed");
    failed(&["keyring", "cannot read"]);
    let (status, _, errors) = finish(server.command("doctor").args(["--set", "backof.initial=1s"]));
    assert_eq!(status, Some(2));
    assert!(errors.contains("backof"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_open_to_others_is_closed_to_them_and_told() {
    let mut server = Server::start(Options::default());
    assert!(server.stop().success());
    fs::set_permissions(store(&server), fs::Permissions::from_mode(0o644)).expect("a mode");
    let server = server.restart();
    assert_eq!(fs::metadata(store(&server)).expect("a file").permissions().mode() & 0o777, 0o600);
    assert!(server.log().contains("open to other users"), "{}", server.log());
}

/// Writes values into the file of a stopped server, made from those that are there.
fn edit<'a>(file: &Path, make: impl FnOnce(&dyn Fn(&str) -> Vec<u8>) -> Vec<(&'a str, Vec<u8>)>) {
    let database = Database::open(file).expect("a database");
    let reading = database.begin_read().expect("a transaction");
    let records = reading.open_table(RECORDS).expect("the records");
    let record = |user: &str| {
        let found = records.get(&*key(user)).expect("a read").expect("a record");
        found.value().to_vec()
    };
    let made = make(&record);
    let writing = database.begin_write().expect("a transaction");
    let mut records = writing.open_table(RECORDS).expect("the records");
    for (user, value) in made {
        assert!(records.get(&*key(user)).expect("a read").is_none());
        records.insert(&*key(user), &*value).expect("a write");
    }
    drop(records);
    writing.commit().expect("a commit");
}

/// The store's key of a user: the length of the namespace, the namespace, the user.
fn key(user: &str) -> Vec<u8> {
    [b"\x07default", user.as_bytes()].concat()
}

/// A value with the checksum that belongs to it under this user's key.
fn valued(user: &str, rest: &[u8]) -> Vec<u8> {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&key(user));
    hasher.update(rest);
    [&hasher.finalize().to_be_bytes()[..], rest].concat()
}
