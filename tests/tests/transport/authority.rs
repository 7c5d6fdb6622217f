//! Certificates made for a test, and clients that present them.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tonic::transport::{
    Certificate as TonicCertificate, Channel, ClientTlsConfig, Endpoint, Identity,
};
use twinlock_tests::Server;

/// An authority, with a directory for what it makes.
pub struct Authority {
    pub directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// A day: year, month, day.
type Day = (i32, u8, u8);

impl Authority {
    pub fn new() -> Self {
        Self::named("an authority")
    }

    pub fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), &pem).expect("a file");
        Self { directory, issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for these names: URIs, addresses, DNS names.
    pub fn issue(&self, names: &[&str]) -> Pair {
        self.issue_for(names, (2020, 1, 1), (2100, 1, 1))
    }

    /// A certificate that is valid from one day to another.
    pub fn issue_for(&self, names: &[&str], from: Day, to: Day) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let (uris, others): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.contains("://"));
        let others: Vec<String> = others.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(others).expect("names");
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().expect("a URI")));
        params.subject_alt_names.extend(uris);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(to.0, to.1, to.2);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Puts the server's certificate and key where [`Authority::settings`] says.
    pub fn install(&self, pair: &Pair) {
        // Each in one move, as whoever renews a certificate had better do.
        for (name, pem) in [("tls.crt", &pair.certificate), ("tls.key", &pair.key)] {
            std::fs::write(self.path("new"), pem).expect("a file");
            std::fs::rename(self.path("new"), self.path(name)).expect("moved");
        }
    }

    /// The section of the configuration file for the server's certificate.
    pub fn settings(&self) -> String {
        let [certificate, key] = ["tls.crt", "tls.key"].map(|name| self.path(name));
        format!("[server]\ntls_cert = {certificate:?}\ntls_key = {key:?}\n")
    }

    /// The same, with this authority for the callers' certificates.
    pub fn settings_for_clients(&self) -> String {
        format!("{}tls_client_ca = {:?}\n", self.settings(), self.path("ca.pem"))
    }

    /// A connection for gRPC.
    pub async fn channel(
        &self,
        server: &Server,
        pair: Option<&Pair>,
    ) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(server.address.clone()).expect("an address");
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(TonicCertificate::from_pem(&self.pem))
            .domain_name("localhost");
        if let Some(Pair { certificate, key }) = pair {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(tls).expect("settings").connect().await
    }

    /// The end of a handshake, in these versions and protocols.
    pub async fn handshake(
        &self,
        server: &Server,
        pair: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(first(&self.pem)).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(Pair { certificate, key }) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![first(certificate)], key).expect("a pair")
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(server.authority()).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

/// The first certificate of a text in PEM.
pub fn first(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}
