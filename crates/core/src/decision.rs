//! What a rule decides: the answer, what becomes of the record, and what happened.

use crate::backoff::{Counter, Gate};
use crate::policy::Policy;
use crate::record::{Method, Record};
use crate::{Reason, Refusal, Timestamp};
use std::borrow::Cow;

/// A decision on one record. It may be told only after its record was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<T> {
    /// What the caller is told.
    pub outcome: Result<T, Refusal>,
    /// The record to keep in place of the one that was decided on; `None` where nothing changes.
    pub record: Option<Record>,
    /// How durable that change must be.
    pub durability: Durability,
    /// What happened, for the audit trail.
    pub events: Vec<Event>,
}

/// How durable a change must be before it counts as made.
///
/// One machine's disk knows one answer; a replicated store waits for its replicas where the change is
/// one that a user cannot make again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Counters, used steps, elevations.
    Attempt,
    /// Secrets and recovery keys.
    Enrollment,
}

/// One thing that happened. It holds no secret, code, key or password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// By which proof, where there was one.
    pub method: Option<Method>,
    /// Why: the reason of a refusal, the ground of a decision on a login, or an operator's own words.
    pub reason: Option<Cow<'static, str>>,
    /// How many steps the one of a right code lies from the present one: what its clock is off, for whoever
    /// watches all of them.
    pub step_offset: Option<i8>,
}

impl Event {
    /// The same event, with the reason for it.
    #[must_use]
    pub fn because(self, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }
}

/// The kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the contract's own words")]
pub enum EventKind {
    EnrollmentStarted,
    Enrolled,
    AuthenticatorChanged,
    Unenrolled,
    UnenrolledByAdmin,
    Verified,
    VerifyFailed,
    CodeReused,
    Blocked,
    RecoveryKeyUsed,
    RecoveryKeyRotated,
    RecoveryKeyAcknowledged,
    Elevated,
    ElevationFailed,
    ElevationDropped,
    EnrollmentRequired,
    LoginDenied,
    BackoffCleared,
    PasswordSet,
    PasswordCleared,
    Imported,
    LegacyLogin,
}

impl EventKind {
    /// Every kind there is.
    pub const ALL: [Self; 22] = [
        Self::EnrollmentStarted,
        Self::Enrolled,
        Self::AuthenticatorChanged,
        Self::Unenrolled,
        Self::UnenrolledByAdmin,
        Self::Verified,
        Self::VerifyFailed,
        Self::CodeReused,
        Self::Blocked,
        Self::RecoveryKeyUsed,
        Self::RecoveryKeyRotated,
        Self::RecoveryKeyAcknowledged,
        Self::Elevated,
        Self::ElevationFailed,
        Self::ElevationDropped,
        Self::EnrollmentRequired,
        Self::LoginDenied,
        Self::BackoffCleared,
        Self::PasswordSet,
        Self::PasswordCleared,
        Self::Imported,
        Self::LegacyLogin,
    ];

    /// The kind of this name; `None` where there is none.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name in the audit trail, in UPPER_SNAKE_CASE.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EnrollmentStarted => "ENROLLMENT_STARTED",
            Self::Enrolled => "ENROLLED",
            Self::AuthenticatorChanged => "AUTHENTICATOR_CHANGED",
            Self::Unenrolled => "UNENROLLED",
            Self::UnenrolledByAdmin => "UNENROLLED_BY_ADMIN",
            Self::Verified => "VERIFIED",
            Self::VerifyFailed => "VERIFY_FAILED",
            Self::CodeReused => "CODE_REUSED",
            Self::Blocked => "BLOCKED",
            Self::RecoveryKeyUsed => "RECOVERY_KEY_USED",
            Self::RecoveryKeyRotated => "RECOVERY_KEY_ROTATED",
            Self::RecoveryKeyAcknowledged => "RECOVERY_KEY_ACKNOWLEDGED",
            Self::Elevated => "ELEVATED",
            Self::ElevationFailed => "ELEVATION_FAILED",
            Self::ElevationDropped => "ELEVATION_DROPPED",
            Self::EnrollmentRequired => "ENROLLMENT_REQUIRED",
            Self::LoginDenied => "LOGIN_DENIED",
            Self::BackoffCleared => "BACKOFF_CLEARED",
            Self::PasswordSet => "PASSWORD_SET",
            Self::PasswordCleared => "PASSWORD_CLEARED",
            Self::Imported => "IMPORTED",
            Self::LegacyLogin => "LEGACY_LOGIN",
        }
    }

    /// The event, without a proof.
    pub const fn event(self) -> Event {
        Event { kind: self, method: None, reason: None, step_offset: None }
    }

    /// The event, with the proof that it was about.
    pub const fn by(self, method: Method) -> Event {
        Event { kind: self, method: Some(method), reason: None, step_offset: None }
    }
}

/// Which of a user's two counters a proof counts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factor {
    /// The password's.
    Password,
    /// The one of codes and recovery keys, wherever they are presented.
    Second,
}

impl<T> Decision<T> {
    /// Refused, and nothing changes.
    pub fn refused(refusal: impl Into<Refusal>) -> Self {
        Self {
            outcome: Err(refusal.into()),
            record: None,
            durability: Durability::Attempt,
            events: Vec::new(),
        }
    }

