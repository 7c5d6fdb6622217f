//! The recovery key: it works once, and its use issues the next one.

mod common;

use common::codes::wrong_key;
use common::{Bench, Proof, SESSION, secs};
use rstest::rstest;
use std::time::Duration;
use twinlock_core::decision::{Durability, EventKind};
use twinlock_core::login::{Channel, Login};
use twinlock_core::record::Method;
use twinlock_core::recovery::RecoveryKey;
use twinlock_core::{Policy, Refusal};

const FORM: Login<'static> =
    Login { user: "alice", channel: Channel::Form, authorities: &[], resource: "" };

fn key(bench: &Bench) -> Proof {
    Proof::Key(bench.key.clone())
}

#[test]
fn it_works_for_verify_in_place_of_a_code_and_issues_the_next_in_the_same_change() {
    let mut bench = Bench::enrolled(Policy::default());
    let used = key(&bench);
    let proven = bench.verify(None, &used).expect("a right key");
    assert_eq!(proven.method, Method::RecoveryKey);
    let issued = proven.issued.expect("the next one");
    assert_ne!(Proof::Key(issued.key.expose().to_string()), used);
    assert_eq!(bench.durability, Some(Durability::Enrollment));
    assert_eq!(bench.events, [EventKind::Verified, EventKind::RecoveryKeyUsed]);
    assert_eq!(bench.describe().recovery_key_created_at, Some(issued.created_at));
}

#[test]
fn it_works_for_elevate_in_place_of_a_code() {
    let mut bench = Bench::enrolled(Policy::default());
    let proven = bench.elevate("phone", &key(&bench)).expect("a right key");
    assert!(proven.issued.is_some());
    assert_eq!(bench.events, [EventKind::Elevated, EventKind::RecoveryKeyUsed]);
    assert!(bench.is_elevated("phone"));
}

#[test]
fn it_works_once() {
    let mut bench = Bench::enrolled(Policy::default());
    let first = key(&bench);
    bench.verify(None, &first).expect("a right key");
    assert_eq!(bench.verify(None, &first).map(|_| ()), Err(Refusal::InvalidCode));
    assert_eq!(bench.describe().second_factor.count, 1);
    bench.verify(None, &key(&bench)).expect("its successor");
    assert_eq!(bench.describe().second_factor.count, 0);
}

#[test]
fn a_code_issues_no_recovery_key_and_leaves_the_one_in_force() {
    let mut bench = Bench::enrolled(Policy::default());
    let before = bench.record.recovery.clone();
    let code = bench.right_code().expect("a code");
    let proven = bench.verify(None, &code).expect("a right code");
    assert!(proven.issued.is_none());
    assert_eq!(bench.record.recovery, before);
    assert_eq!(bench.durability, Some(Durability::Attempt));
}

#[test]
fn a_redeemed_key_uses_up_no_code() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    bench.verify(None, &key(&bench)).expect("a right key");
    bench.verify(None, &code).expect("a right code");
}

#[rstest]
#[case::lower_case(|key: &str| key.to_lowercase())]
#[case::spaces(|key: &str| key.replace('-', " "))]
#[case::joined(|key: &str| key.replace('-', ""))]
fn case_spaces_and_hyphens_do_not_matter(#[case] typed: fn(&str) -> String) {
    let mut bench = Bench::enrolled(Policy::default());
    let typed = typed(&bench.key);
    bench.verify(None, &Proof::Key(typed)).expect("the same key");
}

#[test]
fn a_wrong_key_is_refused_and_counted() {
    let mut bench = Bench::enrolled(Policy::default());
    assert_eq!(bench.verify(None, &wrong_key()).map(|_| ()), Err(Refusal::InvalidCode));
    assert_eq!(bench.events, [EventKind::VerifyFailed]);
    assert_eq!(bench.describe().second_factor.count, 1);
}

#[test]
fn where_there_is_none_every_key_is_wrong() {
    let mut bench = Bench::enrolled(Policy::default());
    let once = key(&bench);
    bench.record.recovery = None;
    assert_eq!(bench.verify(None, &once).map(|_| ()), Err(Refusal::InvalidCode));
    assert_eq!(bench.describe().second_factor.count, 1);
    assert!(bench.log_in(&FORM).remind_recovery_key, "so the user is reminded");
    assert!(matches!(bench.acknowledge(bench.now), Err(Refusal::Malformed(_))));
}

#[test]
fn what_cannot_be_a_key_is_malformed() {
    for typed in ["", "123456", "7K3QF-0ZV9M-T2WXA-4HJ6C", "7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1U"] {
        let malformed = RecoveryKey::parse(typed).expect_err("no key");
        assert_eq!(malformed.reason().as_str(), "MALFORMED_CODE");
    }
}

