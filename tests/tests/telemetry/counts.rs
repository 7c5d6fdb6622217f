//! The numbers are those of what was done.

use super::{Page, until};
use serde_json::json;
use std::time::Duration;
use twinlock_proto::v1::{DescribeUserRequest, SetPasswordRequest, set_password_request};
use twinlock_tests::http::Http;
use twinlock_tests::{Options, Server, User, calm_step, reason};

fn calls(method: &str, transport: &str, reason: &str) -> String {
    format!(
        "twinlock_calls_total{{method=\"{method}\",transport=\"{transport}\",reason=\"{reason}\"}}"
    )
}

#[tokio::test]
async fn what_was_done_is_what_is_counted() {
    let server = Server::start(Options::default().set("backoff.tolerated_failures=2"));
    let before = Page::of(&server);
    let offset = "twinlock_clock_offset_seconds";
    assert!(!before.samples.contains_key(offset), "nothing was compared: {}", before.text);
    let mut client = server.client().await;
    let rest = Http::new(&server);
    calm_step(Duration::from_secs(8)).await;
    let user = User::enroll(&mut client, "canary-user").await;
    // Over gRPC: right, used, wrong.
    client.verify(user.verify(user.code(0))).await.expect("a right code");
    let used = client.verify(user.verify(user.code(0))).await.expect_err("used");
    assert_eq!(reason(&used), "CODE_ALREADY_USED");
    let wrong = client.verify(user.verify(user.wrong_code())).await.expect_err("wrong");
    assert_eq!(reason(&wrong), "INVALID_CODE");
    // Over REST: wrong, which begins a wait, and then within it.
    let body = json!({ "totpCode": user.wrong_code() });
    for expected in ["INVALID_CODE", "BACKOFF", "BACKOFF"] {
        let answer = rest.json("POST", "/v1/users/canary-user/verify", &[], &body).await;
        assert_eq!(answer.expect("an answer").reason(), expected);
    }
    rest.json("POST", "/v1/users/canary-user/verify", &[], &json!({ "totpCode": "1" }))
        .await
        .expect("an answer");
    rest.send("GET", "/canary-path", &[], "").await.expect("an answer");

    let page = Page::of(&server);
    for (sample, expected) in [
        (calls("Verify", "grpc", "OK"), 1.0),
        (calls("Verify", "grpc", "CODE_ALREADY_USED"), 1.0),
        (calls("Verify", "grpc", "INVALID_CODE"), 1.0),
        (calls("Verify", "rest", "INVALID_CODE"), 1.0),
        (calls("Verify", "rest", "BACKOFF"), 2.0),
        (calls("Verify", "rest", "MALFORMED_CODE"), 1.0),
        (calls("unknown", "rest", "INVALID_REQUEST"), 1.0),
        (calls("ConfirmEnrollment", "grpc", "OK"), 1.0),
    ] {
        assert_eq!(page.value(&sample), expected, "{sample}: {}", page.text);
        let timed = sample.replace("calls_total", "call_duration_seconds_count");
        assert_eq!(page.value(&timed), expected, "{timed}");
    }
    for (sample, expected) in [
        // One confirmed the enrollment, with the code of the step before.
        ("twinlock_attempts_total{proof=\"totp\",outcome=\"accepted\"}", 2.0),
        ("twinlock_attempts_total{proof=\"totp\",outcome=\"invalid\"}", 2.0),
        ("twinlock_attempts_total{proof=\"totp\",outcome=\"reused\"}", 1.0),
        ("twinlock_codes_accepted_total{step_offset=\"-1\"}", 1.0),
        ("twinlock_codes_accepted_total{step_offset=\"0\"}", 1.0),
        ("twinlock_blocks_begun_total{factor=\"second_factor\",reason=\"BACKOFF\"}", 1.0),
        ("twinlock_block_refusals_total{factor=\"second_factor\",reason=\"BACKOFF\"}", 2.0),
        ("twinlock_block_refusals_total{factor=\"password\",reason=\"BACKOFF\"}", 0.0),
        ("twinlock_events_total{type=\"VERIFIED\"}", 1.0),
        ("twinlock_events_total{type=\"BLOCKED\"}", 1.0),
        ("twinlock_store_state{state=\"usable\"}", 1.0),
        ("twinlock_legacy_mode", 0.0),
    ] {
        assert_eq!(page.value(sample), expected, "{sample}: {}", page.text);
    }
    // The buckets of a histogram end with all of it.
    let labels = "method=\"Verify\",transport=\"rest\",reason=\"BACKOFF\"";
    let last = format!("twinlock_call_duration_seconds_bucket{{le=\"+Inf\",{labels}}}");
    assert_eq!(page.value(&last), 2.0, "{}", page.text);
    assert!(page.value("twinlock_store_duration_seconds_count{operation=\"swap\"}") >= 6.0);
    assert!(page.value("process_resident_memory_bytes") > 1e6);
    assert!(page.samples[offset].abs() < 1.0);

    for canary in ["canary", &user.secret, &user.recovery_key, "the session that enrolls"] {
        assert!(!page.text.contains(canary), "{canary}: {}", page.text);
    }
}

