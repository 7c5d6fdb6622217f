//! The server: open, listen, serve, drain.

mod arriving;
pub mod certificate;
mod connection;
mod front;
mod handshake;
mod listener;
mod renewal;
mod stream;
pub mod tls;

use crate::callers::Callers;
use crate::config::{self, Config, Source};
use crate::context::Context;
use crate::dataset;
use crate::events::Telling;
use crate::telemetry::{self, Metrics, Sent};
use crate::{grpc, keyring, policy, rest};
use anyhow::{Context as _, Result};
use certificate::Files;
use connection::Patient;
use front::Front;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use renewal::{Refused, Renewal};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::Stream;
use tls::Tls;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use twinlock_engine::Engine;
use twinlock_engine::deadline::Deadline;

pub use listener::Listener;

/// How often the health service looks at the store.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// How much longer than a call may take its request is waited for: what is read within a call's own deadline ends
/// before, with an answer that says more.
const TO_ARRIVE: Duration = Duration::from_secs(1);
/// How many calls one connection may have at once; further ones wait in the client. A caller that floods
/// one connection slows down itself alone.
const STREAMS_PER_CONNECTION: u32 = 200;
const SERVICES: [&str; 4] =
    ["", "twinlock.v1.TwoStepService", "twinlock.v1.AdminService", "twinlock.v1.OperatorService"];

/// Serves until the process is told to stop, and then until the last call has ended.
pub async fn serve(
    config: &Config,
    nothing_configured: bool,
    source: Source,
    spans: Option<Arc<Sent>>,
) -> Result<()> {
    let mut stop = Stop::new()?;
    let is_first_try = dataset::is_first_try(config, nothing_configured);
    let dataset = if is_first_try {
        dataset::initialize(config).await?
    } else {
        dataset::open(config).await?
    };
    let (store, shared_log, keyring) = (dataset.store(), dataset.shared_log(), dataset.keyring);
    let hasher = policy::hasher(&config.argon2)?;
    let telling = Telling::start(config, shared_log)?;
    let events = telling.events.clone();
    let engine = Engine::new(store.clone(), keyring, hasher, policy::policy(config)?);
    let engine = Arc::new(engine.telling(events.clone()));
    keyring::follow(&config.keyring, engine.clone())?;
    let resealing = engine.clone();
    let callers = Arc::new(Callers::new(&config.callers)?);
    let tls = Files::of(&config.server)
        .map(|files| Tls::open(files, !callers.any_has_a_token()).map(Arc::new))
        .transpose()?;
    let renewal = Renewal::new(source, config, callers.clone(), tls.clone());
    let warnings = warnings(engine.clone(), tls.clone(), renewal.refused());
    tokio::spawn(renewal.follow()?);

    let listen = &config.telemetry.listen;
    let losses = telling.losses();
    let (of_engine, of_callers) = (engine.clone(), callers.clone());
    let metrics = Metrics::new(config, of_engine, of_callers, tls.clone(), losses, spans);
    let metrics = Arc::new(metrics);
    tokio::spawn(telemetry::count_records(store, metrics.clone()));
    let probes = telemetry::start_probes(listen, engine.clone(), metrics.clone(), warnings).await?;
    let (health, health_service) = tonic_health::server::health_reporter();
    tokio::spawn(watch_store(engine.clone(), health.clone(), metrics.clone()));

    let deadline = config.server.deadline;
    let calls = metrics.calls.clone();
    let context = Context { engine, callers, calls, deadline };
    let others = Routes::from(rest::router(context.clone()).merge(grpc::reflection()))
        .add_service(health_service)
        .add_service(grpc::admin(context.clone()))
        .add_service(grpc::operator(context.clone()));
    let front = Front::new(grpc::two_step(context), others, deadline + TO_ARRIVE);
    let listen = &config.server.listen;
    let cannot =
        || format!("server.listen: cannot listen on {listen}; is it in use? Write another address");
    let listener = Listener::bind(listen, Some(config.server.socket_mode), cannot).await?;
    let scheme = if config.server.tls_cert.is_some() { "https" } else { "http" };
    let address = listener.address(listen, scheme)?;
    let (stopping, mut stopped) = watch::channel(());
    let connections = listener.connections(tls, stopped.clone());
    let stop_accepting = async move {
        // The sender is dropped, never used: that is the signal.
        let _ = stopped.changed().await;
    };
    let mut serving = tokio::spawn(answer(front, connections, stop_accepting));
    greet(config, &address, &probes, is_first_try);

    tokio::select! {
        ended = &mut serving => return ended.context("the server ended"),
        () = stop.told() => {}
    }
    tracing::info!("stopping: no new calls, those under way are finished");
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
    events.end_watches();
    resealing.end_resealing();
    drop(stopping);
    tokio::select! {
        ended = &mut serving => ended?,
        () = tokio::time::sleep(policy::drain_limit(&config.server)) => {
            tracing::warn!("some connections were still open and are cut now");
        }
        () = stop.told() => tracing::warn!("told to stop again: not waiting any longer"),
    }
    telling.finish().await;
    tracing::info!("stopped");
    Ok(())
}

