//! A keyring that changes while the server runs.

use super::{name, read};
use crate::{config, reload};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use twinlock_engine::Engine;
use twinlock_engine::engine::KeyringRefused;
use twinlock_engine::reseal::Pace;
use twinlock_engine::seal::Keyring;

/// When to ask the store again where it could not say whether the keyring belongs to it.
const AGAIN: Duration = Duration::from_secs(5);

/// When to ask again where the keyring lacks a key that records still need, which are being resealed.
const WHEN_RESEALED: Duration = Duration::from_secs(15);

/// When to go on with what a pass could not do, since others wrote to the same records.
const UNFINISHED: Duration = Duration::from_secs(60);

/// How often to look whether other replicas have gone on to another key.
const LOOK: Duration = Duration::from_secs(10);

/// Reseals what former keys seal, now and whenever the keyring's file has changed. A file that cannot be used
/// changes nothing: the keyring before stays in force, and the log and `/readyz` say why.
pub fn follow(config: &config::Keyring, engine: Arc<Engine>) -> io::Result<()> {
    reseal(&engine);
    let unfinished = engine.clone();
    tokio::spawn(async move {
        loop {
            sleep(UNFINISHED).await;
            if unfinished.resealing().is_unfinished() {
                reseal(&unfinished);
            }
        }
    });
    tokio::spawn(watch_others(engine.clone()));
    // What is in the environment stays as it is for as long as the process lives.
    if config.keys.is_some() {
        return Ok(());
    }
    let changed = Arc::new(Notify::new());
    let notice = changed.clone();
    tokio::spawn(reload::on_change(vec![config.file.clone()], move || notice.notify_one())?);
    let config = config.clone();
    tokio::spawn(async move {
        loop {
            changed.notified().await;
            while let Some(pause) = take(&config, &engine).await {
                tokio::select! {
                    () = sleep(pause) => {}
                    () = changed.notified() => {}
                }
            }
        }
    });
    Ok(())
}

/// Says loudly where this replica was left behind in a rotation.
async fn watch_others(engine: Arc<Engine>) {
    let mut told = None;
    loop {
        sleep(LOOK).await;
        // A store that does not answer is told of elsewhere.
        let Ok(behind) = engine.look_for_later_keyring().await else { continue };
        if behind != told {
            if let Some(behind) = &behind {
                tracing::error!("{behind}");
            }
            told = behind;
        }
    }
}

/// Takes what is in the file now, or tells when to try that again.
async fn take(config: &config::Keyring, engine: &Arc<Engine>) -> Option<Duration> {
    let file = config.file.clone();
    let reading = move || read(&file).inspect(|_| settle(&file));
    let keyring = match tokio::task::spawn_blocking(reading).await {
        Ok(Ok(keyring)) => keyring,
        Ok(Err(error)) => {
            refuse(config, &format!("{error:#}"));
            engine.refuse_keyring(format!("{error:#}"));
            return None;
        }
        Err(_) => return Some(AGAIN),
    };
    match engine.change_keyring(keyring).await {
        Ok(false) => None,
        Ok(true) => {
            tracing::info!(keys = ?engine.keyring(), "the keyring was changed; the primary is first");
            reseal(engine);
            None
        }
        Err(refused) => {
            refuse(config, &refused.to_string());
            match refused {
                KeyringRefused::Unchecked(_) => Some(AGAIN),
                KeyringRefused::Needed { .. } => Some(WHEN_RESEALED),
                _ => None,
            }
        }
    }
}

/// Makes sure that a loss of power does not take a file away under whose keys something is sealed by then: who
/// copied it there may not have. Where it cannot be done, as in a read-only mount, it was not needed.
fn settle(path: &Path) {
    let Ok(path) = fs::canonicalize(path) else { return };
    for path in [Some(path.as_path()), path.parent()].into_iter().flatten() {
        let _ = fs::File::open(path).and_then(|file| file.sync_all());
    }
}

fn refuse(config: &config::Keyring, why: &str) {
    tracing::error!(
        keyring = name(config),
        why,
        "the changed keyring is refused; the one before stays in force"
    );
}

fn reseal(engine: &Arc<Engine>) {
    let keyring: Arc<Keyring> = engine.keyring();
    if keyring.ids().any(|key| keyring.is_former(key)) {
        engine.reseal(Pace::Gentle);
    }
}
