//! Server reflection. Its tables take half a megabyte and most servers are never asked, so they are made for
//! the first who does.

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use std::sync::LazyLock;
use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};
use tower_service::Service as _;
use twinlock_proto::FILE_DESCRIPTOR_SET;

/// Both versions of the service: older clients speak the second one alone.
const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/{*method}",
    "/grpc.reflection.v1alpha.ServerReflection/{*method}",
];

static SERVICES: LazyLock<Routes> = LazyLock::new(|| {
    services().unwrap_or_else(|error| {
        tracing::error!(%error, "there is no reflection");
        Routes::default()
    })
});

/// What serves reflection.
pub fn reflection() -> Router {
    PATHS.into_iter().fold(Router::new(), |router, path| {
        router.route(path, any(async |request: Request| SERVICES.clone().call(request).await))
    })
}

fn services() -> Result<Routes, Error> {
    let all = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(Routes::new(all().build_v1()?).add_service(all().build_v1alpha()?))
}
