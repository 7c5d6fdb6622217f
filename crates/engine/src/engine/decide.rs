//! The loop that makes every rule exact: load, decide, swap, and begin again if somebody was faster.

use super::{Call, Engine, On};
use crate::SPANS;
use crate::error::Error;
use crate::events::{self, Events, Occurrence};
use crate::metrics::Verb;
use crate::seal::{Named, Naming, Purpose, Unreadable};
use crate::store::{Durability, Loaded, RecordKey, StoreError, Swap, Swapped, Version};
use tokio::time::Instant;
use tracing::Instrument;
use twinlock_core::answer::Answer;
use twinlock_core::decision::{self, Decision, Event, EventKind, Factor};
use twinlock_core::receipt::{self, Found, Mark};
use twinlock_core::{Record, Refusal, Timestamp};

/// What a request with an id is known by.
pub(super) struct Asked {
    /// Under each key of the keyring, the primary first.
    pub(super) marks: Vec<Mark>,
    /// The counter of the proof that came with it.
    proof: Option<Factor>,
}

impl Asked {
    fn primary(&self) -> Mark {
        self.marks[0]
    }
}

/// All that makes a request what it is: its method, and each field in turn. The client context is none of it,
/// for a retry may change that.
pub(super) struct Fields(Naming);

impl Fields {
    /// And this one. With their lengths, two lists of fields that differ never read the same.
    pub(super) fn and(mut self, field: impl AsRef<[u8]>) -> Self {
        let field = field.as_ref();
        self.0.add(&(field.len() as u64).to_be_bytes());
        self.0.add(field);
        self
    }
}

/// What to do about a record.
#[allow(clippy::large_enum_variant, reason = "it is matched at once where it is made")]
pub(super) enum Step<T> {
    /// Answer at once; nothing changes.
    Answer(Result<T, Error>),
    /// Keep what was decided, and then answer.
    Decide(Decision<T>),
}

/// What a step comes to.
struct Weighed<T> {
    /// What must be written before the outcome holds; `None` where nothing changes.
    swap: Option<Swap>,
    outcome: Result<T, Error>,
    events: Vec<Event>,
}

impl Engine {
    /// Decides one request: receipts first, then the rule.
    pub(super) async fn decide<T: Answer>(
        &self,
        call: &Call,
        on: &On,
        asked: Option<&Asked>,
        rule: impl Fn(Record, Timestamp) -> Result<Decision<T>, Error>,
    ) -> Result<T, Error> {
        self.run(call, on, |record, now| {
            let mut decision = match asked.map(|asked| (asked, on.repeat(asked, &record, now))) {
                Some((_, Some(Repeat::Answer(answer)))) => return Ok(self.again(answer, record)),
                Some((asked, Some(Repeat::Reused))) => {
                    decision::reused(record, &self.policy, now, asked.proof)
                }
                _ => rule(record, now)?,
            };
            if let (Some(asked), Some(record)) = (asked, &mut decision.record) {
                on.remember(asked, record, &decision.outcome, now);
            }
            Ok(Step::Decide(decision))
        })
        .await
    }

    /// The answer that a repeat gets.
    ///
    /// Where the store waits for replicas, nothing tells whether they confirmed the first try: it may be
    /// repeated for that very reason. So the record is written again, as durably as the answer asks, and
    /// the answer waits for it.
    pub(super) fn again<T: Answer>(&self, answer: Result<T, Error>, record: Record) -> Step<T> {
        let durability = match &answer {
            Ok(answer) if answer.is_lasting() => Durability::Enrollment,
            _ => Durability::Attempt,
        };
        let outcome = match answer {
            Ok(answer) => Ok(answer),
            Err(Error::Refused(refusal)) => Err(refusal),
            unreadable => return Step::Answer(unreadable),
        };
        if !self.store.waits_for(durability) {
            return Step::Answer(outcome.map_err(Error::from));
        }
        Step::Decide(Decision { outcome, record: Some(record), durability, events: Vec::new() })
    }

