//! The OpenAPI document: the routes and the table of errors, written out for other programs.

use super::route::{Operation, ROUTES, Route};
use crate::errors;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use twinlock_core::Reason;

/// The document (OpenAPI 3.1).
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(write);
    &DOCUMENT
}

/// The messages, by their names: JSON Schema needs no code to be written.
const SCHEMAS: &str = include_str!("openapi/schemas.json");

/// Reasons that any call may be refused for.
const COMMON: [Reason; 6] = [
    Reason::InvalidRequest,
    Reason::CallerUnauthenticated,
    Reason::CallerForbidden,
    Reason::StoreUnavailable,
    Reason::StoreIncomplete,
    Reason::SecretUnreadable,
];
/// Reasons of HTTP's own, by their status. They all count as INVALID_REQUEST.
const OF_HTTP: [(u16, &str); 4] = [
    (408, "The body did not arrive in time."),
    (413, "The body has more than 64 KiB."),
    (415, "The body is not sent as application/json."),
    (431, "The headers have more than 16 KiB."),
];

/// What is told of a call.
struct Told {
    id: &'static str,
    summary: &'static str,
    /// The schema of the body that it takes.
    takes: Option<&'static str>,
    /// The schema of its answer; `None` for 204.
    gives: Option<&'static str>,
    /// What it may be refused for apart from [`COMMON`].
    refused: &'static [Reason],
}

fn told(operation: Operation) -> Told {
    use Reason::*;
    let (id, summary, takes, gives, refused): (_, _, _, _, &'static [Reason]) = match operation {
        Operation::OpenApi => ("openApi", "This document.", None, Some("OpenApi"), &[]),
        Operation::DescribeUser => (
            "describeUser",
            "Says what is known of a user; an unknown one is not enrolled.",
            None,
            Some("User"),
            &[],
        ),
        Operation::Enroll => (
            "enroll",
            "Starts an enrollment, for an elevated session.",
            Some("Enroll"),
            Some("Enrollment"),
            &[ElevationRequired, RequestIdReused],
        ),
        Operation::ConfirmEnrollment => (
            "confirmEnrollment",
            "Confirms an enrollment with the app's first code.",
            Some("ConfirmEnrollment"),
            Some("Confirmation"),
            &[
                InvalidCode,
                CodeAlreadyUsed,
                Backoff,
                Locked,
                MalformedCode,
                NoPendingEnrollment,
                RequestIdReused,
            ],
        ),
        Operation::Unenroll => (
            "unenroll",
            "Turns two-step verification off, for a session elevated by second factor.",
            Some("OfSession"),
            None,
            &[ElevationRequired, NotEnrolled, RequestIdReused],
        ),
        Operation::EvaluateLogin => (
            "evaluateLogin",
            "Decides what a login that has passed its first step still owes.",
            Some("EvaluateLogin"),
            Some("Login"),
            &[RequestIdReused],
        ),
        Operation::Verify => (
            "verify",
            "Checks the second step of a login.",
            Some("Verify"),
            Some("Verified"),
            &[
                InvalidCode,
                CodeAlreadyUsed,
                Backoff,
                Locked,
                MalformedCode,
                NotEnrolled,
                RequestIdReused,
            ],
        ),
        Operation::Elevate => (
            "elevate",
            "Proves identity again, so that a session may do sensitive things for a while.",
            Some("Elevate"),
            Some("Elevated"),
            &[
                InvalidCode,
                CodeAlreadyUsed,
                Backoff,
                Locked,
                MalformedCode,
                NotEnrolled,
                SecondFactorRequired,
                NoPassword,
                AssertionNotAllowed,
                RequestIdReused,
                Overloaded,
            ],
        ),
        Operation::CheckElevation => (
            "checkElevation",
            "Says whether a session is elevated now.",
            Some("CheckElevation"),
            Some("Checked"),
            &[ElevationRequired],
        ),
        Operation::DropElevation => (
            "dropElevation",
            "Ends a session's elevation, or all of them.",
            Some("DropElevation"),
            None,
            &[],
        ),
        Operation::RotateRecoveryKey => (
            "rotateRecoveryKey",
            "Replaces the recovery key, for a session elevated by second factor.",
            Some("OfSession"),
            Some("RecoveryKey"),
            &[ElevationRequired, NotEnrolled, RequestIdReused],
        ),
        Operation::AcknowledgeRecoveryKey => (
            "acknowledgeRecoveryKey",
            "Records that the user has stored the recovery key.",
            Some("AcknowledgeRecoveryKey"),
            None,
            &[NotEnrolled],
        ),
        Operation::SetPassword => (
            "setPassword",
            "Stores a password to elevate with before enrollment.",
            Some("SetPassword"),
            None,
            &[Overloaded],
        ),
        Operation::ClearPassword => {
            ("clearPassword", "Removes the password.", Some("Nothing"), None, &[])
        }
        Operation::UnenrollUser => (
            "unenrollUser",
            "Turns another user's two-step verification off, on an administrator's code.",
            Some("ByAdministrator"),
            None,
            &[
                InvalidCode,
                CodeAlreadyUsed,
                Backoff,
                Locked,
                MalformedCode,
                NotEnrolled,
                AdminNotEnrolled,
                SelfUnenroll,
                UserNotFound,
                RequestIdReused,
            ],
        ),
        Operation::ClearBackoff => (
            "clearBackoff",
            "Ends a user's waits, on an administrator's code.",
            Some("ByAdministrator"),
            None,
            &[
                InvalidCode,
                CodeAlreadyUsed,
                Backoff,
                Locked,
                MalformedCode,
                AdminNotEnrolled,
                UserNotFound,
                RequestIdReused,
            ],
        ),
        Operation::ImportEnrollment => (
            "importEnrollment",
            "Takes over an authenticator that another system enrolled.",
            Some("ImportEnrollment"),
            Some("RecoveryKey"),
            &[AlreadyEnrolled, RequestIdReused],
        ),
        Operation::WatchEvents => (
            "watchEvents",
            "Tells what happens to the users of the caller's namespace, as it happens.",
            None,
            Some("Event"),
            &[Overloaded],
        ),
    };
    Told { id, summary, takes, gives, refused }
}

