//! All that Twinlock keeps of one user.

mod fields;
mod wire;

use crate::Timestamp;
use crate::backoff::Counter;
use crate::policy::Policy;
use crate::receipt::Receipt;
use crate::totp::{Parameters, Step};

/// The most sessions of one user that are elevated at once; the oldest goes first.
pub const MAX_ELEVATIONS: usize = 32;

/// All that Twinlock keeps of one user: one user, one record, one key in the store.
///
/// Secrets in it are sealed by whoever holds the keys; the rules see them as opaque bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The active authenticator; it is what makes a user enrolled.
    pub authenticator: Option<Authenticator>,
    /// An enrollment that waits to be confirmed.
    pub pending: Option<Pending>,
    /// The recovery key of the active authenticator; an imported user may have none.
    pub recovery: Option<Recovery>,
    /// The sealed password verifier, a PHC string.
    pub password: Option<Sealed>,
    /// Failures with codes and recovery keys.
    pub second_factor_failures: Counter,
    /// Failures with the password.
    pub password_failures: Counter,
    /// Sessions that proved identity lately.
    pub elevations: Vec<Elevation>,
    /// Answers to requests that may be repeated.
    pub receipts: Vec<Receipt>,
    /// When the user first tried to log in under enforcement, and was given notice.
    pub enforced_since: Option<Timestamp>,
    /// When the user was last unenrolled. It keeps the user known.
    pub unenrolled_at: Option<Timestamp>,
    /// What a later release keeps of the user besides.
    pub later: Later,
}

/// The fields of a record that this release does not know, as they were: whoever writes the record anew
/// writes them, too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Later(Vec<u8>);

impl Later {
    /// Whether there are any.
    pub fn is_some(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Bytes that only the holder of the keyring can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

/// A keyed hash of a session id, a request id or a request: it names them without telling them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 16]);

/// The digests of one value under each key of the keyring, the primary's first: a value that was written
/// under an older key is found by that one.
#[derive(Clone, Debug)]
pub struct Digests(pub Vec<Digest>);

impl Digests {
    /// The one to write.
    pub fn primary(&self) -> Digest {
        self.0.first().copied().unwrap_or(Digest([0; 16]))
    }

    /// Whether this is the digest of the same value.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.0.contains(digest)
    }
}

/// The app that holds the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticator {
    /// The sealed secret.
    pub secret: Sealed,
    /// What it computes codes with.
    pub parameters: Parameters,
    /// The step of the last accepted code; only later ones are accepted. An imported one has none.
    pub last_step: Option<Step>,
    /// When it became active.
    pub enrolled_at: Timestamp,
}

/// An enrollment that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The sealed secret.
    pub secret: Sealed,
    /// What it computes codes with.
    pub parameters: Parameters,
    /// The session that began it, from which alone it can be confirmed.
    pub session: Digest,
    /// How that session had proved identity: the ground that the enrollment stands on.
    pub ground: Method,
    /// When it began.
    pub begun_at: Timestamp,
}

/// The emergency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The sealed hash of the key.
    pub hash: Sealed,
    /// When it was made; it also names the key.
    pub created_at: Timestamp,
    /// Whether the user has said that it is stored safely.
    pub acknowledged: bool,
}

/// A session's recent proof of identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elevation {
    /// The session.
    pub session: Digest,
    /// How it was proved.
    pub method: Method,
    /// When.
    pub at: Timestamp,
}

/// How identity was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A code of the authenticator.
    Totp,
    /// The recovery key.
    RecoveryKey,
    /// A password.
    Password,
    /// The product's word.
    Asserted,
}

impl Method {
    /// Whether this is a second factor, beside which password and assertion do not count.
    pub fn is_second_factor(self) -> bool {
        matches!(self, Self::Totp | Self::RecoveryKey)
    }
}

/// Bytes that are no record of a format that this release knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no record of a known format")]
pub struct NotARecord;

