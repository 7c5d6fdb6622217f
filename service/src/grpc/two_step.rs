//! `TwoStepService`: parse every field, call the engine, write the answer.

use super::convert;
use super::parse::{Answer, OrRefuse, missing, session, user, with};
use crate::context::Context;
use crate::input;
use std::pin::Pin;
use tonic::{Request, Response};
use twinlock_core::AccountName;
use twinlock_core::recovery::RecoveryKey;
use twinlock_core::totp::TotpCode;
use twinlock_engine::boxed;
use twinlock_engine::engine::Credential;
use twinlock_engine::hash::{Password, PasswordHash};
use twinlock_engine::{LoginRequest, NewPassword, Proof};
use twinlock_proto::v1;
use twinlock_proto::v1::two_step_service_server::TwoStepService;

/// The service.
#[derive(Clone)]
pub struct TwoStep(pub Context);

type Verifying<'f> = Pin<Box<dyn Future<Output = Answer<v1::VerifyResponse>> + Send + 'f>>;

#[tonic::async_trait]
impl TwoStepService for TwoStep {
    async fn enroll(&self, request: Request<v1::EnrollRequest>) -> Answer<v1::EnrollResponse> {
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, request.client)?;
        let user = user(&request.user_id)?;
        let session = session(&request.session_id)?;
        let account = input::optional(&request.account_name, AccountName::parse).or_refuse()?;
        let begun = self.0.engine.enroll(&call, user, &session, account).await.or_refuse()?;
        Ok(Response::new(v1::EnrollResponse {
            secret: begun.secret.to_base32().to_string(),
            otpauth_uri: begun.otpauth_uri.to_string(),
            qr_svg: begun.qr_svg.to_string(),
            expire_time: Some(convert::timestamp(begun.expire_at)),
        }))
    }

    async fn confirm_enrollment(
        &self,
        request: Request<v1::ConfirmEnrollmentRequest>,
    ) -> Answer<v1::ConfirmEnrollmentResponse> {
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, request.client)?;
        let user = user(&request.user_id)?;
        let session = session(&request.session_id)?;
        let code = TotpCode::parse(&request.totp_code).or_refuse()?;
        let confirmed =
            self.0.engine.confirm_enrollment(&call, user, &session, &code).await.or_refuse()?;
        Ok(Response::new(v1::ConfirmEnrollmentResponse {
            recovery_key: confirmed.issued.key.expose().to_string(),
            enroll_time: Some(convert::timestamp(confirmed.enrolled_at)),
            recovery_key_create_time: Some(convert::timestamp(confirmed.issued.created_at)),
        }))
    }

    async fn unenroll(
        &self,
        request: Request<v1::UnenrollRequest>,
    ) -> Answer<v1::UnenrollResponse> {
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, request.client)?;
        let user = user(&request.user_id)?;
        let session = session(&request.session_id)?;
        self.0.engine.unenroll(&call, user, &session).await.or_refuse()?;
        Ok(Response::new(v1::UnenrollResponse {}))
    }

    async fn describe_user(
        &self,
        request: Request<v1::DescribeUserRequest>,
    ) -> Answer<v1::DescribeUserResponse> {
        let (call, request) = self.0.call(request)?;
        let user = user(&request.user_id)?;
        let description = self.0.engine.describe_user(&call, user).await.or_refuse()?;
        Ok(Response::new(convert::description(&description)))
    }

    async fn evaluate_login(
        &self,
        request: Request<v1::EvaluateLoginRequest>,
    ) -> Answer<v1::EvaluateLoginResponse> {
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, request.client)?;
        let user = user(&request.user_id)?;
        let login = LoginRequest {
            channel: convert::channel(request.channel).or_refuse()?,
            authorities: request.authorities,
            resource: request.resource,
        };
        let verdict = self.0.engine.evaluate_login(&call, user, &login).await.or_refuse()?;
        Ok(Response::new(convert::verdict(verdict)))
    }

    // This is what the attribute makes of an `async fn`, but for how it gets into its box.
    fn verify<'s, 'f>(&'s self, request: Request<v1::VerifyRequest>) -> Verifying<'f>
    where
        's: 'f,
    {
        use v1::verify_request::Credential as Given;
        boxed!(async move {
            let (call, request) = self.0.call(request)?;
            let call = with(call, &request.request_id, request.client)?;
            let user = user(&request.user_id)?;
            let session = input::session(&request.session_id).or_refuse()?;
            let credential = match request.credential {
                Some(Given::TotpCode(code)) => {
                    Credential::Totp(TotpCode::parse(&code).or_refuse()?)
                }
                Some(Given::RecoveryKey(key)) => {
                    Credential::RecoveryKey(RecoveryKey::parse(&key).or_refuse()?)
                }
                None => return Err(missing("credential")),
            };
            let session = session.as_ref();
            let proven =
                self.0.engine.verify(&call, user, session, credential).await.or_refuse()?;
            Ok(Response::new(convert::verified(&proven)))
        })
    }

    async fn elevate(&self, request: Request<v1::ElevateRequest>) -> Answer<v1::ElevateResponse> {
        use v1::elevate_request::Credential as Given;
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, request.client)?;
        let user = user(&request.user_id)?;
        let session = session(&request.session_id)?;
        let proof = match request.credential {
            Some(Given::TotpCode(code)) => Proof::Totp(TotpCode::parse(&code).or_refuse()?),
            Some(Given::RecoveryKey(key)) => {
                Proof::RecoveryKey(RecoveryKey::parse(&key).or_refuse()?)
            }
            Some(Given::Password(given)) => {
                let hash = input::optional(&given.password_hash, PasswordHash::parse);
                Proof::Password(Password::parse(given.password).or_refuse()?, hash.or_refuse()?)
            }
            Some(Given::Asserted(given)) => Proof::Asserted(given.how),
            None => return Err(missing("credential")),
        };
        let proven = self.0.engine.elevate(&call, user, &session, proof).await.or_refuse()?;
        Ok(Response::new(convert::elevated(&proven)))
    }

    async fn check_elevation(
        &self,
        request: Request<v1::CheckElevationRequest>,
    ) -> Answer<v1::CheckElevationResponse> {
        let (call, request) = self.0.call(request)?;
        let user = user(&request.user_id)?;
        let session = session(&request.session_id)?;
        let max_age = input::max_age(request.max_age).or_refuse()?;
        let granted =
            self.0.engine.check_elevation(&call, user, &session, max_age).await.or_refuse()?;
        Ok(Response::new(v1::CheckElevationResponse {
            elevation: Some(convert::elevation(granted)),
        }))
    }

    async fn drop_elevation(
        &self,
        request: Request<v1::DropElevationRequest>,
    ) -> Answer<v1::DropElevationResponse> {
        let (call, request) = self.0.call(request)?;
        let user = user(&request.user_id)?;
        let session = input::session_to_drop(&request.session_id, request.all_sessions);
        let session = session.or_refuse()?;
        self.0.engine.drop_elevation(&call, user, session.as_ref()).await.or_refuse()?;
        Ok(Response::new(v1::DropElevationResponse {}))
    }

    async fn rotate_recovery_key(
        &self,
        request: Request<v1::RotateRecoveryKeyRequest>,
    ) -> Answer<v1::RotateRecoveryKeyResponse> {
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, request.client)?;
        let user = user(&request.user_id)?;
        let session = session(&request.session_id)?;
        let issued = self.0.engine.rotate_recovery_key(&call, user, &session).await.or_refuse()?;
        Ok(Response::new(v1::RotateRecoveryKeyResponse {
            recovery_key: issued.key.expose().to_string(),
            recovery_key_create_time: Some(convert::timestamp(issued.created_at)),
        }))
    }

    async fn acknowledge_recovery_key(
        &self,
        request: Request<v1::AcknowledgeRecoveryKeyRequest>,
    ) -> Answer<v1::AcknowledgeRecoveryKeyResponse> {
        let (call, request) = self.0.call(request)?;
        let user = user(&request.user_id)?;
        let created_at = input::key_time(request.recovery_key_create_time).or_refuse()?;
        self.0.engine.acknowledge_recovery_key(&call, user, created_at).await.or_refuse()?;
        Ok(Response::new(v1::AcknowledgeRecoveryKeyResponse {}))
    }

    async fn set_password(
        &self,
        request: Request<v1::SetPasswordRequest>,
    ) -> Answer<v1::SetPasswordResponse> {
        use v1::set_password_request::Verifier as Given;
        let (call, request) = self.0.call(request)?;
        let user = user(&request.user_id)?;
        let password = match request.verifier {
            Some(Given::Password(text)) => NewPassword::Plain(Password::parse(text).or_refuse()?),
            Some(Given::PasswordHash(text)) => {
                NewPassword::Hash(PasswordHash::parse(&text).or_refuse()?)
            }
            None => return Err(missing("verifier")),
        };
        self.0.engine.set_password(&call, user, password).await.or_refuse()?;
        Ok(Response::new(v1::SetPasswordResponse {}))
    }

    async fn clear_password(
        &self,
        request: Request<v1::ClearPasswordRequest>,
    ) -> Answer<v1::ClearPasswordResponse> {
        let (call, request) = self.0.call(request)?;
        let user = user(&request.user_id)?;
        self.0.engine.clear_password(&call, user).await.or_refuse()?;
        Ok(Response::new(v1::ClearPasswordResponse {}))
    }
}
