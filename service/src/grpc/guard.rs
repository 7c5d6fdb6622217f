//! What comes before every call of gRPC: it is counted, its caller is let in or not, and it gets its deadline.

use super::status;
use crate::callers::{Caller, Peer};
use crate::config::Role;
use crate::context::Context;
use crate::telemetry::{Outcome, Pending, Traced, Transport};
use futures_util::future::{Either, Ready, ready};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;
use twinlock_engine::deadline::Deadline;

/// A service that lets in only those who may act in a role, and counts all who try.
#[derive(Clone)]
pub struct Guarded<S> {
    service: S,
    role: Role,
    context: Context,
}

/// What is known of a call before its request is read.
#[derive(Clone)]
pub(super) struct Admitted {
    pub(super) caller: Arc<Caller>,
    pub(super) role: Role,
    /// It runs from the arrival of the call's head: were the time that the rest takes to arrive left out, the
    /// client's own would come first.
    pub(super) deadline: Deadline,
}

impl<S> Guarded<S> {
    pub(super) fn new(service: S, role: Role, context: Context) -> Self {
        Self { service, role, context }
    }

    fn admit<B>(&self, request: &Request<B>, begun: Instant) -> Result<Admitted, Status> {
        let (headers, role) = (request.headers(), self.role);
        // A page in a browser may send this type to another site with permission alone, which it never
        // gets; what needs no permission must not pass for a call.
        let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        if !content_type.starts_with(b"application/grpc") {
            return Err(Status::invalid_argument("Send `content-type: application/grpc`."));
        }
        let peer = request.extensions().get::<Peer>();
        let caller = self.context.callers.authenticate(headers, peer, role);
        let caller = caller.map_err(status::from_stranger)?;
        let deadline = Deadline::of(begun, time_left(headers, self.context.deadline));
        Ok(Admitted { caller, role, deadline })
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = Result<Response<Body>, Infallible>;

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Guarding<S::Future>;

    fn poll_ready(&mut self, context: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        let pending = self.context.calls.begin(Transport::Grpc, method, request.headers());
        let work = pending.work(|| match self.admit(&request, pending.begun()) {
            Ok(admitted) => {
                request.extensions_mut().insert(admitted);
                Either::Left(self.service.call(request))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        });
        Guarding { work, pending: Some(pending) }
    }
}

pin_project! {
    /// The answer to come. That of a stream comes when it has begun.
    pub struct Guarding<F> {
        #[pin]
        work: Traced<Either<F, Ready<Answer>>>,
        pending: Option<Pending>,
    }
}

impl<F: Future<Output = Answer>> Future for Guarding<F> {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Answer> {
        let this = self.project();
        let answer = ready!(this.work.poll(context));
        if let (Some(pending), Ok(answer)) = (this.pending.take(), &answer) {
            pending.end(Outcome::of_grpc(answer.headers()));
        }
        Poll::Ready(answer)
    }
}

/// How long the call may take: what the client gives it, within what the server allows.
///
/// A client that gives a call up at its own deadline is told nothing. So ours comes a little before it, with the
/// reason.
fn time_left(headers: &HeaderMap, most: Duration) -> Duration {
    let given = headers.get("grpc-timeout").and_then(|value| parse_timeout(value.to_str().ok()?));
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
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", timeout.parse().expect("a header"));
            time_left(&headers, most)
        };
        assert_eq!(time_left(&HeaderMap::new(), most), most);
        assert_eq!(left("1S"), Duration::from_millis(980));
        assert_eq!(left("100m"), Duration::from_millis(90));
        assert_eq!(left("99999999H"), most);
        for broken in ["", "S", "1", "1x", "-1S", "123456789S", "\u{661}S"] {
            assert_eq!(parse_timeout(broken), None, "{broken:?}");
        }
    }
}
