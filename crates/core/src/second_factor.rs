//! The second factor: a code or the recovery key, presented at a login or to elevate a session.
//!
//! Two pure steps. [`admit`] decides whether the proof may be looked at and names what must be opened;
//! whoever holds the keys opens it; [`verify`] and [`elevate`] settle the attempt.

use crate::decision::{Decision, Event, EventKind, Factor};
use crate::policy::Policy;
use crate::record::{Digests, Method, Record, Recovery, Sealed};
use crate::recovery::{RecoveryKey, RecoveryKeyHash};
use crate::totp::{self, Parameters, Secret, Step, TotpCode, Window};
use crate::{Malformed, Refusal, Timestamp};
use std::time::Duration;

/// What the user presented.
#[derive(Debug)]
pub enum Presented {
    /// A code of the authenticator.
    Totp(TotpCode),
    /// The recovery key, hashed for this user, and the one that is issued in exchange if it is right.
    RecoveryKey(RecoveryKeyHash, Fresh),
}

/// What was opened to compare it with.
#[derive(Debug)]
pub enum Opened {
    /// The authenticator's secret.
    Secret(Secret),
    /// The hash of the recovery key in force; `None` where the user has none.
    RecoveryKey(Option<RecoveryKeyHash>),
}

/// The recovery key that is issued if this call issues one.
#[derive(Debug)]
pub struct Fresh {
    /// The key, to be shown.
    pub key: RecoveryKey,
    /// Its hash, sealed, to be kept.
    pub hash: Sealed,
}

/// A recovery key that was issued: shown once and never again.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The key.
    pub key: RecoveryKey,
    /// When it was made; it also names the key.
    pub created_at: Timestamp,
}

/// An elevation that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// How identity was proved.
    pub method: Method,
    /// When.
    pub at: Timestamp,
    /// When the elevation ends.
    pub expire_at: Timestamp,
}

/// A proof that was accepted.
#[derive(Clone, Debug)]
pub struct Proven {
    /// Which kind it was.
    pub method: Method,
    /// When it was accepted.
    pub at: Timestamp,
    /// The next recovery key, where this one was used up.
    pub issued: Option<Issued>,
    /// The elevation, where a session was named.
    pub elevation: Option<Granted>,
}

/// Decides whether the proof may be looked at, and names what must be opened for it.
pub fn admit<'r, T>(
    record: &'r Record,
    policy: &Policy,
    now: Timestamp,
    presented: &Presented,
) -> Result<Option<&'r Sealed>, Decision<T>> {
    let Some(authenticator) = &record.authenticator else {
        return Err(Decision::refused(Refusal::NotEnrolled));
    };
    record.gate(policy, now, Factor::Second)?;
    match presented {
        Presented::Totp(code) if code.digits() != authenticator.parameters.digits => {
            Err(Decision::refused(wrong_length()))
        }
        Presented::Totp(_) => Ok(Some(&authenticator.secret)),
        Presented::RecoveryKey(..) => Ok(record.recovery.as_ref().map(|recovery| &recovery.hash)),
    }
}

/// Settles the second step of a login. A session that is named is elevated by the same proof.
pub fn verify(
    record: Record,
    policy: &Policy,
    now: Timestamp,
    attempt: Attempt<'_>,
    session: Option<&Digests>,
) -> Decision<Proven> {
    let session = session.filter(|_| policy.elevation.from_login);
    settle(record, policy, now, attempt, session, EventKind::Verified)
}

/// Settles an elevation by second factor.
pub fn elevate(
    record: Record,
    policy: &Policy,
    now: Timestamp,
    attempt: Attempt<'_>,
    session: &Digests,
) -> Decision<Proven> {
    settle(record, policy, now, attempt, Some(session), EventKind::Elevated)
}

/// Compares a code, and gives the step that it uses up: whoever accepts it keeps that as the next
/// `last_step`, before anybody learns of it.
///
/// Refused are a code of another length than the authenticator's, a wrong one, and one whose step is not
/// later than the last used one.
pub fn accept(
    secret: &Secret,
    parameters: &Parameters,
    window: Window,
    now: Timestamp,
    code: &TotpCode,
    last_step: Option<Step>,
) -> Result<Step, Refusal> {
    if code.digits() != parameters.digits {
        return Err(wrong_length().into());
    }
    let step = totp::matched_step(secret, parameters, window, now, code);
    let step = step.ok_or(Refusal::InvalidCode)?;
    if last_step.is_some_and(|last| step <= last) {
        return Err(Refusal::CodeAlreadyUsed {
            retry_after: parameters.period.until_next_step(now),
        });
    }
    Ok(step)
}

