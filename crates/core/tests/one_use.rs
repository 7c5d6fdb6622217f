//! A code is accepted once, for a later step than the last accepted one.

mod common;

use common::codes::code;
use common::{BEGIN, Bench, Proof, SESSION, cases, secs};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;
use twinlock_core::decision::EventKind;
use twinlock_core::record::{Authenticator, Sealed};
use twinlock_core::totp::{self, Parameters, Secret, Step, TotpCode, Window};
use twinlock_core::{Policy, Refusal, Timestamp, second_factor};

/// A step whose code is the next one's too, under [`odd_secret`].
const ADJACENT: u64 = 60_102_567;
/// A step whose code is that of the next but one too.
const TWO_APART: u64 = 62_617_468;

fn odd_secret() -> Secret {
    Secret::generate([7; 20])
}

/// An imported user: enrolled, but no code was accepted yet.
fn imported(secret: &Secret, policy: Policy) -> Bench {
    let mut bench = Bench::new(policy);
    bench.record.authenticator = Some(Authenticator {
        secret: Sealed(secret.expose().to_vec()),
        parameters: Parameters::default(),
        last_step: None,
        enrolled_at: BEGIN,
    });
    bench
}

fn at_step(step: u64) -> Timestamp {
    Timestamp::from_secs(step * 30)
}

/// The wait of the refusal that a used code gets.
fn reused(bench: &mut Bench, proof: &Proof) -> Duration {
    match bench.verify(None, proof) {
        Err(Refusal::CodeAlreadyUsed { retry_after }) => retry_after,
        other => panic!("not a used code: {other:?}"),
    }
}

proptest! {
    #![proptest_config(cases(512))]

    /// Codes from around now in any order: one is accepted if, and only if, its step is later than that
    /// of the last accepted one.
    #[test]
    fn a_code_is_accepted_once_and_only_for_a_later_step_than_the_last(
        window in 0_u32..=2,
        tries in prop::collection::vec((0_u64..45, -4_i64..=4, any::<bool>()), 1..60),
    ) {
        let window = Window::new(window).expect("in range");
        let steps = u64::from(window.steps());
        let mut policy = Policy { window, ..Policy::default() };
        // Waits are for another test.
        policy.backoff.maximum = Duration::ZERO;
        let mut bench = Bench::enrolled(policy);
        let mut accepted = BTreeSet::from([bench.last_step().0]);
        for (pause, offset, elevates) in tries {
            bench.advance(secs(pause));
            let current = bench.now.as_secs() / 30;
            let proof = bench.code_of(Step(current.saturating_add_signed(offset)));
            // By chance another step of the window may have the same code; the latest counts.
            let step = (current - steps..=current + steps)
                .rev()
                .find(|step| bench.code_of(Step(*step)) == proof);
            let outcome = if elevates {
                bench.elevate("phone", &proof)
            } else {
                bench.verify(None, &proof)
            };
            match (step, outcome.map(|_| ())) {
                (None, outcome) => prop_assert_eq!(outcome, Err(Refusal::InvalidCode)),
                (Some(step), Ok(())) => {
                    prop_assert!(accepted.last().is_some_and(|last| *last < step));
                    accepted.insert(step);
                    prop_assert_eq!(bench.last_step(), Step(step));
                }
                (Some(step), Err(Refusal::CodeAlreadyUsed { retry_after })) => {
                    prop_assert!(accepted.last().is_some_and(|last| *last >= step));
                    let left = 30_000 - bench.now.as_millis() % 30_000;
                    prop_assert_eq!(retry_after, Duration::from_millis(left));
                }
                (_, other) => prop_assert!(false, "{other:?}"),
            }
        }
    }
}