    /// Runs one step against the record until its swap succeeds or the deadline passes.
    ///
    /// It begins with what was seen of the record lately, where anything was. That serves for a change alone:
    /// then the swap tells whether it was still true. An answer that changes nothing needs a load.
    pub(super) async fn run<T>(
        &self,
        call: &Call,
        on: &On,
        step: impl Fn(Record, Timestamp) -> Result<Step<T>, Error>,
    ) -> Result<T, Error> {
        let mut recent = self.store.recent().and_then(|recent| recent.take(&on.key));
        loop {
            let is_loaded = recent.is_none();
            let Loaded { record: found, now } = match recent.take() {
                Some(recent) => recent,
                None => self.load(call, on).await?,
            };
            let Some(weighed) = self.weigh(on, found.as_ref(), now, is_loaded, &step) else {
                continue;
            };
            let Weighed { swap, outcome, events } = weighed?;
            if let Some(swap) = swap {
                if self.swap(call, on, swap).await? == Swapped::Changed {
                    if is_loaded {
                        self.metrics.swap_conflicts.add();
                    }
                    if call.deadline.remaining().is_zero() {
                        return Err(Error::Contended);
                    }
                    continue;
                }
            } else if let (Some(recent), Some((version, bytes)), Ok(_)) =
                (self.store.recent(), found, &outcome)
            {
                recent.keep(&on.key, version, bytes, now);
            }
            self.publish(call, &on.key, Some(now), events);
            return outcome;
        }
    }

    /// Decides on what was found; `None` where only a load can tell. It awaits nothing, so that a call has no
    /// room for records while it waits for its swap.
    fn weigh<T>(
        &self,
        on: &On,
        found: Option<&(Version, Vec<u8>)>,
        now: Timestamp,
        is_loaded: bool,
        step: impl Fn(Record, Timestamp) -> Result<Step<T>, Error>,
    ) -> Option<Result<Weighed<T>, Error>> {
        let record = if is_loaded { on.read(found) } else { on.read_again(found) };
        let decided = record.and_then(|record| step(record, now));
        if !is_loaded && !matches!(&decided, Ok(Step::Decide(it)) if it.record.is_some()) {
            return None;
        }
        Some(decided.map(|decided| {
            let Decision { outcome, record, durability, events } = match decided {
                Step::Answer(outcome) => {
                    return Weighed { swap: None, outcome, events: Vec::new() };
                }
                Step::Decide(decision) => decision,
            };
            let swap = record.map(|record| {
                let record = record.tidied(&self.policy, now);
                let expire_at = record.expires_at(&self.policy);
                let holds_nothing = expire_at.is_some_and(|end| end <= now);
                Swap {
                    key: on.key.clone(),
                    expected: found.map(|(version, _)| *version),
                    version: Version::fresh(),
                    bytes: (!holds_nothing).then(|| on.vault.write(&record)),
                    expire_at,
                    durability,
                    decided_at: (!is_loaded).then_some(now),
                }
            });
            Weighed { swap, outcome: outcome.map_err(Error::from), events }
        }))
    }

    /// Tells what happened, after the swap that made it true.
    pub(super) fn publish(
        &self,
        call: &Call,
        key: &RecordKey,
        at: Option<Timestamp>,
        happened: impl IntoIterator<Item = Event>,
    ) {
        for (index, event) in happened.into_iter().enumerate() {
            self.metrics.count(&event, index == 0);
            if event.kind == EventKind::LegacyLogin {
                tracing::warn!(
                    "a login was let through without a second step: login.mode is \"legacy\""
                );
            }
            let what = Occurrence {
                at: at.or_else(|| self.events.as_ref().map(Events::now)).unwrap_or_default(),
                kind: event.kind,
                namespace: key.namespace.clone(),
                user: key.user.clone(),
                actor: call.actor.clone(),
                caller: call.caller.clone(),
                method: event.method,
                reason: event.reason,
                client: call.client.clone(),
            };
            match &self.events {
                Some(events) => events.tell(what),
                None => events::log(&what, None),
            }
        }
    }

    /// Reads a record, for calls that change nothing.
    pub(super) async fn read(&self, call: &Call, on: &On) -> Result<(Record, Timestamp), Error> {
        let Loaded { record, now } = self.load(call, on).await?;
        Ok((on.read(record.as_ref())?, now))
    }

    async fn load(&self, call: &Call, on: &On) -> Result<Loaded, StoreError> {
        let loaded = self.load_stored(call, on).await?;
        self.metrics.compare_clocks(loaded.now);
        Ok(loaded)
    }

