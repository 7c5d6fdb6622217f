//! Traces: one span a call, with those of its parts below it, sent by OTLP over gRPC.
//!
//! Where no collector is configured there is no layer that wants spans, so a span is one look at a
//! constant. What is sent are the spans of one target: no line of the log, and with it no user id, becomes
//! a part of a trace.

use crate::config;
use anyhow::{Context as _, Result};
use http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use std::sync::Arc;
use std::time::Duration;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;
use twinlock_engine::SPANS;
use twinlock_engine::events::Seldom;
use twinlock_engine::metrics::Counter;

/// How long the collector may take for one batch.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// How long a server that stops still sends what is left.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// The way of spans to the collector.
pub struct Traces {
    provider: SdkTracerProvider,
    sent: Arc<Sent>,
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct Sent {
    /// Spans that the collector took.
    pub taken: Counter,
    /// Spans that it did not.
    pub lost: Counter,
}

impl Traces {
    /// Begins to send, where a collector is configured. To be called within a runtime, which the sending
    /// uses. The collector need not be there.
    pub fn start(config: &config::Telemetry) -> Result<Option<Self>> {
        let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_LIMIT);
        let exporter = match endpoint.starts_with("https://") {
            true => exporter.with_tls_config(ClientTlsConfig::new().with_native_roots()),
            false => exporter,
        };
        let exporter = exporter.build().context("telemetry.otlp_endpoint")?;
        let sent = Arc::new(Sent::default());
        let exporter = Exporter { exporter, sent: sent.clone(), log: Seldom::default() };
        let resource = Resource::builder()
            .with_service_name("twinlock")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let roots = Sampler::TraceIdRatioBased(config.otlp_sample);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).build())
            // The caller decides where there is one.
            .with_sampler(Sampler::ParentBased(Box::new(roots)))
            .with_resource(resource.build())
            .build();
        Ok(Some(Self { provider, sent }))
    }

    /// What makes spans of the program into spans of a trace.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("twinlock"))
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(SPANS, Level::INFO))
    }

    /// What became of spans so far.
    pub fn sent(&self) -> Arc<Sent> {
        self.sent.clone()
    }

    /// Sends what is left, but for no longer than a moment. It blocks.
    pub fn finish(self) {
        if self.provider.shutdown_with_timeout(FINISH_LIMIT).is_err() {
            tracing::warn!("the last spans could not be sent to telemetry.otlp_endpoint in time");
        }
    }
}

/// The span of a call, below that of the caller where it names one (W3C Trace Context).
pub fn span(method: &str, transport: &'static str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        target: SPANS,
        "call",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        twinlock.method = method,
        twinlock.transport = transport,
        twinlock.reason = tracing::field::Empty,
    );
    if !span.is_disabled() {
        let caller = TraceContextPropagator::new().extract(&Headers(headers));
        if caller.span().span_context().is_valid() {
            // It fails where the span has begun, which it has not.
            let _ = span.set_parent(caller);
        }
    }
    span
}

/// Tells a span how its call ended.
pub fn end(span: &Span, reason: &'static str, is_fault: bool) {
    if span.is_disabled() {
        return;
    }
    span.record("twinlock.reason", reason);
    if is_fault {
        span.record("otel.status_code", "ERROR");
    }
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// Counts what is lost, and says so in the log now and then.
struct Exporter<E> {
    exporter: E,
    sent: Arc<Sent>,
    log: Seldom,
}

impl<E> std::fmt::Debug for Exporter<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl<E: SpanExporter> SpanExporter for Exporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        let exported = self.exporter.export(batch).await;
        match &exported {
            Ok(()) => self.sent.taken.add_many(count),
            Err(error) => {
                self.sent.lost.add_many(count);
                if self.log.is_due() {
                    let lost = self.sent.lost.value();
                    tracing::warn!(%error, lost, "spans are lost: telemetry.otlp_endpoint does not take them");
                }
            }
        }
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
