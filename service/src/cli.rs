//! The command line: what runs a server, and what is a client of a running one.

mod backup;
mod connection;
mod console;
mod doctor;
mod elevate;
mod enroll;
mod erase;
mod failure;
mod health;
mod import;
mod json;
mod keys;
mod operate;
mod progress;
mod proof;
mod recovery_key;
mod reset;
mod restore;
mod smoke_test;
mod status;
mod time;
mod token;
mod unenroll;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

use self::connection::ConnectionArguments;
use self::console::Console;
use self::failure::Failure;
use self::operate::OperatorCommand;

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Operator(OperatorCommand),
    #[command(flatten)]
    Client(ClientCommand),
}

/// Runs a command to its end; gives the exit status of the process.
pub fn main(command: Command) -> ExitCode {
    match command {
        Command::Operator(command) => operate::run(command),
        // A client waits for one server: a single thread does that with the least start-up.
        Command::Client(command) => {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(run(command)),
                Err(error) => {
                    eprintln!("twinlock: the runtime does not start: {error}");
                    ExitCode::from(3)
                }
            }
        }
    }
}

// Without doc comments, which clap would put in the place of the arguments' own help and the
// program's.
#[allow(missing_docs)]
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    Enroll(enroll::EnrollArguments),
    Verify(verify::VerifyArguments),
    Elevate(elevate::ElevateArguments),
    Unenroll(unenroll::UnenrollArguments),
    Status(status::StatusArguments),
    Erase(erase::EraseArguments),
    Reset(reset::ResetArguments),
    Import(Box<import::ImportArguments>),
    Backup(Box<backup::BackupArguments>),
    SmokeTest(smoke_test::SmokeTestArguments),
    Health(health::HealthArguments),
}

/// Runs a command to its end and prints its outcome.
///
/// The exit status is 0 where it is done, 1 where the proof or the user's state was refused, 2 for
/// a request that can never succeed, and 3 where the server cannot be reached or anything else
/// went wrong. `health` knows only 0 and 1; `import` has 1 where an entry was not taken over.
pub async fn run(command: ClientCommand) -> ExitCode {
    let console = Console::new(command.connection().json);
    let outcome = match command {
        ClientCommand::Enroll(arguments) => enroll::enroll(arguments, &console).await,
        ClientCommand::Verify(arguments) => verify::verify(arguments, &console).await,
        ClientCommand::Elevate(arguments) => elevate::elevate(arguments, &console).await,
        ClientCommand::Unenroll(arguments) => unenroll::unenroll(arguments, &console).await,
        ClientCommand::Status(arguments) => status::status(arguments, &console).await,
        ClientCommand::Erase(arguments) => erase::erase(arguments, &console).await,
        ClientCommand::Reset(arguments) => reset::reset(arguments, &console).await,
        ClientCommand::Import(arguments) => match import::import(&arguments, &console).await {
            Ok(status) => return ExitCode::from(status),
            Err(failure) => Err(failure),
        },
        ClientCommand::Backup(arguments) => backup::backup(*arguments, &console).await,
        ClientCommand::SmokeTest(arguments) => smoke_test::smoke_test(arguments, &console).await,
        ClientCommand::Health(arguments) => {
            let healthy = health::health(arguments, &console).await.unwrap_or_else(|failure| {
                console.report(&failure);
                false
            });
            return ExitCode::from(u8::from(!healthy));
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.report(&failure);
            ExitCode::from(failure.exit_status())
        }
    }
}

impl ClientCommand {
    fn connection(&self) -> &ConnectionArguments {
        match self {
            Self::Enroll(arguments) => &arguments.connection,
            Self::Verify(arguments) => &arguments.connection,
            Self::Elevate(arguments) => &arguments.connection,
            Self::Unenroll(arguments) => &arguments.connection,
            Self::Status(arguments) => &arguments.connection,
            Self::Erase(arguments) => &arguments.connection,
            Self::Reset(arguments) => &arguments.connection,
            Self::Import(arguments) => &arguments.connection,
            Self::Backup(arguments) => &arguments.connection,
            Self::SmokeTest(arguments) => &arguments.connection,
            Self::Health(arguments) => &arguments.connection,
        }
    }
}

/// A session id of this run alone, which nobody can guess.
fn fresh_session_id() -> String {
    format!("cli-{}", data_encoding::HEXLOWER.encode(&twinlock_engine::entropy::bytes::<16>()))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Commands {
        #[command(subcommand)]
        command: ClientCommand,
    }

    #[test]
    fn the_arguments_are_consistent() {
        Commands::command().debug_assert();
    }

    #[test]
    fn every_command_says_how_it_takes_proofs() {
        for name in ["enroll", "verify", "elevate", "unenroll"] {
            let commands = Commands::command();
            let help = commands.find_subcommand(name).unwrap().clone().render_long_help();
            assert!(help.to_string().contains("standard input"), "{name}: {help}");
        }
    }

    #[test]
    fn no_argument_takes_a_proof() {
        for command in Commands::command().get_subcommands() {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let takes_a_value = argument.get_action().takes_values();
                let is_a_proof = ["code", "key", "recovery_key", "password"].contains(&name);
                assert!(!(takes_a_value && is_a_proof), "{} {name}", command.get_name());
            }
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let arguments = ["twinlock", "status", "alice", "--token", "hunter2"];
        let printed = format!("{:?}", Commands::try_parse_from(arguments).unwrap());
        assert!(!printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn session_ids_differ() {
        assert_ne!(fresh_session_id(), fresh_session_id());
    }
}
