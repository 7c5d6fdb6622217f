//! The address that is listened on, and the connections that come in.

use super::connection::Patient;
use super::stream::Stream;
use super::tls::Tls;
use crate::callers::Peer;
use crate::config::{Listen, SocketMode};
use anyhow::{Context, Result};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixSocket, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use twinlock_engine::events::Seldom;

/// How long to leave the clients waiting after a failure to accept one. There are no more file
/// descriptors then, as a rule; trying again at once would only take the time of those that are served.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// How many connections may wait to be served after their handshake, for a moment.
const WAITING: usize = 64;
/// How many connections the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// An address in use.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Takes the address; `cannot` says what to do where that fails. A socket has the mode, or the usual one where
    /// none is asked for.
    pub async fn bind(
        listen: &Listen,
        mode: Option<SocketMode>,
        cannot: impl FnOnce() -> String,
    ) -> Result<Self> {
        match listen {
            Listen::Tcp(address) => {
                TcpListener::bind(address).await.map(Self::Tcp).with_context(cannot)
            }
            Listen::Unix(path) => {
                super::remove_stale_socket(path)?;
                bind_socket(path, mode).map(Self::Unix).with_context(cannot)
            }
        }
    }

    /// The address in use, as clients write it.
    pub fn address(&self, listen: &Listen, scheme: &str) -> Result<String> {
        match self {
            Self::Tcp(listener) => Ok(format!("{scheme}://{}", listener.local_addr()?)),
            Self::Unix(_) => Ok(listen.to_string()),
        }
    }

    /// The connections that come in, each with the patience that it is owed. It goes on until the receiver
    /// is dropped, which closes the address and ends the handshakes that are under way; when the sender of
    /// `stopped` is dropped, there is no patience left for connections that have not begun.
    pub fn connections(
        self,
        tls: Option<Arc<Tls>>,
        stopped: watch::Receiver<()>,
    ) -> mpsc::Receiver<Patient<Stream>> {
        let (ready, connections) = mpsc::channel(WAITING);
        tokio::spawn(accept(self, tls, ready, stopped));
        connections
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // One that is gone already shows that when it is read.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, peer))
            }
            Self::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

async fn accept(
    listener: Listener,
    tls: Option<Arc<Tls>>,
    ready: mpsc::Sender<Patient<Stream>>,
    stopped: watch::Receiver<()>,
) {
    let failures = Seldom::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        let stream = match (accepted, &tls) {
            (Ok(Accepted::Tcp(stream, peer)), Some(tls)) => {
                // A client that dawdles delays nobody.
                let shaken = shake(tls.clone(), stream, peer, ready.clone(), stopped.clone());
                tokio::spawn(shaken);
                continue;
            }
            (Ok(Accepted::Tcp(stream, peer)), None) => {
                Stream::tcp(stream, Peer::over_tcp(peer, None))
            }
            (Ok(Accepted::Unix(stream)), _) => Stream::unix(stream),
            (Err(error), _) => {
                if failures.is_due() {
                    tracing::warn!(%error, "a connection could not be accepted");
                }
                sleep(AFTER_FAILURE).await;
                continue;
            }
        };
        if ready.send(Patient::new(stream, stopped.clone())).await.is_err() {
            return;
        }
    }
}

async fn shake(
    tls: Arc<Tls>,
    stream: TcpStream,
    peer: SocketAddr,
    ready: mpsc::Sender<Patient<Stream>>,
    stopped: watch::Receiver<()>,
) {
    let shaken = tokio::select! {
        shaken = tls.accept(stream, peer) => shaken,
        () = ready.closed() => return,
    };
    if let Some((stream, names)) = shaken {
        let stream = Stream::tls(stream, Peer::over_tcp(peer, names));
        let _ = ready.send(Patient::new(stream, stopped)).await;
    }
}

/// Nobody can connect before the socket is listened on, and by then it has its mode; a moment between
/// listening and setting the mode would let anybody in who is quick.
fn bind_socket(path: &Path, mode: Option<SocketMode>) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode.bits()))?;
    }
    socket.listen(BACKLOG)
}
