//! `twinlock keys retire KEY`.

use super::list::written;
use super::source::{Known, Source, TAKING};
use super::{Where, broken, change, file, refused};
use crate::cli::{Console, Failure};
use crate::config::Config;
use crate::keyring::{File, State};
use clap::Args;
use serde_json::json;
use std::time::Duration;
use twinlock_core::{Timestamp, receipt};
use twinlock_engine::clock;
use twinlock_engine::seal::KeyId;

/// What is added to the lifetimes for the server to take a change and for calls under way to end.
const MARGIN: Duration = Duration::from_secs(60);

/// Remove a key that nothing needs any more from the keyring. Needs the role operator.
///
/// Keep a copy of it for as long as there are backups from its time: they open with it alone.
#[derive(Debug, Args)]
pub(super) struct RetireArguments {
    /// The key's name, eight hexadecimal digits
    #[arg(value_name = "KEY", value_parser = key_id)]
    key: KeyId,
    /// Do not wait until the sessions and repeats of the key's time have lapsed: elevated sessions end, and
    /// repeats count as new calls. It never removes a key that a record needs.
    #[arg(long)]
    force: bool,
    /// Ask whether anything needs the key, and then only change the file, which is to be handed to the servers
    #[arg(long, conflicts_with = "direct")]
    file_only: bool,
    #[command(flatten)]
    pub(super) at: Where,
}

pub(super) async fn retire(
    arguments: &RetireArguments,
    config: &Config,
    console: &Console,
) -> Result<(), Failure> {
    let path = file(config)?;
    let (id, force) = (arguments.key, arguments.force);
    let lifetime =
        receipt::LIFETIME.max(config.elevation.lifetime).max(config.enrollment.pending_lifetime)
            + MARGIN;
    let early = move |file: &File| admit(file, id, (!force).then_some(lifetime));
    let read = File::read(path).map_err(broken)?;
    // Before all records are looked at, and again when the file is changed.
    early(&read)?;
    let source = Source::open(&arguments.at, config).await?;
    let known = source.keys(console).await?;
    let (key, keyring) = change(path, move |file| {
        early(file)?;
        not_needed(file, &known, id)?;
        let key = file.retire(id).map_err(refused)?;
        Ok((key, file.keyring().map_err(broken)?))
    })
    .await?;
    if !arguments.file_only {
        let taken = source.take(keyring).await;
        if !matches!(taken, Ok(true)) {
            // It may need the key by now: the file must not lose what a server has in its memory alone.
            change(path, |file| {
                file.put_back(key);
                Ok(())
            })
            .await?;
            taken?;
            return Err(Failure::Broken(format!(
                "The server has not taken {} without key {id} within {} s: its log and /readyz say why, unless \
                 it reads another file (then add --file-only). The key is back in the file.",
                path.display(),
                TAKING.as_secs(),
            )));
        }
    }
    console.emit(&json!({ "key_id": id.to_string(), "state": "retired" }))?;
    console.say(&format!("Key {id} is no longer in {}.", path.display()))?;
    console
        .note("Backups from its time open with it alone: keep a copy for as long as you keep them.")
}

/// Refuses where the file has no such key, or the key was the primary a moment ago.
fn admit(file: &File, id: KeyId, lifetime: Option<Duration>) -> Result<(), Failure> {
    let key = file.entries().find(|key| key.id == id);
    let Some(key) = key else {
        return Err(Failure::Usage(format!("There is no key {id} in the keyring.")));
    };
    match (file.state(key), lifetime) {
        (State::Primary, _) => Err(Failure::Refused(format!(
            "Key {id} is the primary. Make another the primary first: `twinlock keys rotate`."
        ))),
        (State::Prepared, _) | (_, None) => Ok(()),
        (State::Former, Some(lifetime)) => {
            let Some(until) = key.primary_until else {
                return Err(Failure::Refused(format!(
                    "The keyring does not say when key {id} ceased to be the primary. Where that is longer \
                     than {} ago, add --force.",
                    humantime::format_duration(lifetime)
                )));
            };
            let from = until.after(lifetime);
            if now() >= from {
                return Ok(());
            }
            Err(Failure::Refused(format!(
                "Sessions and repeats from the time of key {id} may still need it, until {}. --force does \
                 not wait for them.",
                written(from)
            )))
        }
    }
}

fn not_needed(file: &File, known: &[Known], id: KeyId) -> Result<(), Failure> {
    let primary = file.entries().next().map(|key| key.id);
    if known.iter().find(|key| key.is_primary).map(|key| key.id) != primary {
        return Err(Failure::Refused(
            "The server seals with another key than the file's primary: it reads another file, or has not \
             taken the last change yet. Nothing was changed."
                .into(),
        ));
    }
    match known.iter().find(|key| key.id == id) {
        Some(Known { records: records @ 1.., .. }) => Err(Failure::Refused(format!(
            "{records} record{} still need{} key {id}. The server reseals them in the background; \
             `twinlock keys list` says how many are left.",
            if *records == 1 { "" } else { "s" },
            if *records == 1 { "s" } else { "" },
        ))),
        Some(Known { is_needed_otherwise: true, .. }) => Err(Failure::Refused(format!(
            "The marker of the store, or records of other namespaces, still need key {id}. The server reseals \
             them in the background."
        ))),
        _ => Ok(()),
    }
}

fn now() -> Timestamp {
    clock::system()()
}

fn key_id(text: &str) -> Result<KeyId, String> {
    KeyId::parse(text).ok_or_else(|| "a key's name has eight hexadecimal digits".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_key_is_kept_until_what_was_made_under_it_has_lapsed() {
        let lifetime = Duration::from_secs(660);
        let ago = |secs: u64| Timestamp::from_secs(now().as_secs() - secs);
        for (secs, is_over) in [(0, false), (600, false), (670, true)] {
            let mut file = File::generate(ago(10_000));
            let first = file.entries().next().expect("a key").id;
            let second = file.rotate(ago(secs));
            assert_eq!(admit(&file, first, Some(lifetime)).is_ok(), is_over, "{secs}");
            assert!(admit(&file, first, None).is_ok(), "--force");
            assert!(admit(&file, second, None).is_err(), "never the primary");
            let prepared = file.prepare(ago(0)).expect("none is");
            assert!(admit(&file, prepared, Some(lifetime)).is_ok(), "it never sealed");
        }
    }

    #[test]
    fn what_is_needed_is_kept_whatever_is_said() {
        let file = File::generate(now());
        let primary = file.entries().next().expect("a key").id;
        let known = |id, is_primary, records, is_needed_otherwise| Known {
            id,
            is_primary,
            is_missing: false,
            records,
            is_needed_otherwise,
        };
        let refusal = |records, otherwise| {
            let known = [known(primary, true, 9, true), known(KeyId(7), false, records, otherwise)];
            not_needed(&file, &known, KeyId(7)).err().map(|failure| failure.to_string())
        };
        assert_eq!(refusal(0, false), None);
        assert!(refusal(12, true).expect("refused").starts_with("12 records still need key"));
        assert!(refusal(1, false).expect("refused").starts_with("1 record still needs key"));
        assert!(refusal(0, true).expect("refused").contains("other namespaces"));
        let other = [known(KeyId(9), true, 9, true)];
        assert!(not_needed(&file, &other, KeyId(7)).is_err(), "the server seals with another");
    }
}
