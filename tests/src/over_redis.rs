//! Twinlock over Redis: one process, or several replicas.

use crate::redis::{Program, Server as Redis};
use crate::{Client, Options, Server};
use std::path::PathBuf;

impl Options {
    /// Keeps records in one Redis.
    #[must_use]
    pub fn over_redis(self, url: &str) -> Self {
        self.set("store.kind=redis").set(&format!("store.redis.urls={url}"))
    }

    /// Sets the process's clock ahead of the machine's; timers and deadlines keep their pace.
    #[must_use]
    pub fn clock_ahead(self, seconds: i64) -> Self {
        let library = faketime_library();
        self.env("LD_PRELOAD", library.to_str().expect("a path"))
            .env("FAKETIME", &format!("{seconds:+}"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

impl Server {
    /// Starts another process in the same directory, and so with the same keyring.
    #[must_use]
    pub fn beside(&self, options: Options) -> Self {
        Self::start_in(self.directory.clone(), options)
    }
}

/// Several processes over one Redis.
pub struct Replicas {
    /// The processes.
    pub servers: Vec<Server>,
    /// Their Redis.
    pub redis: Redis,
}

impl Replicas {
    /// Starts three that differ in nothing.
    pub fn start(options: Options) -> Self {
        Self::start_each([options.clone(), options.clone(), options])
    }

    /// Starts one for each of the options, on a new dataset.
    pub fn start_each(options: impl IntoIterator<Item = Options>) -> Self {
        let redis = Redis::start(Program::Redis, &[]);
        let mut options = options.into_iter().map(|options| options.over_redis(&redis.url()));
        let first = Server::start(options.next().expect("at least one"));
        let mut servers = vec![first];
        for options in options {
            servers.push(servers[0].beside(options));
        }
        Self { servers, redis }
    }

    /// Connections, one after the other to each of the processes.
    pub async fn connect(&self, count: usize) -> Vec<Client> {
        let mut clients = Vec::new();
        for server in self.servers.iter().cycle().take(count) {
            clients.push(server.client().await);
        }
        clients
    }
}

/// The variant of libfaketime for programs with threads; where it lies depends on the architecture.
fn faketime_library() -> PathBuf {
    let directories = std::fs::read_dir("/usr/lib").expect("libraries").filter_map(Result::ok);
    let mut found = directories.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists()).expect("libfaketime; install Debian's package faketime")
}
