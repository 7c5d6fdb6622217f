//! Paths, bodies and headers, right and wrong.

use super::{post, refused};
use serde_json::json;
use twinlock_tests::Server;
use twinlock_tests::http::{Http, encode};

#[tokio::test]
async fn ids_are_decoded_exactly_once() {
    let server = Server::start_default();
    let http = Http::new(&server);
    let has_password = async |path: &str| {
        let answer = http.json("GET", &format!("/v1/users/{path}"), &[], &json!({})).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.value()["hasPassword"] == true
    };
    for (path, others) in [
        ("%252F", ["%2F", "%25252F", "%255C"]),
        ("a%2Fb", ["a%252Fb", "a", "b"]),
        ("..%2Fadmin", ["..%252Fadmin", "admin", "%2E%2E%2Fadmi"]),
        ("x%20y+z", ["x%20y%20z", "x%2520y+z", "x+y+z"]),
        ("caf%C3%A9", ["cafe%CC%81", "CAF%C3%89", "caf%25C3%25A9"]),
    ] {
        let set = json!({ "password": "of one alone" });
        let answer = http.json("PUT", &format!("/v1/users/{path}/password"), &[], &set).await;
        assert_eq!(answer.expect("an answer").status, 204);
        assert!(has_password(path).await, "{path}");
        for other in others {
            assert!(!has_password(other).await, "{other} passes for {path}");
        }
    }
    // An encoded letter is the same letter.
    assert!(has_password("%63af%c3%a9").await);
    for broken in ["%ff", "%C3", "100%", "%zz", "a%0Ab", "%00", &encode(&"a".repeat(256)), ""] {
        let path = format!("/v1/users/{broken}/verify");
        let answer = http.json("POST", &path, &[], &json!({ "totpCode": "123456" })).await;
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, &*answer.reason()), (400, "INVALID_REQUEST"), "{broken}");
        assert_eq!(answer.value()["field"], "userId");
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_say_what_there_is() {
    let server = Server::start_default();
    let http = Http::new(&server);
    for path in [
        "/",
        "/v1",
        "/v1/users",
        "/v1/users/alice/verify/",
        "/v1/users/alice/nothing",
        "/v2/users/alice",
        "/v1/operator/users/alice",
        "/metrics",
    ] {
        let end = refused(&http, "POST", path, json!({})).await;
        assert_eq!(end, (404, "INVALID_REQUEST".into()), "{path}");
    }
    for (method, path, allowed) in [
        ("GET", "/v1/users/alice/verify", "POST"),
        ("POST", "/v1/users/alice", "GET"),
        ("PATCH", "/v1/users/alice/enrollment", "POST, DELETE"),
        ("OPTIONS", "/v1/users/alice/password", "PUT, DELETE"),
        ("POST", "/rest/tsv/latest/totp/unenroll/user/alice", "DELETE"),
    ] {
        let answer = http.json(method, path, &[], &json!({})).await.expect("an answer");
        assert_eq!((answer.status, answer.header("allow")), (405, allowed), "{method} {path}");
        assert!(answer.value()["message"].as_str().expect("a message").contains(allowed));
    }
}

