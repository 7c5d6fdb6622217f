//! The REST edge: what HTTP adds to the calls of the API, which the scenarios test.

mod administrator;
mod connections;
mod document;
mod forms;
mod secrets;
mod tour;

use serde_json::{Value, json};
use twinlock_tests::User;
use twinlock_tests::http::{Answer, Http, encode};

/// Posts JSON to a user's path.
async fn post(http: &Http, path: &str, body: &Value) -> Answer {
    http.json("POST", &format!("/v1/users/{path}"), &[], body).await.expect("an answer")
}

/// Sends JSON and gives the status and the reason.
async fn refused(http: &Http, method: &str, path: &str, body: Value) -> (u16, String) {
    let answer = http.json(method, path, &[], &body).await.expect("an answer");
    (answer.status, answer.reason())
}

/// Enrolls a user through REST alone.
async fn enroll(http: &Http, id: &str) -> User {
    let path = encode(id);
    let asserted = json!({ "sessionId": "setup", "asserted": { "how": "test" } });
    assert_eq!(post(http, &format!("{path}/elevation"), &asserted).await.status, 200);
    let begun = post(http, &format!("{path}/enrollment"), &json!({ "sessionId": "setup" })).await;
    let secret = begun.value()["secret"].as_str().expect("a secret").to_owned();
    let confirm = format!("{path}/enrollment/confirm");
    for offset in [-1, 0] {
        let code = twinlock_tests::code(&secret, offset);
        let body = json!({ "sessionId": "setup", "totpCode": code });
        let confirmed = post(http, &confirm, &body).await;
        if confirmed.status == 200 {
            let recovery_key = confirmed.value()["recoveryKey"].as_str().expect("a key").to_owned();
            return User { id: id.into(), secret, recovery_key };
        }
    }
    panic!("{id} could not be enrolled");
}
