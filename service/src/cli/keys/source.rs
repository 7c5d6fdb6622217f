//! Whom to ask what needs a key: a running server, or the store itself.

use super::{Where, broken};
use crate::cli::connection::DEFAULT_TIMEOUT;
use crate::cli::progress::{self, Unit};
use crate::cli::{Console, Failure};
use crate::config::Config;
use crate::{dataset, policy};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use twinlock_client::Client;
use twinlock_client::proto::{KeyringKey, ListKeysRequest, ResealRequest};
use twinlock_engine::Engine;
use twinlock_engine::reseal::Pace;
use twinlock_engine::seal::{KeyId, Keyring};

/// How often to say how far it is where there is no bar.
const LINE: Duration = Duration::from_secs(5);

/// How long a server may take to see that the file has changed, and to let the calls under way end.
pub(super) const TAKING: Duration = Duration::from_secs(30);

/// Whom to ask.
pub(super) enum Source {
    /// A running server, which tells of one namespace.
    Server(Client),
    /// The store itself.
    Store(Arc<Engine>),
}

/// What a key is to whoever was asked.
pub(super) struct Known {
    pub(super) id: KeyId,
    pub(super) is_primary: bool,
    /// Whether the keyring lacks it, although something needs it.
    pub(super) is_missing: bool,
    /// How many records need it.
    pub(super) records: u64,
    /// Whether anything else needs it.
    pub(super) is_needed_otherwise: bool,
}

impl Source {
    pub(super) async fn open(at: &Where, config: &Config) -> Result<Self, Failure> {
        if !at.direct {
            return Ok(Self::Server(at.connection.client(DEFAULT_TIMEOUT)?));
        }
        let dataset = dataset::open(config).await.map_err(broken)?;
        let settings = policy::policy(config).map_err(|error| broken(error.into()))?;
        let hasher = policy::hasher(&config.argon2).map_err(|error| broken(error.into()))?;
        let engine = Engine::new(dataset.store(), dataset.keyring, hasher, settings);
        Ok(Self::Store(Arc::new(engine)))
    }

    /// All keys, with what needs them.
    pub(super) async fn keys(&self, console: &Console) -> Result<Vec<Known>, Failure> {
        let mut lines = Lines::new("Looked at", console);
        match self {
            Self::Server(client) => {
                let mut parts = client.list_keys(ListKeysRequest {}).await?;
                while let Some(part) = parts.next().await? {
                    if part.is_last {
                        return known(&part.keys);
                    }
                    lines.tell(part.records_done, None)?;
                }
                Err(Failure::Broken("The server ended its answer before the end.".into()))
            }
            Self::Store(engine) => {
                let census = engine.census(|census| {
                    let records = census.namespaces.values().map(|tally| tally.records).sum();
                    // A line that cannot be written is missed by nobody.
                    let _ = lines.tell(records, None);
                });
                let census = census.await.map_err(|error| broken(error.into()))?;
                let keyring = engine.keyring();
                let needed = census.namespaces.values().flat_map(|tally| tally.needing.keys());
                let needed = needed.chain(&census.markers).copied();
                let missing: std::collections::BTreeSet<KeyId> =
                    needed.filter(|key| !keyring.has(*key)).collect();
                let all = keyring.ids().chain(missing);
                let known = |id| Known {
                    id,
                    is_primary: id == keyring.primary(),
                    is_missing: !keyring.has(id),
                    records: census.records_needing(id),
                    is_needed_otherwise: census.markers.contains(&id),
                };
                Ok(all.map(known).collect())
            }
        }
    }

    /// All keys, without what needs them: quickly, however many records there are.
    pub(super) async fn ids(&self) -> Result<Vec<Known>, Failure> {
        match self {
            Self::Server(client) => {
                let mut parts = client.list_keys(ListKeysRequest {}).await?;
                let first = parts.next().await?;
                known(&first.unwrap_or_default().keys)
            }
            Self::Store(engine) => {
                let keyring = engine.keyring();
                let known = |id| Known {
                    id,
                    is_primary: id == keyring.primary(),
                    is_missing: false,
                    records: 0,
                    is_needed_otherwise: false,
                };
                Ok(keyring.ids().map(known).collect())
            }
        }
    }

    /// Takes a changed keyring. A server does so by itself, and is waited for: `false` where it has other
    /// keys at the end, or seals with another.
    pub(super) async fn take(&self, keyring: Keyring) -> Result<bool, Failure> {
        let engine = match self {
            Self::Store(engine) => engine,
            Self::Server(_) => {
                let end = Instant::now() + TAKING;
                let mut ids: Vec<KeyId> = keyring.ids().collect();
                ids.sort_unstable();
                loop {
                    let keys = self.ids().await?;
                    let seals = keys.iter().find(|key| key.is_primary).map(|key| key.id);
                    let mut known: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
                    known.sort_unstable();
                    if seals == Some(keyring.primary()) && known == ids {
                        return Ok(true);
                    }
                    if Instant::now() >= end {
                        return Ok(false);
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        };
        engine.change_keyring(keyring).await.map_err(|refused| broken(refused.into()))?;
        Ok(true)
    }

    /// Reseals everything, and shows how far it is.
    pub(super) async fn reseal(&self, console: &Console, json: bool) -> Result<(), Failure> {
        let bar = progress::bar("Resealing", Unit::Records, json);
        let mut lines = Lines::new("Resealed", console);
        let mut tell = |done: u64, total: u64| {
            bar.set_length(total);
            bar.set_position(done);
            if bar.is_hidden() { lines.tell(done, Some(total)) } else { Ok(()) }
        };
        match self {
            Self::Server(client) => {
                let mut parts = client.reseal(ResealRequest {}).await?;
                while let Some(part) = parts.next().await? {
                    tell(part.records_done, part.records_total)?;
                }
            }
            Self::Store(engine) => {
                let mut progress = engine.reseal(Pace::Full);
                loop {
                    let now = progress.borrow_and_update().clone();
                    let total = now.total();
                    tell(total.done, total.records)?;
                    if !now.is_running {
                        break;
                    }
                    // The engine lives for as long as this.
                    let _ = progress.changed().await;
                }
            }
        }
        bar.finish_and_clear();
        Ok(())
    }
}

fn known(keys: &[KeyringKey]) -> Result<Vec<Known>, Failure> {
    let known = |key: &KeyringKey| {
        Some(Known {
            id: KeyId::parse(&key.key_id)?,
            is_primary: key.primary,
            is_missing: key.missing,
            records: key.records,
            is_needed_otherwise: key.needed_otherwise,
        })
    };
    let keys: Option<Vec<Known>> = keys.iter().map(known).collect();
    keys.filter(|keys| !keys.is_empty())
        .ok_or_else(|| Failure::Broken("The server does not say which keys it has.".into()))
}

/// Lines that say how far it is, now and then.
struct Lines<'a> {
    what: &'static str,
    console: &'a Console,
    next: Instant,
}

impl<'a> Lines<'a> {
    fn new(what: &'static str, console: &'a Console) -> Self {
        Self { what, console, next: Instant::now() + LINE }
    }

    fn tell(&mut self, done: u64, total: Option<u64>) -> Result<(), Failure> {
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + LINE;
        let of = total.map(|total| format!(" of {total}")).unwrap_or_default();
        self.console.note(&format!("{} {done}{of} records.", self.what))
    }
}
