//! The REST edge: the calls of the API as JSON over HTTP, for `curl` and for languages without gRPC.
//!
//! `docs/rest.md` says what a client sees.

mod admin;
mod answer;
mod events;
mod failure;
mod openapi;
mod read;
mod request;
mod route;
mod time;
mod two_step;

use crate::callers::{Caller, Peer};
use crate::config::Role;
use crate::context::Context;
use crate::telemetry::{Outcome, Transport, UNKNOWN};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use failure::Failure;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};
use read::Asked;
use route::{Found, Operation};
use serde::Serialize;
use std::sync::Arc;
use tonic::{Code, Status};
use twinlock_engine::deadline::Deadline;

pub use route::{ROUTES, Route};

/// The edge, which takes whatever no service of gRPC does.
pub fn router(context: Context) -> Router {
    Router::new().fallback(move |request: Request| {
        let context = context.clone();
        async move { serve(&context, request).await }
    })
}

async fn serve(context: &Context, request: Request) -> Response {
    let content_type = request.headers().get(CONTENT_TYPE);
    if content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
        let pending = context.calls.begin(Transport::Grpc, UNKNOWN, request.headers());
        pending.end(Outcome::Code(Code::Unimplemented));
        let status = Status::unimplemented("There is no such service.");
        return status.into_http::<()>().map(|()| Body::empty());
    }
    let found = route::find(request.method(), request.uri().path());
    let method = found.as_ref().map_or(UNKNOWN, |found| found.operation.name());
    let pending = context.calls.begin(Transport::Rest, method, request.headers());
    let answered = pending.work(|| answer(context, found, request)).await;
    pending.end(answered.as_ref().map_or_else(Failure::outcome, |_| Outcome::OK));
    let mut response = answered.unwrap_or_else(Failure::into_response);
    let headers = response.headers_mut();
    headers.insert(DATE, time::date());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn answer(context: &Context, found: Result<Found, Failure>, request: Request) -> Answered {
    let deadline = Deadline::after(context.deadline);
    let (head, body) = request.into_parts();
    read::check_size(&head.headers)?;
    let Found { operation, user } = found?;
    let Some(role) = operation.role() else { return Ok(json(openapi::document())) };
    let peer = head.extensions.get::<Peer>();
    let caller = context.callers.authenticate(&head.headers, peer, role)?;
    let administrator = if operation.needs_administrator() {
        Some(read::administrator(&head.headers)?)
    } else {
        None
    };
    let body = read::body(&head, body, deadline).await?;
    let call = caller.call(deadline);
    let asked = Asked { call, user, administrator, body };
    perform(context, operation, asked, caller, &head.headers).await
}

async fn perform(
    context: &Context,
    operation: Operation,
    asked: Asked,
    caller: Arc<Caller>,
    headers: &HeaderMap,
) -> Answered {
    let engine = &context.engine;
    match operation {
        Operation::OpenApi => Ok(json(openapi::document())),
        Operation::DescribeUser => two_step::describe_user(engine, asked).await,
        Operation::Enroll => two_step::enroll(engine, asked).await,
        Operation::ConfirmEnrollment => two_step::confirm_enrollment(engine, asked).await,
        Operation::Unenroll => two_step::unenroll(engine, asked).await,
        Operation::EvaluateLogin => two_step::evaluate_login(engine, asked).await,
        Operation::Verify => two_step::verify(engine, asked).await,
        Operation::Elevate => two_step::elevate(engine, asked).await,
        Operation::CheckElevation => two_step::check_elevation(engine, asked).await,
        Operation::DropElevation => two_step::drop_elevation(engine, asked).await,
        Operation::RotateRecoveryKey => two_step::rotate_recovery_key(engine, asked).await,
        Operation::AcknowledgeRecoveryKey => {
            two_step::acknowledge_recovery_key(engine, asked).await
        }
        Operation::SetPassword => two_step::set_password(engine, asked).await,
        Operation::ClearPassword => two_step::clear_password(engine, asked).await,
        Operation::UnenrollUser => admin::unenroll_user(engine, asked).await,
        Operation::ClearBackoff => admin::clear_backoff(engine, asked).await,
        Operation::ImportEnrollment => admin::import_enrollment(engine, asked).await,
        Operation::WatchEvents => {
            let revoked = context.callers.revoked(caller, Role::Admin);
            events::watch(engine, asked, headers, revoked).await
        }
    }
}
/// How a call ends.
type Answered = Result<Response, Failure>;

/// An answer that has something to say.
fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(bytes) => {
            let mut response = Response::new(Body::from(bytes));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            Failure::internal().into_response()
        }
    }
}

/// An answer that has nothing to say.
fn nothing() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
