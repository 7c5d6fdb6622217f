//! What the engine counts: atomics that calls add to, and that whoever shows the numbers reads.
//!
//! To count takes no lock and no allocation. Rows are read with the values of their labels, which are
//! words of bounded sets: no user, session or address is ever among them.

use crate::clock::{self, Clock};
use crate::error::Error;
use crate::store::StoreError;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use twinlock_core::decision::{Event, EventKind, Factor};
use twinlock_core::record::Method;
use twinlock_core::{Reason, Refusal, Timestamp};

/// What of proofs is counted apart; the last is a second factor that was refused before it was looked at.
const PROOFS: [&str; 4] = ["totp", "recovery_key", "password", "unknown"];
/// How an attempt ends.
const OUTCOMES: [&str; 4] = ["accepted", "invalid", "reused", "request_id_reused"];
/// The steps from the present one that the widest window reaches.
const OFFSETS: [&str; 5] = ["-2", "-1", "0", "1", "2"];
const NANOS: u64 = 1_000_000_000;
const FACTORS: [&str; 2] = ["second_factor", "password"];
/// What keeps attempts out: a wait, or the hard limit.
const WAITS: [Reason; 2] = [Reason::Backoff, Reason::Locked];
/// Why a store did not answer.
const FAULTS: [&str; 3] = ["unavailable", "incomplete", "unreadable"];
/// In the place of an offset where there is none yet: none is as large.
const NOT_COMPARED: i64 = i64::MIN;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; Self::BOUNDS.len() + 1],
    nanos: Counter,
}

/// What a histogram held when it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// The upper bound of each bucket in seconds, infinity last, and how often it took longer than the
    /// bound before and no longer than this one.
    pub buckets: Vec<(f64, u64)>,
    /// How often it was.
    pub count: u64,
    /// How long it took in all, in seconds.
    pub seconds: f64,
}

/// All that the engine counts, apart from what the [`crate::hash::Hasher`] does.
pub struct Metrics {
    happened: [Counter; EventKind::ALL.len()],
    attempts: [[Counter; OUTCOMES.len()]; PROOFS.len()],
    step_offsets: [Counter; OFFSETS.len()],
    blocks: [[Counter; WAITS.len()]; FACTORS.len()],
    refused_in_blocks: [[Counter; WAITS.len()]; FACTORS.len()],
    /// Swaps that found that somebody had been faster.
    pub swap_conflicts: Counter,
    /// Loads of a record.
    pub load: Verb,
    /// Swaps of a record.
    pub swap: Verb,
    clock: Clock,
    /// In milliseconds, or [`NOT_COMPARED`].
    clock_offset: AtomicI64,
}

/// One of the store's two verbs.
#[derive(Debug, Default)]
pub struct Verb {
    /// How long it took, whatever came of it.
    pub took: Histogram,
    faults: [Counter; FAULTS.len()],
}

impl Counter {
    /// Counts one more.
    pub fn add(&self) {
        self.add_many(1);
    }

    /// Counts so many more.
    pub fn add_many(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    /// The upper bounds of the buckets in nanoseconds, but for the last, which has none: 100 microseconds
    /// to 5 seconds.
    const BOUNDS: [u64; 15] = [
        100_000,
        250_000,
        500_000,
        1_000_000,
        2_500_000,
        5_000_000,
        10_000_000,
        25_000_000,
        50_000_000,
        100_000_000,
        250_000_000,
        500_000_000,
        1_000_000_000,
        2_500_000_000,
        5_000_000_000,
    ];

    /// Takes in how long it took once.
    pub fn record(&self, took: Duration) {
        let nanos = took.as_secs().saturating_mul(NANOS).saturating_add(took.subsec_nanos().into());
        // Most are in the first buckets.
        let bucket = Self::BOUNDS.iter().take_while(|bound| **bound < nanos).count();
        self.buckets[bucket].add();
        self.nanos.add_many(nanos);
    }

    /// What it holds.
    pub fn read(&self) -> Distribution {
        let bounds = Self::BOUNDS.iter().map(|bound| *bound as f64 / NANOS as f64);
        let bounds = bounds.chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.buckets.iter().map(Counter::value)).collect();
        Distribution {
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
            seconds: Duration::from_nanos(self.nanos.value()).as_secs_f64(),
        }
    }
}

impl Metrics {
    /// What happened, by its kind.
    pub fn happened(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.happened.iter().map(Counter::value);
        EventKind::ALL.iter().map(|kind| kind.as_str()).zip(counts)
    }

    /// Proofs that were evaluated, by the kind of proof and how it ended.
    pub fn attempts(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> + '_ {
        rows(PROOFS, OUTCOMES, &self.attempts)
    }

