//! Whatever comes in at the port, the server stays small, and answers everybody else as fast as before.

use fastrand::Rng;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use twinlock_proto::v1::{DescribeUserRequest, VerifyRequest, verify_request};
use twinlock_tests::raw::{Answer, Raw, VERIFY, frame, frame_bytes};
use twinlock_tests::{Client, Options, Server, User, reason};

/// What a normal call may take, next to an attack and on a machine with much to do.
const QUICK: Duration = Duration::from_secs(2);
/// By how much an attack may let the server grow.
const GROWTH: u64 = 60 << 20;
/// How long the server waits for a client to begin, and for a request to be complete.
const PATIENCE: Duration = Duration::from_secs(10);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_and_other_protocols() {
    let mut honest = Honest::new().await;
    let mut rng = seeded();
    let client_hello = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &[7; 505][..]].concat();
    let mut inputs = vec![
        client_hello,
        b"GET / HTTP/1.1\r\nhost: twinlock\r\n\r\n".to_vec(),
        b"POST /twinlock.v1.TwoStepService/Verify HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n"
            .to_vec(),
        b"*1\r\n$4\r\nPING\r\n".to_vec(),
        [PREFACE, &[0xff; 4096][..]].concat(),
        // A frame that announces more than 16 MiB.
        [PREFACE, b"\xff\xff\xff\x01\x04\x00\x00\x00\x01"].concat(),
    ];
    for _ in 0..100 {
        let length = rng.usize(1..20_000);
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
        if rng.bool() {
            bytes.splice(..0, PREFACE.iter().copied());
        }
        inputs.push(bytes);
    }
    for input in inputs {
        let mut stream = honest.connect().await;
        // It may be cut before all is written.
        let _ = stream.write_all(&input).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let end = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "still open after {:?}", String::from_utf8_lossy(&input));
    }
    honest.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_begin_are_closed() {
    let mut honest = Honest::new().await;
    let mut silent = Vec::new();
    for n in 0..200 {
        let mut stream = honest.connect().await;
        stream.write_all(&PREFACE[..n % PREFACE.len()]).await.expect("open");
        silent.push(stream);
    }
    let (_, probes) = honest.server.probes.split_once("://").expect("an address");
    for request in [&b""[..], b"GET /metrics "] {
        let mut stream = TcpStream::connect(probes).await.expect("a connection");
        stream.write_all(request).await.expect("open");
        silent.push(stream);
    }
    honest.is_served().await;
    let begin = Instant::now();
    for stream in &mut silent {
        let mut byte = [0; 64];
        let left = (PATIENCE + QUICK).saturating_sub(begin.elapsed());
        let end = async { while !matches!(stream.read(&mut byte).await, Ok(0) | Err(_)) {} };
        timeout(left, end).await.expect("it is closed by the server");
    }
    honest.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_never_end_are_ended() {
    let mut honest = Honest::new().await;
    let mut slow = JoinSet::new();
    for _ in 0..200 {
        let raw = Raw::connect(&honest.server).await;
        slow.spawn(async move {
            let mut stream = raw.open(VERIFY).await.expect("a stream");
            let body = frame(&VerifyRequest { user_id: "alice".repeat(50), ..Default::default() });
            // A byte a second: by the deadline it is far from complete.
            for byte in body {
                if stream.send_data(vec![byte].into(), false).is_err() {
                    return;
                }
                sleep(Duration::from_secs(1)).await;
            }
        });
    }
    honest.is_served().await;
    let ended = async { while slow.join_next().await.is_some() {} };
    timeout(PATIENCE + QUICK, ended).await.expect("the server ends them");
    honest.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_on_one_connection() {
    let mut honest = Honest::new().await;
    let raw = Raw::connect(&honest.server).await;
    let mut open = JoinSet::new();
    for _ in 0..1000 {
        let raw = raw.clone();
        open.spawn(async move { raw.open(VERIFY).await });
    }
    // Those beyond the server's limit are refused or wait for a place; none of them ends the server.
    let streams = timeout(QUICK, open.join_all()).await;
    honest.is_served().await;
    drop(streams);
    honest.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once() {
    let mut honest = Honest::new().await;
    for _ in 0..5 {
        let raw = Raw::connect(&honest.server).await;
        for _ in 0..5000 {
            if raw.open_and_reset(VERIFY).await.is_err() {
                break;
            }
        }
    }
    honest.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_never_end_and_floods_of_frames() {
    let mut honest = Honest::new().await;
    let settings = http2_frame(4, 0, 0, b"");
    let headers = http2_frame(1, 0, 1, b"\x83\x86\x84");
    let continuation = http2_frame(9, 0, 1, &[b"\x00\x01a\x7f\x80\x01", &[b'x'; 255][..]].concat());
    let ping = http2_frame(6, 0, 0, b"flooding");
    let floods = [
        [headers, continuation.repeat(20_000)].concat(),
        ping.repeat(100_000),
        http2_frame(4, 0, 0, b"\x00\x03\x00\x00\x00\x64").repeat(100_000),
        http2_frame(3, 0, 1, b"\x00\x00\x00\x08").repeat(10_000),
        http2_frame(0, 0, 1, b"").repeat(100_000),
    ];
    for flood in floods {
        let mut stream = honest.connect().await;
        stream.write_all(&[PREFACE, &settings].concat()).await.expect("open");
        // Nothing is read: what the server answers must not pile up in it.
        let _ = timeout(QUICK, stream.write_all(&flood)).await;
        honest.is_served().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_the_server_may_have() {
    let mut honest = Honest::with(Options::default().limit("-n 64")).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(honest.connect().await);
    }
    // Whoever is connected already is served; everybody else waits for a place.
    let redeem = honest.user.redeem(&*honest.user.recovery_key);
    let answer = timeout(QUICK, honest.client.verify(redeem)).await.expect("it is quick");
    honest.user.recovery_key = answer.expect("a login").into_inner().recovery_key.clone();
    let spent = honest.server.processor_time();
    sleep(Duration::from_secs(1)).await;
    let spent = honest.server.processor_time() - spent;
    assert!(spent < Duration::from_millis(300), "it is busy with nothing: {spent:?}");
    drop(held);
    honest.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_metadata_that_are_too_large() {
    let mut honest = Honest::new().await;
    let raw = Raw::connect(&honest.server).await;
    for size in [65 << 10, 5 << 20] {
        let request = VerifyRequest { user_id: "a".repeat(size), ..Default::default() };
        // The server may hang up on what it will not read.
        if let Ok(answer) = raw.post(VERIFY, &[], frame(&request)).await {
            assert_eq!(answer.header("grpc-status"), "11", "{answer:?}");
        }
        honest.is_served().await;
    }
    // A length that is announced and never comes must not be reserved for it.
    let announced = [&[0][..], &u32::MAX.to_be_bytes(), b"a"].concat();
    let answer = raw.post(VERIFY, &[], announced).await.expect("an answer");
    assert_ne!(answer.header("grpc-status"), "0");
    for name in ["x-large", "authorization", "grpc-timeout"] {
        let raw = Raw::connect(&honest.server).await;
        if let Ok(answer) = raw.post(VERIFY, &[(name, &"1".repeat(20 << 10))], vec![]).await {
            assert_eq!(answer.http, 431, "{answer:?}");
        }
        honest.is_served().await;
    }
    let names: Vec<String> = (0..5000).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "x")).collect();
    let raw = Raw::connect(&honest.server).await;
    if let Ok(answer) = raw.post(VERIFY, &many, vec![]).await {
        assert_eq!(answer.http, 431, "{answer:?}");
    }
    honest.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_request() {
    let mut honest = Honest::new().await;
    let raw = Raw::connect(&honest.server).await;
    let request = VerifyRequest {
        user_id: "alice".into(),
        credential: Some(verify_request::Credential::TotpCode("123456".into())),
        ..Default::default()
    };
    let whole = frame(&request);
    let refused = |answer: &Answer| {
        assert_eq!(answer.header("grpc-status"), "3", "{answer:?}");
        assert_eq!(answer.header("twinlock-reason"), "INVALID_REQUEST");
    };

    let not_utf8 = b"\x0a\x05al\xff\xfee";
    refused(&raw.post(VERIFY, &[], frame_bytes(0, not_utf8)).await.expect("an answer"));
    for length in 1..whole.len() - 5 {
        let message = &whole[5..5 + length];
        let answer = raw.post(VERIFY, &[], frame_bytes(0, message)).await.expect("an answer");
        // Cut between two fields it is still a message, without a credential.
        refused(&answer);
    }
    let mut rng = seeded();
    for _ in 0..300 {
        let bytes: Vec<u8> = (0..rng.usize(0..200)).map(|_| rng.u8(..)).collect();
        let answer = raw.post(VERIFY, &[], frame_bytes(0, &bytes)).await.expect("an answer");
        refused(&answer);
    }
    // A frame that is cut, an empty body, two messages where one is due, a flag that does not exist.
    for body in
        [&whole[..3], &whole[..9], b"", &[&whole[..], &whole].concat(), &frame_bytes(7, b"")]
    {
        let answer = raw.post(VERIFY, &[], body.to_vec()).await.expect("an answer");
        assert_ne!(answer.header("grpc-status"), "0", "{answer:?}");
    }
    honest.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compression_methods_and_paths_that_are_not_there() {
    let mut honest = Honest::new().await;
    let raw = Raw::connect(&honest.server).await;
    // A gzip bomb would be a few bytes of this kind; no byte of it is unpacked.
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    for headers in [&[("grpc-encoding", "gzip")][..], &[("grpc-encoding", "br")], &[]] {
        let answer = raw.post(VERIFY, headers, frame_bytes(1, gzip)).await.expect("an answer");
        assert!(["12", "13"].contains(&answer.header("grpc-status")), "{answer:?}");
    }
    for path in [
        "/twinlock.v1.TwoStepService/Nothing",
        "/twinlock.v1.TwoStepService/",
        "/twinlock.v1.Nothing/Verify",
        "/twinlock.v1.TwoStepService/Verify/more",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//",
        "/",
    ] {
        let answer = raw.post(path, &[], frame_bytes(0, b"")).await.expect("an answer");
        assert_eq!(answer.header("grpc-status"), "12", "{path}: {answer:?}");
    }
    honest.is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_made_to_confuse() {
    let mut honest = Honest::new().await;
    let mut client = honest.server.client().await;
    let control = ["\0", "a\nb", "a\r", "\u{1b}[2J", "\u{7f}", "\u{85}", "alice\0"];
    for id in control.into_iter().map(str::to_owned).chain([String::new(), "a".repeat(256)]) {
        let describe = DescribeUserRequest { user_id: id.clone() };
        let status = client.describe_user(describe).await.expect_err("refused");
        assert_eq!(reason(&status), "INVALID_REQUEST", "{id:?}");
        let verify = VerifyRequest {
            user_id: "alice".into(),
            session_id: if id.is_empty() { "x".repeat(513) } else { id.repeat(3) },
            credential: Some(verify_request::Credential::TotpCode("123456".into())),
            ..Default::default()
        };
        let status = client.verify(verify).await.expect_err("refused");
        assert_eq!(reason(&status), "INVALID_REQUEST", "{id:?}");
    }
    // What is strange but allowed is somebody of their own: nothing is folded, trimmed or normalized.
    let user = User::enroll(&mut client, "caf\u{e9}").await;
    for other in
        ["cafe\u{301}", "CAF\u{c9}", " caf\u{e9}", "caf\u{e9}\u{200b}", "\u{202e}\u{e9}fac"]
    {
        let describe = DescribeUserRequest { user_id: other.into() };
        let description = client.describe_user(describe).await.expect("nobody").into_inner();
        assert!(!description.enrolled, "{other:?} passes for {}", user.id);
    }
    let long = DescribeUserRequest { user_id: "a".repeat(255) };
    client.describe_user(long).await.expect("255 bytes are allowed");
    assert!(!honest.server.log().contains('\u{1b}'));
    honest.is_served().await;
}

/// Somebody who uses the server as it is meant to be used, and the server.
struct Honest {
    server: Server,
    client: Client,
    user: User,
    memory: u64,
}

impl Honest {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let server = Server::start(options);
        let mut client = server.client().await;
        let user = User::enroll(&mut client, "honest").await;
        let memory = server.memory("VmRSS");
        Self { server, client, user, memory }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.server.authority()).await.expect("a connection")
    }

    /// Checks that a login works, over a connection from before the attack and over a new one, and that
    /// the server has not grown.
    async fn is_served(&mut self) {
        for mut client in [self.client.clone(), self.server.client().await] {
            let begin = Instant::now();
            let redeem = self.user.redeem(&*self.user.recovery_key);
            let answer = timeout(QUICK, client.verify(redeem)).await;
            let answer = answer.unwrap_or_else(|_| panic!("not quick: {:?}", begin.elapsed()));
            self.user.recovery_key = answer.expect("a login").into_inner().recovery_key.clone();
        }
        let grown = self.server.memory("VmRSS").saturating_sub(self.memory);
        assert!(grown < GROWTH, "it has grown by {} MiB", grown >> 20);
    }
}

fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn seeded() -> Rng {
    let given = std::env::var("TWINLOCK_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from_be_bytes(twinlock_engine::entropy::bytes()));
    println!("TWINLOCK_TEST_SEED={seed}");
    Rng::with_seed(seed)
}
