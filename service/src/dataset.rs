//! The store and the keyring that belong together: opened, or made for the first time.

use crate::config::{Config, StoreKind};
use crate::keyring;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use twinlock_engine::clock;
use twinlock_engine::seal::Keyring;
use twinlock_engine::store::embedded::{self, Embedded};

/// A store and the keyring that opens it.
pub struct Dataset {
    pub keyring: Arc<Keyring>,
    pub store: Arc<Embedded>,
}

/// Opens what was initialized before; makes nothing.
pub fn open(config: &Config) -> Result<Dataset> {
    only_embedded(config)?;
    let path = &config.store.path;
    let remedy = "To use this store for the first time, run `twinlock init --new-dataset`. \
                  If it held users before, restore it: a new one knows none of them.";
    if !path.join(embedded::FILE_NAME).exists() {
        bail!("There is no store in {}. {remedy}", path.display());
    }
    let keyring = keyring::read(&config.keyring.file)?;
    let store = Embedded::open(path, clock::system())?;
    keyring.open_marker(store.marker()).with_context(|| {
        format!(
            "SECRET_UNREADABLE: the keyring {} does not belong to the store in {}. \
             Put the right keyring in its place",
            config.keyring.file.display(),
            path.display()
        )
    })?;
    Ok(Dataset { keyring: Arc::new(keyring), store: Arc::new(store) })
}

/// Makes a new dataset: the store, and the keyring where there is none. Refuses where there is a store.
pub fn initialize(config: &Config) -> Result<Dataset> {
    only_embedded(config)?;
    let path = &config.store.path;
    ensure!(
        !path.join(embedded::FILE_NAME).exists(),
        "There is a store in {} already. To begin anew, move it away first.",
        path.display()
    );
    make_directory(path)?;
    let file = &config.keyring.file;
    let keyring = if file.exists() {
        keyring::read(file)?
    } else {
        if let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            make_directory(parent)?;
        }
        keyring::generate(file)?
    };
    let store = Embedded::initialize(path, &keyring.new_marker(), clock::system())?;
    Ok(Dataset { keyring: Arc::new(keyring), store: Arc::new(store) })
}

/// Whether this is the first try: nothing at all is configured, and there is no data yet. Only then may a
/// start make its data, for whoever has configured something means to keep what is there.
pub fn is_first_try(config: &Config, nothing_configured: bool) -> bool {
    nothing_configured && !config.store.path.exists()
}

fn only_embedded(config: &Config) -> Result<()> {
    match config.store.kind {
        StoreKind::Embedded => Ok(()),
        StoreKind::Redis => bail!(
            "store.kind: this release has the embedded store alone; write kind = \"embedded\"."
        ),
    }
}

fn make_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))?;
    if let Some(parent) = fs::canonicalize(path)?.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}
