//! Who answers a request: the service of logins by itself, and a router for whatever else there is.
//!
//! A router makes a copy of its service for each call and boxes every body twice. Logins are nearly all calls,
//! so they go around it.

use super::arriving::Arriving;
use futures_util::future::Either;
use http::{Request, Response};
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower_service::Service;

/// One service, and all others.
#[derive(Clone)]
pub struct Front<S> {
    service: S,
    others: Routes,
    to_arrive: Duration,
}

impl<S> Front<S> {
    /// A request may take so long to arrive.
    pub fn new(service: S, others: Routes, to_arrive: Duration) -> Self {
        Self { service, others: others.prepare(), to_arrive }
    }
}

impl<S> Service<Request<Body>> for Front<S>
where
    S: Service<Request<Arriving>, Response = Response<Body>, Error = Infallible> + NamedService,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, <Routes as Service<Request<Arriving>>>::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Neither has anything to wait for: what is too much is refused by the engine.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let request = request.map(|body| Arriving::new(body, self.to_arrive));
        let service = request.uri().path().strip_prefix('/').and_then(|it| it.split_once('/'));
        if service.is_some_and(|(name, _)| name == S::NAME) {
            Either::Left(self.service.call(request))
        } else {
            Either::Right(self.others.call(request))
        }
    }
}