#[test]
fn rotating_needs_an_elevation_by_second_factor() {
    let mut bench = Bench::new(Policy::default());
    bench.assert(SESSION).expect("allowed");
    assert_eq!(bench.rotate(SESSION).map(|_| ()), Err(Refusal::NotEnrolled));
    let mut bench = Bench::enrolled(Policy::default());
    assert_eq!(bench.rotate("phone").map(|_| ()), Err(Refusal::ElevationRequired));
    bench.record.elevate(&common::digests("phone"), Method::Password, bench.now);
    assert_eq!(bench.rotate("phone").map(|_| ()), Err(Refusal::ElevationRequired));
    bench.rotate(SESSION).expect("the session that enrolled is elevated");
    assert_eq!(bench.events, [EventKind::RecoveryKeyRotated]);
    assert_eq!(bench.durability, Some(Durability::Enrollment));
}

#[test]
fn a_rotated_key_ends_its_predecessor() {
    let mut bench = Bench::enrolled(Policy::default());
    let old = key(&bench);
    bench.rotate(SESSION).expect("an elevated session");
    assert_eq!(bench.verify(None, &old).map(|_| ()), Err(Refusal::InvalidCode));
    bench.verify(None, &key(&bench)).expect("the key in force");
}

#[test]
fn a_login_reminds_until_the_key_in_force_is_acknowledged() {
    let mut bench = Bench::new(Policy::default());
    let confirmed = bench.enroll_by(SESSION);
    assert!(bench.log_in(&FORM).remind_recovery_key);
    bench.acknowledge(confirmed.issued.created_at).expect("the key in force");
    assert_eq!(bench.events, [EventKind::RecoveryKeyAcknowledged]);
    assert!(bench.describe().recovery_key_acknowledged);
    assert!(!bench.log_in(&FORM).remind_recovery_key);
    bench.acknowledge(confirmed.issued.created_at).expect("twice does no harm");
    assert_eq!((bench.events.len(), bench.durability), (0, None));
    let proven = bench.verify(None, &key(&bench)).expect("a right key");
    assert!(bench.log_in(&FORM).remind_recovery_key, "the next one is not yet stored");
    let stale = bench.acknowledge(confirmed.issued.created_at);
    assert!(
        matches!(stale, Err(Refusal::Malformed(_))),
        "an old acknowledgement is not the next's"
    );
    assert!(bench.log_in(&FORM).remind_recovery_key);
    bench.acknowledge(proven.issued.expect("the next").created_at).expect("the key in force");
    assert!(!bench.log_in(&FORM).remind_recovery_key);
}

#[test]
fn only_an_enrolled_user_acknowledges() {
    let mut bench = Bench::new(Policy::default());
    assert_eq!(bench.acknowledge(bench.now), Err(Refusal::NotEnrolled));
}

#[test]
fn no_two_keys_share_the_time_that_names_them() {
    let mut bench = Bench::new(Policy::default());
    let first = bench.enroll_by(SESSION).issued.created_at;
    let mut names = vec![first];
    // All in one moment, and then with a clock that went back.
    for _ in 0..4 {
        names.push(bench.rotate(SESSION).expect("an elevated session").created_at);
    }
    bench.rewind(Duration::from_millis(1));
    for _ in 0..4 {
        let proven = bench.elevate(SESSION, &key(&bench)).expect("a right key");
        names.push(proven.issued.expect("the next one").created_at);
    }
    let mut apart = names.clone();
    apart.dedup();
    assert!(names.is_sorted());
    assert_eq!(apart, names);
}

#[test]
fn a_key_does_not_survive_turning_two_step_verification_off_and_on() {
    let mut bench = Bench::enrolled(Policy::default());
    let old = key(&bench);
    bench.unenroll(SESSION).expect("an elevated session");
    bench.enroll_by(SESSION);
    bench.advance(secs(60));
    assert_eq!(bench.verify(None, &old).map(|_| ()), Err(Refusal::InvalidCode));
}

#[test]
fn a_block_after_wrong_codes_holds_for_the_key_and_the_other_way_round() {
    let mut bench = Bench::enrolled(Policy::default());
    let wrong = bench.wrong_code();
    bench.verify(None, &wrong).expect_err("a wrong code");
    bench.elevate(SESSION, &wrong_key()).expect_err("a wrong key");
    let blocked = Err(Refusal::Backoff { retry_after: secs(1) });
    let code = bench.right_code().expect("a code");
    for proof in [key(&bench), code] {
        assert_eq!(bench.verify(None, &proof).map(|_| ()), blocked);
    }
}
