//! `OperatorService`: what whoever runs Twinlock does to a running server.

use super::Context;
use super::parse::{Answer, OrRefuse, user, with};
use tokio_stream::Empty;
use tonic::{Request, Response, Status};
use twinlock_proto::v1;
use twinlock_proto::v1::operator_service_server::OperatorService;

/// The service.
#[derive(Clone)]
pub struct Operator(pub Context);

#[tonic::async_trait]
impl OperatorService for Operator {
    async fn erase_user(
        &self,
        request: Request<v1::EraseUserRequest>,
    ) -> Answer<v1::EraseUserResponse> {
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, None)?;
        self.0.engine.erase_user(&call, user(&request.user_id)?).await.or_refuse()?;
        Ok(Response::new(v1::EraseUserResponse {}))
    }

    async fn reset_user(
        &self,
        request: Request<v1::ResetUserRequest>,
    ) -> Answer<v1::ResetUserResponse> {
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, None)?;
        let user = user(&request.user_id)?;
        self.0.engine.reset_user(&call, user, &request.why).await.or_refuse()?;
        Ok(Response::new(v1::ResetUserResponse {}))
    }

    type BackupStream = Empty<Result<v1::BackupResponse, Status>>;

    async fn backup(&self, _: Request<v1::BackupRequest>) -> Answer<Self::BackupStream> {
        Err(not_yet("Copy the store while the server is stopped."))
    }

    type ResealStream = Empty<Result<v1::ResealResponse, Status>>;

    async fn reseal(&self, _: Request<v1::ResealRequest>) -> Answer<Self::ResealStream> {
        Err(not_yet("Keep the older keys in the keyring."))
    }

    type ExamineStream = Empty<Result<v1::ExamineResponse, Status>>;

    async fn examine(&self, _: Request<v1::ExamineRequest>) -> Answer<Self::ExamineStream> {
        Err(not_yet("Run `twinlock doctor` where the store is."))
    }
}

fn not_yet(meanwhile: &str) -> Status {
    Status::unimplemented(format!("This release does not have the call. {meanwhile}"))
}
