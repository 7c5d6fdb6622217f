//! What a login that has passed its first step still owes.

use crate::Timestamp;
use crate::decision::{Decision, Event, EventKind};
use crate::policy::{Enforcement, LoginPolicy};
use crate::record::Record;

/// How the user comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// A form that can ask for a second step.
    Form,
    /// A way in that cannot, such as HTTP basic authentication.
    Basic,
    /// The product's emergency administrator, who is in no user directory.
    RecoveryAdmin,
}

/// A login to decide on.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    /// The user.
    pub user: &'a str,
    /// How the user comes in.
    pub channel: Channel,
    /// What the user may do in the product, in the product's own words.
    pub authorities: &'a [String],
    /// The path that the login is for; empty where there is none.
    pub resource: &'a str,
}

/// What the login owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owed {
    /// Nothing more.
    Allow,
    /// A code or the recovery key.
    Verify,
    /// An enrollment.
    Enroll,
    /// The login is refused.
    Deny,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's own words")]
pub enum Ground {
    BasicAllowlisted,
    BasicAllowed,
    BasicNotProtected,
    LegacyLogin,
    RecoveryAdminNotSupported,
    Enrolled,
    Enforced,
    GracePeriod,
    WouldBeEnforced,
    NotEnrolled,
}

impl Ground {
    /// Every ground there is.
    pub const ALL: [Self; 10] = [
        Self::BasicAllowlisted,
        Self::BasicAllowed,
        Self::BasicNotProtected,
        Self::LegacyLogin,
        Self::RecoveryAdminNotSupported,
        Self::Enrolled,
        Self::Enforced,
        Self::GracePeriod,
        Self::WouldBeEnforced,
        Self::NotEnrolled,
    ];

    /// The name in the API, in UPPER_SNAKE_CASE.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BasicAllowlisted => "BASIC_ALLOWLISTED",
            Self::BasicAllowed => "BASIC_ALLOWED",
            Self::BasicNotProtected => "BASIC_NOT_PROTECTED",
            Self::LegacyLogin => "LEGACY_LOGIN",
            Self::RecoveryAdminNotSupported => "RECOVERY_ADMIN_NOT_SUPPORTED",
            Self::Enrolled => "ENROLLED",
            Self::Enforced => "ENFORCED",
            Self::GracePeriod => "GRACE_PERIOD",
            Self::WouldBeEnforced => "WOULD_BE_ENFORCED",
            Self::NotEnrolled => "NOT_ENROLLED",
        }
    }
}

/// The decision on a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What it owes.
    pub owed: Owed,
    /// Why.
    pub ground: Ground,
    /// True exactly once for each user who newly falls under enforcement.
    pub notify: bool,
    /// Whether the user should be reminded to store the recovery key, or to have one made.
    pub remind_recovery_key: bool,
}

/// Decides what needs no record: basic authentication, break-glass and the emergency administrator.
pub fn without_record(policy: &LoginPolicy, login: &Login<'_>) -> Option<(Verdict, Option<Event>)> {
    let verdict =
        |owed, ground| Verdict { owed, ground, notify: false, remind_recovery_key: false };
    if login.channel == Channel::Basic {
        let listed = policy.basic_users.iter().any(|user| user == login.user)
            || policy.basic_resources.iter().any(|prefix| covers(prefix, login.resource));
        return Some(if listed {
            (verdict(Owed::Allow, Ground::BasicAllowlisted), None)
        } else if policy.basic_allowed {
            (verdict(Owed::Allow, Ground::BasicAllowed), None)
        } else {
            let denied = verdict(Owed::Deny, Ground::BasicNotProtected);
            (denied, Some(told(EventKind::LoginDenied, &denied)))
        });
    }
    if policy.legacy {
        let allowed = verdict(Owed::Allow, Ground::LegacyLogin);
        return Some((allowed, Some(told(EventKind::LegacyLogin, &allowed))));
    }
    if login.channel == Channel::RecoveryAdmin {
        let denied = verdict(Owed::Deny, Ground::RecoveryAdminNotSupported);
        return Some((denied, Some(told(EventKind::LoginDenied, &denied))));
    }
    None
}

/// Decides a login by form, on the user's record.
pub fn evaluate(
    mut record: Record,
    policy: &LoginPolicy,
    now: Timestamp,
    login: &Login<'_>,
) -> Decision<Verdict> {
    let verdict =
        |owed, ground| Verdict { owed, ground, notify: false, remind_recovery_key: false };
    if record.is_enrolled() {
        let stored = record.recovery.as_ref().is_some_and(|recovery| recovery.acknowledged);
        let verify = verdict(Owed::Verify, Ground::Enrolled);
        return Decision::unchanged(Verdict { remind_recovery_key: !stored, ..verify });
    }
    let listed = login.authorities.iter().any(|authority| policy.authorities.contains(authority));
    match policy.enforcement {
        Enforcement::Report if listed => {
            return Decision::unchanged(verdict(Owed::Allow, Ground::WouldBeEnforced));
        }
        Enforcement::Enforce if listed => {}
        _ => return Decision::unchanged(verdict(Owed::Allow, Ground::NotEnrolled)),
    }
    let since = record.enforced_since.unwrap_or(now);
    let verdict = if now.is_within(since, policy.grace) {
        verdict(Owed::Allow, Ground::GracePeriod)
    } else {
        verdict(Owed::Enroll, Ground::Enforced)
    };
    if record.enforced_since.is_some() {
        return Decision::unchanged(verdict);
    }
    record.enforced_since = Some(now);
    let verdict = Verdict { notify: true, ..verdict };
    Decision::changed(verdict, record, vec![told(EventKind::EnrollmentRequired, &verdict)])
}

fn told(kind: EventKind, verdict: &Verdict) -> Event {
    kind.event().because(verdict.ground.as_str())
}

/// Whether a path lies under a prefix, in whole segments.
///
/// A path with any ambiguity (an escape, an empty or dot segment, a backslash, a parameter, a trailing
/// dot, a character that is not plain) is under no prefix: two servers may read it in two ways, and the
/// allowlist must not be wider than the product's own routes. Case matters.
fn covers(prefix: &str, path: &str) -> bool {
    let path = path.split_once(['?', '#']).map_or(path, |(path, _)| path);
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let Some(rest) = path.strip_prefix(prefix) else { return false };
    if !path.starts_with('/') || !(rest.is_empty() || rest.starts_with('/')) {
        return false;
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte);
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    trimmed
        .split('/')
        .skip(1)
        .all(|segment| !segment.is_empty() && !segment.ends_with('.') && segment.bytes().all(plain))
}
