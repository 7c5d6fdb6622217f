//! Runs every scenario file through every interface and over every store. `cargo test --test scenarios backoff`
//! runs those with the word in their name, `rest/embedded/backoff` those of one interface over one store.
//!
//! `SCENARIO_CLIENTS` names other clients to run them through instead: `go,java`.

use anyhow::{Result, bail};
use libtest_mimic::{Arguments, Trial};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;
use twinlock_tests::scenario::{
    Cli, Go, Grpc, Hosts, Java, Life, Program, Reach, Rest, Runner, Scenario, record,
};

/// Scenarios mostly wait, so that far more of them than cores can be under way; but some hold only where a call
/// takes less than a second.
const THREADS: usize = 48;

fn main() -> Result<()> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let runtime = Arc::new(Runtime::new()?);
    let (clients, stores) = match Hosts::elsewhere()? {
        Some(hosts) => ("grpc,rest", vec![("elsewhere", hosts)]),
        None => {
            let stores = vec![("embedded", Hosts::default()), ("redis", Hosts::over_redis())];
            ("grpc,rest,cli", stores)
        }
    };
    let clients = std::env::var("SCENARIO_CLIENTS").unwrap_or_else(|_| clients.into());
    let stages: Vec<_> = stores
        .into_iter()
        .map(|(store, hosts)| Arc::new(Stage { runtime: runtime.clone(), store, hosts }))
        .collect();
    let mut trials = Vec::new();
    for stage in &stages {
        for path in Scenario::files()?.into_iter().filter(|path| stage.hosts.has(&name(path))) {
            for client in clients.split(',') {
                trials.extend(stage.trial(client, &path)?);
            }
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The servers end with this; `exit` would leave them running.
    drop(stages);
    conclusion.exit()
}

/// The servers over one store.
struct Stage {
    runtime: Arc<Runtime>,
    store: &'static str,
    hosts: Hosts,
}

impl Stage {
    /// A scenario through a client; none where it is none of the client's.
    fn trial(self: &Arc<Self>, client: &str, path: &Path) -> Result<Option<Trial>> {
        match client {
            "grpc" => self.trial_of::<Grpc>(path),
            // Its client speaks HTTP over TCP alone.
            "rest" if self.hosts.is_behind_a_socket(&name(path)) => Ok(None),
            "rest" => self.trial_of::<Rest>(path),
            "cli" => self.trial_of::<Cli>(path),
            "go" => self.trial_of::<Program<Go>>(path),
            "java" => self.trial_of::<Program<Java>>(path),
            _ => bail!("{client:?} is no client"),
        }
    }

    fn trial_of<R: Runner>(self: &Arc<Self>, path: &Path) -> Result<Option<Trial>> {
        // A file that cannot be read fails in its trial.
        let reach = Scenario::read(path).map_or(Reach::Whole, |scenario| R::reach(&scenario));
        let passed = match reach {
            Reach::Whole => "passed".into(),
            Reach::Part(lacks) => format!("passed, but {lacks}"),
            Reach::None(lacks) => {
                println!("{}: not applicable, {lacks}", self.title::<R>(path));
                record(R::NAME, self.store, &name(path), &format!("not applicable: {lacks}"))?;
                return Ok(None);
            }
        };
        let (stage, path) = (self.clone(), PathBuf::from(path));
        Ok(Some(Trial::test(self.title::<R>(&path), move || {
            let end = stage.run::<R>(&path);
            let told = if end.is_ok() { &passed } else { "failed" };
            record(R::NAME, stage.store, &name(&path), told)?;
            end.map_err(|error| format!("{error:#}").into())
        })))
    }

    fn run<R: Runner>(&self, path: &Path) -> Result<()> {
        let scenario = Scenario::read(path)?;
        let server = self.hosts.server(&scenario);
        self.runtime.block_on(Life::<R>::run(&scenario, server))
    }

    fn title<R: Runner>(&self, path: &Path) -> String {
        format!("{}/{}/{}", R::NAME, self.store, name(path))
    }
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
