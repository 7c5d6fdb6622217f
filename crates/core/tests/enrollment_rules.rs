//! How an enrollment begins, is confirmed, is replaced and ends.

mod common;

use common::codes::{code, wrong_key};
use common::{Bench, Proof, SESSION, secs};
use std::time::Duration;
use twinlock_core::decision::{Durability, EventKind};
use twinlock_core::enrollment::Description;
use twinlock_core::record::Method;
use twinlock_core::totp::{Algorithm, Digits, Parameters, Step};
use twinlock_core::{Policy, Record, Refusal};

const OTHER: &str = "phone";

fn key(bench: &Bench) -> Proof {
    Proof::Key(bench.key.clone())
}

#[test]
fn an_enrollment_needs_an_elevated_session() {
    let mut bench = Bench::new(Policy::default());
    let refused = Err(Refusal::ElevationRequired);
    assert_eq!(bench.enroll(SESSION).map(|_| ()), refused);
    bench.assert(OTHER).expect("an allowed assertion");
    assert_eq!(bench.enroll(SESSION).map(|_| ()), refused, "another session's does not do");
    bench.assert(SESSION).expect("an allowed assertion");
    bench.enroll(SESSION).expect("an elevated session");
    assert_eq!(bench.events, [EventKind::EnrollmentStarted]);
}

#[test]
fn an_enrolled_user_begins_another_only_from_a_session_elevated_by_second_factor() {
    let mut bench = Bench::enrolled(Policy::default());
    assert_eq!(bench.enroll(OTHER).map(|_| ()), Err(Refusal::ElevationRequired));
    // Were a weak elevation left over, it would not do.
    for weak in [Method::Password, Method::Asserted] {
        bench.record.elevate(&common::digests(OTHER), weak, bench.now);
        assert_eq!(bench.enroll(OTHER).map(|_| ()), Err(Refusal::ElevationRequired));
    }
    bench.elevate(OTHER, &key(&bench)).expect("a right key");
    bench.enroll(OTHER).expect("an elevated session");
}

#[test]
fn a_pending_enrollment_lapses_after_ten_minutes() {
    let mut bench = Bench::new(Policy::default());
    let begun = bench.begin_by(SESSION);
    assert_eq!(begun.expire_at, bench.now.after(secs(600)));
    bench.advance(secs(600) - Duration::from_millis(1));
    assert_eq!(bench.describe().pending_expire_at, Some(begun.expire_at));
    let mut late = Bench::new(Policy::default());
    (late.record, late.now) = (bench.record.clone(), begun.expire_at);
    let right = bench.pending_code();
    bench.confirm(SESSION, &right).expect("just in time");
    let right = late.pending_code();
    assert_eq!(late.confirm(SESSION, &right).map(|_| ()), Err(Refusal::NoPendingEnrollment));
    assert_eq!(late.describe().pending_expire_at, None);
}

#[test]
fn the_lifetime_of_a_pending_enrollment_is_configurable() {
    let policy = Policy { pending_lifetime: secs(5), ..Policy::default() };
    let mut bench = Bench::new(policy);
    bench.begin_by(SESSION);
    bench.advance(secs(5));
    let right = bench.pending_code();
    assert_eq!(bench.confirm(SESSION, &right).map(|_| ()), Err(Refusal::NoPendingEnrollment));
}

#[test]
fn another_session_has_no_pending_enrollment_whatever_its_code() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    bench.assert(OTHER).expect("an allowed assertion");
    let before = bench.record.clone();
    let Proof::Code(wrong) = bench.wrong_code() else { panic!("a code") };
    for code in [bench.pending_code(), wrong, "12345678".into()] {
        assert_eq!(bench.confirm(OTHER, &code).map(|_| ()), Err(Refusal::NoPendingEnrollment));
        assert_eq!(bench.record, before, "and it counts nothing");
    }
}

#[test]
fn a_wrong_code_confirms_nothing_counts_and_leaves_the_enrollment_pending() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    let Proof::Code(wrong) = bench.wrong_code() else { panic!("a code") };
    assert_eq!(bench.confirm(SESSION, &wrong).map(|_| ()), Err(Refusal::InvalidCode));
    assert_eq!(bench.events, [EventKind::VerifyFailed]);
    assert!(!bench.record.is_enrolled());
    assert_eq!(bench.describe().second_factor.count, 1);
    let right = bench.pending_code();
    bench.confirm(SESSION, &right).expect("a right code");
    assert_eq!(bench.describe().second_factor.count, 0, "a success resets the counter");
}

