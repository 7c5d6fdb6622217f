//! All metrics, read at the moment when somebody asks for them. `docs/telemetry.md` explains them to users;
//! a test compares.

use super::PROBE_DEADLINE;
use super::calls::Calls;
use super::page::{self, Page};
use super::process;
use super::traces::Sent;
use crate::callers::Callers;
use crate::config::{Config, EnforcementMode, LoginMode, StoreKind};
use crate::events::Losses;
use crate::serve::tls::Tls;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::metrics::Counter;
use twinlock_engine::store::{Store, StoreError};
use twinlock_engine::{Engine, Error};

/// How often the records are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(30);
/// What the store may be found to be.
const STORE_STATES: [&str; 4] = ["usable", "unavailable", "incomplete", "unreadable"];
/// The words of the configuration for who has to enroll.
const ENFORCEMENT_MODES: [&str; 3] = ["off", "report", "enforce"];

/// All that `/metrics` tells.
pub struct Metrics {
    /// The calls of both edges.
    pub calls: Arc<Calls>,
    /// What was found at the last look.
    pub reported: Arc<Reported>,
    callers: Arc<Callers>,
    engine: Arc<Engine>,
    tls: Option<Arc<Tls>>,
    losses: Losses,
    spans: Option<Arc<Sent>>,
    store: &'static str,
    is_legacy: bool,
    enforcement: &'static str,
}

/// What was found at the last look.
#[derive(Debug, Default)]
pub struct Reported {
    store: AtomicUsize,
    /// One more than the number; 0 where it is not known.
    records: AtomicU64,
}

impl Reported {
    /// How the store was found.
    pub fn store_checked(&self, found: &Result<(), Error>) {
        let state = match found {
            Ok(()) => 0,
            Err(Error::Store(StoreError::Incomplete(_))) => 2,
            Err(Error::Store(StoreError::Unreadable(_)) | Error::Unreadable(_)) => 3,
            Err(_) => 1,
        };
        self.store.store(state, Ordering::Relaxed);
    }

    /// About how many records there are.
    pub fn records(&self, count: u64) {
        self.records.store(count.saturating_add(1), Ordering::Relaxed);
    }
}

/// Looks now and then about how many records there are.
pub async fn count_records(store: Arc<dyn Store>, metrics: Arc<Metrics>) {
    loop {
        let walk = store.walk(Deadline::after(PROBE_DEADLINE)).await;
        if let Some(total) = walk.ok().and_then(|walk| walk.total()) {
            metrics.reported.records(total);
        }
        tokio::time::sleep(COUNT_INTERVAL).await;
    }
}

impl Metrics {
    /// The metrics of a server.
    pub fn new(
        config: &Config,
        engine: Arc<Engine>,
        callers: Arc<Callers>,
        tls: Option<Arc<Tls>>,
        losses: Losses,
        spans: Option<Arc<Sent>>,
    ) -> Self {
        Self {
            calls: Arc::default(),
            reported: Arc::default(),
            callers,
            engine,
            tls,
            losses,
            spans,
            store: match config.store.kind {
                StoreKind::Embedded => "embedded",
                StoreKind::Redis => "redis",
            },
            is_legacy: config.login.mode == LoginMode::Legacy,
            enforcement: match config.enforcement.mode {
                EnforcementMode::Off => "off",
                EnforcementMode::Report => "report",
                EnforcementMode::Enforce => "enforce",
            },
        }
    }

    /// The page, in OpenMetrics.
    pub fn open_metrics(self: &Arc<Self>) -> Result<String, fmt::Error> {
        page::open_metrics(self.clone())
    }

