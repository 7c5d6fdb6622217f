//! `twinlock backup FILE`.

use super::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use super::operate::ConfigArguments;
use super::progress::{self, Unit};
use super::{Console, Failure};
use crate::dataset;
use clap::Args;
use indicatif::ProgressBar;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use twinlock_client::proto::BackupRequest;
use twinlock_engine::backup::{Backup, Scope};
use twinlock_engine::deadline::Deadline;

/// How long the store may take for the next part, where it is read directly.
const STEP: Duration = Duration::from_secs(30);

/// Write a backup of all users of the caller's namespace, sealed under the keyring, through a running server.
/// Needs the role operator.
///
/// The keyring is not in it: keep a copy of that elsewhere, for a backup is worth nothing without it.
#[derive(Debug, Args)]
pub struct BackupArguments {
    /// The file to write, or - for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write over the file if it is there
    #[arg(long)]
    force: bool,
    /// Read the configured store itself, all namespaces: an embedded one while no server runs, one over
    /// Redis at any time
    #[arg(long)]
    direct: bool,
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

pub(super) async fn backup(arguments: BackupArguments, console: &Console) -> Result<(), Failure> {
    let output = Output::begin(&arguments.file, arguments.force)?;
    let bar = progress::bar("Backing up", Unit::Records, arguments.connection.json);
    let mut writing = Writing { output, bar, bytes: 0, records: 0, is_complete: false };
    tokio::select! {
        written = write(&arguments, &mut writing) => written?,
        _ = tokio::signal::ctrl_c() => return Err(Failure::Broken("Given up.".into())),
    }
    let Writing { output, bar, bytes, records, is_complete } = writing;
    bar.finish_and_clear();
    if !is_complete {
        let text = "The server ended the backup before its end. Begin again.";
        return Err(Failure::Broken(text.into()));
    }
    let is_file = matches!(output, Output::File(_));
    output.finish()?;
    if !is_file {
        return Ok(());
    }
    let file = arguments.file.display().to_string();
    console.emit(&serde_json::json!({ "file": file, "bytes": bytes, "records_seen": records }))?;
    console.say(&format!("Wrote {file}: {bytes} bytes, from a store of {records} records."))?;
    console.note(&format!("Check it with: twinlock restore --dry-run {file}"))
}

async fn write(arguments: &BackupArguments, writing: &mut Writing) -> Result<(), Failure> {
    if arguments.direct {
        return write_directly(arguments, writing).await;
    }
    let client = arguments.connection.client(DEFAULT_TIMEOUT)?;
    let mut parts = client.backup(BackupRequest {}).await?;
    while let Some(part) = parts.next().await? {
        let total = (part.records_total > 0).then_some(part.records_total);
        writing.add(&part.chunk, part.records_done, total, part.is_last)?;
    }
    Ok(())
}

async fn write_directly(arguments: &BackupArguments, writing: &mut Writing) -> Result<(), Failure> {
    let failed = |error: anyhow::Error| Failure::Broken(format!("{error:#}."));
    let config = arguments.config.load().map_err(|_| {
        Failure::Usage("The store cannot be read without a configuration that is right.".into())
    })?;
    let dataset = dataset::open(&config.config).await.map_err(failed)?;
    let store = dataset.store();
    let begun = Backup::begin(&*store, &dataset.keyring, Scope::Everything, Deadline::after(STEP));
    let mut backup = begun.await.map_err(|error| failed(error.into()))?;
    loop {
        let part = backup.next(Deadline::after(STEP)).await;
        let Some(part) = part.map_err(|error| failed(error.into()))? else { return Ok(()) };
        writing.add(&part.bytes, part.records_done, part.records_total, part.is_last)?;
    }
}

/// A backup that is being written.
struct Writing {
    output: Output,
    bar: ProgressBar,
    bytes: u64,
    records: u64,
    is_complete: bool,
}

impl Writing {
    fn add(
        &mut self,
        bytes: &[u8],
        records: u64,
        total: Option<u64>,
        is_last: bool,
    ) -> Result<(), Failure> {
        self.output.write(bytes)?;
        self.bytes += bytes.len() as u64;
        self.records = records;
        self.is_complete = is_last;
        self.bar.set_length(total.unwrap_or(records));
        self.bar.set_position(records);
        Ok(())
    }
}

enum Output {
    Stdout(io::Stdout),
    File(Unfinished),
}

/// A file under a name that says that it is none yet; it goes unless it is finished.
struct Unfinished {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Output {
    fn begin(target: &Path, force: bool) -> Result<Self, Failure> {
        if target.as_os_str() == "-" {
            if io::stdout().is_terminal() {
                let text = "A backup is no text: send standard output to a file or a program.";
                return Err(Failure::Usage(text.into()));
            }
            return Ok(Self::Stdout(io::stdout()));
        }
        let shown = target.display();
        match fs::metadata(target) {
            Ok(found) if !found.is_file() => {
                return Err(Failure::Usage(format!("{shown} is there already and is no file.")));
            }
            Ok(_) if !force => {
                return Err(Failure::Usage(format!(
                    "{shown} is there already: take another name, or add --force to write over it."
                )));
            }
            _ => {}
        }
        let name = target
            .file_name()
            .ok_or_else(|| Failure::Usage(format!("{shown} is no name of a file.")))?;
        let mut partial = std::ffi::OsString::from(".");
        partial.push(name);
        partial.push(format!(".{}.unfinished", std::process::id()));
        let path = target.with_file_name(partial);
        let mut options = OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = opened.map_err(|error| cannot_write(target, &error))?;
        Ok(Self::File(Unfinished { file, path, target: target.to_owned() }))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Stdout(output) => Ok(output.write_all(bytes)?),
            Self::File(Unfinished { file, target, .. }) => {
                file.write_all(bytes).map_err(|error| cannot_write(target, &error))
            }
        }
    }

    /// Gives the file its name, once all of it is on the disk.
    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Stdout(mut output) => Ok(output.flush()?),
            Self::File(unfinished) => {
                let Unfinished { file, path, target } = &unfinished;
                let directory = match target.parent() {
                    Some(parent) if !parent.as_os_str().is_empty() => parent,
                    _ => Path::new("."),
                };
                file.sync_all()
                    .and_then(|()| fs::rename(path, target))
                    .and_then(|()| File::open(directory)?.sync_all())
                    .map_err(|error| cannot_write(target, &error))
            }
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Where it has its name by now, there is nothing under this one.
        let _ = fs::remove_file(&self.path);
    }
}

fn cannot_write(target: &Path, error: &io::Error) -> Failure {
    Failure::Broken(format!("{} cannot be written: {error}.", target.display()))
}
