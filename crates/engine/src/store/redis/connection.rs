//! One connection to one server: how it is made, and what becomes of a command that was sent on it.

use super::address::Address;
use super::fault::Fault;
use crate::deadline::{Deadline, Passed};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use zeroize::Zeroizing;

/// How many commands may wait for the socket before their callers do: more than are ever in flight.
const QUEUE: usize = 1024;

/// Who Twinlock is to the servers.
#[derive(Clone, Default)]
pub(super) struct Credentials {
    pub(super) username: Option<String>,
    pub(super) password: Option<Zeroizing<String>>,
}

/// Makes connections.
pub(super) struct Connector {
    credentials: Credentials,
    tls: Option<TlsConnector>,
    /// The longest that making a connection, or one answer, may take.
    pub(super) timeout: Duration,
}

impl Connector {
    /// `authorities` are those that sign the servers' certificates, PEM; the system's where there are
    /// none. Without `tls` they are not even read.
    pub(super) fn new(
        credentials: Credentials,
        tls: bool,
        authorities: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Self, String> {
        let tls = if tls { Some(tls_connector(authorities)?) } else { None };
        Ok(Self { credentials, tls, timeout })
    }

    /// Connects as the user that is configured.
    pub(super) async fn connect(
        &self,
        address: &Address,
        until: Deadline,
    ) -> Result<Connection, String> {
        self.connect_as(&self.credentials, address, until).await
    }

    /// Connects as nobody: what a sentinel without a password wants, and no other is told ours.
    pub(super) async fn connect_anonymously(
        &self,
        address: &Address,
        until: Deadline,
    ) -> Result<Connection, String> {
        self.connect_as(&Credentials::default(), address, until).await
    }

    async fn connect_as(
        &self,
        credentials: &Credentials,
        address: &Address,
        until: Deadline,
    ) -> Result<Connection, String> {
        let until = until.within(self.timeout);
        // Boxed, since it is rare and as large as all the rest of a call that may have to do it.
        let connected = until.limit(Box::pin(self.reach(credentials, address))).await;
        let connected = connected.unwrap_or_else(|_| Err("no answer in time".into()));
        connected.map_err(|cause| format!("cannot connect to {address}: {cause}"))
    }

    async fn reach(
        &self,
        credentials: &Credentials,
        address: &Address,
    ) -> Result<Connection, String> {
        match address {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| error.to_string())?;
                Connection::over(stream, credentials).await
            }
            Address::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(|error| error.to_string())?;
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
                let connector = match &self.tls {
                    Some(connector) if *tls => connector,
                    _ => return Connection::over(stream, credentials).await,
                };
                let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
                let stream = connector.connect(name, stream).await;
                let stream = stream.map_err(|error| format!("TLS: {error}"))?;
                Connection::over(stream, credentials).await
            }
        }
    }
}

/// A connection that many may use at once; it is closed when it is dropped.
pub(super) struct Connection {
    multiplexed: MultiplexedConnection,
    /// Reads and writes the socket until it is closed.
    driver: JoinHandle<()>,
}

impl Connection {
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        credentials: &Credentials,
    ) -> Result<Self, String> {
        // The library is told no time-out: each command has its own, and its end is ours to see.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(username) = &credentials.username {
            info = info.set_username(username);
        }
        if let Some(password) = &credentials.password {
            info = info.set_password(password.as_str());
        }
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (multiplexed, driver) = made.map_err(|error| error.to_string())?;
        Ok(Self { multiplexed, driver: tokio::spawn(driver) })
    }

    /// Whether it was closed, by whichever side.
    pub(super) fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }

    /// Closes it; whoever waits for an answer learns at once that there will be none.
    pub(super) fn close(&self) {
        self.driver.abort();
    }

    /// Sends one command and waits for its answer, which may be an error of the server's.
    pub(super) async fn send(&self, command: &Cmd, until: Deadline) -> Result<Value, Fault> {
        let mut connection = self.open()?;
        // In its place before it is limited: to be handed on costs a copy each time.
        let sending = pin!(connection.send_packed_command(command));
        answered(until.limit(sending).await)
    }

    /// Sends commands in one piece, with nothing between them, and waits for all their answers.
    pub(super) async fn send_all(
        &self,
        commands: &Pipeline,
        until: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        let mut connection = self.open()?;
        let count = commands.len();
        let answers =
            answered(until.limit(connection.send_packed_commands(commands, 0, count)).await)?;
        if answers.len() == count {
            Ok(answers)
        } else {
            Err(Fault::Broken("the server answered something else".into()))
        }
    }

    fn open(&self) -> Result<MultiplexedConnection, Fault> {
        if self.is_closed() {
            return Err(Fault::NotSent("the connection was closed".into()));
        }
        Ok(self.multiplexed.clone())
    }
}

fn answered<T>(answer: Result<Result<T, RedisError>, Passed>) -> Result<T, Fault> {
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Fault::Broken(error.to_string())),
        Err(Passed) => Err(Fault::Silent("the server did not answer in time".into())),
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

fn tls_connector(authorities: Option<&[u8]>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| format!("the authorities' PEM: {error}"))?;
                roots.add(certificate).map_err(|error| format!("the authorities' PEM: {error}"))?;
            }
            if roots.is_empty() {
                return Err("the authorities' PEM holds no certificate".into());
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err("this system knows no authorities; set tls_ca".into());
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
