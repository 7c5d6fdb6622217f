//! The server: open, listen, serve, drain.

mod connection;

use crate::callers::Callers;
use crate::config::{self, Config, Listen};
use crate::dataset;
use crate::events::Telling;
use crate::grpc::{self, Context};
use crate::{policy, rest, telemetry};
use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::service::Routes;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use twinlock_engine::Engine;
use twinlock_engine::deadline::Deadline;
use twinlock_proto::FILE_DESCRIPTOR_SET;

/// How often the health service looks at the store.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);
/// How much longer than a call's deadline a request is waited for, before it is no call yet.
const TO_ARRIVE: Duration = Duration::from_secs(1);
/// How many calls one connection may have at once; further ones wait in the client. A caller that floods
/// one connection slows down itself alone.
const STREAMS_PER_CONNECTION: u32 = 200;
const SERVICES: [&str; 4] =
    ["", "twinlock.v1.TwoStepService", "twinlock.v1.AdminService", "twinlock.v1.OperatorService"];

/// Serves until the process is told to stop, and then until the last call has ended.
pub async fn serve(config: &Config, nothing_configured: bool) -> Result<()> {
    let mut stop = Stop::new()?;
    let is_first_try = dataset::is_first_try(config, nothing_configured);
    let dataset = if is_first_try {
        dataset::initialize(config).await?
    } else {
        dataset::open(config).await?
    };
    let (store, shared_log, keyring) = (dataset.store(), dataset.shared_log(), dataset.keyring);
    let hasher = policy::hasher(&config.argon2)?;
    let telling = Telling::start(config, shared_log).await?;
    let events = telling.events.clone();
    let engine = Engine::new(store, keyring, hasher, policy::policy(config)?);
    let engine = Arc::new(engine.telling(events.clone()));
    let callers = Arc::new(Callers::new(&config.callers)?);

    let probes = telemetry::start_probes(&config.telemetry.listen, engine.clone()).await?;
    let (health, health_service) = tonic_health::server::health_reporter();
    tokio::spawn(watch_store(engine.clone(), health.clone()));

    let deadline = config.server.deadline;
    let rest = rest::Context { engine: engine.clone(), callers: callers.clone(), deadline };
    let context = Context { engine, deadline };
    let routes = Routes::from(rest::router(rest))
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(grpc::two_step(context.clone(), callers.clone()))
        .add_service(grpc::admin(context.clone(), callers.clone()))
        .add_service(grpc::operator(context, callers));
    let router = server(&config.server)?.add_routes(routes);
    let (stopping, stopped) = watch::channel(());
    let (address, serving) = listen(&config.server, router, stopped).await?;
    greet(config, &address, &probes, is_first_try);

    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        () = stop.told() => {}
    }
    tracing::info!("stopping: no new calls, those under way are finished");
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
    events.end_watches();
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

fn server(config: &config::Server) -> Result<Server> {
    let server = Server::builder()
        .accept_http1(true)
        // A call has a deadline of its own, which begins when its request is complete. This one ends the
        // requests that never are.
        .timeout(config.deadline + TO_ARRIVE)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_max_header_list_size(grpc::MAX_METADATA_BYTES)
        .http2_keepalive_interval(Some(connection::PING_INTERVAL))
        .http2_keepalive_timeout(Some(connection::PING_TIMEOUT));
    let (Some(certificate), Some(key)) = (&config.tls_cert, &config.tls_key) else {
        return Ok(server);
    };
    let read =
        |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let mut tls = ServerTlsConfig::new()
        .timeout(connection::TO_BEGIN)
        .identity(Identity::from_pem(read(certificate)?, read(key)?));
    if let Some(authority) = &config.tls_client_ca {
        tls = tls.client_ca_root(Certificate::from_pem(read(authority)?));
    }
    server.tls_config(tls).context("server.tls_cert and server.tls_key are not usable")
}

/// Binds the address and serves on it; gives the address in use, and what ends when all calls have.
async fn listen(
    config: &config::Server,
    router: Router,
    mut stopped: watch::Receiver<()>,
) -> Result<(String, impl Future<Output = Result<()>>)> {
    let unbegun = stopped.clone();
    let stop = async move {
        // The sender is dropped, never used: that is the signal.
        let _ = stopped.changed().await;
    };
    let cannot = || {
        format!(
            "server.listen: cannot listen on {}; is it in use? Write another address",
            config.listen
        )
    };
    let scheme = if config.tls_cert.is_some() { "https" } else { "http" };
    let (address, serving) = match &config.listen {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address).await.with_context(cannot)?;
            let address = format!("{scheme}://{}", listener.local_addr()?);
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            let incoming = connection::guard(incoming, unbegun);
            (address, tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop)))
        }
        Listen::Unix(path) => {
            remove_stale_socket(path)?;
            let listener = UnixListener::bind(path).with_context(cannot)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
            let incoming = connection::guard(UnixListenerStream::new(listener), unbegun);
            let serving = tokio::spawn(router.serve_with_incoming_shutdown(incoming, stop));
            (format!("unix:{}", path.display()), serving)
        }
    };
    Ok((address, async move { serving.await?.context("the server ended") }))
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// Tells the health service whether the store can be used.
async fn watch_store(engine: Arc<Engine>, health: HealthReporter) {
    let mut was_usable = None;
    loop {
        let check = engine.check(Deadline::after(telemetry::PROBE_DEADLINE)).await;
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
