//! What leaves the rules in words and bytes: reasons, sentences, kinds of events, and answers kept for repeats.

mod common;

use common::{Bench, Proof, SESSION, secs};
use rstest::rstest;
use std::collections::HashSet;
use std::fmt::Debug;
use std::time::Duration;
use twinlock_core::admin;
use twinlock_core::answer::Answer;
use twinlock_core::decision::EventKind;
use twinlock_core::enrollment::{Begun, Confirmed};
use twinlock_core::login::{Ground, Owed, Verdict};
use twinlock_core::receipt::Holds;
use twinlock_core::second_factor::{Issued, Proven};
use twinlock_core::{Malformed, Policy, Reason, Refusal};

const WAIT: Duration = Duration::from_secs(7);

#[rstest]
#[case(Refusal::InvalidCode, "INVALID_CODE")]
#[case(Refusal::CodeAlreadyUsed { retry_after: WAIT }, "CODE_ALREADY_USED")]
#[case(Refusal::Backoff { retry_after: WAIT }, "BACKOFF")]
#[case(Refusal::Locked, "LOCKED")]
#[case(Malformed { field: "totp_code", problem: "must" }.into(), "MALFORMED_CODE")]
#[case(Malformed { field: "recovery_key", problem: "must" }.into(), "MALFORMED_CODE")]
#[case(Malformed { field: "user_id", problem: "must" }.into(), "INVALID_REQUEST")]
#[case(Refusal::RequestIdReused, "REQUEST_ID_REUSED")]
#[case(Refusal::NotEnrolled, "NOT_ENROLLED")]
#[case(Refusal::NoPendingEnrollment, "NO_PENDING_ENROLLMENT")]
#[case(Refusal::SecondFactorRequired, "SECOND_FACTOR_REQUIRED")]
#[case(Refusal::NoPassword, "NO_PASSWORD")]
#[case(Refusal::AssertionNotAllowed, "ASSERTION_NOT_ALLOWED")]
#[case(Refusal::AdminNotEnrolled, "ADMIN_NOT_ENROLLED")]
#[case(Refusal::NotAnAdministrator, "CALLER_FORBIDDEN")]
#[case(Refusal::SelfUnenroll, "SELF_UNENROLL")]
#[case(Refusal::UserNotFound, "USER_NOT_FOUND")]
#[case(Refusal::AlreadyEnrolled, "ALREADY_ENROLLED")]
#[case(Refusal::ElevationRequired, "ELEVATION_REQUIRED")]
fn a_refusal_has_its_reason_and_a_sentence(#[case] refusal: Refusal, #[case] reason: &str) {
    assert_eq!(refusal.reason().to_string(), reason);
    assert!(refusal.to_string().ends_with('.'), "{refusal}");
    let waits = matches!(refusal, Refusal::CodeAlreadyUsed { .. } | Refusal::Backoff { .. });
    assert_eq!(refusal.retry_after(), waits.then_some(WAIT));
}

#[test]
fn names_are_names_of_one_thing() {
    let reasons: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(reasons.len(), Reason::ALL.len());
    for kind in EventKind::ALL {
        assert_eq!(EventKind::parse(kind.as_str()), Some(kind));
    }
    assert_eq!(EventKind::parse("SOMETHING_ELSE"), None);
}

/// An answer that was kept is what it was, and what is none of its kind is not taken for one.
fn is_kept<T: Answer + Debug>(answer: &T, holds: Holds, is_lasting: bool) {
    let bytes = answer.to_bytes();
    let again = T::from_bytes(&bytes).expect("what was written");
    assert_eq!(*again.to_bytes(), *bytes, "{answer:?}");
    assert_eq!(format!("{again:?}"), format!("{answer:?}"));
    assert_eq!((answer.holds(), answer.is_lasting()), (holds, is_lasting), "{answer:?}");
    assert_eq!((again.holds(), again.is_lasting()), (holds, is_lasting), "{answer:?}");
}

#[test]
fn every_answer_is_kept_as_it_is() {
    is_kept(&(), Holds::Nothing, true);
    let mut bench = Bench::new(Policy::default());
    let begun: Begun = bench.begin_by(SESSION);
    is_kept(&begun, Holds::PendingSecret, false);
    let code = bench.pending_code();
    let confirmed: Confirmed = bench.confirm(SESSION, &code).expect("a right code");
    is_kept(&confirmed, Holds::RecoveryKey, true);
    is_kept(&confirmed.issued, Holds::RecoveryKey, true);
    is_kept(&None::<Issued>, Holds::Nothing, true);
    is_kept(&Some(confirmed.issued), Holds::RecoveryKey, true);
    bench.advance(secs(90));
    let code = bench.right_code().expect("a code");
    let by_code: Proven = bench.verify(None, &code).expect("a right code");
    is_kept(&by_code, Holds::Nothing, false);
    let key = Proof::Key(bench.key.clone());
    let by_key: Proven = bench.elevate("phone", &key).expect("a right key");
    assert!(by_key.elevation.is_some());
    is_kept(&by_key, Holds::RecoveryKey, true);
    let wrong = bench.wrong_code();
    bench.verify(None, &wrong).expect_err("a wrong code");
    is_kept(&admin::target(&bench.record), Holds::Nothing, false);
    for owed in [Owed::Allow, Owed::Verify, Owed::Enroll, Owed::Deny] {
        for ground in Ground::ALL {
            let verdict = Verdict { owed, ground, notify: true, remind_recovery_key: false };
            is_kept(&verdict, Holds::Nothing, false);
            assert_eq!(Verdict::from_bytes(&verdict.to_bytes()), Some(verdict));
        }
    }
}

#[test]
fn what_is_no_answer_is_not_read() {
    for bytes in [&b""[..], b"\xff", b"\x30\x09"] {
        assert!(Begun::from_bytes(bytes).is_none());
        assert!(Confirmed::from_bytes(bytes).is_none());
        assert!(Issued::from_bytes(bytes).is_none());
        assert!(Proven::from_bytes(bytes).is_none());
        assert!(Verdict::from_bytes(bytes).is_none());
        assert!(admin::Target::from_bytes(bytes).is_none());
    }
    assert!(matches!(<Option<Issued>>::from_bytes(b""), Some(None)));
    assert!(<Option<Issued>>::from_bytes(b"\xff").is_none());
}
