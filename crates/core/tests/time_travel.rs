//! Clocks that step back an hour and forward a year: nothing opens early, nothing passes twice, and
//! nobody is locked out for longer than the maximum.

mod common;

use common::codes::wrong_key;
use common::{BEGIN, Bench, Proof, SESSION, cases, digests, secs};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;
use twinlock_core::login::{Channel, Login, Owed};
use twinlock_core::policy::{Enforcement, LoginPolicy};
use twinlock_core::receipt::{self, Found, Mark};
use twinlock_core::record::{Digest, Method, Sealed};
use twinlock_core::totp::Step;
use twinlock_core::{Policy, Refusal, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(Clone, Copy, Debug)]
enum Act {
    Sleep(u64),
    /// Until a blocked call said that it may be made again.
    SleepOut,
    Back(Duration),
    Forward(Duration),
    RightCode,
    WrongCode,
    /// Whatever the step so far from now has.
    CodeOf(i64),
    Key,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0_u64..40_000).prop_map(Act::Sleep),
        4 => Just(Act::SleepOut),
        1 => Just(Act::Back(HOUR)),
        1 => (1_u64..100).prop_map(|count| Act::Back(secs(count))),
        1 => Just(Act::Forward(YEAR)),
        1 => (1_u64..100).prop_map(|count| Act::Forward(secs(count))),
        4 => Just(Act::RightCode),
        6 => Just(Act::WrongCode),
        3 => (-2_i64..=2).prop_map(Act::CodeOf),
        1 => Just(Act::Key),
    ];
    prop::collection::vec(act, 1..150)
}

/// A bench with a clock of its own that nobody sets.
struct Journey {
    bench: Bench,
    /// True time since the beginning.
    elapsed: Duration,
    /// When the last failure was counted, in true time, and how long it blocks.
    failure: Option<(Duration, Duration)>,
    jumped_forward: bool,
    jumped: bool,
    /// When a call first saw the last jump, in true time.
    jump_seen: Duration,
    left: Duration,
    accepted: BTreeSet<(Vec<u8>, u64)>,
}

impl Journey {
    fn new() -> Self {
        let bench = Bench::enrolled(Policy::default());
        let secret = bench.record.authenticator.as_ref().expect("enrolled").secret.0.clone();
        let accepted = BTreeSet::from([(secret, bench.last_step().0)]);
        Self {
            bench,
            elapsed: Duration::ZERO,
            failure: None,
            jumped_forward: false,
            jumped: false,
            jump_seen: Duration::ZERO,
            left: Duration::ZERO,
            accepted,
        }
    }

    fn act(&mut self, act: Act) -> Result<(), TestCaseError> {
        match act {
            Act::Sleep(millis) => self.sleep(Duration::from_millis(millis)),
            Act::SleepOut => self.sleep(self.left),
            Act::Back(by) => {
                self.jumped = true;
                self.bench.rewind(by);
            }
            Act::Forward(by) => {
                (self.jumped, self.jumped_forward) = (true, true);
                self.bench.advance(by);
            }
            Act::RightCode => {
                let right = self.bench.right_code().unwrap_or_else(|| self.bench.wrong_code());
                self.present(&right)?;
            }
            Act::WrongCode => self.present(&self.bench.wrong_code())?,
            Act::CodeOf(offset) => {
                let current = self.bench.now.as_secs() / 30;
                let code = self.bench.code_of(Step(current.saturating_add_signed(offset)));
                self.present(&code)?;
            }
            Act::Key => self.present(&Proof::Key(self.bench.key.clone()))?,
        }
        Ok(())
    }

    fn sleep(&mut self, time: Duration) {
        self.elapsed += time;
        self.bench.advance(time);
        self.left = Duration::ZERO;
    }

