//! A verified backup on its way into a store.

use super::Scope;
use super::read::{BackupError, Contents, Verified};
use crate::seal::{Keyring, Unreadable};
use crate::store::{Found, Marked, StoreError, Target};
use std::io::{Read, Seek};

/// How many records are written at a time.
const BATCH: usize = 1024;

/// What a restore may do beyond filling an empty store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// To remove what is there: all of it, or the records of the backup's namespace.
    pub replace: bool,
    /// To make a store complete though users of other namespaces may be missing: they count as not
    /// enrolled from then on.
    pub partial: bool,
    /// To write records that the keyring does not open. Their users are refused until it does.
    pub unreadable: bool,
}

/// What a restore would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What is in the store now.
    pub found: Found,
    /// Whether anything is removed.
    pub removes: bool,
    /// The marker that makes the store complete.
    marker: Vec<u8>,
}

/// What a restore did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How many records were written; one that is twice in the backup counts twice.
    pub written: u64,
    /// How many were removed before.
    pub removed: u64,
}

/// Why a restore did not happen, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something in the store.
    #[error(
        "the store is not empty: it has {0}. To put the backup in the place of that, add --replace"
    )]
    Occupied(String),
    /// Single records are unreadable.
    #[error(
        "the keyring does not open {0} of the records. Add the missing keys to it; or add --unreadable to \
         restore them as they are: their users are refused until the keyring opens them"
    )]
    Unreadable(u64),
    /// Others' users would count as not enrolled.
    #[error(
        "the backup is of the namespace {0} alone, and the store that it goes to is not complete: users of \
         other namespaces would count as not enrolled. Restore a backup of all namespaces first; or add \
         --partial if there are no others, or none that matter"
    )]
    Partial(String),
    /// What is there and stays belongs to another keyring.
    #[error(
        "the keyring does not open the marker of the store, whose other namespaces are to stay: {0}"
    )]
    Foreign(Unreadable),
    /// The file is not what it was when it was verified.
    #[error("the backup {0}")]
    Backup(#[from] BackupError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It began and did not end.
    #[error(
        "{0}. The store is now incomplete and answers STORE_INCOMPLETE: run the restore again with \
         --replace"
    )]
    BrokenOff(Box<RestoreError>),
}

impl<R: Read + Seek> Verified<R> {
    /// What a restore would do; it changes nothing.
    ///
    /// # Errors
    /// Where it would be refused.
    pub async fn plan(
        &self,
        target: &mut dyn Target,
        keyring: &Keyring,
        allowed: Allowed,
    ) -> Result<Plan, RestoreError> {
        let Contents { scope, marker, left_out, unreadable, .. } = self.contents();
        if *unreadable > 0 && !allowed.unreadable {
            return Err(RestoreError::Unreadable(*unreadable));
        }
        let found = target.look(scope).await?;
        let is_empty = found.marker == Marked::Nowhere && found.inside + found.outside == 0;
        if !is_empty && !allowed.replace {
            return Err(RestoreError::Occupied(describe(&found)));
        }
        let marker = match (scope, &found.marker) {
            (Scope::Everything, _) => marker.clone(),
            (Scope::Namespace(_), Marked::Everywhere(present)) => {
                keyring.open_marker(present).map_err(RestoreError::Foreign)?;
                present.clone()
            }
            (Scope::Namespace(namespace), _) => {
                if (*left_out > 0 || found.outside > 0) && !allowed.partial {
                    return Err(RestoreError::Partial(namespace.to_string()));
                }
                marker.clone()
            }
        };
        Ok(Plan { found, removes: !is_empty, marker })
    }

    /// Writes the backup into a store. The marker comes last: whatever ends it early, the store answers
    /// as incomplete, and the restore can be run again.
    ///
    /// # Errors
    /// Where it is refused, and nothing was written; or [`RestoreError::BrokenOff`].
    pub async fn restore(
        &mut self,
        target: &mut dyn Target,
        keyring: &Keyring,
        allowed: Allowed,
    ) -> Result<Outcome, RestoreError> {
        let plan = self.plan(target, keyring, allowed).await?;
        let removed = plan.found.inside;
        let written = self.write(target, &plan).await;
        let written = written.map_err(|error| RestoreError::BrokenOff(Box::new(error)))?;
        Ok(Outcome { written, removed })
    }

    async fn write(&mut self, target: &mut dyn Target, plan: &Plan) -> Result<u64, RestoreError> {
        if plan.removes {
            target.clear(&self.contents().scope.clone()).await?;
        }
        let reader = self.records()?;
        let mut written = 0;
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH {
                let Some(record) = reader.next_record()? else { break };
                batch.push(record);
            }
            if batch.is_empty() {
                break;
            }
            written += batch.len() as u64;
            target.put(batch).await?;
        }
        target.mark(&plan.marker).await?;
        Ok(written)
    }
}

fn describe(found: &Found) -> String {
    let records = match found.inside + found.outside {
        1 => "1 record".to_owned(),
        count => format!("{count} records"),
    };
    match found.marker {
        Marked::Nowhere => format!("{records} and no marker, as after a restore that broke off"),
        Marked::InPart => format!("{records} and markers in a part of its buckets"),
        Marked::Everywhere(_) => format!("a dataset with {records}"),
    }
}
