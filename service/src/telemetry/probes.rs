//! The address of its own for whoever watches the server: metrics and probes.

use super::{Metrics, PROBE_DEADLINE, Warnings, page};
use crate::config::Listen;
use crate::serve::Listener;
use anyhow::Result;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use tokio::sync::watch;
use twinlock_engine::Engine;
use twinlock_engine::deadline::Deadline;

/// Answers `/metrics`, `/livez` and `/readyz` for as long as the process lives; gives the address in use.
pub async fn start(
    listen: &Listen,
    engine: Arc<Engine>,
    metrics: Arc<Metrics>,
    warnings: Warnings,
) -> Result<String> {
    let app = Router::new()
        .route(
            "/metrics",
            get(move |headers: HeaderMap| async move { page(metrics, &headers).await }),
        )
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(move || async move { ready(&engine, &warnings).await }));
    let cannot = || format!("telemetry.listen: cannot listen on {listen}; write another address");
    let listener = Listener::bind(listen, None, cannot).await?;
    let address = listener.address(listen, "http")?;
    tokio::spawn(serve(listener, app));
    Ok(address)
}

/// Over HTTP/1 alone, which is what probes and scrapers speak.
async fn serve(listener: Listener, app: Router) {
    let (_never_stopped, stopped) = watch::channel(());
    let mut connections = listener.connections(None, stopped);
    while let Some(connection) = connections.recv().await {
        let app = TowerToHyperService::new(app.clone());
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), app));
    }
}

/// Whether calls can be answered, and what an operator should mend.
async fn ready(engine: &Engine, warnings: &Warnings) -> Response {
    match engine.check(Deadline::after(PROBE_DEADLINE)).await {
        Ok(()) => {
            let lines = warnings().into_iter().map(|warning| format!("warning: {warning}\n"));
            let legacy = engine.policy().login.legacy.then(|| {
                "warning: login.mode is \"legacy\": logins go through without a second step\n"
                    .into()
            });
            let body: String =
                std::iter::once("ok\n".to_owned()).chain(legacy).chain(lines).collect();
            body.into_response()
        }
        // The cause is in the log; the probe's reader learns what the API's callers do.
        Err(error) => {
            let reason = error.reason().map_or("INTERNAL", |reason| reason.as_str());
            let body = format!("{}\nstore: {reason}\n", error.message());
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// The page of metrics, in the form that is asked for.
async fn page(metrics: Arc<Metrics>, headers: &HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_open = page::wants_open_metrics(accept);
    // It reads files of the kernel.
    let written = tokio::task::spawn_blocking(move || {
        let page = metrics.open_metrics()?;
        Ok::<_, std::fmt::Error>(if is_open { page } else { page::plain(&page) })
    });
    match written.await {
        Ok(Ok(page)) => {
            let form = if is_open { page::OPEN_METRICS } else { page::PLAIN };
            ([(CONTENT_TYPE, form)], page).into_response()
        }
        _ => {
            tracing::error!("the metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
