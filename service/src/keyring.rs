//! The keyring: from a file, or written out in the configuration.

mod file;
mod inline;
mod reload;

pub use file::{Entry, File, State};
pub use inline::parse as parse_inline;
pub use reload::follow;

use crate::config;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use twinlock_engine::seal::Keyring;

/// Reads the keyring that is configured.
pub fn load(config: &config::Keyring) -> Result<Keyring> {
    match &config.keys {
        Some(keys) => inline::parse(keys.expose()).context("keyring.keys is not usable"),
        None => read(&config.file),
    }
}

/// What an operator knows the keyring by.
pub fn name(config: &config::Keyring) -> String {
    match &config.keys {
        Some(_) => "keyring.keys".into(),
        None => config.file.display().to_string(),
    }
}

/// Reads a keyring.
pub fn read(path: &Path) -> Result<Keyring> {
    if is_open_to_others(path) {
        tracing::warn!(
            keyring = %path.display(),
            "others than its owner may read the keyring; run `chmod 600` on it"
        );
    }
    File::read(path)?.keyring().with_context(|| file::not_usable(path))
}

/// Makes a keyring with one random key; refuses to write over anything.
pub fn generate(path: &Path) -> Result<Keyring> {
    let file = File::generate(twinlock_engine::clock::system()());
    file.create(path)?;
    file.keyring()
}

/// Whether others than the owner may read a file, or may change it.
///
/// Where the owner is somebody else, the owner's group may read it: that is how Kubernetes hands a secret to a
/// process that is not root, and there is no other way.
pub fn is_open_to_others(path: &Path) -> bool {
    let Ok(metadata) = fs::metadata(path) else { return false };
    let is_ours = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == metadata.uid());
    let allowed = if is_ours { 0o600 } else { 0o640 };
    metadata.permissions().mode() & 0o077 & !allowed != 0
}
