//! The keyring in force, and how another one takes its place without failing a call.

use super::Engine;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::seal::{KeyId, Keyring, Unreadable, key_of_marker};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How long the store may take to show its markers.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look whether the calls that began under another keyring have ended.
const LOOK: Duration = Duration::from_millis(5);
/// A little more than the longest that a call may take.
const LONGEST_CALL: Duration = Duration::from_secs(6 * 60);

/// Why another keyring does not take the place of the one in force.
#[derive(Debug, thiserror::Error)]
pub enum KeyringRefused {
    /// One id stands for two secrets.
    #[error("its key {0} is another one than the key {0} in force")]
    Contradiction(KeyId),
    /// The key that seals is missing.
    #[error("it lacks key {0}, which seals now; make another key the primary first")]
    WithoutPrimary(KeyId),
    /// A key that is needed is missing.
    #[error("it lacks key {key}, which still seals {records} records or the marker of the dataset")]
    Needed {
        /// The key.
        key: KeyId,
        /// How many records need it.
        records: u64,
    },
    /// It belongs to another dataset.
    #[error("it does not belong to this store: {0}")]
    Foreign(#[from] Unreadable),
    /// The store did not answer, so nobody knows; it may be tried again.
    #[error("the store cannot be asked whether it belongs to it: {0}")]
    Unchecked(#[from] Error),
}

impl Engine {
    /// The keyring in force. A call keeps to the one under which it began.
    pub fn keyring(&self) -> Arc<Keyring> {
        self.keys.in_force().keyring.clone()
    }

    /// Takes another keyring, where it can be taken; gives whether it differs from the one in force.
    ///
    /// No call fails of it. Every call knows a new key before the first of them seals with it: what one has
    /// written, another that began earlier must be able to read. When this returns, no call that began
    /// under the former keyring is left, so nothing is sealed under its primary any more.
    ///
    /// # Errors
    /// Where it lacks a key that is needed, or belongs to another dataset; the one in force stays.
    pub async fn change_keyring(&self, keyring: Keyring) -> Result<bool, KeyringRefused> {
        let before = self.keyring();
        if before.is_same(&keyring) {
            self.keys.refuse(None);
            return Ok(false);
        }
        if let Err(refused) = self.admit_keyring(&before, &keyring).await {
            self.keys.refuse(Some(refused.to_string()));
            return Err(refused);
        }
        if !before.has(keyring.primary()) {
            self.keys.replace(before.knowing(&keyring)).await;
        }
        self.keys.replace(keyring).await;
        self.keys.refuse(None);
        Ok(true)
    }

    /// Remembers that another keyring could not even be read, for [`Engine::warnings`].
    pub fn refuse_keyring(&self, why: String) {
        self.keys.refuse(Some(why));
    }

    /// Looks whether other replicas have gone on to a key that this one does not seal with yet; gives what to do
    /// about it, also in [`Engine::warnings`].
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn look_for_later_keyring(&self) -> Result<Option<String>, Error> {
        let markers = self.store.markers(Deadline::after(PATIENCE)).await?;
        let keyring = self.keyring();
        let mut sealing = markers.iter().filter_map(|marker| key_of_marker(marker).ok());
        let later = sealing.find(|key| !keyring.has(*key) || keyring.is_prepared(*key));
        let behind = later.map(|key| {
            let here = if keyring.has(key) { "is only prepared" } else { "is missing" };
            format!("other replicas seal with key {key}, which {here} here: hand their keyring to this one")
        });
        self.keys.fall_behind(behind.clone());
        Ok(behind)
    }

    async fn admit_keyring(
        &self,
        before: &Keyring,
        keyring: &Keyring,
    ) -> Result<(), KeyringRefused> {
        if let Some(key) = before.contradiction(keyring) {
            return Err(KeyringRefused::Contradiction(key));
        }
        if !keyring.has(before.primary()) {
            return Err(KeyringRefused::WithoutPrimary(before.primary()));
        }
        if before.ids().any(|key| !keyring.has(key)) {
            let census = self.census(|_| {}).await?;
            let needed = before.ids().find(|key| !keyring.has(*key) && census.needs(*key));
            if let Some(key) = needed {
                return Err(KeyringRefused::Needed { key, records: census.records_needing(key) });
            }
        }
        let markers = self.store.markers(Deadline::after(PATIENCE)).await.map_err(Error::from)?;
        for marker in markers {
            keyring.open_marker(&marker)?;
        }
        Ok(())
    }
}

/// The keyring in force.
pub(super) struct Keys {
    in_force: RwLock<Arc<InForce>>,
    /// Why the last other one was refused, until one is taken.
    refused: RwLock<Option<String>>,
    /// What others have gone on to.
    behind: RwLock<Option<String>>,
}

/// A keyring that calls hold for as long as they last, so that it shows when the last of them has ended.
pub(super) struct InForce {
    pub(super) keyring: Arc<Keyring>,
}

impl Keys {
    pub(super) fn new(keyring: Arc<Keyring>) -> Self {
        let in_force = RwLock::new(Arc::new(InForce { keyring }));
        Self { in_force, refused: RwLock::default(), behind: RwLock::default() }
    }

    pub(super) fn in_force(&self) -> Arc<InForce> {
        self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is to be mended, as sentences.
    pub(super) fn warnings(&self) -> Vec<String> {
        let read = |why: &RwLock<Option<String>>| {
            why.read().unwrap_or_else(PoisonError::into_inner).clone()
        };
        let refused = read(&self.refused).map(|why| {
            format!("a changed keyring was refused, and the one before is still in force: {why}")
        });
        refused.into_iter().chain(read(&self.behind)).collect()
    }

    fn fall_behind(&self, how: Option<String>) {
        *self.behind.write().unwrap_or_else(PoisonError::into_inner) = how;
    }

    fn refuse(&self, why: Option<String>) {
        *self.refused.write().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Puts another one in force, and waits for the calls that began before.
    async fn replace(&self, keyring: Keyring) {
        let next = Arc::new(InForce { keyring: Arc::new(keyring) });
        let former = {
            let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
            Arc::downgrade(&std::mem::replace(&mut *in_force, next))
        };
        let limit = Deadline::after(LONGEST_CALL);
        while former.strong_count() > 0 {
            if limit.remaining().is_zero() {
                tracing::warn!("a call that began under the former keyring does not end");
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
