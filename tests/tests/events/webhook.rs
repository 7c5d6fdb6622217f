//! The webhook, as its receiver sees it.

use crate::{LIMIT, deny, trail};
use serde_json::Value;
use std::collections::VecDeque;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use twinlock_tests::redis::free_port;
use twinlock_tests::{Options, Server};

const SECRET: &str = "a secret that both of them know";

/// A small HTTP server that a product may have.
struct Receiver {
    received: mpsc::UnboundedReceiver<Delivery>,
}

/// One request, as it came.
#[derive(Debug)]
struct Delivery {
    head: String,
    body: Vec<u8>,
    /// The status that it was answered with.
    answered: u16,
}

impl Receiver {
    /// Listens; the first requests are answered with these statuses, the others with 204.
    async fn listen(port: u16, answers: &[u16], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let (deliveries, received) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (deliveries, answers, tls) = (deliveries.clone(), answers.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, deliveries, answers).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            serve(stream, deliveries, answers).await;
                        }
                    }
                });
            }
        });
        Self { received }
    }

    async fn next(&mut self) -> Delivery {
        let next = tokio::time::timeout(LIMIT, self.received.recv()).await;
        next.expect("a delivery in time").expect("a receiver")
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    deliveries: mpsc::UnboundedSender<Delivery>,
    answers: Arc<Mutex<VecDeque<u16>>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let before = head.len();
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
            let line = &head[before..];
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a body");
        let status = answers.lock().expect("answers").pop_front().unwrap_or(204);
        let answer = match status {
            204 => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            302 => "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".into(),
            status => format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 2\r\n\r\nno"),
        };
        stream.write_all(answer.as_bytes()).await.expect("an answer");
        deliveries.send(Delivery { head, body, answered: status }).expect("a test");
    }
}

impl Delivery {
    fn user(&self) -> String {
        self.event()["userId"].as_str().expect("a user").to_owned()
    }