fn write() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in &ROUTES {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    // It is a file of this crate, and a test reads it.
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Twinlock",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Two-step verification beside your application.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "bearer": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "Needed where the configuration lists callers.",
            }},
        },
    })
}

fn operation(route: &Route) -> Value {
    let told = told(route.operation);
    let is_first = ROUTES.iter().find(|other| other.operation == route.operation);
    let is_first = is_first.is_some_and(|first| first.path == route.path);
    let id = if is_first { told.id.to_owned() } else { format!("{}Compatible", told.id) };
    let mut written = json!({
        "operationId": id,
        "summary": told.summary,
        "parameters": parameters(route),
        "responses": responses(route.operation, &told),
    });
    if let Some(schema) = told.takes {
        written["requestBody"] = json!({
            "required": schema != "Nothing",
            "content": content(schema),
        });
    }
    if route.operation.role().is_none() {
        written["security"] = json!([]);
    }
    written
}

fn parameters(route: &Route) -> Vec<Value> {
    let id = json!({ "type": "string", "minLength": 1, "maxLength": 255 });
    let mut parameters = Vec::new();
    if route.path.contains("{user_id}") {
        parameters.push(json!({
            "name": "user_id",
            "in": "path",
            "required": true,
            "schema": id,
            "description": "The user's id: 1 to 255 bytes of UTF-8 without control characters, in percent-encoding, which is decoded once.",
        }));
    }
    if route.operation.needs_administrator() {
        parameters.push(json!({
            "name": super::read::ADMINISTRATOR,
            "in": "header",
            "required": true,
            "schema": id,
            "description": "The administrator's id, in percent-encoding.",
        }));
    }
    if route.operation == Operation::WatchEvents {
        parameters.push(json!({
            "name": super::events::LAST_EVENT_ID,
            "in": "header",
            "required": false,
            "schema": { "type": "string", "pattern": "^[0-9]+-[0-9]+$" },
            "description": "The id of the last event that was seen; from now on where it is left out.",
        }));
    }
    parameters
}

fn responses(operation: Operation, told: &Told) -> Map<String, Value> {
    let mut responses = Map::new();
    match told.gives {
        Some(schema) if operation == Operation::WatchEvents => responses.insert(
            "200".into(),
            json!({
                "description": "Server-sent events: `id`, `event` with the type, and `data` with an Event as JSON. The last one is of the type `end`, and says why.",
                "content": { "text/event-stream": {
                    "schema": { "type": "string" },
                    "x-data": { "$ref": format!("#/components/schemas/{schema}") },
                } },
            }),
        ),
        Some(schema) => responses.insert(
            "200".into(),
            json!({ "description": "The answer.", "content": content(schema) }),
        ),
        None => responses.insert("204".into(), json!({ "description": "It is done." })),
    };
    let mut reasons: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    let common = if operation.role().is_some() { &COMMON[..] } else { &[] };
    for reason in common.iter().chain(told.refused) {
        let (_, status) = errors::statuses(*reason);
        reasons.entry(status).or_default().push(reason.as_str());
    }
    for (status, reasons) in reasons {
        let description = format!("{}.", reasons.join(", "));
        let mut response = failure(&description, &reasons);
        match status {
            401 => response["headers"] = header("WWW-Authenticate", "Where no caller is known."),
            429 | 503 => {
                response["headers"] =
                    header("Retry-After", "Whole seconds, where it is known how long to wait.");
            }
            _ => {}
        }
        responses.insert(status.to_string(), response);
    }
    for (status, description) in OF_HTTP {
        if status == 431 || told.takes.is_some() {
            let response = failure(description, &[Reason::InvalidRequest.as_str()]);
            responses.insert(status.to_string(), response);
        }
    }
    responses
}

fn failure(description: &str, reasons: &[&str]) -> Value {
    json!({ "description": description, "x-reasons": reasons, "content": content("Failure") })
}

fn header(name: &str, description: &str) -> Value {
    json!({ name: { "description": description, "schema": { "type": "string" } } })
}

fn content(schema: &str) -> Value {
    let schema = format!("#/components/schemas/{schema}");
    json!({ "application/json": { "schema": { "$ref": schema } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_there_and_used() {
        let schemas: Map<String, Value> = serde_json::from_str(SCHEMAS).expect("schemas");
        let text = document().to_string();
        for name in schemas.keys() {
            assert!(text.contains(&format!("#/components/schemas/{name}\"")), "{name} is not used");
        }
        for (_, rest) in text
            .match_indices("#/components/schemas/")
            .map(|(at, found)| text.split_at(at + found.len()))
        {
            let name = rest.split('"').next().expect("a name");
            assert!(schemas.contains_key(name), "{name} is missing");
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let paths = document()["paths"].as_object().expect("paths");
        let operations = paths.values().flat_map(|path| path.as_object().expect("a path").values());
        let mut ids: Vec<_> =
            operations.map(|operation| operation["operationId"].as_str()).collect();
        assert_eq!(ids.len(), ROUTES.len());
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ROUTES.len());
    }
}