/// Removes a socket file that no process listens on any more, as a crash leaves behind.
pub fn remove_stale_socket(path: &Path) -> Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        fs::remove_file(path)
            .with_context(|| format!("cannot remove the old socket {}", path.display()))?;
    }
    Ok(())
}

/// What tells the process to stop.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Answers the calls of all connections until it is to stop, and then those that are under way.
async fn answer(
    front: Front<grpc::TwoStepService>,
    mut connections: mpsc::Receiver<Patient<Stream>>,
    stop_accepting: impl Future<Output = ()>,
) {
    let http = http();
    let draining = GracefulShutdown::new();
    tokio::pin!(stop_accepting);
    loop {
        let connection = tokio::select! {
            connection = connections.recv() => connection,
            () = &mut stop_accepting => break,
        };
        let Some(connection) = connection else { break };
        let facing = front.facing(connection.io().peer());
        let serving = http.serve_connection(TokioIo::new(connection), facing).into_owned();
        tokio::spawn(draining.watch(serving));
    }
    // Nobody may connect and then wait for an answer until the last call has ended.
    drop(connections);
    draining.shutdown().await;
}

/// HTTP/2 and HTTP/1, whichever a client begins with.
fn http() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    // With a timer, the head of a request may take no longer than half a minute.
    http.http1().timer(TokioTimer::new());
    http.http2()
        .timer(TokioTimer::new())
        // gRPC has none. The REST edge writes its own.
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .max_header_list_size(grpc::MAX_METADATA_BYTES)
        .keep_alive_interval(connection::PING_INTERVAL)
        .keep_alive_timeout(connection::PING_TIMEOUT);
    http
}

/// What an operator should mend although the server can be used.
fn warnings(engine: Arc<Engine>, tls: Option<Arc<Tls>>, refused: Refused) -> telemetry::Warnings {
    Arc::new(move || {
        let mut warnings = engine.warnings();
        warnings.extend(tls.as_ref().and_then(|tls| tls.warning()));
        warnings.extend(refused.load().iter().cloned());
        warnings
    })
}

/// Tells the health service whether the store can be used.
async fn watch_store(engine: Arc<Engine>, health: HealthReporter, metrics: Arc<Metrics>) {
    let mut was_usable = None;
    loop {
        let check = engine.check(Deadline::after(telemetry::PROBE_DEADLINE)).await;
        metrics.reported.store_checked(&check);
        if was_usable != Some(check.is_ok()) {
            let status = match &check {
                Ok(()) => ServingStatus::Serving,
                Err(error) => {
                    tracing::error!(%error, "the store cannot be used");
                    ServingStatus::NotServing
                }
            };
            for service in SERVICES {
                health.set_service_status(service, status).await;
            }
            was_usable = Some(check.is_ok());
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}

fn greet(config: &Config, address: &str, probes: &str, is_first_try: bool) {
    tracing::info!(address, probes, version = env!("CARGO_PKG_VERSION"), "serving");
    if config.telemetry.log_format != config::LogFormat::Text {
        return;
    }
    println!("Twinlock {} is listening on {address}", env!("CARGO_PKG_VERSION"));
    println!("Probes are on {probes} (/livez, /readyz)");
    if is_first_try {
        println!();
        println!(
            "This was the first start, so it made a store and a keyring in {}.",
            config.store.path.display()
        );
        println!(
            "Keep a copy of {}: without it the store is worth nothing.",
            config.keyring.file.display()
        );
    }
    println!();
    println!("Next, in another terminal: twinlock enroll alice");
}
