//! The servers that scenarios run on: those with the same settings share one.

use super::Scenario;
use crate::redis::{Program, Server as Redis};
use crate::{Options, Server};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// The servers that are running, by their settings. They end with it.
#[derive(Default)]
pub struct Hosts {
    shared: Mutex<HashMap<String, Arc<OnceLock<Arc<Server>>>>>,
    /// Where they keep their records, each of them in one of its own; `None` for the embedded store.
    redis: Option<Mutex<Vec<Redis>>>,
}

impl Hosts {
    /// Servers that keep their records in Redis.
    pub fn over_redis() -> Self {
        Self { redis: Some(Mutex::default()), ..Self::default() }
    }

    /// A server for a scenario; one that restarts its server has it to itself.
    pub fn server(&self, scenario: &Scenario) -> Arc<Server> {
        if scenario.restarts() {
            return self.start(scenario);
        }
        let mut hosts = self.shared.lock().expect("no scenario panics here");
        let host = hosts.entry(scenario.settings.clone()).or_default().clone();
        drop(hosts);
        host.get_or_init(|| self.start(scenario)).clone()
    }

    fn start(&self, scenario: &Scenario) -> Arc<Server> {
        let mut options = Options::default().file(&scenario.settings);
        if let Some(started) = &self.redis {
            let redis = Redis::start(Program::Redis, &[]);
            options = options.over_redis(&redis.url());
            started.lock().expect("no scenario panics here").push(redis);
        }
        Arc::new(Server::start(options))
    }
}
