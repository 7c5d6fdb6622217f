//! The way of finished spans to the collector: bounded, and whatever does not get there is counted.

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use twinlock_engine::events::Seldom;
use twinlock_engine::metrics::Counter;

/// How long the collector may take for one batch, the connection included.
pub const LIMIT: Duration = Duration::from_secs(5);
/// How many spans may wait for the collector, those on the way included.
const QUEUE: usize = 2048;

/// What became of spans.
#[derive(Debug, Default)]
pub struct Sent {
    /// Spans that the collector took.
    pub taken: Counter,
    /// Spans that it did not, or for which there was no room.
    pub lost: Counter,
    pending: AtomicUsize,
}

/// Takes finished spans while there is room. It never waits.
#[derive(Debug)]
pub struct Bounded {
    next: BatchSpanProcessor,
    sent: Arc<Sent>,
}

impl Bounded {
    /// Begins to hand spans to an exporter, from a thread of its own. To be called within a runtime, whose
    /// timer limits how long the exporter may take.
    pub fn start(exporter: impl SpanExporter + 'static, sent: Arc<Sent>) -> Self {
        let exporter = Counting {
            exporter,
            runtime: Handle::current(),
            sent: sent.clone(),
            told: AtomicU64::new(0),
            log: Seldom::default(),
        };
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE).build();
        let next = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Self { next, sent }
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.next.on_start(span, context);
    }

    /// The queue that follows drops silently what it has no room for; so it is never given that much.
    fn on_end(&self, span: SpanData) {
        if self.sent.pending.fetch_add(1, Ordering::Relaxed) < QUEUE {
            self.next.on_end(span);
        } else {
            self.sent.pending.fetch_sub(1, Ordering::Relaxed);
            self.sent.lost.add();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

/// Counts what is taken and what is lost, and says so in the log now and then.
struct Counting<E> {
    exporter: E,
    runtime: Handle,
    sent: Arc<Sent>,
    /// How many of the lost the log knows of.
    told: AtomicU64,
    log: Seldom,
}

impl<E> Counting<E> {
    fn tell(&self, exported: &OTelSdkResult) {
        let lost = self.sent.lost.value();
        if lost > self.told.load(Ordering::Relaxed) && self.log.is_due() {
            self.told.store(lost, Ordering::Relaxed);
            let error = exported.as_ref().err().map(tracing::field::display);
            tracing::warn!(
                error,
                lost,
                "spans are lost: telemetry.otlp_endpoint does not take them, or not as fast as they come"
            );
        }
    }
}

impl<E> fmt::Debug for Counting<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counting").finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        // The exporter's own limit does not hold while it connects, and the thread that calls this is none
        // of the runtime's, so that a timer has to be told which one it belongs to.
        let limited = {
            let _within = self.runtime.enter();
            tokio::time::timeout(LIMIT, self.exporter.export(batch))
        };
        let exported = limited.await.unwrap_or(Err(OTelSdkError::Timeout(LIMIT)));
        self.sent.pending.fetch_sub(count, Ordering::Relaxed);
        match &exported {
            Ok(()) => self.sent.taken.add_many(count as u64),
            Err(_) => self.sent.lost.add_many(count as u64),
        }
        self.tell(&exported);
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
