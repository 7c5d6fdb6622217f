//! Every call of the API that asks the store.

use std::collections::BTreeMap;
use tonic::Status;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use twinlock_proto::v1::admin_service_client::AdminServiceClient;
use twinlock_proto::v1::operator_service_client::OperatorServiceClient;
use twinlock_proto::v1::{
    AcknowledgeRecoveryKeyRequest, AssertedCredential, CheckElevationRequest, ClearBackoffRequest,
    ClearPasswordRequest, ConfirmEnrollmentRequest, DescribeUserRequest, DropElevationRequest,
    ElevateRequest, EnrollRequest, EraseUserRequest, EvaluateLoginRequest, ImportEnrollmentRequest,
    LoginChannel, PasswordCredential, ResetUserRequest, RotateRecoveryKeyRequest,
    SetPasswordRequest, UnenrollRequest, UnenrollUserRequest, elevate_request,
    set_password_request,
};
use twinlock_tests::redis::until;
use twinlock_tests::{Server, User, reason};

/// The session of a user that is elevated.
pub const SESSION: &str = "session";

/// The user to whom another one does something as an administrator; one is as well known as the other.
pub fn friend(id: &str) -> String {
    format!("a friend of {id}")
}

/// How each call for a user ends: `OK`, or the reason of its refusal.
pub async fn ends(server: &Server, user: &User) -> BTreeMap<&'static str, String> {
    let mut client = server.client().await;
    let id = || user.id.clone();
    let session = || SESSION.to_owned();
    let elevate = |credential| ElevateRequest {
        user_id: id(),
        session_id: session(),
        credential: Some(credential),
        ..Default::default()
    };
    let mut ends = BTreeMap::new();
    macro_rules! call {
        ($name:literal, $method:ident, $request:expr) => {
            call!(client, $name, $method, $request)
        };
        ($client:ident, $name:literal, $method:ident, $request:expr) => {
            ends.insert($name, end(&$client.$method($request).await));
        };
    }
    call!("DescribeUser", describe_user, DescribeUserRequest { user_id: id() });
    let login = EvaluateLoginRequest {
        user_id: id(),
        channel: LoginChannel::Form.into(),
        ..Default::default()
    };
    call!("EvaluateLogin", evaluate_login, login);
    let check = CheckElevationRequest { user_id: id(), session_id: session(), max_age: None };
    call!("CheckElevation", check_elevation, check);
    call!("Verify", verify, user.verify(user.code(0)));
    call!("Verify of a wrong code", verify, user.verify(user.wrong_code()));
    call!("Verify of a key", verify, user.redeem(&*user.recovery_key));
    let mut named = user.redeem(&*user.recovery_key);
    named.request_id = "the id of one request".into();
    call!("Verify with an id", verify, named);
    call!("Elevate", elevate, user.elevate(SESSION, user.code(0)));
    let word = AssertedCredential { how: "test".into() };
    let word = elevate(elevate_request::Credential::Asserted(word));
    call!("Elevate on the product's word", elevate, word);
    let password =
        PasswordCredential { password: "a password of theirs".into(), ..Default::default() };
    let password = elevate(elevate_request::Credential::Password(password));
    call!("Elevate by a password", elevate, password);
    let enroll = EnrollRequest { user_id: id(), session_id: session(), ..Default::default() };
    call!("Enroll", enroll, enroll);
    let confirm = ConfirmEnrollmentRequest {
        user_id: id(),
        session_id: session(),
        totp_code: user.code(0),
        ..Default::default()
    };
    call!("ConfirmEnrollment", confirm_enrollment, confirm);
    let rotate =
        RotateRecoveryKeyRequest { user_id: id(), session_id: session(), ..Default::default() };
    call!("RotateRecoveryKey", rotate_recovery_key, rotate);
    let acknowledge = AcknowledgeRecoveryKeyRequest {
        user_id: id(),
        recovery_key_create_time: Some(Default::default()),
    };
    call!("AcknowledgeRecoveryKey", acknowledge_recovery_key, acknowledge);
    let set = SetPasswordRequest {
        user_id: id(),
        verifier: Some(set_password_request::Verifier::Password("a password of theirs".into())),
    };
    call!("SetPassword", set_password, set);
    call!("ClearPassword", clear_password, ClearPasswordRequest { user_id: id() });
    let drop = DropElevationRequest { user_id: id(), session_id: session(), all_sessions: false };
    call!("DropElevation", drop_elevation, drop);
    let unenroll = UnenrollRequest { user_id: id(), session_id: session(), ..Default::default() };
    call!("Unenroll", unenroll, unenroll);

    let mut admin = AdminServiceClient::new(server.channel().await);
    let unenroll = UnenrollUserRequest {
        admin_user_id: id(),
        totp_code: user.code(0),
        user_id: friend(&user.id),
        ..Default::default()
    };
    call!(admin, "UnenrollUser", unenroll_user, unenroll);
    let clear = ClearBackoffRequest {
        admin_user_id: id(),
        totp_code: user.code(0),
        user_id: id(),
        ..Default::default()
    };
    call!(admin, "ClearBackoff", clear_backoff, clear);
    let import = ImportEnrollmentRequest {
        user_id: id(),
        otpauth_uri: format!("otpauth://totp/Shop:alice?secret={}&issuer=Shop", user.secret),
        ..Default::default()
    };
    call!(admin, "ImportEnrollment", import_enrollment, import);
    let mut operator = OperatorServiceClient::new(server.channel().await);
    let reset = ResetUserRequest { user_id: id(), why: "a test".into(), ..Default::default() };
    call!(operator, "ResetUser", reset_user, reset);
    let erase = EraseUserRequest { user_id: id(), ..Default::default() };
    call!(operator, "EraseUser", erase_user, erase);
    ends
}

/// Checks that every call for a user ends so.
pub async fn all_end(server: &Server, user: &User, reason: &str) {
    for (call, end) in ends(server, user).await {
        assert_eq!(end, reason, "{call} for {}", user.id);
    }
}

fn end<T>(answer: &Result<T, Status>) -> String {
    answer.as_ref().map_or_else(reason, |_| "OK".into())
}

/// Waits until health and readiness say whether the server can be used.
pub async fn becomes(server: &Server, usable: bool) {
    let mut health = HealthClient::new(server.channel().await);
    let wanted = if usable { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in [
        "",
        "twinlock.v1.TwoStepService",
        "twinlock.v1.AdminService",
        "twinlock.v1.OperatorService",
    ] {
        for n in 0.. {
            let request = HealthCheckRequest { service: service.into() };
            let answer = health.check(request).await.expect("an answer").into_inner();
            if answer.status() == wanted {
                break;
            }
            assert!(n < 200, "the health of {service:?} is {answer:?}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    let status = if usable { "HTTP/1.1 200" } else { "HTTP/1.1 503" };
    until(|| server.probe("/readyz").starts_with(status), &format!("/readyz to say {status}"));
    assert!(server.probe("/livez").starts_with("HTTP/1.1 200"));
}
