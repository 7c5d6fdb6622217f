//! `twinlock smoke-test`.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::sleep;
use twinlock_client::proto::{
    ConfirmEnrollmentRequest, Decision, DescribeUserRequest, ElevateRequest, EnrollRequest,
    EraseUserRequest, EvaluateLoginRequest, LoginChannel, PasswordCredential, SetPasswordRequest,
    UnenrollRequest, VerifyRequest, elevate_request, set_password_request, verify_request,
};
use twinlock_client::{Client, Error, Reason};
use twinlock_core::otpauth::OtpauthUri;
use twinlock_core::totp::{self, Step};
use twinlock_engine::{clock, entropy};

use super::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use super::{Console, Failure, fresh_session_id};

/// Less of a step than this may be over before the server looks at its code.
const CALM: Duration = Duration::from_secs(2);

/// Let a made-up user live through a whole life, to see that a server works.
///
/// The user enrolls, logs in with a code, sees the same code refused, proves identity with the recovery key
/// and unenrolls. Needs the role product. With operator too, the user is erased afterwards; without, a record
/// of nobody stays behind. It takes a moment, or one period of a code where the server has no window.
#[derive(Debug, Args)]
pub struct SmokeTestArguments {
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

pub(super) async fn smoke_test(
    arguments: SmokeTestArguments,
    console: &Console,
) -> Result<(), Failure> {
    let client = arguments.connection.client(DEFAULT_TIMEOUT)?;
    let random = data_encoding::HEXLOWER.encode(&entropy::bytes::<8>());
    let life = Life {
        client: &client,
        console,
        user_id: format!("smoke-test-{random}"),
        session_id: fresh_session_id(),
    };
    let outcome = life.live().await;
    let user_id = life.user_id;
    let erased =
        client.erase_user(EraseUserRequest { user_id: user_id.clone(), ..Default::default() });
    let erased = erased.await.is_ok();
    if !erased {
        console.note(&format!("A record of {user_id} stays: only an operator may erase it."))?;
    }
    outcome?;
    console.emit(&json!({ "user_id": user_id, "passed": true, "erased": erased }))?;
    console.say("Passed.")
}

struct Life<'a> {
    client: &'a Client,
    console: &'a Console,
    user_id: String,
    session_id: String,
}

impl Life<'_> {
    async fn live(&self) -> Result<(), Failure> {
        let (user_id, session_id) = (&self.user_id, &self.session_id);
        // A password works whether or not the server takes a product's word.
        let password = fresh_session_id();
        self.client
            .set_password(SetPasswordRequest {
                user_id: user_id.clone(),
                verifier: Some(set_password_request::Verifier::Password(password.clone())),
            })
            .await?;
        let password = PasswordCredential { password, ..Default::default() };
        self.elevate(elevate_request::Credential::Password(password)).await?;
        let enrollment = self
            .client
            .enroll(EnrollRequest {
                user_id: user_id.clone(),
                session_id: session_id.clone(),
                ..Default::default()
            })
            .await?;
        let app = OtpauthUri::parse(&enrollment.otpauth_uri)
            .map_err(|error| Failure::Broken(format!("The enrollment's URI {}.", error.problem)))?;
        let confirmed = calm_step(&app).await;
        let confirmation = self
            .client
            .confirm_enrollment(ConfirmEnrollmentRequest {
                user_id: user_id.clone(),
                session_id: session_id.clone(),
                totp_code: code(&app, confirmed),
                ..Default::default()
            })
            .await?;
        self.console.say(&format!("Enrolled {user_id}."))?;

        let login = self
            .client
            .evaluate_login(EvaluateLoginRequest {
                user_id: user_id.clone(),
                channel: LoginChannel::Form.into(),
                ..Default::default()
            })
            .await?;
        let is_asked = login.decision() == Decision::Verify;
        expect(is_asked || login.reason == "LEGACY_LOGIN", "The login asks for no code")?;
        let next = Step(confirmed.0.saturating_add(1));
        self.verify_next(&app, next).await?;
        self.console.say("Verified a code.")?;

        let key = elevate_request::Credential::RecoveryKey(confirmation.recovery_key);
        self.elevate(key).await?;
        self.console.say("Verified the recovery key.")?;
        let again = self.verify(&app, next).await;
        let is_refused = again.is_err_and(|error| error.reason == Reason::CodeAlreadyUsed);
        expect(is_refused, "A used code is not refused as used")?;

        let request = UnenrollRequest {
            user_id: user_id.clone(),
            session_id: session_id.clone(),
            ..Default::default()
        };
        self.client.unenroll(request).await?;
        let user = self.client.describe_user(DescribeUserRequest { user_id: user_id.clone() });
        expect(!user.await?.enrolled, "The user is enrolled still")?;
        self.console.say("Unenrolled.")
    }

    async fn elevate(&self, credential: elevate_request::Credential) -> Result<(), Error> {
        let request = ElevateRequest {
            user_id: self.user_id.clone(),
            session_id: self.session_id.clone(),
            credential: Some(credential),
            ..Default::default()
        };
        self.client.elevate(request).await.map(|_| ())
    }

    /// Presents a code at once, as an app does whose clock is a little ahead; where there is no window for
    /// that, in its time.
    async fn verify_next(&self, app: &OtpauthUri, step: Step) -> Result<(), Error> {
        let Err(early) = self.verify(app, step).await else { return Ok(()) };
        if early.reason != Reason::InvalidCode {
            return Err(early);
        }
        let backoff = async {
            let user = DescribeUserRequest { user_id: self.user_id.clone() };
            let user = self.client.describe_user(user).await.ok()?;
            let until = user.second_factor_backoff?.blocked_until?;
            u64::try_from(until.seconds).ok()?.checked_add(1)
        };
        let begins = step.0.saturating_mul(app.parameters.period.as_secs().into());
        let begins = begins.max(backoff.await.unwrap_or(0)).saturating_mul(1000);
        sleep(Duration::from_millis(begins.saturating_sub(clock::system()().as_millis()))).await;
        self.verify(app, step).await
    }

    async fn verify(&self, app: &OtpauthUri, step: Step) -> Result<(), Error> {
        let request = VerifyRequest {
            user_id: self.user_id.clone(),
            credential: Some(verify_request::Credential::TotpCode(code(app, step))),
            ..Default::default()
        };
        self.client.verify(request).await.map(|_| ())
    }
}

/// The present step, with enough of it left.
async fn calm_step(app: &OtpauthUri) -> Step {
    let period = app.parameters.period;
    let now = clock::system();
    let left = period.until_next_step(now());
    if left < CALM {
        sleep(left).await;
    }
    period.step(now())
}

fn code(app: &OtpauthUri, step: Step) -> String {
    totp::generate(&app.secret, &app.parameters, step).expose().to_string()
}

fn expect(holds: bool, otherwise: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::Broken(format!("{otherwise}."))) }
}
