//! A server that answers from a script and remembers what it was asked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};
use twinlock_client::proto::two_step_service_server::{TwoStepService, TwoStepServiceServer};
use twinlock_client::proto::*;
use twinlock_client::{Client, Options};

/// What the server does with the next call.
pub enum Step {
    Refuse(Status),
    Hang,
}

/// A call as it arrived.
#[derive(Clone)]
pub struct Call {
    pub metadata: MetadataMap,
    pub request_id: String,
}

/// Handles every call by the script, and succeeds with an empty answer when that has run out.
#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    steps: VecDeque<Step>,
    calls: Vec<Call>,
}

impl Script {
    pub fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        let script = Self::default();
        script.state().steps.extend(steps);
        script
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TwoStepServiceServer::new(self.clone());
        let incoming = TcpListenerStream::new(listener);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        address
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn answer<Question, Answer: Default>(
        &self,
        request: Request<Question>,
        request_id: impl FnOnce(Question) -> String,
    ) -> Result<Response<Answer>, Status> {
        let metadata = request.metadata().clone();
        let step = {
            let mut state = self.state();
            let request_id = request_id(request.into_inner());
            state.calls.push(Call { metadata, request_id });
            state.steps.pop_front()
        };
        match step {
            None => Ok(Response::new(Answer::default())),
            Some(Step::Refuse(status)) => Err(status),
            Some(Step::Hang) => std::future::pending().await,
        }
    }
}

/// A refusal as Twinlock's server makes it.
pub fn refusal(code: Code, reason: &str, retry_after: Option<Duration>) -> Step {
    let mut details = ErrorDetails::with_error_info(reason, "twinlock", []);
    if let Some(delay) = retry_after {
        details.set_retry_info(Some(delay));
    }
    Step::Refuse(Status::with_error_details(code, "A sentence.", details))
}

pub fn client(address: impl std::fmt::Display, timeout: Duration) -> Client {
    let token = Some("s3cret".into());
    let options = Options { address: address.to_string(), token, timeout, ..Options::default() };
    Client::connect_lazy(&options).unwrap()
}

macro_rules! scripted {
    ($($method:ident($question:ty) -> $answer:ty, $request_id:expr;)*) => {
        #[tonic::async_trait]
        impl TwoStepService for Script {
            $(async fn $method(
                &self,
                request: Request<$question>,
            ) -> Result<Response<$answer>, Status> {
                self.answer(request, $request_id).await
            })*
        }
    };
}

fn none<Question>(_: Question) -> String {
    String::new()
}

scripted! {
    enroll(EnrollRequest) -> EnrollResponse, |request| request.request_id;
    confirm_enrollment(ConfirmEnrollmentRequest) -> ConfirmEnrollmentResponse, |request| request.request_id;
    unenroll(UnenrollRequest) -> UnenrollResponse, |request| request.request_id;
    describe_user(DescribeUserRequest) -> DescribeUserResponse, none;
    evaluate_login(EvaluateLoginRequest) -> EvaluateLoginResponse, |request| request.request_id;
    verify(VerifyRequest) -> VerifyResponse, |request| request.request_id;
    elevate(ElevateRequest) -> ElevateResponse, |request| request.request_id;
    check_elevation(CheckElevationRequest) -> CheckElevationResponse, none;
    drop_elevation(DropElevationRequest) -> DropElevationResponse, none;
    rotate_recovery_key(RotateRecoveryKeyRequest) -> RotateRecoveryKeyResponse, |request| request.request_id;
    acknowledge_recovery_key(AcknowledgeRecoveryKeyRequest) -> AcknowledgeRecoveryKeyResponse, none;
    set_password(SetPasswordRequest) -> SetPasswordResponse, none;
    clear_password(ClearPasswordRequest) -> ClearPasswordResponse, none;
}
