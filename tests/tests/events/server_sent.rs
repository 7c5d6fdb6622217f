//! The same events, as a browser's `EventSource` would read them.

use crate::{LIMIT, Watch, deny, ids, users};
use serde_json::Value;
use std::collections::BTreeSet;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use twinlock_tests::Server;
use twinlock_tests::http::Http;

/// A stream of server-sent events over HTTP/1.1.
struct Source {
    stream: BufReader<TcpStream>,
    head: String,
}

#[derive(Debug, Default)]
struct Sent {
    id: String,
    event: String,
    data: String,
}

impl Source {
    async fn open(server: &Server, headers: &str) -> Self {
        let stream = TcpStream::connect(server.authority()).await.expect("a connection");
        let mut stream = BufReader::new(stream);
        let request = format!("GET /v1/admin/events HTTP/1.1\r\nhost: test\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).await.expect("a head"), 0);
        }
        Self { stream, head: head.to_lowercase() }
    }

    /// The next event; comments and the sizes of chunks are passed over.
    async fn next(&mut self) -> Sent {
        let mut sent = Sent::default();
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(LIMIT, self.stream.read_line(&mut line)).await;
            assert_ne!(read.expect("something comes in time").expect("a line"), 0, "it ended");
            let line = line.trim_end();
            match line.split_once(": ") {
                Some(("id", id)) => sent.id = id.into(),
                Some(("event", event)) => sent.event = event.into(),
                Some(("data", data)) => sent.data = data.into(),
                _ if line.is_empty() && !sent.data.is_empty() => return sent,
                _ => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_the_same_and_go_on_after_the_last_one() {
    let mut server = Server::start_default();
    let mut client = server.client().await;
    let mut watch = Watch::begin(&server, "").await;
    let mut source = Source::open(&server, "").await;
    assert!(source.head.starts_with("http/1.1 200"), "{}", source.head);
    for header in ["content-type: text/event-stream", "cache-control: no-store"] {
        assert!(source.head.contains(header), "{}", source.head);
    }
    for user in ["alice", "bob", "carol"] {
        deny(&mut client, user).await;
    }
    let events = watch.take(3).await;
    for event in &events {
        let sent = source.next().await;
        assert_eq!((&sent.id, &*sent.event), (&event.event_id, "LOGIN_DENIED"));
        let data: Value = serde_json::from_str(&sent.data).expect("JSON");
        assert_eq!(data["eventId"], event.event_id);
        assert_eq!(data["userId"], event.user_id);
        assert_eq!(data["reason"], "BASIC_NOT_PROTECTED");
        assert_eq!(data["method"], "METHOD_UNSPECIFIED");
        let document = Http::new(&server).send("GET", "/openapi.json", &[], "").await;
        let document = document.expect("an answer").value();
        let properties = document["components"]["schemas"]["Event"]["properties"].as_object();
        let documented: BTreeSet<_> = properties.expect("a schema").keys().cloned().collect();
        let told: BTreeSet<_> = data.as_object().expect("an object").keys().cloned().collect();
        assert_eq!(told, documented);
    }
    assert_eq!(users(&events), ["alice", "bob", "carol"]);

    drop(source);
    let last = format!("Last-Event-ID: {}\r\n", ids(&events)[0]);
    let mut again = Source::open(&server, &last).await;
    assert!(!again.head.contains("twinlock-missed-events"), "{}", again.head);
    assert_eq!(again.next().await.id, ids(&events)[1]);
    assert_eq!(again.next().await.id, ids(&events)[2]);
    let missed = Source::open(&server, "Last-Event-ID: 1-0\r\n").await;
    assert!(missed.head.contains("twinlock-missed-events: true"), "{}", missed.head);

    let answer = Http::new(&server)
        .json("GET", "/v1/admin/events", &[("last-event-id", "yesterday")], &Value::Null)
        .await
        .expect("an answer");
    assert_eq!((answer.status, answer.reason()), (400, "INVALID_REQUEST".into()));

    server.signal("TERM");
    let end = again.next().await;
    assert_eq!(end.event, "end");
    assert!(end.data.contains("UNAVAILABLE") && end.data.contains("stopping"), "{}", end.data);
    assert!(server.wait().success());
}
