//! The servers that scenarios run on: those with the same settings share one.

use super::Scenario;
use crate::{Options, Server};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// The servers that are running, by their settings. They end with it.
#[derive(Default)]
pub struct Hosts(Mutex<HashMap<String, Arc<OnceLock<Arc<Server>>>>>);

impl Hosts {
    /// A server for a scenario; one that restarts its server has it to itself.
    pub fn server(&self, scenario: &Scenario) -> Arc<Server> {
        let start = || Arc::new(Server::start(Options::default().file(&scenario.settings)));
        if scenario.restarts() {
            return start();
        }
        let mut hosts = self.0.lock().expect("no scenario panics here");
        let host = hosts.entry(scenario.settings.clone()).or_default().clone();
        drop(hosts);
        host.get_or_init(start).clone()
    }
}
