//! Backups of running servers and of stores at rest, restored into every kind of store; and the commands
//! that look at every record.

mod broken;
mod namespaces;
mod round_trip;
mod targets;

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;
use twinlock_core::record::{Authenticator, Record as Content, Recovery};
use twinlock_core::totp::{Parameters, Step};
use twinlock_core::{Namespace, UserId};
use twinlock_engine::backup::Verified;
use twinlock_engine::seal::{Keyring, Purpose};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{Record, RecordKey, Target, Version};
use twinlock_tests::{Options, Server, now};

/// How a command ended, and the most memory that it ever had, in bytes.
struct Ended {
    status: Option<i32>,
    output: String,
    errors: String,
    memory: u64,
    took: Duration,
}

/// Runs a command to its end.
fn run(command: &mut Command) -> Ended {
    let begun = Instant::now();
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the command starts");
    let (mut output, mut errors) =
        (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    let output = std::thread::spawn(move || text_of(&mut output));
    let errors = std::thread::spawn(move || text_of(&mut errors));
    let status = Path::new("/proc").join(child.id().to_string()).join("status");
    let mut memory = 0;
    let ended = loop {
        let peak = std::fs::read_to_string(&status).ok().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        });
        memory = memory.max(peak.unwrap_or(0) * 1024);
        if let Some(ended) = child.try_wait().expect("a child") {
            break ended;
        }
        if begun.elapsed() > Duration::from_secs(300) {
            child.kill().expect("it is killed");
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    Ended {
        status: ended.code(),
        output: output.join().expect("its output"),
        errors: errors.join().expect("its errors"),
        memory,
        took: begun.elapsed(),
    }
}

/// The same for one that must succeed.
fn done(command: &mut Command) -> Ended {
    let ended = run(command);
    assert_eq!(ended.status, Some(0), "{}{}", ended.output, ended.errors);
    ended
}

fn text_of(pipe: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).expect("readable output");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A server that has enrolled users `user-0` and so on, who were written into its file while it was stopped.
async fn serving(options: Options, users: u32) -> Server {
    let mut server = Server::start(options);
    assert!(server.stop().success());
    let keyring = keyring(&server);
    let data = server.directory().join("twinlock-data");
    let mut target = Embedded::restoring(&data).expect("the stopped server's file");
    for first in (0..users).step_by(4096) {
        let records = (first..users.min(first + 4096)).map(|n| enrolled(&keyring, n)).collect();
        target.put(records).await.expect("a write");
    }
    drop(target);
    server.restart()
}

fn keyring(server: &Server) -> Keyring {
    let file = server.directory().join("twinlock-data/keyring.toml");
    twinlock::keyring::read(&file).expect("a keyring")
}

fn enrolled(keyring: &Keyring, n: u32) -> Record {
    let key = user(&format!("user-{n}"));
    let vault = keyring.vault(&key);
    let content = Content {
        authenticator: Some(Authenticator {
            secret: vault.seal(Purpose::TotpSecret, &[n as u8; 20]),
            parameters: Parameters::default(),
            last_step: Some(Step(50_000_000)),
            enrolled_at: now(),
        }),
        recovery: Some(Recovery {
            hash: vault.seal(Purpose::RecoveryKey, &[n as u8; 32]),
            created_at: now(),
            acknowledged: true,
        }),
        ..Content::default()
    };
    let bytes = vault.write(&content);
    Record { key, version: Version::fresh(), bytes, expire_at: None }
}

fn user(name: &str) -> RecordKey {
    RecordKey { namespace: Namespace::default(), user: UserId::parse(name).expect("a user") }
}

/// What a backup holds: of each user, a digest of all that is kept. Of one that is there twice, the later.
fn contents(file: &Path, keyring: &Keyring) -> HashMap<String, u64> {
    let file = File::open(file).expect("a file");
    let mut verified = Verified::read(file, keyring).expect("a backup");
    let reader = verified.records().expect("records");
    let mut contents = HashMap::new();
    while let Some(record) = reader.next_record().expect("a record") {
        let Record { key, version, bytes, expire_at } = record;
        let mut digest = DefaultHasher::new();
        (version.0, bytes, expire_at.map(|at| at.as_millis())).hash(&mut digest);
        contents.insert(format!("{}/{}", key.namespace, key.user), digest.finish());
    }
    contents
}

/// `twinlock backup FILE` through a running server.
fn backup(server: &Server, file: &str) -> Command {
    let mut command = server.command("backup");
    command.arg(file).args(["--address", &server.address]);
    command
}
