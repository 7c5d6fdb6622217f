//! The log, and the probes on an address of their own.

use crate::config::{self, Listen, LogFormat};
use anyhow::{Context, Result};
use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tracing_subscriber::EnvFilter;
use twinlock_engine::Engine;
use twinlock_engine::deadline::Deadline;

/// How long a probe waits for the store.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(1);

/// Starts the log, on standard error: standard output is for what a person asked for.
pub fn start_log(config: &config::Telemetry) -> Result<()> {
    let filter = EnvFilter::try_new(&config.log).context("telemetry.log is not a log filter")?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Answers `/livez` and `/readyz` for as long as the process lives; gives the address in use.
pub async fn start_probes(listen: &Listen, engine: Arc<Engine>) -> Result<String> {
    let ready = move || async move {
        match engine.check(Deadline::after(PROBE_DEADLINE)).await {
            Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
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
