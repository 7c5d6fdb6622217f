//! The OpenAPI document says what the routes do, and nothing else.

use prost_reflect::{DescriptorPool, FieldDescriptor, MessageDescriptor};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use twinlock::rest::ROUTES;
use twinlock_tests::Server;
use twinlock_tests::http::Http;

async fn document(http: &Http) -> Value {
    http.json("GET", "/openapi.json", &[], &json!({})).await.expect("an answer").value()
}

#[tokio::test]
async fn every_route_is_documented_and_every_path_is_a_route() {
    let server = Server::start_default();
    let http = Http::new(&server);
    let document = document(&http).await;
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            documented.insert((method.to_uppercase(), path.clone()));
        }
    }
    let routes: BTreeSet<_> =
        ROUTES.iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    assert_eq!(documented, routes);
    for (method, path) in &documented {
        let path = path.replace("{user_id}", "alice");
        // Events have no end; the tests of events read them.
        if path != "/v1/admin/events" {
            let answer = http.json(method, &path, &[], &json!({})).await.expect("an answer");
            assert!(![404, 405].contains(&answer.status), "{method} {path}: {answer:?}");
        }
        for other in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            if !documented.contains(&(other.into(), path.replace("/alice", "/{user_id}"))) {
                let status = http.status(other, &path).await.expect("an answer");
                assert_eq!(status, 405, "{other} {path}");
            }
        }
    }
}

/// The messages of the API that a schema stands for, and those of their fields that are elsewhere: in the
/// path, or in a header.
const MESSAGES: [(&str, &str); 26] = [
    ("ClientContext", "Client"),
    ("Backoff", "Backoff"),
    ("Elevation", "Elevation"),
    ("PasswordCredential", "PasswordCredential"),
    ("AssertedCredential", "AssertedCredential"),
    ("EnrollRequest", "Enroll"),
    ("EnrollResponse", "Enrollment"),
    ("ConfirmEnrollmentRequest", "ConfirmEnrollment"),
    ("ConfirmEnrollmentResponse", "Confirmation"),
    ("UnenrollRequest", "OfSession"),
    ("RotateRecoveryKeyRequest", "OfSession"),
    ("RotateRecoveryKeyResponse", "RecoveryKey"),
    ("ImportEnrollmentResponse", "RecoveryKey"),
    ("DescribeUserResponse", "User"),
    ("EvaluateLoginRequest", "EvaluateLogin"),
    ("EvaluateLoginResponse", "Login"),
    ("VerifyRequest", "Verify"),
    ("VerifyResponse", "Verified"),
    ("ElevateRequest", "Elevate"),
    ("ElevateResponse", "Elevated"),
    ("CheckElevationRequest", "CheckElevation"),
    ("CheckElevationResponse", "Checked"),
    ("DropElevationRequest", "DropElevation"),
    ("AcknowledgeRecoveryKeyRequest", "AcknowledgeRecoveryKey"),
    ("SetPasswordRequest", "SetPassword"),
    ("ImportEnrollmentRequest", "ImportEnrollment"),
];

#[tokio::test]
async fn every_schema_has_the_fields_of_its_message() {
    let server = Server::start_default();
    let http = Http::new(&server);
    let document = document(&http).await;
    let pool = DescriptorPool::decode(twinlock_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let more =
        [("UnenrollUserRequest", "ByAdministrator"), ("ClearBackoffRequest", "ByAdministrator")];
    for (message, schema) in MESSAGES.into_iter().chain(more) {
        let message = pool.get_message_by_name(&format!("twinlock.v1.{message}")).expect(message);
        let expected = fields(&message);
        let properties = document["components"]["schemas"][schema]["properties"].as_object();
        let properties: BTreeSet<_> = properties.expect(schema).keys().cloned().collect();
        assert_eq!(properties, expected, "{schema}");
    }
}

fn fields(message: &MessageDescriptor) -> BTreeSet<String> {
    let is_in_the_body =
        |field: &FieldDescriptor| !["user_id", "admin_user_id"].contains(&field.name());
    message.fields().filter(is_in_the_body).map(|field| field.json_name().to_owned()).collect()
}
