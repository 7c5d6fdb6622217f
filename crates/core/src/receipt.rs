//! Repeats: the same request id with the same request gets the same answer and changes nothing twice.

use crate::record::{Digest, Record, Sealed};
use crate::{Refusal, Timestamp};
use std::time::Duration;

/// How long an answer can be had again.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// The most answers that are kept of one user.
pub const MAX_SUCCESSES: usize = 32;
/// The most refusals that are kept of one user. They never push out an answer.
pub const MAX_REFUSALS: usize = 4;

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The keyed digest of the request id.
    pub id: Digest,
    /// The keyed digest of the request.
    pub request: Digest,
    /// When it was decided.
    pub at: Timestamp,
    /// What was decided.
    pub kept: Kept,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The answer, sealed.
    Success {
        /// The sealed answer.
        answer: Sealed,
        /// What the answer holds.
        holds: Holds,
    },
    /// The proof was wrong.
    InvalidCode,
    /// The code had been used.
    CodeAlreadyUsed {
        /// When a new code can be accepted.
        retry_at: Timestamp,
    },
}

/// What an answer holds, in the order in which answers make room for others: the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// Nothing that would be lost with it.
    Nothing,
    /// The secret of a pending enrollment. It is shown once, but another enrollment can be begun.
    PendingSecret,
    /// A recovery key, which nobody can have again.
    RecoveryKey,
}

/// The digests by which a request is known, under one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Of the request id.
    pub id: Digest,
    /// Of what was asked, without the client context.
    pub request: Digest,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'r> {
    /// Nothing: it is new.
    Nothing,
    /// It was answered.
    Answer(&'r Sealed),
    /// It was refused.
    Refused(Refusal),
    /// Its id stands for another request.
    Reused,
}

impl Receipt {
    /// Whether it can still be asked for.
    pub fn lives(&self, now: Timestamp) -> bool {
        now.is_within(self.at, LIFETIME)
    }

    /// When it lapses.
    pub fn lapses_at(&self) -> Timestamp {
        self.at.after(LIFETIME)
    }

    /// What it holds.
    pub fn holds(&self) -> Holds {
        match self.kept {
            Kept::Success { holds, .. } => holds,
            Kept::InvalidCode | Kept::CodeAlreadyUsed { .. } => Holds::Nothing,
        }
    }

    /// In which order receipts make room: the least goes first.
    fn worth(&self) -> (Holds, Timestamp) {
        (self.holds(), self.at)
    }
}

/// Looks a request up; `marks` are those under each key of the keyring.
pub fn find<'r>(record: &'r Record, marks: &[Mark], now: Timestamp) -> Found<'r> {
    for mark in marks {
        let known =
            record.receipts.iter().find(|receipt| receipt.id == mark.id && receipt.lives(now));
        let Some(receipt) = known else { continue };
        if receipt.request != mark.request {
            return Found::Reused;
        }
        return match &receipt.kept {
            Kept::Success { answer, .. } => Found::Answer(answer),
            Kept::InvalidCode => Found::Refused(Refusal::InvalidCode),
            Kept::CodeAlreadyUsed { retry_at } => {
                Found::Refused(Refusal::CodeAlreadyUsed { retry_after: now.until(*retry_at) })
            }
        };
    }
    Found::Nothing
}

/// Remembers an answer; of those that hold the least, the oldest makes room.
pub fn remember_success(
    record: &mut Record,
    mark: Mark,
    answer: Sealed,
    holds: Holds,
    now: Timestamp,
) {
    make_room(record, MAX_SUCCESSES, now, |kept| matches!(kept, Kept::Success { .. }));
    let kept = Kept::Success { answer, holds };
    record.receipts.push(Receipt { id: mark.id, request: mark.request, at: now, kept });
}

/// Remembers a refusal, if it is one that came of an evaluated proof.
pub fn remember_refusal(record: &mut Record, mark: Mark, refusal: &Refusal, now: Timestamp) {
    let kept = match refusal {
        Refusal::InvalidCode => Kept::InvalidCode,
        Refusal::CodeAlreadyUsed { retry_after } => {
            Kept::CodeAlreadyUsed { retry_at: now.after(*retry_after) }
        }
        _ => return,
    };
    make_room(record, MAX_REFUSALS, now, |kept| !matches!(kept, Kept::Success { .. }));
    record.receipts.push(Receipt { id: mark.id, request: mark.request, at: now, kept });
}

