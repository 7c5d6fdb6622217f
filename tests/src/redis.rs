//! Real Redis and Valkey servers on free loopback ports: alone, in a Cluster, under sentinels.
//!
//! They are stopped when they are dropped, and also where the process of the tests ends in another way.

mod cluster;
mod process;
mod sentinels;

pub use cluster::Cluster;
pub use process::{Program, Server, free_port, until};
pub use sentinels::Sentinels;

use std::sync::Arc;
use std::time::Duration;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::StoreError;
use twinlock_engine::store::redis::{Address, Layout, Options, Redis};

/// The marker that the tests' datasets have.
pub const MARKER: &[u8] = b"the marker of a test, which has the length of a sealed one";

/// How to reach servers, with the defaults for the rest.
pub fn options(layout: Layout) -> Options {
    Options {
        layout,
        username: None,
        password: None,
        tls_authorities: None,
        timeout: Duration::from_secs(1),
        acknowledging_replicas: 0,
        acknowledge_attempts: false,
    }
}

/// The layout of one server.
pub fn standalone(url: &str) -> Layout {
    Layout::Standalone(Address::parse(url).expect("an address"))
}

/// Long enough for what must succeed.
pub fn ample() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// Makes a new dataset.
pub async fn initialize(options: Options) -> Arc<Redis> {
    Arc::new(try_initialize(options, MARKER).await.expect("a new dataset"))
}

/// Makes a new dataset with a marker, where there is none.
pub async fn try_initialize(options: Options, marker: &[u8]) -> Result<Redis, StoreError> {
    Redis::vacant(options, ample()).await?.initialize(marker, ample()).await
}

/// Opens the dataset that is there.
pub async fn open(options: Options) -> Arc<Redis> {
    Arc::new(Redis::open(options, ample()).await.expect("a dataset"))
}
