//! One server, and the connections to it.
//!
//! All calls share one connection. It is made when it is first needed, by one task however many wait for
//! it, and replaced as soon as it breaks or falls silent. After a failure the next try waits a little
//! longer each time, by a random share, so that many replicas of Twinlock do not come all at once.

use super::address::Address;
use super::connection::{Connection, Connector};
use super::fault::Fault;
use super::keys::Bucket;
use super::markers::{self, Found, Survey};
use super::server::{self, Facts};
use super::unavailable;
use crate::deadline::Deadline;
use crate::entropy;
use crate::store::StoreError;
use redis::{Cmd, Pipeline, Value, cmd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// The pause after the first failure; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest pause: a server that is back is noticed within it.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);
/// How many connections may wait for replicas at once.
const RESERVED: usize = 64;
/// How many of those are kept when they are idle.
const IDLE: usize = 8;
/// How long it is believed of a server what it is.
const EXAMINED_FOR: Duration = Duration::from_secs(10);
/// How many buckets a sample has.
const SAMPLE: usize = 16;

/// A server.
pub(super) struct Node {
    pub(super) address: Address,
    settings: Arc<Settings>,
    shared: Mutex<Shared>,
    /// Connections for those who wait for replicas: a wait speaks of the writes of its own connection
    /// alone, and nothing else is answered on it meanwhile.
    idle: Mutex<Vec<Connection>>,
    reserved: Semaphore,
}

/// What is common to all servers.
pub(super) struct Settings {
    pub(super) connector: Arc<Connector>,
    pub(super) is_cluster: bool,
    /// The marker of the dataset, once it is known.
    pub(super) marker: OnceLock<Vec<u8>>,
}

#[derive(Default)]
struct Shared {
    live: Option<Arc<Live>>,
    attempt: Option<Attempt>,
    failures: u32,
    /// Why the last attempt failed.
    cause: Option<String>,
    /// The buckets that are this server's.
    buckets: Arc<[Bucket]>,
    /// What the last look at all of their markers found wrong.
    defect: Option<String>,
}

/// Becomes something when the attempt has ended.
type Attempt = watch::Receiver<Option<Result<Arc<Live>, String>>>;

/// A connection to a server that was examined.
pub(super) struct Live {
    connection: Connection,
    facts: Mutex<Facts>,
    /// When the facts are to be looked at again.
    due: Mutex<Deadline>,
    /// Whether somebody is finding out already whether it still answers.
    is_probed: AtomicBool,
}

impl Node {
    pub(super) fn new(address: Address, settings: Arc<Settings>) -> Self {
        let (shared, idle) = Default::default();
        Self { address, settings, shared, idle, reserved: Semaphore::new(RESERVED) }
    }

    /// The shared connection, if it is there.
    pub(super) fn connected(&self) -> Option<Arc<Live>> {
        self.shared().live.clone().filter(|live| !live.connection.is_closed())
    }

    /// The shared connection; waits for one attempt to make it where there is none.
    pub(super) async fn live(self: &Arc<Self>, until: Deadline) -> Result<Arc<Live>, String> {
        let mut attempt = {
            let mut shared = self.shared();
            match &shared.live {
                Some(live) if !live.connection.is_closed() => return Ok(live.clone()),
                Some(_) => forget(&mut shared),
                None => {}
            }
            match &shared.attempt {
                // One whose task is gone will never end.
                Some(attempt) if attempt.has_changed().is_ok() => attempt.clone(),
                _ => self.begin(&mut shared),
            }
        };
        match until.limit(attempt.wait_for(Option::is_some)).await {
            Ok(Ok(ended)) => ended.clone().unwrap_or_else(|| Err("no attempt was made".into())),
            Ok(Err(_)) => Err(format!("connecting to {} was given up", self.address)),
            Err(_) => Err(self
                .shared()
                .cause
                .clone()
                .unwrap_or_else(|| format!("cannot connect to {} in time", self.address))),
        }
    }

    /// Sends one command on the shared connection.
    pub(super) async fn send(
        self: &Arc<Self>,
        live: &Arc<Live>,
        command: &Cmd,
        until: Deadline,
    ) -> Result<Value, Fault> {
        let limit = until.within(self.settings.connector.timeout);
        let answer = live.connection.send(command, limit).await;
        self.observe(live, until, answer)
    }

    /// Sends commands in one piece on the shared connection.
    pub(super) async fn send_all(
        self: &Arc<Self>,
        live: &Arc<Live>,
        commands: &Pipeline,
        until: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        let limit = until.within(self.settings.connector.timeout);
        let answers = live.connection.send_all(commands, limit).await;
        self.observe(live, until, answers)
    }

    /// Sends commands in one piece on a connection that nobody else uses meanwhile. They may take until
    /// the deadline, for they wait for others than the server.
    pub(super) async fn send_alone(
        &self,
        commands: &Pipeline,
        until: Deadline,
    ) -> Result<Vec<Value>, Fault> {
        let (connection, _permit) = self.reserve(until).await.map_err(Fault::NotSent)?;
        let answers = connection.send_all(commands, until).await;
        let mut idle = lock(&self.idle);
        if answers.is_err() {
            // The others are as old, and as likely dead.
            idle.clear();
        } else if idle.len() < IDLE {
            idle.push(connection);
        }
        answers
    }

    /// Looks at all markers of this server where the last look found something wrong, else at some of
    /// them; the error says what is wrong.
    pub(super) async fn check(self: &Arc<Self>, until: Deadline) -> Result<(), Defect> {
        let mut checked = self.check_once(until).await;
        // That a connection was closed since it was last used says nothing about the server.
        if matches!(checked, Err(Defect::Unanswered(Fault::NotSent(_) | Fault::Broken(_)))) {
            checked = self.check_once(until).await;
        }
        checked
    }

    async fn check_once(self: &Arc<Self>, until: Deadline) -> Result<(), Defect> {
        let live = self.live(until).await.map_err(Defect::Unfit)?;
        self.examine_again(&live, until).await?;
        let (buckets, was_whole) = {
            let shared = self.shared();
            (shared.buckets.clone(), shared.defect.is_none())
        };
        if was_whole {
            self.survey(&live, &sample(&buckets), until).await?;
        }
        if self.shared().defect.is_some() {
            self.survey(&live, &buckets, until).await?;
        }
        self.shared().defect.clone().map_or(Ok(()), |defect| Err(Defect::Incomplete(defect)))
    }

    /// Reads the markers of the server's buckets.
    pub(super) async fn markers(
        self: &Arc<Self>,
        live: &Arc<Live>,
        buckets: &[Bucket],
        until: Deadline,
    ) -> Result<Vec<Found>, Defect> {
        if buckets.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.send_all(live, &markers::question(buckets), until).await?;
        markers::read(answers).map_err(Defect::Unfit)
    }

    /// Tells the server's buckets. Those of a live server are looked at where they are new ones.
    pub(super) fn assign(self: &Arc<Self>, buckets: Vec<Bucket>) {
        let mut shared = self.shared();
        if *shared.buckets == buckets {
            return;
        }
        shared.buckets = buckets.into();
        if let Some(live) = shared.live.clone() {
            let node = self.clone();
            tokio::spawn(async move { node.survey_all(&live).await });
        }
    }

    /// The buckets that are this server's.
    pub(super) fn buckets(&self) -> Arc<[Bucket]> {
        self.shared().buckets.clone()
    }

    /// Starts the one task that connects.
    fn begin(self: &Arc<Self>, shared: &mut Shared) -> Attempt {
        let (ended, attempt) = watch::channel(None);
        shared.attempt = Some(attempt.clone());
        let (node, failures) = (self.clone(), shared.failures);
        tokio::spawn(async move {
            tokio::time::sleep(pause(failures)).await;
            let result = node.connect().await;
            {
                let mut shared = node.shared();
                shared.attempt = None;
                match &result {
                    Ok(live) => {
                        shared.live = Some(live.clone());
                        (shared.failures, shared.cause) = (0, None);
                    }
                    Err(cause) => {
                        shared.failures = shared.failures.saturating_add(1);
                        shared.cause = Some(cause.clone());
                    }
                }
            }
            let _ = ended.send(Some(result.clone()));
            if let Ok(live) = result {
                node.survey_all(&live).await;
            }
        });
        attempt
    }

    async fn connect(&self) -> Result<Arc<Live>, String> {
        let Settings { connector, is_cluster, .. } = &*self.settings;
        let until = Deadline::after(connector.timeout);
        let connection = connector.connect(&self.address, until).await?;
        let answers = connection.send_all(&server::questions(), until).await;
        let facts = answers
            .map_err(Fault::into_cause)
            .and_then(|answers| server::facts(&answers, *is_cluster))
            .map_err(|cause| format!("{} cannot be used: {cause}", self.address))?;
        for warning in &facts.warnings {
            tracing::warn!(server = %self.address, "{warning}");
        }
        Ok(Arc::new(Live {
            connection,
            facts: Mutex::new(facts),
            due: Mutex::new(Deadline::after(EXAMINED_FOR)),
            is_probed: AtomicBool::new(false),
        }))
    }

    /// Asks a server again what it is, from time to time: its settings may be changed while it runs.
    async fn examine_again(
        self: &Arc<Self>,
        live: &Arc<Live>,
        until: Deadline,
    ) -> Result<(), Defect> {
        if !lock(&live.due).remaining().is_zero() {
            return Ok(());
        }
        let answers = self.send_all(live, &server::questions(), until).await?;
        let facts = server::facts(&answers, self.settings.is_cluster);
        *lock(&live.facts) = facts
            .map_err(|cause| Defect::Unfit(format!("{} cannot be used: {cause}", self.address)))?;
        *lock(&live.due) = Deadline::after(EXAMINED_FOR);
        Ok(())
    }

    /// Looks at all markers of the server after something may have happened to it.
    async fn survey_all(self: &Arc<Self>, live: &Arc<Live>) {
        let until = Deadline::after(self.settings.connector.timeout);
        let buckets = self.buckets();
        // Where this fails, the connection or the table of slots is out of date; the next one tells.
        let _ = self.survey(live, &buckets, until).await;
    }

    async fn survey(
        self: &Arc<Self>,
        live: &Arc<Live>,
        buckets: &[Bucket],
        until: Deadline,
    ) -> Result<(), Defect> {
        let Some(marker) = self.settings.marker.get() else { return Ok(()) };
        let mut survey = Survey::against(marker);
        for found in self.markers(live, buckets, until).await? {
            survey.add(found);
        }
        let found = survey.fault();
        let mut shared = self.shared();
        if found != shared.defect {
            match &found {
                Some(defect) => tracing::error!(server = %self.address, "{defect}"),
                None => tracing::info!(server = %self.address, "all markers are there again"),
            }
        }
        shared.defect = found;
        Ok(())
    }

    /// Draws the conclusion from how an exchange ended: a connection that broke is replaced, and so is
    /// one that was silent for the whole time-out.
    fn observe<T>(
        self: &Arc<Self>,
        live: &Arc<Live>,
        until: Deadline,
        answer: Result<T, Fault>,
    ) -> Result<T, Fault> {
        match &answer {
            Ok(_) => {}
            Err(Fault::Silent(_)) if until.remaining().is_zero() => self.probe(live),
            Err(_) => self.discard(live),
        }
        answer
    }

    /// A call whose own time was short proves nothing about a connection that others use: ask.
    fn probe(self: &Arc<Self>, live: &Arc<Live>) {
        if live.is_probed.swap(true, Ordering::AcqRel) {
            return;
        }
        let (node, live) = (self.clone(), live.clone());
        tokio::spawn(async move {
            let until = Deadline::after(node.settings.connector.timeout);
            if live.connection.send(&cmd("PING"), until).await.is_err() {
                node.discard(&live);
            }
            live.is_probed.store(false, Ordering::Release);
        });
    }

    fn discard(&self, live: &Arc<Live>) {
        live.connection.close();
        let mut shared = self.shared();
        if shared.live.as_ref().is_some_and(|current| Arc::ptr_eq(current, live)) {
            forget(&mut shared);
        }
    }

    async fn reserve(&self, until: Deadline) -> Result<(Connection, SemaphorePermit<'_>), String> {
        let permit = match until.limit(self.reserved.acquire()).await {
            Ok(Ok(permit)) => permit,
            _ => return Err("too many changes wait for replicas".into()),
        };
        while let Some(connection) = lock(&self.idle).pop() {
            if !connection.is_closed() {
                return Ok((connection, permit));
            }
        }
        Ok((self.settings.connector.connect(&self.address, until).await?, permit))
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }
}

/// Why a server is not as it should be.
pub(super) enum Defect {
    /// It did not answer.
    Unanswered(Fault),
    /// It cannot be reached or used.
    Unfit(String),
    /// Its markers are not as they must be.
    Incomplete(String),
}

impl From<Fault> for Defect {
    fn from(fault: Fault) -> Self {
        Self::Unanswered(fault)
    }
}

impl From<Defect> for StoreError {
    fn from(defect: Defect) -> Self {
        match defect {
            Defect::Unanswered(fault) => unavailable(fault.into_cause(), false),
            Defect::Unfit(cause) => unavailable(cause, false),
            Defect::Incomplete(cause) => Self::Incomplete(cause),
        }
    }
}

impl Live {
    /// The connection, for what is not a call: its faults are no reason to replace it.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What the server is, as far as was last seen.
    pub(super) fn facts(&self) -> Facts {
        lock(&self.facts).clone()
    }

    /// Whether the server can tell when a write is on the disk.
    pub(super) fn tells_of_disks(&self) -> bool {
        lock(&self.facts).tells_of_disks
    }
}

/// A lost connection counts as the first failure.
fn forget(shared: &mut Shared) {
    shared.live = None;
    shared.failures = shared.failures.max(1);
}

/// Half the pause is certain and half by chance.
fn pause(failures: u32) -> Duration {
    if failures == 0 {
        return Duration::ZERO;
    }
    let whole = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(8)).min(LONGEST_PAUSE);
    let chance = u32::from(u16::from_be_bytes(entropy::bytes()));
    whole / 2 + (whole / 2).mul_f64(f64::from(chance) / f64::from(u16::MAX))
}

fn sample(buckets: &[Bucket]) -> Vec<Bucket> {
    if buckets.is_empty() {
        return Vec::new();
    }
    let chance: [u8; 2 * SAMPLE] = entropy::bytes();
    let picks = chance.chunks_exact(2).map(|two| usize::from(u16::from_be_bytes([two[0], two[1]])));
    picks.map(|pick| buckets[pick % buckets.len()]).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_differ() {
        assert_eq!(pause(0), Duration::ZERO);
        for (failures, whole) in [(1, 20), (2, 40), (5, 320), (6, 400), (1000, 400)] {
            let whole = Duration::from_millis(whole);
            for _ in 0..100 {
                let pause = pause(failures);
                assert!(whole / 2 <= pause && pause <= whole, "{failures}: {pause:?}");
            }
        }
        let first = pause(6);
        assert!((0..100).any(|_| pause(6) != first));
    }
}
