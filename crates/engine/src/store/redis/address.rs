//! Where servers are.

use std::fmt;
use std::path::PathBuf;

const PORT: u16 = 6379;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host and a port.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether the connection is TLS.
        tls: bool,
    },
    /// The path of a socket on this machine.
    Unix(PathBuf),
}

/// An address that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not of the form.
    #[error("{0:?} is not an address; write redis://host:6379, rediss://host:6379 or unix:///path")]
    Form(String),
    /// A database other than 0: a Cluster has no other, so Twinlock uses no other anywhere.
    #[error("{0:?} names a database; Twinlock uses database 0 alone: leave the number out")]
    Database(String),
    /// Credentials, which belong elsewhere; the address is not quoted, for it holds them.
    #[error("an address must not hold a user or a password")]
    Credentials,
}

impl Address {
    /// Reads `redis://host:6379`, `rediss://host:6379` for TLS, or `unix:///path`. The port may be left
    /// out; it is 6379 then, for sentinels too.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let form = || AddressError::Form(text.into());
        if text.contains('@') {
            return Err(AddressError::Credentials);
        }
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') || path.contains('?') {
                return Err(form());
            }
            return Ok(Self::Unix(path.into()));
        }
        let (rest, tls) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
            (Some(rest), _) => (rest, false),
            (None, Some(rest)) => (rest, true),
            (None, None) => return Err(form()),
        };
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(database, "" | "0") {
            return Err(AddressError::Database(text.into()));
        }
        let (host, port) = split(authority).ok_or_else(form)?;
        Ok(Self::Tcp { host, port: port.unwrap_or(PORT), tls })
    }

    /// The address of another server of the same deployment, as one of its servers gave it. Where it
    /// names no host, it means the one that was asked.
    pub(super) fn beside(&self, host: &str, port: u16) -> Self {
        let Self::Tcp { host: asked, tls, .. } = self else { return self.clone() };
        let host = if matches!(host, "" | "?") { asked.as_str() } else { host };
        Self::Tcp { host: host.to_owned(), port, tls: *tls }
    }

    /// The same for an address as `MOVED` and `ASK` write it.
    pub(super) fn redirected(&self, target: &str) -> Option<Self> {
        // An IPv6 address stands there without brackets.
        let (host, port) = target.rsplit_once(':')?;
        Some(self.beside(host.trim_matches(['[', ']']), port.parse().ok()?))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

fn split(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_host = !host.is_empty() && !host.contains(['?', '#', ' ']);
    let port = port.map(|port| port.parse().ok()).map_or(Some(None), |port| port.map(Some))?;
    is_host.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16, tls: bool) -> Address {
        Address::Tcp { host: host.into(), port, tls }
    }

    #[test]
    fn addresses_are_read_and_nothing_else() {
        assert_eq!(Address::parse("redis://a"), Ok(tcp("a", 6379, false)));
        assert_eq!(Address::parse("rediss://a.b:1/0"), Ok(tcp("a.b", 1, true)));
        assert_eq!(Address::parse("redis://[::1]:2/"), Ok(tcp("::1", 2, false)));
        assert_eq!(Address::parse("redis://[::1]"), Ok(tcp("::1", 6379, false)));
        assert_eq!(Address::parse("unix:///run/r.sock"), Ok(Address::Unix("/run/r.sock".into())));
        for text in [
            "",
            "a:1",
            "http://a",
            "redis://",
            "redis://:1",
            "redis://a:x",
            "redis://::1",
            "redis://[a]:1",
            "redis://[::1",
            "unix://a",
            "unix:///a?db=1",
            "redis://a?protocol=3",
        ] {
            assert!(matches!(Address::parse(text), Err(AddressError::Form(_))), "{text}");
        }
        assert!(matches!(Address::parse("redis://a/1"), Err(AddressError::Database(_))));
        let hidden = Address::parse("redis://user:canary@a").expect_err("credentials");
        assert!(!hidden.to_string().contains("canary"));
    }

    #[test]
    fn redirections_keep_what_they_do_not_name() {
        let asked = tcp("asked", 1, true);
        assert_eq!(asked.redirected("other:2"), Some(tcp("other", 2, true)));
        assert_eq!(asked.redirected(":2"), Some(tcp("asked", 2, true)));
        assert_eq!(asked.redirected("::1:2"), Some(tcp("::1", 2, true)));
        assert_eq!(asked.redirected("?:2"), Some(tcp("asked", 2, true)));
        assert_eq!(asked.redirected("other"), None);
        assert_eq!(tcp("::1", 2, true).to_string(), "[::1]:2");
    }
}