#[test]
fn the_event_of_a_right_code_says_how_far_its_step_was_off() {
    let policy = Policy { window: Window::new(2).expect("in range"), ..Policy::default() };
    let mut bench = Bench::enrolled(policy);
    for offset in -2_i8..=2 {
        bench.advance(secs(300));
        let step = Step((bench.now.as_secs() / 30).saturating_add_signed(offset.into()));
        let proof = bench.code_of(step);
        let verifying = bench.verifying(None, &proof);
        let told: Vec<_> = verifying.events.iter().map(|event| event.step_offset).collect();
        assert_eq!(told, [Some(offset)]);
        bench.keep(verifying).expect("a right code");
        let events = bench.verifying(None, &proof).events;
        assert!(events.iter().all(|event| event.step_offset.is_none()), "{events:?}");
    }
}

#[test]
fn the_code_that_confirmed_the_enrollment_is_used_up() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    let code = bench.pending_code();
    bench.confirm(SESSION, &code).expect("a right code");
    bench.advance(secs(10));
    assert_eq!(reused(&mut bench, &Proof::Code(code)), secs(20));
}

#[test]
fn a_code_that_confirmed_from_the_window_uses_up_the_steps_before_it() {
    let mut bench = Bench::new(Policy::default());
    let begun = bench.begin_by(SESSION);
    let current = BEGIN.as_secs() / 30;
    let early = code(&begun.secret, &Parameters::default(), Step(current + 1));
    bench.confirm(SESSION, &early).expect("a right code of the window");
    assert_eq!(bench.last_step(), Step(current + 1));
    let present = bench.code_of(Step(current));
    reused(&mut bench, &present);
}

#[test]
fn a_used_code_is_refused_by_elevate_after_verify_and_by_verify_after_elevate() {
    let mut bench = Bench::enrolled(Policy::default());
    let first = bench.right_code().expect("a code");
    bench.verify(None, &first).expect("a right code");
    let again = bench.elevate(SESSION, &first).map(|_| ());
    assert!(matches!(again, Err(Refusal::CodeAlreadyUsed { .. })));
    assert_eq!(bench.events, [EventKind::CodeReused]);
    let second = bench.right_code().expect("a code");
    bench.elevate(SESSION, &second).expect("a right code");
    reused(&mut bench, &second);
    assert_eq!(bench.events, [EventKind::CodeReused]);
}

#[test]
fn a_used_code_elevates_nothing() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    bench.verify(None, &code).expect("a right code");
    bench.verify(Some("thief"), &code).expect_err("a used code");
    assert!(!bench.is_elevated("thief"));
}

#[test]
fn a_step_before_the_last_accepted_one_is_refused_though_its_code_was_never_used() {
    let mut bench = Bench::enrolled(Policy::default());
    let current = bench.now.as_secs() / 30;
    let latest = bench.code_of(Step(current + 1));
    bench.verify(None, &latest).expect("a right code");
    for step in [current - 1, current] {
        let mut bench = bench.clone();
        let older = bench.code_of(Step(step));
        assert_eq!(reused(&mut bench, &older), secs(30));
    }
}

#[test]
fn a_used_code_says_when_the_next_one_comes_or_when_the_longer_block_ends() {
    let mut bench = Bench::enrolled(Policy::default());
    bench.advance(Duration::from_millis(12_345));
    let code = bench.right_code().expect("a code");
    bench.verify(None, &code).expect("a right code");
    let mut waits = Vec::new();
    for earlier in 0..7 {
        // The failure that is counted now blocks for 0, 1, 2, 4, 8, 16 or 32 seconds.
        let mut bench = bench.clone();
        bench.record.second_factor_failures.failures = earlier;
        bench.record.second_factor_failures.since = BEGIN;
        waits.push(reused(&mut bench, &code).as_millis());
    }
    let left = 30_000 - 12_345;
    assert_eq!(waits, [left, left, left, left, left, left, 32_000]);
}

#[test]
fn a_used_code_counts_as_a_failed_attempt() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    bench.verify(None, &code).expect("a right code");
    reused(&mut bench, &code);
    assert_eq!(bench.describe().second_factor.count, 1);
    reused(&mut bench, &code);
    assert_eq!(bench.events, [EventKind::CodeReused, EventKind::Blocked]);
    let blocked = bench.verify(None, &code).map(|_| ());
    assert_eq!(blocked, Err(Refusal::Backoff { retry_after: secs(1) }));
}