    fn event(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn header(&self, name: &str) -> String {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.expect("the header").1.to_owned()
    }

    /// Whether the function that the documentation shows believes it.
    fn is_believed(&self, secret: &str) -> bool {
        let page = include_str!("../../../docs/audit.md");
        let (_, snippet) = page.split_once("```python\n").expect("a snippet");
        let (snippet, _) = snippet.split_once("```").expect("its end");
        let program = format!(
            "{snippet}\nimport sys\nprint(is_genuine(sys.argv[1].encode(), sys.argv[2], sys.stdin.buffer.read()))"
        );
        let mut python = Command::new("python3")
            .args(["-c", &program, secret, &self.header("twinlock-signature")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut input = python.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut input, &self.body).expect("its input");
        drop(input);
        let output = python.wait_with_output().expect("it ends");
        assert!(output.status.success());
        output.stdout == b"True\n"
    }
}

fn options(url: &str) -> Options {
    Options::default()
        .set(&format!("webhook.url={url}"))
        .env("TWINLOCK_WEBHOOK__SECRET", SECRET)
        .set("audit.path=audit.log")
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_delivered_signed_and_again_until_they_are_taken() {
    let port = free_port();
    let mut server = Server::start(options(&format!("http://127.0.0.1:{port}/hook?from=twinlock")));
    let mut client = server.client().await;
    // Nobody listens yet.
    for user in ["alice", "bob", "carol", "dave"] {
        deny(&mut client, user).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let mut receiver = Receiver::listen(port, &[500, 302, 503, 204, 422], None).await;
    let mut seen = Vec::new();
    for _ in 0..7 {
        let delivery = receiver.next().await;
        seen.push((delivery.user(), delivery.answered));
        assert!(delivery.head.starts_with("POST /hook?from=twinlock HTTP/1.1\r\n"));
        assert_eq!(delivery.header("host"), format!("127.0.0.1:{port}"));
        assert_eq!(delivery.header("content-type"), "application/json");
        assert!(delivery.is_believed(SECRET));
        assert!(!delivery.is_believed("a secret that somebody guessed"));
    }
    let seen: Vec<_> = seen.iter().map(|(user, answered)| (&**user, *answered)).collect();
    assert_eq!(
        seen,
        [
            ("alice", 500),
            ("alice", 302),
            ("alice", 503),
            ("alice", 204),
            ("bob", 422),
            ("carol", 204),
            ("dave", 204)
        ]
    );

    // What was told just before the end is still delivered.
    deny(&mut client, "erin").await;
    assert!(server.stop().success());
    let last = receiver.next().await;
    assert_eq!(last.user(), "erin");
    assert!(!server.log().contains(SECRET));

    let event = last.event();
    let lines = trail(&server.directory().join("audit.log"));
    let line = lines.last().expect("a line");
    for (key, name) in [
        ("eventId", "event_id"),
        ("eventTime", "event_time"),
        ("type", "type"),
        ("userId", "user_id"),
        ("actorId", "actor_id"),
        ("caller", "caller"),
        ("reason", "reason"),
        ("namespace", "namespace"),
    ] {
        assert_eq!(event[key], line[name], "{key}");
    }
    assert_eq!(event["method"], "METHOD_UNSPECIFIED");
    assert_eq!(event["client"]["ipAddress"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_types_that_are_asked_for_are_delivered() {
    let port = free_port();
    let mut receiver = Receiver::listen(port, &[], None).await;
    let options = options(&format!("http://localhost:{port}"))
        .set("webhook.events=ENROLLMENT_REQUIRED,BLOCKED")
        .set("enforcement.mode=enforce")
        .set("enforcement.authorities=boss");
    let server = Server::start(options);
    let mut client = server.client().await;
    deny(&mut client, "alice").await;
    let login = twinlock_proto::v1::EvaluateLoginRequest {
        user_id: "alice".into(),
        channel: twinlock_proto::v1::LoginChannel::Form.into(),
        authorities: vec!["boss".into()],
        ..Default::default()
    };
    client.evaluate_login(login).await.expect("a decision");
    let delivery = receiver.next().await;
    assert!(delivery.head.starts_with("POST / HTTP/1.1\r\n"));
    let event = delivery.event();
    assert_eq!(
        (&event["type"], &event["reason"]),
        (&"ENROLLMENT_REQUIRED".into(), &"ENFORCED".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_behind_tls_must_be_who_it_says() {
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]);
    let certificate = parameters.expect("parameters").self_signed(&key).expect("a certificate");
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let secret = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .expect("a certificate");
    let port = free_port();
    let tls = TlsAcceptor::from(Arc::new(config));
    let mut receiver = Receiver::listen(port, &[], Some(tls)).await;
    let files = tempfile::tempdir().expect("a directory");
    let authorities = files.path().join("authorities.pem");
    std::fs::write(&authorities, certificate.pem()).expect("a file");
    let authorities = authorities.to_str().expect("a path");

    // The certificate is for another name.
    let trusting = |url: &str| options(url).env("SSL_CERT_FILE", authorities);
    let server = Server::start(trusting(&format!("https://127.0.0.1:{port}/")));
    deny(&mut server.client().await, "alice").await;
    tokio::time::sleep(std::time::Duration::from_millis(1000)).await;
    assert!(receiver.received.try_recv().is_err(), "nothing may be sent to a stranger");
    assert!(server.log().contains("the webhook is tried again"), "{}", server.log());

    let server = server.restart_with(trusting(&format!("https://localhost:{port}/")));
    deny(&mut server.client().await, "bob").await;
    let delivery = receiver.next().await;
    assert_eq!(delivery.user(), "bob");
    assert!(delivery.is_believed(SECRET));
}

#[test]
fn a_webhook_without_a_secret_or_with_a_wrong_address_is_refused_at_start() {
    for (settings, wrong) in [
        (&["webhook.url=https://example.com/"][..], "webhook.secret"),
        (&["webhook.url=https://example.com/", "webhook.secret=short"], "webhook.secret"),
        (&["webhook.url=ftp://example.com/", "webhook.secret=0123456789abcdef"], "webhook.url"),
        (
            &["webhook.url=https://u:p@example.com/", "webhook.secret=0123456789abcdef"],
            "webhook.url",
        ),
        (&["webhook.events=VERIFIED,NEVER_HEARD_OF"], "webhook.events"),
    ] {
        let mut check = twinlock_tests::twinlock();
        check.args(["serve", "--check-config"]);
        settings.iter().for_each(|setting| {
            check.args(["--set", setting]);
        });
        let (status, output, errors) = twinlock_tests::finish(&mut check);
        assert_ne!(status, Some(0), "{settings:?}");
        assert!((output + &errors).contains(wrong), "{settings:?}");
    }
}
