//! A rotation under load, with the server killed in the middle of it.

use crate::load::{self, Load, more_calls};
use crate::{all_opens_with, done, ids, keyring_file, keys, log_has, primary_alone, refused};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use twinlock_engine::clock;
use twinlock_engine::store::Store;
use twinlock_engine::store::embedded::Embedded;
use twinlock_tests::redis::{Cluster, Program, Server as Redis, open, options, standalone, until};
use twinlock_tests::{Options, Server, unconfigure};

/// More than are resealed before the server is killed, at 500 a second.
const USERS: usize = 3000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_that_is_killed_goes_on_and_fails_no_call_over_the_embedded_store() {
    let server = blocking(|| Server::start(Options::default())).await;
    let server = rotate_under_load(server).await;
    let mut server = retire_the_old_key(server).await;
    blocking(move || {
        server.stop();
        let path = server.directory().join("twinlock-data");
        let store = Embedded::open(&path, clock::system()).expect("the store");
        (server, Arc::new(store))
    })
    .await
    .check()
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_that_is_killed_goes_on_and_fails_no_call_over_redis() {
    let redis = blocking(|| Redis::start(Program::Redis, &[])).await;
    let url = redis.url();
    let server = blocking(move || Server::start(Options::default().over_redis(&url))).await;
    let server = rotate_under_load(server).await;
    let mut server = retire_the_old_key(server).await;
    server.stop();
    (server, open(options(standalone(&redis.url()))).await).check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_every_node_of_a_cluster_all_ends_under_the_new_key() {
    let cluster = blocking(|| Cluster::start(Program::Redis)).await;
    let over = Options::default().over_redis(&cluster.nodes[0].url());
    let server = blocking(|| Server::start(over.set("store.redis.mode=cluster"))).await;
    load::import(&server, 500).await;
    let new = blocking(move || {
        let file = keyring_file(&server);
        let (old, _) = ids(&file);
        let said = done(&server, &["rotate"]);
        assert!(said.contains("Everything is sealed under it"), "{said}");
        done(&server, &["retire", &old, "--force"]);
        primary_alone(&file)
    })
    .await;
    let store = open(options(cluster.layout())).await;
    assert_eq!(all_opens_with(store, &new).await, 500);
}

/// A stopped server and its store.
trait Check {
    async fn check(self);
}

impl<S: Store> Check for (Server, Arc<S>) {
    /// Opens all records with nothing but the new key.
    async fn check(self) {
        let (server, store) = self;
        let file = keyring_file(&server);
        assert!(ids(&file).1.is_empty(), "the old key is gone");
        let count = all_opens_with(store, &primary_alone(&file)).await;
        assert!(count >= USERS, "{count} records");
    }
}

async fn rotate_under_load(server: Server) -> Server {
    load::import(&server, USERS).await;
    let (old, _) = ids(&keyring_file(&server));
    let load = Load::start(&server, "busy", USERS).await;
    more_calls(&load, 100).await;

    let mut rotating = in_a_terminal(&keys(&server, &["rotate"]));
    let rotating = rotating.stdin(Stdio::null()).stdout(Stdio::piped());
    let rotating = rotating.spawn().expect("script (util-linux) runs");
    let server = blocking(move || {
        until(|| log_has(&server, "resealing records"), "resealing to begin");
        server
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.pause();
    let server = blocking(move || {
        let mut server = server;
        let metrics = server.probe("/metrics");
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            line.and_then(|value| value.parse::<usize>().ok()).expect("a number")
        };
        let done = value("twinlock_reseal_records_done");
        assert_eq!(value("twinlock_reseal_running"), 1, "it was too fast to be killed");
        assert!(
            value("twinlock_reseal_records") >= USERS && (100..USERS).contains(&done),
            "{done}"
        );
        server.kill();
        let output = rotating.wait_with_output().expect("it ends with the server");
        assert!(!output.status.success(), "it cannot know whether all is done: {output:?}");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("Resealing") && shown.contains(" of 3,0"), "no bar: {shown}");
        server.restart()
    })
    .await;
    let (new, others) = ids(&keyring_file(&server));
    assert!(new != old && others == [old.clone()], "the file was changed, and once");
    load.resume(&server);
    let former = old.clone();
    let server = blocking(move || {
        // Thousands are left, which the server has taken up where it was killed.
        let why = refused(&server, &["retire", &former, "--force"]);
        assert!(why.contains(&format!("records still need key {former}")), "{why}");
        server
    })
    .await;
    more_calls(&load, 100).await;
    let server = blocking(move || {
        // The file is whole, and the server takes it up where it was killed.
        until(|| log_has(&server, "no former key seals anything"), "resealing to end");
        let told = done(&server, &["list"]);
        let line = |id: &str| told.lines().find(|line| line.starts_with(id)).map(str::to_owned);
        assert!(line(&new).expect("listed").contains("primary since"), "{told}");
        assert!(line(&old).expect("listed").ends_with("not needed"), "{told}");
        server
    })
    .await;
    assert!(load.end().await > 300);
    server
}

/// The same command in a pseudo terminal.
fn in_a_terminal(command: &Command) -> Command {
    let words = [command.get_program()].into_iter().chain(command.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.display())).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
    script.current_dir(command.get_current_dir().expect("the server's"));
    unconfigure(&mut script);
    script
}

async fn retire_the_old_key(server: Server) -> Server {
    let load = Load::start(&server, "later", USERS).await;
    let server = blocking(move || {
        let (new, others) = ids(&keyring_file(&server));
        let [old] = others.as_slice() else { panic!("one old key: {others:?}") };
        let why = refused(&server, &["retire", &new]);
        assert!(why.contains("is the primary"), "{why}");
        let why = refused(&server, &["retire", old]);
        assert!(why.contains("Sessions and repeats from the time of key"), "{why}");
        done(&server, &["retire", old, "--force"]);
        let text = fs::read_to_string(keyring_file(&server)).expect("a file");
        assert!(!text.contains(old.as_str()));
        let listed = done(&server, &["list"]);
        assert!(!listed.contains(old.as_str()), "the server was not waited for: {listed}");
        server
    })
    .await;
    more_calls(&load, 100).await;
    load.pause();
    let server = blocking(move || server.restart()).await;
    load.resume(&server);
    more_calls(&load, 100).await;
    load.end().await;
    server
}

/// Runs what waits on a thread of its own, since the calls go on meanwhile.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}
