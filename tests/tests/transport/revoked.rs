//! Callers that change while the server runs.

use crate::{call, caller, logged, rewrite, token, until};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Request;
use twinlock_proto::v1::WatchEventsRequest;
use twinlock_proto::v1::admin_service_client::AdminServiceClient;
use twinlock_tests::{Options, Server, finish, reason};

const UNKNOWN: &str = "CALLER_UNAUTHENTICATED";

fn shop() -> String {
    caller("shop", &token("token-of-shop"), "")
}

fn desk() -> String {
    caller("desk", &token("token-of-desk"), "roles = [\"admin\", \"product\"]")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_is_removed_is_refused_on_its_old_connection() {
    let server = Server::start(Options::default().file(&(shop() + &desk())));
    let old = server.channel().await;
    assert_eq!(call(&old, Some("token-of-shop")).await, Ok(()));
    rewrite(&server, &desk());
    until("refused without a signal", async || {
        call(&old, Some("token-of-shop")).await == Err(UNKNOWN.into())
    })
    .await;
    logged(&server, &["callers were reloaded", "gone=[\"shop\"]"]).await;
    assert_eq!(call(&old, Some("token-of-desk")).await, Ok(()), "nobody else is");
    rewrite(&server, &(shop() + &desk()));
    server.signal("HUP");
    until("back again", async || call(&old, Some("token-of-shop")).await == Ok(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_changes_nothing() {
    let server = Server::start(Options::default().file(&shop()));
    let channel = server.channel().await;
    for (text, words) in [
        ("", "no [[caller]] is left"),
        ("[[caller]]\nname = \"other\"\n", "exactly one of the three"),
        ("[[caller", "twinlock.toml, line 1"),
        ("[server]\ndeadlin = \"1s\"\n", "server.deadline"),
        (&(shop() + "[backoff]\ninitial = \"2h\"\n"), "backoff.initial"),
    ] {
        rewrite(&server, text);
        server.signal("HUP");
        logged(&server, &["ERROR", "a change was refused", words]).await;
        assert_eq!(call(&channel, Some("token-of-shop")).await, Ok(()), "{text}");
        assert_eq!(call(&channel, None).await, Err(UNKNOWN.into()), "{text}");
        assert!(server.probe("/readyz").contains(words), "{}", server.probe("/readyz"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_are_not_applied_and_the_log_says_so() {
    let server = Server::start(Options::default().file(&shop()));
    let channel = server.channel().await;
    rewrite(&server, &format!("backoff.hard_limit = 100\ntotp.issuer = \"Shop\"\n{}", desk()));
    server.signal("HUP");
    let line = logged(&server, &["WARN", "need a restart"]).await;
    assert!(line.contains("backoff.hard_limit") && line.contains("totp.issuer"), "{line}");
    until("the callers count", async || call(&channel, Some("token-of-desk")).await == Ok(()))
        .await;
    assert_eq!(call(&channel, Some("token-of-shop")).await, Err(UNKNOWN.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_callers_right_to_it() {
    let server = Server::start(Options::default().file(&(shop() + &desk())));
    let mut request = Request::new(WatchEventsRequest::default());
    request.metadata_mut().insert("authorization", "Bearer token-of-desk".parse().expect("one"));
    let mut client = AdminServiceClient::new(server.channel().await);
    let mut grpc = client.watch_events(request).await.expect("a watch").into_inner();
    let mut rest = TcpStream::connect(server.authority()).await.expect("a connection");
    let head = "GET /v1/admin/events HTTP/1.1\r\nhost: twinlock\r\n\
                authorization: Bearer token-of-desk\r\n\r\n";
    rest.write_all(head.as_bytes()).await.expect("open");
    let mut bytes = [0; 4096];
    let read = rest.read(&mut bytes).await.expect("an answer");
    assert!(bytes[..read].starts_with(b"HTTP/1.1 200"));

    rewrite(&server, &shop());
    server.signal("HUP");
    let ended = timeout(Duration::from_secs(10), grpc.message()).await.expect("it ends");
    assert_eq!(reason(&ended.expect_err("refused")), UNKNOWN);
    let mut answer = String::new();
    let end = async {
        while !answer.contains("event: end") {
            let read = rest.read(&mut bytes).await.expect("open");
            answer.push_str(&String::from_utf8_lossy(&bytes[..read]));
        }
    };
    timeout(Duration::from_secs(10), end).await.expect("it ends");
    assert!(answer.contains("UNAUTHENTICATED"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_works_and_replaces_the_old_one_without_a_gap() {
    let server = Server::start(Options::default().file(&shop()));
    let new = |arguments: &[&str]| {
        let mut command = twinlock_tests::twinlock();
        command.current_dir(server.directory()).args(["token", "new"]).args(arguments);
        finish(&mut command)
    };
    let (status, output, errors) = new(&["shop", "--json"]);
    assert_eq!(status, Some(0), "{errors}");
    let made: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    let (fresh, entry) = (made["token"].as_str(), made["config"].as_str());
    let (fresh, entry) = (fresh.expect("a token"), entry.expect("lines"));
    assert!(fresh.starts_with("twl_") && !entry.contains(fresh), "{output}");

    let channel = server.channel().await;
    assert_eq!(call(&channel, Some(fresh)).await, Err(UNKNOWN.into()));
    rewrite(&server, &(shop() + entry));
    server.signal("HUP");
    until("both work", async || call(&channel, Some(fresh)).await == Ok(())).await;
    assert_eq!(call(&channel, Some("token-of-shop")).await, Ok(()));
    rewrite(&server, entry);
    server.signal("HUP");
    until("the old one is gone", async || {
        call(&channel, Some("token-of-shop")).await == Err(UNKNOWN.into())
    })
    .await;
    assert_eq!(call(&channel, Some(fresh)).await, Ok(()));
    assert!(!server.log().contains(fresh));

    let (status, output, _) = new(&["desk", "--role", "admin", "--role", "operator"]);
    assert_eq!(status, Some(0));
    assert_eq!(output.matches("twl_").count(), 1, "it is shown once: {output}");
    assert!(output.contains("roles = [\"admin\", \"operator\"]"), "{output}");
    for wrong in [&["a\nb"][..], &["shop", "--namespace", ""], &["shop", "--role", "root"]] {
        let (status, output, _) = new(wrong);
        assert_eq!(status, Some(2), "{wrong:?}");
        assert!(!output.contains("twl_"), "{output}");
    }
}
