//! How late this machine is: a time that is measured on a busy one proves less.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const BEAT: Duration = Duration::from_millis(5);

/// Measures by how much timers are late.
pub struct Pace {
    latest: Arc<AtomicU64>,
    beating: JoinHandle<()>,
}

impl Pace {
    pub fn start() -> Self {
        let latest = Arc::new(AtomicU64::new(0));
        let kept = latest.clone();
        let beating = tokio::spawn(async move {
            loop {
                let begin = Instant::now();
                sleep(BEAT).await;
                let late = begin.elapsed().saturating_sub(BEAT).as_micros();
                kept.fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        Self { latest, beating }
    }

    /// The worst that was seen.
    pub fn end(self) -> Duration {
        self.beating.abort();
        Duration::from_micros(self.latest.load(Ordering::Relaxed))
    }
}