/// A proof with what it is compared with.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// What the user presented.
    pub presented: &'a Presented,
    /// What was opened for it.
    pub opened: Opened,
}

/// The refusal of a code that is one, but not of this user's length.
pub(crate) fn wrong_length() -> Malformed {
    Malformed { field: "totp_code", problem: "must have as many digits as the authenticator shows" }
}

fn settle(
    mut record: Record,
    policy: &Policy,
    now: Timestamp,
    attempt: Attempt<'_>,
    session: Option<&Digests>,
    event: EventKind,
) -> Decision<Proven> {
    let method = match attempt.presented {
        Presented::Totp(_) => Method::Totp,
        Presented::RecoveryKey(..) => Method::RecoveryKey,
    };
    let Spent { issued, step_offset } = match prove(&mut record, policy, now, attempt) {
        Ok(spent) => spent,
        Err(refusal) => {
            let failure = match (&refusal, event) {
                (Refusal::CodeAlreadyUsed { .. }, _) => EventKind::CodeReused,
                (_, EventKind::Elevated) => EventKind::ElevationFailed,
                _ => EventKind::VerifyFailed,
            };
            return refuse(record, policy, now, refusal, failure.by(method));
        }
    };
    record.second_factor_failures = record.second_factor_failures.succeeded();
    let elevation = session.map(|session| {
        record.elevate(session, method, now);
        Granted { method, at: now, expire_at: now.after(policy.elevation.lifetime) }
    });
    let mut events = vec![Event { step_offset, ..event.by(method) }];
    if issued.is_some() {
        events.push(EventKind::RecoveryKeyUsed.event());
    }
    if elevation.is_some() && event != EventKind::Elevated {
        events.push(EventKind::Elevated.by(method));
    }
    let lasting = issued.is_some();
    let decision = Decision::changed(Proven { method, at: now, issued, elevation }, record, events);
    if lasting { decision.lasting() } else { decision }
}

/// Counts a failed proof, and tells how long the user waits for it where the refusal says so.
pub(crate) fn refuse<T>(
    record: Record,
    policy: &Policy,
    now: Timestamp,
    refusal: Refusal,
    event: Event,
) -> Decision<T> {
    let mut decision = Decision::failed(record, policy, now, Factor::Second, refusal, event);
    // The wait until a new code is no use to anybody while the failure itself blocks for longer.
    if let (Err(Refusal::CodeAlreadyUsed { retry_after }), Some(record)) =
        (&mut decision.outcome, &decision.record)
    {
        let block = policy.backoff.wait(record.second_factor_failures.failures);
        *retry_after = block.max(*retry_after);
    }
    decision
}

/// What was spent on a proof that was right.
struct Spent {
    /// The next recovery key, where one was used up.
    issued: Option<Issued>,
    /// How far the step of a code lies from the present one.
    step_offset: Option<i8>,
}

/// Compares the proof and, where it is right, spends it: the used step, or the recovery key in exchange
/// for the next one.
fn prove(
    record: &mut Record,
    policy: &Policy,
    now: Timestamp,
    attempt: Attempt<'_>,
) -> Result<Spent, Refusal> {
    match (attempt.presented, attempt.opened) {
        (Presented::Totp(code), Opened::Secret(secret)) => {
            let authenticator = record.authenticator.as_mut().ok_or(Refusal::NotEnrolled)?;
            let (parameters, last) = (authenticator.parameters, authenticator.last_step);
            let step = accept(&secret, &parameters, policy.window, now, code, last)?;
            authenticator.last_step = Some(step);
            let step_offset = Some(step.offset_from(parameters.period.step(now)));
            Ok(Spent { issued: None, step_offset })
        }
        (Presented::RecoveryKey(presented, fresh), Opened::RecoveryKey(Some(hash)))
            if presented.matches(&hash) =>
        {
            Ok(Spent { issued: Some(issue(record, now, fresh)), step_offset: None })
        }
        _ => Err(Refusal::InvalidCode),
    }
}

/// Puts the fresh recovery key in force.
pub(crate) fn issue(record: &mut Record, now: Timestamp, fresh: &Fresh) -> Issued {
    // The time names the key: were it to come twice, as when the clock goes back or stands still, the
    // acknowledgement of a key that was replaced would pass for its successor's.
    let created_at = match &record.recovery {
        Some(previous) => now.max(previous.created_at.after(Duration::from_millis(1))),
        None => now,
    };
    let hash = fresh.hash.clone();
    record.recovery = Some(Recovery { hash, created_at, acknowledged: false });
    Issued { key: fresh.key.clone(), created_at }
}
