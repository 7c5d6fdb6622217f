//! The client itself.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use twinlock_proto::v1::admin_service_client::AdminServiceClient;
use twinlock_proto::v1::operator_service_client::OperatorServiceClient;
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;
use twinlock_proto::v1::*;

use crate::{Error, Options, Stream, address, random, retry};

const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A client of one server. Cheap to clone; clones share one connection, which is made when it is
/// first needed and again after it broke off.
///
/// Reads, and calls with a request id, are repeated within their deadline where no verdict was
/// reached: at most twice, with a growing pause. A request that has a `request_id` and leaves it
/// empty gets a random one, so that a lost answer is asked for again and costs nobody a key. Calls
/// without one are never repeated.
///
/// Every method fails with an [`Error`] whose reason is one of the API's error table, or
/// `UNAVAILABLE` or `DEADLINE_EXCEEDED` where no answer came.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    address: Arc<str>,
    authorization: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Client {
    /// Prepares a client without connecting. It must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// `INVALID_REQUEST` where an option is not of its form, the address for instance.
    pub fn connect_lazy(options: &Options) -> Result<Self, Error> {
        let timeout = options.timeout.min(LONGEST_TIMEOUT);
        let endpoint = address::endpoint(options)?
            .connect_timeout(timeout)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .http2_keep_alive_interval(Duration::from_secs(30));
        Ok(Self {
            channel: endpoint.connect_lazy(),
            address: options.address.as_str().into(),
            authorization: options.token.as_deref().map(authorization).transpose()?,
            timeout,
        })
    }

    /// The same client with another deadline for each call, at most one day.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { timeout: timeout.min(LONGEST_TIMEOUT), ..self.clone() }
    }

    /// The address of the server, as it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the server says that a service can be used now: `""` for all of it, or
    /// `twinlock.v1.TwoStepService` for instance (gRPC health checking, `grpc.health.v1`).
    ///
    /// # Errors
    ///
    /// `NOT_FOUND` for a service that the server does not have, or that the server cannot be
    /// reached. It is asked once.
    pub async fn check_health(&self, service: &str) -> Result<bool, Error> {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer: HealthCheckResponse = self
            .call(request, false, |channel, request| async move {
                HealthClient::new(channel).check(request).await
            })
            .await?;
        Ok(answer.status() == ServingStatus::Serving)
    }

    async fn call<Question, Answer, Try>(
        &self,
        question: Question,
        repeatable: bool,
        send: impl Fn(Channel, Request<Question>) -> Try,
    ) -> Result<Answer, Error>
    where
        Question: Clone,
        Try: Future<Output = Result<Response<Answer>, Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        let mut tries = 0;
        loop {
            tries += 1;
            let remaining = deadline.saturating_duration_since(Instant::now());
            let mut request = self.request(question.clone());
            request.set_timeout(remaining);
            let error = match timeout_at(deadline, send(self.channel.clone(), request)).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => Error::from_status(&status, &self.address),
                Err(_) => return Err(Error::late(&self.address)),
            };
            let remaining = deadline.saturating_duration_since(Instant::now());
            let pause = retry::pause(&error, tries, remaining, random::fraction());
            match pause.filter(|_| repeatable) {
                Some(pause) => sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    async fn open<Question, Part, Try>(
        &self,
        question: Question,
        send: impl FnOnce(Channel, Request<Question>) -> Try,
    ) -> Result<Stream<Part>, Error>
    where
        Try: Future<Output = Result<Response<tonic::Streaming<Part>>, Status>>,
    {
        let opening = send(self.channel.clone(), self.request(question));
        match timeout_at(Instant::now() + self.timeout, opening).await {
            Ok(Ok(parts)) => Ok(Stream::new(parts, self.address.clone())),
            Ok(Err(status)) => Err(Error::from_status(&status, &self.address)),
            Err(_) => Err(Error::late(&self.address)),
        }
    }

    fn request<Question>(&self, question: Question) -> Request<Question> {
        let mut request = Request::new(question);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }
}

fn authorization(token: &str) -> Result<MetadataValue<Ascii>, Error> {
    // A blank at either end would be lost on the way, and with it the caller.
    let printable = !token.is_empty()
        && token.trim() == token
        && token.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let value = format!("Bearer {token}").parse::<MetadataValue<Ascii>>();
    match value {
        Ok(mut value) if printable => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(Error::invalid(
            "token",
            "The token must be printable ASCII characters without blanks at its ends.".into(),
        )),
    }
}