#[test]
fn a_code_of_another_length_is_malformed_and_counts_nothing() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    let before = bench.record.clone();
    let outcome = bench.confirm(SESSION, "1234567");
    assert!(
        matches!(outcome, Err(Refusal::Malformed(malformed)) if malformed.field == "totp_code")
    );
    assert_eq!(bench.record, before);
    let right = bench.pending_code();
    bench.confirm(SESSION, &right).expect("a right code");
    bench.advance(secs(60));
    let enrolled = bench.record.clone();
    let outcome = bench.verify(None, &Proof::Code("12345678".into()));
    assert!(
        matches!(outcome, Err(Refusal::Malformed(malformed)) if malformed.field == "totp_code")
    );
    assert_eq!(bench.record, enrolled);
}

#[test]
fn what_the_state_refuses_comes_before_the_backoff() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    let Proof::Code(wrong) = bench.wrong_code() else { panic!("a code") };
    bench.confirm(SESSION, &wrong).expect_err("a wrong code");
    bench.confirm(SESSION, &wrong).expect_err("a wrong code");
    let right = bench.pending_code();
    let blocked = Err(Refusal::Backoff { retry_after: secs(1) });
    assert_eq!(bench.confirm(SESSION, &right).map(|_| ()), blocked);
    assert_eq!(bench.confirm(OTHER, &right).map(|_| ()), Err(Refusal::NoPendingEnrollment));
    assert_eq!(bench.verify(None, &wrong_key()).map(|_| ()), Err(Refusal::NotEnrolled));
    assert_eq!(bench.elevate(SESSION, &wrong_key()).map(|_| ()), Err(Refusal::NotEnrolled));
}

#[test]
fn confirming_issues_a_recovery_key_and_elevates_the_session_by_totp() {
    let mut bench = Bench::new(Policy::default());
    bench.assert(OTHER).expect("an allowed assertion");
    let confirmed = bench.enroll_by(SESSION);
    assert_eq!(bench.events, [EventKind::Enrolled]);
    assert_eq!(bench.durability, Some(Durability::Enrollment));
    assert_eq!(confirmed.enrolled_at, bench.now);
    let elevation = bench.check(SESSION, None).expect("elevated");
    assert_eq!((elevation.method, elevation.at), (Method::Totp, bench.now));
    assert_eq!(bench.record.elevations.len(), 1, "an elevation by assertion dies");
    let expected = Description {
        enrolled_at: Some(bench.now),
        recovery_key_created_at: Some(confirmed.issued.created_at),
        ..Description::default()
    };
    assert_eq!(bench.describe(), expected);
}

#[test]
fn an_enrollment_is_confirmed_once() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    let right = bench.pending_code();
    bench.confirm(SESSION, &right).expect("a right code");
    assert_eq!(bench.confirm(SESSION, &right).map(|_| ()), Err(Refusal::NoPendingEnrollment));
}

#[test]
fn a_second_enroll_replaces_the_pending_one() {
    let mut bench = Bench::new(Policy::default());
    let first = bench.begin_by(SESSION);
    let second = bench.begin_by(OTHER);
    let step = Step(bench.now.as_secs() / 30);
    let of_first = code(&first.secret, &Parameters::default(), step);
    let of_second = code(&second.secret, &Parameters::default(), step);
    assert_eq!(bench.confirm(SESSION, &of_first).map(|_| ()), Err(Refusal::NoPendingEnrollment));
    assert_eq!(bench.confirm(OTHER, &of_first).map(|_| ()), Err(Refusal::InvalidCode));
    bench.confirm(OTHER, &of_second).expect("a right code");
}

#[test]
fn an_active_authenticator_stays_in_force_until_its_replacement_is_confirmed() {
    let mut bench = Bench::enrolled(Policy::default());
    let active = bench.record.authenticator.clone();
    bench.begin_by(SESSION);
    assert_eq!(bench.record.authenticator, active);
    let Proof::Code(wrong) = bench.wrong_code() else { panic!("a code") };
    bench.confirm(SESSION, &wrong).expect_err("a wrong code");
    assert_eq!(bench.record.authenticator, active);
    let right = bench.right_code().expect("a code");
    bench.verify(None, &right).expect("the old app's code");
    bench.verify(None, &key(&bench)).expect("the old recovery key");
}

