//! Elevation before enrollment, by password or by the product's word, and the end of elevations.
//!
//! A password is expensive to check, so its failure is counted first and taken away again when the
//! password was right: parallel guesses cannot buy more checks than the schedule allows, and a crash in
//! between costs the guesser.

use crate::backoff::Charge;
use crate::decision::{Decision, EventKind, Factor};
use crate::policy::Policy;
use crate::record::{Digest, Digests, Method, Record, Sealed};
use crate::second_factor::{Granted, Proven};
use crate::{Reason, Refusal, Timestamp};

/// Which verifier a password is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// The one that came with the request, from the product's own user table.
    Supplied,
    /// The sealed one of the record.
    Stored(Sealed),
}

/// What a check of a password found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether the password fits the verifier.
    pub is_right: bool,
    /// Whether that verifier is the one in force at the settlement: the one that came with the request
    /// always is. Whoever holds the keys compares what is sealed, and not its bytes, for those change when
    /// the record is resealed.
    pub is_in_force: bool,
}

/// Elevates a session on the product's word.
pub fn assert(
    mut record: Record,
    policy: &Policy,
    now: Timestamp,
    session: &Digests,
) -> Decision<Proven> {
    if record.is_enrolled() {
        return Decision::refused(Refusal::SecondFactorRequired);
    }
    if !policy.elevation.allow_asserted {
        return Decision::refused(Refusal::AssertionNotAllowed);
    }
    let proven = grant(&mut record, policy, now, session, Method::Asserted);
    Decision::changed(proven, record, vec![EventKind::Elevated.by(Method::Asserted)])
}

/// Decides whether a password may be looked at, and names the verifier to compare it with.
pub fn admit_password<T>(
    record: &Record,
    policy: &Policy,
    now: Timestamp,
    supplied: bool,
) -> Result<Verifier, Decision<T>> {
    if record.is_enrolled() {
        return Err(Decision::refused(Refusal::SecondFactorRequired));
    }
    let verifier = match &record.password {
        _ if supplied => Verifier::Supplied,
        Some(sealed) => Verifier::Stored(sealed.clone()),
        None => return Err(Decision::refused(Refusal::NoPassword)),
    };
    record.gate(policy, now, Factor::Password)?;
    Ok(verifier)
}

/// Counts the failure ahead of the check; [`settle_password`] takes it away if the password is right.
pub fn charge_password(mut record: Record, policy: &Policy, now: Timestamp) -> Decision<Charge> {
    // What happened is told when it is known, by the settlement.
    record.count_failure(policy, now, Factor::Password);
    let charge = record.password_failures.last_charge();
    Decision::changed(charge, record, Vec::new())
}

/// Settles a password that was checked. It counts as right only if the verifier that it was checked against
/// is still the one in force.
pub fn settle_password(
    mut record: Record,
    policy: &Policy,
    now: Timestamp,
    session: &Digests,
    charge: Charge,
    checked: Checked,
) -> Decision<Proven> {
    if !(checked.is_right && checked.is_in_force) {
        let failed = EventKind::ElevationFailed.by(Method::Password);
        let mut events = vec![failed.because(Reason::InvalidCode.as_str())];
        // Of several that were checked at once, only the failure that was counted last began the block.
        if record.password_failures.last_charge() == charge {
            events.extend(record.begun_block(policy, Factor::Password, Some(Method::Password)));
        }
        return Decision { events, ..Decision::refused(Refusal::InvalidCode) };
    }
    record.password_failures = record.password_failures.without(charge);
    if record.is_enrolled() {
        // The user enrolled while the password was being checked: it was right, and is not enough.
        let refused = Decision::refused(Refusal::SecondFactorRequired);
        return Decision { record: Some(record), ..refused };
    }
    let proven = grant(&mut record, policy, now, session, Method::Password);
    Decision::changed(proven, record, vec![EventKind::Elevated.by(Method::Password)])
}

/// Takes a counted failure away where the same request was answered meanwhile, and counted there.
pub fn uncharge_password(mut record: Record, charge: Charge) -> Record {
    record.password_failures = record.password_failures.without_only(charge);
    record
}

/// Stores a password verifier. What stood on the old one ends: its elevations, and the enrollments that
/// were begun under them.
pub fn set_password(mut record: Record, sealed: Sealed) -> Decision<()> {
    record.end_password_authority();
    record.password = Some(sealed);
    Decision::changed((), record, vec![EventKind::PasswordSet.event()])
}

/// Removes the password verifier, and what stood on it or on one that the product supplied.
pub fn clear_password(mut record: Record) -> Decision<()> {
    let before = record.clone();
    record.end_password_authority();
    record.password = None;
    if record == before {
        return Decision::unchanged(());
    }
    Decision::changed((), record, vec![EventKind::PasswordCleared.event()])
}

/// Ends one session's elevation, or all of them where none is named; the enrollments that those sessions
/// began end too.
pub fn drop(mut record: Record, session: Option<&Digests>) -> Decision<()> {
    let named = |digest: &Digest| session.is_none_or(|session| session.contains(digest));
    let before = record.elevations.len();
    record.elevations.retain(|elevation| !named(&elevation.session));
    let ends_pending = record.pending.as_ref().is_some_and(|pending| named(&pending.session));
    if ends_pending {
        record.pending = None;
    }
    if record.elevations.len() == before && !ends_pending {
        return Decision::unchanged(());
    }
    Decision::changed((), record, vec![EventKind::ElevationDropped.event()])
}

fn grant(
    record: &mut Record,
    policy: &Policy,
    now: Timestamp,
    session: &Digests,
    method: Method,
) -> Proven {
    record.elevate(session, method, now);
    let expire_at = now.after(policy.elevation.lifetime);
    let elevation = Some(Granted { method, at: now, expire_at });
    Proven { method, at: now, issued: None, elevation }
}

impl Record {
    fn end_password_authority(&mut self) {
        self.elevations.retain(|elevation| elevation.method != Method::Password);
        if self.pending.as_ref().is_some_and(|pending| pending.ground == Method::Password) {
            self.pending = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_was_one_too_many_is_taken_away_and_nothing_else() {
        let (policy, now) = (Policy::default(), Timestamp::from_secs(9));
        let charge = |record| {
            let charged = charge_password(record, &policy, now);
            (charged.record.expect("it is counted"), charged.outcome.expect("its name"))
        };
        let before = Record { password: Some(Sealed(vec![7])), ..Record::default() };
        let (once, _) = charge(before);
        let (twice, second) = charge(once.clone());
        let password_failures = twice.password_failures.without_only(second);
        assert_eq!(password_failures.failures, 1);
        assert_eq!(uncharge_password(twice, second), Record { password_failures, ..once });
    }
}
