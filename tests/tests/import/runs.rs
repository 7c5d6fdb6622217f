//! Long runs, runs that are cut off, and what they leave behind.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use twinlock_core::totp::Parameters;
use twinlock_proto::v1::verify_request::Credential;
use twinlock_tests::fault_proxy::{Direction, End, FaultProxy, Flow, Which};
use twinlock_tests::{Options, Server, verify_with};

use super::{Run, command, describe, sample, sign_in};

/// The secret of a user of [`list`].
fn secret(number: usize) -> [u8; 20] {
    let digest = Sha256::digest(number.to_be_bytes());
    std::array::from_fn(|index| digest[index])
}

/// A list of so many users, user-0 and so on.
fn list(directory: &Path, users: usize) -> PathBuf {
    let lines = (0..users).map(|number| {
        let secret = BASE32_NOPAD.encode(&secret(number));
        format!("{{\"user_id\":\"user-{number}\",\"otpauth_uri\":\"otpauth://totp/x?secret={secret}\"}}\n")
    });
    let file = directory.join("list.jsonl");
    std::fs::write(&file, lines.collect::<String>()).expect("a file");
    file
}

/// The recovery keys of a file that a run has written.
fn recovery_keys(file: &Path) -> HashMap<String, String> {
    let text = std::fs::read_to_string(file).expect("a file of keys");
    let mut lines = text.lines().map(|line| line.split_once(',').expect("two columns"));
    assert_eq!(lines.next(), Some(("user_id", "recovery_key")));
    lines.map(|(user, key)| (user.to_owned(), key.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_ends_the_run_with_a_report_and_the_next_run_does_the_rest() {
    const USERS: usize = 20_000;
    let mut server = Server::start_default();
    let file = list(server.directory(), USERS);
    let mut import = command(&server.address, &file);
    import.arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = import.spawn().expect("it starts");
    let mut client = server.client().await;
    while !describe(&mut client, "user-300").await.enrolled {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    let run = Run::ended(running.wait_with_output().expect("it ends"));
    assert_eq!(run.status, 3, "{}", run.errors);
    let (imported, failed) = (run.count("imported"), run.count("failed"));
    assert!(imported >= 250 && run.count("not_tried") > 0, "{imported} imported");
    // No more than were under way.
    assert!((1..=16).contains(&failed), "{failed} failed");
    assert_eq!(imported + failed + run.count("not_tried"), USERS as u64);
    let lines = run.json();
    let stopped =
        lines.last().expect("a summary")["summary"]["stopped"].as_str().expect("a reason");
    assert!(stopped.contains("cannot be reached"), "{stopped}");

    let server = server.restart();
    let mut client = server.client().await;
    for line in lines.iter().filter(|line| line["outcome"] == "imported") {
        let user = line["user_id"].as_str().expect("a user");
        assert!(describe(&mut client, user).await.enrolled, "{user} was said to be imported");
    }
    let rest = Run::of(command(&server.address, &file).arg("--json"));
    assert_eq!(rest.status, 1, "{}", rest.errors);
    let already = rest.count("already_enrolled");
    assert!((imported..=imported + failed).contains(&already), "{imported}, {failed}, {already}");
    assert_eq!(rest.count("imported") + already, USERS as u64);
    for number in [0, 299, 300, USERS / 2, USERS - 1] {
        sign_in(&server, &format!("user-{number}"), &secret(number), &Parameters::default()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_answers_cost_no_recovery_key() {
    const USERS: usize = 400;
    let server = Server::start_default();
    let port = server.authority().rsplit_once(':').expect("a port").1.parse().expect("a number");
    let proxy = FaultProxy::start(port).await;
    // A connection breaks after some answers, and others are lost with it.
    proxy.inflict(Which::All, Direction::Answers, Flow::Cut { after: 6000, end: End::Reset });
    let file = list(server.directory(), USERS);
    let keys = server.directory().join("keys.csv");
    let address = format!("http://127.0.0.1:{}", proxy.port);
    let mut import = command(&address, &file);
    import.arg("--json").arg("--recovery-keys").arg(&keys);
    let running = tokio::task::spawn_blocking(move || Run::of(&mut import));
    // A call is tried three times, so that whoever meets both breaks comes through all the same.
    while proxy.connections() < 3 && !running.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    proxy.heal();
    let run = running.await.expect("a run");
    assert_eq!(run.status, 0, "{:?}", run.output.lines().last());
    assert_eq!(run.count("imported"), USERS as u64);
    assert!(proxy.connections() >= 3, "only {} connections", proxy.connections());

    let keys = recovery_keys(&keys);
    assert_eq!(keys.len(), USERS);
    let mut client = server.client().await;
    for (user, key) in &keys {
        assert!(!run.output.contains(key) && !run.errors.contains(key), "a key was printed");
        let request = verify_with(user, Credential::RecoveryKey(key.clone()));
        if let Err(status) = client.verify(request).await {
            panic!("{user}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_keys_go_to_a_new_file_of_its_owner_alone() {
    let server = Server::start_default();
    let file = list(server.directory(), 2);
    let keys = server.directory().join("keys.csv");
    let import = |extra: &[&str]| {
        Run::of(command(&server.address, &file).arg("--recovery-keys").arg(&keys).args(extra))
    };
    assert_eq!(import(&["--dry-run"]).status, 0);
    assert!(!keys.exists(), "a dry run writes nothing");
    assert_eq!(import(&[]).status, 0);
    let mode = keys.metadata().expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(recovery_keys(&keys).len(), 2);

    for extra in [&[][..], &["--dry-run"]] {
        let refused = import(extra);
        assert_eq!(refused.status, 2);
        assert!(refused.errors.contains("is there already"), "{}", refused.errors);
    }
    assert_eq!(recovery_keys(&keys).len(), 2, "the keys of the first run are still there");

    // Without the option, no key is made.
    let other = Server::start_default();
    assert_eq!(Run::of(&mut command(&other.address, &file)).status, 0);
    let mut client = other.client().await;
    assert_eq!(describe(&mut client, "user-0").await.recovery_key_create_time, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_keys_that_cannot_be_written_end_the_run() {
    let server = Server::start_default();
    let file = list(server.directory(), 2000);
    let mut limited = std::process::Command::new("sh");
    twinlock_tests::unconfigure(&mut limited);
    // A file that may have one block of 512 bytes: room for the keys of some ten users.
    let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" import \"$1\" --address \"$2\" --recovery-keys \"$3\"";
    limited.args(["-c", script]).arg(twinlock_tests::binary()).arg(&file).arg(&server.address);
    let run = Run::of(limited.arg(server.directory().join("keys.csv")));
    assert_eq!(run.status, 3, "{}{}", run.output, run.errors);
    assert!(run.output.contains("The recovery keys cannot be written"), "{}", run.output);
    assert!(run.output.contains("the recovery key could not be written"), "{}", run.output);
    assert!(run.output.contains("not tried"), "{}", run.output);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_ends_what_is_under_way_and_reports() {
    const USERS: usize = 20_000;
    let server = Server::start_default();
    let file = list(server.directory(), USERS);
    let mut import = command(&server.address, &file);
    import.arg("--json").stdout(Stdio::piped());
    let running = import.spawn().expect("it starts");
    let mut client = server.client().await;
    while !describe(&mut client, "user-300").await.enrolled {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let pid = running.id().to_string();
    let sent =
        std::process::Command::new("kill").args(["-s", "INT", &pid]).status().expect("kill runs");
    assert!(sent.success());
    let run = Run::ended(running.wait_with_output().expect("it ends"));
    assert_eq!(run.status, 3);
    assert_eq!(run.count("failed"), 0);
    assert_eq!(run.count("imported") + run.count("not_tried"), USERS as u64);
    for line in run.json().iter().take(1000) {
        let Some(user) = line["user_id"].as_str() else { continue };
        let imported = line["outcome"] == "imported";
        assert_eq!(describe(&mut client, user).await.enrolled, imported, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_the_role_imports_nobody() {
    let caller = |name: &str, role: &str| {
        let hash = HEXLOWER.encode(&Sha256::digest(format!("token-of-{name}")));
        format!("[[caller]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\nroles = [\"{role}\"]\n")
    };
    let callers = [caller("shop", "product"), caller("desk", "admin")];
    let server = Server::start(Options::default().file(&callers.concat()));
    let file = sample("vault.json");
    let import =
        |token: &str| Run::of(command(&server.address, &file).args(["--json", "--token", token]));
    for token in ["token-of-shop", "token-of-nobody"] {
        let run = import(token);
        assert_eq!(run.status, 3, "{}", run.output);
        assert_eq!(run.count("imported"), 0);
        assert_eq!(run.count("failed") + run.count("not_tried"), 3);
    }
    let run = import("token-of-desk");
    assert_eq!((run.status, run.count("imported")), (1, 3), "{}", run.output);
}
