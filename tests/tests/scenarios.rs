//! Runs every scenario file through every interface. `cargo test --test scenarios backoff` runs those with
//! the word in their name, `rest/backoff` those of one interface.

use libtest_mimic::{Arguments, Trial};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;
use twinlock_tests::scenario::{Grpc, Hosts, Life, Rest, Runner, Scenario};

/// Scenarios mostly wait, so that far more of them than cores can be under way.
const THREADS: usize = 96;

fn main() -> anyhow::Result<()> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let stage = Arc::new(Stage {
        runtime: Runtime::new()?,
        hosts: Hosts::elsewhere()?.unwrap_or_default(),
    });
    let mut trials = Vec::new();
    for path in Scenario::files()?.into_iter().filter(|path| stage.hosts.has(&name(path))) {
        trials.push(trial::<Grpc>(&stage, &path));
        match Scenario::read(&path) {
            Ok(scenario) if Rest::lacks(&scenario).is_some() => {
                let lacks = Rest::lacks(&scenario).unwrap_or_default();
                println!("rest/{}: not applicable, REST has no {lacks}", name(&path));
            }
            // Its client speaks HTTP over TCP alone.
            _ if stage.hosts.is_behind_a_socket(&name(&path)) => {}
            _ => trials.push(trial::<Rest>(&stage, &path)),
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The servers end with this; `exit` would leave them running.
    drop(stage);
    conclusion.exit()
}

struct Stage {
    runtime: Runtime,
    hosts: Hosts,
}

fn trial<R: Runner>(stage: &Arc<Stage>, path: &Path) -> Trial {
    let (stage, path) = (stage.clone(), PathBuf::from(path));
    Trial::test(format!("{}/{}", R::NAME, name(&path)), move || {
        let run = || {
            let scenario = Scenario::read(&path)?;
            let server = stage.hosts.server(&scenario);
            stage.runtime.block_on(Life::<R>::run(&scenario, server))
        };
        run().map_err(|error: anyhow::Error| format!("{error:#}").into())
    })
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
