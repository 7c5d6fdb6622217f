//! Who is told of events: the audit trail, a webhook; and the words that all of them share.

pub mod audit;
pub mod webhook;

use crate::config::Config;
use anyhow::{Context, Result};
use audit::Trail;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use twinlock_core::Timestamp;
use twinlock_core::record::Method;
use twinlock_engine::clock;
use twinlock_engine::events::{Event, Events, SharedLog, Sink};
use webhook::Webhook;

/// How long a server that stops still passes events on.
const LIMIT: Duration = Duration::from_secs(3);
/// The last moment that RFC 3339 can write: the end of the year 9999.
const LAST_MILLIS: u64 = 253_402_300_799_999;

/// The events of this process, and those who are told of all of them.
pub struct Telling {
    pub events: Events,
    trail: Option<Arc<Trail>>,
    reopening: JoinHandle<()>,
    webhook: Option<Webhook>,
}

impl Telling {
    /// Begins to tell, as the configuration says. Over Redis, all replicas share a log.
    pub fn start(config: &Config, shared: Option<Arc<dyn SharedLog>>) -> Result<Self> {
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        let (mut trail, mut webhook) = (None, None);
        if let Some(path) = &config.audit.path {
            let opened = Arc::new(Trail::open(path).context("audit.path")?);
            sinks.push(Box::new(opened.writer()));
            trail = Some(opened);
        }
        if let Some(started) = Webhook::start(&config.webhook)? {
            sinks.push(Box::new(started.sink()));
            webhook = Some(started);
        }
        let reopening = tokio::spawn(reopen_on_hangup(trail.clone())?);
        let events = Events::start(clock::system(), shared, sinks);
        Ok(Self { events, trail, reopening, webhook })
    }

    /// What is lost on the way, for as long as anybody asks.
    pub fn losses(&self) -> Losses {
        Losses {
            trail: self.trail.as_deref().map(Trail::lost),
            outbox: self.webhook.as_ref().map(Webhook::outbox),
        }
    }

    /// Passes on what is left, for a moment.
    pub async fn finish(self) {
        self.events.finish(LIMIT).await;
        self.reopening.abort();
        if let Some(trail) = self.trail {
            trail.finish(LIMIT).await;
        }
        if let Some(webhook) = self.webhook {
            webhook.finish(LIMIT).await;
        }
    }
}

/// What is lost on the way to those who are told.
pub struct Losses {
    trail: Option<Arc<audit::Lost>>,
    outbox: Option<Arc<webhook::Outbox>>,
}

impl Losses {
    /// Lines of the audit trail that were not written.
    pub fn audit(&self) -> u64 {
        self.trail.as_ref().map_or(0, |lost| lost.count())
    }

    /// Events that were not delivered to the webhook.
    pub fn webhook(&self) -> u64 {
        self.outbox.as_ref().map_or(0, |outbox| outbox.lost())
    }

    /// Events that wait to be delivered to it.
    pub fn webhook_pending(&self) -> usize {
        self.outbox.as_ref().map_or(0, |outbox| outbox.pending())
    }
}

/// Opens the file anew at SIGHUP, as `logrotate` asks for after it has moved the file away. Where there
/// is none, the signal still must not end the server.
fn reopen_on_hangup(trail: Option<Arc<Trail>>) -> Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            if let Some(trail) = &trail {
                trail.reopen().await;
            }
        }
    })
}

/// An event as JSON: proto3's mapping of `twinlock.v1.Event`, default values included.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message<'a> {
    event_id: String,
    event_time: String,
    r#type: &'static str,
    user_id: &'a str,
    actor_id: &'a str,
    caller: &'a str,
    method: &'static str,
    reason: &'a str,
    client: Client<'a>,
    namespace: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Client<'a> {
    ip_address: &'a str,
    user_agent: &'a str,
}

impl<'a> From<&'a Event> for Message<'a> {
    fn from(Event { id, what }: &'a Event) -> Self {
        Self {
            event_id: id.to_string(),
            event_time: rfc3339(what.at),
            r#type: what.kind.as_str(),
            user_id: what.user.as_str(),
            actor_id: what.actor.as_ref().map(|actor| actor.as_str()).unwrap_or_default(),
            caller: &what.caller,
            method: method(what.method).unwrap_or("METHOD_UNSPECIFIED"),
            reason: what.reason.as_deref().unwrap_or_default(),
            client: Client {
                ip_address: &what.client.ip_address,
                user_agent: &what.client.user_agent,
            },
            namespace: what.namespace.as_str(),
        }
    }
}

/// The name of a proof in the API.
fn method(method: Option<Method>) -> Option<&'static str> {
    method.map(|method| match method {
        Method::Totp => "METHOD_TOTP",
        Method::RecoveryKey => "METHOD_RECOVERY_KEY",
        Method::Password => "METHOD_PASSWORD",
        Method::Asserted => "METHOD_ASSERTED",
    })
}

/// A time in UTC, to the millisecond.
fn rfc3339(time: Timestamp) -> String {
    let since = Duration::from_millis(time.as_millis().min(LAST_MILLIS));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_to_the_millisecond_and_to_the_end_of_time() {
        assert_eq!(rfc3339(Timestamp::from_millis(1_790_000_000_007)), "2026-09-21T14:13:20.007Z");
        assert_eq!(rfc3339(Timestamp::default()), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(Timestamp::MAX), "9999-12-31T23:59:59.999Z");
    }
}
