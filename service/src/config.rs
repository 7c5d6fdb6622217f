//! The configuration: what may be set, and what holds where nothing is.
//!
//! A flag goes before an environment variable, which goes before the file. `docs/configuration.md`
//! explains every key to users; a test keeps that page complete.

mod check;
mod difference;
mod load;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use check::Problem;
pub use load::{ConfigError, Loaded, Source, environment, load};
pub use value::{Listen, Secret, SocketMode, duration};

/// All of the configuration. `Config::default()` is right for a first try on one machine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    pub telemetry: Telemetry,
    pub store: Store,
    pub keyring: Keyring,
    pub backoff: Backoff,
    pub totp: Totp,
    pub enrollment: Enrollment,
    pub elevation: Elevation,
    pub admin: Admin,
    pub login: Login,
    pub enforcement: Enforcement,
    pub argon2: Argon2,
    pub audit: Audit,
    pub webhook: Webhook,
    /// Who may call. With none, callers on loopback and on unix sockets have all roles.
    #[serde(rename = "caller")]
    pub callers: Vec<Caller>,
}

/// Where gRPC and REST are answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    pub listen: Listen,
    /// Who may connect to a Unix socket: its permissions, octal.
    pub socket_mode: SocketMode,
    /// The longest that a call may take, 100 ms to 5 minutes.
    #[serde(with = "duration")]
    pub deadline: Duration,
    /// The certificate chain, PEM.
    pub tls_cert: Option<PathBuf>,
    /// The private key of `tls_cert`, PEM.
    pub tls_key: Option<PathBuf>,
    /// The authorities that sign callers' certificates, PEM.
    pub tls_client_ca: Option<PathBuf>,
    /// Whether an address that is not loopback may go without TLS or without callers.
    pub insecure: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp("127.0.0.1:6238".into()),
            socket_mode: SocketMode::default(),
            deadline: Duration::from_secs(5),
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            insecure: false,
        }
    }
}

/// Metrics, probes, logs and traces.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    pub listen: Listen,
    /// What to log: a level, or directives such as `info,h2=warn`.
    pub log: String,
    pub log_format: LogFormat,
    /// Where to send traces, by OTLP over gRPC.
    pub otlp_endpoint: Option<String>,
    /// The share of calls that are traced where the caller does not decide, 0 to 1.
    pub otlp_sample: f64,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            listen: Listen::Tcp("127.0.0.1:9238".into()),
            log: "info".into(),
            log_format: LogFormat::Text,
            otlp_endpoint: None,
            otlp_sample: 1.0,
        }
    }
}

/// The form of a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Where the records are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    pub kind: StoreKind,
    /// The directory of the embedded store.
    pub path: PathBuf,
    pub redis: Redis,
}

impl Default for Store {
    fn default() -> Self {
        Self { kind: StoreKind::Embedded, path: "./twinlock-data".into(), redis: Redis::default() }
    }
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// One file, for one process.
    Embedded,
    /// Redis or Valkey, for several replicas.
    Redis,
}

/// How to reach Redis.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    pub mode: RedisMode,
    /// The servers, the sentinels, or some nodes of the cluster. They never hold credentials.
    #[serde(deserialize_with = "value::urls_without_credentials")]
    pub urls: Vec<String>,
    /// The name under which the sentinels know the primary.
    pub sentinel_master: Option<String>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    /// The authorities that sign the servers' certificates, PEM.
    pub tls_ca: Option<PathBuf>,
    /// The longest that one request may take, 10 ms to 1 minute.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How many replicas must have confirmed a change to an enrollment.
    pub acknowledging_replicas: u32,
    /// Whether Verify waits for those replicas too.
    pub acknowledge_verify: bool,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            mode: RedisMode::Standalone,
            urls: Vec::new(),
            sentinel_master: None,
            username: None,
            password: None,
            tls_ca: None,
            timeout: Duration::from_secs(1),
            acknowledging_replicas: 0,
            acknowledge_verify: false,
        }
    }
}

/// How Redis is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisMode {
    Standalone,
    Sentinel,
    Cluster,
}

/// The keys that seal secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keyring {
    pub file: PathBuf,
    /// The keys themselves, in place of the file: `ID:SECRET`, the primary first.
    pub keys: Option<Secret>,
}

impl Default for Keyring {
    fn default() -> Self {
        Self { file: "./twinlock-data/keyring.toml".into(), keys: None }
    }
}

/// The growing wait after failed attempts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// Failures in a row that cost no wait, 0 to 10.
    pub tolerated_failures: u32,
    /// The first wait; each further failure doubles it.
    #[serde(with = "duration")]
    pub initial: Duration,
    /// The longest wait, at most 30 days.
    #[serde(with = "duration")]
    pub maximum: Duration,
    /// The failure that locks the counter until an administrator clears it; 0 for never.
    pub hard_limit: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            tolerated_failures: 1,
            initial: Duration::from_secs(1),
            maximum: Duration::from_secs(3600),
            hard_limit: 0,
        }
    }
}

