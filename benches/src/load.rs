//! Load on one server for a while, and what it cost.

use crate::people::People;
use crate::usage;
use crate::work::{Caller, Edge, Tally, Work};
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How calls follow each other.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Each caller calls again as soon as it is answered.
    Closed,
    /// So many turns a second, planned beforehand. Where a caller is late, the time counts from the planned
    /// moment, so that a server that stalls is not flattered.
    Open(f64),
}

/// Who is called, and whose work is counted.
pub struct Called<'a> {
    /// Open connections, or as many sets of them.
    pub edges: &'a [Edge],
    /// How many callers share each.
    pub callers: usize,
    /// The server's process.
    pub server: u32,
    /// Redis's, where it is used.
    pub redis: Option<u32>,
}

/// What a while of load cost.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Calls that ended as expected, a second.
    pub rate: f64,
    /// Times in milliseconds: half of the calls took no longer, 99 % and 99.9 % of them.
    pub p50: f64,
    /// See `p50`.
    pub p99: f64,
    /// See `p50`.
    pub p999: f64,
    /// The server's microseconds of CPU for each call.
    pub server: f64,
    /// Redis's.
    pub redis: Option<f64>,
    /// The server's resident memory afterwards, in bytes.
    pub memory: u64,
    /// Calls that ended otherwise, and how one of them did.
    pub unexpected: u64,
    /// See `unexpected`.
    pub example: Option<String>,
}

/// Loads a server.
pub async fn load(
    called: &Called<'_>,
    work: Work,
    people: &Arc<People>,
    pace: Pace,
    length: Duration,
) -> Result<Slice> {
    let server = usage::cpu(called.server)?;
    let redis = called.redis.map(usage::cpu).transpose()?;
    let begun = Instant::now();
    let turns = Arc::new(AtomicU64::new(0));
    let mut callers = Vec::new();
    for edge in called.edges {
        for _ in 0..called.callers {
            let caller = Caller { edge: edge.clone(), tally: Tally::default(), planned: None };
            let plan = Plan { begun, end: begun + length, pace, turns: turns.clone() };
            callers.push(tokio::spawn(plan.follow(work, people.clone(), caller)));
        }
    }
    let mut tally = Tally::default();
    for caller in callers {
        tally.add(caller.await??);
    }
    let took = begun.elapsed().as_secs_f64();
    let calls = tally.micros.len() as u64 + tally.unexpected;
    let each = |used: Duration| used.as_secs_f64() * 1e6 / calls.max(1) as f64;
    tally.micros.sort_unstable();
    let quantile = |share: f64| {
        let at = (tally.micros.len() as f64 * share) as usize;
        tally.micros.get(at).or(tally.micros.last()).map_or(f64::NAN, |it| f64::from(*it) / 1e3)
    };
    Ok(Slice {
        rate: tally.micros.len() as f64 / took,
        p50: quantile(0.5),
        p99: quantile(0.99),
        p999: quantile(0.999),
        server: each(usage::cpu(called.server)?.saturating_sub(server)),
        redis: match (called.redis, redis) {
            (Some(pid), Some(before)) => Some(each(usage::cpu(pid)?.saturating_sub(before))),
            _ => None,
        },
        memory: usage::memory(called.server)?,
        unexpected: tally.unexpected,
        example: tally.example,
    })
}

struct Plan {
    begun: Instant,
    end: Instant,
    pace: Pace,
    turns: Arc<AtomicU64>,
}

impl Plan {
    async fn follow(self, work: Work, people: Arc<People>, mut caller: Caller) -> Result<Tally> {
        loop {
            let number = self.turns.fetch_add(1, Ordering::Relaxed);
            match self.pace {
                Pace::Closed if Instant::now() >= self.end => break,
                Pace::Closed => {}
                Pace::Open(rate) => {
                    let due = self.begun + Duration::from_secs_f64(number as f64 / rate);
                    if due >= self.end {
                        break;
                    }
                    if due > Instant::now() {
                        // The timer's own lateness, of a millisecond or so, is not the server's.
                        sleep_until(due).await;
                    } else {
                        caller.planned = Some(due);
                    }
                }
            }
            if !work.turn(number, &people, &mut caller).await? {
                caller.tally.unexpected += 1;
                caller.tally.example = Some("no user is left who could verify".into());
                break;
            }
        }
        Ok(caller.tally)
    }
}
