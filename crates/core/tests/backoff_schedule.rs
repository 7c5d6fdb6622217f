//! The growing wait after failures, against a model that knows nothing but the attempts so far.

mod common;

use common::codes::wrong_key;
use common::{BEGIN, Bench, Proof, SESSION, cases, digests, secs};
use proptest::prelude::*;
use std::time::Duration;
use twinlock_core::backoff::Schedule;
use twinlock_core::record::Method;
use twinlock_core::{Policy, Refusal, Timestamp};

/// The schedule in the words of the contract, in milliseconds.
#[derive(Clone, Debug)]
struct Rules {
    tolerated: usize,
    initial: u64,
    maximum: u64,
    hard_limit: Option<usize>,
}

impl Rules {
    fn policy(&self) -> Policy {
        let backoff = Schedule {
            tolerated_failures: self.tolerated as u32,
            initial: Duration::from_millis(self.initial),
            maximum: Duration::from_millis(self.maximum),
            hard_limit: self.hard_limit.map(|limit| limit as u32),
        };
        Policy { backoff, ..Policy::default() }
    }

    /// The wait that each of the first so many failures starts.
    fn waits(&self, failures: usize) -> Vec<u64> {
        let mut waits = vec![0; self.tolerated];
        let mut next = u128::from(self.initial);
        while waits.len() < failures {
            waits.push(next.min(u128::from(self.maximum)) as u64);
            next *= 2;
        }
        waits
    }

    fn remembered(&self) -> u64 {
        (24 * 3_600_000).max(24 * self.maximum)
    }
}

/// What stands in the way of the next attempt.
#[derive(Debug, PartialEq)]
enum Way {
    Free,
    Waits(u64),
    Locked,
}

/// Every attempt that was evaluated: when, and whether it was right.
#[derive(Debug, Default)]
struct History(Vec<(u64, bool)>);

impl History {
    /// The consecutive failures, and when their block ends.
    fn standing(&self, rules: &Rules, now: u64) -> (usize, u64) {
        let forgets =
            |end: u64, at: u64| rules.hard_limit.is_none() && at >= end + rules.remembered();
        let (mut failures, mut end) = (0, 0);
        for (at, was_right) in &self.0 {
            if *was_right || forgets(end, *at) {
                failures = 0;
            }
            if !was_right {
                failures += 1;
                end = at + rules.waits(failures)[failures - 1];
            }
        }
        if forgets(end, now) { (0, end) } else { (failures, end) }
    }

