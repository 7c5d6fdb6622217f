//! Certificates and keys as they are in files.

use crate::config;
use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{Context as Digest, SHA256};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use twinlock_core::Timestamp;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

/// How long before a certificate expires somebody should know.
pub const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// What is spoken over TLS: HTTP/2, and HTTP/1.1 for REST (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files that TLS is made of.
#[derive(Clone, Debug)]
pub struct Files {
    certificate: PathBuf,
    key: PathBuf,
    client_authorities: Option<PathBuf>,
}

/// TLS, made of what was in the files at one moment.
pub struct Made {
    pub config: Arc<ServerConfig>,
    pub validity: Validity,
    /// The digest of the files' contents, and of whether clients must have certificates.
    pub origin: [u8; 32],
}

/// When a chain of certificates may be used. An intermediate certificate breaks the chain as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// When the last of them begins to be valid.
    pub begins: Timestamp,
    /// When the first of them expires.
    pub expires: Timestamp,
}

impl Files {
    /// The files of the configuration; `None` without TLS.
    pub fn of(config: &config::Server) -> Option<Self> {
        Some(Self {
            certificate: config.tls_cert.clone()?,
            key: config.tls_key.clone()?,
            client_authorities: config.tls_client_ca.clone(),
        })
    }

    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_authorities)
    }

    /// Reads them all. Where there are authorities, a certificate that a client presents is verified, and
    /// one is required where `requires_certificate` says so.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read or used, named by its setting. None quotes a key.
    pub fn read(&self, requires_certificate: bool) -> Result<Made> {
        let mut origin = Digest::new(&SHA256);
        let mut read = |setting: &str, path: &Path| {
            let content = fs::read(path).map(Zeroizing::new);
            let content =
                content.with_context(|| format!("{setting}: cannot read {}", path.display()))?;
            origin.update(&content.len().to_be_bytes());
            origin.update(&content);
            anyhow::Ok(content)
        };
        let chain = read("server.tls_cert", &self.certificate)?;
        let key = read("server.tls_key", &self.key)?;
        let authorities = self.client_authorities.as_ref();
        let authorities = authorities.map(|path| read("server.tls_client_ca", path)).transpose()?;
        origin.update(&[u8::from(requires_certificate)]);

        let chain = certificates(&chain)
            .with_context(|| format!("server.tls_cert: {}", self.certificate.display()))?;
        let validity = Validity::of(&chain)
            .with_context(|| format!("server.tls_cert: {}", self.certificate.display()))?;
        let Ok(key) = PrivateKeyDer::from_pem_slice(&key) else {
            bail!("server.tls_key: {} holds no private key in PEM", self.key.display());
        };

        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])?;
        let builder = match authorities {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let roots = roots(&authorities).context("server.tls_client_ca")?;
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match requires_certificate {
                    true => verifier,
                    false => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().context("server.tls_client_ca")?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .context("server.tls_cert and server.tls_key do not belong together, or are no use")?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        // A session that is resumed is not verified anew: it would outlive the client's certificate and
        // the authority's place in the file. Connections live long here, so resuming would save little.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;

        let mut digest = [0; 32];
        digest.copy_from_slice(origin.finish().as_ref());
        Ok(Made { config: Arc::new(config), validity, origin: digest })
    }
}

impl Validity {
    /// That of a file in PEM.
    pub fn read(path: &Path) -> Result<Self> {
        let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::of(&certificates(&pem)?)
    }

    fn of(chain: &[CertificateDer<'_>]) -> Result<Self> {
        let mut found = Self { begins: Timestamp::default(), expires: Timestamp::MAX };
        let seconds = |seconds| Timestamp::from_secs(u64::try_from(seconds).unwrap_or_default());
        for certificate in chain {
            let parsed = parse_x509_certificate(certificate);
            let (_, parsed) =
                parsed.map_err(|_| anyhow::anyhow!("a certificate cannot be read"))?;
            let validity = parsed.validity();
            found.begins = found.begins.max(seconds(validity.not_before.timestamp()));
            found.expires = found.expires.min(seconds(validity.not_after.timestamp()));
        }
        Ok(found)
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => bail!("it holds no certificate in PEM"),
        Err(error) => bail!("it is not PEM: {error}"),
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        // One that is left out would lock out the callers whom it vouches for, without a word.
        roots.add(certificate).context("one of its certificates is no authority")?;
    }
    ensure!(!roots.is_empty(), "it holds no certificate in PEM");
    Ok(roots)
}
