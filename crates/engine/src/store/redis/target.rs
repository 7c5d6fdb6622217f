//! Servers that a backup is restored to.

use super::keys;
use super::node::Node;
use super::{Options, Redis, scan, unavailable};
use crate::backup::Scope;
use crate::deadline::Deadline;
use crate::store::{Found, Marked, Record, StoreError, Target};
use async_trait::async_trait;
use redis::{Pipeline, Value, cmd};
use std::sync::Arc;
use std::time::Duration;

/// How long one exchange with a server may take. It carries many records, and nobody waits at a login.
const PATIENCE: Duration = Duration::from_secs(30);

/// Servers that a backup is restored to.
///
/// What was sent and not answered ends the work: nothing is sent twice.
pub struct Restoring(Redis);

impl Redis {
    /// Reaches servers that a backup is to be restored to, whatever is there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where a server cannot be reached, or is not fit.
    pub async fn restoring(options: Options, deadline: Deadline) -> Result<Restoring, StoreError> {
        Self::connect(options, deadline).await.map(Restoring)
    }
}

#[async_trait]
impl Target for Restoring {
    async fn look(&mut self, scope: &Scope) -> Result<Found, StoreError> {
        let survey = self.0.survey(Deadline::after(PATIENCE)).await?;
        let is_whole = survey.fault().is_none();
        let marker = match survey.marker {
            None => Marked::Nowhere,
            Some(marker) if is_whole => Marked::Everywhere(marker),
            Some(_) => Marked::InPart,
        };
        let (mut inside, mut outside) = (0, 0);
        for node in self.nodes() {
            let mut walk = Keys::of(node);
            while let Some(page) = walk.next().await? {
                let records = page.into_iter().filter(|key| !keys::is_marker(key));
                for key in records {
                    *(if is_in(scope, &key) { &mut inside } else { &mut outside }) += 1;
                }
            }
        }
        Ok(Found { marker, inside, outside })
    }

    async fn clear(&mut self, scope: &Scope) -> Result<(), StoreError> {
        for node in self.nodes() {
            let markers = node.buckets().iter().map(|bucket| bucket.marker().to_vec()).collect();
            remove(&node, markers).await?;
        }
        for node in self.nodes() {
            let mut walk = Keys::of(node.clone());
            while let Some(page) = walk.next().await? {
                remove(&node, page.into_iter().filter(|key| is_in(scope, key)).collect()).await?;
            }
        }
        Ok(())
    }

    async fn put(&mut self, records: Vec<Record>) -> Result<(), StoreError> {
        let mut writes: Vec<(Arc<Node>, Pipeline)> = Vec::new();
        for Record { key, version, bytes, expire_at } in records {
            let (record, bucket) = keys::record(&key);
            let node = self.0.topology.route(bucket).ok_or_else(moved)?;
            let mut write = cmd("SET");
            write.arg(record).arg([&version.0, bytes.as_slice()].concat());
            if let Some(at) = expire_at {
                // One that has lapsed by now is not written at all.
                write.arg("PXAT").arg(at.as_millis().max(1));
            }
            match writes.iter_mut().find(|(known, _)| Arc::ptr_eq(known, &node)) {
                Some((_, pipeline)) => pipeline.add_command(write),
                None => {
                    let mut pipeline = Pipeline::new();
                    pipeline.add_command(write);
                    writes.push((node, pipeline));
                    continue;
                }
            };
        }
        for (node, pipeline) in writes {
            send(&node, &pipeline).await?;
        }
        Ok(())
    }

    async fn mark(&mut self, marker: &[u8]) -> Result<(), StoreError> {
        self.0.all_are_served()?;
        for node in self.nodes() {
            // Where replicas must confirm, they confirm all that was written before it, too.
            self.0.mark(&node, marker, Deadline::after(PATIENCE)).await?;
        }
        Ok(())
    }
}

impl Restoring {
    fn nodes(&self) -> Vec<Arc<Node>> {
        self.0.topology.table().nodes.clone()
    }
}

/// The keys of markers and records on one server.
struct Keys {
    node: Arc<Node>,
    cursor: Option<String>,
}

impl Keys {
    fn of(node: Arc<Node>) -> Self {
        Self { node, cursor: Some("0".into()) }
    }

    async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, StoreError> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        let until = Deadline::after(PATIENCE);
        let failed = |cause| unavailable(cause, false);
        let live = self.node.live(until).await.map_err(failed)?;
        let page = scan::keys_at(&self.node, &live, &cursor, until).await;
        let (next, found) = page.map_err(failed)?;
        self.cursor = (next != "0").then_some(next);
        Ok(Some(found))
    }
}

/// What is under a name of Twinlock's and is no user's belongs to all of them.
fn is_in(scope: &Scope, key: &[u8]) -> bool {
    match (scope, keys::parse(key)) {
        (Scope::Everything, _) => true,
        (_, Some(key)) => scope.covers(&key.namespace),
        (Scope::Namespace(_), None) => false,
    }
}

async fn remove(node: &Arc<Node>, keys: Vec<Vec<u8>>) -> Result<(), StoreError> {
    let mut removals = Pipeline::new();
    for key in &keys {
        let mut removal = cmd("DEL");
        removal.arg(key);
        removals.add_command(removal);
    }
    if keys.is_empty() { Ok(()) } else { send(node, &removals).await }
}

async fn send(node: &Arc<Node>, commands: &Pipeline) -> Result<(), StoreError> {
    let answers = node.send_alone(commands, Deadline::after(PATIENCE)).await;
    for answer in answers.map_err(|fault| unavailable(fault.into_cause(), true))? {
        match answer {
            Value::Okay | Value::Int(_) => {}
            Value::ServerError(error) if matches!(error.code(), "MOVED" | "ASK") => {
                return Err(moved());
            }
            Value::ServerError(error) => return Err(unavailable(error.to_string(), true)),
            _ => return Err(unavailable("the server answered something else".into(), true)),
        }
    }
    Ok(())
}

fn moved() -> StoreError {
    unavailable("the Cluster is being laid out anew: try again when it is done".into(), true)
}
