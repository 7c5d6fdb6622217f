//! A life full of secrets, and the search for them.

use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use sha2::{Digest, Sha256};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use twinlock_core::recovery::RecoveryKey;
use twinlock_core::totp::{Digits, Parameters};
use twinlock_core::{Namespace, UserId};
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;
use twinlock_proto::v1::{self, elevate_request, set_password_request, verify_request};
use twinlock_tests::raw::{self, Raw, frame};
use twinlock_tests::{Server, calm_step, code_at, reason};

/// The caller's token.
pub const TOKEN: &str = "canary-token-5cb1e9";
const PASSWORD: &str = "canary password 77e1";
const WRONG_PASSWORD: &str = "canary password that is wrong";
const PHC: &str = "$argon2id$v=19$m=1024,t=2,p=2$94c3jxEewC7jmQwblR+OAw$Psk9KO8ivu42RmDxX3gU5eqrrI94uvjy9J17X9hduUk";
const PHC_PASSWORD: &str = "correct horse battery staple";

/// SHA-256 in lower-case hexadecimal digits.
pub fn sha256_hex(text: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

/// Whether the bytes are among the others.
pub fn contains(bytes: &[u8], sought: &[u8]) -> bool {
    bytes.windows(sought.len()).any(|window| window == sought)
}

/// What must not be found, in every form that it might be found in.
#[derive(Default)]
pub struct Canaries(Vec<(String, Vec<Vec<u8>>)>);

impl Canaries {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// A text, which may have been written in other ways.
    pub fn add(&mut self, name: &str, text: &str) {
        let bytes = text.as_bytes();
        let mut forms =
            vec![bytes.to_vec(), text.to_uppercase().into(), text.to_lowercase().into()];
        forms.extend(codings(bytes));
        if bytes.len() >= 12 {
            // A digest without a key tells whoever can guess the value.
            forms.push(Sha256::digest(bytes)[..16].to_vec());
        }
        self.0.push((name.into(), forms));
    }

    /// Bytes that are no text.
    pub fn add_raw(&mut self, name: &str, bytes: &[u8]) {
        let forms = [vec![bytes.to_vec()], codings(bytes)].concat();
        self.0.push((name.into(), forms));
    }

    /// A secret in base32, and what it is of.
    pub fn add_secret(&mut self, base32: &str) {
        self.add("secret", base32);
        let bytes = data_encoding::BASE32_NOPAD.decode(base32.as_bytes()).expect("base32");
        self.add_raw("secret, decoded", &bytes);
    }

    /// A recovery key, with and without its hyphens.
    pub fn add_key(&mut self, key: &str) {
        self.add("recovery key", key);
        self.add("recovery key without hyphens", &key.replace('-', ""));
        let parsed = RecoveryKey::parse(key).expect("a recovery key");
        for user in ["alice", "bob", "carol", "dave"] {
            let user = UserId::parse(user).expect("a user");
            let hash = parsed.hash(&Namespace::default(), &user);
            self.add_raw("hash of a recovery key", hash.as_bytes());
        }
    }

    /// A password hash: all of it, its salt, its output.
    pub fn add_phc(&mut self, phc: &str) {
        self.add("password hash", phc);
        for part in phc.rsplit('$').take(2) {
            self.add("part of a password hash", part);
            let bytes = BASE64_NOPAD.decode(part.as_bytes()).expect("base64");
            self.add_raw("part of a password hash, decoded", &bytes);
        }
    }

    /// The name of one that is in the bytes.
    pub fn found_in(&self, bytes: &[u8]) -> Option<&str> {
        let is_in = |forms: &Vec<Vec<u8>>| forms.iter().any(|form| contains(bytes, form));
        self.0.iter().find(|(_, forms)| is_in(forms)).map(|(name, _)| &**name)
    }

    pub fn assert_absent(&self, place: &str, bytes: &[u8]) {
        if let Some(name) = self.found_in(bytes) {
            panic!(
                "{name} is in {place}: {}",
                String::from_utf8_lossy(&bytes[..bytes.len().min(20_000)])
            );
        }
    }
}

/// Bytes as they may be printed.
fn codings(bytes: &[u8]) -> Vec<Vec<u8>> {
    let list = format!("{bytes:?}");
    // The last characters depend on what comes behind the bytes.
    let whole = BASE64_NOPAD.encode(bytes);
    let open = whole[..whole.len() - 1].to_owned();
    let texts = [
        HEXLOWER.encode(bytes),
        HEXUPPER.encode(bytes),
        BASE64.encode(bytes),
        BASE64URL_NOPAD.encode(bytes),
        open,
        list.trim_matches(['[', ']']).to_owned(),
    ];
    texts.map(String::into_bytes).to_vec()
}

/// A caller, their users, and all that came back in failures.
pub struct World {
    client: TwoStepServiceClient<Channel>,
    pub canaries: Canaries,
    pub seen: Vec<(String, Vec<u8>)>,
    count: u32,
}

/// Makes a call and checks how it ends: `OK`, or a reason.
macro_rules! call {
    ($world:ident, $method:ident, $expected:literal, $request:expr) => {{
        let request = signed($request);
        let answer = $world.client.$method(request).await;
        $world.told(stringify!($method), $expected, answer)
    }};
}

fn signed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let token = format!("Bearer {TOKEN}").parse().expect("a header");
    request.metadata_mut().insert("authorization", token);
    request
}

