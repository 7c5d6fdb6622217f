//! A primary with a replica, under three sentinels.

use super::process::{Program, Server, until};
use twinlock_engine::store::redis::{Address, Layout};

/// A primary with a replica, under three sentinels.
pub struct Sentinels {
    /// The two servers; the first one begins as the primary.
    pub servers: [Server; 2],
    sentinels: Vec<Server>,
}

/// The name under which the sentinels know the primary.
const NAME: &str = "main";

impl Sentinels {
    /// Starts them, and waits until the replica follows and the sentinels know of it and of each other.
    pub fn start(program: Program) -> Self {
        let primary = Server::start(program, &["--repl-diskless-sync-delay", "0"]);
        let master = primary.port.to_string();
        let replica = Server::start(
            program,
            &["--replicaof", "127.0.0.1", &master, "--repl-diskless-sync-delay", "0"],
        );
        replica.wait_for("master_link_status", "up");
        let configuration = format!(
            "sentinel monitor {NAME} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {NAME} 1000\n\
             sentinel failover-timeout {NAME} 6000\n"
        );
        let sentinels: Vec<Server> =
            (0..3).map(|_| Server::start_sentinel(program, &configuration)).collect();
        for sentinel in &sentinels {
            until(
                || {
                    let [replicas, others] =
                        ["num-slaves", "num-other-sentinels"].map(|it| sentinel.of_master(it));
                    replicas == "1" && others == "2"
                },
                "the sentinels to know of all",
            );
        }
        Self { servers: [primary, replica], sentinels }
    }

    /// How to reach it: by the sentinels.
    pub fn layout(&self) -> Layout {
        let sentinels =
            self.sentinels.iter().map(|it| Address::parse(&it.url()).expect("an address"));
        Layout::Sentinel { sentinels: sentinels.collect(), master: NAME.into() }
    }

    /// The index of the server that the sentinels hold for the primary.
    pub fn primary(&self) -> usize {
        let port = self.sentinels[0].of_master("port");
        let index = self.servers.iter().position(|server| server.port.to_string() == port);
        index.expect("one of the two")
    }

    /// Makes the sentinels change the two, as an operator would, and waits until they agree.
    pub fn fail_over(&self) {
        let before = self.primary();
        self.sentinels[0].command(&format!("SENTINEL FAILOVER {NAME}"));
        self.wait_for_another(before);
    }

    /// Waits until all sentinels hold another server for the primary, and that it is one.
    pub fn wait_for_another(&self, before: usize) {
        let old = self.servers[before].port.to_string();
        until(
            || self.sentinels.iter().all(|sentinel| sentinel.of_master("port") != old),
            "the sentinels to agree on another primary",
        );
        self.servers[1 - before].wait_for("role", "master");
    }
}

impl Server {
    fn start_sentinel(program: Program, configuration: &str) -> Self {
        Self::start_with_file(program, configuration, &["--sentinel"])
    }

    fn of_master(&self, field: &str) -> String {
        let fields: Vec<String> =
            redis::from_redis_value(self.command(&format!("SENTINEL MASTER {NAME}")))
                .expect("fields");
        let found = fields.chunks_exact(2).find(|pair| pair[0] == field);
        found.map(|pair| pair[1].clone()).unwrap_or_default()
    }
}
