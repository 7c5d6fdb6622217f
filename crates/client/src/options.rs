//! How to reach a server, and as whom.

use std::fmt;
use std::time::Duration;

/// How a [`Client`](crate::Client) reaches a server, and as whom it speaks.
#[derive(Clone)]
pub struct Options {
    /// `http://127.0.0.1:6238` (the default), `127.0.0.1:6238` for the same, `https://host:port`
    /// for TLS, or `unix:/path/to/socket`.
    pub address: String,
    /// The bearer token of the caller, where the server has callers configured.
    pub token: Option<String>,
    /// The deadline of a whole call, its repeats included: 5 seconds by default, at most one day.
    /// Streams are bound by it only until they open.
    pub timeout: Duration,
    /// The certificate authorities that may vouch for the server, as PEM. Without them the
    /// operating system's are asked. Only for `https` addresses.
    pub tls_ca: Option<Vec<u8>>,
    /// The client's own certificate, where callers are told apart by one. Only for `https`
    /// addresses.
    pub tls_identity: Option<TlsIdentity>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: "http://127.0.0.1:6238".into(),
            token: None,
            timeout: Duration::from_secs(5),
            tls_ca: None,
            tls_identity: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Options")
            .field("address", &self.address)
            .field("token", &self.token.as_ref().map(|_| ".."))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// A client certificate with its private key.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The certificate chain, as PEM.
    pub certificate: Vec<u8>,
    /// The private key, as PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TlsIdentity { .. }")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let options = Options {
            token: Some("hunter2".into()),
            tls_identity: Some(TlsIdentity { certificate: vec![], key: b"hunter2".to_vec() }),
            ..Options::default()
        };
        let printed = format!("{options:?} {:?}", options.tls_identity);
        assert!(!printed.contains("hunter2"), "{printed}");
        assert!(printed.contains("http://127.0.0.1:6238"), "{printed}");
    }
}
