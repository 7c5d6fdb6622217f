//! Points in time, as the store's clock gives them.

use std::time::Duration;

/// Milliseconds since the Unix epoch.
///
/// All arithmetic saturates, so that no time a store could ever hold makes a rule overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The far end of time.
    pub const MAX: Self = Self(u64::MAX);

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch; saturates.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// This long after; saturates.
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(millis(wait)))
    }

    /// How long ago `earlier` was; `None` where it lies in the future.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_millis)
    }

    /// How long it is until `later`; zero where that is past.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }

    /// Whether something begun at `begin` that lives for `lifetime` still lives now.
    ///
    /// Something that begins in the future has lapsed: the clock went back, and what was granted
    /// under the old clock must not live longer for it.
    pub fn is_within(self, begin: Self, lifetime: Duration) -> bool {
        self.since(begin).is_some_and(|age| age < lifetime)
    }
}

/// Whole milliseconds of a duration; saturates.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
