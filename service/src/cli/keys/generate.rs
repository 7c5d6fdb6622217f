//! `twinlock keys generate`.

use super::{broken, file};
use crate::cli::operate::ConfigArguments;
use crate::cli::{Console, Failure};
use crate::config::Config;
use crate::keyring::File;
use clap::Args;
use std::fs::DirBuilder;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt;
use twinlock_engine::clock;

/// Make a keyring with one random key, where there is none.
///
/// `twinlock init --new-dataset` does so by itself. A new keyring opens no store that was made before.
#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    /// Print the key as keyring.keys has it, and write no file; whoever sees it can open the store
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    pub(super) config: ConfigArguments,
}

pub(super) fn generate(
    arguments: &GenerateArguments,
    config: &Config,
    console: &Console,
) -> Result<(), Failure> {
    let new = File::generate(clock::system()());
    if arguments.print {
        for key in new.entries() {
            writeln!(io::stdout(), "{}", *key.expose_line())?;
        }
        return Ok(());
    }
    let path = file(config)?;
    if path.exists() {
        let text = format!("There is a keyring in {} already; it stays as it is.", path.display());
        return Err(Failure::Refused(text));
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(|error| {
            Failure::Broken(format!("Cannot make the directory {}: {error}.", parent.display()))
        })?;
    }
    new.create(path).map_err(broken)?;
    console.say(&format!("Made the keyring {}.", path.display()))?;
    console.note("Keep a copy of it apart from the store and its backups: without it they are worth nothing.")
}
