//! Tells every event, or those of some types, to an address of the product's, signed.
//!
//! One delivery at a time, in order. What the receiver does not take is tried again, after a pause that
//! doubles, until the event is too old to be worth it. The queue is bounded: the oldest go first.

mod sender;

use super::Message;
use crate::config::{self, Secret};
use anyhow::{Context, Result};
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use sender::Sender;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use twinlock_core::decision::EventKind;
use twinlock_engine::events::{Event, Seldom, Sink};
use twinlock_engine::{clock, entropy};

/// How many events may wait to be delivered.
const QUEUE: usize = 1000;
/// The pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long an event is tried to be delivered.
const LIMIT: Duration = Duration::from_secs(600);

/// The webhook.
pub struct Webhook {
    outbox: Arc<Outbox>,
    kinds: Vec<EventKind>,
    deliverer: JoinHandle<()>,
}

/// The events that wait.
#[derive(Default)]
pub struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
    lost: AtomicU64,
    log: Seldom,
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<(Instant, Arc<Event>)>,
    /// Whether no more will come.
    is_closed: bool,
}

impl Webhook {
    /// Begins to deliver; `None` where no address is configured. The configuration was checked before.
    pub fn start(config: &config::Webhook) -> Result<Option<Self>> {
        let (Some(url), Some(secret)) = (&config.url, &config.secret) else { return Ok(None) };
        let sender = Sender::new(url).context("webhook.url")?;
        let outbox = Arc::new(Outbox::default());
        let kinds = config.events.iter().filter_map(|name| EventKind::parse(name)).collect();
        let deliverer = Deliverer { outbox: outbox.clone(), sender, signer: Signer::new(secret) };
        Ok(Some(Self { outbox, kinds, deliverer: tokio::spawn(deliverer.run()) }))
    }

    /// What takes the events.
    pub fn sink(&self) -> impl Sink + use<> {
        Post { outbox: self.outbox.clone(), kinds: self.kinds.clone() }
    }

    /// The events that wait, for as long as anybody asks.
    pub fn outbox(&self) -> Arc<Outbox> {
        self.outbox.clone()
    }

    /// Delivers what waits, but for no longer than this.
    pub async fn finish(mut self, limit: Duration) {
        self.outbox.lock().is_closed = true;
        self.outbox.changed.notify_one();
        if tokio::time::timeout(limit, &mut self.deliverer).await.is_err() {
            self.deliverer.abort();
            tracing::error!("the last events could not be delivered to the webhook in time");
        }
    }
}

/// Puts events into the outbox.
struct Post {
    outbox: Arc<Outbox>,
    /// Empty for all.
    kinds: Vec<EventKind>,
}

impl Sink for Post {
    fn take(&mut self, event: &Arc<Event>) {
        if !self.kinds.is_empty() && !self.kinds.contains(&event.what.kind) {
            return;
        }
        let mut waiting = self.outbox.lock();
        waiting.events.push_back((Instant::now(), event.clone()));
        let is_over = waiting.events.len() > QUEUE;
        if is_over {
            waiting.events.pop_front();
        }
        drop(waiting);
        if is_over {
            self.outbox.lose("the receiver is slower than events happen");
        }
        self.outbox.changed.notify_one();
    }
}

impl Outbox {
    /// How many events wait, without the one that is being delivered.
    pub fn pending(&self) -> usize {
        self.lock().events.len()
    }

    /// How many were not delivered and never will be.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The next event; `None` once there will be no more.
    async fn next(&self) -> Option<(Instant, Arc<Event>)> {
        loop {
            {
                let mut waiting = self.lock();
                if let Some(event) = waiting.events.pop_front() {
                    return Some(event);
                }
                if waiting.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    fn lose(&self, cause: &str) {
        let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
        if self.log.is_due() {
            tracing::error!(lost, cause, "events are not delivered to the webhook");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Deliverer {
    outbox: Arc<Outbox>,
    sender: Sender,
    signer: Signer,
}

/// What became of one try.
enum Outcome {
    Taken,
    /// The receiver says that it will never take this one.
    Refused(String),
    /// It may be taken later.
    Failed(String),
}

impl Deliverer {
    async fn run(mut self) {
        let log = Seldom::default();
        let mut failures = 0;
        while let Some((since, event)) = self.outbox.next().await {
            let Ok(body) = serde_json::to_vec(&Message::from(&*event)) else { continue };
            loop {
                let signature = self.signer.sign(&body);
                let cause = match self.sender.post(&body, &signature).await {
                    Outcome::Taken => {
                        failures = 0;
                        break;
                    }
                    Outcome::Refused(cause) => {
                        self.outbox.lose(&cause);
                        break;
                    }
                    Outcome::Failed(cause) => cause,
                };
                let wait = pause(failures);
                failures += 1;
                if since.elapsed() + wait > LIMIT {
                    self.outbox.lose(&cause);
                    break;
                }
                if log.is_due() {
                    tracing::warn!(event_id = %event.id, cause, "the webhook is tried again");
                }
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Signs with HMAC-SHA-256 (RFC 2104).
struct Signer(hmac::Key);

impl Signer {
    fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// The value of the header: the time in seconds, and the signature of the time, a dot and the body.
    fn sign(&self, body: &[u8]) -> String {
        self.sign_at(clock::system()().as_secs(), body)
    }

    fn sign_at(&self, time: u64, body: &[u8]) -> String {
        let mut signed = format!("{time}.").into_bytes();
        signed.extend_from_slice(body);
        format!("t={time},v1={}", HEXLOWER.encode(hmac::sign(&self.0, &signed).as_ref()))
    }
}

/// Half the pause is certain and half by chance, so that replicas do not come all at once.
fn pause(failures: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    let chance = u32::from(u16::from_be_bytes(entropy::bytes()));
    whole / 2 + (whole / 2).mul_f64(f64::from(chance) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature is what `printf 1700000000.{} | openssl dgst -sha256 -hmac secret` prints.
    #[test]
    fn a_signature_is_the_hmac_of_time_and_body() {
        let signer = Signer::new(&Secret::from("secret".to_owned()));
        assert_eq!(
            signer.sign_at(1_700_000_000, b"{}"),
            "t=1700000000,v1=b8569b78799ff9e3cbff0fc2d63a33a2b57f3282abd07c37ae5e8e7d79a5f163"
        );
    }

    #[test]
    fn pauses_double_to_their_limit() {
        for (failures, whole) in [(0, 500), (1, 1000), (6, 32_000), (7, 60_000), (u32::MAX, 60_000)]
        {
            let whole = Duration::from_millis(whole);
            for _ in 0..100 {
                let pause = pause(failures);
                assert!(whole / 2 <= pause && pause <= whole, "{failures}: {pause:?}");
            }
        }
    }
}
