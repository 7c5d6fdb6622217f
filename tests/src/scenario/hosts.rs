//! The servers that scenarios run on: those with the same settings share one.

use super::Scenario;
use crate::redis::{Program, Server as Redis};
use crate::{Options, Server};
use anyhow::Result;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// The servers that are running, by their settings. They end with it.
#[derive(Default)]
pub struct Hosts {
    shared: Mutex<HashMap<String, Arc<OnceLock<Arc<Server>>>>>,
    /// Where they keep their records, each of them in one of its own; `None` for the embedded store.
    redis: Option<Mutex<Vec<Redis>>>,
    /// Addresses of servers that something else has started, by the scenario's name.
    elsewhere: HashMap<String, String>,
}

impl Hosts {
    /// Servers that keep their records in Redis.
    pub fn over_redis() -> Self {
        Self { redis: Some(Mutex::default()), ..Self::default() }
    }

    /// Servers that something else has started, as `TWINLOCK_TEST_SERVERS` names them: a TOML file of scenarios'
    /// names and addresses. None where it is not set.
    pub fn elsewhere() -> Result<Option<Self>> {
        let Some(file) = std::env::var_os("TWINLOCK_TEST_SERVERS") else { return Ok(None) };
        let elsewhere = toml::from_str(&std::fs::read_to_string(file)?)?;
        Ok(Some(Self { elsewhere, ..Self::default() }))
    }

    /// Whether a scenario has a server here; without any elsewhere, all have.
    pub fn has(&self, name: &str) -> bool {
        self.elsewhere.is_empty() || self.elsewhere.contains_key(name)
    }

    /// Whether the scenario's server listens on a Unix socket.
    pub fn is_behind_a_socket(&self, name: &str) -> bool {
        self.elsewhere.get(name).is_some_and(|address| address.starts_with("unix:"))
    }

    /// A server for a scenario; one that restarts its server has it to itself.
    pub fn server(&self, scenario: &Scenario) -> Arc<Server> {
        if let Some(address) = self.elsewhere.get(&scenario.name) {
            return Arc::new(Server::elsewhere(address));
        }
        if scenario.restarts() {
            return self.start(scenario);
        }
        let mut hosts = self.shared.lock().expect("no scenario panics here");
        let host = hosts.entry(scenario.settings.clone()).or_default().clone();
        drop(hosts);
        host.get_or_init(|| self.start(scenario)).clone()
    }

    fn start(&self, scenario: &Scenario) -> Arc<Server> {
        // No scenario is about how fast the machine hashes passwords for all of them at once.
        let mut options = Options::default().file(&scenario.settings).set("server.deadline=20s");
        if let Some(started) = &self.redis {
            let redis = Redis::start(Program::Redis, &[]);
            options = options.over_redis(&redis.url());
            started.lock().expect("no scenario panics here").push(redis);
        }
        Arc::new(Server::start(options))
    }
}