    /// Codes that were accepted, by how many steps theirs lies from the present one: 0 where no clock is
    /// off, negative for codes of the past.
    pub fn step_offsets(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        OFFSETS.into_iter().zip(self.step_offsets.iter().map(Counter::value))
    }

    /// Waits and locks that failures began, by the factor and what keeps further attempts out.
    pub fn blocks(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> + '_ {
        rows(FACTORS, WAITS.map(Reason::as_str), &self.blocks)
    }

    /// Attempts that were refused unread within a wait or a lock, by the same.
    pub fn refused_in_blocks(&self) -> impl Iterator<Item = ([&'static str; 2], u64)> + '_ {
        rows(FACTORS, WAITS.map(Reason::as_str), &self.refused_in_blocks)
    }

    /// By how many seconds the store's clock was ahead of the machine's at the last load; `None` before the
    /// first. The way of the answer is part of it.
    pub fn clock_offset(&self) -> Option<f64> {
        let millis = self.clock_offset.load(Ordering::Relaxed);
        let seconds = Duration::from_millis(millis.unsigned_abs()).as_secs_f64();
        (millis != NOT_COMPARED).then_some(seconds * millis.signum() as f64)
    }

    /// Counts what happened. The first event of a decision tells of the proof, where there was one; those
    /// after it tell of what followed.
    pub(crate) fn count(&self, event: &Event, is_first: bool) {
        self.happened[event.kind as usize].add();
        if let (EventKind::Blocked, Some(wait)) = (event.kind, wait_of(event.reason.as_deref())) {
            let is_password = event.method == Some(Method::Password);
            self.blocks[usize::from(is_password)][wait].add();
        }
        if let Some(offset) = event.step_offset {
            let offset = usize::try_from(i16::from(offset) + 2).unwrap_or_default();
            self.step_offsets[offset.min(OFFSETS.len() - 1)].add();
        }
        if let Some((proof, outcome)) = attempt(event).filter(|_| is_first) {
            self.attempts[proof][outcome].add();
        }
    }

    /// Counts a refusal within a wait, where it is one.
    pub(crate) fn count_refusal(&self, factor: Factor, error: &Error) {
        let wait = match error {
            Error::Refused(Refusal::Backoff { .. }) => 0,
            Error::Refused(Refusal::Locked) => 1,
            _ => return,
        };
        self.refused_in_blocks[usize::from(factor == Factor::Password)][wait].add();
    }

    /// Compares the store's clock with the machine's.
    pub(crate) fn compare_clocks(&self, store: Timestamp) {
        let (store, machine) = (store.as_millis(), (self.clock)().as_millis());
        let offset = i64::try_from(store.abs_diff(machine)).unwrap_or(i64::MAX);
        let offset = if store < machine { -offset } else { offset };
        self.clock_offset.store(offset, Ordering::Relaxed);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            happened: Default::default(),
            attempts: Default::default(),
            step_offsets: Default::default(),
            blocks: Default::default(),
            refused_in_blocks: Default::default(),
            swap_conflicts: Counter::default(),
            load: Verb::default(),
            swap: Verb::default(),
            clock: clock::system(),
            clock_offset: AtomicI64::new(NOT_COMPARED),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Verb {
    /// How often the store did not answer as it must, by why.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        FAULTS.into_iter().zip(self.faults.iter().map(Counter::value))
    }

    pub(crate) fn record<T>(&self, took: Duration, answered: &Result<T, StoreError>) {
        self.took.record(took);
        let fault = match answered {
            Ok(_) => return,
            Err(StoreError::Unavailable { .. } | StoreError::InUse(_)) => 0,
            Err(StoreError::Incomplete(_)) => 1,
            Err(StoreError::Unreadable(_)) => 2,
        };
        self.faults[fault].add();
    }
}

fn rows<'c, const R: usize, const C: usize>(
    rows: [&'static str; R],
    columns: [&'static str; C],
    counts: &'c [[Counter; C]; R],
) -> impl Iterator<Item = ([&'static str; 2], u64)> + 'c {
    rows.into_iter().zip(counts).flat_map(move |(row, counts)| {
        columns.into_iter().zip(counts).map(move |(column, count)| ([row, column], count.value()))
    })
}

fn wait_of(reason: Option<&str>) -> Option<usize> {
    WAITS.iter().position(|wait| Some(wait.as_str()) == reason)
}

/// The attempt that an event tells of: which of [`PROOFS`] ended in which of [`OUTCOMES`]. The product's
/// word is no proof, and neither is what was refused before a proof was due.
fn attempt(event: &Event) -> Option<(usize, usize)> {
    let proof = match event.method {
        Some(Method::Totp) => 0,
        Some(Method::RecoveryKey) => 1,
        Some(Method::Password) => 2,
        None => 3,
        Some(Method::Asserted) => return None,
    };
    let reason = event.reason.as_deref();
    let outcome = match event.kind {
        EventKind::Verified
        | EventKind::Elevated
        | EventKind::Enrolled
        | EventKind::AuthenticatorChanged => 0,
        EventKind::VerifyFailed | EventKind::ElevationFailed => match reason {
            Some(reason) if reason == Reason::InvalidCode.as_str() => 1,
            Some(reason) if reason == Reason::RequestIdReused.as_str() => 3,
            _ => return None,
        },
        EventKind::CodeReused => 2,
        _ => return None,
    };
    Some((proof, outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted<const N: usize>(
        rows: impl Iterator<Item = ([&'static str; N], u64)>,
    ) -> Vec<[&'static str; N]> {
        rows.filter(|(_, count)| *count > 0).map(|(labels, _)| labels).collect()
    }

    #[test]
    fn a_duration_falls_into_the_bucket_that_ends_with_it() {
        let histogram = Histogram::default();
        let long = Duration::from_secs(3600);
        for took in [Duration::ZERO, Duration::from_micros(100), Duration::from_micros(101), long] {
            histogram.record(took);
        }
        let Distribution { buckets, count, seconds } = histogram.read();
        let counts: Vec<u64> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts[0], counts[1], counts[15], count), (2, 1, 1, 4));
        assert_eq!((buckets[0].0, buckets[15].0), (0.0001, f64::INFINITY));
        assert!((seconds - 3_600.000_201).abs() < 1e-9, "{seconds}");
    }

    #[test]
    fn what_follows_a_proof_is_no_attempt_of_its_own() {
        let metrics = Metrics::default();
        let verified = EventKind::Verified.by(Method::Totp);
        let verified = Event { step_offset: Some(-1), ..verified };
        let events = [verified, EventKind::Elevated.by(Method::Totp)];
        for (index, event) in events.iter().enumerate() {
            metrics.count(event, index == 0);
        }
        metrics.count(&EventKind::Elevated.by(Method::Asserted), true);
        metrics.count(&EventKind::VerifyFailed.event().because("SELF_UNENROLL"), true);
        assert_eq!(counted(metrics.attempts()), [["totp", "accepted"]]);
        assert_eq!(metrics.step_offsets().find(|(_, count)| *count > 0), Some(("-1", 1)));
        assert_eq!(metrics.happened().map(|(_, count)| count).sum::<u64>(), 4);
    }

    #[test]
    fn failures_are_told_apart() {
        let metrics = Metrics::default();
        for event in [
            EventKind::VerifyFailed.by(Method::RecoveryKey).because("INVALID_CODE"),
            EventKind::CodeReused.by(Method::Totp).because("CODE_ALREADY_USED"),
            EventKind::VerifyFailed.event().because("REQUEST_ID_REUSED"),
            EventKind::ElevationFailed.by(Method::Password).because("INVALID_CODE"),
        ] {
            metrics.count(&event, true);
        }
        metrics.count(&EventKind::Blocked.by(Method::Password).because("LOCKED"), false);
        metrics.count(&EventKind::Blocked.by(Method::Totp).because("BACKOFF"), false);
        assert_eq!(
            counted(metrics.attempts()),
            [
                ["totp", "reused"],
                ["recovery_key", "invalid"],
                ["password", "invalid"],
                ["unknown", "request_id_reused"],
            ]
        );
        let blocks = [["second_factor", "BACKOFF"], ["password", "LOCKED"]];
        assert_eq!(counted(metrics.blocks()), blocks);
        let refusal = Error::from(Refusal::Backoff { retry_after: Duration::from_secs(1) });
        metrics.count_refusal(Factor::Second, &refusal);
        metrics.count_refusal(Factor::Password, &Refusal::NoPassword.into());
        assert_eq!(counted(metrics.refused_in_blocks()), [["second_factor", "BACKOFF"]]);
    }

    #[test]
    fn every_kind_of_event_has_the_place_of_its_number() {
        for (index, kind) in EventKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
    }

    #[test]
    fn the_store_is_ahead_or_behind() {
        let metrics = Metrics {
            clock: std::sync::Arc::new(|| Timestamp::from_secs(100)),
            ..Default::default()
        };
        assert_eq!(metrics.clock_offset(), None, "nothing was loaded");
        for (store, offset) in [(102, 2.0), (98, -2.0), (100, 0.0)] {
            metrics.compare_clocks(Timestamp::from_secs(store));
            assert_eq!(metrics.clock_offset(), Some(offset));
        }
    }
}
