//! Connections and callers: TLS, certificates and their renewal, tokens, sockets, namespaces.

mod admitted;
mod authority;
mod documented;
mod namespaces;
mod refused;
mod renewal;
mod revoked;
mod sockets;

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Request, Status};
use twinlock_proto::v1::DescribeUserRequest;
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;
use twinlock_tests::{Server, reason};

/// A `[[caller]]` entry.
fn caller(name: &str, credential: &str, rest: &str) -> String {
    format!("[[caller]]\nname = \"{name}\"\n{credential}\n{rest}\n")
}

/// The credential of a token.
fn token(token: &str) -> String {
    format!("token_sha256 = \"{}\"", HEXLOWER.encode(&Sha256::digest(token)))
}

/// A call as whoever is at the other end of the connection, and with this token if any; why it was refused.
async fn call(channel: &Channel, token: Option<&str>) -> Result<(), String> {
    let mut request = Request::new(DescribeUserRequest { user_id: "alice".into() });
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
    }
    let mut client = TwoStepServiceClient::new(channel.clone());
    let answer = client.describe_user(request).await;
    answer.map(drop).map_err(|status: Status| reason(&status))
}

/// Waits until the log has a line with all of these; gives it.
async fn logged(server: &Server, words: &[&str]) -> String {
    let limit = Instant::now() + Duration::from_secs(12);
    loop {
        let log = server.log();
        let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
        if let Some(line) = line {
            return line.to_owned();
        }
        assert!(Instant::now() < limit, "no line with {words:?} in: {log}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Writes the server's configuration file anew.
fn rewrite(server: &Server, text: &str) {
    let path = server.directory().join("twinlock.toml");
    std::fs::write(path.with_extension("new"), text).expect("a file");
    std::fs::rename(path.with_extension("new"), path).expect("moved");
}

/// Waits until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(12);
    while !holds().await {
        assert!(Instant::now() < limit, "{what}: it did not come about");
        sleep(Duration::from_millis(50)).await;
    }
}
