//! Lines of the log as JSON name the trace of the call that they are about.

use super::traces::{CALLER, Collector, TRACE, hex, traceparent};
use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};
use tempfile::TempDir;
use tonic::Request;
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;
use twinlock_proto::v1::{EvaluateLoginRequest, LoginChannel};
use twinlock_tests::twinlock;

/// A server that logs JSON, and a line about each login.
struct Talking {
    serve: Child,
    log: BufReader<ChildStderr>,
    address: String,
    _directory: TempDir,
}

impl Talking {
    fn start(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let there = |arguments: &[&str]| {
            let mut command = twinlock();
            command.current_dir(directory.path()).args(arguments);
            command
        };
        let made = there(&["init", "--new-dataset"]).output().expect("init runs");
        assert!(made.status.success());
        let fixed =
            ["telemetry.log_format=json", "telemetry.listen=127.0.0.1:0", "login.mode=legacy"];
        let all = fixed.iter().chain(settings).flat_map(|setting| ["--set", setting]);
        let arguments: Vec<&str> =
            ["serve", "--listen", "127.0.0.1:0"].into_iter().chain(all).collect();
        let mut serve = there(&arguments).stderr(Stdio::piped()).spawn().expect("it starts");
        let log = BufReader::new(serve.stderr.take().expect("a pipe"));
        let mut talking = Self { serve, log, address: String::new(), _directory: directory };
        let serving = talking.line("serving");
        assert_eq!(serving["trace_id"], Json::Null);
        talking.address = serving["fields"]["address"].as_str().expect("an address").into();
        talking
    }

    /// The next line whose message holds these words.
    fn line(&mut self, words: &str) -> Json {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).expect("text") > 0, "no line about {words}");
            let line: Json = serde_json::from_str(&line).expect("a line of JSON");
            if line["fields"]["message"].as_str().is_some_and(|message| message.contains(words)) {
                return line;
            }
        }
    }

    /// Logs a user in over REST; gives the line about it.
    fn login(&mut self, headers: &str) -> Json {
        let body = r#"{"channel":"LOGIN_CHANNEL_FORM"}"#;
        let length = body.len();
        let authority = self.address.trim_start_matches("http://");
        let mut stream = TcpStream::connect(authority).expect("a connection");
        write!(
            stream,
            "POST /v1/users/canary/login HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
             content-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
        )
        .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains("LEGACY_LOGIN"), "{answer}");
        let line = self.line("let through without a second step");
        assert!(!line.to_string().contains("canary"), "{line}");
        line
    }

    fn stop(&mut self) {
        let pid = self.serve.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().expect("kill runs").success());
        assert!(self.serve.wait().expect("it ends").success());
    }
}

impl Drop for Talking {
    fn drop(&mut self) {
        let _ = self.serve.kill();
        let _ = self.serve.wait();
    }
}

// The collector must answer while this waits for the server's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_names_the_span_that_is_sent() {
    let (collector, address) = Collector::start().await;
    let mut server = Talking::start(&[&format!("telemetry.otlp_endpoint={address}")]);
    let of_nobody = server.login("");
    let unsampled = server.login(&format!("traceparent: {}\r\n", traceparent("00")));
    server.stop();
    let span = &collector.named("EvaluateLogin", 1).await[0];
    assert!(span.parent_span_id.is_empty(), "{span:?}");
    assert_eq!(of_nobody["trace_id"], hex(&span.trace_id));
    assert_eq!(of_nobody["span_id"], hex(&span.span_id));
    assert_eq!(unsampled["trace_id"], TRACE);
    assert_eq!(collector.spans().len(), 1, "the other one is not sampled");
}

#[tokio::test]
async fn without_a_collector_a_line_names_the_callers_span() {
    let mut server = Talking::start(&[]);
    for flag in ["01", "00"] {
        let line = server.login(&format!("traceparent: {}\r\n", traceparent(flag)));
        assert_eq!((&line["trace_id"], &line["span_id"]), (&TRACE.into(), &CALLER.into()));
    }
    let mut client =
        TwoStepServiceClient::connect(server.address.clone()).await.expect("a connection");
    let mut request = Request::new(EvaluateLoginRequest {
        user_id: "canary".into(),
        channel: LoginChannel::Form.into(),
        ..Default::default()
    });
    request.metadata_mut().insert("traceparent", traceparent("01").parse().expect("a value"));
    client.evaluate_login(request).await.expect("an answer");
    let line = server.line("let through without a second step");
    assert_eq!((&line["trace_id"], &line["span_id"]), (&TRACE.into(), &CALLER.into()));
    // What names no trace, or is none, leaves nothing behind.
    for headers in ["", "traceparent: canary\r\n", "tracestate: canary=1\r\n"] {
        let line = server.login(headers);
        assert_eq!((&line["trace_id"], &line["span_id"]), (&Json::Null, &Json::Null));
    }
    server.stop();
}
