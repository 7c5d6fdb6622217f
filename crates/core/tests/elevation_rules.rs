//! What elevates a session, for how long, and what ends it.

mod common;

use common::codes::wrong_key;
use common::{Bench, Proof, SESSION, secs};
use rstest::rstest;
use std::time::Duration;
use twinlock_core::decision::EventKind;
use twinlock_core::elevation::Verifier;
use twinlock_core::record::{MAX_ELEVATIONS, Method, Sealed};
use twinlock_core::{Policy, Refusal};

const OTHER: &str = "phone";

/// A user with the password "right" who is not enrolled.
fn with_password() -> Bench {
    let mut bench = Bench::new(Policy::default());
    bench.set_password("right");
    bench
}

fn key(bench: &Bench) -> Proof {
    Proof::Key(bench.key.clone())
}

#[test]
fn an_elevation_lives_ten_minutes_and_not_a_moment_longer() {
    let mut bench = Bench::new(Policy::default());
    let granted = bench.assert(SESSION).expect("allowed").elevation.expect("elevated");
    assert_eq!(granted.expire_at, bench.now.after(secs(600)));
    bench.advance(secs(600) - Duration::from_millis(1));
    assert_eq!(bench.check(SESSION, None), Ok(granted));
    bench.advance(Duration::from_millis(1));
    assert_eq!(bench.check(SESSION, None), Err(Refusal::ElevationRequired));
}

#[test]
fn the_lifetime_is_configurable() {
    let mut bench = Bench::new(Policy::default());
    bench.policy.elevation.lifetime = secs(5);
    bench.assert(SESSION).expect("allowed");
    bench.advance(secs(5));
    assert!(!bench.is_elevated(SESSION));
}

#[test]
fn a_check_may_ask_for_a_fresher_proof() {
    let mut bench = Bench::new(Policy::default());
    let granted = bench.assert(SESSION).expect("allowed").elevation.expect("elevated");
    bench.advance(secs(60));
    assert_eq!(bench.check(SESSION, Some(secs(60))), Ok(granted));
    assert_eq!(bench.check(SESSION, Some(secs(59))), Err(Refusal::ElevationRequired));
    bench.advance(secs(540));
    let long = bench.check(SESSION, Some(Duration::MAX));
    assert_eq!(long, Err(Refusal::ElevationRequired), "but never for an older one");
}

#[test]
fn a_check_without_an_elevation_is_refused() {
    let bench = Bench::new(Policy::default());
    assert_eq!(bench.check(SESSION, None), Err(Refusal::ElevationRequired));
}

#[test]
fn before_enrollment_a_password_elevates() {
    let mut bench = with_password();
    let proven = bench.password(SESSION, "right").expect("the right password");
    assert_eq!((proven.method, proven.issued.is_some()), (Method::Password, false));
    assert_eq!(bench.events, [EventKind::Elevated]);
    assert_eq!(bench.check(SESSION, None).map(|granted| granted.method), Ok(Method::Password));
    assert!(!bench.is_elevated(OTHER), "one session alone");
}

#[test]
fn a_wrong_password_elevates_nothing_and_counts_on_its_own_counter() {
    let mut bench = with_password();
    assert_eq!(bench.password(SESSION, "wrong").map(|_| ()), Err(Refusal::InvalidCode));
    assert_eq!(bench.events, [EventKind::ElevationFailed]);
    assert!(!bench.is_elevated(SESSION));
    let told = bench.describe();
    assert_eq!((told.password.count, told.second_factor.count), (1, 0));
    bench.password(SESSION, "wrong").expect_err("a wrong password");
    assert_eq!(bench.events, [EventKind::ElevationFailed, EventKind::Blocked]);
}

#[test]
fn before_enrollment_the_products_word_elevates_where_it_is_allowed() {
    let mut bench = Bench::new(Policy::default());
    bench.assert(SESSION).expect("allowed by default");
    assert_eq!(bench.check(SESSION, None).map(|granted| granted.method), Ok(Method::Asserted));
    let mut bench = Bench::new(Policy::default());
    bench.policy.elevation.allow_asserted = false;
    assert_eq!(bench.assert(SESSION).map(|_| ()), Err(Refusal::AssertionNotAllowed));
    assert!(!bench.is_elevated(SESSION));
}

#[test]
fn once_enrolled_only_the_second_factor_elevates() {
    let mut bench = Bench::enrolled(Policy::default());
    bench.set_password("right");
    let refused = Err(Refusal::SecondFactorRequired);
    assert_eq!(bench.assert(SESSION).map(|_| ()), refused);
    assert_eq!(bench.password(SESSION, "right").map(|_| ()), refused);
    assert_eq!(bench.charge(true).map(|_| ()), refused, "nor one that the product supplies");
    let code = bench.right_code().expect("a code");
    let proven = bench.elevate(OTHER, &code).expect("a right code");
    assert_eq!(proven.method, Method::Totp);
    assert_eq!(bench.events, [EventKind::Elevated]);
    bench.elevate("tablet", &key(&bench)).expect("a right key");
    let method = bench.check("tablet", None).map(|granted| granted.method);
    assert_eq!(method, Ok(Method::RecoveryKey));
}

