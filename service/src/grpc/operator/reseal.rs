//! How far resealing is, as a stream.

use super::long_work::{self, Parts};
use crate::context::Context;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tonic::{Request, Status};
use twinlock_engine::reseal::Pace;
use twinlock_proto::v1::{ResealRequest, ResealResponse};

/// The least time between two parts.
const INTERVAL: Duration = Duration::from_millis(200);

/// Starts resealing, or joins it. All records are resealed, and the caller learns of those of its namespace.
pub fn stream(
    context: &Context,
    request: Request<ResealRequest>,
    permit: OwnedSemaphorePermit,
) -> Result<Parts<ResealResponse>, Status> {
    let revoked = context.revoked(&request);
    let (call, _) = context.call(request)?;
    let mut progress = context.engine.reseal(Pace::Gentle);
    Ok(long_work::stream(permit, revoked, |parts| async move {
        loop {
            let now = progress.borrow_and_update().clone();
            let share = now.namespaces.get(&call.namespace).copied().unwrap_or_default();
            let (records_done, records_total) = (share.done, share.records);
            parts.send(ResealResponse { records_done, records_total }).await?;
            if !now.is_running {
                let unfinished = |why| Err(Status::unavailable(format!("Not done: {why}.")));
                return now.trouble.map_or(Ok(()), unfinished);
            }
            sleep(INTERVAL).await;
            if progress.changed().await.is_err() {
                return Err(Status::unavailable("Not done: the server is stopping."));
            }
        }
    }))
}
