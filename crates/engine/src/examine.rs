//! Whether everything that is in the store can be read.

use crate::backup::Scope;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::reseal::sealed_values;
use crate::seal::{Keyring, Unreadable};
use crate::store::{Record, Store, StoreError, Walk};
use std::sync::Arc;
use twinlock_core::UserId;

/// Opens a record and everything that is sealed in it.
///
/// # Errors
/// Where the keyring lacks a key, or the record is damaged, another user's, or a later release's.
pub fn examine(keyring: &Keyring, record: &Record) -> Result<(), Unreadable> {
    let vault = keyring.vault(&record.key);
    let mut read = vault.read(&record.bytes)?;
    for (purpose, sealed) in sealed_values(&mut read) {
        vault.open(purpose, sealed)?;
    }
    Ok(())
}

/// A look at everything in the store, or in one namespace of it, as far as it came.
pub struct Examination {
    store: Arc<dyn Store>,
    scope: Scope,
    walk: Option<Box<dyn Walk>>,
    looked_at: u64,
    total: Option<u64>,
    has_ended: bool,
}

/// What came up since the last time.
#[derive(Clone, Debug)]
pub struct Progress {
    /// How many records were looked at so far, those out of the scope included.
    pub records_done: u64,
    /// About how many there are; `None` where the store does not say.
    pub records_total: Option<u64>,
    /// What is wrong, at most one for each record of a page.
    pub findings: Vec<Finding>,
    /// Whether this is the end.
    pub is_last: bool,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Whose record it is; `None` where it is about the store as a whole.
    pub user: Option<UserId>,
    /// Why.
    pub error: Error,
}

impl Finding {
    /// What to do about it.
    pub fn advice(&self) -> String {
        match &self.error {
            Error::Unreadable(why @ Unreadable::NoKey(key)) => format!(
                "{why}: add the key {key} to it again, from the copy that was kept of the keyring"
            ),
            Error::Unreadable(why @ Unreadable::Damaged) => {
                format!("{why}: restore a backup from before")
            }
            Error::Unreadable(why @ Unreadable::Format(_)) => {
                format!("{why}: run the release that wrote it, or a later one")
            }
            Error::Store(error @ StoreError::Incomplete(_)) => {
                format!("{error}: restore a backup")
            }
            Error::Store(error) => format!("{error}: mend that, and look again"),
            other => other.to_string(),
        }
    }
}

impl Examination {
    /// Begins to look.
    pub fn new(store: Arc<dyn Store>, scope: Scope) -> Self {
        Self { store, scope, walk: None, looked_at: 0, total: None, has_ended: false }
    }

    /// Looks on; `None` after the end. The keyring is asked for once the records are there, for they may be
    /// sealed under a key that came with them.
    pub async fn next(
        &mut self,
        keyring: impl FnOnce() -> Arc<Keyring>,
        deadline: Deadline,
    ) -> Option<Progress> {
        if self.has_ended {
            return None;
        }
        let findings = match &mut self.walk {
            None => self.begin(keyring, deadline).await,
            Some(walk) => match walk.next(deadline).await {
                Ok(Some(page)) => Ok(self.look_at(page, &keyring())),
                Ok(None) => {
                    self.has_ended = true;
                    Ok(Vec::new())
                }
                Err(error) => Err(error),
            },
        };
        let findings = findings.unwrap_or_else(|error| {
            self.has_ended = true;
            vec![Finding { user: None, error: error.into() }]
        });
        Some(Progress {
            records_done: self.looked_at,
            records_total: self.total.map(|total| total.max(self.looked_at)),
            findings,
            is_last: self.has_ended,
        })
    }

    async fn begin(
        &mut self,
        keyring: impl FnOnce() -> Arc<Keyring>,
        deadline: Deadline,
    ) -> Result<Vec<Finding>, StoreError> {
        self.store.check(deadline).await?;
        let markers = self.store.markers(deadline).await?;
        let walk = self.store.walk(deadline).await?;
        self.total = walk.total();
        self.walk = Some(walk);
        let keyring = keyring();
        let unreadable = markers.iter().filter_map(|marker| keyring.open_marker(marker).err());
        Ok(unreadable.map(|why| Finding { user: None, error: why.into() }).collect())
    }

    fn look_at(&mut self, page: Vec<Record>, keyring: &Keyring) -> Vec<Finding> {
        let mut findings = Vec::new();
        for record in page {
            self.looked_at += 1;
            if !self.scope.covers(&record.key.namespace) {
                continue;
            }
            if let Err(why) = examine(keyring, &record) {
                findings.push(Finding { user: Some(record.key.user), error: why.into() });
            }
        }
        findings
    }
}