/// The parameters of new enrollments (RFC 6238).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Totp {
    /// What authenticator apps show above the account name, 1 to 64 bytes.
    pub issuer: String,
    pub algorithm: Algorithm,
    /// 6 or 8.
    pub digits: u32,
    /// The length of a step, 15 to 300 whole seconds.
    #[serde(with = "duration")]
    pub period: Duration,
    /// How many steps either side of the present one are accepted, 0 to 2.
    pub window: u32,
}

impl Default for Totp {
    fn default() -> Self {
        Self {
            issuer: "Twinlock".into(),
            algorithm: Algorithm::Sha1,
            digits: 6,
            period: Duration::from_secs(30),
            window: 1,
        }
    }
}

/// The hash below HMAC (RFC 6238 section 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha512,
}

/// Enrollments that are not confirmed yet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Enrollment {
    /// How long one may be confirmed, at most 24 hours.
    #[serde(with = "duration")]
    pub pending_lifetime: Duration,
}

impl Default for Enrollment {
    fn default() -> Self {
        Self { pending_lifetime: Duration::from_secs(600) }
    }
}

/// Recent proofs of identity.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Elevation {
    /// How long one lasts, at most 24 hours.
    #[serde(with = "duration")]
    pub lifetime: Duration,
    /// Whether a Verify that names its session elevates it.
    pub from_login: bool,
    /// Whether the product's own word elevates users who are not enrolled.
    pub allow_asserted: bool,
}

impl Default for Elevation {
    fn default() -> Self {
        Self { lifetime: Duration::from_secs(600), from_login: true, allow_asserted: true }
    }
}

/// Administrators.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Who may be an administrator; with none, whoever a caller with the role `admin` names.
    pub users: Vec<String>,
}

/// How logins are decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Login {
    pub mode: LoginMode,
    /// What happens on the channel BASIC to users and resources that are on neither list.
    pub basic: Basic,
    /// The users who may log in by basic authentication.
    pub basic_users: Vec<String>,
    /// The resources that basic authentication may reach: prefixes of whole path segments.
    pub basic_resources: Vec<String>,
}

impl Default for Login {
    fn default() -> Self {
        Self {
            mode: LoginMode::Normal,
            basic: Basic::Deny,
            basic_users: Vec::new(),
            basic_resources: Vec::new(),
        }
    }
}

/// Whether logins are protected at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoginMode {
    Normal,
    /// Break-glass: every login outside BASIC goes through without a second factor.
    Legacy,
}

/// What basic authentication may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basic {
    Deny,
    Allow,
}

/// Who has to enroll.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Enforcement {
    pub mode: EnforcementMode,
    /// The authorities whose holders have to.
    pub authorities: Vec<String>,
    /// How long they may still log in without, at most 365 days.
    #[serde(with = "duration")]
    pub grace: Duration,
}

impl Default for Enforcement {
    fn default() -> Self {
        Self { mode: EnforcementMode::Off, authorities: Vec::new(), grace: Duration::ZERO }
    }
}

/// Whether enrolling is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnforcementMode {
    Off,
    /// Say what would be enforced, and let everybody in.
    Report,
    Enforce,
}

/// How passwords are hashed (RFC 9106).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Argon2 {
    /// KiB of memory for one hash, 7168 to 1048576.
    pub memory_kib: u32,
    /// Passes over the memory, at most 20; how many at least depends on the memory.
    pub iterations: u32,
    /// Lanes, 1 to 16.
    pub parallelism: u32,
    /// Hashes at one time, 1 to 1024.
    pub concurrency: u32,
}

impl Default for Argon2 {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            memory_kib: 19456,
            iterations: 2,
            parallelism: 1,
            concurrency: u32::try_from(cores).unwrap_or(1024).min(1024),
        }
    }
}

/// The audit trail.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// A file, or `stdout`; with none, events are in the log alone, at the level debug.
    pub path: Option<PathBuf>,
}

/// An address that events are sent to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// `http://` or `https://`.
    pub url: Option<String>,
    /// What the events are signed with, 16 bytes or more.
    pub secret: Option<Secret>,
    /// The types of events that are sent; with none, all.
    pub events: Vec<String>,
}

/// One who may call, recognized by a bearer token, by a client certificate, or as a user of this machine.
/// Several entries may have one name, as while a token is replaced; they differ in the credential alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caller {
    /// Its name in the log and the audit trail.
    pub name: String,
    /// SHA-256 of its token, 64 hexadecimal digits of either case.
    pub token_sha256: Option<String>,
    /// A subject alternative name of its certificate.
    pub san: Option<String>,
    /// Its user id, where it connects to a Unix socket.
    pub uid: Option<u32>,
    pub roles: Vec<Role>,
    /// Whose users it sees.
    pub namespace: String,
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            name: String::new(),
            token_sha256: None,
            san: None,
            uid: None,
            roles: vec![Role::Product],
            namespace: "default".into(),
        }
    }
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Product,
    Admin,
    Operator,
}
