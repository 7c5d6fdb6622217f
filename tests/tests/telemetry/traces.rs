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
use serde_json::json;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Identity, Server as TonicServer, ServerTlsConfig};
use tonic::{Request, Response, Status};
use twinlock_proto::v1::verify_request::Credential;
use twinlock_tests::http::Http;
use twinlock_tests::{Options, Server, User, reason, verify_with};

pub const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
pub const CALLER: &str = "b7ad6b7169203331";

/// A collector, which keeps what it is sent.
#[derive(Clone, Default)]
pub struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    /// The value of `authorization` with each batch.
    presented: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        if let Some(value) = request.metadata().get("authorization") {
            let value = value.to_str().expect("text").to_owned();
            self.presented.lock().expect("headers").push(value);
        }
        let scopes = request.into_inner().resource_spans.into_iter().flat_map(|it| it.scope_spans);
        let spans = scopes.flat_map(|scope| scope.spans);
        self.spans.lock().expect("spans").extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts one; gives its address.
    pub async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        (Self::at(listener), address)
    }

    fn at(listener: TcpListener) -> Self {
        Self::serve(TonicServer::builder(), listener)
    }

    fn serve(mut server: TonicServer, listener: TcpListener) -> Self {
        let collector = Self::default();
        let service = TraceServiceServer::new(collector.clone());
        let serving =
            server.add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        collector
    }

    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().expect("spans").clone()
    }

    /// Waits until there are so many spans of this name.
    pub async fn named(&self, name: &str, count: usize) -> Vec<Span> {
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

pub fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

pub fn attribute<'s>(span: &'s Span, key: &str) -> Option<&'s str> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

pub fn traceparent(flag: &str) -> String {
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

    let path = "/v1/users/canary-ben/password";
    let body = json!({ "password": "canary-password" });
    let headers = [("traceparent", &*traceparent("01"))];
    rest.json("PUT", path, &headers, &body).await.expect("an answer");

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
    let password = &collector.named("SetPassword", 1).await[0];
    assert_eq!(parts(password), ["hash", "load", "swap"]);
    let failed = spans.iter().filter(|span| span.status.as_ref().is_some_and(|it| it.code != 0));
    assert_eq!(failed.count(), 0, "the server is at fault for none");
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
async fn a_collector_may_ask_for_tls_and_a_header() {
    let directory = tempfile::tempdir().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("a certificate");
    let authority = directory.path().join("authority.pem");
    std::fs::write(&authority, made.cert.pem()).expect("a file");
    let identity = Identity::from_pem(made.cert.pem(), made.signing_key.serialize_pem());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let tls = TonicServer::builder().tls_config(ServerTlsConfig::new().identity(identity));
    let collector = Collector::serve(tls.expect("a certificate"), listener);
    let options = Options::default()
        .set(&format!("telemetry.otlp_endpoint=https://localhost:{port}"))
        .env("SSL_CERT_FILE", &authority.display().to_string())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20of-the-collector");
    let mut server = Server::start(options);
    User::enroll(&mut server.client().await, "ann").await;
    server.stop();
    collector.named("Enroll", 1).await;
    let presented = collector.presented.lock().expect("headers").clone();
    assert!(!presented.is_empty() && presented.iter().all(|it| it == "Bearer of-the-collector"));
    assert!(!server.log().contains("of-the-collector"), "{}", server.log());
}

/// Calls at once, each of another task.
const TASKS: usize = 8;
/// Calls of each task.
const CALLS: usize = 1000;
/// Spans that may wait for the collector, as the server has it.
const QUEUE: usize = 2048;

/// Makes many calls; gives how long the longest took.
async fn call_often(server: &Server) -> Duration {
    let client = server.client().await;
    let tasks = (0..TASKS).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            for _ in 0..CALLS {
                let begun = Instant::now();
                let request = verify_with("nobody", Credential::TotpCode("123456".into()));
                let refused = client.verify(request).await.expect_err("not enrolled");
                assert_eq!(reason(&refused), "NOT_ENROLLED");
                longest = longest.max(begun.elapsed());
            }
            longest
        })
    });
    let mut longest = Duration::ZERO;
    for task in tasks.collect::<Vec<_>>() {
        longest = longest.max(task.await.expect("it ends"));
    }
    longest
}

/// An address where connecting never ends: the queue of those who wait to be accepted is full.
struct Full {
    listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Full {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let waiting: Vec<_> = std::iter::repeat_with(connect).take(10).map_while(|it| it).collect();
        assert!(waiting.len() < 10, "the queue has no end");
        Self { listener, _waiting: waiting }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_slows_no_call_and_costs_no_memory() {
    // One takes connections and never answers, one does not even take them, and one refuses them.
    let (silent, full) = (TcpListener::bind("127.0.0.1:0").await.expect("a port"), Full::new());
    let address = |listener: &TcpListener| listener.local_addr().expect("an address");
    let (silent_at, full_at) = (address(&silent), address(&full.listener));
    for address in [silent_at, full_at, "127.0.0.1:1".parse().expect("an address")] {
        let options = Options::default().set(&format!("telemetry.otlp_endpoint=http://{address}"));
        let mut server = Server::start(options);
        call_often(&server).await;
        let before = server.memory("VmRSS");
        let longest = call_often(&server).await;
        assert!(longest < Duration::from_secs(3), "{address}: {longest:?}");
        let grown = server.memory("VmRSS").saturating_sub(before);
        assert!(grown < 32 << 20, "{address}: {grown} bytes more");
        // Each call has a span, and one for the store. All but those that wait are lost, and counted.
        let spans = 2 * 2 * TASKS * CALLS;
        let page = until(&server, "spans are lost", |page| {
            page.value("twinlock_spans_lost_total") >= (spans - QUEUE) as f64
        });
        let page = page.await;
        assert!(page.value("twinlock_spans_lost_total") <= spans as f64, "{}", page.text);
        assert_eq!(page.value("twinlock_spans_sent_total"), 0.0);
        // The first batch is given up in time, however it hangs.
        until(&server, "the log tells", |_| server.log().contains("spans are lost")).await;
        let stopping = Instant::now();
        assert!(server.stop().success());
        assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
        let lines = server.log().lines().filter(|line| line.contains("spans are lost")).count();
        assert!((1..=8).contains(&lines), "{lines}: {}", server.log());
    }
}

#[tokio::test]
async fn a_collector_that_comes_is_sent_to_and_every_span_is_accounted_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let options = Options::default().set(&format!("telemetry.otlp_endpoint=http://{address}"));
    let server = Server::start(options);
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "ann").await;
    let lost =
        until(&server, "spans are lost", |page| page.value("twinlock_spans_lost_total") > 0.0);
    let lost = lost.await.value("twinlock_spans_lost_total");
    let collector = Collector::at(TcpListener::bind(address).await.expect("the port is free"));
    user.describe(&mut client).await;
    let sent =
        until(&server, "spans are sent", |page| page.value("twinlock_spans_sent_total") > 0.0);
    let page = sent.await;
    assert_eq!(page.value("twinlock_spans_lost_total"), lost);
    collector.named("DescribeUser", 1).await;
    assert_eq!(page.value("twinlock_spans_sent_total"), collector.spans().len() as f64);
    // Elevate, Enroll, ConfirmEnrollment: each is a call with a load and a swap at least.
    assert!(lost >= 9.0, "{lost}");
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
