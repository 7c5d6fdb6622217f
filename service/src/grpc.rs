//! The gRPC edge: the services, who may call them, and the limits that hold for all.

mod admin;
mod convert;
mod events;
mod guard;
mod operator;
mod parse;
mod reflection;
mod status;
mod two_step;

use crate::callers::Stranger;
use crate::config::Role;
use crate::context::Context;
use admin::Admin;
use guard::Admitted;
use operator::Operator;
use tonic::{Request, Status};
use twinlock_engine::Call;
use twinlock_proto::v1::admin_service_server::AdminServiceServer;
use twinlock_proto::v1::operator_service_server::OperatorServiceServer;
use twinlock_proto::v1::two_step_service_server::TwoStepServiceServer;
use two_step::TwoStep;

pub use guard::Guarded;
pub use reflection::reflection;

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

/// The service of logins.
pub type TwoStepService = Guarded<TwoStepServiceServer<TwoStep>>;

/// `TwoStepService`, for callers with the role `product`.
pub fn two_step(context: Context) -> TwoStepService {
    let service = TwoStepServiceServer::new(TwoStep(context.clone()));
    let service = service.max_decoding_message_size(MAX_MESSAGE_BYTES);
    Guarded::new(service, Role::Product, context)
}

/// `AdminService`, for callers with the role `admin`.
pub fn admin(context: Context) -> Guarded<AdminServiceServer<Admin>> {
    let service = AdminServiceServer::new(Admin(context.clone()));
    let service = service.max_decoding_message_size(MAX_MESSAGE_BYTES);
    Guarded::new(service, Role::Admin, context)
}

/// `OperatorService`, for callers with the role `operator`.
pub fn operator(context: Context) -> Guarded<OperatorServiceServer<Operator>> {
    let service = OperatorServiceServer::new(Operator::new(context.clone()));
    let service = service.max_decoding_message_size(MAX_MESSAGE_BYTES);
    Guarded::new(service, Role::Operator, context)
}
