//! Calls of the API, a row of them to one server, over both edges.

use super::edges::{Edges, run};
use super::oracle::{Oracle, Presented, Told};
use http::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;
use std::sync::LazyLock;
use twinlock::rest::ROUTES;
use twinlock_engine::hash::PasswordHash;
use twinlock_proto::FILE_DESCRIPTOR_SET;

/// The most calls of one input.
const MOST: usize = 16;

/// Calls that answer once, in the order that inputs number them by; new ones come last.
const METHODS: [&str; 18] = [
    "TwoStepService/Enroll",
    "TwoStepService/ConfirmEnrollment",
    "TwoStepService/Unenroll",
    "TwoStepService/DescribeUser",
    "TwoStepService/EvaluateLogin",
    "TwoStepService/Verify",
    "TwoStepService/Elevate",
    "TwoStepService/CheckElevation",
    "TwoStepService/DropElevation",
    "TwoStepService/RotateRecoveryKey",
    "TwoStepService/AcknowledgeRecoveryKey",
    "TwoStepService/SetPassword",
    "TwoStepService/ClearPassword",
    "AdminService/UnenrollUser",
    "AdminService/ClearBackoff",
    "AdminService/ImportEnrollment",
    "OperatorService/EraseUser",
    "OperatorService/ResetUser",
];

/// What is answered where the machine, and not the input, is at fault.
const MACHINE: [&str; 2] = ["OVERLOADED", "STORE_UNAVAILABLE"];

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("descriptors"));

/// Calls over gRPC. Each is a byte with the number of its method, two with the length of the message, and the
/// message; a number beyond the methods lets as many seconds pass as the length says.
///
/// Every failure has a reason of the API, and nothing is accepted that the user was not told.
pub fn grpc(input: &[u8]) {
    run(async {
        let (mut edges, mut oracle) = (Edges::new(), Oracle::default());
        let mut rest = input;
        for _ in 0..MOST {
            let Some((&[method, high, low], after)) = rest.split_first_chunk() else { return };
            let number = u16::from_be_bytes([high, low]);
            let Some(path) = METHODS.get(usize::from(method)) else {
                edges.wait(number);
                rest = after;
                continue;
            };
            let (message, after) = after.split_at(after.len().min(number.into()));
            rest = after;
            call_over_grpc(&mut edges, &mut oracle, path, message).await;
        }
    });
}

async fn call_over_grpc(edges: &mut Edges, oracle: &mut Oracle, path: &str, message: &[u8]) {
    let (service, method) = path.split_once('/').expect("a path");
    let service = POOL.get_service_by_name(&format!("twinlock.v1.{service}")).expect("a service");
    let described = service.methods().find(|it| it.name() == method).expect("a method");
    let request = DynamicMessage::decode(described.input(), message).ok();
    let presented = request.as_ref().map(|request| presented(request, method));
    if request.as_ref().is_some_and(|request| is_dear(&text(request, "password_hash")))
        || request.as_ref().is_some_and(|request| is_dear(&within(request, "password_hash")))
    {
        return;
    }

    let length = u32::try_from(message.len()).expect("two bytes");
    let body = [&[0][..], &length.to_be_bytes(), message].concat();
    let head = Request::post(format!("http://twinlock/twinlock.v1.{path}"));
    let head = head.header("content-type", "application/grpc").header("te", "trailers");
    let (answer, body, trailers) = edges.send(head.body(body).expect("a request")).await;
    let field = |name: &str| {
        let value = trailers.get(name).or_else(|| answer.headers().get(name));
        value.map(|value| value.to_str().expect("a text").to_owned())
    };
    if field("grpc-status").as_deref() != Some("0") {
        let reason = field("twinlock-reason").unwrap_or_default();
        assert!(!reason.is_empty(), "{path} failed without a reason: {answer:?}, {trailers:?}");
        assert!(!MACHINE.contains(&&*reason), "{path} failed for the reason {reason}");
        assert!(presented.is_some() || reason == "INVALID_REQUEST", "{reason}");
        return;
    }
    let presented = presented.expect("what cannot be read cannot succeed");
    let message = body.get(5..).expect("a message");
    let answer = DynamicMessage::decode(described.output(), message).expect("an answer");
    let (otpauth_uri, recovery_key) = (text(&answer, "otpauth_uri"), text(&answer, "recovery_key"));
    oracle.succeeded(&presented, Told { otpauth_uri, recovery_key }, edges.now());
}

fn presented(request: &DynamicMessage, method: &str) -> Presented {
    let user = text(request, "user_id");
    let administrator = text(request, "admin_user_id");
    let password = [text(request, "password"), within(request, "password")].concat();
    Presented {
        method: method.into(),
        prover: if administrator.is_empty() { user.clone() } else { administrator },
        user,
        totp_code: text(request, "totp_code"),
        recovery_key: text(request, "recovery_key"),
        password,
        otpauth_uri: text(request, "otpauth_uri"),
        request_id: text(request, "request_id"),
    }
}

