//! Each handshake that fails, and the line in the log that says why.

use crate::authority::{Authority, Pair};
use crate::{call, caller, logged};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use twinlock_tests::{Options, Server};

const H2: &[&[u8]] = &[b"h2"];

/// A server that knows one caller, by a certificate.
fn start(authority: &Authority) -> Server {
    authority.install(&authority.issue(&["localhost", "127.0.0.1"]));
    let web = caller("web", "san = \"web.internal\"", "");
    Server::start(Options::default().file(&(authority.settings_for_clients() + &web)))
}

/// Whether the connection is of no use, which with TLS 1.3 shows only when the server is listened to.
async fn is_refused(authority: &Authority, server: &Server, pair: Option<&Pair>) -> bool {
    for version in [&TLS12, &TLS13] {
        let Ok(mut stream) = authority.handshake(server, pair, &[version], H2).await else {
            continue;
        };
        let read = timeout(Duration::from_secs(5), stream.read(&mut [0; 64])).await;
        if !matches!(read, Ok(Err(_) | Ok(0))) {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_missing_or_of_no_use_is_refused_and_the_log_says_why() {
    let authority = Authority::new();
    let server = start(&authority);
    let names = &["web.internal"];
    let namesake = Authority::new();
    for (pair, why, words) in [
        (None, "no_certificate", "no client certificate"),
        (Some(authority.issue_for(names, (2020, 1, 1), (2021, 1, 1))), "expired", "has expired"),
        (
            Some(authority.issue_for(names, (2099, 1, 1), (2100, 1, 1))),
            "not_yet_valid",
            "not valid yet",
        ),
        (
            Some(Authority::named("another authority").issue(names)),
            "unknown_authority",
            "no authority of server.tls_client_ca",
        ),
        (Some(namesake.issue(names)), "bad_signature", "another authority of the same name"),
    ] {
        assert!(is_refused(&authority, &server, pair.as_ref()).await, "{why}");
        let why = format!("why=\"{why}\"");
        let line = logged(&server, &[&why, words]).await;
        assert!(line.contains("WARN") && line.contains("peer=127.0.0.1:"), "{line}");
    }
    // None of it keeps those out who have the right one.
    let channel = authority.channel(&server, Some(&authority.issue(names))).await;
    assert_eq!(call(&channel.expect("a connection"), None).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_with_another_name_is_refused_at_the_call() {
    let authority = Authority::new();
    let server = start(&authority);
    for names in [&["other.internal"][..], &["*.internal"], &["a.web.internal", "spiffe://a/b"]] {
        let channel = authority.channel(&server, Some(&authority.issue(names))).await;
        let refused = call(&channel.expect("a handshake"), None).await;
        assert_eq!(refused, Err("CALLER_UNAUTHENTICATED".into()), "{names:?}");
    }
    let line = logged(&server, &["a caller was refused", "unknown_certificate"]).await;
    assert!(line.contains("other.internal") && line.contains("peer=127.0.0.1:"), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_of_tls_are_refused_by_name() {
    let authority = Authority::new();
    let server = start(&authority);
    let openssl = |version: &str| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", server.authority(), version]);
        // What the client itself would refuse by now.
        command.args(["-cipher", "ALL:@SECLEVEL=0"]).stdin(Stdio::null());
        let output = command.output().expect("openssl runs");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let output = openssl("-tls1_1");
    assert!(output.contains("alert"), "{output}");
    logged(&server, &["why=\"old_version\"", "TLS 1.1 or older"]).await;
    // The next version gets as far as the certificate that is missing.
    openssl("-tls1_2");
    logged(&server, &["why=\"no_certificate\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_tls_is_told_apart() {
    let authority = Authority::new();
    let server = start(&authority);
    let send = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.authority()).await.expect("a connection");
        stream.write_all(bytes).await.expect("open");
        let mut answer = Vec::new();
        let end = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "it was not ended");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = send(b"GET /v1/users/alice HTTP/1.1\r\nhost: twinlock\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("https://"), "{answer}");
    logged(&server, &["why=\"plaintext\"", "plaintext HTTP on the TLS port"]).await;
    // A record of a handshake that holds none.
    send(b"\x16\x03\x01\x00\x05hello").await;
    logged(&server, &["why=\"bad_record\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_of_http_2_is_named_as_well() {
    let authority = Authority::new();
    let server = start(&authority);
    let mut stream = TcpStream::connect(server.authority()).await.expect("a connection");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("open");
    logged(&server, &["why=\"plaintext\"", "plaintext HTTP on the TLS port"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_wants_something_else_is_told_apart() {
    let authority = Authority::new();
    let server = start(&authority);
    let web = authority.issue(&["web.internal"]);
    let refused = Authority::named("another").handshake(&server, Some(&web), &[&TLS13], H2).await;
    assert!(refused.is_err(), "the client trusts another authority");
    logged(&server, &["why=\"refused_by_client\""]).await;
    let refused = authority.handshake(&server, Some(&web), &[&TLS13], &[b"spdy/1"]).await;
    assert!(refused.is_err());
    logged(&server, &["why=\"nothing_in_common\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_go_on_times_out_and_delays_nobody() {
    let authority = Authority::new();
    let server = start(&authority);
    let mut dawdling = Vec::new();
    for begin in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut stream = TcpStream::connect(server.authority()).await.expect("a connection");
        stream.write_all(begin).await.expect("open");
        dawdling.push(stream);
    }
    let channel = authority.channel(&server, Some(&authority.issue(&["web.internal"]))).await;
    assert_eq!(call(&channel.expect("a connection"), None).await, Ok(()));
    logged(&server, &["why=\"timed_out\""]).await;
    for mut stream in dawdling {
        let end = timeout(Duration::from_secs(5), stream.read(&mut [0; 64])).await;
        assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_is_a_line_and_a_number() {
    let authority = Authority::new();
    let server = start(&authority);
    for _ in 0..50 {
        is_refused(&authority, &server, None).await;
    }
    logged(&server, &["why=\"no_certificate\""]).await;
    let log = server.log();
    let lines = log.lines().filter(|line| line.contains("no_certificate")).count();
    // One in ten seconds.
    assert!((1..=3).contains(&lines), "{log}");
}
