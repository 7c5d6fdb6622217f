//! `twinlock restore FILE`.

use super::operate::{ConfigArguments, done, run_to_end};
use super::progress::{self, Unit, Watched};
use super::time;
use crate::config::Config;
use crate::{dataset, keyring};
use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;
use twinlock_engine::backup::{Allowed, Contents, Scope, Verified};
use twinlock_engine::seal::Keyring;
use twinlock_engine::store::Target;

/// Restore a backup into the configured store, embedded or over Redis. Stop all servers of the store before.
///
/// All of the file is verified before anything is written: that no bit of it was changed, that it is whole,
/// and that the keyring opens every record. The store is incomplete until the restore has ended, and refuses
/// every call; a restore that broke off is run again with --replace.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only verify the backup and say what would happen
    #[arg(long)]
    dry_run: bool,
    /// Put the backup in the place of what is in the store: all of it, or the users of its namespace
    #[arg(long)]
    replace: bool,
    /// Restore one namespace into a store that is not complete, though users of others may be missing: they
    /// count as not enrolled
    #[arg(long)]
    partial: bool,
    /// Restore records that the keyring does not open, too: their users are refused until it does
    #[arg(long)]
    unreadable: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArguments,
}

/// Verifies and restores. The exit status is 0 where it is done, or would be; 1 where it is refused or broke
/// off; 2 where the configuration is wrong.
pub(super) fn restore(arguments: &RestoreArguments) -> ExitCode {
    match arguments.config.load() {
        Ok(loaded) => done(run_to_end(run(arguments, &loaded.config))),
        Err(problems) => problems,
    }
}

async fn run(arguments: &RestoreArguments, config: &Config) -> Result<()> {
    let file = arguments.file.display();
    let opened = File::open(&arguments.file).with_context(|| format!("{file} cannot be read"))?;
    let found = opened.metadata()?;
    if !found.is_file() {
        bail!("{file} is no file: a backup is read twice, so write it to one first");
    }
    let keyring = keyring::load(&config.keyring)?;
    let bar = progress::bar("Verifying", Unit::Bytes, arguments.json);
    bar.set_length(found.len());
    let watched = Watched { file: BufReader::new(opened), bar: bar.clone() };
    let verified = Verified::read(watched, &keyring);
    let mut verified = verified.with_context(|| format!("{file} is not restored"))?;
    bar.set_message("Restoring");
    if !arguments.json {
        describe(arguments, verified.contents());
    }
    let name = dataset::name(&config.store);
    let mut target = dataset::restoring(config).await?;
    let allowed = arguments.allowed();
    let refused = || format!("{file} is not restored into {name}");
    if arguments.dry_run {
        bar.finish_and_clear();
        let plan = verified.plan(&mut *target, &keyring, allowed).await.with_context(refused)?;
        let contents = verified.contents();
        let removed = plan.found.inside;
        report(arguments, contents, contents.records, removed, "would write", &name);
        return Ok(());
    }
    let outcome = write(&mut verified, &mut *target, &keyring, allowed).await;
    let (written, removed) = outcome.with_context(refused)?;
    bar.finish_and_clear();
    report(arguments, verified.contents(), written, removed, "wrote", &name);
    Ok(())
}

type Opened = Verified<Watched<BufReader<File>>>;

async fn write(
    verified: &mut Opened,
    target: &mut dyn Target,
    keyring: &Keyring,
    allowed: Allowed,
) -> Result<(u64, u64)> {
    let outcome = verified.restore(target, keyring, allowed).await?;
    Ok((outcome.written, outcome.removed))
}

impl RestoreArguments {
    fn allowed(&self) -> Allowed {
        let Self { replace, partial, unreadable, .. } = *self;
        Allowed { replace, partial, unreadable }
    }
}

fn describe(arguments: &RestoreArguments, contents: &Contents) {
    let Contents { made_at, scope, records, left_out, unreadable, .. } = contents;
    let seconds = i64::try_from(made_at.as_secs()).unwrap_or(i64::MAX);
    let made = time::describe(&prost_types::Timestamp { seconds, nanos: 0 });
    let users = match scope {
        Scope::Everything => "of all namespaces".to_owned(),
        Scope::Namespace(namespace) if *left_out == 0 => {
            format!("of the namespace {namespace}, the only one then")
        }
        Scope::Namespace(namespace) => format!("of the namespace {namespace} alone"),
    };
    println!("{} is whole: {records} records {users}, made {made}.", arguments.file.display());
    for (user, why) in &contents.unreadable_users {
        eprintln!("twinlock: the record of {user} cannot be read: {why}");
    }
    let unnamed = unreadable - contents.unreadable_users.len() as u64;
    if unnamed > 0 {
        eprintln!("twinlock: neither can those of {unnamed} others");
    }
    println!(
        "What happened since then is undone by it: recovery keys that were used since are valid again, and \
         whoever was unenrolled is enrolled again."
    );
}

fn report(
    arguments: &RestoreArguments,
    contents: &Contents,
    written: u64,
    removed: u64,
    did: &str,
    store: &str,
) {
    let dry_run = arguments.dry_run;
    if arguments.json {
        let namespace = match &contents.scope {
            Scope::Everything => None,
            Scope::Namespace(namespace) => Some(namespace.as_str()),
        };
        println!(
            "{}",
            json!({
                "file": arguments.file,
                "made_at": contents.made_at.as_secs(),
                "namespace": namespace,
                "records": written,
                "removed": removed,
                "unreadable": contents.unreadable,
                "dry_run": dry_run,
            })
        );
        return;
    }
    let instead = match removed {
        0 => String::new(),
        1 => " in the place of 1".to_owned(),
        count => format!(" in the place of {count}"),
    };
    println!("It {did} {written} records into {store}{instead}.");
}
