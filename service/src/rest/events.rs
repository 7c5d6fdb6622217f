//! Events as they happen, as server-sent events (the HTML standard, section 9.2).

use super::Answered;
use super::failure::Failure;
use super::read::Asked;
use crate::callers::Stranger;
use crate::events::Message;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use http::{HeaderMap, HeaderValue};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::Stream;
use twinlock_engine::Engine;
use twinlock_engine::events::{Ended, Event, EventId, Watch};

/// The header that a browser's `EventSource`, and every library like it, sends when it comes back.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// What tells a watcher that events are no longer kept that came after the one that was named.
const MISSED_EVENTS: &str = "twinlock-missed-events";
/// How often a comment says that the connection lives, where nothing happens.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub async fn watch(
    engine: &Engine,
    asked: Asked,
    headers: &HeaderMap,
    revoked: impl Future<Output = Stranger> + Send + 'static,
) -> Answered {
    let call = asked.call(None, None)?;
    let after = match headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) {
        None => None,
        Some(value) => {
            Some(value.to_str().ok().and_then(|it| EventId::parse(it).ok()).ok_or_else(|| {
                let message =
                    "Last-Event-ID must be the id of an event. Correct it and call again.";
                Failure::invalid(message, Some("Last-Event-ID".into()))
            })?)
        }
    };
    let watch = engine.watch_events(&call, after).await?;
    let is_complete = watch.is_complete();
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(stream(watch, revoked)).keep_alive(keep_alive).into_response();
    if !is_complete {
        response.headers_mut().insert(MISSED_EVENTS, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Where a stream is.
enum State<Revoked> {
    Begin(Watch, Revoked),
    Going(Watch, VecDeque<Arc<Event>>, Pin<Box<Revoked>>),
    Ended,
}

/// Begins with a comment, so that a client sees at once that it watches, and ends with an event `end`
/// that says why.
fn stream(
    watch: Watch,
    revoked: impl Future<Output = Stranger> + Send + 'static,
) -> impl Stream<Item = Result<Sent, Infallible>> {
    futures_util::stream::unfold(State::Begin(watch, revoked), |state| async move {
        let (mut watch, mut ready, mut revoked) = match state {
            State::Begin(watch, revoked) => {
                let going = State::Going(watch, VecDeque::new(), Box::pin(revoked));
                return Some((Ok(Sent::default().comment("watching")), going));
            }
            State::Going(watch, ready, revoked) => (watch, ready, revoked),
            State::Ended => return None,
        };
        let ended = tokio::select! {
            // It goes first, or a watcher that is never done would never be told.
            biased;
            stranger = &mut revoked => Some(end("UNAUTHENTICATED", &stranger.to_string())),
            ended = fill(&mut ready, &mut watch) => ended.err().as_ref().map(end_of_watch),
        };
        if let Some(end) = ended {
            return Some((Ok(end), State::Ended));
        }
        let event = ready.pop_front()?;
        Some((Ok(sent(&event)), State::Going(watch, ready, revoked)))
    })
}

/// Waits for events, where none is left.
async fn fill(ready: &mut VecDeque<Arc<Event>>, watch: &mut Watch) -> Result<(), Ended> {
    while ready.is_empty() {
        ready.extend(watch.next().await?);
    }
    Ok(())
}

fn sent(event: &Event) -> Sent {
    let message = Message::from(event);
    let sent = Sent::default().id(event.id.to_string()).event(event.what.kind.as_str());
    // It has strings alone, which can always be written.
    sent.json_data(message).unwrap_or_default()
}

fn end_of_watch(ended: &Ended) -> Sent {
    let code = match ended {
        Ended::TooSlow => "RESOURCE_EXHAUSTED",
        Ended::Stopping => "UNAVAILABLE",
        Ended::Unavailable(cause) => {
            tracing::warn!("the shared log of events cannot be read: {cause}");
            "UNAVAILABLE"
        }
    };
    end(code, &ended.to_string())
}

fn end(code: &str, message: &str) -> Sent {
    let data = serde_json::json!({ "code": code, "message": message });
    Sent::default().event("end").data(data.to_string())
}
