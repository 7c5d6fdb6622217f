//! A caller of one namespace can neither see nor touch a user of another, by any call. A call that the API
//! gains must be put in here: the list is compared with the API's descriptors.

use crate::{caller, token};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Request};
use twinlock::rest::ROUTES;
use twinlock_proto::v1;
use twinlock_proto::v1::admin_service_client::AdminServiceClient;
use twinlock_proto::v1::operator_service_client::OperatorServiceClient;
use twinlock_tests::scenario::{Grpc, Rest, Runner, methods};
use twinlock_tests::{Options, Server, calm_step, code};

const SERVICES: [&str; 3] = ["TwoStepService", "AdminService", "OperatorService"];
/// Calls that answer with a stream, which tell of users in general and not of one.
const STREAMS: [&str; 5] = ["WatchEvents", "Backup", "Reseal", "Examine", "ListKeys"];
/// Calls that REST does not have.
const GRPC_ALONE: [&str; 5] = ["Backup", "Reseal", "Examine", "EraseUser", "ResetUser"];

fn start() -> Server {
    let namespace = |name: &str| {
        let rest =
            format!("namespace = \"{name}\"\nroles = [\"product\", \"admin\", \"operator\"]");
        caller(name, &token(name), &rest)
    };
    let file = ["shop", "forum", "press"].map(namespace).concat();
    Server::start(Options::default().file(&file))
}

/// A caller, over one of the interfaces.
struct As<'a, R> {
    runner: &'a R,
    name: &'a str,
}

impl<R: Runner> As<'_, R> {
    /// A call that ends with an answer, or with the reason of a refusal.
    async fn call(&self, method: &str, request: Value) -> Result<Value, String> {
        let Value::Object(fields) = request else { panic!("{request} is no message") };
        let fields: Map<String, Value> = fields;
        let answer = self.runner.call(method, Some(self.name), fields).await;
        answer.expect("the API's own form").map_err(|refusal| refusal.reason)
    }

    async fn enroll(&self, user: &str) -> (String, Value) {
        let asserted = json!({"userId": user, "sessionId": "web", "asserted": {"how": "saml"}});
        self.call("Elevate", asserted).await.expect("elevated");
        let begin = json!({"userId": user, "sessionId": "web"});
        let secret = self.call("Enroll", begin).await.expect("begun")["secret"].clone();
        let secret = secret.as_str().expect("a secret").to_owned();
        let confirm = json!({"userId": user, "sessionId": "web", "totpCode": code(&secret, -1)});
        let confirmed = self.call("ConfirmEnrollment", confirm).await.expect("confirmed");
        (secret, confirmed)
    }

    /// All that can be seen of the users of a namespace.
    async fn sight(&self) -> Vec<Value> {
        let mut sight = Vec::new();
        for user in ["alice", "bob", "carol"] {
            let described = self.call("DescribeUser", json!({"userId": user})).await;
            let session = json!({"userId": user, "sessionId": "web"});
            let elevated = self.call("CheckElevation", session).await;
            sight.push(json!({"user": user, "described": described, "elevated": elevated}));
        }
        sight
    }
}

/// What is to be had of the users of `shop`.
struct Loot {
    alice: String,
    bob: String,
    key_time: Value,
    key: String,
}

/// Alice is enrolled, Bob about to be, Carol has a password; each has an elevated session.
async fn furnish(shop: &As<'_, Grpc>) -> Loot {
    let (alice, _) = shop.enroll("alice").await;
    let rotate = json!({"userId": "alice", "sessionId": "web", "requestId": REQUEST});
    let rotated = shop.call("RotateRecoveryKey", rotate).await.expect("a key");
    let guess = json!({"userId": "alice", "totpCode": twinlock_tests::wrong_code(&alice)});
    assert_eq!(shop.call("Verify", guess).await, Err("INVALID_CODE".into()));
    let asserted = json!({"userId": "bob", "sessionId": "web", "asserted": {"how": "saml"}});
    shop.call("Elevate", asserted).await.expect("elevated");
    let begun = shop.call("Enroll", json!({"userId": "bob", "sessionId": "web"})).await;
    let bob = begun.expect("begun")["secret"].as_str().expect("a secret").to_owned();
    shop.call("SetPassword", json!({"userId": "carol", "password": PASSWORD})).await.expect("set");
    let elevate =
        json!({"userId": "carol", "sessionId": "web", "password": {"password": PASSWORD}});
    shop.call("Elevate", elevate).await.expect("elevated");
    let key = rotated["recoveryKey"].as_str().expect("a key").to_owned();
    Loot { alice, bob, key, key_time: rotated["recoveryKeyCreateTime"].clone() }
}