#[tokio::test]
async fn bodies_that_are_no_request_are_refused_by_name_and_never_quoted() {
    let server = Server::start_default();
    let http = Http::new(&server);
    for (body, field) in [
        (r#"{"totpCode":"123456","totpcode":"1"}"#, Some("totpcode")),
        (r#"{"totpCode":"123456","client":{"address":"canary"}}"#, Some("client.address")),
        (r#"{"totpCode":123456}"#, Some("totpCode")),
        (r#"{"totpCode":["canary"]}"#, Some("totpCode")),
        (r#"{"sessionId":{"a":"canary"},"totpCode":"123456"}"#, Some("sessionId")),
        (r#"{"totpCode":"123456","totpCode":"canary"}"#, Some("totpCode")),
        (r#"{"totpCode":"123456","totp_code":"canary"}"#, Some("totpCode")),
        (r#"{"userId":"canary","totpCode":"123456"}"#, Some("userId")),
        (r#"{"totpCode":"123456","recoveryKey":"canary"}"#, Some("credential")),
        (r#"{"totpCode":"123456""#, None),
        (r#"{"totpCode":"123456"}{}"#, None),
        (r#"{"totpCode":"\ud800"}"#, None),
        ("{'totpCode':'canary'}", None),
        (r#"["canary"]"#, None),
        ("[]", None),
        (r#"{"totpCode":"123456","client":["canary","canary"]}"#, Some("client")),
        (r#""canary""#, None),
        ("canary", None),
        ("null", None),
        (&"[".repeat(10_000), None),
    ] {
        let json = [("content-type", "application/json")];
        let answer = http.send("POST", "/v1/users/alice/verify", &json, body.to_owned()).await;
        let answer = answer.expect("an answer");
        answer.check().expect(body);
        assert_eq!((answer.status, &*answer.reason()), (400, "INVALID_REQUEST"), "{body:.80}");
        assert_eq!(answer.value()["field"].as_str(), field, "{body:.80}: {answer:?}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("canary"), "{answer:?}");
    }
    let not_utf8 = http
        .send(
            "POST",
            "/v1/users/alice/verify",
            &[("content-type", "application/json")],
            &b"{\"totpCode\":\"\xff\"}"[..],
        )
        .await
        .expect("an answer");
    assert_eq!(not_utf8.status, 400);
    assert!(!server.log().contains("canary"));
}

#[tokio::test]
async fn names_of_both_kinds_null_and_nothing_are_taken() {
    let server = Server::start_default();
    let http = Http::new(&server);
    let elevate = json!({ "session_id": "s", "asserted": { "how": null }, "client": null });
    assert_eq!(post(&http, "alice/elevation", &elevate).await.status, 200);
    let check = json!({ "sessionId": "s", "max_age": "1.5s" });
    assert_eq!(post(&http, "alice/elevation/check", &check).await.status, 200);
    for (method, path) in [("GET", ""), ("DELETE", "/password")] {
        let path = format!("/v1/users/alice{path}");
        let answer = http.send(method, &path, &[], "").await.expect("an answer");
        answer.check().expect("an answer as all are");
        assert!(answer.status < 300, "{answer:?}");
    }
    // Every default value is written out.
    let described = http.send("GET", "/v1/users/nobody", &[], "").await.expect("an answer").value();
    let expected = json!({
        "enrolled": false,
        "recoveryKeyAcknowledged": false,
        "hasPassword": false,
        "secondFactorBackoff": { "failures": 0 },
        "passwordBackoff": { "failures": 0 },
    });
    assert_eq!(described, expected);
}

#[tokio::test]
async fn only_json_is_taken_and_not_too_much_of_it() {
    let server = Server::start_default();
    let http = Http::new(&server);
    let body = r#"{"totpCode":"123456"}"#;
    let verify = "/v1/users/alice/verify";
    for (headers, body, status) in [
        (&[][..], body, 415),
        (&[("content-type", "text/plain")], body, 415),
        (&[("content-type", "application/x-www-form-urlencoded")], "", 415),
        (&[("content-type", "application/json; charset=utf-8")], body, 400),
    ] {
        let answer = http.send("POST", verify, headers, body).await.expect("an answer");
        answer.check().expect("an answer as all are");
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
    }
    let json = ("content-type", "application/json");
    let large = format!(r#"{{"totpCode":"123456","requestId":"{}"}}"#, "x".repeat(64 << 10));
    if let Ok(answer) = http.send("POST", verify, &[json], large).await {
        assert_eq!(answer.status, 413, "{answer:?}");
        answer.check().expect("an answer as all are");
    }
    let long = "x".repeat(20 << 10);
    let answer = http.send("POST", verify, &[json, ("x-long", &long)], body).await;
    assert_eq!(answer.expect("an answer").status, 431);
}

#[tokio::test]
async fn pages_in_a_browser_may_do_nothing() {
    let server = Server::start_default();
    let http = Http::new(&server);
    let elevate = json!({ "sessionId": "s", "asserted": { "how": "page" } });
    for header in [("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")] {
        let path = "/v1/users/alice/elevation";
        let answer = http.json("POST", path, &[header], &elevate).await.expect("an answer");
        assert_eq!((answer.status, &*answer.reason()), (403, "CALLER_FORBIDDEN"), "{header:?}");
    }
    // Neither by gRPC, which HTTP/1 reaches as well: a page may send plain text without permission.
    let frame = twinlock_tests::raw::frame(&twinlock_proto::v1::DescribeUserRequest {
        user_id: "alice".into(),
    });
    let path = "/twinlock.v1.TwoStepService/DescribeUser";
    for headers in [
        &[("content-type", "text/plain")][..],
        &[],
        &[("content-type", "application/grpc"), ("origin", "http://evil.example")],
    ] {
        let answer = http.send("POST", path, headers, frame.clone()).await.expect("an answer");
        assert!(["3", "7"].contains(&answer.header("grpc-status")), "{headers:?}: {answer:?}");
    }
}