    fn calls(&self, page: &mut Page<'_>) -> fmt::Result {
        let rows = || {
            self.calls.rows().map(|([method, transport, reason], took)| {
                ([("method", method), ("transport", transport), ("reason", reason)], took)
            })
        };
        page.counters(
            "twinlock_calls",
            "Calls by method, transport and reason, OK where they succeeded.",
            rows()
                .map(|(labels, took)| (labels, took.read().count))
                .filter(|(_, count)| *count > 0),
        )?;
        page.histograms(
            "twinlock_call_duration_seconds",
            "How long calls took; streams, until they began.",
            rows(),
        )?;
        page.counters(
            "twinlock_callers_refused",
            "Calls that were refused for who called, by why.",
            self.callers.refused().map(|(why, count)| ([("why", why)], count)),
        )
    }

    fn decisions(&self, page: &mut Page<'_>) -> fmt::Result {
        let metrics = self.engine.metrics();
        page.counters(
            "twinlock_attempts",
            "Proofs that were evaluated, by their kind and how it ended.",
            metrics
                .attempts()
                .map(|([proof, outcome], count)| ([("proof", proof), ("outcome", outcome)], count)),
        )?;
        page.counters(
            "twinlock_codes_accepted",
            "Codes that were accepted, by how many steps their clock is off.",
            metrics.step_offsets().map(|(offset, count)| ([("step_offset", offset)], count)),
        )?;
        let factor_and_reason = |([factor, reason], count): ([&'static str; 2], u64)| {
            ([("factor", factor), ("reason", reason)], count)
        };
        page.counters(
            "twinlock_blocks_begun",
            "Waits and locks that failures began.",
            metrics.blocks().map(factor_and_reason),
        )?;
        page.counters(
            "twinlock_block_refusals",
            "Attempts that were refused unread within a wait or a lock.",
            metrics.refused_in_blocks().map(factor_and_reason),
        )?;
        page.counters(
            "twinlock_events",
            "What happened, by the type of the event.",
            metrics.happened().map(|(kind, count)| ([("type", kind)], count)),
        )?;
        page.gauge(
            "twinlock_legacy_mode",
            "1 where logins go through without a second step: login.mode is legacy.",
            Some(u64::from(self.is_legacy)),
        )?;
        page.states(
            "twinlock_enforcement_mode",
            "Which enforcement.mode is in force.",
            "mode",
            &ENFORCEMENT_MODES,
            self.enforcement,
        )
    }

    fn hashing(&self, page: &mut Page<'_>) -> fmt::Result {
        let hasher = self.engine.hasher();
        let metrics = hasher.metrics();
        page.gauge(
            "twinlock_hashes_running",
            "Passwords that are hashed now.",
            Some(hasher.running() as u64),
        )?;
        page.gauge(
            "twinlock_hashes_waiting",
            "Calls that wait for a turn to hash.",
            Some(hasher.waiting() as u64),
        )?;
        page.gauge(
            "twinlock_hashes_limit",
            "The most passwords hashed at once.",
            Some(hasher.concurrency() as u64),
        )?;
        page.counter(
            "twinlock_hashes_refused",
            "Calls to which no turn to hash came in time.",
            metrics.overloaded.value(),
        )?;
        page.histogram(
            "twinlock_hash_wait_seconds",
            "How long a turn to hash was waited for.",
            &metrics.waited,
        )?;
        page.histogram("twinlock_hash_duration_seconds", "How long a hash took.", &metrics.took)
    }

    fn store(&self, page: &mut Page<'_>) -> fmt::Result {
        let metrics = self.engine.metrics();
        let verbs = [("load", &metrics.load), ("swap", &metrics.swap)];
        page.histograms(
            "twinlock_store_duration_seconds",
            "How long the store took, whatever came of it.",
            verbs.map(|(name, verb)| ([("operation", name)], &verb.took)),
        )?;
        page.counters(
            "twinlock_store_errors",
            "Operations of the store that failed, by why.",
            verbs.into_iter().flat_map(|(name, verb)| {
                verb.faults()
                    .map(move |(kind, count)| ([("operation", name), ("kind", kind)], count))
            }),
        )?;
        page.counter(
            "twinlock_store_swap_conflicts",
            "Decisions that were made again since the record had changed meanwhile.",
            metrics.swap_conflicts.value(),
        )?;
        let state = self.reported.store.load(Ordering::Relaxed);
        page.states(
            "twinlock_store_state",
            "How the store was found at the last look, once a second.",
            "state",
            &STORE_STATES,
            STORE_STATES[state.min(STORE_STATES.len() - 1)],
        )?;
        page.gauge(
            "twinlock_store_warnings",
            "What an operator should mend about the store; /readyz says it in words.",
            Some(self.engine.warnings().len() as u64),
        )?;
        page.gauge(
            "twinlock_records",
            "About how many records there are.",
            self.reported.records.load(Ordering::Relaxed).checked_sub(1),
        )?;
        page.gauge(
            "twinlock_clock_offset_seconds",
            "By how much the store's clock was ahead of the machine's at the last load.",
            metrics.clock_offset(),
        )
    }

    fn events(&self, page: &mut Page<'_>) -> fmt::Result {
        let counts = self.engine.events().map(|events| events.counts()).unwrap_or_default();
        let watchers = self.engine.events().map_or(0, |events| events.watchers());
        page.counter("twinlock_events_told", "Events that were passed on.", counts.told)?;
        page.counter("twinlock_events_dropped", "Events that were lost.", counts.dropped)?;
        page.counter(
            "twinlock_events_not_shared",
            "Events that watchers miss, since the shared log did not take them.",
            counts.not_shared,
        )?;
        page.gauge("twinlock_event_watchers", "Who watches events now.", Some(watchers as u64))?;
        page.counter(
            "twinlock_audit_lines_lost",
            "Lines of the audit trail that were not written.",
            self.losses.audit(),
        )?;
        page.counter(
            "twinlock_webhook_events_lost",
            "Events that were not delivered to the webhook.",
            self.losses.webhook(),
        )?;
        page.gauge(
            "twinlock_webhook_events_pending",
            "Events that wait to be delivered to the webhook.",
            Some(self.losses.webhook_pending() as u64),
        )?;
        let spans = |count: fn(&Sent) -> &Counter| {
            self.spans.as_deref().map_or(0, |sent| count(sent).value())
        };
        page.counter(
            "twinlock_spans_sent",
            "Spans that the collector took.",
            spans(|it| &it.taken),
        )?;
        page.counter(
            "twinlock_spans_lost",
            "Spans that the collector did not take.",
            spans(|it| &it.lost),
        )
    }

    fn keys(&self, page: &mut Page<'_>) -> fmt::Result {
        page.counters(
            "twinlock_tls_handshake_failures",
            "Handshakes of TLS that failed, by why.",
            self.tls
                .iter()
                .flat_map(|tls| tls.refused())
                .map(|(why, count)| ([("why", why)], count)),
        )?;
        page.gauge(
            "twinlock_tls_certificate_expiry_timestamp_seconds",
            "When the certificate that is served expires, in Unix time.",
            self.tls.as_ref().map(|tls| tls.expires().as_secs()),
        )?;
        let resealing = self.engine.resealing();
        let total = resealing.total();
        page.gauge(
            "twinlock_reseal_running",
            "1 while records are resealed.",
            Some(u64::from(resealing.is_running)),
        )?;
        page.gauge(
            "twinlock_reseal_records",
            "Records that the last look of a resealing found.",
            Some(total.records),
        )?;
        page.gauge(
            "twinlock_reseal_records_done",
            "Records among them that no former key seals any more.",
            Some(total.done),
        )?;
        page.gauge(
            "twinlock_reseal_records_left",
            "Records that cannot be resealed, being damaged or under an unknown key.",
            Some(resealing.left.values().sum::<u64>()),
        )
    }
}

impl Collector for Metrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("store", self.store)];
        page.info("twinlock_build", "What runs.", labels)?;
        self.calls(&mut page)?;
        self.decisions(&mut page)?;
        self.hashing(&mut page)?;
        self.store(&mut page)?;
        self.events(&mut page)?;
        self.keys(&mut page)?;
        process::write(&mut page)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
