//! The growing wait after failures, for a product that counts by itself.

use napi_derive::napi;
use twinlock_client::Error;
use twinlock_core::Malformed;
use twinlock_core::backoff::{Counter, Schedule};

use crate::failure::{Outcome, outcome};
use crate::time::{milliseconds, point, whole};

#[napi(object, object_to_js = false)]
pub struct BackoffOptions {
    pub tolerated_failures: Option<f64>,
    pub initial_ms: Option<f64>,
    pub maximum_ms: Option<f64>,
    pub hard_limit: Option<f64>,
}

/// A schedule within its limits.
#[napi]
pub struct BackoffSchedule(Schedule);

#[napi(catch_unwind)]
pub fn backoff_schedule(options: BackoffOptions) -> Outcome<BackoffSchedule> {
    let schedule = || -> Result<Schedule, Error> {
        let default = Schedule::default();
        let tolerated = options.tolerated_failures.map_or(default.tolerated_failures, whole);
        let initial = options.initial_ms.map(|number| milliseconds("initial", number));
        let maximum = options.maximum_ms.map(|number| milliseconds("maximum", number));
        let initial = initial.transpose()?.unwrap_or(default.initial);
        let maximum = maximum.transpose()?.unwrap_or(default.maximum);
        let hard_limit = options.hard_limit.map(whole);
        Ok(Schedule::new(tolerated, initial, maximum, hard_limit)?)
    };
    outcome(schedule().map(BackoffSchedule))
}

#[napi]
impl BackoffSchedule {
    /// What failure number `failures` costs, in milliseconds.
    #[napi(catch_unwind)]
    pub fn wait(&self, failures: f64) -> Outcome<f64> {
        outcome(count(failures).map(|failures| self.0.wait(failures).as_secs_f64() * 1000.0))
    }

    /// How many of the failures still count, where another attempt may be looked at.
    #[napi(catch_unwind)]
    pub fn check(&self, failures: f64, last_failure: Option<f64>, at: f64) -> Outcome<u32> {
        let check = || -> Result<u32, Error> {
            let (failures, now) = (count(failures)?, point("at", at)?);
            let since = match last_failure {
                Some(time) => point("last_failure", time)?,
                None if failures == 0 => now,
                None => {
                    let problem = "must be given where there are failures";
                    return Err(Malformed { field: "last_failure", problem }.into());
                }
            };
            let counter = Counter { failures, since, charges: failures }.at(&self.0, now);
            match counter.gate(&self.0, now).refusal() {
                None => Ok(counter.failures),
                Some(refusal) => Err(refusal.into()),
            }
        };
        outcome(check())
    }
}

fn count(failures: f64) -> Result<u32, Malformed> {
    let problem = "must be a whole number that is not negative";
    match failures.fract() == 0.0 && failures >= 0.0 {
        // As many as that are beyond every limit.
        true => Ok(failures.min(f64::from(u32::MAX)) as u32),
        false => Err(Malformed { field: "failures", problem }),
    }
}
