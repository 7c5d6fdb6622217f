//! Why a TLS handshake did not come about, in words that say what to mend.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio_rustls::rustls::{CertificateError, Error, PeerIncompatible};
use twinlock_engine::events::Seldom;

/// Why a handshake did not come about.
#[derive(Debug)]
pub struct Refusal {
    kind: Kind,
    /// What the library says, where that adds anything. It quotes neither keys nor what was sent.
    cause: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NoCertificate,
    Expired,
    NotYetValid,
    UnknownAuthority,
    BadSignature,
    BadCertificate,
    OldVersion,
    Plaintext,
    BadRecord,
    NothingInCommon,
    RefusedByClient,
    TimedOut,
    Gone,
}

impl Refusal {
    /// Why the library, or the network, ended it.
    pub fn of(error: &io::Error) -> Self {
        let library = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let Some(error) = library else { return Self::gone() };
        let kind = match error {
            Error::NoCertificatesPresented => Kind::NoCertificate,
            Error::InvalidCertificate(error) => of_certificate(error),
            // The extension came with TLS 1.2, and the library misses it before it looks at the version.
            Error::PeerIncompatible(
                PeerIncompatible::SignatureAlgorithmsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired,
            ) => Kind::OldVersion,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Kind::NothingInCommon,
            Error::AlertReceived(_) => Kind::RefusedByClient,
            _ => Kind::BadRecord,
        };
        Self { kind, cause: Some(error.to_string()) }
    }

    /// What came instead of a handshake.
    pub fn no_tls(begin: &[u8]) -> Self {
        // The methods of HTTP/1, and `PRI` of HTTP/2.
        let is_http = begin.iter().take(3).all(u8::is_ascii_uppercase) && begin.len() >= 3;
        let kind = if is_http { Kind::Plaintext } else { Kind::BadRecord };
        Self { kind, cause: None }
    }

    /// It took too long.
    pub fn timed_out() -> Self {
        Self { kind: Kind::TimedOut, cause: None }
    }

    /// The client went away.
    pub fn gone() -> Self {
        Self { kind: Kind::Gone, cause: None }
    }

    /// Whether HTTP came.
    pub fn is_plaintext(&self) -> bool {
        self.kind == Kind::Plaintext
    }
}

fn of_certificate(error: &CertificateError) -> Kind {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Kind::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Kind::NotYetValid
        }
        CertificateError::UnknownIssuer => Kind::UnknownAuthority,
        CertificateError::BadSignature => Kind::BadSignature,
        _ => Kind::BadCertificate,
    }
}

impl Kind {
    /// All of them, in the order of their numbers.
    const ALL: [Self; 13] = [
        Self::NoCertificate,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownAuthority,
        Self::BadSignature,
        Self::BadCertificate,
        Self::OldVersion,
        Self::Plaintext,
        Self::BadRecord,
        Self::NothingInCommon,
        Self::RefusedByClient,
        Self::TimedOut,
        Self::Gone,
    ];

    /// A word for the log and for metrics.
    fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownAuthority => "unknown_authority",
            Self::BadSignature => "bad_signature",
            Self::BadCertificate => "bad_certificate",
            Self::OldVersion => "old_version",
            Self::Plaintext => "plaintext",
            Self::BadRecord => "bad_record",
            Self::NothingInCommon => "nothing_in_common",
            Self::RefusedByClient => "refused_by_client",
            Self::TimedOut => "timed_out",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::NoCertificate => "no client certificate",
            Kind::Expired => "the client certificate, or one that vouches for it, has expired",
            Kind::NotYetValid => "the client certificate is not valid yet",
            Kind::UnknownAuthority => {
                "no authority of server.tls_client_ca vouches for the client certificate"
            }
            Kind::BadSignature => {
                "a signature of the client certificate is wrong, as with another authority of the same name"
            }
            Kind::BadCertificate => "the client certificate is not usable",
            Kind::OldVersion => "the client offers TLS 1.1 or older",
            Kind::Plaintext => "plaintext HTTP on the TLS port",
            Kind::BadRecord => "what came is not TLS, or a bad record of it",
            Kind::NothingInCommon => "client and server have no protocol or cipher in common",
            Kind::RefusedByClient => "the client refuses the server's certificate",
            Kind::TimedOut => "the handshake timed out",
            Kind::Gone => "the client went away before the end of the handshake",
        })
    }
}

/// What became of those who were refused.
#[derive(Default)]
pub struct Refusals([Count; Kind::ALL.len()]);

#[derive(Default)]
struct Count {
    refused: AtomicU64,
    /// One for each kind, so that a flood of one does not hide another.
    log: Seldom,
}

impl Refusals {
    /// Counts one, and logs it where the last line about its kind is long ago.
    pub fn tell(&self, refusal: &Refusal, peer: SocketAddr) {
        let Count { refused, log } = &self.0[refusal.kind as usize];
        let refused = refused.fetch_add(1, Ordering::Relaxed) + 1;
        if !log.is_due() {
            return;
        }
        let (why, cause) = (refusal.kind.as_str(), refusal.cause.as_deref());
        // Port scans and load balancers that only look whether somebody listens are no news.
        if refusal.kind == Kind::Gone {
            return tracing::debug!(why, %peer, refused, "no TLS connection: {refusal}");
        }
        tracing::warn!(why, %peer, cause, refused, "no TLS connection: {refusal}");
    }

    /// How many of each kind so far.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = Kind::ALL.iter().zip(&self.0);
        all.map(|(kind, count)| (kind.as_str(), count.refused.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_told_from_noise() {
        for begin in [&b"GET / HT"[..], b"POST /v1", b"PRI * HT", b"DELETE /"] {
            assert!(Refusal::no_tls(begin).is_plaintext(), "{begin:?}");
        }
        for begin in [&b"\x80\x2e\x01"[..], b"G", b"get / ht", b"\0\0\0\0", b"SSh"] {
            assert!(!Refusal::no_tls(begin).is_plaintext(), "{begin:?}");
        }
    }

    #[test]
    fn every_kind_has_a_counter_of_its_own() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "{kind:?}");
        }
    }
}