    /// Swaps once. Where the store cannot say what became of it, the record tells; but not whether
    /// replicas have it, where they must: then only a repeat finds that out.
    async fn swap(&self, call: &Call, on: &On, swap: Swap) -> Result<Swapped, Error> {
        let version = swap.version;
        let record_tells = !self.store.waits_for(swap.durability);
        let swapping = self.store.swap(swap, call.deadline);
        let error = match ask("swap", &self.metrics.swap, swapping).await {
            Ok(swapped) => return Ok(swapped),
            Err(error) => error,
        };
        if !record_tells
            || !matches!(error, StoreError::Unavailable { may_have_happened: true, .. })
        {
            return Err(error.into());
        }
        match self.load_stored(call, on).await {
            Ok(Loaded { record: Some((found, _)), .. }) if found == version => Ok(Swapped::Done),
            _ => Err(error.into()),
        }
    }

    async fn load_stored(&self, call: &Call, on: &On) -> Result<Loaded, StoreError> {
        let loading = self.store.load(&on.key, call.deadline);
        ask("load", &self.metrics.load, loading).await
    }
}

/// Asks the store, which answers by the call's deadline.
async fn ask<T>(
    name: &'static str,
    verb: &Verb,
    asking: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let begun = Instant::now();
    let span = tracing::info_span!(target: SPANS, "store", otel.name = name);
    let answered = asking.instrument(span).await;
    verb.record(begun.elapsed(), &answered);
    answered
}

/// What is known of a request that may be a repeat.
pub(super) enum Repeat<T> {
    /// It was decided, and this was the answer.
    Answer(Result<T, Error>),
    /// Its id stands for another request.
    Reused,
}

impl On {
    /// What a repeat of this request is known by; `None` where the caller gave it no id. Only for one are its
    /// fields asked for, of which some have to be written out.
    pub(super) fn asked(
        &self,
        call: &Call,
        method: &str,
        proof: Option<Factor>,
        fields: impl FnOnce(Fields) -> Fields,
    ) -> Option<Asked> {
        let id = call.request_id.as_ref()?;
        let ids = self.vault.digests(Named::RequestId, id.as_str().as_bytes());
        let Fields(request) = fields(Fields(self.vault.naming(Named::Request)).and(method));
        let marks = ids.zip(request.digests()).map(|(id, request)| Mark { id, request });
        Some(Asked { marks: marks.collect(), proof })
    }

    /// Reads what the store has; nobody is known where that is nothing.
    fn read(&self, found: Option<&(Version, Vec<u8>)>) -> Result<Record, Error> {
        Ok(found.map(|(_, bytes)| self.vault.read(bytes)).transpose()?.unwrap_or_default())
    }

    /// Reads what was kept of an earlier call, which has read it.
    fn read_again(&self, kept: Option<&(Version, Vec<u8>)>) -> Result<Record, Error> {
        Ok(kept.map(|(_, bytes)| self.vault.read_again(bytes)).transpose()?.unwrap_or_default())
    }

    /// Looks the request up; `None` where it is new.
    pub(super) fn repeat<T: Answer>(
        &self,
        asked: &Asked,
        record: &Record,
        now: Timestamp,
    ) -> Option<Repeat<T>> {
        match receipt::find(record, &asked.marks, now) {
            Found::Nothing => None,
            Found::Reused => Some(Repeat::Reused),
            Found::Refused(refusal) => Some(Repeat::Answer(Err(refusal.into()))),
            Found::Answer(sealed) => {
                let answer = self.vault.open(Purpose::Answer, sealed);
                let answer = answer
                    .and_then(|bytes| T::from_bytes(&bytes).ok_or(Unreadable::Damaged))
                    .map_err(Error::from);
                Some(Repeat::Answer(answer))
            }
        }
    }

    /// Keeps a receipt of what was decided.
    pub(super) fn remember<T: Answer>(
        &self,
        asked: &Asked,
        record: &mut Record,
        outcome: &Result<T, Refusal>,
        now: Timestamp,
    ) {
        match outcome {
            Ok(answer) => {
                let sealed = self.vault.seal(Purpose::Answer, &answer.to_bytes());
                let holds = answer.holds();
                receipt::remember_success(record, asked.primary(), sealed, holds, now);
            }
            Err(refusal) => receipt::remember_refusal(record, asked.primary(), refusal, now),
        }
    }
}
