//! One HTTP/1.1 connection to the receiver, kept between deliveries; no redirects, no proxies.

use super::Outcome;
use anyhow::{Context, Result, ensure};
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long one try may take, from connecting to the end of the answer.
const LIMIT: Duration = Duration::from_secs(10);
/// The most bytes of an answer that are read; it says nothing to us.
const ANSWER: usize = 64 * 1024;

/// Sends to one address.
pub(super) struct Sender {
    host: String,
    port: u16,
    /// The value of the header `Host`.
    authority: String,
    path: String,
    tls: Option<TlsConnector>,
    connection: Option<Connection>,
}

type Connection = http1::SendRequest<Full<Bytes>>;

impl Sender {
    pub(super) fn new(url: &str) -> Result<Self> {
        let uri: Uri = url.parse()?;
        let host = uri.host().context("it names no host")?;
        let is_secured = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_secured { 443 } else { 80 });
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            authority: uri.authority().context("it names no host")?.to_string(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            tls: if is_secured { Some(tls()?) } else { None },
            connection: None,
        })
    }

    /// Tries once. A connection that was kept may have been closed meanwhile: that is no failure.
    pub(super) async fn post(&mut self, body: &[u8], signature: &str) -> Outcome {
        let kept = self.connection.take().filter(|connection| !connection.is_closed());
        if let Some(connection) = kept
            && let Ok(outcome) = self.try_on(connection, body, signature).await
        {
            return outcome;
        }
        let sent = async {
            let connection = self.connect().await.map_err(|error| error.to_string())?;
            self.try_on(connection, body, signature).await
        };
        sent.await.unwrap_or_else(Outcome::Failed)
    }

    async fn try_on(
        &mut self,
        mut connection: Connection,
        body: &[u8],
        signature: &str,
    ) -> Result<Outcome, String> {
        let request = Request::post(&self.path)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("twinlock/", env!("CARGO_PKG_VERSION")))
            .header("twinlock-signature", signature)
            .body(Full::new(Bytes::copy_from_slice(body)))
            .map_err(|error| error.to_string())?;
        let exchange = async {
            connection.ready().await.map_err(|error| error.to_string())?;
            let answer = connection.send_request(request).await;
            let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
            let is_read = Limited::new(body, ANSWER).collect().await.is_ok();
            Ok::<_, String>((head.status, is_read))
        };
        let (status, is_read) = match tokio::time::timeout(LIMIT, exchange).await {
            Ok(ended) => ended?,
            Err(_) => return Ok(Outcome::Failed("no answer in time".into())),
        };
        if is_read {
            self.connection = Some(connection);
        }
        Ok(match status.as_u16() {
            200..=299 => Outcome::Taken,
            // The receiver cannot read this event, and will not tomorrow.
            400 | 413 | 422 => Outcome::Refused(format!("the receiver answers {status}")),
            _ => Outcome::Failed(format!("the receiver answers {status}")),
        })
    }

    async fn connect(&self) -> io::Result<Connection> {
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            let Some(tls) = &self.tls else { return begin(stream).await };
            let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
            begin(tls.connect(name, stream).await?).await
        };
        tokio::time::timeout(LIMIT, connecting).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }
}

async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<Connection> {
    let begun = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = begun.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // How it ends, the sender learns.
        let _ = connection.await;
    });
    Ok(sender)
}

fn tls() -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ensure!(added > 0, "this system knows no certificate authorities");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
