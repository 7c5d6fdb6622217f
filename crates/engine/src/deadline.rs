//! The moment by which a call must have ended.

use futures_util::TryFutureExt as _;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// The moment by which a call must have ended, whatever the store does.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

/// The deadline passed before the work was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct Passed;

impl Deadline {
    /// This long from now.
    pub fn after(wait: Duration) -> Self {
        Self::of(Instant::now(), wait)
    }

    /// This long from when the work began.
    pub fn of(begun: Instant, wait: Duration) -> Self {
        // An absurd wait is a year: far enough for every caller, and it cannot overflow.
        Self(begun.checked_add(wait).unwrap_or(begun + Duration::from_secs(365 * 24 * 3600)))
    }

    /// How long is left; zero where it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// This much earlier, for work that must leave time for more.
    pub fn earlier(self, by: Duration) -> Self {
        Self(self.0.checked_sub(by).unwrap_or(self.0))
    }

    /// The same, but at the latest this long from now.
    pub fn within(self, wait: Duration) -> Self {
        Self(self.0.min(Self::after(wait).0))
    }

    /// Waits for the work, but not past the deadline.
    pub fn limit<F: Future>(self, work: F) -> impl Future<Output = Result<F::Output, Passed>> {
        // No async fn, which would have room for the work twice.
        tokio::time::timeout_at(self.0, work).map_err(|_| Passed)
    }
}
