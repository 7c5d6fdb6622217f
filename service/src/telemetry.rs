//! What is told of the server: the log, traces, metrics and probes.

mod calls;
mod log;
mod metrics;
mod page;
mod probes;
mod process;
mod traces;

pub use calls::{Calls, Outcome, Pending, Transport, UNKNOWN};
pub use log::{filter as log_filter, start as start_log};
pub use metrics::{Metrics, count_records};
pub use probes::start as start_probes;
pub use traces::{Sent, Traced, Traces};

use std::sync::Arc;
use std::time::Duration;

/// How long a probe waits for the store.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// What an operator should mend although the server can be used, as sentences.
pub type Warnings = Arc<dyn Fn() -> Vec<String> + Send + Sync>;
