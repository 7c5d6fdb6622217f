//! What values make sense, alone and together.

mod callers;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use twinlock_core::UserId;
use twinlock_core::decision::EventKind;

use crate::keyring::parse_inline;

use super::{
    Argon2, Backoff, Config, EnforcementMode, Listen, LoginMode, Redis, RedisMode, Secret,
    StoreKind, Totp, Webhook, duration,
};

/// The shortest duration that can be written, other than none.
const MOMENT: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(86_400);

/// The passes that OWASP's password storage cheat sheet asks for, from so many KiB of memory on.
const OWASP_ARGON2ID: [(u32, u32); 5] = [(47104, 1), (19456, 2), (12288, 3), (9216, 4), (7168, 5)];

/// A value, or values together, that the configuration cannot have or had better not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Such as `backoff.initial`.
    pub key: String,
    /// What is wrong with it, to be read after the key.
    pub wrong: String,
    /// What to write instead.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.key, self.wrong, self.remedy)
    }
}

impl Config {
    /// All that keeps the service from starting; empty where nothing does.
    ///
    /// Only the values are looked at: whether files exist and servers answer shows at start.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Problems::default();
        problems.server(self);
        problems.store(self);
        problems.backoff(&self.backoff);
        problems.totp(&self.totp);
        problems.lifetimes(self);
        problems.policy(self);
        problems.argon2(&self.argon2);
        problems.callers(self);
        problems.webhook(&self.webhook);
        problems.0
    }

    /// What is allowed and yet worth a line in the log at every start.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut warnings = Problems::default();
        warnings.require(
            self.login.mode != LoginMode::Legacy,
            "login.mode",
            "is legacy: every login goes through without a second factor",
            "write normal as soon as the emergency is over",
        );
        warnings.require(
            !self.server.insecure || !self.is_exposed(),
            "server.insecure",
            format!(
                "opens {} to the network without TLS, without callers, or without both",
                self.server.listen
            ),
            "set server.tls_cert and server.tls_key, and write a [[caller]]",
        );
        warnings.require(
            self.store.kind == StoreKind::Redis || self.store.redis.urls.is_empty(),
            "store.redis.urls",
            "has no effect while store.kind is embedded",
            "set store.kind to redis, or leave the addresses out",
        );
        warnings.require(
            !matches!(self.server.listen, Listen::Unix(_))
                || !self.server.socket_mode.is_open_to_all()
                || !self.callers.is_empty(),
            "server.socket_mode",
            "lets every user of this machine do everything",
            "write 0660, or a [[caller]]",
        );
        let redis = &self.store.redis;
        warnings.require(
            !redis.acknowledge_verify || redis.acknowledging_replicas > 0,
            "store.redis.acknowledge_verify",
            "has no effect while no replica has to confirm",
            "set store.redis.acknowledging_replicas to 1 or more",
        );
        warnings.require(
            self.webhook.url.as_ref().is_none_or(|url| webhook_host(url, "http").is_none())
                || self.webhook.is_local(),
            "webhook.url",
            "sends events over the network unencrypted",
            "write an https:// address",
        );
        warnings.require(
            self.webhook.url.is_some()
                || (self.webhook.secret.is_none() && self.webhook.events.is_empty()),
            "webhook",
            "has no effect without webhook.url",
            "set webhook.url, or leave the section out",
        );
        warnings.0
    }

    /// Whether others than this machine can connect, and either are not authenticated or send
    /// their tokens in the clear.
    fn is_exposed(&self) -> bool {
        let has_tls = self.server.tls_cert.is_some() && self.server.tls_key.is_some();
        !self.server.listen.is_local() && (self.callers.is_empty() || !has_tls)
    }
}

impl Webhook {
    fn is_local(&self) -> bool {
        let host = self.url.as_ref().and_then(|url| webhook_host(url, "http"));
        host.is_some_and(|host| Listen::Tcp(format!("{host}:0")).is_local())
    }
}

