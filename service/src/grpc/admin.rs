//! `AdminService`: what an administrator of the product does to another user.

use super::convert;
use super::events::{self, Events};
use super::parse::{Answer, OrRefuse, user, with};
use crate::context::Context;
use crate::input;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};
use twinlock_core::otpauth::OtpauthUri;
use twinlock_core::totp::TotpCode;
use twinlock_core::{Malformed, UserId};
use twinlock_engine::events::EventId;
use twinlock_proto::v1;
use twinlock_proto::v1::admin_service_server::AdminService;

/// What tells a watcher that events are no longer kept that came after the one that was named.
const MISSED_EVENTS: &str = "twinlock-missed-events";

/// The service.
#[derive(Clone)]
pub struct Admin(pub Context);

#[tonic::async_trait]
impl AdminService for Admin {
    async fn unenroll_user(
        &self,
        request: Request<v1::UnenrollUserRequest>,
    ) -> Answer<v1::UnenrollUserResponse> {
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, request.client)?;
        let administrator = administrator(&request.admin_user_id)?;
        let code = TotpCode::parse(&request.totp_code).or_refuse()?;
        let user = user(&request.user_id)?;
        self.0.engine.unenroll_user(&call, administrator, code, user).await.or_refuse()?;
        Ok(Response::new(v1::UnenrollUserResponse {}))
    }

    async fn clear_backoff(
        &self,
        request: Request<v1::ClearBackoffRequest>,
    ) -> Answer<v1::ClearBackoffResponse> {
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, request.client)?;
        let administrator = administrator(&request.admin_user_id)?;
        let code = TotpCode::parse(&request.totp_code).or_refuse()?;
        let user = user(&request.user_id)?;
        self.0.engine.clear_backoff(&call, administrator, code, user).await.or_refuse()?;
        Ok(Response::new(v1::ClearBackoffResponse {}))
    }

    async fn import_enrollment(
        &self,
        request: Request<v1::ImportEnrollmentRequest>,
    ) -> Answer<v1::ImportEnrollmentResponse> {
        let (call, request) = self.0.call(request)?;
        let call = with(call, &request.request_id, None)?;
        let user = user(&request.user_id)?;
        let uri = OtpauthUri::parse(&request.otpauth_uri).or_refuse()?;
        let asked = request.issue_recovery_key;
        let issued = self.0.engine.import_enrollment(&call, user, &uri, asked).await.or_refuse()?;
        let (recovery_key, recovery_key_create_time) = convert::issued(issued.as_ref());
        Ok(Response::new(v1::ImportEnrollmentResponse { recovery_key, recovery_key_create_time }))
    }

    type WatchEventsStream = Events;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let revoked = self.0.revoked(&request);
        let (call, request) = self.0.call(request)?;
        let after = input::optional(&request.after_event_id, EventId::parse).or_refuse()?;
        let watch = self.0.engine.watch_events(&call, after).await.or_refuse()?;
        let is_complete = watch.is_complete();
        let mut answer = Response::new(events::stream(watch, revoked));
        if !is_complete {
            answer.metadata_mut().insert(MISSED_EVENTS, MetadataValue::from_static("true"));
        }
        Ok(answer)
    }
}

fn administrator(text: &str) -> Result<UserId, Status> {
    UserId::parse(text)
        .map_err(|malformed| Malformed { field: "admin_user_id", ..malformed })
        .or_refuse()
}