    /// Granted, and nothing changes.
    pub fn unchanged(outcome: T) -> Self {
        Self {
            outcome: Ok(outcome),
            record: None,
            durability: Durability::Attempt,
            events: Vec::new(),
        }
    }

    /// Granted with a change.
    pub fn changed(outcome: T, record: Record, events: Vec<Event>) -> Self {
        Self { outcome: Ok(outcome), record: Some(record), durability: Durability::Attempt, events }
    }

    /// The same decision, whose change a user could not make again.
    #[must_use]
    pub fn lasting(self) -> Self {
        Self { durability: Durability::Enrollment, ..self }
    }

    /// The same decision with another answer.
    pub fn map<U>(self, answer: impl FnOnce(T) -> U) -> Decision<U> {
        let Self { outcome, record, durability, events } = self;
        Decision { outcome: outcome.map(answer), record, durability, events }
    }

    /// The same decision, told to the audit trail.
    #[must_use]
    pub(crate) fn telling(self, event: Event) -> Self {
        Self { events: vec![event], ..self }
    }

    /// A proof that failed: it is counted, and the count may start a block.
    pub(crate) fn failed(
        mut record: Record,
        policy: &Policy,
        now: Timestamp,
        factor: Factor,
        refusal: Refusal,
        event: Event,
    ) -> Self {
        let method = event.method;
        let mut events = vec![event.because(refusal.reason().as_str())];
        record.count_failure(policy, now, factor);
        events.extend(record.begun_block(policy, factor, method));
        Self {
            outcome: Err(refusal),
            record: Some(record),
            durability: Durability::Attempt,
            events,
        }
    }
}

impl Record {
    /// Refuses where an earlier failure still makes the user wait, without looking at what is presented.
    pub(crate) fn gate<T>(
        &self,
        policy: &Policy,
        now: Timestamp,
        factor: Factor,
    ) -> Result<(), Decision<T>> {
        let counter = self.counter(factor);
        let gate = counter.at(&policy.backoff, now).gate(&policy.backoff, now);
        let Some(refusal) = gate.refusal() else { return Ok(()) };
        let mut decision = Decision::refused(refusal);
        if let Gate::Blocked { restart: true, .. } = gate {
            let mut record = self.clone();
            *record.counter_mut(factor) = counter.restarted(now);
            decision.record = Some(record);
        }
        Err(decision)
    }

    /// Counts one failure.
    pub(crate) fn count_failure(&mut self, policy: &Policy, now: Timestamp, factor: Factor) {
        let counter = self.counter_mut(factor);
        *counter = counter.at(&policy.backoff, now).failed(now);
    }

    /// What to tell of the block that the last failure began, if it did; `method` is what failed.
    pub(crate) fn begun_block(
        &self,
        policy: &Policy,
        factor: Factor,
        method: Option<Method>,
    ) -> Option<Event> {
        let counter = self.counter(factor);
        let reason =
            if counter.is_locked(&policy.backoff) { Reason::Locked } else { Reason::Backoff };
        let blocked = Event { method, ..EventKind::Blocked.event() };
        counter.starts_block(&policy.backoff).then(|| blocked.because(reason.as_str()))
    }

    pub(crate) fn counter(&self, factor: Factor) -> Counter {
        match factor {
            Factor::Password => self.password_failures,
            Factor::Second => self.second_factor_failures,
        }
    }

    pub(crate) fn counter_mut(&mut self, factor: Factor) -> &mut Counter {
        match factor {
            Factor::Password => &mut self.password_failures,
            Factor::Second => &mut self.second_factor_failures,
        }
    }
}

/// A request id that stands for another request. Where a proof came with it, that counts as a failure:
/// otherwise the id would be a way to try proofs for nothing.
pub fn reused<T>(
    record: Record,
    policy: &Policy,
    now: Timestamp,
    proof: Option<Factor>,
) -> Decision<T> {
    let Some(factor) = proof else { return Decision::refused(Refusal::RequestIdReused) };
    if let Err(blocked) = record.gate(policy, now, factor) {
        // Nothing counts within a block; but a block that must be restarted still is.
        return Decision { outcome: Err(Refusal::RequestIdReused), ..blocked };
    }
    let event = match factor {
        Factor::Password => EventKind::ElevationFailed.by(Method::Password),
        Factor::Second => EventKind::VerifyFailed.event(),
    };
    Decision::failed(record, policy, now, factor, Refusal::RequestIdReused, event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_told_after_the_failure_that_began_it_and_by_its_proof() {
        let (policy, now) = (Policy::default(), Timestamp::from_secs(9));
        let failed = |record| {
            let event = EventKind::VerifyFailed.by(Method::RecoveryKey);
            let refusal = Refusal::InvalidCode;
            Decision::<()>::failed(record, &policy, now, Factor::Second, refusal, event)
        };
        let failure = EventKind::VerifyFailed.by(Method::RecoveryKey).because("INVALID_CODE");
        let first = failed(Record::default());
        assert_eq!(first.events, std::slice::from_ref(&failure), "the first is tolerated");
        let block = EventKind::Blocked.by(Method::RecoveryKey).because("BACKOFF");
        assert_eq!(failed(first.record.expect("it is counted")).events, [failure, block]);
    }
}
