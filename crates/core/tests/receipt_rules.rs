//! Repeats: the same request id with the same request gets the same answer and changes nothing twice.

mod common;

use common::codes::wrong_key;
use common::{Bench, Proof, SESSION, digests, secs};
use std::time::Duration;
use twinlock_core::answer::Answer;
use twinlock_core::decision::{EventKind, Factor};
use twinlock_core::login::{Channel, Login};
use twinlock_core::policy::Enforcement;
use twinlock_core::receipt::{MAX_REFUSALS, MAX_SUCCESSES, Mark};
use twinlock_core::second_factor::Proven;
use twinlock_core::{Decision, Policy, Refusal, elevation};

/// What a request is known by.
fn mark(id: &str, request: &str) -> Mark {
    Mark { id: digests(id).primary(), request: digests(request).primary() }
}

/// A Verify with an id; two with the same proof are the same request.
fn verify(bench: &mut Bench, id: &str, proof: &Proof) -> Result<Proven, Refusal> {
    let (Proof::Code(text) | Proof::Key(text)) = proof;
    let mark = mark(id, text.get(..11).unwrap_or(text));
    bench.ask(mark, Some(Factor::Second), |bench| bench.verifying(Some("phone"), proof))
}

/// An answer as bytes, in which two can be compared.
fn told<T: Answer>(answer: &Result<T, Refusal>) -> Result<Vec<u8>, Refusal> {
    answer.as_ref().map(|answer| answer.to_bytes().to_vec()).map_err(Refusal::clone)
}

/// A block of an hour on the second factor, from now on.
fn block(bench: &mut Bench) {
    bench.record.second_factor_failures.failures = 40;
    bench.record.second_factor_failures.since = bench.now;
    let blocked = bench.verify(None, &wrong_key()).map(|_| ());
    assert_eq!(blocked, Err(Refusal::Backoff { retry_after: secs(3600) }));
}

#[test]
fn a_repeat_gets_the_same_answer_and_changes_nothing() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    let first = verify(&mut bench, "one", &code);
    assert!(first.is_ok());
    let before = bench.record.clone();
    bench.advance(secs(100));
    let again = verify(&mut bench, "one", &code);
    assert_eq!(told(&again), told(&first));
    assert_eq!(bench.record, before);
}

#[test]
fn a_repeat_gets_the_new_recovery_key_again() {
    let mut bench = Bench::enrolled(Policy::default());
    let key = Proof::Key(bench.key.clone());
    let first = verify(&mut bench, "one", &key).expect("a right key");
    let again = verify(&mut bench, "one", &key).expect("the same answer");
    let shown =
        |proven: &Proven| proven.issued.as_ref().map(|issued| issued.key.expose().to_string());
    assert!(shown(&first).is_some());
    assert_eq!(shown(&again), shown(&first));
    let successor = Proof::Key(shown(&again).expect("a key"));
    bench.verify(None, &successor).expect("it is the key in force");
}

#[test]
fn a_repeat_is_answered_even_during_a_block() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    let first = verify(&mut bench, "one", &code);
    block(&mut bench);
    let before = bench.record.clone();
    assert_eq!(told(&verify(&mut bench, "one", &code)), told(&first));
    assert_eq!(bench.record, before);
}

#[test]
fn a_repeat_is_answered_for_ten_minutes_and_not_a_moment_longer() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    let first = verify(&mut bench, "one", &code);
    bench.advance(secs(600) - Duration::from_millis(1));
    assert_eq!(told(&verify(&mut bench, "one", &code)), told(&first));
    bench.advance(Duration::from_millis(1));
    assert_eq!(verify(&mut bench, "one", &code).map(|_| ()), Err(Refusal::InvalidCode));
}

#[test]
fn an_evaluated_refusal_is_remembered_like_a_success() {
    let mut bench = Bench::enrolled(Policy::default());
    let wrong = bench.wrong_code();
    let used = bench.right_code().expect("a code");
    bench.verify(None, &used).expect("a right code");
    bench.advance(secs(5));
    for (id, proof) in [("one", wrong), ("two", used)] {
        bench.record.second_factor_failures = Default::default();
        let first = told(&verify(&mut bench, id, &proof));
        let before = bench.record.clone();
        assert_eq!(told(&verify(&mut bench, id, &proof)), first, "the same refusal");
        assert_eq!(bench.record, before, "and not counted twice");
        block(&mut bench);
        assert_eq!(told(&verify(&mut bench, id, &proof)), first, "even during a block");
    }
}

