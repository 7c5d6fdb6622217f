//! Resealing: everything that a former key seals is sealed anew under the primary one.
//!
//! It needs no memory of how far it came: what a former key still seals is what is left to do. So it may end
//! at any moment, begin again anywhere, and run in several processes at once.

use crate::seal::{KeyId, Keyring, Parts, Purpose, Unreadable, Vault, key_of};
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use twinlock_core::receipt::{Kept, Receipt};
use twinlock_core::record::{Authenticator, Pending, Recovery, Sealed};
use twinlock_core::{Namespace, Record};

/// How fast to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At most 500 records a second, so that logins go before: a million takes about half an hour.
    Gentle,
    /// As fast as the store can, where nobody else uses it.
    Full,
}

/// How far resealing is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether it is under way.
    pub is_running: bool,
    /// The records of each namespace, and how many of them no former key seals any more.
    pub namespaces: BTreeMap<Namespace, Share>,
    /// How many records this process has resealed since it began.
    pub resealed: u64,
    /// How many records were left as they are, by the key that their bytes name: they are damaged, the
    /// keyring lacks the key, or a later release wrote them.
    pub left: BTreeMap<KeyId, u64>,
    /// Why it waits; it goes on by itself.
    pub trouble: Option<String>,
}

/// A part of the records, and how much of it is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// How many there are.
    pub records: u64,
    /// How many need nothing more.
    pub done: u64,
}

impl Progress {
    /// Whether anything was left that another pass may do.
    pub fn is_unfinished(&self) -> bool {
        let Share { records, done } = self.total();
        !self.is_running && done + self.left.values().sum::<u64>() < records
    }

    /// The whole, over all namespaces.
    pub fn total(&self) -> Share {
        self.namespaces.values().fold(Share::default(), |total, share| Share {
            records: total.records + share.records,
            done: total.done + share.done,
        })
    }
}

/// Which keys what is in the store needs, at one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The records of each namespace.
    pub namespaces: BTreeMap<Namespace, Tally>,
    /// The keys that seal the markers of the dataset.
    pub markers: BTreeSet<KeyId>,
}

/// The records of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many there are.
    pub records: u64,
    /// How many of them no former key seals.
    pub done: u64,
    /// How many of them need a key. A record may need several.
    pub needing: BTreeMap<KeyId, u64>,
}

impl Census {
    /// How many records need a key.
    pub fn records_needing(&self, key: KeyId) -> u64 {
        self.namespaces.values().filter_map(|tally| tally.needing.get(&key)).sum()
    }

    /// Whether anything at all needs a key.
    pub fn needs(&self, key: KeyId) -> bool {
        self.markers.contains(&key) || self.records_needing(key) > 0
    }
}

/// Why a record is left as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Left {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Another release may have sealed more in it than this one knows of.
    #[error("a later release wrote it")]
    Later,
}

/// The record with everything sealed under the primary key; `None` where no former key seals any of it.
pub(crate) fn reseal(
    keyring: &Keyring,
    vault: &Vault,
    bytes: &[u8],
) -> Result<Option<Record>, Left> {
    if !keys(keyring, || vault, bytes).iter().any(|key| keyring.is_former(*key)) {
        return Ok(None);
    }
    let parts = Parts::of(bytes)?;
    let mut record = vault.read(bytes)?;
    if !parts.is_of_this_release() || record.later.is_some() || record.encode() != parts.body {
        return Err(Left::Later);
    }
    for (purpose, sealed) in sealed_values(&mut record) {
        if keyring.is_former(key_of(sealed)?) {
            *sealed = vault.seal(purpose, &vault.open(purpose, sealed)?);
        }
    }
    Ok(Some(record))
}

/// The keys that a record needs, as far as its bytes tell without being opened.
///
/// One of a later release needs all of the keyring: what else is sealed in it is not known here. The vault is
/// asked for only where bytes that are no record of this release may be one of a later release.
pub(crate) fn keys<V: Borrow<Vault>>(
    keyring: &Keyring,
    vault: impl FnOnce() -> V,
    bytes: &[u8],
) -> BTreeSet<KeyId> {
    let parts = match Parts::of(bytes) {
        Ok(parts) => parts,
        Err(Unreadable::Format(_)) => return keyring.ids().collect(),
        Err(_) => return BTreeSet::new(),
    };
    let mut keys = BTreeSet::from([parts.key]);
    let Ok(mut record) = Record::decode(parts.body) else {
        if vault().borrow().authenticate(&parts).is_ok() {
            keys.extend(keyring.ids());
        }
        return keys;
    };
    if !parts.is_of_this_release() || record.later.is_some() || record.encode() != parts.body {
        keys.extend(keyring.ids());
    }
    keys.extend(sealed_values(&mut record).into_iter().filter_map(|(_, it)| key_of(it).ok()));
    keys
}

/// The key that a record's bytes name first, for the log.
pub(crate) fn named_key(bytes: &[u8]) -> Option<KeyId> {
    Parts::of(bytes).ok().map(|parts| parts.key)
}

/// All that is sealed in a record. It names every field, so that nobody adds one and forgets it here.
pub(crate) fn sealed_values(record: &mut Record) -> Vec<(Purpose, &mut Sealed)> {
    let Record {
        authenticator,
        pending,
        recovery,
        password,
        receipts,
        second_factor_failures: _,
        password_failures: _,
        elevations: _,
        enforced_since: _,
        unenrolled_at: _,
        later: _,
    } = record;
    let mut sealed = Vec::new();
    if let Some(Authenticator { secret, .. }) = authenticator {
        sealed.push((Purpose::TotpSecret, secret));
    }
    if let Some(Pending { secret, .. }) = pending {
        sealed.push((Purpose::TotpSecret, secret));
    }
    if let Some(Recovery { hash, .. }) = recovery {
        sealed.push((Purpose::RecoveryKey, hash));
    }
    sealed.extend(password.iter_mut().map(|password| (Purpose::Password, password)));
    for Receipt { kept, .. } in receipts {
        if let Kept::Success { answer, .. } = kept {
            sealed.push((Purpose::Answer, answer));
        }
    }
    sealed
}

#[cfg(test)]
mod tests;
