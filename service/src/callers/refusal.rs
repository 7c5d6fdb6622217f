//! Who is not let in, how often, and what the log says of it.

use super::Peer;
use crate::config::Role;
use std::sync::atomic::{AtomicU64, Ordering};
use twinlock_core::Reason;
use twinlock_engine::events::Seldom;

/// Who is not let in. The text is for the caller, and says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// Nothing that names a caller.
    #[error("Send a known token as `authorization: Bearer TOKEN`, or a known client certificate.")]
    Nobody,
    /// A token that nobody has, or none where one should be.
    #[error("This token is not known. Send a known one as `authorization: Bearer TOKEN`.")]
    WrongToken,
    /// A certificate of which no name is a caller's.
    #[error("No name of this client certificate is known. Add one as `san` to a [[caller]] entry.")]
    UnknownCertificate,
    /// A certificate with the names of several callers.
    #[error(
        "This client certificate has the names of several callers. Use one certificate for each."
    )]
    TwoCallers,
    /// A user of this machine who is no caller.
    #[error("This user is not known. Send a known token, or add its `uid` to a [[caller]] entry.")]
    UnknownUser,
    /// A known caller without the role.
    #[error("This caller's roles do not allow the call. Add the role to its [[caller]] entry.")]
    Forbidden,
    /// Who was a caller when the call began.
    #[error("This caller was removed from the configuration, or its role was.")]
    Revoked,
    /// A page in a browser.
    #[error("Pages in a browser may not call this. Call it from your backend.")]
    Browser,
}

impl Stranger {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 8] = [
        Self::Nobody,
        Self::WrongToken,
        Self::UnknownCertificate,
        Self::TwoCallers,
        Self::UnknownUser,
        Self::Forbidden,
        Self::Revoked,
        Self::Browser,
    ];

    /// The reason that the API gives.
    pub fn reason(self) -> Reason {
        match self {
            Self::Forbidden | Self::Browser => Reason::CallerForbidden,
            Self::Nobody
            | Self::WrongToken
            | Self::UnknownCertificate
            | Self::TwoCallers
            | Self::UnknownUser
            | Self::Revoked => Reason::CallerUnauthenticated,
        }
    }

    /// A word for the log and for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "no_credential",
            Self::WrongToken => "unknown_token",
            Self::UnknownCertificate => "unknown_certificate",
            Self::TwoCallers => "several_callers",
            Self::UnknownUser => "unknown_user",
            Self::Forbidden => "missing_role",
            Self::Revoked => "revoked",
            Self::Browser => "browser",
        }
    }
}

/// What became of those who were refused.
#[derive(Debug, Default)]
pub struct Refusals([Refusal; Stranger::ALL.len()]);

#[derive(Default)]
struct Refusal {
    count: AtomicU64,
    /// One for each kind, so that a flood of one does not hide another.
    log: Seldom,
}

impl std::fmt::Debug for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.count.fmt(f)
    }
}

impl Refusals {
    /// Counts one, and logs it where the last line about its kind is long ago. What was presented is not
    /// logged, apart from the names of a certificate that one of our authorities signed.
    pub fn tell(&self, stranger: Stranger, peer: Option<&Peer>, role: Role) {
        let Refusal { count, log } = &self.0[stranger as usize];
        let refused = count.fetch_add(1, Ordering::Relaxed) + 1;
        if !log.is_due() {
            return;
        }
        let names = peer.and_then(Peer::names);
        let peer = peer.cloned().unwrap_or_default();
        let why = stranger.as_str();
        match names {
            None => tracing::warn!(why, %peer, ?role, refused, "a caller was refused"),
            Some(names) => {
                // A certificate may have thousands.
                let names = &names[..names.len().min(8)];
                tracing::warn!(why, %peer, ?names, ?role, refused, "a caller was refused");
            }
        }
    }

    /// How many of each kind so far.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Stranger::ALL
            .iter()
            .zip(&self.0)
            .map(|(stranger, refusal)| (stranger.as_str(), refusal.count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_counter_and_a_word_of_its_own() {
        for (index, kind) in Stranger::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{kind:?}");
        }
        let words: std::collections::BTreeSet<_> =
            Stranger::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(words.len(), Stranger::ALL.len());
    }
}
