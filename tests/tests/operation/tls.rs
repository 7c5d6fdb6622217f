//! TLS, with a certificate that was made for the test.

use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;
use twinlock_tests::{Options, Server, User, finish, twinlock};

fn start() -> (Server, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let (certificate, key) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let options = Options::default()
        .set(&format!("server.tls_cert={}", certificate.display()))
        .set(&format!("server.tls_key={}", key.display()));
    (Server::start(options), directory)
}

async fn connect(server: &Server, certificate: &Path) -> Result<Channel, tonic::transport::Error> {
    let authority = Certificate::from_pem(std::fs::read(certificate).expect("a file"));
    let endpoint = Endpoint::from_shared(server.address.clone()).expect("an address");
    let tls = ClientTlsConfig::new().ca_certificate(authority);
    endpoint.tls_config(tls).expect("settings").connect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_trusts_the_certificate_is_served_and_nobody_else() {
    let (server, directory) = start();
    assert!(server.address.starts_with("https://"), "{}", server.address);
    let certificate = directory.path().join("cert.pem");
    let channel = connect(&server, &certificate).await.expect("a connection");
    User::enroll(&mut TwoStepServiceClient::new(channel), "alice").await;

    let (_, stranger) = start();
    let refused = connect(&server, &stranger.path().join("cert.pem")).await;
    assert!(refused.is_err(), "a certificate of somebody else was taken");
    let plain = Endpoint::from_shared(server.address.replace("https", "http")).expect("an address");
    let mut plain = TwoStepServiceClient::new(plain.connect_lazy());
    assert!(
        plain
            .describe_user(twinlock_proto::v1::DescribeUserRequest { user_id: "alice".into() })
            .await
            .is_err(),
        "it was served without TLS"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_take_an_authority() {
    let (server, directory) = start();
    let status = |address: &str, authority: Option<&Path>| {
        let mut command = twinlock();
        command.args(["status", "alice", "--json", "--address", address]);
        command.args(authority.into_iter().flat_map(|path| [Path::new("--tls-ca"), path]));
        finish(&mut command)
    };
    let certificate = directory.path().join("cert.pem");
    let by_name = server.address.replace("127.0.0.1", "localhost");
    for address in [&server.address, &by_name] {
        let (code, output, errors) = status(address, Some(&certificate));
        assert_eq!(code, Some(0), "{output}{errors}");
    }
    let (code, output, _) = status(&server.address, None);
    assert_eq!(code, Some(3), "nobody vouches for the server: {output}");
    let plain = server.address.replace("https", "http");
    let (code, output, _) = status(&plain, None);
    assert_eq!(code, Some(3), "{output}");
    let (code, output, _) = status(&plain, Some(&certificate));
    assert_eq!(code, Some(2), "{output}");
    assert!(output.contains("https://"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_go_on_is_ended() {
    let (server, directory) = start();
    let certificate = directory.path().join("cert.pem");
    let mut dawdling = TcpStream::connect(server.authority()).await.expect("a connection");
    // The head of a ClientHello that never comes.
    dawdling.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.expect("open");
    dawdling.write_all(&[7; 100]).await.expect("open");
    let begin = Instant::now();
    // Meanwhile everybody else is served.
    connect(&server, &certificate).await.expect("a connection");
    let mut bytes = Vec::new();
    let end = timeout(Duration::from_secs(15), dawdling.read_to_end(&mut bytes)).await;
    assert!(end.is_ok(), "still open after {:?}", begin.elapsed());
}

#[test]
fn a_key_that_is_missing_or_of_another_certificate_is_named() {
    let (mut server, directory) = start();
    let (_another, other) = start();
    assert!(server.stop().success());
    let certificate = directory.path().join("cert.pem");
    let missing = directory.path().join("none.pem");
    for key in [&missing, &certificate, &other.path().join("key.pem")] {
        let mut command = twinlock();
        command.arg("serve").current_dir(server.directory());
        command.args(["--set", &format!("server.tls_cert={}", certificate.display())]);
        command.args(["--set", &format!("server.tls_key={}", key.display())]);
        command.args(["--listen", "127.0.0.1:0", "--set", "telemetry.listen=127.0.0.1:0"]);
        let (code, _, errors) = finish(&mut command);
        assert_eq!(code, Some(1), "{errors}");
        let named = errors.contains("server.tls_key") || errors.contains("none.pem");
        assert!(named, "{errors}");
    }
}
