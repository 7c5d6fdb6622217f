//! What passes through REST stays out of the log, at its most talkative.

use super::enroll;
use serde_json::json;
use twinlock_tests::http::Http;
use twinlock_tests::{Options, Server};

#[tokio::test]
async fn no_secret_of_a_request_or_an_answer_is_logged() {
    let server = Server::start(Options::default().set("telemetry.log=trace"));
    let http = Http::new(&server);
    let alice = enroll(&http, "alice").await;
    let token = [("authorization", "Bearer canary-of-a-token")];
    for (path, body) in [
        ("verify", json!({ "totpCode": alice.code(1), "sessionId": "canary-of-a-session" })),
        ("verify", json!({ "recoveryKey": "canary-of-a-key", "requestId": "canary-of-an-id" })),
        (
            "elevation",
            json!({ "sessionId": "canary-of-a-session", "password": {
                "password": "canary-of-a-password", "passwordHash": "canary-of-a-hash",
            }}),
        ),
        ("login", json!({ "channel": "canary-of-a-channel" })),
        ("nothing", json!({ "totpCode": "canary-of-a-code" })),
    ] {
        let path = format!("/v1/users/alice/{path}");
        let answer = http.json("POST", &path, &token, &body).await.expect("an answer");
        assert!(!String::from_utf8_lossy(&answer.body).contains("canary"), "{answer:?}");
    }
    let log = server.log();
    assert!(log.contains("alice"), "the log is not at its most talkative: {log}");
    for secret in ["canary", &*alice.secret, &*alice.recovery_key, &alice.code(1)] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
