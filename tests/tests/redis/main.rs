//! The store over Redis: what every store does, on every kind of server and layout; and what only
//! servers go through.

#[path = "../../../crates/engine/tests/suite/mod.rs"]
#[allow(dead_code, reason = "it is shared, and others use the rest")]
mod suite;

mod cluster;
mod dataset;
mod examination;
mod failover;
mod faults;
mod memory;
mod replicas;
mod service;

use redis::Value;
use std::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tempfile::TempDir;
use twinlock_core::enrollment::Confirmed;
use twinlock_core::totp::{self, Parameters, TotpCode};
use twinlock_core::{Namespace, Policy, RequestId, SessionId, UserId};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::hash::{Argon2Parameters, Hasher};
use twinlock_engine::seal::{KeyId, Keyring};
use twinlock_engine::store::Store;
use twinlock_engine::store::redis::{Layout, Options};
use twinlock_engine::{Call, ClientContext, Engine, Proof};
use twinlock_tests::redis::{
    Cluster, Program, Sentinels, Server, ample, initialize, open, options, standalone,
};
use zeroize::Zeroizing;

type Kept = Arc<dyn Any + Send + Sync>;

/// A store on servers that all tests of the same name share; they are stopped when the last test that
/// uses them has ended.
async fn shared<T: Send + Sync + 'static>(
    name: &'static str,
    start: impl FnOnce() -> T + Send + 'static,
    how: impl Fn(&T) -> Options,
) -> (Arc<dyn Store>, Kept) {
    static SERVERS: Mutex<Option<HashMap<&'static str, Weak<dyn Any + Send + Sync>>>> =
        Mutex::new(None);
    // Held until the dataset is made: nobody is to open it before.
    static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ONE_AT_A_TIME.lock().await;
    let known = {
        let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get_or_insert_default().get(name).and_then(Weak::upgrade)
    };
    let (kept, is_new) = match known {
        Some(kept) => (kept.downcast::<T>().expect("servers of this name"), false),
        None => {
            let started = tokio::task::spawn_blocking(start).await.expect("servers");
            (Arc::new(started), true)
        }
    };
    let options = how(&kept);
    let store = if is_new { initialize(options).await } else { open(options).await };
    let any: Kept = kept;
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    servers.get_or_insert_default().insert(name, Arc::downgrade(&any));
    (store, any)
}

async fn redis_7() -> (Arc<dyn Store>, Kept) {
    let start = || Server::start(Program::Redis, &[]);
    shared("Redis 7", start, |server| options(standalone(&server.url()))).await
}

async fn valkey_9() -> (Arc<dyn Store>, Kept) {
    let start = || Server::start(Program::Valkey, &[]);
    shared("Valkey 9", start, |server| options(standalone(&server.url()))).await
}

async fn cluster_of_redis() -> (Arc<dyn Store>, Kept) {
    shared("a Cluster", || Cluster::start(Program::Redis), |it| options(it.layout())).await
}

async fn cluster_of_valkey() -> (Arc<dyn Store>, Kept) {
    shared("a Valkey Cluster", || Cluster::start(Program::Valkey), |it| options(it.layout())).await
}

async fn under_sentinels() -> (Arc<dyn Store>, Kept) {
    let how = |it: &Sentinels| Options { acknowledging_replicas: 1, ..options(it.layout()) };
    shared("sentinels", || Sentinels::start(Program::Redis), how).await
}

/// With WAITAOF for every change, on a primary and a replica that sync at once.
async fn on_two_disks() -> (Arc<dyn Store>, Kept) {
    let how = |it: &Replicated| Options {
        acknowledging_replicas: 1,
        acknowledge_attempts: true,
        ..options(standalone(&it.primary.url()))
    };
    shared("two disks", || Replicated::start(Program::Valkey, &[]), how).await
}

async fn over_tls() -> (Arc<dyn Store>, Kept) {
    shared("TLS", Secured::start, Secured::options).await
}

async fn over_a_socket() -> (Arc<dyn Store>, Kept) {
    let start = || Server::start(Program::Redis, &["--unixsocket", "DIRECTORY/socket"]);
    let how = |server: &Server| {
        options(standalone(&format!("unix://{}/socket", server.directory().display())))
    };
    shared("a socket", start, how).await
}

async fn as_a_user() -> (Arc<dyn Store>, Kept) {
    shared("a user", start_with_user, as_user).await
}

mod suite_on_redis_7 {
    crate::store_suite!(super::redis_7);
}
mod suite_on_valkey_9 {
    crate::store_suite!(super::valkey_9);
}
mod suite_on_a_cluster {
    crate::store_suite!(super::cluster_of_redis);
}
mod suite_on_a_valkey_cluster {
    crate::store_suite!(super::cluster_of_valkey);
}
mod suite_under_sentinels {
    crate::store_suite!(super::under_sentinels);
}
mod suite_on_two_disks {
    crate::store_suite!(super::on_two_disks);
}
mod suite_over_tls {
    crate::store_suite!(super::over_tls);
}
mod suite_over_a_socket {
    crate::store_suite!(super::over_a_socket);
}
mod suite_as_a_user {
    crate::store_suite!(super::as_a_user);
}

/// A primary and its replica.
struct Replicated {
    primary: Server,
    replica: Server,
}