const PASSWORD: &str = "correct horse battery staple";
const REQUEST: &str = "the-request-id-of-shop";
const URI: &str = "otpauth://totp/alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

/// Every call on one user, with all that the shop's own callers could send: how it must end in a namespace
/// that has no such user.
fn calls(loot: &Loot, desk: &str) -> Vec<(&'static str, Value, Result<Value, &'static str>)> {
    let code_of = |secret: &str| code(secret, 0);
    let alice = |rest: Value| {
        let mut request = json!({"userId": "alice", "sessionId": "web"});
        let Value::Object(rest) = rest else { panic!("{rest} is no message") };
        request.as_object_mut().expect("a message").extend(rest);
        request
    };
    let admin =
        |offset| json!({"userId": "alice", "adminUserId": "desk", "totpCode": code(desk, offset)});
    let nobody = json!({"enrolled": false, "hasPassword": false, "pendingExpireTime": null});
    vec![
        ("DescribeUser", json!({"userId": "alice"}), Ok(nobody)),
        ("CheckElevation", alice(json!({})), Err("ELEVATION_REQUIRED")),
        (
            "EvaluateLogin",
            json!({"userId": "alice", "channel": "LOGIN_CHANNEL_FORM"}),
            Ok(json!({"decision": "DECISION_ALLOW", "reason": "NOT_ENROLLED"})),
        ),
        ("Verify", alice(json!({"totpCode": code_of(&loot.alice)})), Err("NOT_ENROLLED")),
        ("Verify", alice(json!({"recoveryKey": loot.key})), Err("NOT_ENROLLED")),
        ("Elevate", alice(json!({"totpCode": code_of(&loot.alice)})), Err("NOT_ENROLLED")),
        (
            "Elevate",
            json!({"userId": "carol", "sessionId": "web", "password": {"password": PASSWORD}}),
            Err("NO_PASSWORD"),
        ),
        ("Enroll", alice(json!({})), Err("ELEVATION_REQUIRED")),
        (
            "ConfirmEnrollment",
            json!({"userId": "bob", "sessionId": "web", "totpCode": code_of(&loot.bob)}),
            Err("NO_PENDING_ENROLLMENT"),
        ),
        ("Unenroll", alice(json!({})), Err("NOT_ENROLLED")),
        // Not even the answer to a repeat.
        ("RotateRecoveryKey", alice(json!({"requestId": REQUEST})), Err("NOT_ENROLLED")),
        (
            "AcknowledgeRecoveryKey",
            json!({"userId": "alice", "recoveryKeyCreateTime": loot.key_time}),
            Err("NOT_ENROLLED"),
        ),
        ("DropElevation", json!({"userId": "alice", "allSessions": true}), Ok(json!({}))),
        ("ClearPassword", json!({"userId": "carol"}), Ok(json!({}))),
        ("SetPassword", json!({"userId": "carol", "password": "another"}), Ok(json!({}))),
        ("UnenrollUser", admin(0), Err("USER_NOT_FOUND")),
        ("ClearBackoff", admin(1), Err("USER_NOT_FOUND")),
        ("EraseUser", json!({"userId": "alice"}), Err("USER_NOT_FOUND")),
        ("ResetUser", json!({"userId": "alice", "why": "a test"}), Err("USER_NOT_FOUND")),
        // The last one: from here on there is an alice of that namespace.
        ("ImportEnrollment", json!({"userId": "alice", "otpauthUri": URI}), Ok(json!({}))),
    ]
}

