//! The other end of a connection.

use super::SubjectName;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The other end of a connection, as far as the connection itself tells. Every request has it among its
/// extensions; a clone costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Peer(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    address: Option<SocketAddr>,
    user: Option<u32>,
    names: Option<Vec<SubjectName>>,
}

impl Peer {
    /// Who connects over TCP: an address, and the names of the certificate that was verified, if one was.
    pub fn over_tcp(address: SocketAddr, names: Option<Vec<SubjectName>>) -> Self {
        Self(Arc::new(Known { address: Some(address), names, ..Known::default() }))
    }

    /// Who connects over the Unix socket: the user id that the kernel vouches for.
    pub fn over_unix(user: Option<u32>) -> Self {
        Self(Arc::new(Known { user, ..Known::default() }))
    }

    /// The user id of a process on this machine.
    pub fn user(&self) -> Option<u32> {
        self.0.user
    }

    /// The names of its certificate; `None` where it has none.
    pub fn names(&self) -> Option<&[SubjectName]> {
        self.0.names.as_deref()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.address, self.0.user) {
            (Some(address), _) => address.fmt(f),
            (None, Some(user)) => write!(f, "user {user} on this machine"),
            (None, None) => f.write_str("somebody on this machine"),
        }
    }
}
