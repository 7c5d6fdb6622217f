//! `twinlock import FILE`.

mod recovery_keys;
mod report;

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::future::ready;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::stream::{self, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use twinlock_client::proto::ImportEnrollmentRequest;
use twinlock_client::{Client, Error, Reason};
use twinlock_core::UserId;
use twinlock_core::otpauth::OtpauthUri;
use twinlock_core::totp::{Algorithm, Parameters};
use zeroize::Zeroizing;

use self::recovery_keys::RecoveryKeys;
use self::report::{Outcome, Report};
use super::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use super::{Console, Failure};
use crate::import::{self, Entry, Format, Hints, Unreadable, Users};

/// Take over authenticators that another system enrolled. Needs the role admin. Run it with --dry-run first;
/// running it again is harmless.
///
/// The exit status is 0 where every entry was imported, 1 where some were not, 2 where the file cannot be
/// read, and 3 where the server failed. docs/import.md tells how each system exports.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where the file comes from, where it does not show
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Check the file and say what would be imported; no server is asked
    #[arg(long)]
    dry_run: bool,
    /// Which of the file's names of a user is the user id in the product, or is looked up in --users
    #[arg(long, value_name = "NAME")]
    user_from: Option<String>,
    /// The user ids of the file's names: CSV whose first line names two columns, one of them user_id
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// The file that holds the key of an encrypted export
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The hash of all codes, where the file does not say it: SHA1, SHA256 or SHA512
    #[arg(long, value_parser = algorithm)]
    algorithm: Option<Algorithm>,
    /// Make a recovery key for each imported user and write it to this file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    recovery_keys: Option<PathBuf>,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

/// Imports a file and prints the report; gives the exit status.
pub(super) async fn import(arguments: &ImportArguments, console: &Console) -> Result<u8, Failure> {
    let (format, entries) = arguments.entries()?;
    let mut report = Report::new(format, arguments.dry_run, &entries);
    if arguments.dry_run {
        arguments.recovery_keys.as_deref().map(RecoveryKeys::check).transpose()?;
    } else if report.left() > 0 {
        let client = arguments.connection.client(DEFAULT_TIMEOUT)?;
        let recovery_keys =
            arguments.recovery_keys.as_deref().map(RecoveryKeys::create).transpose()?;
        let is_watched = !arguments.connection.json && io::stderr().is_terminal();
        let bar = progress_bar(report.left(), is_watched);
        send(&client, &entries, recovery_keys, &mut report, &bar).await;
        bar.finish_and_clear();
    }
    report.print(console)?;
    Ok(report.exit_status())
}

impl ImportArguments {
    fn entries(&self) -> Result<(Format, Vec<Entry>), Failure> {
        let bytes = read(&self.file)?;
        let text = import::text(&bytes)?;
        let format = self.format.map_or_else(|| Format::detect(text), Ok)?;
        let key = self.key_file.as_deref().map(key).transpose()?;
        let found = import::read(format, text, &Hints { key, algorithm: self.algorithm })?;
        let ids = self.users.as_deref().map(mapping).transpose()?;
        let entries = import::assign(format, found, &Users { name: self.user_from.clone(), ids })?;
        Ok((format, entries))
    }
}

/// How many calls are under way at once: enough for a server that groups its writes, and few beside the
/// logins that it serves meanwhile.
const AT_ONCE: usize = 16;

async fn send(
    client: &Client,
    entries: &[Entry],
    mut recovery_keys: Option<RecoveryKeys>,
    report: &mut Report<'_>,
    bar: &ProgressBar,
) {
    let issue_recovery_key = recovery_keys.is_some();
    // Once it stops, no call begins any more, and those under way end: what became of them is known.
    let stopped = Cell::new(false);
    let taken = entries.iter().enumerate().filter_map(|(index, entry)| {
        let (user, authenticator) = entry.taken.as_ref().ok()?;
        Some((index, user, &authenticator.uri))
    });
    let calls = stream::iter(taken)
        .take_while(|_| ready(!stopped.get()))
        .map(|(index, user, uri)| async move {
            (index, user, client.import_enrollment(request(user, uri, issue_recovery_key)).await)
        })
        .buffer_unordered(AT_ONCE);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(calls, interrupt);
    loop {
        let (index, user, answer) = tokio::select! {
            next = calls.next() => match next {
                Some(ended) => ended,
                None => break,
            },
            _ = &mut interrupt, if !stopped.get() => {
                stopped.set(true);
                report.stop("It was interrupted.".into());
                continue;
            }
        };
        let outcome = match answer {
            Ok(answer) => {
                let kept =
                    recovery_keys.as_mut().map(|keys| keys.write(user, &answer.recovery_key));
                if let Some(Err(error)) = kept {
                    stopped.set(true);
                    report.stop(format!("The recovery keys cannot be written: {error}."));
                    Outcome::KeyLost
                } else {
                    Outcome::Imported
                }
            }
            Err(Error { reason: Reason::AlreadyEnrolled, .. }) => Outcome::AlreadyEnrolled,
            Err(Error { reason: Reason::InvalidRequest, message, .. }) => Outcome::Refused(message),
            // One record that no key opens says nothing of the others.
            Err(Error { reason: Reason::SecretUnreadable, message, .. }) => {
                Outcome::Failed(message)
            }
            Err(Error { message, .. }) => {
                stopped.set(true);
                report.stop(message.clone());
                Outcome::Failed(message)
            }
        };
        report.set(index, outcome);
        bar.inc(1);
    }
    if let Some(Err(error)) = recovery_keys.map(RecoveryKeys::finish) {
        report.stop(format!("The recovery keys may not be on the disk: {error}."));
    }
}

/// The call for one user. The client gives it a request id, so that a lost answer is asked for again.
fn request(user: &UserId, uri: &OtpauthUri, issue_recovery_key: bool) -> ImportEnrollmentRequest {
    // Of a URI, the server keeps nothing but these.
    let Parameters { algorithm, digits, period } = uri.parameters;
    let (algorithm, digits, period) = (algorithm.name(), digits.count(), period.as_secs());
    let secret = uri.secret.to_base32();
    let parameters = format!("algorithm={algorithm}&digits={digits}&period={period}");
    ImportEnrollmentRequest {
        user_id: user.as_str().to_owned(),
        otpauth_uri: format!("otpauth://totp/?secret={}&{parameters}", *secret),
        issue_recovery_key,
        ..Default::default()
    }
}

fn progress_bar(length: usize, visible: bool) -> ProgressBar {
    if !visible {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::try_from(length).unwrap_or(u64::MAX));
    let template = "Importing {wide_bar} {human_pos} of {human_len}, {eta} left";
    bar.with_style(ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar()))
}

/// Reads a whole file into memory that is wiped, or as much of it as shows that it is too large.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let unreadable =
        |error: io::Error| Failure::Usage(format!("{} cannot be read: {error}.", path.display()));
    let mut bytes = Zeroizing::new(Vec::new());
    let source: Box<dyn io::Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(path).map_err(unreadable)?),
    };
    source.take(import::MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > import::MAX_BYTES {
        return Err(Unreadable::TooLarge.into());
    }
    Ok(bytes)
}

fn key(path: &Path) -> Result<Zeroizing<String>, Failure> {
    Ok(Zeroizing::new(import::text(&read(path)?)?.to_owned()))
}

fn mapping(path: &Path) -> Result<HashMap<String, String>, Failure> {
    Ok(Users::mapping(import::text(&read(path)?)?)?)
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    Algorithm::parse(text).map_err(|malformed| malformed.problem.to_owned())
}

impl From<Unreadable> for Failure {
    fn from(unreadable: Unreadable) -> Self {
        Self::Usage(unreadable.to_string())
    }
}
