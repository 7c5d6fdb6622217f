//! `twinlock keys list`.

use super::Where;
use super::source::{Known, Source};
use crate::cli::{Console, Failure};
use crate::config::Config;
use crate::keyring::{self, Entry, File, State};
use clap::Args;
use serde_json::json;
use std::time::{Duration, UNIX_EPOCH};
use twinlock_core::Timestamp;
use twinlock_engine::seal::KeyId;

/// Say which keys there are, what each is for, and how many records still need it. Needs the role operator.
///
/// No key is ever shown, only its name.
#[derive(Debug, Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    pub(super) at: Where,
}

pub(super) async fn list(
    arguments: &ListArguments,
    config: &Config,
    console: &Console,
) -> Result<(), Failure> {
    let file = match &config.keyring.keys {
        Some(_) => None,
        None => File::read(&config.keyring.file).ok(),
    };
    let asked = async { Source::open(&arguments.at, config).await?.keys(console).await }.await;
    let known = match (asked, &file) {
        (Ok(known), _) => known,
        (Err(failure), None) => return Err(failure),
        (Err(failure), Some(_)) => {
            console.note(&format!("What needs the keys is not known. {}", failure.advice()))?;
            Vec::new()
        }
    };
    let is_known = !known.is_empty();
    if !is_known || file.is_none() {
        console.note(&format!("The keyring: {}", keyring::name(&config.keyring)))?;
    }
    for line in lines(file.as_ref(), &known) {
        let Line { id, state, since, until, needed, note } = line;
        let records = needed.map(|(records, _)| records);
        console.emit(&json!({
            "key_id": id.to_string(),
            "state": state,
            "since": since.map(written),
            "until": until.map(written),
            "records": records,
            "needed_otherwise": needed.map(|(_, otherwise)| otherwise),
            "note": note,
        }))?;
        let times = match (since, until) {
            (_, Some(until)) => format!(" until {}", written(until)),
            (Some(since), None) => format!(" since {}", written(since)),
            (None, None) => String::new(),
        };
        let needs = match needed {
            None => "needed by: not known".into(),
            Some((0, false)) => "not needed".into(),
            Some((0, true)) => "needed by the store's marker or by other namespaces".into(),
            Some((1, _)) => "needed by 1 record".into(),
            Some((records, _)) => format!("needed by {records} records"),
        };
        let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
        console.say(&format!("{id}  {:<36}  {needs}{note}", format!("{state}{times}")))?;
    }
    Ok(())
}

struct Line {
    id: KeyId,
    state: &'static str,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// How many records need it, and whether anything else does.
    needed: Option<(u64, bool)>,
    note: Option<&'static str>,
}

/// The keys of the file, and those of which only the server knows.
fn lines(file: Option<&File>, known: &[Known]) -> Vec<Line> {
    let find = |id| known.iter().find(|key| key.id == id);
    let of_file = |file: &File, key: &Entry| {
        let state = file.state(key);
        let server = find(key.id);
        let note = match server {
            None if !known.is_empty() => Some("the server has not taken it"),
            Some(server) if server.is_missing => Some("the server has not taken it"),
            Some(server) if server.is_primary != (state == State::Primary) => {
                Some("the server has not taken the last change")
            }
            _ => None,
        };
        Line {
            id: key.id,
            state: match state {
                State::Primary => "primary",
                State::Prepared => "prepared",
                State::Former => "former",
            },
            since: if state == State::Prepared { key.prepared } else { key.primary_since },
            until: key.primary_until.filter(|_| state == State::Former),
            needed: server.map(|key| (key.records, key.is_needed_otherwise)),
            note,
        }
    };
    let mut lines: Vec<Line> =
        file.map(|file| file.entries().map(|key| of_file(file, key)).collect()).unwrap_or_default();
    for key in known {
        if lines.iter().any(|line| line.id == key.id) {
            continue;
        }
        lines.push(Line {
            id: key.id,
            state: match (key.is_missing, key.is_primary) {
                (true, _) => "missing",
                (_, true) => "primary",
                _ => "other",
            },
            since: None,
            until: None,
            needed: Some((key.records, key.is_needed_otherwise)),
            note: match (key.is_missing, file) {
                (true, _) => Some("no keyring has it; put it back from a copy"),
                (false, Some(_)) => Some("not in the keyring's file"),
                (false, None) => None,
            },
        });
    }
    lines
}

pub(super) fn written(at: Timestamp) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(at.as_secs())).to_string()
}
