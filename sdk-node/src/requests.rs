//! The requests, from JavaScript to protobuf. What is left out has protobuf's default.

use napi_derive::napi;
use twinlock_client::Error;
use twinlock_client::proto::{self, elevate_request, set_password_request, verify_request};

use crate::time::{milliseconds, timestamp};

#[napi(object, object_to_js = false)]
pub struct ClientContext {
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
}

impl From<ClientContext> for proto::ClientContext {
    fn from(context: ClientContext) -> Self {
        Self {
            ip_address: context.ip_address.unwrap_or_default(),
            user_agent: context.user_agent.unwrap_or_default(),
        }
    }
}

/// The requests whose fields are those of the API, one by one. `client` says that they have that, too.
macro_rules! requests {
    ($($name:ident { $($field:ident: $type:ty),* $(; $client:ident)? })*) => {$(
        #[napi(object, object_to_js = false)]
        pub struct $name {
            $(pub $field: Option<$type>,)*
            $(pub $client: Option<ClientContext>,)?
        }

        impl TryFrom<$name> for proto::$name {
            type Error = Error;

            fn try_from(request: $name) -> Result<Self, Error> {
                Ok(Self {
                    $($field: request.$field.unwrap_or_default(),)*
                    $($client: request.$client.map(Into::into),)?
                })
            }
        }
    )*};
}

requests! {
    EnrollRequest {
        user_id: String, session_id: String, account_name: String, request_id: String; client
    }
    ConfirmEnrollmentRequest {
        user_id: String, session_id: String, totp_code: String, request_id: String; client
    }
    UnenrollRequest { user_id: String, session_id: String, request_id: String; client }
    DescribeUserRequest { user_id: String }
    DropElevationRequest { user_id: String, session_id: String, all_sessions: bool }
    RotateRecoveryKeyRequest { user_id: String, session_id: String, request_id: String; client }
    ClearPasswordRequest { user_id: String }
    UnenrollUserRequest {
        admin_user_id: String, totp_code: String, user_id: String, request_id: String; client
    }
    ClearBackoffRequest {
        admin_user_id: String, totp_code: String, user_id: String, request_id: String; client
    }
    ImportEnrollmentRequest {
        user_id: String, otpauth_uri: String, request_id: String, issue_recovery_key: bool
    }
    WatchEventsRequest { after_event_id: String }
    EraseUserRequest { user_id: String, request_id: String }
    ResetUserRequest { user_id: String, why: String, request_id: String }
}

#[napi(object, object_to_js = false)]
pub struct VerifyRequest {
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    pub totp_code: Option<String>,
    pub recovery_key: Option<String>,
    pub request_id: Option<String>,
    pub client: Option<ClientContext>,
}

impl TryFrom<VerifyRequest> for proto::VerifyRequest {
    type Error = Error;

    fn try_from(request: VerifyRequest) -> Result<Self, Error> {
        use verify_request::Credential::{RecoveryKey, TotpCode};
        let given = [request.totp_code.map(TotpCode), request.recovery_key.map(RecoveryKey)];
        Ok(Self {
            user_id: request.user_id.unwrap_or_default(),
            session_id: request.session_id.unwrap_or_default(),
            credential: one("credential", given)?,
            request_id: request.request_id.unwrap_or_default(),
            client: request.client.map(Into::into),
        })
    }
}

#[napi(object, object_to_js = false)]
pub struct ElevateRequest {
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    pub totp_code: Option<String>,
    pub recovery_key: Option<String>,
    pub password: Option<String>,
    pub password_hash: Option<String>,
    /// How the product proved the identity itself.
    pub asserted: Option<String>,
    pub request_id: Option<String>,
    pub client: Option<ClientContext>,
}

impl TryFrom<ElevateRequest> for proto::ElevateRequest {
    type Error = Error;

