//! `twinlock health`.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::connection::ConnectionArguments;
use super::{Console, Failure};

/// A probe that is late is of no use.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// Ask a server whether it can be used, for probes.
///
/// The exit status is 0 where it can and 1 where it cannot, or does not answer within 2 seconds or
/// --timeout. This is gRPC health checking (grpc.health.v1), and needs no token.
#[derive(Debug, Args)]
pub struct HealthArguments {
    /// One service, twinlock.v1.TwoStepService for instance; the whole server otherwise
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
    /// Whether the server answers at all, whatever it says of its store: for liveness, since no restart of the
    /// server mends a store
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

pub(super) async fn health(arguments: HealthArguments, console: &Console) -> Result<bool, Failure> {
    let client = arguments.connection.client(DEFAULT_TIMEOUT)?;
    let serving = client.check_health(&arguments.service).await?;
    console.emit(&json!({ "serving": serving }))?;
    console.say(match serving {
        true => "Serving.",
        false => "Not serving: the server runs, but its store cannot be used. Its log says why.",
    })?;
    Ok(serving || arguments.live)
}
