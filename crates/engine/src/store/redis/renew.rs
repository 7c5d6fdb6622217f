//! Markers whose seal is renewed.

use super::node::Node;
use super::{Redis, markers::Found, unavailable};
use crate::deadline::Deadline;
use crate::store::{StoreError, dataset_name};
use redis::{Pipeline, Value, cmd};
use std::sync::Arc;

/// How many markers are written in one piece: what comes after them waits.
const AT_ONCE: usize = 64;

const SCRIPT: &str = include_str!("scripts/renew.lua");

impl Redis {
    /// The markers on one server.
    pub(super) async fn present(
        &self,
        node: &Arc<Node>,
        deadline: Deadline,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let live = node.live(deadline).await.map_err(|cause| unavailable(cause, false))?;
        let found = node.markers(&live, &node.buckets(), deadline).await?;
        let marker = |found| match found {
            Found::Marker(marker) => Some(marker),
            Found::Nothing | Found::Elsewhere => None,
        };
        Ok(found.into_iter().filter_map(marker).collect())
    }

    /// Writes a marker over those of one server that have its name.
    pub(super) async fn renew(
        &self,
        node: &Arc<Node>,
        marker: &[u8],
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let live = node.live(deadline).await.map_err(|cause| unavailable(cause, false))?;
        for buckets in node.buckets().chunks(AT_ONCE) {
            let mut writes = Pipeline::with_capacity(buckets.len());
            for bucket in buckets {
                let mut write = cmd("EVAL");
                write.arg(SCRIPT).arg(1).arg(bucket.marker());
                write.arg(dataset_name(marker)).arg(marker);
                writes.add_command(write);
            }
            let answers = node.send_all(&live, &writes, deadline).await;
            let answers = answers.map_err(|fault| unavailable(fault.into_cause(), true))?;
            for answer in answers {
                match answer {
                    // Zero: there is none, or another dataset's. That is not mended by writing over it.
                    Value::Int(_) => {}
                    Value::ServerError(error) => return Err(unavailable(error.to_string(), true)),
                    _ => {
                        let cause = "the server answered something else";
                        return Err(unavailable(cause.into(), true));
                    }
                }
            }
        }
        Ok(())
    }
}