    fn present(&mut self, proof: &Proof) -> Result<(), TestCaseError> {
        if std::mem::take(&mut self.jumped) {
            self.jump_seen = self.elapsed;
        }
        let outcome = self.bench.verify(None, proof).map(|_| ());
        if let Err(Refusal::Backoff { retry_after }) = outcome {
            let maximum = self.bench.policy.backoff.maximum;
            let (failed_at, _) = self.failure.expect("only a failure blocks");
            let latest = failed_at.max(self.jump_seen) + maximum;
            prop_assert!(
                self.elapsed + retry_after <= latest,
                "blocked for longer than the maximum"
            );
            self.left = retry_after;
            return Ok(());
        }
        if let Some((failed_at, wait)) = self.failure {
            let waited = self.elapsed >= failed_at + wait;
            prop_assert!(waited || self.jumped_forward, "evaluated before the wait was over");
        }
        if outcome.is_err() {
            let failures = self.bench.describe().second_factor.count;
            let wait = self.bench.policy.backoff.wait(failures);
            self.failure = Some((self.elapsed, wait));
            self.jumped_forward = false;
            return Ok(());
        }
        self.failure = None;
        if let Proof::Code(_) = proof {
            let authenticator = self.bench.record.authenticator.as_ref().expect("enrolled");
            let used = (authenticator.secret.0.clone(), self.bench.last_step().0);
            prop_assert!(self.accepted.insert(used), "a code was accepted twice");
            let last = self.accepted.last().map(|(_, step)| *step);
            prop_assert_eq!(last, Some(self.bench.last_step().0), "an old step was accepted");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_jumping_clock_opens_nothing_early_accepts_nothing_twice_and_locks_nobody_out(
        acts in acts(),
    ) {
        let mut journey = Journey::new();
        for act in acts {
            journey.act(act)?;
        }
    }

    /// Every call at any two moments that a clock could show, its ends above all.
    #[test]
    fn no_moment_makes_a_rule_panic(
        first in moments(),
        second in moments(),
        tolerated in 0_u32..=1,
        longest in any::<bool>(),
    ) {
        let mut policy = Policy::default();
        policy.backoff.tolerated_failures = tolerated;
        if longest {
            policy.backoff.maximum = Duration::MAX;
            policy.backoff.initial = Duration::MAX;
            policy.elevation.lifetime = Duration::MAX;
            policy.pending_lifetime = Duration::MAX;
            policy.login.grace = Duration::MAX;
        }
        policy.login.enforcement = Enforcement::Enforce;
        policy.login.authorities = vec!["admin".into()];
        let mut bench = Bench::new(policy);
        for now in [first, second, first] {
            bench.now = now;
            every_call(&mut bench);
        }
    }
}

fn moments() -> impl Strategy<Value = Timestamp> {
    let millis = prop_oneof![
        0_u64..100_000,
        (0_u64..100_000).prop_map(|before| u64::MAX - before),
        any::<u64>(),
    ];
    millis.prop_map(Timestamp::from_millis)
}

/// What each call answers is for other tests; here it must only answer.
fn every_call(bench: &mut Bench) {
    let authorities = ["admin".to_string()];
    let login =
        Login { user: "alice", channel: Channel::Form, authorities: &authorities, resource: "" };
    bench.log_in(&login);
    bench.set_password("right");
    let _ = bench.password(SESSION, "wrong");
    let _ = bench.password(SESSION, "right");
    let _ = bench.assert(SESSION);
    if bench.enroll(SESSION).is_ok() && bench.record.pending.is_some() {
        let code = bench.pending_code();
        let _ = bench.confirm(SESSION, &code);
    }
    for _ in 0..3 {
        let _ = bench.verify(Some("phone"), &wrong_key());
        if bench.record.is_enrolled() {
            let right = bench.right_code().unwrap_or_else(|| bench.wrong_code());
            let _ = bench.elevate(SESSION, &right);
        }
        let _ = bench.elevate(SESSION, &Proof::Key(bench.key.clone()));
    }
    let _ = bench.rotate(SESSION);
    let _ = bench.check(SESSION, Some(Duration::MAX));
    bench.describe();
    let mark = Mark { id: Digest([1; 16]), request: Digest([1; 16]) };
    let reuse = Refusal::CodeAlreadyUsed { retry_after: Duration::MAX };
    receipt::remember_success(
        &mut bench.record,
        mark,
        Sealed(vec![]),
        receipt::Holds::RecoveryKey,
        bench.now,
    );
    receipt::remember_refusal(&mut bench.record, mark, &reuse, bench.now);
    receipt::find(&bench.record, &[mark], bench.now);
    let _ = bench.unenroll(SESSION);
}

#[test]
fn a_block_that_was_running_when_the_clock_went_back_starts_again_once() {
    let mut bench = Bench::enrolled(Policy::default());
    for wait in [0, 1, 2, 4] {
        bench.verify(None, &wrong_key()).expect_err("a wrong key");
        bench.advance(secs(wait));
    }
    bench.verify(None, &wrong_key()).expect_err("a wrong key");
    bench.advance(secs(6));
    bench.rewind(HOUR);
    let blocked_for = |bench: &mut Bench| bench.verify(None, &wrong_key()).map(|_| ());
    let blocked = |count| Err(Refusal::Backoff { retry_after: secs(count) });
    assert_eq!(blocked_for(&mut bench), blocked(8));
    bench.advance(secs(5));
    assert_eq!(blocked_for(&mut bench), blocked(3), "the second call does not restart it again");
    bench.advance(secs(3));
    let key = Proof::Key(bench.key.clone());
    assert!(bench.verify(None, &key).is_ok());
}

#[test]
fn a_jump_forward_never_lengthens_a_block() {
    let mut bench = Bench::enrolled(Policy::default());
    bench.advance(YEAR);
    for wait in [0, 1, 2] {
        bench.verify(None, &wrong_key()).expect_err("a wrong key");
        bench.advance(secs(wait));
    }
    bench.rewind(YEAR);
    bench.verify(None, &wrong_key()).expect_err("no wait can be measured across the jump");
    bench.advance(secs(2));
    let key = Proof::Key(bench.key.clone());
    assert!(bench.verify(None, &key).is_ok());
}

#[test]
fn a_code_that_was_accepted_is_refused_when_the_clock_shows_its_step_again() {
    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    bench.verify(None, &code).expect("a right code");
    bench.advance(HOUR);
    let later = bench.right_code().expect("a code");
    bench.verify(None, &later).expect("a right code");
    bench.rewind(HOUR);
    let reused = bench.verify(None, &code).map(|_| ());
    assert!(matches!(reused, Err(Refusal::CodeAlreadyUsed { .. })));
    let unused = bench.code_of(Step(bench.now.as_secs() / 30 + 1));
    let old = bench.verify(None, &unused).map(|_| ());
    assert!(matches!(old, Err(Refusal::CodeAlreadyUsed { .. })), "never used, but too old");
}

#[test]
fn elevations_dated_in_the_future_have_lapsed() {
    let mut bench = Bench::enrolled(Policy::default());
    let key = Proof::Key(bench.key.clone());
    bench.elevate(SESSION, &key).expect("a right key");
    bench.rewind(Duration::from_millis(1));
    assert_eq!(bench.check(SESSION, None), Err(Refusal::ElevationRequired));
    assert_eq!(bench.unenroll(SESSION), Err(Refusal::ElevationRequired));
}

#[test]
fn a_pending_enrollment_dated_in_the_future_has_lapsed() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    bench.rewind(Duration::from_millis(1));
    let code = bench.pending_code();
    let confirmed = bench.confirm(SESSION, &code).map(|_| ());
    assert_eq!(confirmed, Err(Refusal::NoPendingEnrollment));
    assert_eq!(bench.describe().pending_expire_at, None);
}

#[test]
fn receipts_dated_in_the_future_have_lapsed() {
    let mut bench = Bench::new(Policy::default());
    let mark = Mark { id: Digest([1; 16]), request: Digest([2; 16]) };
    receipt::remember_success(
        &mut bench.record,
        mark,
        Sealed(vec![]),
        receipt::Holds::Nothing,
        bench.now,
    );
    bench.rewind(Duration::from_millis(1));
    assert_eq!(receipt::find(&bench.record, &[mark], bench.now), Found::Nothing);
}

#[test]
fn an_elevation_dated_in_the_future_makes_room_before_one_that_lives() {
    let mut bench = Bench::new(Policy::default());
    bench.record.elevate(&digests("living"), Method::Asserted, BEGIN);
    let ahead = BEGIN.after(secs(300));
    for number in 0..31 {
        bench.record.elevate(&digests(&format!("ahead {number}")), Method::Asserted, ahead);
    }
    bench.assert("new").expect("an allowed assertion");
    assert!(bench.is_elevated("living") && bench.is_elevated("new"));
}

#[test]
fn a_grace_that_seems_to_begin_in_the_future_is_over() {
    let login_policy = LoginPolicy {
        enforcement: Enforcement::Enforce,
        authorities: vec!["admin".into()],
        grace: HOUR,
        ..LoginPolicy::default()
    };
    let mut bench = Bench::new(Policy { login: login_policy, ..Policy::default() });
    let authorities = ["admin".to_string()];
    let login =
        Login { user: "alice", channel: Channel::Form, authorities: &authorities, resource: "" };
    assert_eq!(bench.log_in(&login).owed, Owed::Allow);
    bench.rewind(YEAR);
    let verdict = bench.log_in(&login);
    assert_eq!((verdict.owed, verdict.notify), (Owed::Enroll, false));
}