impl World {
    pub async fn new(server: &Server) -> Self {
        let mut canaries = Canaries::default();
        canaries.add("token", TOKEN);
        for password in [PASSWORD, WRONG_PASSWORD, PHC_PASSWORD] {
            canaries.add("password", password);
        }
        canaries.add_phc(PHC);
        Self { client: server.client().await, canaries, seen: Vec::new(), count: 0 }
    }

    /// A new session id or request id, which is a canary from now on.
    fn name(&mut self, kind: &str) -> String {
        self.count += 1;
        let name = format!("canary-{kind}-{:04}-x7Qz", self.count);
        self.canaries.add(kind, &name);
        name
    }

    /// A code, which is a canary from now on. Eight digits do not come about by chance.
    fn code(&mut self, secret: &str, offset: i64) -> String {
        let digits = Digits::new(8).expect("eight digits");
        let code = code_at(secret, &Parameters { digits, ..Parameters::default() }, offset);
        self.canaries.add("code", &code);
        code
    }

    fn told<T>(
        &mut self,
        method: &str,
        expected: &str,
        answer: Result<Response<T>, Status>,
    ) -> Option<T> {
        match answer {
            Ok(answer) => {
                assert_eq!(expected, "OK", "{method}");
                Some(answer.into_inner())
            }
            Err(status) => {
                assert_eq!(reason(&status), expected, "{method}: {}", status.message());
                let told = format!("{status} {status:?} {:?}", status.metadata());
                self.seen.push((format!("the refusal of {method}"), told.into_bytes()));
                self.seen.push((format!("the details of {method}"), status.details().to_vec()));
                None
            }
        }
    }

    /// Enrolls alice; gives her secret and her recovery key.
    async fn enroll(&mut self, user: &str, session: &str) -> (String, String) {
        let request_id = self.name("request");
        let request = v1::EnrollRequest {
            user_id: user.into(),
            session_id: session.into(),
            account_name: format!("{user}@example.com").to_uppercase(),
            request_id,
            ..Default::default()
        };
        let enrollment = call!(self, enroll, "OK", request).expect("an enrollment");
        let secret = enrollment.secret.clone();
        self.canaries.add_secret(&secret);
        self.canaries.add("otpauth URI", &enrollment.otpauth_uri);
        self.canaries.add("QR code", &enrollment.qr_svg);
        let wrong = v1::ConfirmEnrollmentRequest {
            user_id: user.into(),
            session_id: session.into(),
            totp_code: self.wrong_code(),
            request_id: self.name("request"),
            ..Default::default()
        };
        call!(self, confirm_enrollment, "INVALID_CODE", wrong.clone());
        let right = v1::ConfirmEnrollmentRequest {
            totp_code: self.code(&secret, -1),
            request_id: self.name("request"),
            ..wrong
        };
        let confirmed = call!(self, confirm_enrollment, "OK", right).expect("a recovery key");
        let key = confirmed.recovery_key.clone();
        self.canaries.add_key(&key);
        call!(
            self,
            acknowledge_recovery_key,
            "OK",
            v1::AcknowledgeRecoveryKeyRequest {
                user_id: user.into(),
                recovery_key_create_time: confirmed.recovery_key_create_time,
            }
        );
        (secret, key)
    }

    fn wrong_code(&mut self) -> String {
        self.count += 1;
        let code = format!("{:08}", 48_151_623 + u64::from(self.count) * 7_919);
        self.canaries.add("wrong code", &code);
        code
    }

    fn verify(&mut self, user: &str, credential: verify_request::Credential) -> v1::VerifyRequest {
        v1::VerifyRequest {
            user_id: user.into(),
            session_id: self.name("session"),
            credential: Some(credential),
            request_id: self.name("request"),
            client: Some(v1::ClientContext {
                ip_address: "192.0.2.1".into(),
                user_agent: "a browser".into(),
            }),
        }
    }

