//! Enrollment: begin, confirm, end, the recovery key's exchange, and what may be told of a user.

use crate::decision::{Decision, Event, EventKind, Factor};
use crate::policy::Policy;
use crate::receipt::Holds;
use crate::record::{Authenticator, Digests, Method, Pending, Record, Sealed};
use crate::second_factor::{self, Fresh, Issued};
use crate::totp::{self, Secret, TotpCode};
use crate::{Malformed, Refusal, Timestamp};
use std::time::Duration;

/// An enrollment that was begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The secret: shown once and never again.
    pub secret: Secret,
    /// When the pending enrollment lapses.
    pub expire_at: Timestamp,
}

/// An enrollment that was confirmed.
#[derive(Clone, Debug)]
pub struct Confirmed {
    /// The recovery key: shown once and never again.
    pub issued: Issued,
    /// When the authenticator became active.
    pub enrolled_at: Timestamp,
}

/// What may be told of a user: no secret and no key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// When the active authenticator was enrolled; `None` where there is none.
    pub enrolled_at: Option<Timestamp>,
    /// When the pending enrollment lapses; `None` where there is none.
    pub pending_expire_at: Option<Timestamp>,
    /// When the recovery key was made; `None` where there is none.
    pub recovery_key_created_at: Option<Timestamp>,
    /// Whether the user has said that the recovery key is stored safely.
    pub recovery_key_acknowledged: bool,
    /// Whether a password verifier is stored.
    pub has_password: bool,
    /// Failures with codes and recovery keys.
    pub second_factor: Failures,
    /// Failures with the password.
    pub password: Failures,
}

/// One of the two failure counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Consecutive failures since the last success.
    pub count: u32,
    /// Until when attempts are refused unread; [`Timestamp::MAX`] where an administrator must clear it.
    pub blocked_until: Option<Timestamp>,
}

/// Begins an enrollment, in place of one that was pending. What is active stays active.
pub fn begin(
    mut record: Record,
    policy: &Policy,
    now: Timestamp,
    session: &Digests,
    secret: &Secret,
    sealed: Sealed,
) -> Decision<Begun> {
    let Some(elevation) = record.elevation(session, policy, now) else {
        return Decision::refused(Refusal::ElevationRequired);
    };
    record.pending = Some(Pending {
        secret: sealed,
        parameters: policy.totp,
        session: session.primary(),
        ground: elevation.method,
        begun_at: now,
    });
    let begun = Begun { secret: secret.clone(), expire_at: now.after(policy.pending_lifetime) };
    Decision::changed(begun, record, vec![EventKind::EnrollmentStarted.event()])
}

/// Decides whether a confirmation may be looked at, and names the secret that must be opened for it.
pub fn admit_confirmation<'r, T>(
    record: &'r Record,
    policy: &Policy,
    now: Timestamp,
    session: &Digests,
    code: &TotpCode,
) -> Result<&'r Sealed, Decision<T>> {
    let pending = record
        .pending(policy, now)
        .filter(|pending| session.contains(&pending.session))
        .ok_or_else(|| Decision::refused(Refusal::NoPendingEnrollment))?;
    record.gate(policy, now, Factor::Second)?;
    if code.digits() != pending.parameters.digits {
        return Err(Decision::refused(second_factor::wrong_length()));
    }
    Ok(&pending.secret)
}

/// Settles a confirmation: the pending secret becomes the active one, with a recovery key of its own.
/// What was active dies in the same instant, and with it every other session's elevation.
pub fn confirm(
    mut record: Record,
    policy: &Policy,
    now: Timestamp,
    session: &Digests,
    code: &TotpCode,
    secret: &Secret,
    fresh: &Fresh,
) -> Decision<Confirmed> {
    let Some(pending) = record.pending.take() else {
        return Decision::refused(Refusal::NoPendingEnrollment);
    };
    let parameters = pending.parameters;
    let Some(step) = totp::matched_step(secret, &parameters, policy.window, now, code) else {
        record.pending = Some(pending);
        let event = EventKind::VerifyFailed.by(Method::Totp);
        return second_factor::refuse(record, policy, now, Refusal::InvalidCode, event);
    };
    // The time also names the enrollment, so a change of app never repeats it.
    let enrolled_at = match &record.authenticator {
        Some(previous) => now.max(previous.enrolled_at.after(Duration::from_millis(1))),
        None => now,
    };
    let event = if record.is_enrolled() {
        record.elevations.retain(|elevation| session.contains(&elevation.session));
        EventKind::AuthenticatorChanged
    } else {
        record.elevations.clear();
        record.elevate(session, Method::Totp, now);
        EventKind::Enrolled
    };
    record.authenticator = Some(Authenticator {
        secret: pending.secret,
        parameters,
        last_step: Some(step),
        enrolled_at,
    });
    record.second_factor_failures = record.second_factor_failures.succeeded();
    let issued = second_factor::issue(&mut record, now, fresh);
    let confirmed = Confirmed { issued, enrolled_at };
    let step_offset = Some(step.offset_from(parameters.period.step(now)));
    let event = Event { step_offset, ..event.by(Method::Totp) };
    Decision::changed(confirmed, record, vec![event]).lasting()
}