#[test]
fn enrolling_ends_every_elevation_by_password_or_assertion() {
    let mut bench = with_password();
    bench.password("tablet", "right").expect("the right password");
    bench.assert(OTHER).expect("allowed");
    bench.enroll_by(SESSION);
    assert!(!bench.is_elevated("tablet") && !bench.is_elevated(OTHER));
    assert!(bench.is_elevated(SESSION));
}

#[test]
fn a_failed_second_factor_elevates_nothing() {
    let mut bench = Bench::enrolled(Policy::default());
    assert_eq!(bench.elevate(OTHER, &wrong_key()).map(|_| ()), Err(Refusal::InvalidCode));
    assert_eq!(bench.events, [EventKind::ElevationFailed]);
    assert!(!bench.is_elevated(OTHER));
}

#[test]
fn a_login_that_names_its_session_elevates_it() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    let proven = bench.verify(Some(OTHER), &code).expect("a right code");
    assert_eq!(bench.check(OTHER, None).ok(), proven.elevation);
    assert_eq!(bench.events, [EventKind::Verified, EventKind::Elevated]);
    let code = bench.right_code().expect("a code");
    let proven = bench.verify(None, &code).expect("a right code");
    assert_eq!(proven.elevation, None);
    assert_eq!(bench.events, [EventKind::Verified]);
}

#[test]
fn a_login_elevates_nothing_where_that_is_turned_off() {
    let mut bench = Bench::enrolled(Policy::default());
    bench.policy.elevation.from_login = false;
    let code = bench.right_code().expect("a code");
    assert_eq!(bench.verify(Some(OTHER), &code).expect("a right code").elevation, None);
    assert!(!bench.is_elevated(OTHER));
    let code = bench.right_code().expect("a code");
    bench.elevate(OTHER, &code).expect("a right code");
    assert!(bench.is_elevated(OTHER), "Elevate still does");
}

#[test]
fn at_most_32_sessions_are_elevated_and_the_oldest_goes_first() {
    let mut bench = Bench::new(Policy::default());
    let session = |number: usize| format!("session {number}");
    for number in 0..=MAX_ELEVATIONS {
        bench.assert(&session(number)).expect("allowed");
        bench.advance(secs(1));
    }
    assert_eq!(bench.record.elevations.len(), 32);
    assert!(!bench.is_elevated(&session(0)));
    assert!((1..=MAX_ELEVATIONS).all(|number| bench.is_elevated(&session(number))));
    bench.assert(&session(1)).expect("allowed");
    assert!(bench.is_elevated(&session(2)), "a session that is elevated again pushes out none");
}

#[test]
fn dropping_ends_one_session_and_its_pending_enrollment() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    bench.assert(OTHER).expect("allowed");
    bench.drop_elevation(Some(OTHER));
    assert_eq!(bench.events, [EventKind::ElevationDropped]);
    assert!(!bench.is_elevated(OTHER) && bench.is_elevated(SESSION));
    assert!(bench.record.pending.is_some(), "another session's stays");
    bench.drop_elevation(Some(SESSION));
    assert_eq!((bench.is_elevated(SESSION), &bench.record.pending), (false, &None));
}

#[test]
fn dropping_all_sessions_ends_the_pending_enrollment_too() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    bench.assert(OTHER).expect("allowed");
    bench.drop_elevation(None);
    assert!(!bench.is_elevated(OTHER) && !bench.is_elevated(SESSION));
    assert_eq!(bench.record.pending, None);
}

#[test]
fn dropping_what_is_not_there_changes_nothing() {
    let mut bench = Bench::new(Policy::default());
    bench.drop_elevation(Some(SESSION));
    bench.drop_elevation(None);
    assert_eq!((bench.events.len(), bench.durability), (0, None));
}

#[rstest]
#[case::set(|bench: &mut Bench| bench.set_password("new"))]
#[case::cleared(Bench::clear_password)]
fn a_change_of_password_ends_what_was_proved_by_password(#[case] change: fn(&mut Bench)) {
    let mut bench = with_password();
    bench.password(SESSION, "right").expect("the right password");
    bench.assert(OTHER).expect("allowed");
    bench.enroll(SESSION).expect("an elevated session");
    change(&mut bench);
    assert!(!bench.is_elevated(SESSION));
    assert_eq!(bench.record.pending, None, "and the enrollment begun under it");
    assert!(bench.is_elevated(OTHER), "but not what was asserted");
}

#[rstest]
#[case::set(|bench: &mut Bench| bench.set_password("new"))]
#[case::cleared(Bench::clear_password)]
fn a_change_of_password_leaves_an_enrollment_that_was_begun_by_assertion(
    #[case] change: fn(&mut Bench),
) {
    let mut bench = with_password();
    bench.begin_by(SESSION);
    change(&mut bench);
    assert!(bench.record.pending.is_some() && bench.is_elevated(SESSION));
}

