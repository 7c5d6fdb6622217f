//! What all services share: fields that every request has, and failures as statuses.

use super::status;
use crate::input;
use tonic::{Response, Status};
use twinlock_core::{Malformed, SessionId, UserId};
use twinlock_engine::Call;
use twinlock_proto::v1;

pub type Answer<T> = Result<Response<T>, Status>;

/// The call, with the id and the client context of its request.
pub fn with(
    call: Call,
    request_id: &str,
    client: Option<v1::ClientContext>,
) -> Result<Call, Status> {
    let request_id = input::request_id(request_id).or_refuse()?;
    let v1::ClientContext { ip_address, user_agent } = client.unwrap_or_default();
    Ok(Call { request_id, client: input::client(ip_address, user_agent), ..call })
}

pub fn user(text: &str) -> Result<UserId, Status> {
    UserId::parse(text).or_refuse()
}

pub fn session(text: &str) -> Result<SessionId, Status> {
    SessionId::parse(text).or_refuse()
}

pub fn missing(field: &'static str) -> Status {
    status::from_malformed(Malformed { field, problem: "must be given" })
}

/// Turns a failure into the status that the caller sees.
pub trait OrRefuse<T> {
    fn or_refuse(self) -> Result<T, Status>;
}

impl<T> OrRefuse<T> for Result<T, Malformed> {
    fn or_refuse(self) -> Result<T, Status> {
        self.map_err(status::from_malformed)
    }
}

impl<T> OrRefuse<T> for Result<T, twinlock_engine::Error> {
    fn or_refuse(self) -> Result<T, Status> {
        self.map_err(|error| status::from_error(&error))
    }
}
