//! A user, and all that was ever acknowledged to them.

use fastrand::Rng;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::Status;
use twinlock_proto::v1::{
    ConfirmEnrollmentRequest, ElevateRequest, EnrollRequest, VerifyRequest, elevate_request,
    verify_request,
};
use twinlock_tests::{Client, User, code, reason, retry_after, verify_with, wrong_code};

const SESSION: &str = "the session of the enrollment";
/// Failures stay tolerated, so that each attempt is evaluated and the counter can be checked exactly.
const MOST_FAILURES: u32 = 8;
/// How long a call is repeated before nobody believes in an answer any more.
const PATIENCE: Duration = Duration::from_secs(40);
/// The least pause between tries.
const PAUSE: Duration = Duration::from_millis(20);

/// A user, and all that was ever acknowledged to them.
pub struct Witness {
    id: String,
    secret: String,
    /// Every recovery key that was acknowledged, the last one in force.
    keys: Vec<String>,
    /// The last accepted code.
    used: Option<String>,
    /// Failures since the last success.
    failures: u32,
    /// How many calls were not answered at once.
    pub repeated: usize,
    /// How many attempts were answered.
    pub attempts: usize,
    /// What came in place of the answer that had to come.
    pub contradiction: Option<String>,
}

/// What the store has promised to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Everything that was acknowledged.
    Everything,
    /// Changes to enrollments.
    Enrollments,
    /// Nothing.
    Nothing,
}

impl Witness {
    /// Enrolls and does this and that until told to stop; every call is repeated until it is answered.
    pub async fn live(
        id: String,
        clients: Vec<Client>,
        mut rng: Rng,
        promise: Promise,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let mut witness = Self {
            id,
            secret: String::new(),
            keys: Vec::new(),
            used: None,
            failures: 0,
            repeated: 0,
            attempts: 0,
            contradiction: None,
        };
        match witness.do_this_and_that(&clients, &mut rng, &stop).await {
            Ok(()) => {}
            // What was not confirmed yet is no enrollment.
            Err(_) if promise != Promise::Everything && witness.keys.is_empty() => {}
            Err(status) if promise == Promise::Nothing => {
                witness.contradiction = Some(reason(&status));
            }
            Err(status) => panic!("{}: {status}", witness.id),
        }
        witness
    }

    /// How many changes to the enrollment were acknowledged.
    pub fn changes(&self) -> usize {
        self.keys.len()
    }

    async fn do_this_and_that(
        &mut self,
        clients: &[Client],
        rng: &mut Rng,
        stop: &AtomicBool,
    ) -> Result<(), Status> {
        self.enroll(clients, rng).await?;
        let mut next_code = 1;
        while !stop.load(Ordering::SeqCst) {
            match rng.u8(0..10) {
                0..4 if self.failures < MOST_FAILURES => {
                    let code = wrong_code(&self.secret);
                    let wrong = verify_request::Credential::TotpCode(code);
                    match self.verify(wrong, clients, rng).await {
                        Err(status) if reason(&status) == "INVALID_CODE" => self.failures += 1,
                        Err(status) => return Err(status),
                        Ok(_) => panic!("{}: a wrong code was accepted", self.id),
                    }
                }
                4..6 if next_code <= 2 => {
                    let code = code(&self.secret, next_code);
                    next_code += 1;
                    let right = verify_request::Credential::TotpCode(code.clone());
                    self.verify(right, clients, rng).await?;
                    (self.used, self.failures) = (Some(code), 0);
                }
                _ => {
                    let key = self.keys.last().expect("one").clone();
                    let key = verify_request::Credential::RecoveryKey(key);
                    let new = self.verify(key, clients, rng).await?;
                    self.keys.push(new);
                    self.failures = 0;
                }
            }
            sleep(Duration::from_millis(rng.u64(0..20))).await;
        }
        Ok(())
    }

