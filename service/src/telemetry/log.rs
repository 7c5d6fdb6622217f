//! The log.

use super::traces::Traces;
use crate::config::{self, LogFormat};
use anyhow::{Context as _, Result};
use opentelemetry::trace::TraceContextExt;
use std::fmt;
use tracing::{Dispatch, Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use twinlock_engine::SPANS;

/// Libraries that print headers and frames below this level, and with them tokens and codes.
const NEVER_BELOW_INFO: [&str; 6] = ["h2", "hyper", "hyper_util", "rustls", "tonic", "tower"];

/// Starts the log, on standard error: standard output is for what a person asked for. Traces, where there
/// are any, begin with it. To be called within a runtime.
pub fn start(config: &config::Telemetry) -> Result<Option<Traces>> {
    let traces = Traces::start(config)?;
    tracing::dispatcher::set_global_default(dispatch(config, traces.as_ref())?)?;
    Ok(traces)
}

fn dispatch(config: &config::Telemetry, traces: Option<&Traces>) -> Result<Dispatch> {
    let filter = filter(&config.log).context("telemetry.log is not a log filter")?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().map_event_format(WithTrace).boxed(),
    };
    let lines = tracing_subscriber::registry().with(lines.with_filter(filter));
    // A layer that is `None` would have every span made for nobody.
    Ok(match traces {
        Some(traces) => lines.with(traces.layer()).into(),
        None => lines.into(),
    })
}

/// Reads a log filter: a level, or directives such as `info,twinlock::audit=debug`.
pub fn filter(text: &str) -> Result<Targets, ParseError> {
    let asked: Targets = text.parse()?;
    let is_capped = |target: &str| {
        let root = target.split("::").next().unwrap_or(target);
        NEVER_BELOW_INFO.contains(&root)
    };
    let capped = |level: LevelFilter| level.min(LevelFilter::INFO);
    let default = asked.default_level().unwrap_or(LevelFilter::OFF);
    let listed = asked.iter().map(|(target, level)| {
        (target.to_owned(), if is_capped(target) { capped(level) } else { level })
    });
    let roots = NEVER_BELOW_INFO.map(|root| (root.to_owned(), capped(default)));
    // Of two for one target the later holds, so what was asked for goes last; but spans are for traces
    // alone, and cost nothing where no layer wants them.
    let all = roots.into_iter().chain(listed).chain([(SPANS.to_owned(), LevelFilter::OFF)]);
    Ok(Targets::new().with_default(default).with_targets(all))
}

/// Lines of JSON, with the ids of the trace and the span of the call that they are about.
struct WithTrace(Format<Json>);

impl<S> FormatEvent<S, JsonFields> for WithTrace
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let trace = opentelemetry::Context::map_current(|it| it.span().span_context().clone());
        if !trace.is_valid() {
            return self.0.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let Some(fields) = line.trim_end().strip_suffix('}') else {
            return writer.write_str(&line);
        };
        let (trace, span) = (trace.trace_id(), trace.span_id());
        writeln!(writer, r#"{fields},"trace_id":"{trace}","span_id":"{span}"}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn no_setting_makes_the_transport_print_what_it_carries() {
        for setting in ["trace", "h2=trace", "trace,h2::codec=trace", "hyper::proto=debug,trace"] {
            let filter = filter(setting).expect("a filter");
            for target in ["h2", "h2::codec::framed_read", "hyper::proto::h1", "tonic", "tower"] {
                for level in [Level::DEBUG, Level::TRACE] {
                    assert!(!filter.would_enable(target, &level), "{setting} {target}");
                }
            }
        }
    }

    #[test]
    fn everything_else_is_logged_as_asked() {
        let asked = filter("info,twinlock::audit=debug").expect("a filter");
        assert!(asked.would_enable("twinlock::audit", &Level::DEBUG));
        assert!(asked.would_enable("h2", &Level::INFO));
        assert!(!asked.would_enable("twinlock::serve", &Level::DEBUG));
        assert!(filter("twinlock=loud").is_err());
    }

    #[test]
    fn no_setting_makes_the_log_pay_for_spans() {
        for setting in ["trace", "twinlock::trace=trace", "twinlock=trace,info"] {
            let filter = filter(setting).expect("a filter");
            assert!(!filter.would_enable(SPANS, &Level::INFO), "{setting}");
        }
    }

    #[test]
    fn without_a_collector_no_span_is_made() {
        for log_format in [LogFormat::Text, LogFormat::Json] {
            let config = config::Telemetry { log_format, ..Default::default() };
            let dispatch = dispatch(&config, None).expect("a log");
            let span = || tracing::info_span!(target: SPANS, "call");
            assert!(tracing::dispatcher::with_default(&dispatch, span).is_disabled());
        }
    }
}
