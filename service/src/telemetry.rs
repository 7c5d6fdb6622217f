//! The log, and the probes on an address of their own.

use crate::config::{self, Listen, LogFormat};
use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::{Engine, SPANS};

/// How long a probe waits for the store.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// Libraries that print headers and frames below this level, and with them tokens and codes.
const NEVER_BELOW_INFO: [&str; 6] = ["h2", "hyper", "hyper_util", "rustls", "tonic", "tower"];

/// Starts the log, on standard error: standard output is for what a person asked for.
pub fn start_log(config: &config::Telemetry) -> Result<()> {
    let filter = log_filter(&config.log).context("telemetry.log is not a log filter")?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(())
}

/// Reads a log filter: a level, or directives such as `info,twinlock::audit=debug`.
pub fn log_filter(text: &str) -> Result<Targets, ParseError> {
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

/// Answers `/livez` and `/readyz` for as long as the process lives; gives the address in use.
pub async fn start_probes(listen: &Listen, engine: Arc<Engine>) -> Result<String> {
    let ready = move || async move {
        match engine.check(Deadline::after(PROBE_DEADLINE)).await {
            Ok(()) => {
                let warnings = engine.warnings();
                let lines = warnings.iter().map(|warning| format!("warning: {warning}\n"));
                (StatusCode::OK, std::iter::once("ok\n".to_owned()).chain(lines).collect())
            }
            // The cause is in the log; the probe's reader learns what the API's callers do.
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error.message())),
        }
    };
    let app = Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(ready));
    let cannot = || format!("telemetry.listen: cannot listen on {listen}; write another address");
    match listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await.with_context(cannot)?;
            let address = format!("http://{}", listener.local_addr()?);
            tokio::spawn(axum::serve(listener, app).into_future());
            Ok(address)
        }
        Listen::Unix(path) => {
            crate::serve::remove_stale_socket(path)?;
            let listener = UnixListener::bind(path).with_context(cannot)?;
            tokio::spawn(axum::serve(listener, app).into_future());
            Ok(format!("unix:{}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn no_setting_makes_the_transport_print_what_it_carries() {
        for setting in ["trace", "h2=trace", "trace,h2::codec=trace", "hyper::proto=debug,trace"] {
            let filter = log_filter(setting).expect("a filter");
            for target in ["h2", "h2::codec::framed_read", "hyper::proto::h1", "tonic", "tower"] {
                for level in [Level::DEBUG, Level::TRACE] {
                    assert!(!filter.would_enable(target, &level), "{setting} {target}");
                }
            }
        }
    }

    #[test]
    fn everything_else_is_logged_as_asked() {
        let filter = log_filter("info,twinlock::audit=debug").expect("a filter");
        assert!(filter.would_enable("twinlock::audit", &Level::DEBUG));
        assert!(filter.would_enable("h2", &Level::INFO));
        assert!(
            !filter.would_enable(SPANS, &Level::INFO),
            "no call pays for spans that nobody reads"
        );
        assert!(!filter.would_enable("twinlock::serve", &Level::DEBUG));
        assert!(log_filter("twinlock=loud").is_err());
    }
}
