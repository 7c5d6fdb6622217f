//! All records, one server after the other.

use super::keys::{self, BUCKETS};
use super::markers::Survey;
use super::node::Node;
use super::scripts;
use super::server::text;
use super::unavailable;
use crate::deadline::Deadline;
use crate::store::{Record, StoreError, Walk};
use async_trait::async_trait;
use redis::{Pipeline, Value, cmd};
use std::collections::VecDeque;
use std::sync::Arc;
use twinlock_core::Timestamp;

/// How many keys a server looks at for one page.
const PAGE: usize = 256;

/// A walk over all records, a page at a time.
///
/// Every record that is there from its beginning to its end comes up at least once, and perhaps twice;
/// one that is made or changed meanwhile may come up as it was or as it is. It is no snapshot. Where
/// slots move to other nodes meanwhile, records of theirs may be left out: do not reshard during it.
///
/// It ends only beside the markers of all buckets, so what was emptied meanwhile does not pass for all.
pub(super) struct Scan {
    /// The servers that are still to be walked over, the present one first.
    nodes: VecDeque<Arc<Node>>,
    cursor: String,
    total: Option<u64>,
    /// The markers of the servers that were walked over.
    survey: Survey,
}

impl Scan {
    pub(super) async fn begin(
        nodes: Vec<Arc<Node>>,
        marker: &[u8],
        until: Deadline,
    ) -> Result<Self, StoreError> {
        let mut total = Some(0);
        for node in &nodes {
            let keys = count(node, until).await.map_err(|cause| unavailable(cause, false))?;
            total = total.zip(keys).map(|(total, keys)| total + keys);
        }
        let total = total.map(|keys| keys.saturating_sub(u64::from(BUCKETS)));
        let survey = Survey::against(marker);
        Ok(Self { nodes: nodes.into(), cursor: "0".into(), total, survey })
    }
}

#[async_trait]
impl Walk for Scan {
    async fn next(&mut self, until: Deadline) -> Result<Option<Vec<Record>>, StoreError> {
        let Some(node) = self.nodes.front().cloned() else { return Ok(None) };
        let failed = |cause| unavailable(cause, false);
        let live = node.live(until).await.map_err(failed)?;
        let (cursor, found) = keys_at(&node, &live, &self.cursor, until).await.map_err(failed)?;
        let mut reads = Pipeline::new();
        let mut names = Vec::new();
        for key in found {
            let Some(name) = keys::parse(&key) else {
                if !keys::is_marker(&key) {
                    let key = String::from_utf8_lossy(&key).into_owned();
                    return Err(failed(format!("the key {key:?} is none of Twinlock's records")));
                }
                continue;
            };
            let (mut value, mut expiry) = (cmd("GET"), cmd("PEXPIRETIME"));
            value.arg(&key);
            expiry.arg(&key);
            reads.add_command(value);
            reads.add_command(expiry);
            names.push(name);
        }
        let answers = if names.is_empty() {
            Vec::new()
        } else {
            let answers = node.send_all(&live, &reads, until).await;
            answers.map_err(|fault| failed(fault.into_cause()))?
        };
        let mut records = Vec::with_capacity(names.len());
        for (key, answer) in names.into_iter().zip(answers.chunks_exact(2)) {
            let value = match &answer[0] {
                Value::BulkString(value) => value,
                // It was removed or has lapsed since, or its slot has moved.
                Value::Nil => continue,
                other => return Err(failed(format!("a record could not be read: {other:?}"))),
            };
            let Some(version) = scripts::version(value) else {
                return Err(failed("what is under a record's key is no record".into()));
            };
            let expire_at = match answer[1] {
                Value::Int(at) => u64::try_from(at).ok().map(Timestamp::from_millis),
                _ => None,
            };
            let bytes = scripts::record(value).to_vec();
            records.push(Record { key, version, bytes, expire_at });
        }
        if cursor == "0" {
            let mut survey = self.survey.clone();
            for found in node.markers(&live, &node.buckets(), until).await? {
                survey.add(found);
            }
            if self.nodes.len() == 1 {
                vouch(&survey)?;
            }
            self.survey = survey;
            self.nodes.pop_front();
        }
        self.cursor = cursor;
        Ok(Some(records))
    }

    fn total(&self) -> Option<u64> {
        self.total
    }
}

fn vouch(survey: &Survey) -> Result<(), StoreError> {
    if let Some(fault) = survey.fault() {
        return Err(StoreError::Incomplete(fault));
    }
    if survey.buckets < usize::from(BUCKETS) {
        let cause = "the Cluster was laid out anew meanwhile: try again when it is done";
        return Err(unavailable(cause.into(), false));
    }
    Ok(())
}

/// How many keys a server has, whosever they are; `None` where the user may not ask.
async fn count(node: &Arc<Node>, until: Deadline) -> Result<Option<u64>, String> {
    let live = node.live(until).await?;
    let mut question = cmd("INFO");
    question.arg("keyspace");
    let answer = node.send(&live, &question, until).await.map_err(|fault| fault.into_cause())?;
    if let Value::ServerError(_) = answer {
        return Ok(None);
    }
    let keys = text(&answer).lines().find_map(|line| {
        let (keys, _) = line.strip_prefix("db0:keys=")?.split_once(',')?;
        keys.parse().ok()
    });
    // A database without keys is left out of the answer.
    Ok(Some(keys.unwrap_or(0)))
}

/// The next keys of markers and records on one server, and where to go on; "0" after the last.
pub(super) async fn keys_at(
    node: &Arc<Node>,
    live: &Arc<super::node::Live>,
    cursor: &str,
    until: Deadline,
) -> Result<(String, Vec<Vec<u8>>), String> {
    let mut question = cmd("SCAN");
    question.arg(cursor).arg("MATCH").arg(keys::PATTERN).arg("COUNT").arg(PAGE);
    let answer = node.send(live, &question, until).await.map_err(|fault| fault.into_cause())?;
    let parts = match answer {
        Value::Array(parts) => parts,
        Value::ServerError(error) => return Err(error.to_string()),
        _ => Vec::new(),
    };
    let Ok([cursor, Value::Array(found)]) = <[Value; 2]>::try_from(parts) else {
        return Err("the server answered something else".into());
    };
    let keys = found.into_iter().filter_map(|key| match key {
        // Events belong to no dataset.
        Value::BulkString(key) if !keys::is_events(&key) => Some(key),
        _ => None,
    });
    Ok((text(&cursor), keys.collect()))
}