#[test]
fn a_repeated_refusal_tells_what_is_left_of_its_wait() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    bench.verify(None, &code).expect("a right code");
    let refused = |seconds| Err(Refusal::CodeAlreadyUsed { retry_after: secs(seconds) });
    assert_eq!(verify(&mut bench, "one", &code).map(|_| ()), refused(30));
    bench.advance(secs(12));
    assert_eq!(verify(&mut bench, "one", &code).map(|_| ()), refused(18));
    bench.advance(secs(100));
    assert_eq!(verify(&mut bench, "one", &code).map(|_| ()), refused(0));
}

#[test]
fn a_refusal_within_a_block_is_not_remembered() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    block(&mut bench);
    let blocked = Err(Refusal::Backoff { retry_after: secs(3600) });
    assert_eq!(verify(&mut bench, "one", &code).map(|_| ()), blocked);
    bench.record.second_factor_failures = Default::default();
    assert!(verify(&mut bench, "one", &code).is_ok(), "the same id may try again later");
}

#[test]
fn an_id_of_another_request_is_refused_and_counts_where_a_proof_came_with_it() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    verify(&mut bench, "one", &code).expect("a right code");
    let key = Proof::Key(bench.key.clone());
    assert_eq!(verify(&mut bench, "one", &key).map(|_| ()), Err(Refusal::RequestIdReused));
    assert_eq!(bench.events, [EventKind::VerifyFailed]);
    assert_eq!(bench.describe().second_factor.count, 1, "though the key was right");
    assert_eq!(verify(&mut bench, "one", &key).map(|_| ()), Err(Refusal::RequestIdReused));
    assert_eq!(bench.events, [EventKind::VerifyFailed, EventKind::Blocked]);
    assert_eq!(bench.describe().second_factor.count, 2);
    assert!(verify(&mut bench, "one", &code).is_ok(), "the answer to the first stays");
    assert_eq!(bench.key, *expose(&key), "and the key in force is not spent");
}

fn expose(proof: &Proof) -> &String {
    let (Proof::Code(text) | Proof::Key(text)) = proof;
    text
}

#[test]
fn a_reused_id_counts_on_the_counter_of_its_proof() {
    let mut bench = Bench::new(Policy::default());
    bench.ask(mark("one", "assert"), None, elevate_by_word).expect("allowed");
    let reused = bench.ask(mark("one", "password"), Some(Factor::Password), elevate_by_word);
    assert_eq!(reused.map(|_| ()), Err(Refusal::RequestIdReused));
    assert_eq!(bench.events, [EventKind::ElevationFailed]);
    let told = bench.describe();
    assert_eq!((told.password.count, told.second_factor.count), (1, 0));
    let before = bench.record.clone();
    let reused = bench.ask(mark("one", "other"), None, elevate_by_word);
    assert_eq!(reused.map(|_| ()), Err(Refusal::RequestIdReused));
    assert_eq!(bench.record, before, "without a proof nothing counts");
}

fn elevate_by_word(bench: &mut Bench) -> Decision<Proven> {
    let record = bench.record.clone();
    elevation::assert(record, &bench.policy, bench.now, &digests(SESSION))
}

#[test]
fn a_reused_id_within_a_block_neither_counts_nor_extends_it() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    verify(&mut bench, "one", &code).expect("a right code");
    block(&mut bench);
    let before = bench.record.clone();
    bench.advance(secs(5));
    assert_eq!(verify(&mut bench, "one", &wrong_key()).map(|_| ()), Err(Refusal::RequestIdReused));
    assert_eq!((&bench.record, bench.events.len()), (&before, 0));
}

#[test]
fn a_reused_id_that_sees_the_clock_gone_back_restarts_the_block_like_any_call() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    verify(&mut bench, "one", &code).expect("a right code");
    bench.record.second_factor_failures.failures = 40;
    bench.record.second_factor_failures.since = bench.now.after(secs(7200));
    assert_eq!(verify(&mut bench, "one", &wrong_key()).map(|_| ()), Err(Refusal::RequestIdReused));
    bench.advance(secs(3600));
    bench.verify(None, &Proof::Key(bench.key.clone())).expect("an hour after the jump was seen");
}

#[test]
fn the_receipt_comes_before_the_state() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    let first = verify(&mut bench, "one", &code);
    bench.unenroll(SESSION).expect("an elevated session");
    assert_eq!(bench.verify(None, &code).map(|_| ()), Err(Refusal::NotEnrolled));
    assert_eq!(told(&verify(&mut bench, "one", &code)), told(&first));
}

