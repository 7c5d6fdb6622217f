//! From the configuration to the settings of the rules.

use crate::config::{self, Config};
use std::time::Duration;
use twinlock_core::backoff::Schedule;
use twinlock_core::otpauth::Issuer;
use twinlock_core::policy::{ElevationPolicy, Enforcement, LoginPolicy};
use twinlock_core::totp::{Algorithm, Digits, Parameters, Period, Window};
use twinlock_core::{Malformed, Policy};
use twinlock_engine::hash::{Argon2Parameters, Hasher};

/// The settings of the rules. The configuration was checked before, so a failure here is one that the
/// check lacks.
pub fn policy(config: &Config) -> Result<Policy, Malformed> {
    Ok(Policy {
        backoff: Schedule {
            tolerated_failures: config.backoff.tolerated_failures,
            initial: config.backoff.initial,
            maximum: config.backoff.maximum,
            hard_limit: Some(config.backoff.hard_limit).filter(|limit| *limit > 0),
        },
        totp: Parameters {
            algorithm: match config.totp.algorithm {
                config::Algorithm::Sha1 => Algorithm::Sha1,
                config::Algorithm::Sha256 => Algorithm::Sha256,
                config::Algorithm::Sha512 => Algorithm::Sha512,
            },
            digits: Digits::new(config.totp.digits)?,
            period: Period::new(config.totp.period)?,
        },
        window: Window::new(config.totp.window)?,
        issuer: Issuer::parse(&config.totp.issuer)?,
        pending_lifetime: config.enrollment.pending_lifetime,
        elevation: ElevationPolicy {
            lifetime: config.elevation.lifetime,
            from_login: config.elevation.from_login,
            allow_asserted: config.elevation.allow_asserted,
        },
        login: LoginPolicy {
            legacy: config.login.mode == config::LoginMode::Legacy,
            basic_allowed: config.login.basic == config::Basic::Allow,
            basic_users: config.login.basic_users.clone(),
            basic_resources: config.login.basic_resources.clone(),
            enforcement: match config.enforcement.mode {
                config::EnforcementMode::Off => Enforcement::Off,
                config::EnforcementMode::Report => Enforcement::Report,
                config::EnforcementMode::Enforce => Enforcement::Enforce,
            },
            authorities: config.enforcement.authorities.clone(),
            grace: config.enforcement.grace,
        },
        administrators: config.admin.users.clone(),
    })
}

/// The pool that hashes passwords.
pub fn hasher(config: &config::Argon2) -> Result<Hasher, Malformed> {
    let parameters = Argon2Parameters {
        memory_kib: config.memory_kib,
        iterations: config.iterations,
        parallelism: config.parallelism,
    };
    Hasher::new(parameters, config.concurrency as usize)
}

/// How long a server that is told to stop still finishes calls: they all end within their deadline.
pub fn drain_limit(config: &config::Server) -> Duration {
    config.deadline + Duration::from_secs(1)
}
