//! The clock of the local functions, where the caller names no time.

use std::time::{SystemTime, UNIX_EPOCH};
use twinlock_core::Timestamp;

/// Now, by the system's clock; the epoch where that stands before it.
#[expect(clippy::disallowed_methods, reason = "the one clock of the local functions")]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
