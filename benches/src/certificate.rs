//! A certificate for a server on loopback, and who trusts it.

use anyhow::Result;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A certificate that signs itself.
pub struct Certificate {
    /// The settings by which Twinlock uses it.
    pub settings: [String; 2],
    /// Trusts it and no other.
    pub connector: TlsConnector,
}

impl Certificate {
    /// Makes one, with its files in a directory.
    pub fn make(directory: &Path) -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| directory.join(name));
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let settings = [
            format!("server.tls_cert={}", certificate.display()),
            format!("server.tls_key={}", key.display()),
        ];
        Ok(Self { settings, connector: TlsConnector::from(Arc::new(config)) })
    }
}
