//! Who is let in, over gRPC and REST alike, by a token, by a certificate, or by both.

use crate::authority::{Authority, Pair};
use crate::{call, caller, logged, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use twinlock_tests::{Options, Server};

const KNOWN: Result<u16, u16> = Ok(200);
const UNKNOWN: Result<u16, u16> = Err(401);

/// A call over HTTP/1.1 and its status.
async fn rest(
    authority: &Authority,
    server: &Server,
    pair: Option<&Pair>,
    token: Option<&str>,
) -> u16 {
    let versions = &[&TLS13, &TLS12];
    let stream = authority.handshake(server, pair, versions, &[b"http/1.1"]).await;
    let mut stream = stream.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let token = token.map(|token| format!("authorization: Bearer {token}\r\n"));
    let request = format!(
        "GET /v1/users/alice HTTP/1.1\r\nhost: localhost\r\n{}connection: close\r\n\r\n",
        token.unwrap_or_default()
    );
    stream.write_all(request.as_bytes()).await.expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_known_by_a_token_or_by_a_name_and_a_wrong_token_is_never_rescued() {
    let authority = Authority::new();
    authority.install(&authority.issue(&["localhost"]));
    let callers = [
        caller("web", "san = \"Web.Internal\"", ""),
        caller("mesh", "san = \"spiffe://cluster.local/ns/shop/sa/web\"", ""),
        caller("bot", &token("token-of-bot"), ""),
        caller("desk", "san = \"desk.internal\"", "roles = [\"admin\"]"),
    ];
    let file = authority.settings_for_clients() + &callers.concat();
    let server = Server::start(Options::default().file(&file));
    let web = authority.issue(&["web.internal"]);
    let mesh = authority.issue(&["spiffe://cluster.local/ns/shop/sa/web"]);
    let both = authority.issue(&["web.internal", "spiffe://cluster.local/ns/shop/sa/web"]);
    let other = authority.issue(&["other.internal"]);
    let desk = authority.issue(&["desk.internal"]);
    for (what, pair, token, expected) in [
        ("a DNS name", Some(&web), None, KNOWN),
        ("a SPIFFE ID", Some(&mesh), None, KNOWN),
        ("a token without a certificate", None, Some("token-of-bot"), KNOWN),
        ("a token beside an unknown name", Some(&other), Some("token-of-bot"), KNOWN),
        ("a token beside a known name", Some(&web), Some("token-of-bot"), KNOWN),
        ("nothing", None, None, UNKNOWN),
        ("an unknown name", Some(&other), None, UNKNOWN),
        ("names of two callers", Some(&both), None, UNKNOWN),
        ("a wrong token beside a known name", Some(&web), Some("nobody"), UNKNOWN),
        ("a wrong token", None, Some("nobody"), UNKNOWN),
        ("a name without the role", Some(&desk), None, Err(403)),
    ] {
        let channel = authority.channel(&server, pair).await.expect("a connection");
        let reason = match expected {
            Ok(_) => Ok(()),
            Err(401) => Err("CALLER_UNAUTHENTICATED".to_owned()),
            Err(_) => Err("CALLER_FORBIDDEN".to_owned()),
        };
        assert_eq!(call(&channel, token).await, reason, "{what}, over gRPC");
        let status = rest(&authority, &server, pair, token).await;
        assert_eq!(if status < 300 { Ok(status) } else { Err(status) }, expected, "{what}, REST");
    }
    // The log says why, and never what was presented.
    for why in ["no_credential", "unknown_token", "several_callers", "missing_role"] {
        logged(&server, &["a caller was refused", why, "peer=127.0.0.1:"]).await;
    }
    assert!(!server.log().contains("nobody") && !server.log().contains("token-of-bot"));
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_of_tls_are_spoken_and_no_session_is_resumed() {
    let authority = Authority::new();
    authority.install(&authority.issue(&["localhost"]));
    let web = caller("web", "san = \"web.internal\"", "");
    let file = authority.settings_for_clients() + &web;
    let server = Server::start(Options::default().file(&file));
    let pair = authority.issue(&["web.internal"]);
    for version in [&TLS12, &TLS13] {
        for protocols in [&[&b"h2"[..]][..], &[b"http/1.1"], &[b"h2", b"http/1.1"], &[]] {
            let stream = authority.handshake(&server, Some(&pair), &[version], protocols).await;
            let stream = stream.expect("a handshake");
            let connection = stream.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(version.version));
            assert_eq!(connection.alpn_protocol(), protocols.first().copied());
            assert_eq!(connection.tls13_tickets_received(), 0);
        }
    }
}
