//! The pass that reseals whatever a former key still seals, in the background.
//!
//! It goes in rounds: a walk that names what is to be done, at most so much at a time, and then one record
//! after the other by the same compare-and-swap as every change. A walk is never held open while records
//! are written: the embedded store's file would grow by all that is written meanwhile.

use super::Engine;
use super::keys::InForce;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::reseal::{self, Census, Left, Pace, Progress, Share};
use crate::seal::{KeyId, Keyring, key_of_marker};
use crate::store::{Durability, Loaded, RecordKey, Swap, Swapped, Version};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// How many records are resealed at one time: the embedded store syncs them together.
const AT_ONCE: usize = 10;
/// How often that many are begun at the gentle pace: 500 records a second.
const INTERVAL: Duration = Duration::from_millis(20);
/// How many records one round reseals; their names are kept in memory.
const ROUND: usize = 65_536;
/// How many rounds follow the one that named all that was left. What they find was sealed meanwhile, by a
/// replica that has not taken the keyring yet: it reseals that itself when it has, and until then there is no end.
const ROUNDS_AFTER: u32 = 2;
/// How often a record is tried that others write to at the same time. The next round tries it again.
const TRIES: u32 = 8;
/// How long the store may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is left between two pages of a walk for those who want to log in.
const BETWEEN_PAGES: Duration = Duration::from_millis(1);
/// The pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Engine {
    /// How far resealing is.
    pub fn resealing(&self) -> Progress {
        self.resealing.borrow().clone()
    }

    /// Starts resealing, or joins it where it is under way, and tells how far it is until it is done.
    ///
    /// Nothing of it needs to end well: a process that dies in the middle leaves the rest to the next pass.
    /// Where the store does not answer, it waits and goes on. It must be called within a Tokio runtime.
    pub fn reseal(self: &Arc<Self>, pace: Pace) -> watch::Receiver<Progress> {
        let progress = self.resealing.subscribe();
        let begins = self.resealing.send_if_modified(|progress| {
            let begins = !progress.is_running && !*self.stops_resealing.borrow();
            if begins {
                let resealed = progress.resealed;
                *progress = Progress { is_running: true, resealed, ..Progress::default() };
            }
            begins
        });
        if begins {
            let engine = self.clone();
            let mut stops = self.stops_resealing.subscribe();
            tokio::spawn(async move {
                let mut running = Running { progress: &engine.resealing, is_over: false };
                tokio::select! {
                    () = engine.rounds(pace) => running.is_over = true,
                    _ = stops.wait_for(|stops| *stops) => {
                        engine.resealing.send_modify(|progress| {
                            progress.trouble = Some("the server is stopping".into());
                        });
                    }
                }
            });
        }
        progress
    }

    /// Ends resealing for good, since the process ends. The next one goes on with it.
    pub fn end_resealing(&self) {
        self.stops_resealing.send_replace(true);
    }

    /// Which keys what is in the store needs. `looked` is called after every page.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn census(&self, mut looked: impl FnMut(&Census)) -> Result<Census, Error> {
        self.take_census(&mut looked, &mut |_| {}).await
    }

    async fn take_census(
        &self,
        looked: &mut impl FnMut(&Census),
        found_former: &mut impl FnMut(&RecordKey),
    ) -> Result<Census, Error> {
        let keyring = self.keyring();
        let mut census = Census::default();
        let markers = self.store.markers(Deadline::after(PATIENCE)).await?;
        census.markers.extend(markers.iter().filter_map(|marker| key_of_marker(marker).ok()));
        let mut walk = self.store.walk(Deadline::after(PATIENCE)).await?;
        while let Some(page) = walk.next(Deadline::after(PATIENCE)).await? {
            for record in page {
                let keys = reseal::keys(&keyring, || keyring.vault(&record.key), &record.bytes);
                let needs_former = keys.iter().any(|key| keyring.is_former(*key));
                // One that has lapsed may still come up, and needs nothing. Only the store knows its time.
                if needs_former && record.expire_at.is_some() {
                    let loading = self.store.load(&record.key, Deadline::after(PATIENCE));
                    if loading.await?.record.is_none() {
                        continue;
                    }
                }
                if needs_former {
                    found_former(&record.key);
                }
                let tally = census.namespaces.entry(record.key.namespace).or_default();
                tally.records += 1;
                for key in keys {
                    *tally.needing.entry(key).or_default() += 1;
                }
                tally.done += u64::from(!needs_former);
            }
            looked(&census);
            sleep(BETWEEN_PAGES).await;
        }
        Ok(census)
    }

    async fn rounds(self: &Arc<Self>, pace: Pace) {
        let mut left = HashMap::new();
        let mut pause = FIRST_PAUSE;
        let mut after = 0;
        loop {
            let keyring = self.keyring();
            match self.round(&keyring, &mut left, pace).await {
                Ok(Round::DidAll) if after < ROUNDS_AFTER => {
                    (after, pause) = (after + 1, FIRST_PAUSE)
                }
                Ok(Round::DidPart) => pause = FIRST_PAUSE,
                Ok(ended @ (Round::DidAll | Round::NothingLeft)) => {
                    report(&keyring, &left, matches!(ended, Round::NothingLeft));
                    if self.finish(&keyring) {
                        return;
                    }
                    // Another keyring may open what the one before could not.
                    left.clear();
                    after = 0;
                    self.resealing.send_modify(|progress| progress.left.clear());
                }
                Err(error) => {
                    tracing::warn!(%error, "resealing waits for the store");
                    self.resealing.send_modify(|progress| {
                        progress.trouble = Some("the store does not answer".into());
                    });
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Ends the pass, unless another keyring was taken meanwhile.
    fn finish(&self, keyring: &Arc<Keyring>) -> bool {
        let mut is_finished = false;
        self.resealing.send_modify(|progress| {
            is_finished = Arc::ptr_eq(keyring, &self.keyring());
            progress.is_running = !is_finished;
        });
        is_finished
    }

    async fn round(
        self: &Arc<Self>,
        keyring: &Keyring,
        left: &mut HashMap<RecordKey, KeyId>,
        pace: Pace,
    ) -> Result<Round, Error> {
        if !keyring.ids().any(|key| keyring.is_former(key)) {
            return Ok(Round::NothingLeft);
        }
        let mut due = Vec::new();
        let mut found_former = |key: &RecordKey| {
            if due.len() < ROUND && !left.contains_key(key) {
                due.push(key.clone());
            }
        };
        let census = self.take_census(&mut |_| {}, &mut found_former).await?;
        self.resealing.send_modify(|progress| {
            let share = |tally: &reseal::Tally| Share { records: tally.records, done: tally.done };
            let shares = census.namespaces.iter();
            progress.namespaces = shares.map(|(name, it)| (name.clone(), share(it))).collect();
            progress.trouble = None;
        });
        if !census.namespaces.values().any(|tally| tally.done < tally.records) {
            // The markers come last: until then no server starts that lacks a key which a record needs.
            self.renew_markers(keyring).await?;
        }
        if due.is_empty() {
            return Ok(Round::NothingLeft);
        }
        tracing::info!(records = due.len(), key = %keyring.primary(), "resealing records");
        for some in due.chunks(AT_ONCE) {
            let next = Instant::now() + INTERVAL;
            self.reseal_some(some, left).await?;
            if pace == Pace::Gentle {
                sleep_until(next).await;
            }
        }
        Ok(if due.len() < ROUND { Round::DidAll } else { Round::DidPart })
    }

    async fn renew_markers(&self, keyring: &Keyring) -> Result<(), Error> {
        let markers = self.store.markers(Deadline::after(PATIENCE)).await?;
        // One that does not open is for an examination to tell of; records are resealed all the same.
        let renewed = markers.iter().find_map(|marker| keyring.renewed_marker(marker).ok()?);
        if let Some(renewed) = renewed {
            self.store.renew_markers(&renewed, Deadline::after(PATIENCE)).await?;
            tracing::info!(key = %keyring.primary(), "resealed the marker of the dataset");
        }
        Ok(())
    }

    async fn reseal_some(
        self: &Arc<Self>,
        some: &[RecordKey],
        left: &mut HashMap<RecordKey, KeyId>,
    ) -> Result<(), Error> {
        let mut tasks = JoinSet::new();
        for key in some {
            let (engine, key) = (self.clone(), key.clone());
            tasks.spawn(async move {
                let outcome = engine.reseal_one(&key).await;
                (key, outcome)
            });
        }
        let mut failed = None;
        while let Some(ended) = tasks.join_next().await {
            let (key, outcome) = match ended {
                Ok((key, Ok(outcome))) => (key, outcome),
                Ok((_, Err(error))) => {
                    failed = Some(error);
                    continue;
                }
                Err(_) => {
                    failed = Some(Error::Internal("resealing a record panicked"));
                    continue;
                }
            };
            self.resealing.send_modify(|progress| {
                match &outcome {
                    Outcome::Resealed => progress.resealed += 1,
                    Outcome::NotNeeded => {}
                    Outcome::Left(_, id) => {
                        *progress.left.entry(*id).or_default() += 1;
                        return;
                    }
                    Outcome::Raced => return,
                }
                let share = progress.namespaces.entry(key.namespace.clone()).or_default();
                share.done = (share.done + 1).min(share.records);
            });
            if let Outcome::Left(why, id) = outcome {
                tracing::debug!(key = %id, %why, "a record is left as it is");
                left.insert(key, id);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn reseal_one(&self, key: &RecordKey) -> Result<Outcome, Error> {
        for _ in 0..TRIES {
            let deadline = Deadline::after(PATIENCE);
            let Loaded { record, now } = self.store.load(key, deadline).await?;
            let Some((version, bytes)) = record else { return Ok(Outcome::NotNeeded) };
            let in_force = self.keys.in_force();
            let InForce { keyring } = &*in_force;
            let vault = keyring.vault(key);
            let record = match reseal::reseal(keyring, &vault, &bytes) {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(Outcome::NotNeeded),
                Err(why) => {
                    let named = reseal::named_key(&bytes).unwrap_or(keyring.primary());
                    return Ok(Outcome::Left(why, named));
                }
            };
            let expire_at = record.expires_at(&self.policy);
            if expire_at.is_some_and(|end| end <= now) {
                // The store is about to forget it.
                return Ok(Outcome::NotNeeded);
            }
            let swap = Swap {
                key: key.clone(),
                expected: Some(version),
                version: Version::fresh(),
                bytes: Some(vault.write(&record)),
                expire_at,
                // A lost one is made again: the former key still opens the record.
                durability: Durability::Attempt,
                decided_at: None,
            };
            if self.store.swap(swap, deadline).await? == Swapped::Done {
                return Ok(Outcome::Resealed);
            }
        }
        Ok(Outcome::Raced)
    }
}

enum Round {
    /// There was nothing to do.
    NothingLeft,
    /// All that it found was tried.
    DidAll,
    /// There was more than one round takes.
    DidPart,
}

enum Outcome {
    Resealed,
    /// It is gone, or somebody else resealed it.
    NotNeeded,
    /// Others kept writing to it.
    Raced,
    Left(Left, KeyId),
}

/// Says that nothing runs any more where it does not come to its end; at its end, the next pass may have
/// begun already.
struct Running<'a> {
    progress: &'a watch::Sender<Progress>,
    is_over: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.progress.send_modify(|progress| progress.is_running = false);
        }
    }
}

fn report(keyring: &Keyring, left: &HashMap<RecordKey, KeyId>, nothing_else: bool) {
    let mut counts: BTreeMap<KeyId, u64> = BTreeMap::new();
    left.values().for_each(|key| *counts.entry(*key).or_default() += 1);
    for (key, records) in counts {
        tracing::error!(
            %key,
            records,
            "records cannot be resealed: they are damaged, or of a later release; the key must stay"
        );
    }
    match (left.is_empty(), nothing_else) {
        (true, true) => tracing::info!(key = %keyring.primary(), "no former key seals anything"),
        (_, false) => tracing::info!(
            key = %keyring.primary(),
            "resealed, but other replicas still seal under a former key: they lack the new keyring"
        ),
        (false, true) => {}
    }
}