#[test]
fn the_first_code_of_an_imported_authenticator_may_be_of_any_step_of_the_window() {
    for offset in [-1, 0, 1] {
        let mut bench = imported(&odd_secret(), Policy::default());
        let code = bench.code_of(Step((BEGIN.as_secs() / 30).saturating_add_signed(offset)));
        bench.verify(None, &code).expect("a right code");
        reused(&mut bench, &code);
    }
}

#[test]
fn two_neighboring_steps_with_one_code_are_used_up_together() {
    let mut bench = imported(&odd_secret(), Policy::default());
    let code = bench.code_of(Step(ADJACENT));
    assert_eq!(code, bench.code_of(Step(ADJACENT + 1)), "the premise of this test");
    bench.now = at_step(ADJACENT);
    bench.verify(None, &code).expect("a right code");
    for step in [ADJACENT, ADJACENT + 1, ADJACENT + 2] {
        let mut later = imported(&odd_secret(), Policy::default());
        later.record = bench.record.clone();
        later.now = at_step(step);
        reused(&mut later, &code);
    }
    bench.now = at_step(ADJACENT + 2);
    let next = bench.right_code().expect("a code");
    bench.verify(None, &next).expect("the next code is accepted");
}

#[test]
fn two_ends_of_the_window_with_one_code_are_used_up_together() {
    let mut bench = imported(&odd_secret(), Policy::default());
    let code = bench.code_of(Step(TWO_APART));
    assert_eq!(code, bench.code_of(Step(TWO_APART + 2)), "the premise of this test");
    bench.now = at_step(TWO_APART + 1);
    bench.verify(None, &code).expect("a right code");
    assert_eq!(bench.last_step(), Step(TWO_APART + 2));
    bench.now = at_step(TWO_APART + 2);
    reused(&mut bench, &code);
}

#[test]
fn the_same_code_of_a_step_not_yet_used_is_accepted() {
    // Used while its second step was out of the window's reach, so that one is still good.
    let mut bench = imported(&odd_secret(), Policy::default());
    let code = bench.code_of(Step(TWO_APART));
    bench.now = at_step(TWO_APART);
    bench.verify(None, &code).expect("a right code");
    assert_eq!(bench.last_step(), Step(TWO_APART));
    bench.now = at_step(TWO_APART + 1);
    bench.verify(None, &code).expect("the code of another step");
    assert_eq!(bench.last_step(), Step(TWO_APART + 2));
}

/// What the SDKs offer to a product that keeps the last used step itself.
#[test]
fn a_product_that_keeps_the_step_has_the_same_rule() {
    let secret = Secret::generate([7; 20]);
    let parameters = Parameters::default();
    let now = Timestamp::from_secs(1_000_000_005);
    let current = parameters.period.step(now);
    let accept = |step: u64, last_step| {
        let code = totp::generate(&secret, &parameters, Step(step));
        second_factor::accept(&secret, &parameters, Window::default(), now, &code, last_step)
    };
    assert_eq!(accept(current.0, None), Ok(current));
    assert_eq!(accept(current.0, Some(Step(current.0 - 1))), Ok(current));
    let used = Refusal::CodeAlreadyUsed { retry_after: Duration::from_secs(15) };
    assert_eq!(accept(current.0, Some(current)), Err(used.clone()));
    assert_eq!(accept(current.0 - 1, Some(current)), Err(used));
    assert_eq!(accept(current.0 + 2, None), Err(Refusal::InvalidCode));
    let longer = TotpCode::parse("12345678").unwrap();
    let refused =
        second_factor::accept(&secret, &parameters, Window::default(), now, &longer, None);
    assert!(
        matches!(refused, Err(Refusal::Malformed(malformed)) if malformed.field == "totp_code")
    );
}