/// Makes every call, and looks after each whether anything of the shop's users has changed.
async fn trespass<R: Runner>(
    intruder: &As<'_, R>,
    desk: &str,
    shop: &As<'_, Grpc>,
    loot: &Loot,
    without: &[&str],
) {
    let before = shop.sight().await;
    for (method, request, expected) in calls(loot, desk) {
        if without.contains(&method) {
            continue;
        }
        let ended = intruder.call(method, request).await;
        match (&ended, expected) {
            (Ok(answer), Ok(fields)) => {
                for (name, value) in fields.as_object().expect("a message") {
                    let found = answer.get(name).unwrap_or(&Value::Null);
                    assert_eq!(found, value, "{method}: {answer}");
                }
            }
            (Err(reason), Err(expected)) => assert_eq!(reason, expected, "{method}"),
            (ended, expected) => panic!("{method}: {ended:?}, and not {expected:?}"),
        }
        assert_eq!(shop.sight().await, before, "{method} as {}", intruder.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_sees_or_touches_a_user_of_another_namespace() {
    let server = start();
    calm_step(Duration::from_secs(20)).await;
    let grpc = Grpc::connect(&server).await.expect("a connection");
    let rest = Rest::connect(&server).await.expect("a connection");
    let shop = As { runner: &grpc, name: "shop" };
    let (forum, press) = (As { runner: &grpc, name: "forum" }, As { runner: &rest, name: "press" });
    let loot = furnish(&shop).await;
    // Each has an administrator of the same name, so that it is the user who is not found.
    let (desk, _) = forum.enroll("desk").await;
    trespass(&forum, &desk, &shop, &loot, &[]).await;
    let (desk, _) = press.enroll("desk").await;
    trespass(&press, &desk, &shop, &loot, &GRPC_ALONE).await;
    // The shop's own calls still do what those of others could not.
    let verify = json!({"userId": "alice", "totpCode": code(&loot.alice, 0)});
    shop.call("Verify", verify).await.expect("verified");
    let confirm = json!({"userId": "bob", "sessionId": "web", "totpCode": code(&loot.bob, 0)});
    shop.call("ConfirmEnrollment", confirm).await.expect("confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_stream_tells_of_a_user_of_another_namespace() {
    let server = start();
    let grpc = Grpc::connect(&server).await.expect("a connection");
    let (shop, forum) = (As { runner: &grpc, name: "shop" }, As { runner: &grpc, name: "forum" });
    let as_forum = |message| {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", "Bearer forum".parse().expect("a header"));
        request
    };
    let mut admin = AdminServiceClient::new(grpc.0.clone());
    let watch = admin.watch_events(as_forum(v1::WatchEventsRequest::default())).await;
    let mut watch = watch.expect("a watch").into_inner();
    shop.enroll("only-of-shop").await;
    forum.enroll("only-of-forum").await;
    // The forum's events come after the shop's, so the first one tells whether those were left out.
    let event = timeout(Duration::from_secs(10), watch.message()).await.expect("in time");
    let event = event.expect("open").and_then(|answer| answer.event).expect("an event");
    assert_eq!((&*event.user_id, &*event.namespace), ("only-of-forum", "forum"));

    macro_rules! told {
        ($call:ident, $request:ident) => {{
            let mut operator = OperatorServiceClient::new(grpc.0.clone());
            let mut request = Request::new(v1::$request::default());
            let token = "Bearer forum".parse().expect("a header");
            request.metadata_mut().insert("authorization", token);
            match operator.$call(request).await {
                Ok(answer) => {
                    let mut told = String::new();
                    let mut stream = answer.into_inner();
                    let whole = async {
                        while let Some(message) = stream.message().await.expect("open") {
                            told.push_str(&String::from_utf8_lossy(
                                &prost::Message::encode_to_vec(&message),
                            ));
                        }
                    };
                    timeout(Duration::from_secs(60), whole).await.expect("it ends");
                    assert!(!told.contains("only-of-shop"), "{}", stringify!($call));
                }
                Err(status) => assert_eq!(status.code(), Code::Unimplemented, "{status:?}"),
            }
        }};
    }
    told!(backup, BackupRequest);
    told!(examine, ExamineRequest);
    told!(reseal, ResealRequest);
    told!(list_keys, ListKeysRequest);
}

#[test]
fn no_call_of_the_api_is_left_out() {
    let loot = Loot {
        alice: "GEZDGNBV".repeat(4),
        bob: "GEZDGNBV".repeat(4),
        key: String::new(),
        key_time: Value::Null,
    };
    let mut tried: BTreeSet<String> =
        calls(&loot, &loot.alice).into_iter().map(|(method, ..)| method.to_owned()).collect();
    let by_rest: BTreeSet<String> = tried
        .iter()
        .filter(|method| !GRPC_ALONE.contains(&method.as_str()))
        .cloned()
        .chain(["WatchEvents".into(), "OpenApi".into()])
        .collect();
    let routes: BTreeSet<String> =
        ROUTES.iter().map(|route| format!("{:?}", route.operation)).collect();
    assert_eq!(by_rest, routes, "REST");
    tried.extend(STREAMS.map(str::to_owned));
    let all: BTreeSet<String> = SERVICES.into_iter().flat_map(methods).collect();
    assert_eq!(tried, all, "gRPC");
}
