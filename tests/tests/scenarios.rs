//! Runs every scenario file. `cargo test --test scenarios backoff` runs those with the word in their name.

use libtest_mimic::{Arguments, Trial};
use std::sync::Arc;
use tokio::runtime::Runtime;
use twinlock_tests::scenario::{Grpc, Hosts, Life, Scenario};

/// Scenarios mostly wait, so that far more of them than cores can be under way.
const THREADS: usize = 64;

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let runtime = Arc::new(Runtime::new()?);
    let hosts = [
        ("grpc", Arc::new(Hosts::default())),
        // The same again over another store.
        ("redis", Arc::new(Hosts::over_redis())),
    ];
    let mut trials = Vec::new();
    for (kind, hosts) in &hosts {
        for path in Scenario::files()? {
            let (runtime, hosts) = (runtime.clone(), hosts.clone());
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            trials.push(Trial::test(format!("{kind}/{name}"), move || {
                let run = || {
                    let scenario = Scenario::read(&path)?;
                    let server = hosts.server(&scenario);
                    runtime.block_on(Life::<Grpc>::run(&scenario, server))
                };
                run().map_err(|error: anyhow::Error| format!("{error:#}").into())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The servers end with this; `exit` would leave them running.
    drop(hosts);
    conclusion.exit()
}
