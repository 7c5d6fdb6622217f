//! A user with an authenticator, as a test plays them.

use crate::{code, wrong_code};
use tonic::Status;
use tonic::transport::Channel;
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;
use twinlock_proto::v1::{
    AssertedCredential, ConfirmEnrollmentRequest, ConfirmEnrollmentResponse, DescribeUserRequest,
    DescribeUserResponse, ElevateRequest, EnrollRequest, VerifyRequest, elevate_request,
    verify_request,
};

/// A client of the generated code.
pub type Client = TwoStepServiceClient<Channel>;

/// A user who is enrolled.
#[derive(Clone)]
pub struct User {
    /// The user's id.
    pub id: String,
    /// The secret in the app.
    pub secret: String,
    /// The recovery key that the enrollment brought.
    pub recovery_key: String,
}

impl User {
    /// Enrolls a user, with the code of the step before this one: those of this step and of the next
    /// are still to be used.
    pub async fn enroll(client: &mut Client, id: &str) -> Self {
        Self::try_enroll(client, id).await.expect("an enrollment")
    }

    /// The same where the server may fail.
    pub async fn try_enroll(client: &mut Client, id: &str) -> Result<Self, Status> {
        elevate_by_word(client, id, "the session that enrolls").await?;
        let enrollment = client
            .enroll(EnrollRequest {
                user_id: id.into(),
                session_id: "the session that enrolls".into(),
                ..Default::default()
            })
            .await?
            .into_inner();
        let secret = enrollment.secret.clone();
        let mut offset = -1;
        let confirmed: ConfirmEnrollmentResponse = loop {
            let request = ConfirmEnrollmentRequest {
                user_id: id.into(),
                session_id: "the session that enrolls".into(),
                totp_code: code(&secret, offset),
                ..Default::default()
            };
            match client.confirm_enrollment(request).await {
                // The step changed in between, and the code of the one before is too old by now.
                Err(status) if offset < 0 && crate::reason(&status) == "INVALID_CODE" => offset = 0,
                answer => break answer?.into_inner(),
            }
        };
        Ok(Self { id: id.into(), secret, recovery_key: confirmed.recovery_key.clone() })
    }

    /// The code that the app shows, `offset` steps from now.
    pub fn code(&self, offset: i64) -> String {
        code(&self.secret, offset)
    }

    /// A code that the app does not show.
    pub fn wrong_code(&self) -> String {
        wrong_code(&self.secret)
    }

    /// What is told of the user.
    pub async fn describe(&self, client: &mut Client) -> DescribeUserResponse {
        let request = DescribeUserRequest { user_id: self.id.clone() };
        client.describe_user(request).await.expect("a description").into_inner()
    }

    /// How many failures with codes and keys are counted.
    pub async fn failures(&self, client: &mut Client) -> u32 {
        self.describe(client).await.second_factor_backoff.expect("a counter").failures
    }

    /// A request to verify a code.
    pub fn verify(&self, code: impl Into<String>) -> VerifyRequest {
        verify_with(&self.id, verify_request::Credential::TotpCode(code.into()))
    }

    /// A request to verify a recovery key.
    pub fn redeem(&self, key: impl Into<String>) -> VerifyRequest {
        verify_with(&self.id, verify_request::Credential::RecoveryKey(key.into()))
    }

    /// A request to elevate a session by a code.
    pub fn elevate(&self, session: &str, code: impl Into<String>) -> ElevateRequest {
        ElevateRequest {
            user_id: self.id.clone(),
            session_id: session.into(),
            credential: Some(elevate_request::Credential::TotpCode(code.into())),
            ..Default::default()
        }
    }
}

/// A request to verify something.
pub fn verify_with(user: &str, credential: verify_request::Credential) -> VerifyRequest {
    VerifyRequest { user_id: user.into(), credential: Some(credential), ..Default::default() }
}

/// Elevates a session of a user who is not enrolled, on the product's word.
async fn elevate_by_word(client: &mut Client, user: &str, session: &str) -> Result<(), Status> {
    let how = AssertedCredential { how: "test".into() };
    let request = ElevateRequest {
        user_id: user.into(),
        session_id: session.into(),
        credential: Some(elevate_request::Credential::Asserted(how)),
        ..Default::default()
    };
    client.elevate(request).await.map(|_| ())
}