#[test]
fn a_confirmed_replacement_ends_the_old_app_its_recovery_key_and_other_sessions_elevations() {
    let mut bench = Bench::enrolled(Policy::default());
    bench.elevate(OTHER, &key(&bench)).expect("a right key");
    bench.begin_by(SESSION);
    let granted = bench.check(SESSION, None);
    let (old_code, old_key) = (bench.right_code().expect("a code"), key(&bench));
    bench.advance(secs(1));
    let right = bench.pending_code();
    bench.confirm(SESSION, &right).expect("a right code");
    assert_eq!(bench.events, [EventKind::AuthenticatorChanged]);
    assert_eq!(bench.durability, Some(Durability::Enrollment));
    assert!(!bench.is_elevated(OTHER));
    assert_eq!(bench.check(SESSION, None), granted, "the confirming session keeps its own");
    for dead in [old_code, old_key] {
        let outcome = bench.verify(None, &dead).map(|_| ());
        assert!(matches!(outcome, Err(Refusal::InvalidCode | Refusal::CodeAlreadyUsed { .. })));
    }
    bench.advance(secs(60));
    bench.verify(None, &key(&bench)).expect("the new recovery key");
}

#[test]
fn a_new_secret_is_made_with_the_policy_and_an_active_one_keeps_its_own() {
    let mut bench = Bench::enrolled(Policy::default());
    let eight =
        Parameters { algorithm: Algorithm::Sha256, digits: Digits::Eight, ..Parameters::default() };
    bench.policy.totp = eight;
    let six = bench.right_code().expect("a code");
    bench.verify(None, &six).expect("the old app keeps its 6 digits");
    bench.advance(secs(60));
    bench.begin_by(SESSION);
    let right = bench.pending_code();
    assert_eq!(right.len(), 8);
    bench.policy.totp = Parameters::default();
    bench.confirm(SESSION, &right).expect("what was begun is confirmed as it was begun");
    assert_eq!(bench.record.authenticator.as_ref().map(|it| it.parameters), Some(eight));
}

#[test]
fn unenrolling_needs_an_elevation_by_second_factor() {
    let mut bench = Bench::new(Policy::default());
    bench.assert(SESSION).expect("an allowed assertion");
    assert_eq!(bench.unenroll(SESSION), Err(Refusal::NotEnrolled));
    let mut bench = Bench::enrolled(Policy::default());
    assert_eq!(bench.unenroll(OTHER), Err(Refusal::ElevationRequired));
    bench.record.elevate(&common::digests(OTHER), Method::Asserted, bench.now);
    assert_eq!(bench.unenroll(OTHER), Err(Refusal::ElevationRequired));
    bench.elevate(OTHER, &key(&bench)).expect("a right key");
    assert_eq!(bench.unenroll(OTHER), Ok(()));
    assert_eq!(bench.events, [EventKind::Unenrolled]);
    assert_eq!(bench.durability, Some(Durability::Enrollment));
}

#[test]
fn unenrolling_forgets_the_secret_the_key_the_pending_enrollment_and_every_elevation() {
    let mut bench = Bench::enrolled(Policy::default());
    bench.set_password("right");
    bench.elevate(OTHER, &key(&bench)).expect("a right key");
    bench.begin_by(SESSION);
    bench.verify(None, &wrong_key()).expect_err("a wrong key");
    let counter = bench.record.second_factor_failures;
    bench.unenroll(SESSION).expect("an elevated session");
    let left = Record {
        second_factor_failures: counter,
        password: bench.record.password.clone(),
        unenrolled_at: Some(bench.now),
        ..Record::default()
    };
    assert_eq!(bench.record, left, "the counter and the password stay");
    assert!(bench.record.password.is_some());
}

#[test]
fn an_unenrolled_user_stays_known() {
    let mut bench = Bench::enrolled(Policy::default());
    bench.unenroll(SESSION).expect("an elevated session");
    assert_eq!(bench.record.expires_at(&bench.policy), None);
    assert_eq!(bench.verify(None, &wrong_key()).map(|_| ()), Err(Refusal::NotEnrolled));
}

#[test]
fn nobody_is_described_by_nothing() {
    assert_eq!(Bench::new(Policy::default()).describe(), Description::default());
}
