//! Events as messages, and a watch as a stream of them.

use super::convert;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use tokio_stream::Stream;
use tonic::{Code, Status};
use twinlock_engine::events::{Ended, Event, Watch};
use twinlock_proto::v1;

/// The events of a watch, as they happen.
pub type Events = Pin<Box<dyn Stream<Item = Result<v1::WatchEventsResponse, Status>> + Send>>;

/// Reads a watch as fast as the client does, and no faster: what the client leaves is left in the ring.
/// It ends with the status that `revoked` ends with.
pub fn stream(watch: Watch, revoked: impl Future<Output = Status> + Send + 'static) -> Events {
    let begin = (watch, VecDeque::new(), Box::pin(revoked));
    Box::pin(futures_util::stream::try_unfold(
        begin,
        |(mut watch, mut ready, mut revoked)| async move {
            tokio::select! {
                // It goes first, or a watcher that is never done would never be told.
                biased;
                status = &mut revoked => return Err(status),
                filled = fill(&mut ready, &mut watch) => filled.map_err(status)?,
            }
            Ok(ready.pop_front().map(|event| {
                let answer = v1::WatchEventsResponse { event: Some(message(&event)) };
                (answer, (watch, ready, revoked))
            }))
        },
    ))
}

/// Waits for events, where none is left.
async fn fill(ready: &mut VecDeque<Arc<Event>>, watch: &mut Watch) -> Result<(), Ended> {
    while ready.is_empty() {
        ready.extend(watch.next().await?);
    }
    Ok(())
}

fn status(ended: Ended) -> Status {
    let code = match &ended {
        Ended::TooSlow => Code::ResourceExhausted,
        Ended::Stopping => Code::Unavailable,
        Ended::Unavailable(cause) => {
            tracing::warn!("the shared log of events cannot be read: {cause}");
            Code::Unavailable
        }
    };
    Status::new(code, ended.to_string())
}

fn message(Event { id, what }: &Event) -> v1::Event {
    v1::Event {
        event_id: id.to_string(),
        event_time: Some(convert::timestamp(what.at)),
        r#type: what.kind.as_str().into(),
        user_id: what.user.as_str().into(),
        actor_id: what.actor.as_ref().map(|actor| actor.as_str().into()).unwrap_or_default(),
        caller: what.caller.to_string(),
        method: what.method.map(convert::method).unwrap_or_default(),
        reason: what.reason.as_deref().unwrap_or_default().into(),
        client: Some(v1::ClientContext {
            ip_address: what.client.ip_address.clone(),
            user_agent: what.client.user_agent.clone(),
        }),
        namespace: what.namespace.as_str().into(),
    }
}
