//! Which server to talk to, and as whom.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use twinlock_client::{Client, Options, TlsIdentity};
use zeroize::Zeroizing;

use super::Failure;

/// Which server to talk to, and as whom.
#[derive(Debug, Args)]
pub struct ConnectionArguments {
    /// The server: http://host:port, https://host:port or unix:/path [default: http://127.0.0.1:6238]
    #[arg(long, env = "TWINLOCK_ADDRESS")]
    address: Option<String>,
    /// The caller's token; others on this machine can see it here, so prefer --token-file or the
    /// environment
    #[arg(long, env = "TWINLOCK_TOKEN", hide_env_values = true)]
    token: Option<Token>,
    /// A file that holds the caller's token; goes before --token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long a call may take, 500ms or 5s for instance
    #[arg(long, value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// The certificate authorities that vouch for an https server, as a PEM file; those of the
    /// operating system otherwise
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// The caller's own certificate, as a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, as a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Print JSON, one object a line, failures included
    #[arg(long)]
    pub(super) json: bool,
}

impl ConnectionArguments {
    /// A client that connects when it is first used.
    pub(super) fn client(&self, default_timeout: Duration) -> Result<Client, Failure> {
        self.client_at(DEFAULT_ADDRESS, default_timeout)
    }

    /// Whether somebody said which server is meant.
    pub(super) fn names_a_server(&self) -> bool {
        self.address.is_some()
    }

    /// The same, with another address where none is given.
    pub(super) fn client_at(
        &self,
        default_address: &str,
        default_timeout: Duration,
    ) -> Result<Client, Failure> {
        let token = match &self.token_file {
            Some(path) => Some(Zeroizing::new(String::from_utf8_lossy(&read(path)?).into_owned())),
            None => self.token.as_ref().map(|token| token.0.clone()),
        };
        let tls_identity = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => {
                Some(TlsIdentity { certificate: read(certificate)?, key: read(key)? })
            }
            _ => None,
        };
        let options = Options {
            address: self.address.as_deref().unwrap_or(default_address).to_owned(),
            token: token.map(|token| token.trim_end().to_owned()),
            timeout: self.timeout.unwrap_or(default_timeout),
            tls_ca: self.tls_ca.as_deref().map(read).transpose()?,
            tls_identity,
        };
        Ok(Client::connect_lazy(&options)?)
    }
}

/// Where a server listens unless it is told otherwise.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:6238";

/// How long a call may take where nobody says otherwise, the server's own default.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::Usage(format!("{} cannot be read: {error}.", path.display())))
}

/// A bearer token, which is never printed.
#[derive(Clone)]
struct Token(Zeroizing<String>);

impl FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}
