//! An examination as a stream.

use super::long_work::{self, Parts};
use crate::context::Context;
use crate::grpc::convert;
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Request, Status};
use twinlock_engine::clock;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::examine::{Finding, Progress};
use twinlock_proto::v1;

/// Begins to open everything in the caller's namespace.
pub fn stream(
    context: &Context,
    request: Request<v1::ExamineRequest>,
    permit: OwnedSemaphorePermit,
) -> Result<Parts<v1::ExamineResponse>, Status> {
    let revoked = context.revoked(&request);
    let (call, _) = context.call(request)?;
    let mut examination = context.engine.examine(&call);
    let (engine, step) = (context.engine.clone(), context.deadline);
    Ok(long_work::stream(permit, revoked, |parts| async move {
        while let Some(progress) =
            examination.next(|| engine.keyring(), Deadline::after(step)).await
        {
            parts.send(message(progress)).await?;
        }
        Ok(())
    }))
}

fn message(progress: Progress) -> v1::ExamineResponse {
    let Progress { records_done, records_total, findings, is_last } = progress;
    v1::ExamineResponse {
        records_done,
        records_total: records_total.unwrap_or(0),
        findings: findings.iter().map(finding).collect(),
        is_last,
    }
}

fn finding(finding: &Finding) -> v1::Finding {
    let user = finding.user.as_ref().map(|user| user.as_str().to_owned());
    v1::Finding {
        reason: finding.error.reason().map_or("INTERNAL", |reason| reason.as_str()).into(),
        user_id: user.unwrap_or_default(),
        advice: finding.advice(),
        find_time: Some(convert::timestamp(clock::system()())),
    }
}
