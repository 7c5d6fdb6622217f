//! The growing wait after consecutive failures (NIST SP 800-63B, throttling; RFC 4226 §7.3).

use crate::{Malformed, Refusal, Timestamp};
use std::time::Duration;

/// The least time for which a counter is remembered after its block ended.
const REMEMBERED_AT_LEAST: Duration = Duration::from_secs(24 * 3600);

/// The schedule: how long failure number `n` blocks further attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How many failures cost nothing; 0 to 10, by default 1.
    pub tolerated_failures: u32,
    /// The wait after the first failure beyond those; by default 1 s.
    pub initial: Duration,
    /// The longest wait; by default 1 h.
    pub maximum: Duration,
    /// The number of failures that locks until an administrator clears it; `None`, the default, for never.
    pub hard_limit: Option<u32>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            tolerated_failures: 1,
            initial: Duration::from_secs(1),
            maximum: Duration::from_secs(3600),
            hard_limit: None,
        }
    }
}

impl Schedule {
    /// One within the limits of the server's configuration: 0 to 10 tolerated failures, waits of 1 ms to
    /// 30 days of which the first is not the longest, and a hard limit above the tolerated failures.
    pub fn new(
        tolerated_failures: u32,
        initial: Duration,
        maximum: Duration,
        hard_limit: Option<u32>,
    ) -> Result<Self, Malformed> {
        let waits = Duration::from_millis(1)..=Duration::from_secs(30 * 24 * 3600);
        let (field, problem) = if tolerated_failures > 10 {
            ("tolerated_failures", "must be 0 to 10")
        } else if !waits.contains(&maximum) {
            ("maximum", "must be 1 ms to 30 days")
        } else if !waits.contains(&initial) || initial > maximum {
            ("initial", "must be 1 ms at least, and not longer than the maximum")
        } else if hard_limit.is_some_and(|limit| limit <= tolerated_failures) {
            ("hard_limit", "must be more than the tolerated failures")
        } else {
            return Ok(Self { tolerated_failures, initial, maximum, hard_limit });
        };
        Err(Malformed { field, problem })
    }

    /// The wait that failure number `failures` starts:
    /// nothing while tolerated, then `initial`, doubling up to `maximum`.
    pub fn wait(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(self.tolerated_failures.saturating_add(1))
        else {
            return Duration::ZERO;
        };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.initial.saturating_mul(factor).min(self.maximum)
    }

    /// How long a counter is remembered after its block ended. A guesser who waits for the counter to be
    /// forgotten must gain nothing by it, so this is far slower than the schedule itself.
    fn remembered(&self) -> Duration {
        REMEMBERED_AT_LEAST.max(self.maximum.saturating_mul(24))
    }
}

/// Consecutive failures of one kind of proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Failures since the last success.
    pub failures: u32,
    /// When the last one was, or when its block was restarted because the clock had gone back.
    pub since: Timestamp,
    /// How many failures were ever counted, wrapping: names each of them, so that a failure that was
    /// counted ahead of its check can be taken away by that check alone.
    pub charges: u32,
}

/// Whether an attempt may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Open,
    /// Not before this has passed.
    Blocked {
        /// What is left of the wait.
        retry_after: Duration,
        /// The clock lies before the last failure, so nobody can say how much of the wait has passed:
        /// it starts again, once, and the counter must be kept with [`Counter::restarted`].
        restart: bool,
    },
    /// Not before an administrator clears it.
    Locked,
}

impl Gate {
    /// What an attempt is told that may not be looked at.
    pub fn refusal(&self) -> Option<Refusal> {
        match *self {
            Self::Open => None,
            Self::Blocked { retry_after, .. } => Some(Refusal::Backoff { retry_after }),
            Self::Locked => Some(Refusal::Locked),
        }
    }
}

/// One counted failure, by which it can be taken away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge(pub(crate) u32);

