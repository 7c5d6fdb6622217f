//! A Cluster of three primaries.

use super::process::{Program, Server, until};
use redis::Value;
use std::ops::RangeInclusive;
use twinlock_engine::store::redis::{Address, Layout};

/// A Cluster of three primaries, each with a third of the slots.
pub struct Cluster {
    /// The nodes, by their slots.
    pub nodes: Vec<Server>,
}

/// The slots of the three nodes.
pub const SLOTS: [RangeInclusive<u16>; 3] = [0..=5460, 5461..=10922, 10923..=16383];

impl Cluster {
    /// Starts one, and waits until all of its nodes agree that it works.
    pub fn start(program: Program) -> Self {
        let arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            "OTHER",
            "--cluster-node-timeout",
            "2000",
        ];
        let nodes: Vec<Server> = SLOTS.iter().map(|_| Server::start(program, &arguments)).collect();
        for (node, slots) in nodes.iter().zip(SLOTS) {
            node.command(&format!("CLUSTER ADDSLOTSRANGE {} {}", slots.start(), slots.end()));
        }
        for (epoch, node) in nodes.iter().enumerate() {
            node.command(&format!("CLUSTER SET-CONFIG-EPOCH {}", epoch + 1));
        }
        for other in &nodes[1..] {
            let bus = other.bus_port();
            nodes[0].command(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port));
        }
        for node in &nodes {
            until(
                || {
                    let info: String =
                        redis::from_redis_value(node.command("CLUSTER INFO")).expect("text");
                    info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
                },
                "the Cluster to agree",
            );
        }
        Self { nodes }
    }

    /// How to reach it: by its first node.
    pub fn layout(&self) -> Layout {
        Layout::Cluster(vec![Address::parse(&self.nodes[0].url()).expect("an address")])
    }

    /// The node that has a slot as long as none was moved.
    pub fn node_of(&self, slot: u16) -> usize {
        SLOTS.iter().position(|slots| slots.contains(&slot)).expect("a slot")
    }
}

impl Server {
    /// The port that it talks to the other nodes on.
    fn bus_port(&self) -> String {
        let line: String = redis::from_redis_value(self.command("CLUSTER MYID")).expect("text");
        let nodes: String = redis::from_redis_value(self.command("CLUSTER NODES")).expect("text");
        let own = nodes.lines().find(|node| node.starts_with(&line)).expect("itself");
        let (_, bus) = own.split_once('@').expect("a bus port");
        bus.chars().take_while(char::is_ascii_digit).collect()
    }

    /// Its name in the Cluster.
    pub fn cluster_id(&self) -> String {
        redis::from_redis_value(self.command("CLUSTER MYID")).expect("text")
    }

    /// The slot of a key.
    pub fn slot_of(&self, key: &str) -> u16 {
        let Value::Int(slot) = self.run_command(&["CLUSTER", "KEYSLOT", key]) else {
            panic!("no slot of {key}");
        };
        u16::try_from(slot).expect("a slot")
    }
}