#[test]
fn a_repeated_enroll_gets_the_same_secret_and_leaves_the_pending_enrollment() {
    let mut bench = Bench::new(Policy::default());
    bench.assert(SESSION).expect("allowed");
    let ask = |bench: &mut Bench| {
        bench.ask(mark("one", "enroll"), None, |bench| bench.enrolling(SESSION))
    };
    let first = ask(&mut bench);
    let before = bench.record.clone();
    assert_eq!(told(&ask(&mut bench)), told(&first));
    assert_eq!(bench.record, before);
}

#[test]
fn a_repeated_confirmation_gets_the_same_key_though_its_code_is_used_up() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    let code = bench.pending_code();
    let ask = |bench: &mut Bench| {
        let proof = Some(Factor::Second);
        bench.ask(mark("one", "confirm"), proof, |bench| bench.confirming(SESSION, &code))
    };
    let first = ask(&mut bench);
    assert!(first.is_ok());
    assert_eq!(told(&ask(&mut bench)), told(&first));
    assert_eq!(bench.describe().second_factor.count, 0);
}

#[test]
fn a_repeated_login_is_notified_again_and_another_is_not() {
    let mut policy = Policy::default();
    policy.login.enforcement = Enforcement::Enforce;
    policy.login.authorities = vec!["admin".into()];
    let mut bench = Bench::new(policy);
    let authorities = ["admin".to_string()];
    let login =
        Login { user: "alice", channel: Channel::Form, authorities: &authorities, resource: "" };
    let mut notify = |id| {
        let ask = bench.ask(mark(id, "login"), None, |bench| bench.evaluating(&login));
        ask.expect("a decision").notify
    };
    assert!(notify("one") && notify("one"), "the first answer may have been lost");
    assert!(!notify("two"));
}

#[test]
fn at_most_32_successes_and_4_refusals_are_kept_and_refusals_evict_no_success() {
    let mut bench = Bench::new(Policy::default());
    for number in 0..40 {
        let mark = mark(&format!("ok {number}"), "assert");
        bench.ask(mark, None, elevate_by_word).expect("allowed");
    }
    assert_eq!(bench.record.receipts.len(), MAX_SUCCESSES);
    let kept = bench.record.receipts.clone();
    bench.enroll_by(SESSION);
    for number in 0..10 {
        bench.record.second_factor_failures = Default::default();
        let refused = verify(&mut bench, &format!("no {number}"), &wrong_key());
        assert_eq!(refused.map(|_| ()), Err(Refusal::InvalidCode));
    }
    assert_eq!(bench.record.receipts.len(), MAX_SUCCESSES + MAX_REFUSALS);
    assert!(kept.iter().all(|receipt| bench.record.receipts.contains(receipt)));
}

#[test]
fn a_receipt_that_holds_a_key_goes_last() {
    let mut bench = Bench::enrolled(Policy::default());
    let key = Proof::Key(bench.key.clone());
    let first = verify(&mut bench, "key", &key);
    for number in 0..100 {
        bench.advance(secs(5));
        bench.record.authenticator.as_mut().expect("enrolled").last_step = None;
        let code = bench.right_code().expect("a code");
        verify(&mut bench, &format!("code {number}"), &code).expect("a right code");
    }
    assert_eq!(told(&verify(&mut bench, "key", &key)), told(&first));
}

#[test]
fn no_number_of_enrollments_pushes_out_a_recovery_key() {
    let mut bench = Bench::enrolled(Policy::default());
    let key = Proof::Key(bench.key.clone());
    let first = verify(&mut bench, "key", &key);
    for number in 0..2 * MAX_SUCCESSES {
        let mark = mark(&format!("enroll {number}"), "enroll");
        bench.ask(mark, None, |bench| bench.enrolling("phone")).expect("an elevated session");
        bench.advance(secs(1));
    }
    assert_eq!(bench.record.receipts.len(), MAX_SUCCESSES);
    assert_eq!(told(&verify(&mut bench, "key", &key)), told(&first));
}

#[test]
fn a_lapsed_receipt_makes_room_before_one_that_lives_even_where_it_holds_a_key() {
    let mut bench = Bench::new(Policy::default());
    for number in 0..MAX_SUCCESSES - 1 {
        bench.assert(SESSION).expect("allowed");
        let mark = mark(&format!("enroll {number}"), "enroll");
        bench.ask(mark, None, |bench| bench.enrolling(SESSION)).expect("an elevated session");
    }
    bench.advance(secs(599));
    let first = bench.ask(mark("living", "assert"), None, elevate_by_word);
    assert_eq!(bench.record.receipts.len(), MAX_SUCCESSES);
    bench.advance(secs(1));
    bench.ask(mark("next", "assert"), None, elevate_by_word).expect("allowed");
    bench.advance(secs(1));
    let again = bench.ask(mark("living", "assert"), None, elevate_by_word);
    assert_eq!(told(&again), told(&first));
}
