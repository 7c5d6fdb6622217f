//! `twinlock keys rotate`.

use super::source::{Known, Source, TAKING};
use super::{Where, change, file, refused};
use crate::cli::{Console, Failure};
use crate::config::Config;
use crate::keyring::File;
use clap::Args;
use serde_json::json;
use std::path::Path;
use twinlock_engine::clock;
use twinlock_engine::seal::KeyId;

/// Seal with a new key from now on, and reseal what older keys sealed. Needs the role operator.
///
/// The server takes the changed file by itself and goes on without failing a call. Where several replicas have
/// copies of the keyring, run it with --prepare first, hand the file to all of them, and then run it without.
#[derive(Debug, Args)]
pub(super) struct RotateArguments {
    /// Only add the next key, so that every replica knows it before one of them seals with it
    #[arg(long, conflicts_with = "file_only")]
    prepare: bool,
    /// Only change the file, which is to be handed to the servers: they reseal when they have it
    #[arg(long, conflicts_with = "direct")]
    file_only: bool,
    #[command(flatten)]
    pub(super) at: Where,
}

pub(super) async fn rotate(
    arguments: &RotateArguments,
    config: &Config,
    console: &Console,
) -> Result<(), Failure> {
    let path = file(config)?;
    if arguments.prepare {
        let id = change(path, |file| file.prepare(clock::system()()).map_err(refused)).await?;
        console.emit(&json!({ "key_id": id.to_string(), "state": "prepared" }))?;
        console.say(&format!("Key {id} is prepared in {}.", path.display()))?;
        return console.note(
            "Hand the file to every replica. When all have taken it (`twinlock keys list` says so), run \
             `twinlock keys rotate`.",
        );
    }
    if arguments.file_only {
        let Promoted { id, .. } = promote(path, None).await?;
        console.emit(&json!({ "key_id": id.to_string(), "state": "primary" }))?;
        console.say(&format!("Key {id} is the primary in {}.", path.display()))?;
        return console.note("Hand the file to the servers: they reseal when they have it.");
    }

    // Whoever cannot be asked, or has another keyring, would not take the new key either.
    let source = Source::open(&arguments.at, config).await?;
    let Promoted { file, id, was_prepared } = promote(path, Some(source.ids().await?)).await?;
    console.say(&format!("Key {id} is the primary in {}.", path.display()))?;
    let keyring = file.keyring().map_err(super::broken)?;
    if !source.take(keyring).await? {
        return Err(Failure::Broken(format!(
            "The server has not taken {} within {} s: its log and /readyz say why, unless it reads another \
             file. What is in the file stays; do not run this again.",
            path.display(),
            TAKING.as_secs(),
        )));
    }
    source.reseal(console, arguments.at.connection.json).await?;
    let keys = source.keys(console).await?;
    let left: Vec<&Known> = keys
        .iter()
        .filter(|key| key.id != id && (key.records > 0 || key.is_needed_otherwise))
        .collect();
    console.emit(&json!({
        "key_id": id.to_string(),
        "state": "primary",
        "still_needed": left.iter().map(|key| key.id.to_string()).collect::<Vec<_>>(),
    }))?;
    match left.as_slice() {
        [] => {
            console
                .say("Everything is sealed under it. The older keys can be retired in a while:")?;
            console.say("`twinlock keys retire KEY`, when no session or repeat may need them.")
        }
        left => {
            let ids: Vec<String> = left.iter().map(|key| key.id.to_string()).collect();
            let ids = ids.join(", ");
            if was_prepared {
                console.say(
                    "What was sealed before is sealed under it. Hand the file to every replica:",
                )?;
                return console.say(&format!(
                    "until all have it, some still seal under {ids}, and reseal that when they have it."
                ));
            }
            Err(Failure::Refused(format!(
                "Not everything is sealed under it: {ids} must stay. Either a replica has not taken the file, \
                 or some records cannot be opened. The server's log and `twinlock doctor` say more."
            )))
        }
    }
}

/// Makes the next key the primary, if whoever seals has the keys of the file as they are now.
async fn promote(path: &Path, known: Option<Vec<Known>>) -> Result<Promoted, Failure> {
    change(path, move |file| {
        if let Some(known) = known {
            admit(file, &known)?;
        }
        let was_prepared = file.prepared().is_some();
        let id = file.rotate(clock::system()());
        Ok(Promoted { file: file.clone(), id, was_prepared })
    })
    .await
}

struct Promoted {
    file: File,
    id: KeyId,
    was_prepared: bool,
}

fn admit(file: &File, known: &[Known]) -> Result<(), Failure> {
    let primary = file.entries().next().map(|key| key.id);
    let seals = known.iter().find(|key| key.is_primary).map(|key| key.id);
    if primary != seals {
        return Err(Failure::Refused(
            "The server seals with another key than the file's primary: it reads another file, or has not \
             taken the last change yet. Nothing was changed."
                .into(),
        ));
    }
    let is_known = |id| known.iter().any(|key| key.id == id && !key.is_missing);
    match file.prepared() {
        Some(prepared) if !is_known(prepared) => Err(Failure::Refused(format!(
            "The server does not know the prepared key {prepared} yet. Hand the file to every replica, wait \
             until `twinlock keys list` shows the key, and run this again. Nothing was changed."
        ))),
        _ => Ok(()),
    }
}
