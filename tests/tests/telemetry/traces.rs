//! Spans reach a collector as a part of the caller's trace, and a collector that is not there disturbs
//! nobody.

use super::{LIMIT, Page, until};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value as Json, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server as TonicServer;
use tonic::{Request, Response, Status};
use twinlock_proto::v1::verify_request::Credential;
use twinlock_tests::http::Http;
use twinlock_tests::{Options, Server, User, binary, unconfigure, verify_with};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A collector, which keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|it| it.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        self.0.lock().expect("spans").extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts one; gives its address.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let service = TraceServiceServer::new(collector.clone());
        let serving = TonicServer::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        (collector, address)
    }

    fn spans(&self) -> Vec<Span> {
        self.0.lock().expect("spans").clone()
    }

    /// Waits until there are so many spans of this name.
    async fn named(&self, name: &str, count: usize) -> Vec<Span> {
        let limit = Instant::now() + LIMIT;
        loop {
            let spans: Vec<Span> =
                self.spans().into_iter().filter(|span| span.name == name).collect();
            if spans.len() >= count {
                return spans;
            }
            assert!(Instant::now() < limit, "{count} of {name}: {:?}", self.spans());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn attribute<'s>(span: &'s Span, key: &str) -> Option<&'s str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn traceparent(flag: &str) -> String {
    format!("00-{TRACE}-{CALLER}-{flag}")
}

// The collector must answer while this waits for the server's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_a_part_of_its_callers_trace() {
    let (collector, address) = Collector::start().await;
    let setting = format!("telemetry.otlp_endpoint={address}");
    let options = Options::default().set(&setting).set("telemetry.otlp_sample=0");
    let mut server = Server::start(options);
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "canary-user").await;

    let mut request = Request::new(user.verify(user.wrong_code()));
    request.metadata_mut().insert("traceparent", traceparent("01").parse().expect("a value"));
    client.verify(request).await.expect_err("a wrong code");
    let rest = Http::new(&server);
    let headers = [("traceparent", &*traceparent("01"))];
    let body = json!({ "sessionId": "canary-session" });
    let path = "/v1/users/canary-user/elevation/check";
    rest.json("POST", path, &headers, &body).await.expect("an answer");
    // What the caller does not sample is not sampled, and neither is a call of nobody's.
    let headers = [("traceparent", &*traceparent("00"))];
    rest.json("GET", "/v1/users/canary-user", &headers, &json!({})).await.expect("an answer");
    user.describe(&mut client).await;

    server.stop();
    let verify = &collector.named("Verify", 1).await[0];
    let check = &collector.named("CheckElevation", 1).await[0];
    for span in [verify, check] {
        assert_eq!(hex(&span.trace_id), TRACE);
        assert_eq!(hex(&span.parent_span_id), CALLER);
        assert_eq!(span.kind, SpanKind::Server as i32);
    }
    assert_eq!(attribute(verify, "twinlock.reason"), Some("INVALID_CODE"));
    assert_eq!(attribute(verify, "twinlock.transport"), Some("grpc"));
    assert_eq!(attribute(check, "twinlock.reason"), Some("ELEVATION_REQUIRED"));
    assert_eq!(attribute(check, "twinlock.transport"), Some("rest"));
    let spans = collector.spans();
    let parts = |of: &Span| {
        let parts = spans.iter().filter(|span| span.parent_span_id == of.span_id);
        parts.map(|span| span.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!((parts(verify), parts(check)), (vec!["load", "swap"], vec!["load"]));
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE), "{spans:?}");
    assert!(!spans.iter().any(|span| span.name == "DescribeUser"), "{spans:?}");
    let told = format!("{spans:?}");
    for canary in ["canary", &user.secret, &user.recovery_key] {
        assert!(!told.contains(canary), "{canary}: {told}");
    }
    assert!(spans.iter().all(|span| span.events.is_empty()), "no line of the log: {told}");
}

// The collector must answer while this waits for the server's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_nobody_are_sampled_and_lines_of_the_log_name_their_trace() {
    let (collector, address) = Collector::start().await;
    let directory = tempfile::tempdir().expect("a directory");
    let twinlock = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        unconfigure(command.current_dir(directory.path()).args(arguments));
        command
    };
    assert!(twinlock(&["init", "--new-dataset"]).output().expect("init runs").status.success());
    let endpoint = format!("telemetry.otlp_endpoint={address}");
    let settings = [&*endpoint, "telemetry.log_format=json", "telemetry.listen=127.0.0.1:0"];
    let settings = [&settings[..], &["login.mode=legacy"]].concat();
    let arguments = settings.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> =
        ["serve", "--listen", "127.0.0.1:0"].into_iter().chain(arguments).collect();
    let mut serve = twinlock(&arguments).stderr(Stdio::piped()).spawn().expect("it starts");
    let log = BufReader::new(serve.stderr.take().expect("a pipe")).lines();
    let mut log =
        log.map(|line| serde_json::from_str(&line.expect("text")).expect("a line of JSON"));
    let serving: Json =
        log.find(|line: &Json| line["fields"]["message"] == "serving").expect("it serves");
    assert_eq!(serving["trace_id"], Json::Null);
    let address = serving["fields"]["address"].as_str().expect("an address");

    let body = r#"{"channel":"LOGIN_CHANNEL_FORM"}"#;
    let length = body.len();
    let mut stream =
        TcpStream::connect(address.trim_start_matches("http://")).expect("a connection");
    write!(
        stream,
        "POST /v1/users/ann/login HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.contains("LEGACY_LOGIN"), "{answer}");
    // The server tells of a stop that is told to it, so that the search ends in any case.
    let pid = serve.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
    let line = log.find(|line| line["trace_id"].is_string());
    let line = line.expect("a line about the call");
    assert!(serve.wait().expect("it ends").success());
    let said = line["fields"]["message"].as_str().expect("a message");
    assert!(said.contains("let through without a second step"), "{line}");
    let span = &collector.named("EvaluateLogin", 1).await[0];
    assert!(span.parent_span_id.is_empty(), "{span:?}");
    assert_eq!(line["trace_id"], hex(&span.trace_id));
    assert_eq!(line["span_id"], hex(&span.span_id));
}

#[tokio::test]
async fn a_collector_that_is_not_there_slows_no_call() {
    // One takes connections and never answers, and one refuses them.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = format!("http://{}", silent.local_addr().expect("an address"));
    for address in [silent.as_str(), "http://127.0.0.1:1"] {
        let options = Options::default().set(&format!("telemetry.otlp_endpoint={address}"));
        let mut server = Server::start(options);
        let mut client = server.client().await;
        let begun = Instant::now();
        for _ in 0..3000 {
            let request = verify_with("nobody", Credential::TotpCode("123456".into()));
            client.verify(request).await.expect_err("not enrolled");
        }
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
        let lost =
            until(&server, "spans are lost", |page| page.value("twinlock_spans_lost_total") > 0.0);
        assert_eq!(lost.await.value("twinlock_spans_sent_total"), 0.0);
        let stopping = Instant::now();
        assert!(server.stop().success());
        assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
        let lines = server.log().lines().filter(|line| line.contains("spans")).count();
        assert!((1..=4).contains(&lines), "{lines}: {}", server.log());
    }
}

#[tokio::test]
async fn without_a_collector_nothing_is_traced() {
    let server = Server::start_default();
    let mut client = server.client().await;
    User::enroll(&mut client, "ann").await;
    let page = Page::of(&server);
    assert_eq!(
        page.value("twinlock_spans_sent_total") + page.value("twinlock_spans_lost_total"),
        0.0
    );
}