    fn try_from(request: ElevateRequest) -> Result<Self, Error> {
        use elevate_request::Credential::{Asserted, Password, RecoveryKey, TotpCode};
        let password = request.password.is_some() || request.password_hash.is_some();
        let password = password.then(|| proto::PasswordCredential {
            password: request.password.unwrap_or_default(),
            password_hash: request.password_hash.unwrap_or_default(),
        });
        let asserted = request.asserted.map(|how| proto::AssertedCredential { how });
        let given = [
            request.totp_code.map(TotpCode),
            request.recovery_key.map(RecoveryKey),
            password.map(Password),
            asserted.map(Asserted),
        ];
        Ok(Self {
            user_id: request.user_id.unwrap_or_default(),
            session_id: request.session_id.unwrap_or_default(),
            credential: one("credential", given)?,
            request_id: request.request_id.unwrap_or_default(),
            client: request.client.map(Into::into),
        })
    }
}

#[napi(object, object_to_js = false)]
pub struct SetPasswordRequest {
    pub user_id: Option<String>,
    pub password: Option<String>,
    pub password_hash: Option<String>,
}

impl TryFrom<SetPasswordRequest> for proto::SetPasswordRequest {
    type Error = Error;

    fn try_from(request: SetPasswordRequest) -> Result<Self, Error> {
        use set_password_request::Verifier::{Password, PasswordHash};
        let given = [request.password.map(Password), request.password_hash.map(PasswordHash)];
        Ok(Self { user_id: request.user_id.unwrap_or_default(), verifier: one("verifier", given)? })
    }
}

#[napi(object, object_to_js = false)]
pub struct EvaluateLoginRequest {
    pub user_id: Option<String>,
    pub authorities: Option<Vec<String>>,
    pub channel: Option<String>,
    pub resource: Option<String>,
    pub request_id: Option<String>,
    pub client: Option<ClientContext>,
}

impl TryFrom<EvaluateLoginRequest> for proto::EvaluateLoginRequest {
    type Error = Error;

    fn try_from(request: EvaluateLoginRequest) -> Result<Self, Error> {
        let channel = request.channel.map(|name| {
            let found = proto::LoginChannel::from_str_name(&format!("LOGIN_CHANNEL_{name}"));
            let message =
                "channel must be FORM, BASIC or RECOVERY_ADMIN. Correct it and call again.";
            found.ok_or_else(|| Error::invalid("channel", message.to_owned()))
        });
        Ok(Self {
            user_id: request.user_id.unwrap_or_default(),
            authorities: request.authorities.unwrap_or_default(),
            channel: channel.transpose()?.unwrap_or_default().into(),
            resource: request.resource.unwrap_or_default(),
            request_id: request.request_id.unwrap_or_default(),
            client: request.client.map(Into::into),
        })
    }
}

#[napi(object, object_to_js = false)]
pub struct CheckElevationRequest {
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    pub max_age_ms: Option<f64>,
}

impl TryFrom<CheckElevationRequest> for proto::CheckElevationRequest {
    type Error = Error;

    fn try_from(request: CheckElevationRequest) -> Result<Self, Error> {
        let max_age = request.max_age_ms.map(|age| milliseconds("max_age", age)).transpose()?;
        Ok(Self {
            user_id: request.user_id.unwrap_or_default(),
            session_id: request.session_id.unwrap_or_default(),
            max_age: max_age.and_then(|age| age.try_into().ok()),
        })
    }
}

#[napi(object, object_to_js = false)]
pub struct AcknowledgeRecoveryKeyRequest {
    pub user_id: Option<String>,
    pub recovery_key_create_time: Option<f64>,
}

impl TryFrom<AcknowledgeRecoveryKeyRequest> for proto::AcknowledgeRecoveryKeyRequest {
    type Error = Error;

    fn try_from(request: AcknowledgeRecoveryKeyRequest) -> Result<Self, Error> {
        Ok(Self {
            user_id: request.user_id.unwrap_or_default(),
            recovery_key_create_time: request.recovery_key_create_time.map(timestamp),
        })
    }
}

#[napi(object, object_to_js = false)]
pub struct CheckHealthRequest {
    pub service: Option<String>,
}

/// The one that is given of those that exclude each other, if any.
fn one<T, const N: usize>(name: &str, given: [Option<T>; N]) -> Result<Option<T>, Error> {
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (first, None) => Ok(first),
        _ => {
            let message = format!("More than one {name} is given. Give exactly one of them.");
            Err(Error::invalid(name, message))
        }
    }
}
