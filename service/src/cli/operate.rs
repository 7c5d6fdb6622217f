//! The commands of whoever runs Twinlock: serve, init, doctor.

use super::{doctor, keys, restore, token};
use crate::config::{Config, Loaded, Problem, Source};
use crate::telemetry::{self, Traces};
use crate::{dataset, keyring, serve};
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// The commands of whoever runs Twinlock.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Start the server
    Serve(ServeArguments),
    /// Check the configured store and keyring, or make new ones
    Init(InitArguments),
    /// Say what is wrong with the configuration, the keyring and the store, and what to do
    Doctor(doctor::DoctorArguments),
    Restore(restore::RestoreArguments),
    /// The keys that seal what is kept: make, list, rotate and retire them
    Keys(keys::KeysArguments),
    /// Make a token for a caller
    Token(token::TokenArguments),
}

/// Where the configuration comes from; a flag goes before the environment, and that before the file.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// The configuration file, TOML
    #[arg(long, env = "TWINLOCK_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, for instance backoff.initial=2s; may be given several times
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct ServeArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The address for gRPC: HOST:PORT or unix:/path
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Serve on an address that is not loopback without TLS or without callers
    #[arg(long)]
    insecure: bool,
    /// Check the configuration and stop
    #[arg(long)]
    check_config: bool,
}

#[derive(Debug, Args)]
pub struct InitArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Make a new store and, where it is missing, a new keyring; refused where there is a store
    #[arg(long)]
    new_dataset: bool,
}

/// Runs a command to its end. The exit status is 0 where it is done, 2 where the configuration is wrong,
/// and 1 for anything else.
pub(super) fn run(command: OperatorCommand) -> ExitCode {
    match command {
        OperatorCommand::Serve(arguments) => serve(arguments),
        OperatorCommand::Init(arguments) => init(&arguments),
        OperatorCommand::Doctor(arguments) => doctor::doctor(&arguments),
        OperatorCommand::Restore(arguments) => restore::restore(&arguments),
        OperatorCommand::Keys(arguments) => keys::keys(arguments),
        OperatorCommand::Token(arguments) => token::token(arguments),
    }
}

fn serve(arguments: ServeArguments) -> ExitCode {
    let ServeArguments { mut config, listen, insecure, check_config } = arguments;
    config.set.extend(listen.map(|address| ("server.listen".to_owned(), address)));
    if insecure {
        config.set.push(("server.insecure".into(), "true".into()));
    }
    let loaded = match config.load() {
        Ok(loaded) => loaded,
        Err(problems) => return problems,
    };
    if check_config {
        for warning in loaded.config.warnings() {
            println!("Warning: {warning}");
        }
        println!("The configuration is right.");
        return ExitCode::SUCCESS;
    }
    done(start(&loaded, config.source()))
}

/// How many turns tasks get before the system is asked for news, a millisecond's worth: with tokio's 61, what 64
/// calls have to write leaves in pieces.
const TURNS: u32 = 256;

/// Serves on one thread; passwords are hashed, files written and spans sent on others.
///
/// All that is ready is done in turn, so what many calls write to one socket leaves in one piece. Threads that
/// take work from each other write each call's by itself, and two of them do no more than this one at half the
/// cost. Who needs more than it can do runs more servers.
fn start(loaded: &Loaded, source: Source) -> anyhow::Result<()> {
    run_to_end(async {
        let traces = telemetry::start_log(&loaded.config.telemetry)?;
        for warning in loaded.config.warnings() {
            tracing::warn!("{warning}");
        }
        let spans = traces.as_ref().map(Traces::sent);
        let served = serve::serve(&loaded.config, loaded.nothing_configured, source, spans).await;
        if let Some(traces) = traces {
            // The last spans are sent by this runtime, which must go on meanwhile.
            tokio::task::spawn_blocking(|| traces.finish()).await?;
        }
        served
    })
}

fn init(arguments: &InitArguments) -> ExitCode {
    let config = match arguments.config.load() {
        Ok(loaded) => loaded.config,
        Err(problems) => return problems,
    };
    let result = run_to_end(async {
        if arguments.new_dataset {
            dataset::initialize(&config).await.map(|_| "Made a new dataset")
        } else {
            dataset::open(&config).await.map(|_| "The dataset is there and its keyring opens it")
        }
    });
    done(result.map(|what| {
        let Config { store, keyring, .. } = &config;
        println!("{what}: store {}, keyring {}.", dataset::name(store), keyring::name(keyring));
    }))
}

/// Runs a command's work on this thread.
pub(super) fn run_to_end<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().event_interval(TURNS).build()?.block_on(work)
}

pub(super) fn done(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twinlock: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl ConfigArguments {
    fn source(&self) -> Source {
        Source { file: self.config.clone(), overrides: self.set.clone() }
    }

    /// Reads and checks the configuration; what is wrong is printed, all of it at once.
    pub(super) fn load(&self) -> Result<Loaded, ExitCode> {
        let loaded = self.source().load().map_err(|error| {
            eprintln!("twinlock: {error}");
            ExitCode::from(2)
        })?;
        let problems: Vec<Problem> = loaded.config.check();
        if problems.is_empty() {
            return Ok(loaded);
        }
        eprintln!("twinlock: the configuration cannot be used:");
        for problem in problems {
            eprintln!("  {problem}");
        }
        Err(ExitCode::from(2))
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as section.key=value".into()),
    }
}
