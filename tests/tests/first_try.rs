//! The first quarter of an hour: an empty directory, one command, and a tour of all the others.
//!
//! It is about the defaults, so it needs their ports: 6238 and 9238 of loopback.

mod terminal;

use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use terminal::{Terminal, answer, bare};
use tonic::transport::Channel;
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;
use twinlock_proto::v1::{SetPasswordRequest, set_password_request};
use twinlock_tests::{calm_step, code, finish, wrong_code};

/// The two tests take turns at the ports.
static PORTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_configured_the_first_start_makes_its_own_data() {
    let _ports = ports().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (mut server, said) = serve(directory.path());
    assert!(said.contains("is listening on http://127.0.0.1:6238"), "{said}");
    assert!(said.contains("Probes are on http://127.0.0.1:9238"), "{said}");
    assert!(said.contains("This was the first start"), "{said}");
    assert!(said.contains("Keep a copy of ./twinlock-data/keyring.toml"), "{said}");
    assert!(said.ends_with("Next, in another terminal: twinlock enroll alice\n"), "{said}");
    let mode = |name: &str| {
        let metadata = fs::metadata(directory.path().join(name)).expect(name);
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode("twinlock-data"), 0o700);
    assert_eq!(mode("twinlock-data/keyring.toml"), 0o600);
    assert_eq!(mode("twinlock-data/twinlock.redb"), 0o600);
    let entries = fs::read_dir(directory.path()).expect("a directory").count();
    assert_eq!(entries, 1, "nothing else is left lying about");

    // The next start finds the data, and is no first one any more.
    let keyring = fs::read(directory.path().join("twinlock-data/keyring.toml")).expect("a file");
    server.kill();
    let (server, said) = serve(directory.path());
    assert!(!said.contains("first start") && said.contains("twinlock enroll alice"), "{said}");
    let after = fs::read(directory.path().join("twinlock-data/keyring.toml")).expect("a file");
    assert_eq!(after, keyring, "it made another keyring");
    drop(server);

    // Whoever has configured something means data that is there already.
    let other = tempfile::tempdir().expect("a directory");
    fs::write(other.path().join("empty.toml"), "").expect("a file");
    let refused = |command: &mut Command| {
        let (status, output, errors) = finish(command.current_dir(other.path()));
        assert_eq!(status, Some(1), "{output}{errors}");
        assert!(errors.contains("twinlock init --new-dataset"), "{errors}");
        assert!(!other.path().join("twinlock-data").exists(), "it made data all the same");
    };
    refused(bare("serve").args(["--config", "empty.toml"]));
    refused(bare("serve").args(["--set", "backoff.initial=2s"]));
    refused(bare("serve").args(["--listen", "127.0.0.1:0"]));
    refused(bare("serve").env("TWINLOCK_BACKOFF__INITIAL", "2s"));
    // And so does whoever has a directory for it.
    fs::create_dir(other.path().join("twinlock-data")).expect("a directory");
    let (status, _, errors) = finish(bare("serve").current_dir(other.path()));
    assert_eq!(status, Some(1));
    assert!(errors.contains("twinlock init --new-dataset"), "{errors}");
    let (status, output, _) = finish(bare("init").arg("--new-dataset").current_dir(other.path()));
    assert_eq!(status, Some(0));
    assert!(output.contains("Made a new dataset"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_of_the_commands() {
    let _ports = ports().await;
    let directory = tempfile::tempdir().expect("a directory");
    let (_server, _) = serve(directory.path());
    health_and_strangers();
    calm_step(Duration::from_secs(12)).await;
    let (secret, key) = enroll_in_a_terminal();
    verify_and_elevate(&secret, &key).await;
    enroll_as_a_script();
    elevate_before_enrollment().await;
    failures_have_statuses();
}

fn health_and_strangers() {
    assert_eq!(finish(&mut bare("health")), (Some(0), "Serving.\n".into(), String::new()));
    let (status, output, _) = finish(bare("health").args(["--json", "--service", "no.Service"]));
    assert_eq!(status, Some(1), "{output}");
    let (status, output, _) = finish(bare("status").arg("alice"));
    assert_eq!(status, Some(0));
    assert!(output.contains("Two-step verification  off"), "{output}");
    let (status, output) = json(&["status", "alice"], "");
    assert_eq!((status, &output[0]["enrolled"]), (0, &Value::Bool(false)));
}

/// Alice enrolls as a person does; gives her secret and her recovery key.
fn enroll_in_a_terminal() -> (String, String) {
    let mut terminal = Terminal::start("enroll alice");
    let said = terminal.until("The code that the app shows now:");
    assert!(said.contains("your word is taken that this is alice"), "{said}");
    assert!(said.contains('█'), "there is no QR code: {said}");
    let (_, after) = said.split_once("type this key into the app:").expect("a key to type");
    let groups = after.split_whitespace().take_while(|word| word.len() == 4);
    let secret = groups.collect::<String>();
    assert_eq!(secret.len(), 32, "{said}");

    // A typing error costs a person nothing but another try.
    terminal.answer("12345");
    terminal.until("The code that the app shows now:");
    let shown = code(&secret, -1);
    terminal.answer(&format!("{} {}", &shown[..3], &shown[3..]));
    let said = terminal.until("Have you stored the recovery key safely? [y/N]");
    assert!(said.contains("Two-step verification is on."), "{said}");
    let key = recovery_key(&said);
    terminal.answer("y");
    assert_eq!(terminal.end(), 0);
    let (_, output, _) = finish(bare("status").arg("alice"));
    assert!(output.contains("on since") && output.contains("stored safely"), "{output}");
    (secret, key)
}

async fn verify_and_elevate(secret: &str, key: &str) {
    let (status, output, errors) = answer(&["verify", "alice"], &code(secret, 0));
    assert_eq!((status, &*output), (0, "Verified.\n"), "{errors}");
    let (status, output) = json(&["verify", "alice"], &code(secret, 0));
    assert_eq!(status, 1);
    assert_eq!(output[0]["reason"], "CODE_ALREADY_USED");
    assert!(output[0]["retry_after_ms"].is_u64(), "{output:?}");

    let (status, output, errors) =
        answer(&["elevate", "alice", "--session", "s"], &code(secret, 1));
    assert_eq!(status, 0, "{errors}");
    assert!(output.starts_with("Elevated until "), "{output}");

    // The recovery key, in the handwriting of its owner.
    let scrawled = key.to_lowercase().replace('-', " ");
    let (status, output, errors) = answer(&["verify", "alice"], &scrawled);
    assert_eq!(status, 0, "{errors}");
    let next = recovery_key(&output);
    assert_ne!(next, key);
    assert!(errors.contains("counts as not stored"), "{errors}");
    let (_, output, _) = finish(bare("status").arg("alice"));
    assert!(output.contains("nobody has said that it is stored safely"), "{output}");
    let (status, output) = json(&["elevate", "alice", "--session", "t"], &next);
    assert_eq!((status, &output[0]["elevation"]["method"]), (0, &"METHOD_RECOVERY_KEY".into()));
    let last = output[0]["recovery_key"].as_str().expect("the next key").to_owned();

    let (status, output, errors) = answer(&["verify", "alice"], &wrong_code(secret));
    assert_eq!((status, &*output), (1, ""));
    assert_eq!(errors, "This is not right. Check it and try again.\n");
    let (status, output) = json(&["verify", "alice"], &wrong_code(secret));
    assert_eq!((status, &output[0]["reason"]), (1, &"INVALID_CODE".into()));
    let (status, output) = json(&["verify", "alice"], &wrong_code(secret));
    assert_eq!((status, &output[0]["reason"]), (1, &"BACKOFF".into()));
    let wait = output[0]["retry_after_ms"].as_u64().expect("a wait");
    let (_, output) = json(&["status", "alice"], "");
    assert_eq!(output[0]["second_factor_backoff"]["failures"], 2);
    tokio::time::sleep(Duration::from_millis(wait)).await;

    let (status, output, errors) = answer(&["unenroll", "alice"], &last);
    assert_eq!(status, 0, "{errors}");
    assert!(output.contains("off for alice"), "{output}");
    let (status, output) = json(&["verify", "alice"], &code(secret, 1));
    assert_eq!((status, &output[0]["reason"]), (1, &"NOT_ENROLLED".into()));
    let (status, output, _) = answer(&["unenroll", "alice"], &code(secret, 1));
    assert_eq!((status, &*output), (1, ""));
}

/// Bob is enrolled by a program that reads and writes lines of JSON.
fn enroll_as_a_script() {
    let mut command = bare("enroll");
    command.args(["bob", "--json", "--yes", "--account-name", "bob@example.com"]);
    let mut script = terminal::Script::start(&mut command);
    let enrollment = script.line();
    assert_eq!(enrollment["stage"], "enrollment");
    let uri = enrollment["otpauth_uri"].as_str().expect("a URI");
    assert!(uri.starts_with("otpauth://totp/Twinlock:bob%40example.com?"), "{uri}");
    script.write(&code(enrollment["secret"].as_str().expect("a secret"), 0));
    let confirmation = script.line();
    assert_eq!(confirmation["stage"], "confirmation");
    assert_eq!(confirmation["recovery_key_acknowledged"], true);
    assert!(confirmation["recovery_key"].is_string());
    assert_eq!(script.end(), 0);

    // A script gets the failure instead of another try.
    let mut command = bare("enroll");
    let mut script = terminal::Script::start(command.args(["carl", "--json"]));
    let enrollment = script.line();
    script.write(&wrong_code(enrollment["secret"].as_str().expect("a secret")));
    assert_eq!(script.line()["reason"], "INVALID_CODE");
    assert_eq!(script.end(), 1);
}

async fn elevate_before_enrollment() {
    let (status, output) = json(&["elevate", "carol", "--session", "s", "--asserted", "saml"], "");
    assert_eq!((status, &output[0]["elevation"]["method"]), (0, &"METHOD_ASSERTED".into()));
    let (status, output) =
        json(&["elevate", "carol", "--session", "s", "--password"], "a password");
    assert_eq!((status, &output[0]["reason"]), (1, &"NO_PASSWORD".into()));
    let channel = Channel::from_static("http://127.0.0.1:6238").connect().await;
    let mut client = TwoStepServiceClient::new(channel.expect("a connection"));
    let password = set_password_request::Verifier::Password("the password of carol".into());
    let set = SetPasswordRequest { user_id: "carol".into(), verifier: Some(password) };
    client.set_password(set).await.expect("a password");
    let mut terminal = Terminal::start("elevate carol --session s --password");
    terminal.until("Password of carol:");
    terminal.answer("the password of carol");
    let said = terminal.until("Elevated until");
    assert_eq!(terminal.end(), 0);
    assert!(!said.contains("the password of carol"), "it was shown: {said}");
}

fn failures_have_statuses() {
    let nowhere = ["--address", "http://127.0.0.1:1"];
    for (arguments, typed, expected, reason) in [
        (&["status", "dave"][..], "", 3, "UNAVAILABLE"),
        (&["verify", "dave"], "123456", 3, "UNAVAILABLE"),
    ] {
        let (status, output) = json(&[arguments, &nowhere].concat(), typed);
        assert_eq!(
            (status, output[0]["reason"].as_str()),
            (expected, Some(reason)),
            "{arguments:?}"
        );
    }
    assert_eq!(finish(bare("health").args(nowhere)).0, Some(1));
    for (arguments, typed, expected, reason) in [
        (&["verify", "dave"][..], "", 2, "INVALID_REQUEST"),
        (&["verify", "dave", "--address", "ftp://x"], "123456", 2, "INVALID_REQUEST"),
        (&["verify", "dave\u{7}"], "123456", 2, "INVALID_REQUEST"),
        (&["verify", "dave"], "12345", 1, "MALFORMED_CODE"),
        (&["verify", "dave"], "123456", 1, "NOT_ENROLLED"),
        (&["enroll", "bob"], "000000", 1, "INVALID_CODE"),
    ] {
        let (status, output) = json(arguments, typed);
        assert_eq!(
            (status, output[0]["reason"].as_str()),
            (expected, Some(reason)),
            "{arguments:?}"
        );
    }
    assert_eq!(finish(bare("verify").args(["a", "--code", "123456"])).0, Some(2), "no such flag");
}

/// Runs a command with `--json`; gives its status and the objects that it printed.
fn json(arguments: &[&str], typed: &str) -> (i32, Vec<Value>) {
    let (status, output, _) = answer(&[arguments, &["--json"]].concat(), typed);
    let objects = output.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    (status, objects.collect())
}

/// The key in the box.
fn recovery_key(said: &str) -> String {
    let is_key = |word: &&str| word.len() == 29 && word.split('-').all(|group| group.len() == 5);
    said.split_whitespace().find(is_key).unwrap_or_else(|| panic!("no key: {said}")).to_owned()
}

async fn ports() -> tokio::sync::MutexGuard<'static, ()> {
    let ports = PORTS.lock().await;
    for port in [6238, 9238] {
        if let Err(error) = TcpListener::bind(("127.0.0.1", port)) {
            panic!(
                "127.0.0.1:{port} cannot be had ({error}). The first try uses the default ports: \
                 stop what listens there, another Twinlock for instance, and run this test again."
            );
        }
    }
    ports
}

/// A server that is killed when dropped.
struct Started(Child);

impl Started {
    fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts `twinlock serve` with nothing else; gives all that it says until it serves.
fn serve(directory: &Path) -> (Started, String) {
    let mut command = bare("serve");
    command.current_dir(directory).stdin(Stdio::null()).stderr(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let output = child.stdout.take().expect("a pipe");
    let started = Started(child);
    (started, terminal::read_until(output, "twinlock enroll alice\n"))
}