fn make_room(record: &mut Record, most: usize, now: Timestamp, of_kind: impl Fn(&Kept) -> bool) {
    // What nobody can ask for any more pushes out nothing, whatever it holds.
    record.receipts.retain(|receipt| receipt.lives(now));
    while record.receipts.iter().filter(|receipt| of_kind(&receipt.kept)).count() >= most {
        let receipts = record.receipts.iter().enumerate();
        let least = receipts
            .filter(|(_, receipt)| of_kind(&receipt.kept))
            .min_by_key(|(_, receipt)| receipt.worth())
            .map(|(index, _)| index);
        match least {
            Some(index) => record.receipts.remove(index),
            None => return,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(n: u8) -> Mark {
        Mark { id: Digest([n; 16]), request: Digest([n; 16]) }
    }

    fn at(n: u64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + n)
    }

    #[test]
    fn a_repeat_finds_its_answer_and_another_request_does_not() {
        let mut record = Record::default();
        remember_success(&mut record, mark(1), Sealed(vec![7]), Holds::Nothing, at(0));
        assert_eq!(find(&record, &[mark(9), mark(1)], at(599)), Found::Answer(&Sealed(vec![7])));
        assert_eq!(find(&record, &[mark(1)], at(600)), Found::Nothing);
        let other = Mark { request: Digest([2; 16]), ..mark(1) };
        assert_eq!(find(&record, &[other], at(1)), Found::Reused);
        let past = Timestamp::from_secs(999_999);
        assert_eq!(find(&record, &[mark(1)], past), Found::Nothing, "dated in the future: lapsed");
    }

    #[test]
    fn an_answer_with_a_key_goes_last_and_refusals_push_out_no_answer() {
        let mut record = Record::default();
        remember_success(&mut record, mark(200), Sealed(vec![]), Holds::RecoveryKey, at(0));
        for n in 0..40 {
            let at = at(u64::from(n));
            remember_success(&mut record, mark(n), Sealed(vec![]), Holds::Nothing, at);
        }
        assert_eq!(record.receipts.len(), MAX_SUCCESSES);
        assert!(matches!(find(&record, &[mark(200)], at(40)), Found::Answer(_)));
        for n in 100..120 {
            remember_refusal(&mut record, mark(n), &Refusal::InvalidCode, at(50));
        }
        assert_eq!(record.receipts.len(), MAX_SUCCESSES + MAX_REFUSALS);
        assert!(matches!(find(&record, &[mark(200)], at(51)), Found::Answer(_)));
        let before = record.clone();
        remember_refusal(&mut record, mark(1), &Refusal::NotEnrolled, at(50));
        assert_eq!(record, before, "a refusal before any evaluation need not be kept");
    }

    #[test]
    fn pending_secrets_push_out_each_other_and_what_holds_nothing_and_never_a_recovery_key() {
        let mut record = Record::default();
        remember_success(&mut record, mark(200), Sealed(vec![]), Holds::RecoveryKey, at(0));
        remember_success(&mut record, mark(201), Sealed(vec![]), Holds::Nothing, at(300));
        for n in 0..40 {
            let at = at(u64::from(n));
            remember_success(&mut record, mark(n), Sealed(vec![]), Holds::PendingSecret, at);
        }
        assert_eq!(record.receipts.len(), MAX_SUCCESSES);
        assert!(matches!(find(&record, &[mark(200)], at(301)), Found::Answer(_)));
        assert_eq!(find(&record, &[mark(201)], at(301)), Found::Nothing);
        assert_eq!(find(&record, &[mark(8)], at(301)), Found::Nothing, "the oldest");
        assert!(matches!(find(&record, &[mark(9)], at(301)), Found::Answer(_)));
    }

    #[test]
    fn a_refused_reuse_is_repeated_with_what_is_left_of_the_wait() {
        let mut record = Record::default();
        let refusal = Refusal::CodeAlreadyUsed { retry_after: Duration::from_secs(20) };
        remember_refusal(&mut record, mark(1), &refusal, at(0));
        let rest = Refusal::CodeAlreadyUsed { retry_after: Duration::from_secs(5) };
        assert_eq!(find(&record, &[mark(1)], at(15)), Found::Refused(rest));
    }
}
