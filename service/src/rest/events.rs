//! Events as they happen, as server-sent events (the HTML standard, section 9.2).

use super::Answered;
use super::failure::Failure;
use super::read::Asked;
use crate::events::Message;
use axum::response::IntoResponse;
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use http::{HeaderMap, HeaderValue};
use std::collections::VecDeque;
use std::convert::Infallible;
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

pub async fn watch(engine: &Engine, asked: Asked, headers: &HeaderMap) -> Answered {
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
    let mut response = Sse::new(stream(watch)).keep_alive(keep_alive).into_response();
    if !is_complete {
        response.headers_mut().insert(MISSED_EVENTS, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Where a stream is.
enum State {
    Begin(Watch),
    Going(Watch, VecDeque<Arc<Event>>),
    Ended,
}

/// Begins with a comment, so that a client sees at once that it watches, and ends with an event `end`
/// that says why.
fn stream(watch: Watch) -> impl Stream<Item = Result<Sent, Infallible>> {
    futures_util::stream::unfold(State::Begin(watch), |state| async move {
        let (mut watch, mut ready) = match state {
            State::Begin(watch) => {
                let going = State::Going(watch, VecDeque::new());
                return Some((Ok(Sent::default().comment("watching")), going));
            }
            State::Going(watch, ready) => (watch, ready),
            State::Ended => return None,
        };
        while ready.is_empty() {
            match watch.next().await {
                Ok(events) => ready.extend(events),
                Err(ended) => return Some((Ok(end(&ended)), State::Ended)),
            }
        }
        let event = ready.pop_front()?;
        Some((Ok(sent(&event)), State::Going(watch, ready)))
    })
}

fn sent(event: &Event) -> Sent {
    let message = Message::from(event);
    let sent = Sent::default().id(event.id.to_string()).event(event.what.kind.as_str());
    // It has strings alone, which can always be written.
    sent.json_data(message).unwrap_or_default()
}

fn end(ended: &Ended) -> Sent {
    let code = match ended {
        Ended::TooSlow => "RESOURCE_EXHAUSTED",
        Ended::Stopping => "UNAVAILABLE",
        Ended::Unavailable(cause) => {
            tracing::warn!("the shared log of events cannot be read: {cause}");
            "UNAVAILABLE"
        }
    };
    let data = serde_json::json!({ "code": code, "message": ended.to_string() });
    Sent::default().event("end").data(data.to_string())
}
