//! Traces: one span a call, with those of its parts below it, sent by OTLP over gRPC.
//!
//! Where no collector is configured there is no layer that wants spans, so a span is one look at a
//! constant. What is sent are the spans of one target: no line of the log, and with it no user id, becomes
//! a part of a trace.

mod export;

pub use export::Sent;

use crate::config;
use anyhow::{Context as _, Result};
use export::Bounded;
use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::tonic_types::transport::ClientTlsConfig;
use opentelemetry_otlp::{WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;
use twinlock_engine::SPANS;

/// How long a server that stops still sends what is left.
const FINISH_LIMIT: Duration = Duration::from_secs(2);
/// The headers of W3C Trace Context.
const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// How long a `tracestate` may be to be passed on: what must be passed on at least (section 3.3.1.5). Every
/// span that waits to be sent has one.
const MAX_STATE_BYTES: usize = 512;

/// The way of spans to the collector.
pub struct Traces {
    provider: SdkTracerProvider,
    sent: Arc<Sent>,
}

impl Traces {
    /// Begins to send, where a collector is configured. To be called within a runtime, which the sending
    /// uses. The collector need not be there.
    pub fn start(config: &config::Telemetry) -> Result<Option<Self>> {
        let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(export::LIMIT);
        let exporter = match endpoint.starts_with("https://") {
            true => exporter.with_tls_config(ClientTlsConfig::new().with_native_roots()),
            false => exporter,
        };
        let exporter = exporter.build().context("telemetry.otlp_endpoint")?;
        let sent = Arc::new(Sent::default());
        let resource = Resource::builder()
            .with_service_name("twinlock")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let roots = Sampler::TraceIdRatioBased(config.otlp_sample);
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded::start(exporter, sent.clone()))
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

/// What a call belongs to.
#[derive(Debug)]
pub struct Trace {
    /// The call's own span, where spans are sent.
    span: Span,
    /// Else that of the caller, by which lines of the log may be found.
    caller: Option<Context>,
}

impl Trace {
    /// Begins the span of a call, below that of the caller where it names one (W3C Trace Context).
    pub fn begin(method: &str, transport: &'static str, headers: &HeaderMap) -> Self {
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
        let caller = caller(headers);
        if span.is_disabled() {
            return Self { span, caller };
        }
        if let Some(caller) = caller {
            // It fails where the span has begun, which it has not.
            let _ = span.set_parent(caller);
        }
        Self { span, caller: None }
    }

    /// Begins work that belongs to it.
    pub fn work<F: Future>(&self, begin: impl FnOnce() -> F) -> Traced<F> {
        let _within = self.caller.clone().map(Context::attach);
        let work = self.span.in_scope(begin).instrument(self.span.clone());
        Traced { work, caller: self.caller.clone() }
    }

    /// Tells how the call ended.
    pub fn end(&self, reason: &'static str, is_fault: bool) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("twinlock.reason", reason);
        if is_fault {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

pin_project! {
    /// Work that belongs to a trace.
    pub struct Traced<F> {
        #[pin]
        work: Instrumented<F>,
        caller: Option<Context>,
    }
}

impl<F: Future> Future for Traced<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _within = this.caller.clone().map(Context::attach);
        this.work.poll(context)
    }
}

/// The caller's span, where it names one.
fn caller(headers: &HeaderMap) -> Option<Context> {
    if !headers.contains_key(PARENT) {
        return None;
    }
    let propagator = TraceContextPropagator::new();
    let caller = propagator.extract_with_context(&Context::new(), &Headers(headers));
    caller.has_active_span().then_some(caller)
}

struct Headers<'h>(&'h HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key).filter(|value| key != STATE || value.len() <= MAX_STATE_BYTES);
        value.and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (http::HeaderName::from_static(name), value.parse().expect("a value"))
        });
        pairs.collect()
    }

    #[test]
    fn what_is_no_trace_context_names_no_caller() {
        for value in [
            "",
            "00",
            "canary",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        ] {
            assert!(caller(&headers(&[(PARENT, value)])).is_none(), "{value}");
        }
        assert!(caller(&headers(&[(STATE, "vendor=1")])).is_none());
        assert!(caller(&headers(&[(PARENT, TRACE)])).is_some());
    }

    #[test]
    fn a_state_is_passed_on_as_long_as_it_is_short() {
        let member = format!("vendor={}", "x".repeat(200));
        let state_of = |state: &str| {
            let caller = caller(&headers(&[(PARENT, TRACE), (STATE, state)])).expect("a caller");
            caller.span().span_context().trace_state().header()
        };
        assert_eq!(state_of(&member), member);
        let members: Vec<String> = (0..3).map(|number| format!("v{number}{member}")).collect();
        assert_eq!(state_of(&members.join(",")), "");
    }

    #[tokio::test]
    async fn work_belongs_to_the_caller_and_nothing_else_does() {
        let id = || Context::map_current(|it| it.span().span_context().trace_id().to_string());
        let trace = Trace::begin("Verify", "grpc", &headers(&[(PARENT, TRACE)]));
        let work = trace.work(|| {
            let begun = id();
            async move {
                tokio::task::yield_now().await;
                (begun, id())
            }
        });
        let (begun, ended) = work.await;
        assert_eq!(begun, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(ended, begun);
        let other = Trace::begin("Verify", "grpc", &HeaderMap::new());
        assert_ne!(other.work(|| async { id() }).await, begun);
        assert_ne!(id(), begun);
    }
}
