//! Times and durations. JavaScript counts both in milliseconds, in a double.

use std::time::Duration;

use prost_types::Timestamp;
use twinlock_client::Error;
use twinlock_core::{Malformed, Timestamp as Point};

/// The milliseconds since the Unix epoch, as a JavaScript `Date` counts them.
pub fn date(time: Timestamp) -> f64 {
    (time.seconds * 1000 + i64::from(time.nanos) / 1_000_000) as f64
}

/// The time of a JavaScript `Date`, which has whole milliseconds.
pub fn timestamp(date: f64) -> Timestamp {
    let milliseconds = date as i64;
    Timestamp {
        seconds: milliseconds.div_euclid(1000),
        nanos: milliseconds.rem_euclid(1000) as i32 * 1_000_000,
    }
}

/// A duration, refused in the name of its field where it is negative or no number.
pub fn milliseconds(field: &str, number: f64) -> Result<Duration, Error> {
    Duration::try_from_secs_f64(number / 1000.0).map_err(|_| {
        let message =
            format!("{field} must be a number of milliseconds. Correct it and call again.");
        Error::invalid(field, message)
    })
}

/// A point in time, refused in the name of its field where it lies before 1970 or is none.
pub fn point(field: &'static str, date: f64) -> Result<Point, Malformed> {
    match date.is_finite() && date >= 0.0 {
        true => Ok(Point::from_millis(date as u64)),
        false => Err(Malformed { field, problem: "must be a time that does not lie before 1970" }),
    }
}

/// A small whole number; anything else becomes one that is beyond every limit.
pub fn whole(number: f64) -> u32 {
    let fits = number.fract() == 0.0 && (0.0..f64::from(u32::MAX)).contains(&number);
    if fits { number as u32 } else { u32::MAX }
}