/// One method for each call. `read` and `identified` calls may be repeated; `identified` ones get
/// a request id where they have none; `once` ones are sent once; `stream` ones answer in parts.
macro_rules! calls {
    ($service:ident: $($(#[$doc:meta])* $kind:ident $method:ident($question:ty) -> $answer:ty;)*) => {
        impl Client {
            $(calls!(@method $service, [$(#[$doc])*] $kind $method($question) -> $answer);)*
        }
    };
    (@method $service:ident, [$($doc:tt)*] stream $method:ident($question:ty) -> $answer:ty) => {
        $($doc)*
        pub async fn $method(&self, request: $question) -> Result<Stream<$answer>, Error> {
            self.open(request, |channel, request| async move {
                $service::new(channel).$method(request).await
            })
            .await
        }
    };
    (@method $service:ident, [$($doc:tt)*] identified $method:ident($question:ty) -> $answer:ty) => {
        $($doc)*
        pub async fn $method(&self, mut request: $question) -> Result<$answer, Error> {
            if request.request_id.is_empty() {
                request.request_id = random::request_id()?;
            }
            calls!(@unary self, $service, $method, request, true)
        }
    };
    (@method $service:ident, [$($doc:tt)*] read $method:ident($question:ty) -> $answer:ty) => {
        $($doc)*
        pub async fn $method(&self, request: $question) -> Result<$answer, Error> {
            calls!(@unary self, $service, $method, request, true)
        }
    };
    (@method $service:ident, [$($doc:tt)*] once $method:ident($question:ty) -> $answer:ty) => {
        $($doc)*
        pub async fn $method(&self, request: $question) -> Result<$answer, Error> {
            calls!(@unary self, $service, $method, request, false)
        }
    };
    (@unary $self:ident, $service:ident, $method:ident, $request:ident, $repeatable:literal) => {
        $self
            .call($request, $repeatable, |channel, request| async move {
                $service::new(channel).$method(request).await
            })
            .await
    };
}

calls! { TwoStepServiceClient:
    /// Starts an enrollment: makes a new secret that stays pending until it is confirmed.
    identified enroll(EnrollRequest) -> EnrollResponse;
    /// Proves that the authenticator app holds the pending secret, and makes it the active one.
    identified confirm_enrollment(ConfirmEnrollmentRequest) -> ConfirmEnrollmentResponse;
    /// Turns two-step verification off for a user who holds an elevated session.
    identified unenroll(UnenrollRequest) -> UnenrollResponse;
    /// Says what is known of a user. Somebody unknown is an empty answer.
    read describe_user(DescribeUserRequest) -> DescribeUserResponse;
    /// Decides what a login that has passed its first step still owes.
    identified evaluate_login(EvaluateLoginRequest) -> EvaluateLoginResponse;
    /// Checks the second step of a login.
    identified verify(VerifyRequest) -> VerifyResponse;
    /// Proves identity again, so that one session may do sensitive things for a while.
    identified elevate(ElevateRequest) -> ElevateResponse;
    /// Says whether a session is elevated now; `ELEVATION_REQUIRED` where it is not.
    read check_elevation(CheckElevationRequest) -> CheckElevationResponse;
    /// Ends a session's elevation, at logout for instance.
    once drop_elevation(DropElevationRequest) -> DropElevationResponse;
    /// Replaces the recovery key; needs an elevated session.
    identified rotate_recovery_key(RotateRecoveryKeyRequest) -> RotateRecoveryKeyResponse;
    /// Records that the user has said that the current recovery key is stored safely.
    once acknowledge_recovery_key(AcknowledgeRecoveryKeyRequest) -> AcknowledgeRecoveryKeyResponse;
    /// Stores the password verifier with which a user can elevate before enrollment.
    once set_password(SetPasswordRequest) -> SetPasswordResponse;
    /// Removes it.
    once clear_password(ClearPasswordRequest) -> ClearPasswordResponse;
}

calls! { AdminServiceClient:
    /// Turns two-step verification off for another user, with the administrator's own code.
    identified unenroll_user(UnenrollUserRequest) -> UnenrollUserResponse;
    /// Ends a user's waiting time; needs the same proof.
    identified clear_backoff(ClearBackoffRequest) -> ClearBackoffResponse;
    /// Takes over an authenticator that another system enrolled.
    identified import_enrollment(ImportEnrollmentRequest) -> ImportEnrollmentResponse;
    /// What happens, as it happens.
    stream watch_events(WatchEventsRequest) -> WatchEventsResponse;
}

calls! { OperatorServiceClient:
    /// Streams a backup of the store: consistent, authenticated, still sealed.
    stream backup(BackupRequest) -> BackupResponse;
    /// Reseals every record under the primary key, and says how far it is.
    stream reseal(ResealRequest) -> ResealResponse;
    /// Says of every key what it is for and, in the last part, what needs it.
    stream list_keys(ListKeysRequest) -> ListKeysResponse;
    /// Opens every record and every marker, and says what is wrong.
    stream examine(ExamineRequest) -> ExamineResponse;
    /// Forgets a user whom the product has deleted.
    identified erase_user(EraseUserRequest) -> EraseUserResponse;
    /// Unenrolls a user without an administrator's proof.
    identified reset_user(ResetUserRequest) -> ResetUserResponse;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    #[test]
    fn a_token_is_sent_as_a_sensitive_bearer() {
        let value = authorization("s3cret").unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer s3cret");
        assert!(!format!("{value:?}").contains("s3cret"));
    }

    #[test]
    fn a_token_that_is_not_one_is_refused_and_not_repeated() {
        for token in ["", " tok3n", "tok3n ", "line\nend", "umläut"] {
            let error = authorization(token).unwrap_err();
            assert_eq!(error.reason, Reason::InvalidRequest);
            assert!(token.is_empty() || !error.message.contains(token));
        }
        assert!(authorization("two words").is_ok(), "servers take any text for a token");
    }
}