/// Turns two-step verification off. The counters stay, and the user stays known.
pub fn end(mut record: Record, policy: &Policy, now: Timestamp, session: &Digests) -> Decision<()> {
    if let Err(refusal) = require_elevation(&record, policy, now, session) {
        return Decision::refused(refusal);
    }
    record.unenroll(now);
    Decision::changed((), record, vec![EventKind::Unenrolled.event()]).lasting()
}

/// Replaces the recovery key.
pub fn rotate_recovery_key(
    mut record: Record,
    policy: &Policy,
    now: Timestamp,
    session: &Digests,
    fresh: &Fresh,
) -> Decision<Issued> {
    if let Err(refusal) = require_elevation(&record, policy, now, session) {
        return Decision::refused(refusal);
    }
    let issued = second_factor::issue(&mut record, now, fresh);
    Decision::changed(issued, record, vec![EventKind::RecoveryKeyRotated.event()]).lasting()
}

/// Records that the user has stored the recovery key that was made at this time.
pub fn acknowledge_recovery_key(mut record: Record, created_at: Timestamp) -> Decision<()> {
    if !record.is_enrolled() {
        return Decision::refused(Refusal::NotEnrolled);
    }
    match &mut record.recovery {
        Some(recovery) if recovery.created_at == created_at => {
            if recovery.acknowledged {
                return Decision::unchanged(());
            }
            recovery.acknowledged = true;
            Decision::changed((), record, vec![EventKind::RecoveryKeyAcknowledged.event()])
        }
        _ => Decision::refused(Malformed {
            field: "recovery_key_create_time",
            problem: "must be the time from the answer that showed the recovery key in force",
        }),
    }
}

/// What may be told of a user; of nobody, nothing.
pub fn describe(record: &Record, policy: &Policy, now: Timestamp) -> Description {
    let failures = |factor| {
        let counter = record.counter(factor).at(&policy.backoff, now);
        Failures {
            count: counter.failures,
            blocked_until: counter.blocked_until(&policy.backoff, now),
        }
    };
    Description {
        enrolled_at: record.authenticator.as_ref().map(|authenticator| authenticator.enrolled_at),
        pending_expire_at: record
            .pending(policy, now)
            .map(|pending| pending.begun_at.after(policy.pending_lifetime)),
        recovery_key_created_at: record.recovery.as_ref().map(|recovery| recovery.created_at),
        recovery_key_acknowledged: record
            .recovery
            .as_ref()
            .is_some_and(|recovery| recovery.acknowledged),
        has_password: record.password.is_some(),
        second_factor: failures(Factor::Second),
        password: failures(Factor::Password),
    }
}

/// The session's elevation, if it is strong enough and no older than `max_age`.
pub fn check_elevation(
    record: &Record,
    policy: &Policy,
    now: Timestamp,
    session: &Digests,
    max_age: Option<Duration>,
) -> Result<second_factor::Granted, Refusal> {
    record
        .elevation(session, policy, now)
        .filter(|elevation| {
            max_age.is_none_or(|most| now.since(elevation.at).is_some_and(|age| age <= most))
        })
        .map(|elevation| second_factor::Granted {
            method: elevation.method,
            at: elevation.at,
            expire_at: elevation.at.after(policy.elevation.lifetime),
        })
        .ok_or(Refusal::ElevationRequired)
}

impl Record {
    /// Forgets secret, recovery key, pending enrollment and every elevation, and the answers that hold a
    /// secret or key as well.
    pub(crate) fn unenroll(&mut self, now: Timestamp) {
        self.authenticator = None;
        self.recovery = None;
        self.pending = None;
        self.elevations.clear();
        self.receipts.retain(|receipt| receipt.holds() == Holds::Nothing);
        self.unenrolled_at = Some(now);
    }
}

/// What an enrolled user's sensitive changes need: an elevation by second factor.
fn require_elevation(
    record: &Record,
    policy: &Policy,
    now: Timestamp,
    session: &Digests,
) -> Result<(), Refusal> {
    if !record.is_enrolled() {
        return Err(Refusal::NotEnrolled);
    }
    record.elevation(session, policy, now).map(|_| ()).ok_or(Refusal::ElevationRequired)
}
