//! Administrators over REST, and the endpoint that scripts written for Atlassian's find in its place.

use super::{enroll, post};
use serde_json::json;
use std::time::Duration;
use twinlock_tests::http::{Answer, Http};
use twinlock_tests::{Server, calm_step};

const COMPATIBLE: &str = "/rest/tsv/latest/totp/unenroll/user";

async fn unenroll(http: &Http, user: &str, administrator: Option<&str>, code: &str) -> Answer {
    let headers: Vec<_> = administrator.iter().map(|id| ("Twinlock-Admin", *id)).collect();
    let path = format!("{COMPATIBLE}/{user}");
    http.json("DELETE", &path, &headers, &json!({ "totpCode": code })).await.expect("an answer")
}

#[tokio::test]
async fn the_endpoint_of_atlassians_scripts() {
    let server = Server::start_default();
    let http = Http::new(&server);
    let admin = enroll(&http, "admin").await;
    enroll(&http, "bob").await;
    calm_step(Duration::from_secs(10)).await;

    let nobody = unenroll(&http, "bob", None, &admin.code(0)).await;
    assert_eq!((nobody.status, &*nobody.reason()), (401, "CALLER_UNAUTHENTICATED"));
    let wrong = unenroll(&http, "bob", Some("admin"), &admin.wrong_code()).await;
    assert_eq!((wrong.status, &*wrong.reason()), (401, "INVALID_CODE"));
    let oneself = unenroll(&http, "admin", Some("admin"), &admin.code(0)).await;
    assert_eq!((oneself.status, &*oneself.reason()), (403, "SELF_UNENROLL"));

    let done = unenroll(&http, "bob", Some("admin"), &admin.code(0)).await;
    assert_eq!((done.status, done.body.len()), (204, 0));
    let again = unenroll(&http, "bob", Some("admin"), &admin.code(1)).await;
    assert_eq!((again.status, &*again.reason()), (400, "NOT_ENROLLED"));
    assert_eq!(again.value()["message"], "No enrollment found for this user.");

    // The next code that was not used: that of the step after the next.
    tokio::time::sleep(Duration::from_secs(30)).await;
    let unknown = unenroll(&http, "mallory", Some("admin"), &admin.code(1)).await;
    assert_eq!((unknown.status, &*unknown.reason()), (404, "USER_NOT_FOUND"));

    for _ in 0..2 {
        unenroll(&http, "bob", Some("admin"), &admin.wrong_code()).await;
    }
    let blocked = unenroll(&http, "bob", Some("admin"), &admin.wrong_code()).await;
    assert_eq!((blocked.status, &*blocked.reason()), (429, "BACKOFF"));
    assert_eq!(blocked.header("retry-after"), "1");
}

#[tokio::test]
async fn an_administrators_id_may_be_any_id() {
    let server = Server::start_default();
    let http = Http::new(&server);
    for (id, header) in
        [("s\u{e9}b/a%41", "s%C3%A9b%2Fa%2541"), ("root@example.com", "root@example.com")]
    {
        let admin = enroll(&http, id).await;
        let wrong = unenroll(&http, "bob", Some(header), &admin.wrong_code()).await;
        assert_eq!((wrong.status, &*wrong.reason()), (401, "INVALID_CODE"), "{id}");
    }
    for broken in ["", "100%", "%ff", "a%00b"] {
        let answer = unenroll(&http, "bob", Some(broken), "123456").await;
        assert_eq!((answer.status, &*answer.reason()), (400, "INVALID_REQUEST"), "{broken}");
        assert_eq!(answer.value()["field"], "Twinlock-Admin");
    }
    let two = [("Twinlock-Admin", "a"), ("Twinlock-Admin", "b")];
    let body = json!({ "totpCode": "123456" });
    let path = "/v1/admin/users/bob/enrollment";
    let answer = http.json("DELETE", path, &two, &body).await.expect("an answer");
    assert_eq!(answer.status, 400);
    // The role's own routes need the header, too, and the import does not.
    let answer = http.json("DELETE", path, &[], &body).await.expect("an answer");
    assert_eq!(answer.status, 401);
    let uri = "otpauth://totp/Shop:carol?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
    let import = json!({ "otpauthUri": uri, "issueRecoveryKey": true });
    let path = "/v1/admin/users/carol/import";
    let answer = http.json("POST", path, &[], &import).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let key = answer.value()["recoveryKey"].as_str().expect("a key").to_owned();
    let verified = post(&http, "carol/verify", &json!({ "recoveryKey": key })).await;
    assert_eq!(verified.value()["method"], "METHOD_RECOVERY_KEY");
}