#[tokio::test]
async fn passwords_are_counted_with_their_hashes() {
    let server = Server::start(Options::default().set("argon2.iterations=2"));
    let mut client = server.client().await;
    let password = set_password_request::Verifier::Password("correct horse".into());
    let request = SetPasswordRequest { user_id: "ann".into(), verifier: Some(password) };
    client.set_password(request).await.expect("a password");
    let rest = Http::new(&server);
    let elevate =
        |password: &str| json!({ "sessionId": "laptop", "password": { "password": password } });
    for (password, expected) in
        [("correct horse", ""), ("wrong", "INVALID_CODE"), ("wrong", "INVALID_CODE")]
    {
        let body = elevate(password);
        let answer = rest.json("POST", "/v1/users/ann/elevation", &[], &body).await;
        assert_eq!(answer.expect("an answer").reason(), expected);
    }
    let answer = rest.json("POST", "/v1/users/ann/elevation", &[], &elevate("wrong")).await;
    assert_eq!(answer.expect("an answer").reason(), "BACKOFF");
    let page = Page::of(&server);
    for (sample, expected) in [
        ("twinlock_attempts_total{proof=\"password\",outcome=\"accepted\"}", 1.0),
        ("twinlock_attempts_total{proof=\"password\",outcome=\"invalid\"}", 2.0),
        ("twinlock_blocks_begun_total{factor=\"password\",reason=\"BACKOFF\"}", 1.0),
        ("twinlock_block_refusals_total{factor=\"password\",reason=\"BACKOFF\"}", 1.0),
        ("twinlock_hash_duration_seconds_count", 4.0),
        ("twinlock_hash_wait_seconds_count", 4.0),
        ("twinlock_hashes_refused_total", 0.0),
        ("twinlock_hashes_running", 0.0),
    ] {
        assert_eq!(page.value(sample), expected, "{sample}: {}", page.text);
    }
    assert!(page.value("twinlock_hash_duration_seconds_sum") > 0.01);
}

#[tokio::test]
async fn records_legacy_mode_and_refused_callers_show() {
    let token = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let callers = format!(
        "login.mode = \"legacy\"\n[[caller]]\nname = \"shop\"\ntoken_sha256 = \"{token}\"\n"
    );
    let server = Server::start(Options::default().file(&callers));
    let mut client = server.client().await;
    let request = DescribeUserRequest { user_id: "ann".into() };
    let refused = client.describe_user(request).await.expect_err("no token");
    assert_eq!(reason(&refused), "CALLER_UNAUTHENTICATED");
    let page =
        until(&server, "records", |page| page.samples.contains_key("twinlock_records")).await;
    assert_eq!(page.value("twinlock_records"), 0.0);
    assert_eq!(page.value("twinlock_legacy_mode"), 1.0);
    assert_eq!(page.value(&calls("DescribeUser", "grpc", "CALLER_UNAUTHENTICATED")), 1.0);
    let refused =
        page.samples.iter().filter(|(name, _)| name.starts_with("twinlock_callers_refused"));
    assert_eq!(refused.map(|(_, count)| count).sum::<f64>(), 1.0, "{}", page.text);
    let ready = server.probe("/readyz");
    assert!(ready.contains("200") && ready.contains("warning: login.mode"), "{ready}");
}
