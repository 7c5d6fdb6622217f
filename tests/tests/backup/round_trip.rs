//! From the embedded store to Redis and back.

use super::{Ended, backup, contents, done, keyring, serving};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use twinlock_proto::v1::{AssertedCredential, ElevateRequest, elevate_request};
use twinlock_tests::redis::{Program, Server as Redis};
use twinlock_tests::{Options, Server};

/// What a process may take more for ten times as many users. Peaks of one and the same run differ by up to
/// 17 MB, by what the allocator keeps; a copy of the 180,000 more users takes 40 MB at least.
const LEEWAY: u64 = 28 << 20;

/// How many users the large store has.
fn many() -> u32 {
    if std::env::var_os("TWINLOCK_TEST_LONG").is_some() { 1_000_000 } else { 200_000 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_goes_to_redis_and_back_record_for_record_in_flat_memory() {
    let few = round_trip(many() / 10).await;
    let many = round_trip(many()).await;
    for ((what, few), (_, many)) in few.into_iter().zip(many) {
        assert!(many < few + LEEWAY, "{what}: {few} bytes for few users, and {many} for many");
    }
}

/// Gives the most memory that each process had.
async fn round_trip(users: u32) -> Vec<(&'static str, u64)> {
    let mut server = serving(Options::default(), users).await;
    let keyring = keyring(&server);
    let redis = Redis::start(Program::Redis, &["--appendfsync", "everysec"]);
    let load = Load::on(&server).await;
    let made = done(&mut backup(&server, "first"));
    let (calls, writes_failed) = load.end().await;
    assert!(calls > 20, "only {calls} writes during the backup");
    assert_eq!(writes_failed, 0);
    let mut memory = vec![("the server", server.memory("VmHWM")), ("backup", made.memory)];
    tell("backup of a running server", users, &made, &server.directory().join("first"));
    assert!(server.stop().success());

    let url = format!("store.redis.urls={}", redis.url());
    let over_redis = |name: &str, file: &str| -> Command {
        let mut command = server.command(name);
        command.arg(file).args(["--set", "store.kind=redis", "--set", &url]);
        command
    };
    let elsewhere = |name: &str, file: &str| -> Command {
        let mut command = server.command(name);
        command.arg(file).args(["--set", "store.path=elsewhere"]);
        command
    };
    let file = |name: &str| server.directory().join(name);
    let restored = done(&mut over_redis("restore", "first"));
    tell("restore into Redis", users, &restored, &file("first"));
    memory.push(("restore into Redis", restored.memory));
    let made = done(over_redis("backup", "second").arg("--direct"));
    tell("backup of Redis", users, &made, &file("second"));
    memory.push(("backup of Redis", made.memory));
    let restored = done(&mut elsewhere("restore", "second"));
    tell("restore into a file", users, &restored, &file("second"));
    memory.push(("restore into a file", restored.memory));
    done(elsewhere("backup", "third").arg("--direct"));

    let first = contents(&file("first"), &keyring);
    assert!(first.len() >= users as usize, "{} users", first.len());
    for n in [0, users / 2, users - 1] {
        assert!(first.contains_key(&format!("default/user-{n}")));
    }
    assert!(contents(&file("second"), &keyring) == first, "in Redis it is something else");
    assert!(contents(&file("third"), &keyring) == first, "in the file it is something else");
    memory
}

fn tell(what: &str, users: u32, ended: &Ended, file: &Path) {
    let seconds = ended.took.as_secs_f64();
    let bytes = std::fs::metadata(file).expect("a file").len();
    println!(
        "{what}: {users} users in {seconds:.1} s, {:.0} a second, {} bytes each, {} MiB of memory",
        f64::from(users) / seconds,
        bytes / u64::from(users),
        ended.memory >> 20,
    );
}

/// Calls that each write a record, until they are ended.
struct Load {
    stops: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    tasks: tokio::task::JoinSet<u64>,
}

impl Load {
    async fn on(server: &Server) -> Self {
        let (stops, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..4 {
            let mut client = server.client().await;
            let (stops, calls) = (stops.clone(), calls.clone());
            tasks.spawn(async move {
                let mut failed = 0;
                for n in 0_u64.. {
                    if stops.load(Ordering::SeqCst) {
                        break;
                    }
                    let how = AssertedCredential { how: "load".into() };
                    let request = ElevateRequest {
                        user_id: format!("load-{task}-{}", n % 50),
                        session_id: format!("session-{n}"),
                        credential: Some(elevate_request::Credential::Asserted(how)),
                        ..Default::default()
                    };
                    failed += u64::from(client.elevate(request).await.is_err());
                    calls.fetch_add(1, Ordering::SeqCst);
                }
                failed
            });
        }
        Self { stops, calls, tasks }
    }

    /// Gives how many calls were made, and how many failed.
    async fn end(self) -> (u64, u64) {
        self.stops.store(true, Ordering::SeqCst);
        let failed = self.tasks.join_all().await.into_iter().sum();
        (self.calls.load(Ordering::SeqCst), failed)
    }
}
