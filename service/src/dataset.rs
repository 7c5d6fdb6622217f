//! The store and the keyring that belong together: opened, or made for the first time.

use crate::config::{self, Config, RedisMode, StoreKind};
use crate::keyring;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use twinlock_engine::clock;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::events::SharedLog;
use twinlock_engine::seal::Keyring;
use twinlock_engine::store::embedded::{self, Embedded};
use twinlock_engine::store::redis::{Address, Layout, Options, Redis};
use twinlock_engine::store::{Store, StoreError, Target};
use zeroize::Zeroizing;

/// How long opening a store over the network may take.
const OPENING: Duration = Duration::from_secs(10);
/// The same for making one, which looks at every key that is there.
const MAKING: Duration = Duration::from_secs(60);

/// What to do where the store has no dataset.
const REMEDY: &str = "To use this store for the first time, run `twinlock init --new-dataset`. \
                      If it held users before, restore it: a new one knows none of them.";

/// A store and the keyring that opens it.
pub struct Dataset {
    pub keyring: Arc<Keyring>,
    kind: Kind,
}

enum Kind {
    Embedded(Arc<Embedded>),
    Redis(Arc<Redis>),
}

impl Dataset {
    /// The store.
    pub fn store(&self) -> Arc<dyn Store> {
        match &self.kind {
            Kind::Embedded(store) => store.clone(),
            Kind::Redis(store) => store.clone(),
        }
    }

    /// The log of events that all replicas share; the embedded store is one process's alone.
    pub fn shared_log(&self) -> Option<Arc<dyn SharedLog>> {
        match &self.kind {
            Kind::Embedded(_) => None,
            Kind::Redis(store) => Some(Arc::new(store.event_log())),
        }
    }
}

/// What an operator knows the store by.
pub fn name(store: &config::Store) -> String {
    match store.kind {
        StoreKind::Embedded => store.path.display().to_string(),
        StoreKind::Redis => store.redis.urls.join(", "),
    }
}

/// Opens what was initialized before; makes nothing.
pub async fn open(config: &Config) -> Result<Dataset> {
    let name = name(&config.store);
    let kind = match config.store.kind {
        StoreKind::Embedded => {
            let path = &config.store.path;
            if !path.join(embedded::FILE_NAME).exists() {
                bail!("There is no store in {name}. {REMEDY}");
            }
            Kind::Embedded(Arc::new(Embedded::open(path, clock::system())?))
        }
        StoreKind::Redis => {
            let opened = Redis::open(options(&config.store.redis)?, Deadline::after(OPENING)).await;
            let opened = match opened {
                Err(StoreError::Incomplete(why)) => {
                    bail!(
                        "STORE_INCOMPLETE: the store at {name} is not a whole dataset: {why}. {REMEDY}"
                    )
                }
                opened => opened.with_context(|| format!("the store at {name}"))?,
            };
            Kind::Redis(Arc::new(opened))
        }
    };
    let keyring = Arc::new(keyring::load(&config.keyring)?);
    let dataset = Dataset { keyring, kind };
    dataset.keyring.open_marker(dataset.store().marker()).with_context(|| {
        format!(
            "SECRET_UNREADABLE: the keyring {} does not belong to the store in {name}. \
             Put the right keyring in its place",
            keyring::name(&config.keyring),
        )
    })?;
    Ok(dataset)
}

/// Makes a new dataset: the store, and the keyring where there is none. Refuses where there is a store.
pub async fn initialize(config: &Config) -> Result<Dataset> {
    // The store is looked at before a keyring is made: one that belongs to no store would only mislead.
    match config.store.kind {
        StoreKind::Embedded => {
            let path = &config.store.path;
            ensure!(
                !path.join(embedded::FILE_NAME).exists(),
                "There is a store in {} already. To begin anew, move it away first.",
                path.display()
            );
            make_directory(path)?;
            let keyring = read_or_generate_keyring(&config.keyring)?;
            let store = Embedded::initialize(path, &keyring.new_marker(), clock::system())?;
            Ok(Dataset { keyring: Arc::new(keyring), kind: Kind::Embedded(Arc::new(store)) })
        }
        StoreKind::Redis => {
            let name = name(&config.store);
            let deadline = Deadline::after(MAKING);
            let vacant = Redis::vacant(options(&config.store.redis)?, deadline).await;
            let vacant = vacant.with_context(|| format!("the store at {name}"))?;
            let keyring = read_or_generate_keyring(&config.keyring)?;
            let made = vacant.initialize(&keyring.new_marker(), deadline).await;
            let store = made.with_context(|| format!("the store at {name}"))?;
            Ok(Dataset { keyring: Arc::new(keyring), kind: Kind::Redis(Arc::new(store)) })
        }
    }
}

/// Reaches what a backup is to be restored to, whatever is there; makes nothing yet.
pub async fn restoring(config: &Config) -> Result<Box<dyn Target>> {
    let name = name(&config.store);
    match config.store.kind {
        StoreKind::Embedded => {
            let target = Embedded::restoring(&config.store.path);
            let target = target.with_context(|| {
                format!("the store in {name}: stop its server, or move a damaged file away")
            });
            Ok(Box::new(target?))
        }
        StoreKind::Redis => {
            let target = Redis::restoring(options(&config.store.redis)?, Deadline::after(OPENING));
            Ok(Box::new(target.await.with_context(|| format!("the store at {name}"))?))
        }
    }
}

/// Whether this is the first try: nothing at all is configured, and there is no data yet. Only then may a
/// start make its data, for whoever has configured something means to keep what is there.
pub fn is_first_try(config: &Config, nothing_configured: bool) -> bool {
    nothing_configured && !config.store.path.exists()
}

fn options(config: &config::Redis) -> Result<Options> {
    let addresses =
        config.urls.iter().map(|url| Address::parse(url)).collect::<Result<Vec<_>, _>>();
    let addresses = addresses.context("store.redis.urls")?;
    ensure!(
        config.mode == RedisMode::Standalone
            || !addresses.iter().any(|address| matches!(address, Address::Unix(_))),
        "store.redis.urls: a socket leads to one server alone; write the hosts' addresses, or set \
         store.redis.mode to standalone"
    );
    let layout = match (config.mode, addresses.as_slice()) {
        (RedisMode::Standalone, [address]) => Layout::Standalone(address.clone()),
        (RedisMode::Standalone, _) => bail!("store.redis.urls: write one address"),
        (RedisMode::Sentinel, _) => {
            let master = config.sentinel_master.clone();
            let master = master.context("store.redis.sentinel_master is missing")?;
            Layout::Sentinel { sentinels: addresses, master }
        }
        (RedisMode::Cluster, _) => Layout::Cluster(addresses),
    };
    let authorities = config.tls_ca.as_ref().map(|path| {
        fs::read(path)
            .with_context(|| format!("store.redis.tls_ca: cannot read {}", path.display()))
    });
    Ok(Options {
        layout,
        username: config.username.clone(),
        password: config.password.as_ref().map(|it| Zeroizing::new(it.expose().to_owned())),
        tls_authorities: authorities.transpose()?,
        timeout: config.timeout,
        acknowledging_replicas: config.acknowledging_replicas,
        acknowledge_attempts: config.acknowledge_verify,
    })
}

fn read_or_generate_keyring(config: &config::Keyring) -> Result<Keyring> {
    let file = &config.file;
    if config.keys.is_some() || file.exists() {
        return keyring::load(config);
    }
    if let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    keyring::generate(file)
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
