//! Every event is told once, to everybody who is told of it, and holds no secret; and nobody who listens
//! holds anything up.

mod kinds;
mod moved_file;
mod replicas;
mod server_sent;
mod watching;
mod webhook;

use serde_json::{Map, Value};
use std::path::Path;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};
use twinlock_proto::v1::admin_service_client::AdminServiceClient;
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;
use twinlock_proto::v1::{EvaluateLoginRequest, Event, LoginChannel};
use twinlock_proto::v1::{WatchEventsRequest, WatchEventsResponse};
use twinlock_tests::Server;

/// How long something that must come may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A watch, as a client sees it.
struct Watch {
    stream: Streaming<WatchEventsResponse>,
    /// Whether the server says that events are no longer kept.
    missed: bool,
}

impl Watch {
    async fn begin(server: &Server, after: &str) -> Self {
        Self::try_begin(server, after).await.expect("a watch")
    }

    async fn try_begin(server: &Server, after: &str) -> Result<Self, Status> {
        Self::begin_on(server.channel().await, after).await
    }

    async fn begin_on(channel: Channel, after: &str) -> Result<Self, Status> {
        let mut admin = AdminServiceClient::new(channel);
        let request = WatchEventsRequest { after_event_id: after.into() };
        let answer: Response<_> = admin.watch_events(Request::new(request)).await?;
        let missed = answer.metadata().get("twinlock-missed-events");
        let missed = missed.is_some_and(|value| value == "true");
        Ok(Self { stream: answer.into_inner(), missed })
    }

    async fn next(&mut self) -> Result<Event, Status> {
        let next = tokio::time::timeout(LIMIT, self.stream.message()).await;
        let next = next.expect("something comes in time")?;
        Ok(next.expect("a watch ends with a status").event.expect("an event"))
    }

    /// The next events, so many.
    async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(count);
        while events.len() < count {
            events.push(self.next().await.expect("an event"));
        }
        events
    }

    /// How it ends.
    async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

/// A login that is denied without a look at the store: the cheapest of all events.
async fn deny(client: &mut TwoStepServiceClient<Channel>, user: &str) {
    let request = EvaluateLoginRequest {
        user_id: user.into(),
        channel: LoginChannel::Basic.into(),
        ..Default::default()
    };
    client.evaluate_login(request).await.expect("a decision");
}

fn users(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.user_id.as_str()).collect()
}

fn ids(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.event_id.as_str()).collect()
}

/// An id as the two numbers that it is compared by.
fn order(id: &str) -> (u64, u64) {
    let (millis, sequence) = id.split_once('-').expect("two numbers");
    (millis.parse().expect("a number"), sequence.parse().expect("a number"))
}

/// The lines of an audit file.
fn trail(path: &Path) -> Vec<Map<String, Value>> {
    let text = std::fs::read_to_string(path).expect("an audit file");
    let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    lines.collect()
}

/// Waits until a file has so many lines.
async fn written(path: &Path, count: usize) -> Vec<Map<String, Value>> {
    let limit = tokio::time::Instant::now() + LIMIT;
    loop {
        let lines = trail(path);
        if lines.len() >= count {
            return lines;
        }
        assert!(tokio::time::Instant::now() < limit, "{count} lines, but there are {lines:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
