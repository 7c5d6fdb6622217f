//! What goes wrong around the server shows: its store, its clock, its certificate.

use super::traces::{Collector, attribute};
use super::until;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use twinlock_tests::redis::{Program, Server as Redis};
use twinlock_tests::{Options, Server, User, reason};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_and_a_store_that_is_lost_show() {
    let redis = Redis::start(Program::Redis, &[]);
    let (collector, address) = Collector::start().await;
    let options = Options::default().over_redis(&redis.url()).clock_ahead(90);
    let options = options.set(&format!("telemetry.otlp_endpoint={address}"));
    let server = tokio::task::spawn_blocking(|| Server::start(options)).await.expect("it starts");
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "ann").await;
    let page = until(&server, "the store is usable", |page| {
        page.value("twinlock_store_state{state=\"usable\"}") == 1.0
    });
    let offset = page.await.value("twinlock_clock_offset_seconds");
    assert!((-91.0..=-89.0).contains(&offset), "the store is behind: {offset}");

    redis.command("FLUSHALL");
    let call = client.verify(user.verify(user.code(0))).await.expect_err("nobody is known");
    assert_eq!(reason(&call), "STORE_INCOMPLETE");
    let page = until(&server, "the marker is lost", |page| {
        page.value("twinlock_store_state{state=\"incomplete\"}") == 1.0
    });
    let page = page.await;
    assert_eq!(page.value("twinlock_store_state{state=\"usable\"}"), 0.0);
    let probe = server.probe("/readyz");
    assert!(probe.starts_with("HTTP/1.1 503"), "{probe}");
    assert!(probe.ends_with("\nstore: STORE_INCOMPLETE\n"), "{probe}");
    assert_eq!(
        page.value("twinlock_store_errors_total{operation=\"load\",kind=\"incomplete\"}"),
        1.0
    );

    drop(redis);
    let gone = client.verify(user.verify(user.code(0))).await.expect_err("no store");
    assert_eq!(reason(&gone), "STORE_UNAVAILABLE");
    until(&server, "the store is gone", |page| {
        let errors = "twinlock_store_errors_total{operation=\"load\",kind=\"unavailable\"}";
        page.value("twinlock_store_state{state=\"unavailable\"}") == 1.0 && page.value(errors) > 0.0
    })
    .await;
    let probe = server.probe("/readyz");
    assert!(probe.starts_with("HTTP/1.1 503"), "{probe}");
    assert!(probe.ends_with("\nstore: STORE_UNAVAILABLE\n"), "{probe}");
    let failed = collector.named("Verify", 2).await;
    for (span, reason) in failed.iter().zip(["STORE_INCOMPLETE", "STORE_UNAVAILABLE"]) {
        assert_eq!(attribute(span, "twinlock.reason"), Some(reason));
        let status = span.status.as_ref().expect("a status");
        assert_eq!((status.code(), &*status.message), (StatusCode::Error, ""));
    }
    // A restart would mend nothing.
    let probe = server.probe("/livez");
    assert!(probe.starts_with("HTTP/1.1 200") && probe.ends_with("ok\n"), "{probe}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_goes_away_under_load_is_logged_at_once_and_not_for_every_call() {
    let mut redis = Redis::start(Program::Redis, &[]);
    let server = Server::start(Options::default().over_redis(&redis.url()));
    let client = server.client().await;
    let user = User::enroll(&mut client.clone(), "ann").await;
    redis.kill();
    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (mut client, request) = (client.clone(), user.verify(user.code(0)));
        calls.spawn(async move {
            let mut failed = 0;
            while begun.elapsed() < Duration::from_secs(3) {
                let gone = client.verify(request.clone()).await.expect_err("no store");
                assert_eq!(reason(&gone), "STORE_UNAVAILABLE");
                failed += 1;
            }
            failed
        });
    }
    let lines = || {
        let log = server.log();
        log.lines().filter(|line| line.contains("a call failed at the store")).count()
    };
    while lines() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(2), "no line: {}", server.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let failed: usize = calls.join_all().await.into_iter().sum();
    assert!(failed >= 200, "no load: {failed}");
    assert_eq!(lines(), 1, "of {failed}: {}", server.log());
    let all = server.log().lines().count();
    assert!(all < 40, "{failed} calls: {}", server.log());
}

#[tokio::test]
async fn a_certificates_end_and_failed_handshakes_show() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut certificate = rcgen::CertificateParams::new(["localhost".into()]).expect("a name");
    certificate.not_after = rcgen::date_time_ymd(2070, 1, 2);
    let certificate = certificate.self_signed(&key).expect("a certificate");
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (certificate, key) =
        (file("tls.crt", certificate.pem()), file("tls.key", key.serialize_pem()));
    let options = Options::default()
        .set(&format!("server.tls_cert={certificate}"))
        .set(&format!("server.tls_key={key}"));
    let server = Server::start(options);
    let mut plain = TcpStream::connect(server.authority()).expect("a connection");
    plain.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").expect("a request");
    let page = until(&server, "a handshake fails", |page| {
        page.value("twinlock_tls_handshake_failures_total{why=\"plaintext\"}") == 1.0
    });
    // `date -ud 2070-01-02 +%s`
    let expiry = page.await.value("twinlock_tls_certificate_expiry_timestamp_seconds");
    assert_eq!(expiry, 3_155_846_400.0);
}
