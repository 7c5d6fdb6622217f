//! `OperatorService`: what whoever runs Twinlock does to a running server.

mod backup;
mod examine;
mod keys;
mod long_work;
mod reseal;

use super::parse::{Answer, OrRefuse, user, with};
use super::status;
use crate::context::Context;
use long_work::Parts;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status};
use twinlock_proto::v1;
use twinlock_proto::v1::operator_service_server::OperatorService;

/// How many walks over the store may be under way at once.
const WALKS: usize = 4;

/// The service.
#[derive(Clone)]
pub struct Operator {
    context: Context,
    walks: Arc<Semaphore>,
}

impl Operator {
    pub fn new(context: Context) -> Self {
        Self { context, walks: Arc::new(Semaphore::new(WALKS)) }
    }

    fn walk(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.walks.clone().try_acquire_owned().map_err(|_| status::too_much_work())
    }
}

#[tonic::async_trait]
impl OperatorService for Operator {
    async fn erase_user(
        &self,
        request: Request<v1::EraseUserRequest>,
    ) -> Answer<v1::EraseUserResponse> {
        let (call, request) = self.context.call(request)?;
        let call = with(call, &request.request_id, None)?;
        self.context.engine.erase_user(&call, user(&request.user_id)?).await.or_refuse()?;
        Ok(Response::new(v1::EraseUserResponse {}))
    }

    async fn reset_user(
        &self,
        request: Request<v1::ResetUserRequest>,
    ) -> Answer<v1::ResetUserResponse> {
        let (call, request) = self.context.call(request)?;
        let call = with(call, &request.request_id, None)?;
        let user = user(&request.user_id)?;
        self.context.engine.reset_user(&call, user, &request.why).await.or_refuse()?;
        Ok(Response::new(v1::ResetUserResponse {}))
    }

    type BackupStream = Parts<v1::BackupResponse>;

    async fn backup(&self, request: Request<v1::BackupRequest>) -> Answer<Self::BackupStream> {
        Ok(Response::new(backup::stream(&self.context, request, self.walk()?).await?))
    }

    type ResealStream = Parts<v1::ResealResponse>;

    async fn reseal(&self, request: Request<v1::ResealRequest>) -> Answer<Self::ResealStream> {
        Ok(Response::new(reseal::stream(&self.context, request, self.walk()?)?))
    }

    type ListKeysStream = Parts<v1::ListKeysResponse>;

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Answer<Self::ListKeysStream> {
        Ok(Response::new(keys::stream(&self.context, request, self.walk()?)?))
    }

    type ExamineStream = Parts<v1::ExamineResponse>;

    async fn examine(&self, request: Request<v1::ExamineRequest>) -> Answer<Self::ExamineStream> {
        Ok(Response::new(examine::stream(&self.context, request, self.walk()?)?))
    }
}
