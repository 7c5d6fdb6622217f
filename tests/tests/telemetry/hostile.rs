//! Whatever users are called and callers make up: the metrics stay of one size, and name nobody.

use super::{Page, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use twinlock_core::Reason;
use twinlock_proto::code_name;
use twinlock_tests::http::{Http, encode};
use twinlock_tests::raw::Raw;
use twinlock_tests::{Client, Server, User, calm_step, finish, twinlock};

const USERS: [&str; 3] = ["canary.ann@example.com", "canary\u{e4}/{\"}", "CANARY ben"];
const ADMINISTRATOR: &str = "canary-administrator";

#[tokio::test]
async fn a_whole_life_leaves_no_name_in_the_metrics() {
    let server = Server::start_default();
    let (mut client, rest) = (server.client().await, Http::new(&server));
    calm_step(Duration::from_secs(20)).await;
    let administrator = User::enroll(&mut client, ADMINISTRATOR).await;
    let mut secrets = vec![administrator.secret.clone(), administrator.recovery_key.clone()];
    let mut users = Vec::new();
    for name in USERS {
        users.push(live(&mut client, &rest, name).await);
    }
    secrets.extend(users.iter().flat_map(|user| [user.secret.clone(), user.recovery_key.clone()]));
    let by = [("twinlock-admin", ADMINISTRATOR)];
    let path = format!("/v1/admin/users/{}/enrollment", encode(USERS[0]));
    let body = json!({ "totpCode": administrator.code(0) });
    let answer = rest.json("DELETE", &path, &by, &body).await.expect("an answer");
    assert_eq!(answer.status, 204, "{answer:?}");
    let erase = ["erase", USERS[2], "--yes", "--address", &server.address];
    let (status, _, errors) = finish(twinlock().args(erase));
    assert_eq!(status, Some(0), "{errors}");

    let page = Page::of(&server);
    for kind in ["ENROLLED", "IMPORTED", "UNENROLLED_BY_ADMIN", "RECOVERY_KEY_USED", "BLOCKED"] {
        let sample = format!("twinlock_events_total{{type=\"{kind}\"}}");
        assert!(page.value(&sample) > 0.0, "{kind}: {}", page.text);
    }
    let text = page.text.to_lowercase();
    for name in ["canary", "203.0.113", "example.com", "default", "\u{e4}"] {
        assert!(!text.contains(name), "{name}: {}", page.text);
    }
    for secret in secrets {
        assert!(!text.contains(&secret.to_lowercase()), "{}", page.text);
    }
}

/// Does all that a user can do, and what goes wrong with it.
async fn live(client: &mut Client, rest: &Http, name: &str) -> User {
    let call = async |method: &str, path: &str, body: Value, status: u16| {
        let path = format!("/v1/{}", path.replace("{user}", &encode(name)));
        let answer = rest.json(method, &path, &[], &body).await.expect("an answer");
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    };
    let told = json!({ "ipAddress": "203.0.113.77", "userAgent": "canary-browser" });
    let session = json!({ "sessionId": "canary-session" });
    let with = |key: &str, value: Value| {
        let mut body = json!({ "sessionId": "canary-session", "client": told });
        body[key] = value;
        body
    };
    let password = json!({ "password": "canary-password" });
    let wrong = json!({ "password": "canary-wrong" });
    call("PUT", "users/{user}/password", password.clone(), 204).await;
    call("POST", "users/{user}/elevation", with("password", wrong), 401).await;
    call("POST", "users/{user}/elevation", with("password", password), 200).await;
    let user = User::enroll(client, name).await;
    let login = json!({
        "channel": "LOGIN_CHANNEL_BASIC", "resource": "/canary-path",
        "authorities": ["canary-authority"], "client": told,
    });
    call("POST", "users/{user}/login", login, 200).await;
    call("POST", "users/{user}/verify", with("totpCode", user.code(0).into()), 200).await;
    let key = user.recovery_key.as_str().into();
    call("POST", "users/{user}/elevation", with("recoveryKey", key), 200).await;
    call("POST", "users/{user}/elevation/check", session.clone(), 200).await;
    for status in [401, 401, 429] {
        let code = user.wrong_code().into();
        call("POST", "users/{user}/verify", with("totpCode", code), status).await;
    }
    call("POST", "users/{user}/recovery-key", session.clone(), 200).await;
    call("DELETE", "users/{user}/elevation", json!({ "canary": "canary" }), 400).await;
    let repeatable = with("requestId", "canary-request-id-00001".into());
    call("DELETE", "users/{user}/enrollment", repeatable, 204).await;
    let uri = format!("otpauth://totp/canary:ann?secret={}&issuer=canary", user.secret);
    call("POST", "admin/users/{user}/import", json!({ "otpauthUri": uri }), 200).await;
    user
}

/// Asks for much that there is not, each time under names that were never used before.
async fn make_up(server: &Server, from: u32, count: u32) {
    let (raw, rest) = (Raw::connect(server).await, Http::new(server));
    for number in from..from + count {
        let name = format!("canary{number}");
        let headers = [
            ("authorization", &*format!("Bearer {name}")),
            ("traceparent", &*name),
            ("tracestate", &*format!("{name}=1")),
            ("twinlock-reason", &*name),
            ("grpc-status", &*number.to_string()),
            ("grpc-timeout", &*name),
            ("user-agent", &*name),
        ];
        for path in [
            format!("/twinlock.v1.TwoStepService/{name}"),
            format!("/twinlock.v1.TwoStepService/Verify/{name}"),
            format!("/twinlock.v1.{name}/Verify"),
            format!("/{name}.Service/Verify?{name}"),
            format!("/{name}"),
            format!("/grpc.health.v1.Health/{name}"),
        ] {
            raw.post(&path, &headers, vec![0; 5]).await.expect("an answer");
        }
        for (method, path) in [
            ("GET", format!("/{name}")),
            ("GET", format!("/v1/users/{name}")),
            ("GET", format!("/v1/users/{name}/{name}")),
            ("POST", format!("/v1/users/{name}/verify?{name}")),
            ("GET", format!("/openapi.json/../{name}")),
            (&*name.to_uppercase(), "/v1/users/ann".into()),
        ] {
            let json = [&headers[..], &[("content-type", "application/json")]].concat();
            rest.send(method, &path, &json, "{}").await.expect("an answer");
        }
    }
}

#[tokio::test]
async fn nothing_made_up_makes_the_metrics_grow() {
    let server = Server::start_default();
    let known = "twinlock_records";
    until(&server, "records", |page| page.samples.contains_key(known)).await;
    make_up(&server, 0, 17).await;
    let before = Page::of(&server);
    make_up(&server, 1000, 100).await;
    let after = Page::of(&server);
    let names = |page: &Page| page.samples.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&before), names(&after));
    assert!(!after.text.to_lowercase().contains("canary"), "{}", after.text);
    let unknown = |transport: &str| {
        let label = format!("method=\"unknown\",transport=\"{transport}\"");
        let rows = after.samples.iter();
        let rows = rows
            .filter(|(name, _)| name.starts_with("twinlock_calls_total") && name.contains(&label));
        rows.map(|(_, count)| count).sum::<f64>()
    };
    // Five paths of six, that of the health service being none of ours; and four of REST.
    assert!(unknown("grpc") >= 117.0 * 4.0, "{}", after.text);
    assert!(unknown("rest") >= 117.0 * 4.0, "{}", after.text);

    let codes = (0..=16).map(|code| code_name(code.into()));
    let reasons: BTreeSet<&str> =
        Reason::ALL.iter().map(|reason| reason.as_str()).chain(codes).collect();
    for name in after.samples.keys().filter(|name| name.starts_with("twinlock_calls_total")) {
        let (_, reason) = name.split_once("reason=\"").expect("a reason");
        assert!(reasons.contains(reason.trim_end_matches("\"}")), "{name}");
    }
}
