//! TLS: handshakes, and certificates that are renewed while connections live.

use super::certificate::{EXPIRES_SOON, Files, Made};
use super::connection::TO_BEGIN;
use super::handshake::{Refusal, Refusals};
use crate::callers::SubjectName;
use anyhow::{Result, ensure};
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use twinlock_core::Timestamp;
use twinlock_engine::clock;

/// The first byte of a TLS record that holds a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// For whoever typed `http://`.
const USE_HTTPS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    This port speaks TLS: write https:// in place of http://.\n";

/// The server's side of TLS.
pub struct Tls {
    files: Files,
    current: ArcSwap<Made>,
    clock: clock::Clock,
    refusals: Refusals,
}

impl Tls {
    /// Reads the certificates.
    pub fn open(files: Files, requires_certificate: bool) -> Result<Self> {
        let current = ArcSwap::from_pointee(files.read(requires_certificate)?);
        let tls = Self { files, current, clock: clock::system(), refusals: Refusals::default() };
        tls.warn_of_expiry();
        Ok(tls)
    }

    /// Reads the certificates anew, for connections that begin from now on; says whether anything changed.
    ///
    /// # Errors
    ///
    /// Where they cannot be used, have expired, or are not valid yet. Those from before stay in use.
    pub fn renew(&self, requires_certificate: bool) -> Result<bool> {
        let next = self.files.read(requires_certificate)?;
        let current = self.current.load();
        if next.origin == current.origin {
            return Ok(false);
        }
        let (now, new, old) = ((self.clock)(), next.validity, current.validity);
        let is_worse = new.expires <= now && new.expires < old.expires;
        ensure!(!is_worse, "server.tls_cert: the new certificate has expired");
        let is_early = new.begins > now && new.begins > old.begins;
        ensure!(!is_early, "server.tls_cert: the new certificate is not valid yet");
        self.current.store(next.into());
        self.warn_of_expiry();
        Ok(true)
    }

    /// The files that it is made of.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.files.paths().cloned().collect()
    }

    /// When the server's certificate expires, or the first of those that vouch for it.
    pub fn expires(&self) -> Timestamp {
        self.current.load().validity.expires
    }

    /// What somebody should know about the certificate, if anything.
    pub fn warning(&self) -> Option<String> {
        let now = (self.clock)();
        if self.current.load().validity.begins > now {
            return Some(
                "the server's certificate is not valid yet; set the clock, or renew server.tls_cert"
                    .into(),
            );
        }
        let left = now.until(self.expires());
        if left.is_zero() {
            return Some("the server's certificate has expired; renew server.tls_cert".into());
        }
        let days = left.as_secs() / (24 * 3600);
        (left < EXPIRES_SOON).then(|| {
            format!("the server's certificate expires in {days} days; renew server.tls_cert")
        })
    }

    /// How many handshakes were refused so far, by the reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refusals.counts()
    }

    /// Logs what [`Tls::warning`] says.
    pub fn warn_of_expiry(&self) {
        if let Some(warning) = self.warning() {
            tracing::warn!("{warning}");
        }
    }

    /// Shakes hands; gives the names of the client's certificate too, if it has one. Who is refused is
    /// counted, and now and then logged.
    pub async fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> Option<(TlsStream<TcpStream>, Option<Vec<SubjectName>>)> {
        let config = self.current.load().config.clone();
        let shaken = timeout(TO_BEGIN, handshake(stream, config.into())).await;
        match shaken.unwrap_or(Err(Refusal::timed_out())) {
            Ok(stream) => {
                let certificates = stream.get_ref().1.peer_certificates();
                let names = certificates.and_then(<[_]>::first).map(SubjectName::of);
                Some((stream, names))
            }
            Err(refusal) => {
                self.refusals.tell(&refusal, peer);
                None
            }
        }
    }
}

async fn handshake(
    mut stream: TcpStream,
    acceptor: TlsAcceptor,
) -> Result<TlsStream<TcpStream>, Refusal> {
    // rustls would say that a record is wrong, of the most common mistake of all.
    let mut first = [0; 8];
    let length = stream.peek(&mut first).await.map_err(|error| Refusal::of(&error))?;
    match &first[..length] {
        [] => Err(Refusal::gone()),
        [HANDSHAKE, ..] => acceptor.accept(stream).await.map_err(|error| Refusal::of(&error)),
        begin => {
            let refusal = Refusal::no_tls(begin);
            if refusal.is_plaintext() && !begin.starts_with(b"PRI") {
                let _ = stream.write_all(USE_HTTPS).await;
                let _ = stream.shutdown().await;
            }
            Err(refusal)
        }
    }
}
