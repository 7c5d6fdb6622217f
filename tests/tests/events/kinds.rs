//! A life in which everything happens that an event tells of.

use crate::{Watch, order, trail, written};
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::transport::Channel;
use twinlock_core::decision::EventKind;
use twinlock_proto::v1::admin_service_client::AdminServiceClient;
use twinlock_proto::v1::operator_service_client::OperatorServiceClient;
use twinlock_proto::v1::{self, Event, elevate_request, set_password_request, verify_request};
use twinlock_tests::{Client, Options, Server, User, calm_step, code, now, wrong_code};

const BLOCK: Duration = Duration::from_millis(400);
const PASSWORD: &str = "canary password";
const WHY: &str = "lost app and key; seen at the desk";
const IMPORTED: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

/// What happens, and to whom: type, user, actor, method, reason.
type Told<'a> = [&'a str; 5];

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_happens_is_told_once_without_a_secret() {
    let options = Options::default()
        .set(&format!("backoff.initial={}ms", BLOCK.as_millis()))
        .set("enforcement.mode=enforce")
        .set("enforcement.authorities=boss")
        .set("audit.path=audit.log");
    let mut server = Server::start(options);
    let mut watch = Watch::begin(&server, "").await;
    let mut life = Life::begin(&server).await;
    let begin = now();
    calm_step(Duration::from_secs(12)).await;
    life.be_asked_for_a_password().await;
    life.use_an_authenticator().await;
    life.be_administered().await;

    let expected: Vec<Told<'_>> = [BEFORE, WITH_AN_AUTHENTICATOR, ADMINISTERED].concat();
    let events = watch.take(expected.len()).await;
    let told: Vec<Told<'_>> = events.iter().map(told).collect();
    for (at, (told, expected)) in told.iter().zip(&expected).enumerate() {
        assert_eq!(told, expected, "event {at}");
    }
    for event in &events {
        assert_eq!((&*event.caller, &*event.namespace), ("local", "default"));
        let at = event.event_time.expect("a time");
        let millis = at.seconds as u64 * 1000 + at.nanos as u64 / 1_000_000;
        assert!((begin.as_millis()..=now().as_millis()).contains(&millis), "{event:?}");
    }
    let order: Vec<_> = events.iter().map(|event| order(&event.event_id)).collect();
    assert!(order.is_sorted_by(|one, next| one < next), "{order:?}");
    let client = events.iter().filter_map(|event| event.client.clone());
    let browsers = client.filter(|client| client.user_agent == "a browser");
    assert_eq!(browsers.count(), 2, "where a login came from is told with what became of it");

    let path = server.directory().join("audit.log");
    written(&path, events.len()).await;
    assert!(server.stop().success());
    let lines = trail(&path);
    assert_eq!(lines.len(), events.len(), "nothing else was told");
    for (line, event) in lines.iter().zip(&events) {
        let text = |key: &str| line[key].as_str().expect("a text");
        assert_eq!(text("event_id"), event.event_id);
        let [kind, user, actor, method, reason] = self::told(event);
        assert_eq!(
            [text("type"), text("user_id"), text("actor_id"), text("method"), text("reason")],
            [kind, user, actor, method, reason]
        );
        let shown = line.iter().filter(|(key, _)| !["event_id", "event_time"].contains(&&***key));
        let shown: String = shown.map(|(_, value)| value.to_string()).collect();
        for canary in &life.canaries {
            assert!(!shown.contains(canary), "{canary} is in {shown}");
        }
    }
    assert!(life.canaries.len() > 25, "{}", life.canaries.len());

    let legacy = server.options().clone().set("login.mode=legacy").set("audit.path=legacy.log");
    let server = server.restart_with(legacy);
    let mut watch = Watch::begin(&server, "").await;
    let mut client = server.client().await;
    client.evaluate_login(login("alice", v1::LoginChannel::Form)).await.expect("a decision");
    let last = watch.take(1).await;
    assert_eq!(self::told(&last[0]), ["LEGACY_LOGIN", "alice", "", "", "LEGACY_LOGIN"]);

    let kinds: BTreeSet<&str> = events.iter().chain(&last).map(|event| &*event.r#type).collect();
    assert_eq!(kinds, EventKind::ALL.map(EventKind::as_str).into());
}

const BEFORE: &[Told<'static>] = &[
    ["PASSWORD_SET", "alice", "", "", ""],
    ["ELEVATION_FAILED", "alice", "", "METHOD_PASSWORD", "INVALID_CODE"],
    ["ELEVATION_FAILED", "alice", "", "METHOD_PASSWORD", "INVALID_CODE"],
    ["BLOCKED", "alice", "", "METHOD_PASSWORD", "BACKOFF"],
    ["ELEVATED", "alice", "", "METHOD_PASSWORD", ""],
    ["ELEVATION_DROPPED", "alice", "", "", ""],
    ["PASSWORD_CLEARED", "alice", "", "", ""],
    ["ENROLLMENT_REQUIRED", "alice", "", "", "ENFORCED"],
    ["LOGIN_DENIED", "alice", "", "", "BASIC_NOT_PROTECTED"],
];

const WITH_AN_AUTHENTICATOR: &[Told<'static>] = &[
    ["ELEVATED", "alice", "", "METHOD_ASSERTED", ""],
    ["ENROLLMENT_STARTED", "alice", "", "", ""],
    ["VERIFY_FAILED", "alice", "", "METHOD_TOTP", "INVALID_CODE"],
    ["ENROLLED", "alice", "", "METHOD_TOTP", ""],
    ["RECOVERY_KEY_ACKNOWLEDGED", "alice", "", "", ""],
    ["VERIFIED", "alice", "", "METHOD_TOTP", ""],
    ["ELEVATED", "alice", "", "METHOD_TOTP", ""],
    ["CODE_REUSED", "alice", "", "METHOD_TOTP", "CODE_ALREADY_USED"],
    ["VERIFIED", "alice", "", "METHOD_RECOVERY_KEY", ""],
    ["RECOVERY_KEY_USED", "alice", "", "", ""],
    ["RECOVERY_KEY_ROTATED", "alice", "", "", ""],
    ["ENROLLMENT_STARTED", "alice", "", "", ""],
    ["AUTHENTICATOR_CHANGED", "alice", "", "METHOD_TOTP", ""],
    ["UNENROLLED", "alice", "", "", ""],
];

const ADMINISTERED: &[Told<'static>] = &[
    ["IMPORTED", "bob", "", "", ""],
    ["VERIFY_FAILED", "bob", "", "METHOD_TOTP", "INVALID_CODE"],
    ["VERIFY_FAILED", "bob", "", "METHOD_TOTP", "INVALID_CODE"],
    ["BLOCKED", "bob", "", "METHOD_TOTP", "BACKOFF"],
    ["ELEVATED", "root", "", "METHOD_ASSERTED", ""],
    ["ENROLLMENT_STARTED", "root", "", "", ""],
    ["ENROLLED", "root", "", "METHOD_TOTP", ""],
    ["VERIFIED", "root", "", "METHOD_TOTP", ""],
    ["BACKOFF_CLEARED", "bob", "root", "", ""],
    ["VERIFIED", "root", "", "METHOD_TOTP", ""],
    ["UNENROLLED_BY_ADMIN", "bob", "root", "", ""],
    ["VERIFY_FAILED", "root", "", "", "SELF_UNENROLL"],
    ["VERIFY_FAILED", "nobody", "", "", "ADMIN_NOT_ENROLLED"],
    ["UNENROLLED", "root", "", "", WHY],
    ["ELEVATED", "carol", "", "METHOD_ASSERTED", ""],
    ["ENROLLMENT_STARTED", "carol", "", "", ""],
    ["ENROLLED", "carol", "", "METHOD_TOTP", ""],
    ["VERIFIED", "carol", "", "METHOD_TOTP", "USER_NOT_FOUND"],
];

fn told(event: &Event) -> Told<'_> {
    let method = match event.method() {
        v1::Method::Unspecified => "",
        method => method.as_str_name(),
    };
    [&event.r#type, &event.user_id, &event.actor_id, method, &event.reason]
}

fn login(user: &str, channel: v1::LoginChannel) -> v1::EvaluateLoginRequest {
    v1::EvaluateLoginRequest {
        user_id: user.into(),
        channel: channel.into(),
        authorities: vec!["boss".into()],
        ..Default::default()
    }
}

struct Life {
    client: Client,
    admin: AdminServiceClient<Channel>,
    operator: OperatorServiceClient<Channel>,
    /// What must not be told.
    canaries: Vec<String>,
}

impl Life {
    async fn begin(server: &Server) -> Self {
        let channel = server.channel().await;
        Self {
            client: server.client().await,
            admin: AdminServiceClient::new(channel.clone()),
            operator: OperatorServiceClient::new(channel),
            canaries: vec![PASSWORD.into(), "the session that enrolls".into()],
        }
    }

    /// Something that must not be told, from now on.
    fn hide(&mut self, canary: &str) -> String {
        self.canaries.push(canary.into());
        canary.into()
    }

    fn name(&mut self) -> String {
        let name = format!("canary-{:010}", self.canaries.len());
        self.hide(&name)
    }

    fn elevate(
        &mut self,
        session: &str,
        credential: elevate_request::Credential,
    ) -> v1::ElevateRequest {
        v1::ElevateRequest {
            user_id: "alice".into(),
            session_id: session.into(),
            credential: Some(credential),
            request_id: self.name(),
            client: None,
        }
    }

    async fn be_asked_for_a_password(&mut self) {
        let user_id = String::from("alice");
        let session = self.name();
        let password = set_password_request::Verifier::Password(PASSWORD.into());
        let request = v1::SetPasswordRequest { user_id: user_id.clone(), verifier: Some(password) };
        self.client.set_password(request).await.expect("a password");
        let with = |password: &str| {
            elevate_request::Credential::Password(v1::PasswordCredential {
                password: password.into(),
                ..Default::default()
            })
        };
        // The third one falls within the wait.
        for _ in 0..3 {
            let wrong = self.elevate(&session, with("canary password, wrong"));
            self.client.elevate(wrong).await.expect_err("wrong");
        }
        tokio::time::sleep(BLOCK).await;
        let right = self.elevate(&session, with(PASSWORD));
        self.client.elevate(right.clone()).await.expect("elevated");
        self.client.elevate(right).await.expect("a repeat, of which nothing is told");
        let drop = v1::DropElevationRequest {
            user_id: user_id.clone(),
            session_id: session,
            ..Default::default()
        };
        self.client.drop_elevation(drop.clone()).await.expect("dropped");
        self.client.drop_elevation(drop).await.expect("nothing to drop");
        let clear = v1::ClearPasswordRequest { user_id };
        self.client.clear_password(clear.clone()).await.expect("cleared");
        self.client.clear_password(clear).await.expect("nothing to clear");
        for channel in [v1::LoginChannel::Form, v1::LoginChannel::Form, v1::LoginChannel::Basic] {
            self.client.evaluate_login(login("alice", channel)).await.expect("a decision");
        }
    }

    /// Enrolls alice; gives the secret, and the answer to the first code.
    async fn enroll(&mut self, session: &str) -> (String, v1::ConfirmEnrollmentResponse) {
        let enroll = v1::EnrollRequest {
            user_id: "alice".into(),
            session_id: session.into(),
            request_id: self.name(),
            ..Default::default()
        };
        let begun = self.client.enroll(enroll.clone()).await.expect("begun").into_inner();
        self.client.enroll(enroll).await.expect("a repeat");
        let secret = self.hide(&begun.secret);
        let confirm = v1::ConfirmEnrollmentRequest {
            user_id: "alice".into(),
            session_id: session.into(),
            totp_code: code(&secret, -1),
            request_id: self.name(),
            client: None,
        };
        self.hide(&confirm.totp_code);
        let confirmed = self.client.confirm_enrollment(confirm.clone()).await.expect("confirmed");
        self.client.confirm_enrollment(confirm).await.expect("a repeat");
        let confirmed = confirmed.into_inner();
        self.hide(&confirmed.recovery_key);
        (secret, confirmed)
    }

    async fn use_an_authenticator(&mut self) {
        let session = self.name();
        let how = v1::AssertedCredential { how: "saml".into() };
        let asserted = self.elevate(&session, elevate_request::Credential::Asserted(how));
        self.client.elevate(asserted).await.expect("elevated");
        let begun = self.client.enroll(v1::EnrollRequest {
            user_id: "alice".into(),
            session_id: session.clone(),
            ..Default::default()
        });
        let secret = begun.await.expect("begun").into_inner().secret.clone();
        let wrong = self.hide(&wrong_code(&secret));
        let mut confirm = v1::ConfirmEnrollmentRequest {
            user_id: "alice".into(),
            session_id: session.clone(),
            totp_code: wrong,
            ..Default::default()
        };
        self.client.confirm_enrollment(confirm.clone()).await.expect_err("wrong");
        confirm.totp_code = self.hide(&code(&secret, -1));
        let confirmed = self.client.confirm_enrollment(confirm).await.expect("confirmed");
        let confirmed = confirmed.into_inner();
        let acknowledge = v1::AcknowledgeRecoveryKeyRequest {
            user_id: "alice".into(),
            recovery_key_create_time: confirmed.recovery_key_create_time,
        };
        self.client.acknowledge_recovery_key(acknowledge.clone()).await.expect("acknowledged");
        self.client.acknowledge_recovery_key(acknowledge).await.expect("acknowledged before");

        let alice =
            User { id: "alice".into(), secret, recovery_key: self.hide(&confirmed.recovery_key) };
        let login = self.name();
        let mut verify = alice.verify(self.hide(&alice.code(0)));
        verify.session_id = login.clone();
        verify.client = Some(v1::ClientContext {
            ip_address: "192.0.2.1".into(),
            user_agent: "a browser".into(),
        });
        self.client.verify(verify.clone()).await.expect("verified");
        (verify.client, verify.request_id) = (None, self.name());
        for _ in 0..2 {
            // The second is a repeat, which gets the answer of the first.
            self.client.verify(verify.clone()).await.expect_err("used");
        }
        let redeem = alice.redeem(alice.recovery_key.clone());
        let next = self.client.verify(redeem).await.expect("redeemed").into_inner();
        self.hide(&next.recovery_key);
        let rotate = v1::RotateRecoveryKeyRequest {
            user_id: "alice".into(),
            session_id: login.clone(),
            ..Default::default()
        };
        let rotated = self.client.rotate_recovery_key(rotate).await.expect("rotated").into_inner();
        self.hide(&rotated.recovery_key);
        self.enroll(&login).await;
        let unenroll = v1::UnenrollRequest {
            user_id: "alice".into(),
            session_id: login,
            request_id: self.name(),
            client: None,
        };
        self.client.unenroll(unenroll.clone()).await.expect("unenrolled");
        self.client.unenroll(unenroll).await.expect("a repeat");
    }

    async fn be_administered(&mut self) {
        let import = v1::ImportEnrollmentRequest {
            user_id: "bob".into(),
            otpauth_uri: format!("otpauth://totp/bob?secret={}", self.hide(IMPORTED)),
            ..Default::default()
        };
        self.admin.import_enrollment(import).await.expect("imported");
        for _ in 0..3 {
            let wrong = verify_request::Credential::TotpCode(wrong_code(IMPORTED));
            let wrong = twinlock_tests::verify_with("bob", wrong);
            self.client.verify(wrong).await.expect_err("wrong, then within the wait");
        }
        let root = User::enroll(&mut self.client, "root").await;
        self.hide(&root.secret);
        let clear = v1::ClearBackoffRequest {
            admin_user_id: "root".into(),
            totp_code: self.hide(&root.code(0)),
            user_id: "bob".into(),
            request_id: self.name(),
            client: None,
        };
        self.admin.clear_backoff(clear.clone()).await.expect("cleared");
        self.admin.clear_backoff(clear).await.expect("a repeat");
        let unenroll = v1::UnenrollUserRequest {
            admin_user_id: "root".into(),
            totp_code: self.hide(&root.code(1)),
            user_id: "bob".into(),
            request_id: self.name(),
            client: None,
        };
        self.admin.unenroll_user(unenroll.clone()).await.expect("unenrolled");
        self.admin.unenroll_user(unenroll.clone()).await.expect("a repeat");
        let oneself = v1::UnenrollUserRequest { user_id: "root".into(), ..unenroll.clone() };
        self.admin.unenroll_user(oneself).await.expect_err("oneself");
        let by_nobody =
            v1::UnenrollUserRequest { admin_user_id: "nobody".into(), ..unenroll.clone() };
        self.admin.unenroll_user(by_nobody).await.expect_err("not enrolled");
        let reset = v1::ResetUserRequest {
            user_id: "root".into(),
            why: WHY.into(),
            request_id: self.name(),
        };
        self.operator.reset_user(reset.clone()).await.expect("reset");
        self.operator.reset_user(reset).await.expect("a repeat");
        let carol = User::enroll(&mut self.client, "carol").await;
        let nobody = v1::UnenrollUserRequest {
            admin_user_id: "carol".into(),
            totp_code: self.hide(&carol.code(0)),
            user_id: "ghost".into(),
            ..Default::default()
        };
        self.admin.unenroll_user(nobody).await.expect_err("nobody");
    }
}
