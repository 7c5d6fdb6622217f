//! `twinlock keys`: the keys that seal what is kept.

mod generate;
mod list;
mod retire;
mod rotate;
mod source;

use super::connection::ConnectionArguments;
use super::operate::{ConfigArguments, run_to_end};
use super::{Console, Failure};
use crate::config::Config;
use crate::keyring::File;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub struct KeysArguments {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Generate(generate::GenerateArguments),
    List(list::ListArguments),
    Rotate(rotate::RotateArguments),
    Retire(retire::RetireArguments),
}

/// Where the keyring is, and whom to ask what needs its keys.
#[derive(Debug, Args)]
struct Where {
    /// Open the configured store itself, in place of asking a server: an embedded one while no server runs
    #[arg(long)]
    direct: bool,
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// Runs a command to its end. The exit status is 0 where it is done, 1 where the state of the keys refuses
/// it, 2 where the configuration or the arguments are wrong, and 3 where the server or a file failed.
pub(super) fn keys(arguments: KeysArguments) -> ExitCode {
    let (is_json, config) = match &arguments.command {
        KeysCommand::Generate(arguments) => (false, &arguments.config),
        KeysCommand::List(arguments) => arguments.at.parts(),
        KeysCommand::Rotate(arguments) => arguments.at.parts(),
        KeysCommand::Retire(arguments) => arguments.at.parts(),
    };
    let config = match config.load() {
        Ok(loaded) => loaded.config,
        Err(problems) => return problems,
    };
    let console = Console::new(is_json);
    let outcome = run_to_end(async {
        Ok(match arguments.command {
            KeysCommand::Generate(arguments) => generate::generate(&arguments, &config, &console),
            KeysCommand::List(arguments) => list::list(&arguments, &config, &console).await,
            KeysCommand::Rotate(arguments) => rotate::rotate(&arguments, &config, &console).await,
            KeysCommand::Retire(arguments) => retire::retire(&arguments, &config, &console).await,
        })
    });
    match outcome.map_err(broken).and_then(|outcome| outcome) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.report(&failure);
            ExitCode::from(failure.exit_status())
        }
    }
}

impl Where {
    fn parts(&self) -> (bool, &ConfigArguments) {
        (self.connection.json, &self.config)
    }
}

/// The keyring's file; the keys may be written in the configuration instead, which no command changes.
fn file(config: &Config) -> Result<&Path, Failure> {
    if config.keyring.keys.is_some() {
        return Err(Failure::Usage(
            "The keys are in keyring.keys, which this command does not change: edit it by hand, as \
             docs/keys.md says."
                .into(),
        ));
    }
    Ok(&config.keyring.file)
}

/// Changes the keyring's file.
async fn change<T: Send + 'static>(
    path: &Path,
    change: impl FnOnce(&mut File) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let path: PathBuf = path.to_owned();
    // It may wait for another command.
    let changing = tokio::task::spawn_blocking(move || File::change(&path, |it| Ok(change(it)?)));
    let changed = changing.await.map_err(|_| Failure::Broken("The command was aborted.".into()))?;
    changed.map_err(|error| match error.downcast::<Failure>() {
        Ok(failure) => failure,
        Err(error) => broken(error),
    })
}

fn broken(error: anyhow::Error) -> Failure {
    let text = format!("{error:#}");
    let end = if text.ends_with('.') { "" } else { "." };
    Failure::Broken(format!("{text}{end}"))
}

fn refused(error: anyhow::Error) -> Failure {
    Failure::Refused(format!("{error:#}"))
}