impl Counter {
    /// Whether an attempt may be looked at now.
    pub fn gate(&self, schedule: &Schedule, now: Timestamp) -> Gate {
        if self.is_locked(schedule) {
            return Gate::Locked;
        }
        let wait = schedule.wait(self.failures);
        if wait.is_zero() {
            return Gate::Open;
        }
        match now.since(self.since) {
            None => Gate::Blocked { retry_after: wait, restart: true },
            Some(passed) if passed < wait => {
                Gate::Blocked { retry_after: wait - passed, restart: false }
            }
            Some(_) => Gate::Open,
        }
    }

    /// When the block ends; `None` where there is none now. A lock has no end: [`Timestamp::MAX`].
    pub fn blocked_until(&self, schedule: &Schedule, now: Timestamp) -> Option<Timestamp> {
        match self.gate(schedule, now) {
            Gate::Open => None,
            Gate::Blocked { retry_after, .. } => Some(now.after(retry_after)),
            Gate::Locked => Some(Timestamp::MAX),
        }
    }

    /// The counter after one more failure.
    #[must_use]
    pub fn failed(self, now: Timestamp) -> Self {
        Self {
            failures: self.failures.saturating_add(1),
            since: now,
            charges: self.charges.wrapping_add(1),
        }
    }

    /// The counter after a success.
    #[must_use]
    pub fn succeeded(self) -> Self {
        Self { failures: 0, ..self }
    }

    /// The counter whose wait begins again now.
    #[must_use]
    pub fn restarted(self, now: Timestamp) -> Self {
        Self { since: now, ..self }
    }

    /// The name of the last counted failure.
    pub fn last_charge(&self) -> Charge {
        Charge(self.charges)
    }

    /// The counter without this failure and those before it; later ones stay.
    #[must_use]
    pub fn without(self, charge: Charge) -> Self {
        let later = self.charges.wrapping_sub(charge.0);
        Self { failures: self.failures.min(later), ..self }
    }

    /// The counter without this failure alone, if a success has not taken it away already.
    #[must_use]
    pub fn without_only(self, charge: Charge) -> Self {
        let later = self.charges.wrapping_sub(charge.0);
        Self { failures: self.failures - u32::from(self.failures > later), ..self }
    }

    /// The counter as it stands now: one that is old enough is forgotten.
    #[must_use]
    pub fn at(self, schedule: &Schedule, now: Timestamp) -> Self {
        match self.forgotten_at(schedule) {
            Some(end) if end <= now => self.succeeded(),
            _ => self,
        }
    }

    /// When the counter is forgotten; `None` for never, as while there is a hard limit.
    pub fn forgotten_at(&self, schedule: &Schedule) -> Option<Timestamp> {
        if self.failures == 0 {
            return Some(Timestamp::default());
        }
        if schedule.hard_limit.is_some() {
            return None;
        }
        Some(self.since.after(schedule.wait(self.failures)).after(schedule.remembered()))
    }

    /// Whether this failure count is the one at which a block or a lock begins.
    pub fn starts_block(&self, schedule: &Schedule) -> bool {
        self.is_locked(schedule) || !schedule.wait(self.failures).is_zero()
    }

