//! What an administrator does to another user, and what a migration and an operator may do.
//!
//! An administrator's call touches two records. The first swap, on the administrator's own, spends the
//! proof and leaves a receipt that names what of the target it is for. The second, on the target, happens
//! to that alone: a repeat resumes it without a new proof, and never touches what came later.

use crate::backoff::Charge;
use crate::decision::{Decision, Event, EventKind};
use crate::policy::Policy;
use crate::record::{Authenticator, Record, Sealed};
use crate::second_factor::{self, Attempt, Fresh, Issued, Presented, Proven};
use crate::totp::Parameters;
use crate::{Malformed, Refusal, Timestamp, UserId};

/// What of a target an administrator's proof is for: its state when the proof was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether anything was known of the user.
    pub is_known: bool,
    /// When the enrollment in force was made, which names it; `None` where there was none.
    pub enrolled_at: Option<Timestamp>,
    /// The last failure with a code or recovery key.
    pub second_factor: Charge,
    /// The last failure with a password.
    pub password: Charge,
}

/// Says what of the target a proof would be for.
pub fn target(record: &Record) -> Target {
    Target {
        is_known: record.is_known(),
        enrolled_at: record.authenticator.as_ref().map(|authenticator| authenticator.enrolled_at),
        second_factor: record.second_factor_failures.last_charge(),
        password: record.password_failures.last_charge(),
    }
}

/// Refuses who may not be an administrator, and those who mean themselves.
pub fn admit_administrator(
    policy: &Policy,
    administrator: &UserId,
    user: Option<&UserId>,
) -> Result<(), Refusal> {
    if user == Some(administrator) {
        return Err(Refusal::SelfUnenroll);
    }
    let listed = policy.administrators.iter().any(|name| name == administrator.as_str());
    if !policy.administrators.is_empty() && !listed {
        return Err(Refusal::NotAnAdministrator);
    }
    Ok(())
}

/// Decides whether the administrator's proof may be looked at, and names what must be opened for it.
pub fn admit_proof<'r, T>(
    record: &'r Record,
    policy: &Policy,
    now: Timestamp,
    presented: &Presented,
) -> Result<Option<&'r Sealed>, Decision<T>> {
    if !record.is_enrolled() {
        let refused = Decision::refused(Refusal::AdminNotEnrolled);
        return Err(refused.telling(refused_administrator(&Refusal::AdminNotEnrolled)));
    }
    second_factor::admit(record, policy, now, presented)
}

/// What to tell of an administrator whose call was refused before a proof was looked at.
pub fn refused_administrator(refusal: &Refusal) -> Event {
    EventKind::VerifyFailed.event().because(refusal.reason().as_str())
}

/// Spends the administrator's proof on the target. `refusal` is what the call ends in all the same, by
/// what the target is; the event of the proof says so.
pub fn prove(
    record: Record,
    policy: &Policy,
    now: Timestamp,
    attempt: Attempt<'_>,
    target: Target,
    refusal: Option<&Refusal>,
) -> Decision<Target> {
    let proven = second_factor::verify(record, policy, now, attempt, None);
    let mut decision = proven.map(|_: Proven| target);
    if let (Ok(_), Some(refusal), Some(event)) =
        (&decision.outcome, refusal, decision.events.first_mut())
    {
        event.reason = Some(refusal.reason().as_str().into());
    }
    decision
}

impl Target {
    /// What an unenrollment of this target ends in; `None` where it may be made.
    pub fn refuses_unenrollment(&self) -> Option<Refusal> {
        self.refuses_clearing()
            .or_else(|| self.enrolled_at.is_none().then_some(Refusal::NotEnrolled))
    }

    /// What the end of this target's waits ends in; `None` where it may be made.
    pub fn refuses_clearing(&self) -> Option<Refusal> {
        (!self.is_known).then_some(Refusal::UserNotFound)
    }
}

/// Turns two-step verification off for the enrollment that the proof was for, and for no other.
pub fn unenroll(mut record: Record, now: Timestamp, target: &Target) -> Decision<()> {
    if let Some(refusal) = target.refuses_unenrollment() {
        return Decision::refused(refusal);
    }
    if self::target(&record).enrolled_at != target.enrolled_at {
        // It is gone already: by an earlier try of this call, or by somebody else.
        return Decision::unchanged(());
    }
    record.unenroll(now);
    Decision::changed((), record, vec![EventKind::UnenrolledByAdmin.event()]).lasting()
}

/// Takes away the failures that there were when the proof was presented; later ones stay.
pub fn clear_backoff(mut record: Record, target: &Target) -> Decision<()> {
    if let Some(refusal) = target.refuses_clearing() {
        return Decision::refused(refusal);
    }
    let second_factor = record.second_factor_failures.without(target.second_factor);
    let password = record.password_failures.without(target.password);
    if second_factor == record.second_factor_failures && password == record.password_failures {
        return Decision::unchanged(());
    }
    record.second_factor_failures = second_factor;
    record.password_failures = password;
    Decision::changed((), record, vec![EventKind::BackoffCleared.event()])
}

/// Takes over an authenticator that another system enrolled. What stood on the time before ends.
pub fn import(
    mut record: Record,
    now: Timestamp,
    secret: Sealed,
    parameters: Parameters,
    fresh: Option<&Fresh>,
) -> Decision<Option<Issued>> {
    if record.is_enrolled() {
        return Decision::refused(Refusal::AlreadyEnrolled);
    }
    record.pending = None;
    record.elevations.clear();
    record.authenticator =
        Some(Authenticator { secret, parameters, last_step: None, enrolled_at: now });
    let issued = fresh.map(|fresh| second_factor::issue(&mut record, now, fresh));
    Decision::changed(issued, record, vec![EventKind::Imported.event()]).lasting()
}

/// Unenrolls a user on an operator's word: the way out when the last administrator lost everything.
pub fn reset(mut record: Record, now: Timestamp, why: &str) -> Decision<()> {
    if why.trim().is_empty() {
        return Decision::refused(Malformed { field: "why", problem: "must not be blank" });
    }
    if !record.is_known() {
        return Decision::refused(Refusal::UserNotFound);
    }
    if !record.is_enrolled() {
        return Decision::refused(Refusal::NotEnrolled);
    }
    record.unenroll(now);
    let event = EventKind::Unenrolled.event().because(why.to_owned());
    Decision::changed((), record, vec![event]).lasting()
}

/// Forgets a user whom the product has deleted, so that a reused id inherits nothing.
pub fn erase(record: &Record) -> Decision<()> {
    if !record.is_known() {
        return Decision::refused(Refusal::UserNotFound);
    }
    Decision::changed((), Record::default(), Vec::new()).lasting()
}
