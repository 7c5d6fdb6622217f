//! What an operator may set about the rules.

use crate::backoff::Schedule;
use crate::otpauth::Issuer;
use crate::totp::{Parameters, Window};
use std::time::Duration;

/// All settings that change a decision. Each default is the documented one.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The wait after failures.
    pub backoff: Schedule,
    /// What new secrets are made for.
    pub totp: Parameters,
    /// How many steps either side of the present one are accepted.
    pub window: Window,
    /// The name that an authenticator app shows beside the account.
    pub issuer: Issuer,
    /// How long an enrollment waits to be confirmed; by default 10 min.
    pub pending_lifetime: Duration,
    /// How elevations behave.
    pub elevation: ElevationPolicy,
    /// How logins are decided.
    pub login: LoginPolicy,
    /// Who may be an administrator; with none, whoever a caller with that role names.
    pub administrators: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            backoff: Schedule::default(),
            totp: Parameters::default(),
            window: Window::default(),
            issuer: Issuer::default(),
            pending_lifetime: Duration::from_secs(600),
            elevation: ElevationPolicy::default(),
            login: LoginPolicy::default(),
            administrators: Vec::new(),
        }
    }
}

/// How elevations behave.
#[derive(Clone, Debug)]
pub struct ElevationPolicy {
    /// How long one lives; by default 10 min.
    pub lifetime: Duration,
    /// Whether a login that names its session elevates it; by default so.
    pub from_login: bool,
    /// Whether the product's word elevates a user who is not enrolled; by default so.
    pub allow_asserted: bool,
}

impl Default for ElevationPolicy {
    fn default() -> Self {
        Self { lifetime: Duration::from_secs(600), from_login: true, allow_asserted: true }
    }
}

/// How logins are decided.
#[derive(Clone, Debug, Default)]
pub struct LoginPolicy {
    /// Break-glass: every login that is not by basic authentication is allowed without a second step.
    pub legacy: bool,
    /// Whether basic authentication is allowed to everybody.
    pub basic_allowed: bool,
    /// Users who may use basic authentication all the same.
    pub basic_users: Vec<String>,
    /// Path prefixes, in whole segments, for which basic authentication is allowed all the same.
    pub basic_resources: Vec<String>,
    /// Whether users with these authorities must enroll.
    pub enforcement: Enforcement,
    /// The authorities under enforcement.
    pub authorities: Vec<String>,
    /// How long a user who newly falls under enforcement may go on without.
    pub grace: Duration,
}

/// Whether users with certain authorities must enroll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enforcement {
    /// Nobody must.
    #[default]
    Off,
    /// Nobody must, but the answer says who would have to.
    Report,
    /// They must.
    Enforce,
}