    /// Whether the hard limit is reached.
    pub(crate) fn is_locked(&self, schedule: &Schedule) -> bool {
        schedule.hard_limit.is_some_and(|limit| self.failures >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_schedule_doubles_from_one_second_to_an_hour() {
        let schedule = Schedule::default();
        let waits: Vec<u64> = (1..=16).map(|n| schedule.wait(n).as_secs()).collect();
        let expected =
            [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600, 3600].to_vec();
        assert_eq!(waits, expected);
        assert_eq!(schedule.wait(0), Duration::ZERO);
        assert_eq!(schedule.wait(u32::MAX), Duration::from_secs(3600));
    }

    #[test]
    fn tolerated_failures_shift_the_schedule() {
        let schedule = Schedule { tolerated_failures: 3, ..Schedule::default() };
        let waits: Vec<u64> = (1..=6).map(|n| schedule.wait(n).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2, 4]);
        let schedule = Schedule { tolerated_failures: 0, ..Schedule::default() };
        assert_eq!(schedule.wait(1), Duration::from_secs(1));
    }

    #[test]
    fn a_schedule_is_within_its_limits() {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        assert_eq!(Schedule::new(1, second, hour, None), Ok(Schedule::default()));
        assert!(Schedule::new(10, second, second, Some(11)).is_ok());
        let field = |tolerated, initial, maximum, limit| {
            Schedule::new(tolerated, initial, maximum, limit).unwrap_err().field
        };
        assert_eq!(field(11, second, hour, None), "tolerated_failures");
        assert_eq!(field(1, hour, second, None), "initial");
        assert_eq!(field(1, Duration::ZERO, hour, None), "initial");
        assert_eq!(field(1, second, hour * 721, None), "maximum");
        assert_eq!(field(1, second, hour, Some(1)), "hard_limit");
    }

    #[test]
    fn a_clock_that_goes_back_restarts_the_wait_once() {
        let schedule = Schedule::default();
        let hour = 3_600_000;
        let mut counter = Counter::default();
        for _ in 0..5 {
            counter = counter.failed(Timestamp::from_millis(2 * hour));
        }
        let back = Timestamp::from_millis(hour);
        let Gate::Blocked { retry_after, restart: true } = counter.gate(&schedule, back) else {
            panic!("must be blocked and restart");
        };
        assert_eq!(retry_after, Duration::from_secs(8));
        let counter = counter.restarted(back);
        let later = back.after(Duration::from_secs(8));
        assert_eq!(counter.gate(&schedule, later), Gate::Open);
    }

    #[test]
    fn a_counter_is_forgotten_no_earlier_than_a_day_after_its_block() {
        let schedule = Schedule::default();
        let now = Timestamp::from_secs(1_000_000);
        let counter = Counter::default().failed(now).failed(now);
        let end = now.after(Duration::from_secs(1 + 24 * 3600));
        assert_eq!(counter.at(&schedule, Timestamp::from_millis(end.as_millis() - 1)), counter);
        assert_eq!(counter.at(&schedule, end).failures, 0);
        let hard = Schedule { hard_limit: Some(100), ..schedule };
        assert_eq!(counter.at(&hard, Timestamp::MAX), counter);
    }

    #[test]
    fn the_hard_limit_locks_without_end() {
        let schedule = Schedule { hard_limit: Some(3), ..Schedule::default() };
        let mut counter = Counter::default();
        for _ in 0..3 {
            assert_ne!(counter.gate(&schedule, Timestamp::MAX), Gate::Locked);
            counter = counter.failed(Timestamp::default());
        }
        assert_eq!(counter.gate(&schedule, Timestamp::MAX), Gate::Locked);
    }

    #[test]
    fn a_charge_that_was_one_too_many_takes_away_itself_alone() {
        let now = Timestamp::from_secs(9);
        let counter = Counter::default().failed(now).failed(now);
        let own = counter.last_charge();
        assert_eq!(counter.without_only(own).failures, 1);
        assert_eq!(counter.failed(now).without_only(own).failures, 2);
        assert_eq!(counter.succeeded().without_only(own).failures, 0);
        assert_eq!(counter.succeeded().failed(now).without_only(own).failures, 1);
    }

    /// Or a check that took long could take away what was counted after a success.
    #[test]
    fn a_failure_after_a_success_is_another_than_those_before_it() {
        let now = Timestamp::from_secs(9);
        let first = Counter::default().failed(now);
        let own = first.last_charge();
        let later = first.succeeded().failed(now);
        assert_ne!(later.last_charge(), own);
        assert_eq!(later.without(own).failures, 1);
        assert_eq!(later.without_only(own).failures, 1);
    }

    #[test]
    fn a_charge_takes_away_itself_and_those_before_it_alone() {
        let now = Timestamp::from_secs(9);
        let first = Counter::default().failed(now).failed(now);
        let own = first.last_charge();
        let later = first.failed(now).failed(now);
        assert_eq!(later.without(own).failures, 2);
        assert_eq!(first.without(own).failures, 0);
        // A success in between has already taken it away.
        assert_eq!(first.succeeded().failed(now).without(own).failures, 1);
    }
}