#[test]
fn a_password_that_the_product_supplied_is_ground_that_ends_likewise() {
    let mut bench = Bench::new(Policy::default());
    let (verifier, charge) = bench.charge(true).expect("no password needs to be stored");
    assert_eq!(verifier, Verifier::Supplied);
    bench.settle(SESSION, &verifier, charge, true).expect("a right password");
    bench.enroll(SESSION).expect("an elevated session");
    bench.clear_password();
    assert!(!bench.is_elevated(SESSION));
    assert_eq!(bench.record.pending, None);
}

#[test]
fn without_a_password_there_is_nothing_to_compare_with() {
    let mut bench = Bench::new(Policy::default());
    assert_eq!(bench.password(SESSION, "any").map(|_| ()), Err(Refusal::NoPassword));
    let mut bench = with_password();
    bench.clear_password();
    assert_eq!(bench.events, [EventKind::PasswordCleared]);
    assert_eq!(bench.password(SESSION, "right").map(|_| ()), Err(Refusal::NoPassword));
    bench.clear_password();
    assert_eq!(bench.durability, None, "clearing nothing changes nothing");
}

#[test]
fn what_the_state_refuses_comes_before_the_backoff() {
    let mut bench = with_password();
    for _ in 0..2 {
        bench.password(SESSION, "wrong").expect_err("a wrong password");
    }
    let blocked = Err(Refusal::Backoff { retry_after: secs(1) });
    assert_eq!(bench.password(SESSION, "right").map(|_| ()), blocked);
    let mut without = bench.clone();
    without.clear_password();
    assert_eq!(without.password(SESSION, "right").map(|_| ()), Err(Refusal::NoPassword));
    bench.enroll_by(SESSION);
    let refused = bench.password(SESSION, "right").map(|_| ());
    assert_eq!(refused, Err(Refusal::SecondFactorRequired));
}

#[test]
fn parallel_guesses_are_each_counted_before_the_first_is_checked() {
    let mut bench = with_password();
    bench.charge(false).expect("the first");
    bench.charge(false).expect("one failure is tolerated");
    let blocked = Err(Refusal::Backoff { retry_after: secs(1) });
    assert_eq!(bench.charge(false).map(|_| ()), blocked, "no third is hashed at once");
    assert_eq!(bench.describe().password.count, 2, "a crash now costs the guesser both");
}

#[test]
fn a_right_password_takes_away_its_own_charge_and_those_before_it_but_never_later_ones() {
    let mut bench = with_password();
    let (verifier, first) = bench.charge(false).expect("the first");
    let (_, second) = bench.charge(false).expect("the second");
    let mut other = bench.clone();
    bench.settle(SESSION, &verifier, first, true).expect("a right password");
    assert_eq!(bench.describe().password.count, 1, "the second guess stays counted");
    other.settle(SESSION, &verifier, second, true).expect("a right password");
    assert_eq!(other.describe().password.count, 0);
    other.settle(OTHER, &verifier, first, false).expect_err("a wrong password");
    assert_eq!(other.describe().password.count, 0, "it was charged before the success");
}

#[test]
fn a_block_that_parallel_guesses_begin_is_told_once() {
    let mut bench = with_password();
    let (verifier, first) = bench.charge(false).expect("the first");
    let (_, second) = bench.charge(false).expect("the second");
    bench.settle(SESSION, &verifier, first, false).expect_err("a wrong password");
    assert_eq!(bench.events, [EventKind::ElevationFailed]);
    bench.settle(SESSION, &verifier, second, false).expect_err("a wrong password");
    assert_eq!(bench.events, [EventKind::ElevationFailed, EventKind::Blocked]);
}

#[rstest]
#[case::set_anew(|bench: &mut Bench| bench.set_password("new"))]
#[case::cleared(Bench::clear_password)]
fn a_password_is_right_only_against_the_verifier_in_force(#[case] change: fn(&mut Bench)) {
    let mut bench = with_password();
    let (verifier, charge) = bench.charge(false).expect("the first");
    assert_eq!(verifier, Verifier::Stored(Sealed("right".into())));
    change(&mut bench);
    let outcome = bench.settle(SESSION, &verifier, charge, true).map(|_| ());
    assert_eq!(outcome, Err(Refusal::InvalidCode));
    assert!(!bench.is_elevated(SESSION));
    assert_eq!(bench.describe().password.count, 1);
}

#[test]
fn a_password_that_was_checked_while_its_user_enrolled_elevates_nothing() {
    let mut bench = with_password();
    let (verifier, charge) = bench.charge(false).expect("the first");
    bench.enroll_by(SESSION);
    let outcome = bench.settle(OTHER, &verifier, charge, true).map(|_| ());
    assert_eq!(outcome, Err(Refusal::SecondFactorRequired));
    assert!(!bench.is_elevated(OTHER));
    assert_eq!(bench.describe().password.count, 0, "it was right, so it is no failure");
}
