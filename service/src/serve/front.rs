//! Who answers a request: the service of logins by itself, and a router for whatever else there is.
//!
//! A router makes a copy of its service for each call and boxes every body twice. Logins are nearly all calls,
//! so they go around it.

use super::arriving::Arriving;
use crate::callers::Peer;
use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use std::cell::RefCell;
use std::convert::Infallible;
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

/// What answers the requests of one connection.
pub struct Facing<S> {
    /// Borrowed for as long as a call takes to begin: a copy for each would cost more.
    front: RefCell<Front<S>>,
    peer: Peer,
}

impl<S> Front<S> {
    /// A request may take so long to arrive.
    pub fn new(service: S, others: Routes, to_arrive: Duration) -> Self {
        Self { service, others: others.prepare(), to_arrive }
    }

    /// The same for one connection: each of its requests has the peer among its extensions.
    pub fn facing(&self, peer: Peer) -> Facing<S>
    where
        S: Clone,
    {
        Facing { front: RefCell::new(self.clone()), peer }
    }
}

impl<S> hyper::service::Service<Request<Incoming>> for Facing<S>
where
    S: Service<Request<Arriving<Incoming>>, Response = Response<Body>, Error = Infallible>
        + NamedService,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, <Routes as Service<Request<Arriving<Incoming>>>>::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let front = &mut *self.front.borrow_mut();
        let mut request = request.map(|body| Arriving::new(body, front.to_arrive));
        request.extensions_mut().insert(self.peer.clone());
        let name = request.uri().path().strip_prefix('/').and_then(|it| it.split_once('/'));
        // Neither has to become ready first: what is too much is refused by the engine.
        if name.is_some_and(|(name, _)| name == S::NAME) {
            Either::Left(front.service.call(request))
        } else {
            Either::Right(front.others.call(request))
        }
    }
}