    fn elevate(
        &mut self,
        user: &str,
        credential: elevate_request::Credential,
    ) -> v1::ElevateRequest {
        v1::ElevateRequest {
            user_id: user.into(),
            session_id: self.name("session"),
            credential: Some(credential),
            request_id: self.name("request"),
            client: None,
        }
    }

    /// All calls about a second factor, right and wrong.
    pub async fn enroll_and_log_in(&mut self) {
        use elevate_request::Credential as Elevating;
        use verify_request::Credential as Verifying;
        calm_step(std::time::Duration::from_secs(10)).await;
        let asserted = v1::AssertedCredential { how: "saml".into() };
        let elevate = self.elevate("alice", Elevating::Asserted(asserted));
        let session = elevate.session_id.clone();
        call!(self, elevate, "OK", elevate);
        let (secret, key) = self.enroll("alice", &session).await;

        let wrong = Verifying::TotpCode(self.wrong_code());
        call!(self, verify, "INVALID_CODE", self.verify("alice", wrong));
        let code = self.code(&secret, 0);
        let right = self.verify("alice", Verifying::TotpCode(code.clone()));
        call!(self, verify, "OK", right.clone());
        let id = right.request_id.clone();
        let mut reused = self.verify("alice", Verifying::TotpCode(code));
        call!(self, verify, "CODE_ALREADY_USED", reused.clone());
        reused.request_id = id;
        call!(self, verify, "REQUEST_ID_REUSED", reused);
        let no_key = "7K3M9-QXW2P-4TRVB-8NHJC-5DYFG";
        self.canaries.add_key(no_key);
        let wrong = self.verify("alice", Verifying::RecoveryKey(no_key.into()));
        call!(self, verify, "INVALID_CODE", wrong);
        let redeem = self.verify("alice", Verifying::RecoveryKey(key));
        let next = call!(self, verify, "OK", redeem).expect("a recovery key").recovery_key.clone();
        self.canaries.add_key(&next);

        let wrong = Elevating::TotpCode(self.wrong_code());
        call!(self, elevate, "INVALID_CODE", self.elevate("alice", wrong));
        let code = self.code(&secret, 1);
        call!(self, elevate, "OK", self.elevate("alice", Elevating::TotpCode(code)));
        let redeem = self.elevate("alice", Elevating::RecoveryKey(next));
        let session_id = redeem.session_id.clone();
        let answer = call!(self, elevate, "OK", redeem).expect("a recovery key");
        self.canaries.add_key(&answer.recovery_key);

        let user_id = String::from("alice");
        let describe = v1::DescribeUserRequest { user_id: user_id.clone() };
        let described = call!(self, describe_user, "OK", describe).expect("a description");
        self.seen.push(("a description".into(), format!("{described:?}").into_bytes()));
        let login = v1::EvaluateLoginRequest {
            user_id: user_id.clone(),
            channel: v1::LoginChannel::Form.into(),
            request_id: self.name("request"),
            ..Default::default()
        };
        call!(self, evaluate_login, "OK", login);
        let check = v1::CheckElevationRequest {
            user_id: user_id.clone(),
            session_id: session_id.clone(),
            max_age: None,
        };
        call!(self, check_elevation, "OK", check.clone());
        let rotate = v1::RotateRecoveryKeyRequest {
            user_id: user_id.clone(),
            session_id: session_id.clone(),
            request_id: self.name("request"),
            client: None,
        };
        let rotated = call!(self, rotate_recovery_key, "OK", rotate).expect("a recovery key");
        self.canaries.add_key(&rotated.recovery_key);
        let drop = v1::DropElevationRequest { user_id, session_id, all_sessions: false };
        call!(self, drop_elevation, "OK", drop);
        call!(self, check_elevation, "ELEVATION_REQUIRED", check.clone());
        let unenroll = v1::UnenrollRequest {
            user_id: check.user_id,
            session_id: check.session_id,
            request_id: self.name("request"),
            client: None,
        };
        call!(self, unenroll, "ELEVATION_REQUIRED", unenroll);
    }