    fn way(&self, rules: &Rules, now: u64) -> Way {
        let (failures, end) = self.standing(rules, now);
        match rules.hard_limit {
            Some(limit) if failures >= limit => Way::Locked,
            _ if failures > 0 && now < end => Way::Waits(end - now),
            _ => Way::Free,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Through {
    Verify,
    Elevate,
    Confirm,
    Password,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Sleep(u64),
    /// To a moment about the end of the block.
    SleepToEnd(i64),
    /// To a moment about when the counter is forgotten.
    SleepToForgetting(i64),
    Attempt {
        through: Through,
        is_right: bool,
        by_key: bool,
    },
}

fn acts(ways: &'static [Through]) -> impl Strategy<Value = Vec<Act>> {
    let attempt = (prop::sample::select(ways), prop::bool::weighted(0.12), any::<bool>())
        .prop_map(|(through, is_right, by_key)| Act::Attempt { through, is_right, by_key });
    let act = prop_oneof![
        10 => attempt,
        2 => (0_u64..5_000).prop_map(Act::Sleep),
        1 => (0_u64..200_000_000).prop_map(Act::Sleep),
        8 => (-1_i64..=1).prop_map(Act::SleepToEnd),
        1 => (-1_i64..=1).prop_map(Act::SleepToForgetting),
    ];
    prop::collection::vec(act, 1..120)
}

fn rules() -> impl Strategy<Value = Rules> {
    let initials = prop::sample::select(vec![1_u64, 50, 1_000, 7_321, 3_600_000]);
    let factors = prop::sample::select(vec![1_u64, 3, 60, 3_600, 720_000]);
    let any_rules = (0_usize..=10, initials, factors, prop::option::of(1_usize..20)).prop_map(
        |(tolerated, initial, factor, beyond)| Rules {
            tolerated,
            initial,
            maximum: (initial * factor).min(30 * 24 * 3_600_000),
            hard_limit: beyond.map(|beyond| tolerated + beyond),
        },
    );
    prop_oneof![Just(default_rules()), any_rules]
}

fn default_rules() -> Rules {
    Rules { tolerated: 1, initial: 1_000, maximum: 3_600_000, hard_limit: None }
}

/// A record and the histories of its two counters.
struct Trial {
    rules: Rules,
    bench: Bench,
    second_factor: History,
    password: History,
}

impl Trial {
    fn run(mut self, acts: &[Act]) -> Result<(), TestCaseError> {
        for act in acts {
            match *act {
                Act::Sleep(millis) => self.bench.advance(Duration::from_millis(millis)),
                Act::SleepToEnd(offset) => self.sleep_to(0, offset),
                Act::SleepToForgetting(offset) => self.sleep_to(self.rules.remembered(), offset),
                Act::Attempt { through: Through::Password, is_right, .. } => {
                    self.try_password(is_right)?;
                }
                Act::Attempt { through, is_right, by_key } => {
                    self.try_second_factor(through, is_right, by_key)?;
                }
            }
            self.check_description()?;
        }
        Ok(())
    }

    fn now(&self) -> u64 {
        self.bench.now.as_millis()
    }

    fn sleep_to(&mut self, after_end: u64, offset: i64) {
        let (failures, end) = self.second_factor.standing(&self.rules, self.now());
        let (others, other_end) = self.password.standing(&self.rules, self.now());
        let end = if failures > 0 || others == 0 { end } else { other_end };
        let target = (end + after_end).saturating_add_signed(offset).max(self.now());
        self.bench.now = Timestamp::from_millis(target);
    }

    fn try_password(&mut self, is_right: bool) -> Result<(), TestCaseError> {
        let way = self.password.way(&self.rules, self.now());
        let before = self.bench.record.clone();
        let word = if is_right { "right" } else { "wrong" };
        let outcome = self.bench.password("phone", word).map(|_| ());
        match way {
            Way::Free => {
                let expected = if is_right { Ok(()) } else { Err(Refusal::InvalidCode) };
                prop_assert_eq!(outcome, expected);
                self.password.0.push((self.now(), is_right));
            }
            way => {
                prop_assert_eq!(outcome, Err(refusal(&way)));
                prop_assert_eq!(&self.bench.record, &before, "a blocked call changes nothing");
            }
        }
        Ok(())
    }

    fn try_second_factor(
        &mut self,
        through: Through,
        is_right: bool,
        by_key: bool,
    ) -> Result<(), TestCaseError> {
        if matches!(through, Through::Confirm) {
            // How the session came by its elevation is no matter here.
            let method =
                if self.bench.record.is_enrolled() { Method::Totp } else { Method::Asserted };
            self.bench.record.elevate(&digests(SESSION), method, self.bench.now);
            self.bench.enroll(SESSION).expect("an elevated session");
        }
        let way = self.second_factor.way(&self.rules, self.now());
        let before = self.bench.record.clone();
        let outcome = self.present(through, is_right, by_key);
        match way {
            Way::Free if is_right => prop_assert_eq!(outcome, Ok(())),
            Way::Free => prop_assert!(
                matches!(outcome, Err(Refusal::InvalidCode | Refusal::CodeAlreadyUsed { .. })),
                "{outcome:?}"
            ),
            way => {
                prop_assert_eq!(outcome, Err(refusal(&way)));
                prop_assert_eq!(&self.bench.record, &before, "a blocked call changes nothing");
                let other = self.present(through, !is_right, by_key);
                prop_assert_eq!(other, Err(refusal(&way)), "right and wrong get the same answer");
                return Ok(());
            }
        }
        self.second_factor.0.push((self.now(), is_right));
        if matches!(through, Through::Confirm) && is_right && self.bench.record.password.is_some() {
            // Back to where a password elevates; the counters stay.
            self.bench.unenroll(SESSION).expect("the confirming session is elevated");
        }
        Ok(())
    }

    fn present(&mut self, through: Through, is_right: bool, by_key: bool) -> Result<(), Refusal> {
        let bench = &mut self.bench;
        if matches!(through, Through::Confirm) {
            let wrong = bench.wrong_code();
            let code = match wrong {
                Proof::Code(_) if is_right => bench.pending_code(),
                Proof::Code(wrong) | Proof::Key(wrong) => wrong,
            };
            return bench.confirm(SESSION, &code).map(|_| ());
        }
        let key = Proof::Key(bench.key.clone());
        let proof = match (is_right, by_key) {
            (true, true) => key,
            (true, false) => bench.right_code().unwrap_or(key),
            (false, true) => wrong_key(),
            // A code that was used is a failure like any other.
            (false, false) if bench.now.as_millis().is_multiple_of(2) => {
                bench.code_of(bench.last_step())
            }
            (false, false) => bench.wrong_code(),
        };
        match through {
            Through::Verify => bench.verify(None, &proof).map(|_| ()),
            _ => bench.elevate("phone", &proof).map(|_| ()),
        }
    }

    /// The description says the same as the model.
    fn check_description(&self) -> Result<(), TestCaseError> {
        let told = self.bench.describe();
        let now = self.now();
        for (history, told) in
            [(&self.second_factor, told.second_factor), (&self.password, told.password)]
        {
            let (failures, _) = history.standing(&self.rules, now);
            prop_assert_eq!(told.count as usize, failures);
            let until = match history.way(&self.rules, now) {
                Way::Free => None,
                Way::Waits(millis) => Some(Timestamp::from_millis(now + millis)),
                Way::Locked => Some(Timestamp::MAX),
            };
            prop_assert_eq!(told.blocked_until, until);
        }
        Ok(())
    }
}

fn refusal(way: &Way) -> Refusal {
    match way {
        Way::Waits(millis) => Refusal::Backoff { retry_after: Duration::from_millis(*millis) },
        _ => Refusal::Locked,
    }
}

fn trial(rules: &Rules, bench: Bench) -> Trial {
    let (second_factor, password) = (History::default(), History::default());
    Trial { rules: rules.clone(), bench, second_factor, password }
}

proptest! {
    #![proptest_config(cases(512))]

    /// Verify, Elevate and ConfirmEnrollment share one counter, and it follows the schedule.
    #[test]
    fn codes_and_keys_follow_the_schedule_wherever_they_are_presented(
        rules in rules(),
        acts in acts(&[Through::Verify, Through::Elevate, Through::Confirm]),
    ) {
        let bench = Bench::enrolled(rules.policy());
        trial(&rules, bench).run(&acts)?;
    }

    /// Two counters on one record, each following the schedule as if there were no other.
    #[test]
    fn the_password_and_the_second_factor_count_apart(
        rules in rules(),
        acts in acts(&[Through::Password, Through::Password, Through::Confirm]),
    ) {
        let mut bench = Bench::new(rules.policy());
        bench.set_password("right");
        trial(&rules, bench).run(&acts)?;
    }
}

#[test]
fn by_default_the_waits_are_0_1_2_4_up_to_2048_and_then_3600_seconds() {
    let expected = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600, 3600];
    let model: Vec<u64> = default_rules().waits(16).iter().map(|wait| wait / 1000).collect();
    assert_eq!(model, expected);
    let mut bench = Bench::enrolled(Policy::default());
    for wait in expected {
        let wrong = bench.wrong_code();
        assert_eq!(bench.verify(None, &wrong).map(|_| ()), Err(Refusal::InvalidCode));
        if wait > 0 {
            let right = Proof::Key(bench.key.clone());
            let blocked = bench.verify(None, &right).map(|_| ());
            assert_eq!(blocked, Err(Refusal::Backoff { retry_after: secs(wait) }));
            bench.advance(Duration::from_millis(wait * 1000 - 1));
            let blocked = bench.verify(None, &right).map(|_| ());
            let left = Duration::from_millis(1);
            assert_eq!(blocked, Err(Refusal::Backoff { retry_after: left }));
            bench.advance(left);
        }
    }
}

#[test]
fn a_success_resets_its_own_counter_and_only_that_one() {
    let mut bench = Bench::new(Policy::default());
    bench.set_password("right");
    bench.password(SESSION, "wrong").expect_err("a wrong password");
    bench.enroll_by(SESSION);
    assert_eq!(bench.describe().password.count, 1, "after a confirmation");
    for elevates in [false, true] {
        bench.verify(None, &wrong_key()).expect_err("a wrong key");
        let key = Proof::Key(bench.key.clone());
        let outcome =
            if elevates { bench.elevate(SESSION, &key) } else { bench.verify(None, &key) };
        outcome.expect("a right key");
        let told = bench.describe();
        assert_eq!((told.second_factor.count, told.password.count), (0, 1));
    }
    bench.verify(None, &wrong_key()).expect_err("a wrong key");
    bench.unenroll(SESSION).expect("an elevated session");
    bench.password(SESSION, "right").expect("the right password");
    let told = bench.describe();
    assert_eq!((told.second_factor.count, told.password.count), (1, 0));
}

#[test]
fn a_counter_is_forgotten_a_day_after_its_block_ended_and_never_under_a_hard_limit() {
    for (maximum, remembered) in [(secs(60), 24 * 3600), (secs(7200), 48 * 3600)] {
        let backoff = Schedule { maximum, ..Schedule::default() };
        let mut bench = Bench::enrolled(Policy { backoff, ..Policy::default() });
        for _ in 0..3 {
            let wrong = bench.wrong_code();
            bench.verify(None, &wrong).expect_err("a wrong code");
            bench.advance(secs(2));
        }
        bench.advance(secs(remembered) - Duration::from_millis(1));
        assert_eq!(bench.describe().second_factor.count, 3);
        bench.advance(Duration::from_millis(1));
        assert_eq!(bench.describe().second_factor.count, 0);
        bench.policy.backoff.hard_limit = Some(100);
        bench.now = Timestamp::from_millis(BEGIN.as_millis() * 2);
        assert_eq!(bench.describe().second_factor.count, 3);
    }
}
