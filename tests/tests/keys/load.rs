//! Calls that never cease, of which none may fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use twinlock_proto::v1::admin_service_client::AdminServiceClient;
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;
use twinlock_proto::v1::{
    AssertedCredential, CheckElevationRequest, Decision, DescribeUserRequest, ElevateRequest,
    EvaluateLoginRequest, ImportEnrollmentRequest, LoginChannel, PasswordCredential,
    SetPasswordRequest, VerifyRequest, elevate_request, set_password_request, verify_request,
};
use twinlock_tests::{Client, Server};

const PASSWORD: &str = "the right password";
const SESSION: &str = "a session of the load";

/// Takes over this many enrollments, many at a time.
pub async fn import(server: &Server, count: usize) {
    let channel = server.channel().await;
    let mut tasks = JoinSet::new();
    for first in 0..16 {
        let mut client = AdminServiceClient::new(channel.clone());
        tasks.spawn(async move {
            for n in (first..count).step_by(16) {
                let request = ImportEnrollmentRequest {
                    user_id: format!("imported {n}"),
                    issue_recovery_key: n % 2 == 0,
                    ..import_request()
                };
                client.import_enrollment(request).await.expect("an import");
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
}

/// Callers, each of whom calls whichever server it is told to. While there is none, they wait.
pub struct Load {
    address: watch::Sender<Option<String>>,
    stop: watch::Sender<bool>,
    calls: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts callers of one server; those of several loads must have different names.
    pub async fn start(server: &Server, name: &str, imported: usize) -> Self {
        let address = watch::Sender::new(Some(server.address.clone()));
        let stop = watch::Sender::new(false);
        let calls = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for n in 0..4 {
            let user = format!("{name} {n}");
            set_password(&mut server.client().await, &user).await;
            let caller = Caller { user, imported, recovery_key: None, calls: calls.clone() };
            tasks.spawn(caller.run(address.subscribe(), stop.subscribe()));
        }
        let user = format!("{name}, who lost the app");
        let recovery_key = Some(recovery_key(server, &user).await);
        let caller = Caller { user, imported, recovery_key, calls: calls.clone() };
        tasks.spawn(caller.run(address.subscribe(), stop.subscribe()));
        Self { address, stop, calls, tasks }
    }

    /// Tells the callers that the server will be gone: what fails from then on is its end.
    pub fn pause(&self) {
        self.address.send_replace(None);
    }

    /// Tells them where it is again.
    pub fn resume(&self, server: &Server) {
        self.address.send_replace(Some(server.address.clone()));
    }

    /// How many calls have succeeded.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Ends the callers, who panic where a call failed.
    pub async fn end(mut self) -> u64 {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no call failed");
        }
        self.calls()
    }
}

struct Caller {
    user: String,
    imported: usize,
    /// What the caller redeems, over and over: each use issues the next one.
    recovery_key: Option<String>,
    calls: Arc<AtomicU64>,
}

impl Caller {
    async fn run(
        mut self,
        mut address: watch::Receiver<Option<String>>,
        stop: watch::Receiver<bool>,
    ) {
        let mut round = 0;
        let mut is_elevated = false;
        while !*stop.borrow() {
            let at = address.wait_for(Option::is_some).await.expect("the test lives").clone();
            let at = at.expect("an address");
            let mut client = match TwoStepServiceClient::connect(at.clone()).await {
                Ok(client) => client,
                Err(error) => {
                    assert!(is_elsewhere(&address, &at), "cannot connect: {error}");
                    continue;
                }
            };
            while !*stop.borrow() {
                let called = match self.recovery_key.take() {
                    Some(key) => self.redeem(&mut client, round, key).await,
                    None => self.call(&mut client, round, &mut is_elevated).await,
                };
                match called {
                    Ok(()) => {
                        self.calls.fetch_add(1, Ordering::Relaxed);
                        round += 1;
                    }
                    Err(status) => {
                        assert!(is_elsewhere(&address, &at) && was_cut(&status), "{status:?}");
                        break;
                    }
                }
            }
        }
    }

    /// Uses the recovery key up. Where the answer is lost, the same request has it again.
    async fn redeem(
        &mut self,
        client: &mut Client,
        round: usize,
        key: String,
    ) -> Result<(), Status> {
        let request = VerifyRequest {
            user_id: self.user.clone(),
            credential: Some(verify_request::Credential::RecoveryKey(key.clone())),
            request_id: format!("the redemption {round}"),
            ..Default::default()
        };
        self.recovery_key = Some(key);
        let verified = client.verify(request).await?.into_inner();
        assert!(!verified.recovery_key.is_empty(), "the next key");
        self.recovery_key = Some(verified.recovery_key);
        Ok(())
    }

    /// One of several calls, in turn.
    async fn call(
        &self,
        client: &mut Client,
        round: usize,
        is_elevated: &mut bool,
    ) -> Result<(), Status> {
        let user_id = self.user.clone();
        let session_id = SESSION.to_owned();
        let elevate = |credential| ElevateRequest {
            user_id: user_id.clone(),
            session_id: session_id.clone(),
            credential: Some(credential),
            ..Default::default()
        };
        match round % 5 {
            0 => {
                let how = AssertedCredential { how: "load".into() };
                let credential = elevate_request::Credential::Asserted(how);
                client.elevate(elevate(credential)).await?;
                *is_elevated = true;
            }
            1 => {
                let password =
                    PasswordCredential { password: PASSWORD.into(), ..Default::default() };
                let credential = elevate_request::Credential::Password(password);
                client.elevate(elevate(credential)).await?;
            }
            2 => {
                let user_id = format!("imported {}", round % self.imported);
                let request = EvaluateLoginRequest {
                    user_id,
                    channel: LoginChannel::Form as i32,
                    ..Default::default()
                };
                let verdict = client.evaluate_login(request).await?.into_inner();
                assert_eq!(verdict.decision(), Decision::Verify, "an enrolled user");
            }
            3 => {
                let user_id = format!("imported {}", round * 7 % self.imported);
                let described = client.describe_user(DescribeUserRequest { user_id }).await?;
                assert!(described.into_inner().enrolled, "an enrolled user");
            }
            _ if *is_elevated => {
                let request = CheckElevationRequest { user_id, session_id, max_age: None };
                client.check_elevation(request).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether the server has been taken away from the caller, who may learn of it a moment later.
fn is_elsewhere(address: &watch::Receiver<Option<String>>, at: &str) -> bool {
    address.borrow().as_deref() != Some(at)
}

/// Whether the connection broke, rather than the server refusing.
fn was_cut(status: &Status) -> bool {
    let has_no_reason = status.metadata().get("twinlock-reason").is_none();
    has_no_reason && matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
}

async fn recovery_key(server: &Server, user: &str) -> String {
    let request = ImportEnrollmentRequest { user_id: user.into(), ..import_request() };
    let mut client = AdminServiceClient::new(server.channel().await);
    let imported = client.import_enrollment(request).await.expect("an import");
    imported.into_inner().recovery_key
}

fn import_request() -> ImportEnrollmentRequest {
    ImportEnrollmentRequest {
        otpauth_uri: "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ".into(),
        issue_recovery_key: true,
        ..Default::default()
    }
}

async fn set_password(client: &mut Client, user: &str) {
    let verifier = set_password_request::Verifier::Password(PASSWORD.into());
    let request = SetPasswordRequest { user_id: user.into(), verifier: Some(verifier) };
    client.set_password(request).await.expect("a password is set");
}

/// Lets the load go on until so many more calls have succeeded.
pub async fn more_calls(load: &Load, count: u64) {
    let goal = load.calls() + count;
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while load.calls() < goal {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.expect("calls go on");
}
