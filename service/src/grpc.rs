//! The gRPC edge: the services, who may call them, and the limits that hold for all.

mod admin;
mod convert;
mod events;
mod operator;
mod parse;
mod status;
mod two_step;

use crate::callers::{Caller, Callers, Peer, Stranger};
use crate::config::Role;
use crate::context::Context;
use crate::telemetry::Counted;
use admin::Admin;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use operator::Operator;
use std::sync::Arc;
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};
use twinlock_engine::Call;
use twinlock_engine::deadline::Deadline;
use twinlock_proto::v1::admin_service_server::AdminServiceServer;
use twinlock_proto::v1::operator_service_server::OperatorServiceServer;
use twinlock_proto::v1::two_step_service_server::TwoStepServiceServer;
use two_step::TwoStep;

/// The most bytes of a request: the longest fields together are a tenth of it.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// The most bytes of a request's metadata.
pub const MAX_METADATA_BYTES: u32 = 16 * 1024;

impl Context {
    /// Who calls and until when, apart from the request itself. A call that nobody was asked about is
    /// refused.
    fn call<T>(&self, request: Request<T>) -> Result<(Call, T), Status> {
        let admitted = request.extensions().get::<Admitted>().cloned();
        let Some(Admitted { caller, deadline, .. }) = admitted else {
            return Err(status::from_stranger(Stranger::Nobody));
        };
        Ok((caller.call(deadline), request.into_inner()))
    }

    /// Ends with the status of a call that outlives its caller's right to it. Whatever streams for as long
    /// as the caller likes ends with it.
    fn revoked<T>(&self, request: &Request<T>) -> impl Future<Output = Status> + Send + use<T> {
        let admitted = request.extensions().get::<Admitted>();
        let revoked = admitted.map(|it| self.callers.revoked(it.caller.clone(), it.role));
        async move {
            let stranger = match revoked {
                Some(revoked) => revoked.await,
                None => Stranger::Nobody,
            };
            status::from_stranger(stranger)
        }
    }
}

/// `TwoStepService`, for callers with the role `product`.
pub fn two_step(context: Context) -> Guarded<TwoStepServiceServer<TwoStep>> {
    let guard = Authenticate::new(&context, Role::Product);
    let calls = context.calls.clone();
    let service = TwoStepServiceServer::new(TwoStep(context));
    let service = service.max_decoding_message_size(MAX_MESSAGE_BYTES);
    Counted::new(InterceptedService::new(service, guard), calls)
}

/// `AdminService`, for callers with the role `admin`.
pub fn admin(context: Context) -> Guarded<AdminServiceServer<Admin>> {
    let guard = Authenticate::new(&context, Role::Admin);
    let calls = context.calls.clone();
    let service = AdminServiceServer::new(Admin(context));
    let service = service.max_decoding_message_size(MAX_MESSAGE_BYTES);
    Counted::new(InterceptedService::new(service, guard), calls)
}

/// `OperatorService`, for callers with the role `operator`.
pub fn operator(context: Context) -> Guarded<OperatorServiceServer<Operator>> {
    let guard = Authenticate::new(&context, Role::Operator);
    let calls = context.calls.clone();
    let service = OperatorServiceServer::new(Operator::new(context));
    let service = service.max_decoding_message_size(MAX_MESSAGE_BYTES);
    Counted::new(InterceptedService::new(service, guard), calls)
}

/// A service that lets in only those who may call it, and counts all who try.
pub type Guarded<S> = Counted<InterceptedService<S, Authenticate>>;

/// Lets in whoever may act in a role, and tells the service who it is and how long the call may take.
#[derive(Clone)]
pub struct Authenticate {
    callers: Arc<Callers>,
    role: Role,
    deadline: Duration,
}

impl Authenticate {
    fn new(context: &Context, role: Role) -> Self {
        Self { callers: context.callers.clone(), role, deadline: context.deadline }
    }
}

/// What is known of a call before its request is read.
#[derive(Clone)]
struct Admitted {
    caller: Arc<Caller>,
    role: Role,
    /// It runs from the arrival of the call's head, as tonic's own does: were the time that the rest
    /// takes to arrive left out, tonic's would come first.
    deadline: Deadline,
}

impl Interceptor for Authenticate {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let headers: &HeaderMap = request.metadata().as_ref();
        // A page in a browser may send this type to another site with permission alone, which it never
        // gets; what needs no permission must not pass for a call.
        let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        if !content_type.starts_with(b"application/grpc") {
            return Err(Status::invalid_argument("Send `content-type: application/grpc`."));
        }
        let role = self.role;
        let peer = request.extensions().get::<Peer>();
        let caller = self.callers.authenticate(headers, peer, role);
        let caller = caller.map_err(status::from_stranger)?;
        let deadline = Deadline::after(time_left(request.metadata(), self.deadline));
        request.extensions_mut().insert(Admitted { caller, role, deadline });
        Ok(request)
    }
}

/// How long the call may take: what the client gives it, within what the server allows.
///
/// tonic ends a call at the client's own deadline with CANCELLED, which tells nobody anything. So ours
/// comes a little before it, with the reason.
fn time_left(metadata: &MetadataMap, most: Duration) -> Duration {
    let given = metadata.get("grpc-timeout").and_then(|value| parse_timeout(value.to_str().ok()?));
    let given = given.map(|given| given - (given / 10).min(Duration::from_millis(20)));
    given.map_or(most, |given| given.min(most))
}

/// Reads a `grpc-timeout`: at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_ends_with_the_clients_deadline_or_the_servers() {
        let most = Duration::from_secs(5);
        let left = |timeout: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", timeout.parse().expect("a header"));
            time_left(&metadata, most)
        };
        assert_eq!(time_left(&MetadataMap::new(), most), most);
        assert_eq!(left("1S"), Duration::from_millis(980));
        assert_eq!(left("100m"), Duration::from_millis(90));
        assert_eq!(left("99999999H"), most);
        for broken in ["", "S", "1", "1x", "-1S", "123456789S", "\u{661}S"] {
            assert_eq!(parse_timeout(broken), None, "{broken:?}");
        }
    }
}