    async fn enroll(&mut self, clients: &[Client], rng: &mut Rng) -> Result<(), Status> {
        let elevate = ElevateRequest {
            user_id: self.id.clone(),
            session_id: SESSION.into(),
            credential: Some(elevate_request::Credential::Asserted(Default::default())),
            request_id: request_id(rng),
            ..Default::default()
        };
        let call = |mut client: Client, request| async move { client.elevate(request).await };
        self.insist(elevate, clients, rng, call).await?;
        let enroll = EnrollRequest {
            user_id: self.id.clone(),
            session_id: SESSION.into(),
            request_id: request_id(rng),
            ..Default::default()
        };
        let call = |mut client: Client, request| async move { client.enroll(request).await };
        self.secret = self.insist(enroll, clients, rng, call).await?.into_inner().secret;
        let confirm = ConfirmEnrollmentRequest {
            user_id: self.id.clone(),
            session_id: SESSION.into(),
            totp_code: code(&self.secret, 0),
            request_id: request_id(rng),
            ..Default::default()
        };
        self.used = Some(confirm.totp_code.clone());
        let call =
            |mut client: Client, request| async move { client.confirm_enrollment(request).await };
        let key = self.insist(confirm, clients, rng, call).await?.into_inner().recovery_key;
        self.keys.push(key);
        Ok(())
    }

    async fn verify(
        &mut self,
        credential: verify_request::Credential,
        clients: &[Client],
        rng: &mut Rng,
    ) -> Result<String, Status> {
        let mut request: VerifyRequest = verify_with(&self.id, credential);
        request.request_id = request_id(rng);
        let call = |mut client: Client, request| async move { client.verify(request).await };
        let answer = self.insist(request, clients, rng, call).await;
        self.attempts += 1;
        answer.map(|answer| answer.into_inner().recovery_key)
    }

    /// Repeats a call, with its id, at any of the servers, until it is answered.
    async fn insist<Q: Clone, A, F: Future<Output = Result<A, Status>>>(
        &mut self,
        request: Q,
        clients: &[Client],
        rng: &mut Rng,
        call: impl Fn(Client, Q) -> F,
    ) -> Result<A, Status> {
        let begin = Instant::now();
        let mut tries = 0;
        loop {
            let client = rng.choice(clients).expect("a client").clone();
            let answer = call(client, request.clone()).await;
            match &answer {
                Err(status) if reason(status) == "STORE_UNAVAILABLE" => {}
                _ => return answer,
            }
            assert!(begin.elapsed() < PATIENCE, "{}: the store does not come back", self.id);
            self.repeated += usize::from(tries == 0);
            tries += 1;
            sleep(PAUSE).await;
        }
    }

    /// Checks that everything that was promised is kept.
    pub async fn check(&mut self, client: &mut Client, promise: Promise) {
        let Some(key) = self.keys.last().cloned() else { return };
        let user =
            User { id: self.id.clone(), secret: self.secret.clone(), recovery_key: key.clone() };
        assert!(user.describe(client).await.enrolled, "{} is not enrolled any more", self.id);
        if promise == Promise::Everything {
            assert_eq!(user.failures(client).await, self.failures, "{}: failures", self.id);
            if let Some(code) = &self.used {
                let again = client.verify(user.verify(code)).await;
                let status = again.err().unwrap_or_else(|| panic!("{}: a code again", self.id));
                let reason = reason(&status);
                assert!(["CODE_ALREADY_USED", "INVALID_CODE"].contains(&&*reason), "{reason}");
            }
        }
        if let [.., old, _] = &self.keys[..] {
            let again = client.verify(user.redeem(old)).await;
            let status = again.err().unwrap_or_else(|| panic!("{}: a key again", self.id));
            assert_eq!(reason(&status), "INVALID_CODE", "{}", self.id);
        }
        let new = client.verify(user.redeem(key)).await;
        let new = new.unwrap_or_else(|status| panic!("{}: its key: {status}", self.id));
        self.keys.push(new.into_inner().recovery_key);
        self.failures = 0;
    }

    /// How many of the acknowledged changes are gone: those after the key that works.
    pub async fn lost(&self, client: &mut Client) -> usize {
        let mut ages = self.keys.iter().rev().enumerate();
        let mut tried = ages.next();
        while let Some((age, key)) = tried {
            let key = verify_request::Credential::RecoveryKey(key.clone());
            let Err(status) = client.verify(verify_with(&self.id, key)).await else {
                return age;
            };
            match &*reason(&status) {
                "INVALID_CODE" => tried = ages.next(),
                "BACKOFF" => sleep(retry_after(&status).expect("a wait")).await,
                "NOT_ENROLLED" => break,
                other => panic!("{}: {other}", self.id),
            }
        }
        self.keys.len()
    }
}

fn request_id(rng: &mut Rng) -> String {
    format!("{:032x}", rng.u128(..))
}