impl Replicated {
    fn start(program: Program, arguments: &[&str]) -> Self {
        let arguments = [&["--repl-diskless-sync-delay", "0"], arguments].concat();
        let primary = Server::start(program, &arguments);
        let port = primary.port.to_string();
        let replica =
            Server::start(program, &[&["--replicaof", "127.0.0.1", &port], &*arguments].concat());
        replica.wait_for("master_link_status", "up");
        primary.wait_for("connected_slaves", "1");
        Self { primary, replica }
    }
}

/// A server that speaks TLS, with a certificate of an authority of its own. Its plain port is the tests'.
struct Secured {
    server: Server,
    port: u16,
    authority: String,
    _files: TempDir,
}

impl Secured {
    fn start() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let path = |name: &str| files.path().join(name).to_str().expect("a path").to_owned();
        let authority_key = rcgen::KeyPair::generate().expect("a key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_certificate = authority.self_signed(&authority_key).expect("a certificate");
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).expect("parameters");
        let certificate = certificate.signed_by(&key, &issuer).expect("a certificate");
        std::fs::write(path("cert.pem"), certificate.pem()).expect("a file");
        std::fs::write(path("key.pem"), key.serialize_pem()).expect("a file");
        std::fs::write(path("ca.pem"), authority_certificate.pem()).expect("a file");
        let port = twinlock_tests::redis::free_port();
        let arguments = [
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &path("cert.pem"),
            "--tls-key-file",
            &path("key.pem"),
            "--tls-ca-cert-file",
            &path("ca.pem"),
            "--tls-auth-clients",
            "no",
        ];
        let server = Server::start(Program::Redis, &arguments);
        Self { server, port, authority: authority_certificate.pem(), _files: files }
    }

    fn options(&self) -> Options {
        let layout = standalone(&format!("rediss://127.0.0.1:{}", self.port));
        Options { tls_authorities: Some(self.authority.clone().into_bytes()), ..options(layout) }
    }
}

/// The rights that Twinlock needs, as `docs/operating-redis.md` has them.
const RIGHTS: &str = "~twinlock:* +get +set +del +getrange +pexpiretime +time +eval +evalsha +scan \
                      +ping +info +role +wait +config|get +xadd +xread +xrange +xrevrange";

/// What a Cluster asks for on top, and a wait for disks.
const RIGHTS_IN_A_CLUSTER: &str = "+cluster|slots +asking +waitaof";

/// A server where nobody but a user with Twinlock's rights may do anything, the tests themselves apart.
fn start_with_user() -> Server {
    let server = Server::start(Program::Redis, &[]);
    server.command(&format!("ACL SETUSER twinlock on >secret {RIGHTS}"));
    server
}

fn as_user(server: &Server) -> Options {
    Options {
        username: Some("twinlock".into()),
        password: Some(Zeroizing::new("secret".into())),
        ..options(standalone(&server.url()))
    }
}

fn engine_over(store: Arc<dyn Store>) -> (Engine, Arc<Keyring>) {
    let key = (KeyId(1), Zeroizing::new([7; 32]));
    let keyring = Arc::new(Keyring::new(KeyId(1), [key]).expect("a keyring"));
    let hasher = Hasher::new(Argon2Parameters::default(), 1).expect("a hasher");
    (Engine::new(store, keyring.clone(), hasher, Policy::default()), keyring)
}

fn call(id: &str, milliseconds: u64) -> Call {
    Call {
        namespace: Namespace::default(),
        caller: "test".into(),
        client: ClientContext::default(),
        deadline: Deadline::after(Duration::from_millis(milliseconds)),
        request_id: Some(RequestId::parse(id).expect("an id")),
        actor: None,
    }
}

/// Begins an enrollment, and gives the session and the code that confirm it.
async fn begun(engine: &Engine, user: &UserId) -> (SessionId, TotpCode) {
    let session = SessionId::parse("session").expect("a session");
    let by = Proof::Asserted("test".into());
    let elevated =
        engine.elevate(&call("elevate---------", 5000), user.clone(), &session, by).await;
    elevated.expect("elevated");
    let begun = engine.enroll(&call("enroll----------", 5000), user.clone(), &session, None).await;
    let parameters = Parameters::default();
    let step = parameters.period.step(twinlock_engine::clock::system()());
    (session, totp::generate(&begun.expect("begun").secret, &parameters, step))
}

/// Enrolls a user.
async fn enrolled(engine: &Engine, user: &UserId) -> Confirmed {
    let (session, code) = begun(engine, user).await;
    let call = call("confirm---------", 5000);
    engine.confirm_enrollment(&call, user.clone(), &session, &code).await.expect("enrolled")
}

/// A key of another bucket each time.
fn user(n: usize) -> twinlock_engine::store::RecordKey {
    suite::key(&format!("user-{n}"))
}

/// How long something takes.
async fn timed<T>(work: impl Future<Output = T>) -> (T, Duration) {
    let before = tokio::time::Instant::now();
    let result = work.await;
    (result, before.elapsed())
}

/// Runs something that blocks without holding up the runtime's other work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

fn layout_of(server: &Server) -> Layout {
    standalone(&server.url())
}

fn count(value: Value) -> i64 {
    redis::from_redis_value(value).expect("a number")
}