/// A field of a message; empty where the message has none of that name.
fn text(message: &DynamicMessage, name: &str) -> String {
    let value = message.get_field_by_name(name);
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A field of the password that a request presents.
fn within(request: &DynamicMessage, name: &str) -> String {
    let value = request.get_field_by_name("password");
    value.and_then(|value| Some(text(value.as_message()?, name))).unwrap_or_default()
}

/// Whether a call would compute a hash of others' making. It may take seconds, as it should.
fn is_dear(password_hash: &str) -> bool {
    PasswordHash::parse(password_hash).is_ok()
}

/// Calls over REST, as text: method, blank and path in a line, perhaps a line `Twinlock-Admin: NAME`, and the
/// body up to an empty line. `WAIT 30` lets seconds pass.
///
/// Every failure is JSON with a reason of the API, and nothing is accepted that the user was not told.
pub fn rest(input: &[u8]) {
    run(async {
        let (mut edges, mut oracle) = (Edges::new(), Oracle::default());
        let input = String::from_utf8_lossy(input);
        for call in input.split("\n\n").take(MOST) {
            let (line, body) = call.split_once('\n').unwrap_or((call, ""));
            let Some((method, path)) = line.split_once(' ') else { continue };
            if method == "WAIT" {
                edges.wait(path.parse().unwrap_or_default());
                continue;
            }
            call_over_rest(&mut edges, &mut oracle, method, path, body).await;
        }
    });
}

async fn call_over_rest(
    edges: &mut Edges,
    oracle: &mut Oracle,
    method: &str,
    path: &str,
    body: &str,
) {
    let header = body.strip_prefix("Twinlock-Admin: ");
    let header = header.map(|rest| rest.split_once('\n').unwrap_or((rest, "")));
    let (administrator, body) = header.map_or((None, body), |(name, body)| (Some(name), body));
    let mut head = Request::builder().method(method).uri(path);
    head = head.header("content-type", "application/json");
    if let Some(name) = administrator {
        head = head.header("twinlock-admin", name);
    }
    // What is no HTTP does not come to the edge.
    let Ok(request) = head.body(body.as_bytes().to_vec()) else { return };
    let fields: Value = serde_json::from_str(body).unwrap_or_default();
    let hashes = [&fields, &fields["password"]];
    let hash = hashes.map(|it| is_dear(&json(it, "passwordHash", "password_hash")));
    // The watch of events would never end.
    if hash.contains(&true) || request.uri().path() == "/v1/admin/events" {
        return;
    }
    let found = operation(request.method(), request.uri().path());

    let (answer, body, _) = edges.send(request).await;
    let status = answer.status();
    let said: Value = match body.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&body).expect("JSON"),
    };
    assert_eq!(answer.headers()["cache-control"], "no-store");
    if !status.is_success() {
        let reason = said["reason"].as_str().unwrap_or_default();
        assert!(status.is_client_error(), "{method} {path}: {status}, {said}");
        assert!(!reason.is_empty() && said["message"].is_string(), "{method} {path}: {said}");
        let is_to_wait = status == StatusCode::TOO_MANY_REQUESTS && said["retryAfterMs"].is_u64();
        assert_eq!(answer.headers().contains_key("retry-after"), is_to_wait);
        return;
    }
    let (method, user) = found.expect("what has no route cannot succeed");
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let user = decoded(&user);
    let presented = Presented {
        method: method.into(),
        prover: administrator.map_or_else(|| user.clone(), decoded),
        user,
        totp_code: json(&fields, "totpCode", "totp_code"),
        recovery_key: json(&fields, "recoveryKey", "recovery_key"),
        password: [
            json(&fields, "password", "password"),
            json(&fields["password"], "password", "password"),
        ]
        .concat(),
        otpauth_uri: json(&fields, "otpauthUri", "otpauth_uri"),
        request_id: json(&fields, "requestId", "request_id"),
    };
    let told = Told {
        otpauth_uri: json(&said, "otpauthUri", ""),
        recovery_key: json(&said, "recoveryKey", ""),
    };
    oracle.succeeded(&presented, told, edges.now());
}

/// The call that a path stands for, and the user's id in it.
fn operation(method: &Method, path: &str) -> Option<(&'static str, String)> {
    let given: Vec<&str> = path.split('/').collect();
    ROUTES.iter().filter(|route| route.method == *method).find_map(|route| {
        let form: Vec<&str> = route.path.split('/').collect();
        let fits = |(form, given): (&&str, &&str)| form == given || *form == "{user_id}";
        let fits = form.len() == given.len() && form.iter().zip(&given).all(fits);
        let user = form.iter().position(|segment| *segment == "{user_id}");
        let user = user.and_then(|place| given.get(place)).map_or("", |it| *it).to_owned();
        fits.then(|| (route.operation.name(), user))
    })
}

fn json(fields: &Value, name: &str, other: &str) -> String {
    let value = fields[name].as_str().or_else(|| fields[other].as_str());
    value.unwrap_or_default().to_owned()
}
