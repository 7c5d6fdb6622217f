//! The end of a call before its answer.

use std::sync::Arc;

use napi_derive::napi;
use tokio::sync::Notify;

/// What an `AbortSignal` is to one call.
#[napi]
pub struct Cancellation {
    notify: Arc<Notify>,
}

#[napi]
impl Cancellation {
    #[napi(constructor)]
    #[allow(clippy::new_without_default, reason = "only Node makes one")]
    pub fn new() -> Self {
        Self { notify: Arc::new(Notify::new()) }
    }

    /// Ends the call that waits for it, or the next one.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.notify.notify_one();
    }
}

impl Cancellation {
    /// Ends when it is cancelled; never without one.
    pub fn wait(cancellation: Option<&Self>) -> impl Future<Output = ()> + Send + 'static {
        let notify = cancellation.map(|cancellation| cancellation.notify.clone());
        async move {
            match notify {
                Some(notify) => notify.notified().await,
                None => std::future::pending().await,
            }
        }
    }
}
