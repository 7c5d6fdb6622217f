//! A backup as a stream.

use super::long_work::{self, Parts};
use crate::context::Context;
use crate::grpc::parse::OrRefuse;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Status};
use twinlock_engine::backup::Part;
use twinlock_engine::deadline::Deadline;
use twinlock_proto::v1;

/// Begins a backup of the caller's namespace.
pub async fn stream(
    context: &Context,
    request: Request<v1::BackupRequest>,
    permit: OwnedSemaphorePermit,
) -> Result<Parts<v1::BackupResponse>, Status> {
    let revoked = context.revoked(&request);
    let (call, _) = context.call(request)?;
    let mut backup = context.engine.backup(&call).await.or_refuse()?;
    let step = context.deadline;
    Ok(long_work::stream(permit, revoked, |parts| async move {
        let (caller, namespace) = (&*call.caller, call.namespace.as_str());
        tracing::info!(caller, namespace, "a backup begins");
        let mut records = 0;
        loop {
            let part = backup.next(Deadline::after(step)).await;
            let part = part.map_err(twinlock_engine::Error::from).or_refuse();
            let part = part.inspect_err(|_| tracing::warn!(caller, "the backup broke off"))?;
            let Some(part) = part else { break };
            records = part.records_done;
            let sent = parts.send(message(part)).await;
            sent.inspect_err(|_| tracing::warn!(caller, "the backup was given up"))?;
        }
        tracing::info!(caller, namespace, records, "the backup is complete");
        Ok(())
    }))
}

fn message(Part { bytes, records_done, records_total, is_last }: Part) -> v1::BackupResponse {
    v1::BackupResponse {
        chunk: bytes,
        records_done,
        records_total: records_total.unwrap_or(0),
        is_last,
    }
}