    /// Passwords, right and wrong, stored and supplied.
    pub async fn use_passwords(&mut self) {
        use elevate_request::Credential as Elevating;
        let set = |user: &str, verifier| v1::SetPasswordRequest {
            user_id: user.into(),
            verifier: Some(verifier),
        };
        let password = |password: &str, password_hash: &str| {
            Elevating::Password(v1::PasswordCredential {
                password: password.into(),
                password_hash: password_hash.into(),
            })
        };
        let plain = set_password_request::Verifier::Password(PASSWORD.into());
        call!(self, set_password, "OK", set("bob", plain));
        let hash = set_password_request::Verifier::PasswordHash(PHC.into());
        call!(self, set_password, "OK", set("carol", hash));
        let wrong = self.elevate("bob", password(WRONG_PASSWORD, ""));
        call!(self, elevate, "INVALID_CODE", wrong);
        call!(self, elevate, "OK", self.elevate("bob", password(PASSWORD, "")));
        call!(self, elevate, "INVALID_CODE", self.elevate("carol", password(PASSWORD, "")));
        call!(self, elevate, "OK", self.elevate("carol", password(PHC_PASSWORD, "")));
        call!(self, elevate, "INVALID_CODE", self.elevate("dave", password(WRONG_PASSWORD, PHC)));
        call!(self, elevate, "OK", self.elevate("dave", password(PHC_PASSWORD, PHC)));
        call!(
            self,
            elevate,
            "SECOND_FACTOR_REQUIRED",
            self.elevate("alice", password(PASSWORD, ""))
        );
        let clear = v1::ClearPasswordRequest { user_id: "bob".into() };
        call!(self, clear_password, "OK", clear);
        call!(self, elevate, "NO_PASSWORD", self.elevate("bob", password(PASSWORD, "")));
    }

    /// Requests that are not of their form, with a secret where it should not be.
    pub async fn be_malformed(&mut self, server: &Server) {
        use verify_request::Credential as Verifying;
        for kind in ["code", "key"] {
            let text = self.name(kind);
            let credential = match kind {
                "code" => Verifying::TotpCode(text),
                _ => Verifying::RecoveryKey(text),
            };
            call!(self, verify, "MALFORMED_CODE", self.verify("alice", credential));
        }
        let mut verify = self.verify("alice", Verifying::TotpCode("00000000".into()));
        verify.session_id.push('\n');
        call!(self, verify, "INVALID_REQUEST", verify);
        let mut verify = self.verify("alice", Verifying::TotpCode("00000000".into()));
        verify.request_id = self.name("request").repeat(5);
        call!(self, verify, "INVALID_REQUEST", verify);
        let hash = set_password_request::Verifier::PasswordHash(format!("{PHC}!"));
        let set = v1::SetPasswordRequest { user_id: "dave".into(), verifier: Some(hash) };
        call!(self, set_password, "INVALID_REQUEST", set);
        let text = self.name("password").repeat(300);
        let long = set_password_request::Verifier::Password(text);
        let set = v1::SetPasswordRequest { user_id: "dave".into(), verifier: Some(long) };
        call!(self, set_password, "INVALID_REQUEST", set);

        let wrong_token = self.name("token");
        let describe = v1::DescribeUserRequest { user_id: "alice".into() };
        let mut unknown = Request::new(describe);
        let header = format!("Bearer {wrong_token}").parse().expect("a header");
        unknown.metadata_mut().insert("authorization", header);
        let answer = self.client.describe_user(unknown).await;
        self.told("describe_user", "CALLER_UNAUTHENTICATED", answer);

        let raw = Raw::connect(server).await;
        let authorization = format!("Bearer {TOKEN}");
        let code = self.wrong_code();
        let message = frame(&self.verify("alice", Verifying::TotpCode(code)));
        let mut torn = message.clone();
        // The length fits, and the last text does not.
        torn.truncate(message.len() - 3);
        torn[4] -= 3;
        let mut not_utf8 = message.clone();
        let at = message.windows(7).position(|window| window == b"session").expect("a session");
        not_utf8[at] = 0xff;
        let paths = [raw::VERIFY, "/twinlock.v1.TwoStepService/Nothing"];
        for (path, body) in [(paths[0], torn), (paths[0], not_utf8), (paths[1], message)] {
            let answer = raw.post(path, &[("authorization", &authorization)], body).await;
            let answer = answer.expect("an answer");
            assert_ne!(answer.header("grpc-status"), "0");
            self.seen.push((format!("the answer to {path}"), format!("{answer:?}").into_bytes()));
        }
    }

    /// What a crash is to find in the store: a pending enrollment, a key that was never acknowledged.
    pub async fn leave_traces_behind(&mut self) {
        let asserted = v1::AssertedCredential { how: "saml".into() };
        let credential = elevate_request::Credential::Asserted(asserted);
        let elevate = self.elevate("dave", credential);
        let enroll = v1::EnrollRequest {
            user_id: "dave".into(),
            session_id: elevate.session_id.clone(),
            request_id: self.name("request"),
            ..Default::default()
        };
        call!(self, elevate, "OK", elevate);
        let pending = call!(self, enroll, "OK", enroll).expect("an enrollment");
        self.canaries.add_secret(&pending.secret);
    }
}