/// The host of an address of this scheme.
fn webhook_host(url: &str, scheme: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let is_plain = uri.scheme_str() == Some(scheme) && !uri.authority()?.as_str().contains('@');
    is_plain.then(|| uri.host().filter(|host| !host.is_empty()).map(str::to_owned)).flatten()
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn server(&mut self, config: &Config) {
        let server = &config.server;
        self.within(
            "server.deadline",
            server.deadline,
            Duration::from_millis(100)..=Duration::from_secs(300),
        );
        self.require(
            server.insecure || !config.is_exposed(),
            "server.listen",
            "is not loopback, which needs TLS and callers",
            "set server.tls_cert and server.tls_key and write a [[caller]], or start with --insecure",
        );
        for (key, path, other) in [
            ("server.tls_cert", &server.tls_cert, &server.tls_key),
            ("server.tls_key", &server.tls_key, &server.tls_cert),
        ] {
            self.require(
                path.is_some() || other.is_none(),
                key,
                "is missing",
                "set both server.tls_cert and server.tls_key, or neither",
            );
        }
        self.require(
            server.tls_client_ca.is_none() || server.tls_cert.is_some(),
            "server.tls_client_ca",
            "has no effect without a certificate for the server",
            "set server.tls_cert and server.tls_key too",
        );
        self.require(
            crate::telemetry::log_filter(&config.telemetry.log).is_ok(),
            "telemetry.log",
            "is not a filter",
            "write error, warn, info, debug, trace, or directives such as info,h2=warn",
        );
        if let Some(endpoint) = &config.telemetry.otlp_endpoint {
            self.require(
                endpoint.starts_with("http://") || endpoint.starts_with("https://"),
                "telemetry.otlp_endpoint",
                "is not an address",
                "write it as http://127.0.0.1:4317",
            );
        }
        self.require(
            (0.0..=1.0).contains(&config.telemetry.otlp_sample),
            "telemetry.otlp_sample",
            "is no share",
            "write 0 for none to 1 for all",
        );
    }

    fn store(&mut self, config: &Config) {
        self.path("store.path", &config.store.path);
        self.path("keyring.file", &config.keyring.file);
        if let Some(Err(wrong)) = config.keyring.keys.as_ref().map(|it| parse_inline(it.expose())) {
            let remedy = "write ID:SECRET for each key, as `twinlock keys generate --print` does";
            self.require(false, "keyring.keys", format!("cannot be used: {wrong:#}"), remedy);
        }
        if config.store.kind == StoreKind::Redis {
            self.redis(&config.store.redis);
        }
    }

    fn redis(&mut self, redis: &Redis) {
        self.require(
            !redis.urls.is_empty(),
            "store.redis.urls",
            "is empty",
            "write at least one address, such as redis://127.0.0.1:6379",
        );
        self.require(
            redis.mode != RedisMode::Standalone || redis.urls.len() <= 1,
            "store.redis.urls",
            "has several addresses, and store.redis.mode is standalone",
            "write one address, or set the mode to sentinel or cluster",
        );
        let is_plain = |url: &String| url.starts_with("redis://") || url.starts_with("unix://");
        let is_secured = |url: &String| url.starts_with("rediss://");
        self.require(
            redis.urls.iter().all(|url| is_plain(url) || is_secured(url)),
            "store.redis.urls",
            "has something that is not an address",
            "write redis://host:6379, rediss://host:6379 for TLS, or unix:///path",
        );
        self.require(
            redis.tls_ca.is_none() || redis.urls.iter().all(is_secured),
            "store.redis.tls_ca",
            "has no effect on addresses without TLS",
            "write every address as rediss://",
        );
        self.require(
            redis.mode != RedisMode::Sentinel || redis.sentinel_master.is_some(),
            "store.redis.sentinel_master",
            "is missing",
            "write the name under which the sentinels know the primary",
        );
        self.within(
            "store.redis.timeout",
            redis.timeout,
            Duration::from_millis(10)..=Duration::from_secs(60),
        );
    }

    fn backoff(&mut self, backoff: &Backoff) {
        self.within("backoff.tolerated_failures", backoff.tolerated_failures, 0..=10);
        self.within("backoff.initial", backoff.initial, MOMENT..=30 * DAY);
        self.within("backoff.maximum", backoff.maximum, MOMENT..=30 * DAY);
        self.require(
            backoff.initial <= backoff.maximum,
            "backoff.initial",
            "is longer than backoff.maximum",
            "write a shorter one, or a longer maximum",
        );
        self.require(
            backoff.hard_limit == 0 || backoff.hard_limit > backoff.tolerated_failures,
            "backoff.hard_limit",
            "locks before any failure has cost a wait",
            "write 0 for none, or more than backoff.tolerated_failures",
        );
    }

    fn totp(&mut self, totp: &Totp) {
        // The colon separates issuer and account name in an otpauth URI.
        let is_misplaced = |character: char| character == ':' || character.is_control();
        self.require(
            (1..=64).contains(&totp.issuer.len()) && !totp.issuer.contains(is_misplaced),
            "totp.issuer",
            "is not a name that every authenticator app can show",
            "write 1 to 64 bytes without colons and control characters",
        );
        self.require(
            [6, 8].contains(&totp.digits),
            "totp.digits",
            format!("is {}", totp.digits),
            "write 6 or 8",
        );
        self.within("totp.period", totp.period, Duration::from_secs(15)..=Duration::from_secs(300));
        self.require(
            totp.period.subsec_nanos() == 0,
            "totp.period",
            "has a fraction of a second",
            "write whole seconds, such as 30s",
        );
        self.within("totp.window", totp.window, 0..=2);
    }

    fn lifetimes(&mut self, config: &Config) {
        let pending = config.enrollment.pending_lifetime;
        self.within("enrollment.pending_lifetime", pending, MOMENT..=DAY);
        self.within("elevation.lifetime", config.elevation.lifetime, MOMENT..=DAY);
        let grace = config.enforcement.grace;
        self.within("enforcement.grace", grace, Duration::ZERO..=365 * DAY);
    }

    fn policy(&mut self, config: &Config) {
        for (key, users) in
            [("admin.users", &config.admin.users), ("login.basic_users", &config.login.basic_users)]
        {
            self.require(
                users.iter().all(|user| UserId::parse(user).is_ok()),
                key,
                "has something that is not a user id",
                "write ids of 1 to 255 bytes without control characters",
            );
        }
        self.require(
            !config.login.basic_resources.iter().any(String::is_empty),
            "login.basic_resources",
            "has an empty prefix",
            "write prefixes such as /api/builds, or set login.basic to allow",
        );
        let enforcement = &config.enforcement;
        self.require(
            enforcement.mode == EnforcementMode::Off || !enforcement.authorities.is_empty(),
            "enforcement.authorities",
            "is empty, so that nobody would have to enroll",
            "name at least one authority, or set enforcement.mode to off",
        );
        self.require(
            !enforcement.authorities.iter().any(String::is_empty),
            "enforcement.authorities",
            "has an empty name",
            "leave it out",
        );
    }

    fn argon2(&mut self, argon2: &Argon2) {
        self.within("argon2.memory_kib", argon2.memory_kib, 7168..=1_048_576);
        // Of too little memory one problem is enough.
        let needed = OWASP_ARGON2ID
            .into_iter()
            .find(|(memory_kib, _)| *memory_kib <= argon2.memory_kib)
            .map_or(1, |(_, iterations)| iterations);
        self.require(
            (needed..=20).contains(&argon2.iterations),
            "argon2.iterations",
            format!("is {}", argon2.iterations),
            format!("with {} KiB of memory, write {needed} to 20", argon2.memory_kib),
        );
        self.within("argon2.parallelism", argon2.parallelism, 1..=16);
        self.within("argon2.concurrency", argon2.concurrency, 1..=1024);
    }

    fn webhook(&mut self, webhook: &Webhook) {
        if let Some(name) = webhook.events.iter().find(|name| EventKind::parse(name).is_none()) {
            self.require(
                false,
                "webhook.events",
                format!("has {name:?}, which is no type of event"),
                "write types such as BLOCKED; docs/audit.md lists them",
            );
        }
        let Some(url) = &webhook.url else { return };
        let has_host = |scheme| webhook_host(url, scheme).is_some();
        self.require(
            has_host("http") || has_host("https"),
            "webhook.url",
            "is not an address",
            "write https://host/path, without a user or password",
        );
        let is_long = |secret: &Secret| secret.expose().len() >= 16;
        self.require(
            webhook.secret.as_ref().is_some_and(is_long),
            "webhook.secret",
            "is missing or shorter than 16 bytes",
            "write what `openssl rand -hex 32` prints, here and at the receiver",
        );
    }

    fn path(&mut self, key: &str, path: &Path) {
        let is_there = !path.as_os_str().is_empty();
        self.require(is_there, key, "is empty", "write a path, or leave the key out");
    }

    fn within<T: PartialOrd + Shown>(&mut self, key: &str, value: T, range: RangeInclusive<T>) {
        self.require(
            range.contains(&value),
            key,
            format!("is {}", value.shown()),
            format!("write {} to {}", range.start().shown(), range.end().shown()),
        );
    }

    fn require(
        &mut self,
        holds: bool,
        key: impl Into<String>,
        wrong: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if !holds {
            self.0.push(Problem { key: key.into(), wrong: wrong.into(), remedy: remedy.into() });
        }
    }
}

trait Shown {
    fn shown(&self) -> String;
}

impl Shown for u32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for Duration {
    fn shown(&self) -> String {
        duration::format(*self)
    }
}

#[cfg(test)]
mod tests;
