//! Both edges before an engine over an embedded store in memory, with a clock that the input moves.

use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use prost::bytes::Bytes;
use redb::backends::InMemoryBackend;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tonic::codegen::Service;
use tonic::service::Routes;
use twinlock::callers::Callers;
use twinlock::context::Context;
use twinlock::telemetry::Calls;
use twinlock::{grpc, rest};
use twinlock_core::{Policy, Timestamp};
use twinlock_engine::Engine;
use twinlock_engine::clock::Clock;
use twinlock_engine::hash::{Argon2Parameters, Hasher};
use twinlock_engine::seal::{KeyId, Keyring};
use twinlock_engine::store::embedded::Embedded;
use zeroize::Zeroizing;

/// When every input begins, so that the codes of a secret are always the same.
const BEGIN: u64 = 1_800_000_000;

/// A server without its sockets, new for every input.
pub struct Edges {
    routes: Routes,
    seconds: Arc<AtomicU64>,
}

impl Edges {
    pub fn new() -> Self {
        let seconds = Arc::new(AtomicU64::new(BEGIN));
        let shown = seconds.clone();
        let clock: Clock = Arc::new(move || Timestamp::from_secs(shown.load(Ordering::Relaxed)));
        let key = (KeyId(1), Zeroizing::new([7; 32]));
        let keyring = Arc::new(Keyring::new(KeyId(1), [key]).expect("a keyring"));
        let backend = || Ok(InMemoryBackend::new());
        let store = Embedded::initialize_on(backend, &keyring.new_marker(), clock);
        // As cheap as there is: what a hash costs is not the question here.
        let cheap = Argon2Parameters { memory_kib: 8, iterations: 1, parallelism: 1 };
        let hasher = Hasher::new(cheap, 1).expect("a hasher");
        let store = Arc::new(store.expect("a store"));
        let engine = Arc::new(Engine::new(store, keyring, hasher, Policy::default()));
        let callers = Arc::new(Callers::new(&[]).expect("callers"));
        let calls = Arc::new(Calls::default());
        let deadline = Duration::from_secs(20);
        let context = Context { engine, callers, calls, deadline };
        let routes = Routes::from(rest::router(context.clone()))
            .add_service(grpc::two_step(context.clone()))
            .add_service(grpc::admin(context.clone()))
            .add_service(grpc::operator(context));
        Self { routes, seconds }
    }

    /// What the clock shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.seconds.load(Ordering::Relaxed))
    }

    /// Lets time pass.
    pub fn wait(&self, seconds: u16) {
        self.seconds.fetch_add(seconds.into(), Ordering::Relaxed);
    }

    /// Sends a request, and gives the head of the answer, the body, and the trailers.
    pub async fn send(&mut self, request: Request<Vec<u8>>) -> (Response<()>, Bytes, HeaderMap) {
        let body = |bytes| -> UnsyncBoxBody<Bytes, tonic::Status> {
            Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
        };
        let request = request.map(body);
        let answer = self.routes.call(request).await.expect("the edges always answer");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a body");
        let trailers = body.trailers().cloned().unwrap_or_default();
        (Response::from_parts(head, ()), body.to_bytes(), trailers)
    }
}

/// Runs what an input asks for.
pub fn run(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(work);
}
