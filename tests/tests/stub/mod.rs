//! The gRPC edge over a store that fails as a test wants it: some failures no store of one machine shows
//! while it runs.

use crate::call;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use twinlock::callers::Callers;
use twinlock::grpc::{self, Context};
use twinlock_core::Policy;
use twinlock_engine::Engine;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::hash::{Argon2Parameters, Hasher};
use twinlock_engine::store::{Loaded, RecordKey, Store, StoreError, Swap, Swapped};
use twinlock_tests::scenario::{Grpc, Refusal};

/// A store that always fails in one way.
pub struct Stub(fn() -> StoreError);

impl Stub {
    pub fn new(error: fn() -> StoreError) -> Self {
        Self(error)
    }

    /// How calls of every kind end: reading, deciding, proving, hashing.
    pub async fn refusals(self) -> Vec<Refusal> {
        let grpc = self.serve().await;
        let calls = [
            ("DescribeUser", json!({ "userId": "alice" })),
            ("CheckElevation", json!({ "userId": "alice", "sessionId": "laptop" })),
            ("EvaluateLogin", json!({ "userId": "alice", "channel": "LOGIN_CHANNEL_FORM" })),
            ("Verify", json!({ "userId": "alice", "totpCode": "123456" })),
            ("Enroll", json!({ "userId": "alice", "sessionId": "laptop" })),
            ("SetPassword", json!({ "userId": "alice", "password": "correct horse" })),
            (
                "Elevate",
                json!({ "userId": "alice", "sessionId": "laptop", "password": { "password": "x" } }),
            ),
        ];
        let mut refusals = Vec::new();
        for (method, request) in &calls {
            refusals.push(call(&grpc, method, request).await.expect_err(method));
        }
        refusals
    }

    async fn serve(self) -> Grpc {
        let directory = tempfile::tempdir().expect("a directory");
        let keyring = twinlock::keyring::generate(&directory.path().join("keyring.toml"));
        let keyring = Arc::new(keyring.expect("a keyring"));
        let cost = Argon2Parameters { memory_kib: 64, iterations: 1, parallelism: 1 };
        let hasher = Hasher::new(cost, 1).expect("a hasher");
        let engine = Engine::new(Arc::new(self), keyring, hasher, Policy::default());
        let context = Context { engine: Arc::new(engine), deadline: Duration::from_secs(5) };
        let service = grpc::two_step(context, Arc::new(Callers::default()));

        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let incoming = TcpIncoming::from(listener);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        let endpoint = Endpoint::from_shared(address).expect("an address");
        Grpc(endpoint.connect().await.expect("a connection"))
    }
}

#[tonic::async_trait]
impl Store for Stub {
    async fn load(&self, _: &RecordKey, _: Deadline) -> Result<Loaded, StoreError> {
        Err(self.0())
    }

    async fn swap(&self, _: Swap, _: Deadline) -> Result<Swapped, StoreError> {
        Err(self.0())
    }

    async fn check(&self, _: Deadline) -> Result<(), StoreError> {
        Err(self.0())
    }
}
