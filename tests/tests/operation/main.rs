//! Running a server: probes, reflection, stopping, sockets, deadlines, configuration.

mod callers;
mod dataset;
mod doctor;
mod full_disk;
mod smoke_test;
mod tls;

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::hash::{Argon2Parameters, Hasher, Password};
use twinlock_proto::v1::{
    DescribeUserRequest, ElevateRequest, PasswordCredential, elevate_request,
};
use twinlock_tests::raw::{Answer, Raw, frame};
use twinlock_tests::{Options, Server, User, finish};

const PASSWORD: &str = "correct horse battery staple";

#[tokio::test]
async fn health_is_told_of_the_whole_and_of_each_service() {
    let server = Server::start_default();
    let mut client = HealthClient::new(server.channel().await);
    for service in ["", "twinlock.v1.TwoStepService"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = client.check(request).await.expect("an answer").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let request = HealthCheckRequest { service: "twinlock.v1.NoService".into() };
    let status = client.check(request).await.expect_err("it does not exist");
    assert_eq!(status.code(), Code::NotFound);
    for path in ["/readyz", "/livez"] {
        let answer = server.probe(path);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    }
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    macro_rules! listed {
        ($version:ident, $channel:expr) => {{
            use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
            use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
            use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;
            let ask = |message| tonic_reflection::pb::$version::ServerReflectionRequest {
                message_request: Some(message),
                ..Default::default()
            };
            let questions = tokio_stream::iter([
                ask(MessageRequest::ListServices(String::new())),
                ask(MessageRequest::FileContainingSymbol("twinlock.v1.VerifyRequest".into())),
            ]);
            let mut client = ServerReflectionClient::new($channel);
            let answers = client.server_reflection_info(questions).await.expect("answers");
            let mut answers = answers.into_inner();
            let mut services = BTreeSet::new();
            let mut files = 0;
            while let Some(answer) = answers.message().await.expect("an answer") {
                match answer.message_response {
                    Some(MessageResponse::ListServicesResponse(list)) => {
                        services.extend(list.service.into_iter().map(|service| service.name));
                    }
                    Some(MessageResponse::FileDescriptorResponse(found)) => {
                        files += found.file_descriptor_proto.len();
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(files > 0);
            services
        }};
    }
    let server = Server::start_default();
    let channel = server.channel().await;
    for services in [listed!(v1, channel.clone()), listed!(v1alpha, channel)] {
        for service in ["twinlock.v1.TwoStepService", "grpc.health.v1.Health"] {
            assert!(services.contains(service), "{services:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_finishes_its_calls() {
    let mut server = Server::start(Options::default().set("server.deadline=10s"));
    // Connections that are open and quiet must not keep it: one of a client, one that never began.
    let mut idle = server.client().await;
    let nobody = DescribeUserRequest { user_id: "nobody".into() };
    idle.describe_user(nobody).await.expect("an answer");
    let mut unbegun = TcpStream::connect(server.authority()).await.expect("a connection");
    unbegun.write_all(b"PRI * HT").await.expect("open");

    let mut client = server.client().await;
    let request = slow_elevation("alice", 50).await;
    let call = tokio::spawn(async move { client.elevate(request).await });
    hashing("alice", &server).await;
    let begin = Instant::now();
    server.signal("TERM");
    sleep(Duration::from_millis(50)).await;
    assert!(TcpStream::connect(server.authority()).await.is_err(), "it still takes connections");
    assert!(!call.is_finished(), "the call was too quick to show anything");
    call.await.expect("it ends").expect("the call under way is answered");
    let status = server.wait();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    assert!(server.log().contains("stopped"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_does_not_end_does_not_keep_a_stopping_server_beyond_its_limit() {
    let mut server = Server::start(Options::default().set("server.deadline=1s"));
    let raw = Raw::connect(&server).await;
    let _never_sent = raw.open(twinlock_tests::raw::VERIFY).await.expect("a stream");
    sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    assert_eq!(server.stop().code(), Some(0), "{}", server.log());
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait() {
    let mut server = Server::start(Options::default().set("server.deadline=30s"));
    let raw = Raw::connect(&server).await;
    let _never_sent = raw.open(twinlock_tests::raw::VERIFY).await.expect("a stream");
    sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    server.signal("TERM");
    sleep(Duration::from_millis(200)).await;
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let server = Server::start_default();
    for name in ["serve", "init"] {
        let mut command = server.command(name);
        if name == "serve" {
            command.args(["--listen", "127.0.0.1:0", "--set", "telemetry.listen=127.0.0.1:0"]);
        }
        let (status, _, errors) = finish(&mut command);
        assert_eq!(status, Some(1), "{name}");
        assert!(errors.contains("another Twinlock process is using"), "{name}: {errors}");
    }
    User::enroll(&mut server.client().await, "alice").await;
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let server = Server::start_default();
    let other = tempfile::tempdir().expect("a directory");
    let data = format!("store.path={}", other.path().join("data").display());
    let keyring = format!("keyring.file={}", other.path().join("keyring.toml").display());
    let settings = ["--set", &data, "--set", &keyring];
    assert_eq!(finish(server.command("init").args(settings).arg("--new-dataset")).0, Some(0));
    let mut serve = server.command("serve");
    serve.args(settings).args(["--set", "telemetry.listen=127.0.0.1:0"]);
    serve.args(["--listen", server.authority()]);
    let (status, _, errors) = finish(&mut serve);
    assert_eq!(status, Some(1));
    assert!(errors.contains("server.listen") && errors.contains(server.authority()), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_served_and_survives_a_crash() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("twinlock.sock");
    let address = format!("unix:{}", path.display());
    let mut server = Server::start(Options::default().listen(&address));
    assert_eq!(server.address, address);
    let metadata = std::fs::metadata(&path).expect("a socket");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    let user = User::enroll(&mut server.client().await, "alice").await;
    server.kill();
    assert!(path.exists(), "a crash leaves it behind");
    let mut server = server.restart();
    assert!(user.describe(&mut server.client().await).await.enrolled);
    let mut health = server.command("health");
    let (status, output, errors) = finish(health.args(["--address", &address]));
    assert_eq!((status, &*output), (Some(0), "Serving.\n"), "{errors}");
    assert!(server.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_with_the_earlier_of_both_deadlines() {
    let server = Server::start(Options::default().set("server.deadline=3s"));
    let raw = Raw::connect(&server).await;
    let path = "/twinlock.v1.TwoStepService/Elevate";
    // What is asked takes longer than each: the hash, and where there is much to do the disk, too.
    let request = frame(&slow_elevation("alice", 50).await);
    let is_cut_off = |answer: &Answer, took: Duration| {
        let reason = answer.header("twinlock-reason");
        assert!(["OVERLOADED", "STORE_UNAVAILABLE"].contains(&reason), "{answer:?}");
        assert!(took < Duration::from_millis(1500), "{took:?}");
    };
    let begin = Instant::now();
    let answer = raw.post(path, &[("grpc-timeout", "100m")], request.clone()).await;
    is_cut_off(&answer.expect("an answer"), begin.elapsed());

    let server = server.restart_with(Options::default().set("server.deadline=100ms"));
    let raw = Raw::connect(&server).await;
    let begin = Instant::now();
    let answer = raw.post(path, &[("grpc-timeout", "10S")], request).await;
    is_cut_off(&answer.expect("an answer"), begin.elapsed());
}

#[test]
fn a_configuration_can_be_checked_without_a_start() {
    let server = Server::start_default();
    let (status, output, errors) = finish(server.command("serve").arg("--check-config"));
    assert_eq!((status, &*output), (Some(0), "The configuration is right.\n"), "{errors}");

    let file = server.directory().join("wrong.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        let mut command = server.command("serve");
        finish(command.args(["--check-config", "--config", "wrong.toml"]))
    };
    for (text, named, nearest) in [
        ("[backoff]\ninital = \"1s\"", "backoff.inital", "backoff.initial"),
        ("[sever]\nlisten = \"127.0.0.1:1\"", "sever", "server"),
        ("[[caller]]\nname = \"a\"\ntoken_sha265 = \"00\"", "token_sha265", "token_sha256"),
    ] {
        let (status, _, errors) = check(text);
        assert_eq!(status, Some(2), "{errors}");
        assert!(errors.contains(named) && errors.contains(nearest), "{errors}");
    }
    let (status, _, errors) = check("backoff.initial = \"2h\"\ntotp.digits = 7\n");
    assert_eq!(status, Some(2));
    assert!(errors.contains("backoff.initial") && errors.contains("totp.digits"), "{errors}");
    let (status, _, errors) = check("backoff.initial = ");
    assert_eq!(status, Some(2));
    assert!(errors.contains("wrong.toml, line 1"), "{errors}");
    let (status, _, errors) = finish(server.command("serve").args(["--config", "none.toml"]));
    assert_eq!(status, Some(2));
    assert!(errors.contains("none.toml"), "{errors}");
}

#[test]
fn an_address_that_others_can_reach_needs_tls_and_callers() {
    let server = Server::start_default();
    let mut command = server.command("serve");
    let (status, _, errors) = finish(command.args(["--check-config", "--listen", "0.0.0.0:6238"]));
    assert_eq!(status, Some(2));
    assert!(errors.contains("--insecure"), "{errors}");
}

/// An elevation by the right password under a hash of so many passes: 50 take a good part of a second.
async fn slow_elevation(user: &str, iterations: u32) -> ElevateRequest {
    let parameters = Argon2Parameters { iterations, ..Argon2Parameters::default() };
    let hasher = Hasher::new(parameters, 1).expect("parameters");
    let permit = hasher.permit(Deadline::after(Duration::from_secs(60))).await.expect("a turn");
    let password = Password::parse(PASSWORD.into()).expect("a password");
    let hash = permit.hash(password).await.expect("a hash").expose_text().to_owned();
    ElevateRequest {
        user_id: user.into(),
        session_id: "session".into(),
        credential: Some(elevate_request::Credential::Password(PasswordCredential {
            password: PASSWORD.into(),
            password_hash: hash,
        })),
        ..Default::default()
    }
}

/// Waits until the user's password is being hashed, which is charged ahead.
async fn hashing(user: &str, server: &Server) {
    let mut client = server.client().await;
    loop {
        let request = DescribeUserRequest { user_id: user.into() };
        let answer = client.describe_user(request).await.expect("an answer").into_inner();
        if answer.password_backoff.is_some_and(|backoff| backoff.failures > 0) {
            return;
        }
        sleep(Duration::from_millis(2)).await;
    }
}
