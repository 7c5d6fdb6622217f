//! The one place that reads the machine's clock, for the store that has no clock of its own.

use std::sync::Arc;
use std::time::UNIX_EPOCH;
use twinlock_core::Timestamp;

/// A source of the time; a test hands in one that it can turn.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's own clock.
pub fn system() -> Clock {
    Arc::new(|| {
        #[allow(clippy::disallowed_methods, reason = "this is the one place")]
        let now = std::time::SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    })
}