impl Record {
    /// Reads a record; refuses what is none, rather than losing a part of it.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotARecord> {
        wire::decode(bytes)
    }

    /// Writes a record.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_behind(&[])
    }

    /// Writes a record behind what is to stand before it, which saves whoever adds that a copy.
    pub fn encode_behind(&self, head: &[u8]) -> Vec<u8> {
        wire::encode(head, self)
    }

    /// Whether anything is known of the user: more than that requests were answered.
    pub fn is_known(&self) -> bool {
        self.authenticator.is_some()
            || self.pending.is_some()
            || self.recovery.is_some()
            || self.password.is_some()
            || self.enforced_since.is_some()
            || self.unenrolled_at.is_some()
            || self.later.is_some()
            || self.second_factor_failures.failures > 0
            || self.password_failures.failures > 0
            || !self.elevations.is_empty()
    }

    /// Whether the user has an active authenticator.
    pub fn is_enrolled(&self) -> bool {
        self.authenticator.is_some()
    }

    /// The session's elevation, if it lives and is strong enough: once a user is enrolled, only a second
    /// factor counts.
    pub fn elevation(
        &self,
        session: &Digests,
        policy: &Policy,
        now: Timestamp,
    ) -> Option<&Elevation> {
        self.elevations.iter().find(|elevation| {
            session.contains(&elevation.session)
                && now.is_within(elevation.at, policy.elevation.lifetime)
                && (elevation.method.is_second_factor() || !self.is_enrolled())
        })
    }

    /// Elevates a session, in place of what it had; the oldest goes where there are too many.
    pub fn elevate(&mut self, session: &Digests, method: Method, now: Timestamp) {
        self.elevations.retain(|elevation| !session.contains(&elevation.session));
        if self.elevations.len() >= MAX_ELEVATIONS {
            // One that is dated in the future has lapsed, so it goes before any other.
            let age = |elevation: &Elevation| (elevation.at <= now, elevation.at);
            let oldest =
                self.elevations.iter().enumerate().min_by_key(|(_, elevation)| age(elevation));
            if let Some((index, _)) = oldest {
                self.elevations.remove(index);
            }
        }
        self.elevations.push(Elevation { session: session.primary(), method, at: now });
    }

    /// The pending enrollment, if it has not lapsed.
    pub fn pending(&self, policy: &Policy, now: Timestamp) -> Option<&Pending> {
        self.pending
            .as_ref()
            .filter(|pending| now.is_within(pending.begun_at, policy.pending_lifetime))
    }

    /// The record without what has lapsed.
    #[must_use]
    pub fn tidied(mut self, policy: &Policy, now: Timestamp) -> Self {
        if self.pending(policy, now).is_none() {
            self.pending = None;
        }
        self.elevations.retain(|elevation| now.is_within(elevation.at, policy.elevation.lifetime));
        self.receipts.retain(|receipt| receipt.lives(now));
        self.second_factor_failures = self.second_factor_failures.at(&policy.backoff, now);
        self.password_failures = self.password_failures.at(&policy.backoff, now);
        self
    }

    /// When the record will hold nothing any more, so that a store may forget it; `None` for never.
    ///
    /// A password, an enrollment, a notice given, a user once enrolled, a counter under a hard limit and what
    /// a later release knows of keep it.
    pub fn expires_at(&self, policy: &Policy) -> Option<Timestamp> {
        let kept = self.authenticator.is_some()
            || self.recovery.is_some()
            || self.password.is_some()
            || self.enforced_since.is_some()
            || self.unenrolled_at.is_some()
            || self.later.is_some();
        if kept {
            return None;
        }
        let counters = [&self.second_factor_failures, &self.password_failures];
        let mut end = Timestamp::default();
        for counter in counters {
            end = end.max(counter.forgotten_at(&policy.backoff)?);
        }
        for elevation in &self.elevations {
            end = end.max(elevation.at.after(policy.elevation.lifetime));
        }
        for receipt in &self.receipts {
            end = end.max(receipt.lapses_at());
        }
        if let Some(pending) = &self.pending {
            end = end.max(pending.begun_at.after(policy.pending_lifetime));
        }
        Some(end)
    }
}

#[cfg(test)]
mod tests;
