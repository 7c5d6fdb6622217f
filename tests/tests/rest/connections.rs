//! HTTP/1.1 and HTTP/2 on one port: kept alive, drained, and never held for ever.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use twinlock_tests::http::Http;
use twinlock_tests::raw::Raw;
use twinlock_tests::{Options, Server};

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.authority()).await.expect("a connection")
}

/// Sends a request and reads its answer, which is known to have a short body.
async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.expect("open");
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        let mut bytes = [0; 4096];
        let read = timeout(Duration::from_secs(10), stream.read(&mut bytes)).await;
        match read.expect("an answer in time").expect("open") {
            0 => return text,
            count => answer.extend_from_slice(&bytes[..count]),
        }
    }
}

/// Reads until the server ends the connection.
async fn rest_of(stream: &mut TcpStream, within: Duration) -> String {
    let mut rest = Vec::new();
    let end = timeout(within, stream.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "it was still open after {within:?}");
    String::from_utf8_lossy(&rest).into_owned()
}

const DESCRIBE: &str = "GET /v1/users/alice HTTP/1.1\r\nhost: twinlock\r\n\r\n";

#[tokio::test]
async fn a_connection_serves_many_requests_and_ends_with_the_server() {
    let mut server = Server::start_default();
    let mut stream = connect(&server).await;
    for _ in 0..3 {
        let answer = exchange(&mut stream, DESCRIBE).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    // So does one that has sent nothing.
    let _unbegun = connect(&server).await;
    sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    assert!(server.stop().success());
    assert!(begin.elapsed() < Duration::from_secs(4), "it waited for {:?}", begin.elapsed());
    assert_eq!(rest_of(&mut stream, Duration::from_secs(1)).await, "");
}

#[tokio::test]
async fn half_a_head_holds_a_stopping_server_no_longer_than_a_call_does() {
    let mut server = Server::start(Options::default().set("server.deadline=1s"));
    let mut half = connect(&server).await;
    half.write_all(&DESCRIBE.as_bytes()[..30]).await.expect("open");
    sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    assert!(server.stop().success());
    assert!(begin.elapsed() < Duration::from_secs(4), "it waited for {:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_under_way_is_finished_when_the_server_stops() {
    let mut server = Server::start_default();
    let mut stream = connect(&server).await;
    let body = r#"{"password":"correct horse battery staple"}"#;
    let head = format!(
        "PUT /v1/users/alice/password HTTP/1.1\r\nhost: twinlock\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("open");
    sleep(Duration::from_millis(200)).await;
    server.signal("TERM");
    sleep(Duration::from_millis(200)).await;
    let answer = exchange(&mut stream, body).await;
    assert!(answer.starts_with("HTTP/1.1 204 No Content"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(server.wait().success());
}

#[tokio::test]
async fn a_body_that_never_comes_is_not_waited_for() {
    let server = Server::start(Options::default().set("server.deadline=1s"));
    let mut stream = connect(&server).await;
    let head = "POST /v1/users/alice/verify HTTP/1.1\r\nhost: twinlock\r\n\
                content-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.expect("open");
    let answer = rest_of(&mut stream, Duration::from_secs(3)).await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout"), "{answer}");
    assert!(answer.contains("\"reason\":\"INVALID_REQUEST\""), "{answer}");

    // What announces too much is told before it sends.
    let mut stream = connect(&server).await;
    let head = head.replace("content-length: 100", "content-length: 10000000");
    stream.write_all(head.as_bytes()).await.expect("open");
    let answer = rest_of(&mut stream, Duration::from_secs(1)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_not_waited_for() {
    let server = Server::start_default();
    let mut stream = connect(&server).await;
    stream.write_all(b"GET /v1/users/alice HTTP/1.1\r\nhost: tw").await.expect("open");
    rest_of(&mut stream, Duration::from_secs(35)).await;
}

#[tokio::test]
async fn http_2_answers_the_same() {
    let server = Server::start_default();
    let raw = Raw::connect(&server).await;
    let json = [("content-type", "application/json")];
    let path = "/v1/users/alice/elevation";
    let body = r#"{"sessionId":"s","asserted":{"how":"saml"}}"#;
    let answer = raw.post_as(path, &json, body).await.expect("an answer");
    assert_eq!((answer.http.as_u16(), answer.header("cache-control")), (200, "no-store"));
    assert!(answer.header("date").ends_with(" GMT"));
    assert!(String::from_utf8_lossy(&answer.body).contains("METHOD_ASSERTED"));
    // And whoever asks for gRPC is told in its words.
    let answer = raw.post("/v1/users/alice/elevation", &[], body).await.expect("an answer");
    assert_eq!(answer.header("grpc-status"), "12");
    let http = Http::new(&server);
    assert_eq!(http.send("GET", "/v1/users/a", &[], "").await.expect("an answer").status, 200);
}
