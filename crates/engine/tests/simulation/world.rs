//! The simulated store: a primary, a replica that follows it with a lag, and the network to both.

use async_trait::async_trait;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use twinlock_core::Timestamp;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::recent::is_in_time;
use twinlock_engine::store::{
    Durability, Loaded, Recent, Record, RecordKey, Store, StoreError, Swap, Swapped, Version, Walk,
    dataset_name,
};

const MARKER: &[u8] = b"the marker of a simulation";

/// How long a replica of the service waits for an answer of the store.
const PATIENCE: Duration = Duration::from_secs(1);

/// Which changes wait until the replica has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledging {
    /// None, and there is no failover.
    NoFailover,
    /// Those of enrollments.
    Enrollments,
    /// All.
    All,
}

type Records = BTreeMap<String, Kept>;

#[derive(Clone)]
struct Kept {
    key: RecordKey,
    version: Version,
    bytes: Vec<u8>,
    expire_at: Option<Timestamp>,
}

impl Kept {
    fn record(&self) -> Record {
        let Self { key, version, bytes, expire_at } = self.clone();
        Record { key, version, bytes, expire_at }
    }
}

/// What happened to the one record that the test looks at.
pub enum Change {
    /// A swap was made.
    Swapped(Option<Vec<u8>>),
    /// The primary failed over: this is what the replica had.
    FailedOver(Option<Vec<u8>>),
}

/// The store and the network, with the dice that decide what goes wrong.
pub struct World(Mutex<State>);

struct State {
    dice: fastrand::Rng,
    began: Instant,
    /// What the store's clock is ahead of the time that has passed.
    clock: u64,
    marker: Vec<u8>,
    primary: Records,
    replica: Records,
    /// Changes on their way to the replica, in order.
    behind: VecDeque<(Instant, String, Option<Kept>)>,
    failovers: u64,
    acknowledging: Acknowledging,
    /// Of a hundred messages, how many go wrong.
    storm: u32,
    history: Vec<Change>,
}

impl World {
    pub fn new(seed: u64, acknowledging: Acknowledging) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            dice: fastrand::Rng::with_seed(seed),
            began: Instant::now(),
            clock: 1_800_000_000_000,
            marker: MARKER.to_vec(),
            primary: Records::new(),
            replica: Records::new(),
            behind: VecDeque::new(),
            failovers: 0,
            acknowledging,
            storm: 0,
            history: Vec::new(),
        })))
    }

    /// A number below `end`.
    pub fn roll(&self, end: u64) -> u64 {
        self.state().dice.u64(..end)
    }

    pub fn now(&self) -> Timestamp {
        self.state().now()
    }

    pub fn set_storm(&self, of_a_hundred: u32) {
        self.state().storm = of_a_hundred;
    }

    /// The store's clock jumps forward. Backward is for the tests of the rules: it makes receipts lapse, and
    /// with them what this one relies on.
    pub fn jump_forward(&self, by: Duration) {
        self.state().clock += by.as_millis() as u64;
    }

    /// The primary dies, and the replica is the primary: what had not come to it is lost.
    pub fn fail_over(&self) {
        let mut state = self.state();
        state.replicate();
        state.primary = state.replica.clone();
        state.behind.clear();
        state.failovers += 1;
        let bytes = state.primary.values().next().map(|kept| kept.bytes.clone());
        state.history.push(Change::FailedOver(bytes));
    }

    /// All that happened to the record.
    pub fn take_history(&self) -> Vec<Change> {
        std::mem::take(&mut self.state().history)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test thread panicked")
    }

    /// What becomes of one message: how long it takes, and whether it arrives.
    fn send(&self) -> Trip {
        let mut state = self.state();
        let storm = state.storm;
        let goes_wrong = state.dice.u32(..100) < storm;
        let quick = Duration::from_micros(state.dice.u64(50..2_000));
        if !goes_wrong {
            return Trip { takes: quick, is_lost: false };
        }
        let slow = Duration::from_millis(state.dice.u64(1..3_000));
        Trip { takes: slow, is_lost: state.dice.bool() }
    }
}

struct Trip {
    takes: Duration,
    is_lost: bool,
}

impl State {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock).after(self.began.elapsed())
    }

    fn replicate(&mut self) {
        while self.behind.front().is_some_and(|(at, ..)| *at <= Instant::now()) {
            if let Some((_, key, kept)) = self.behind.pop_front() {
                put(&mut self.replica, key, kept);
            }
        }
    }

    fn load(&mut self, key: &RecordKey) -> Loaded {
        let now = self.now();
        let found = self.primary.get(&name(key));
        let found = found.filter(|kept| kept.expire_at.is_none_or(|end| end > now));
        Loaded { record: found.map(|kept| (kept.version, kept.bytes.clone())), now }
    }

    /// Makes the swap if nobody was faster; gives the moment at which the replica has it.
    fn swap(&mut self, swap: &Swap) -> Option<Instant> {
        let Loaded { record, now } = self.load(&swap.key);
        if record.map(|(version, _)| version) != swap.expected || !is_in_time(swap.decided_at, now)
        {
            return None;
        }
        let kept = swap.bytes.clone().map(|bytes| Kept {
            key: swap.key.clone(),
            version: swap.version,
            bytes,
            expire_at: swap.expire_at,
        });
        put(&mut self.primary, name(&swap.key), kept.clone());
        self.replicate();
        // The replica applies changes in order, so none overtakes another.
        let lag = Duration::from_millis(match self.dice.u32(..10) {
            0 if self.storm > 0 => self.dice.u64(..3_000),
            _ => self.dice.u64(..20),
        });
        let after = self.behind.back().map_or(Instant::now(), |(at, ..)| *at);
        let at = after.max(Instant::now() + lag);
        self.behind.push_back((at, name(&swap.key), kept));
        self.history.push(Change::Swapped(swap.bytes.clone()));
        Some(at)
    }
}

fn put(records: &mut Records, name: String, kept: Option<Kept>) {
    match kept {
        Some(kept) => records.insert(name, kept),
        None => records.remove(&name),
    };
}

fn name(key: &RecordKey) -> String {
    format!("{}:{}{}", key.namespace.as_str().len(), key.namespace, key.user)
}

/// The store, as one replica of the service sees it.
pub struct Replica(Arc<World>, Recent);

impl Replica {
    pub fn of(world: &Arc<World>) -> Self {
        Self(world.clone(), Recent::default())
    }
}

#[async_trait]
impl Store for Replica {
    async fn load(&self, key: &RecordKey, deadline: Deadline) -> Result<Loaded, StoreError> {
        let trip = async {
            let request = self.0.send();
            sleep(request.takes).await;
            let loaded = self.0.state().load(key);
            let answer = self.0.send();
            sleep(answer.takes).await;
            if request.is_lost || answer.is_lost {
                std::future::pending::<()>().await;
            }
            loaded
        };
        patiently(deadline, trip).await.ok_or_else(|| unavailable(false))
    }

    async fn swap(&self, swap: Swap, deadline: Deadline) -> Result<Swapped, StoreError> {
        // Once sent, a swap goes its way whether or not somebody still waits for it: one that is slow is
        // made after its caller has given up.
        let world = self.0.clone();
        let waits = self.waits_for(swap.durability);
        let sent = tokio::spawn(async move {
            let request = world.send();
            sleep(request.takes).await;
            if request.is_lost {
                std::future::pending::<()>().await;
            }
            let (made, failovers) = {
                let mut state = world.state();
                (state.swap(&swap), state.failovers)
            };
            let mut is_confirmed = true;
            if let (Some(at), true) = (made, waits) {
                let limit = Instant::now() + PATIENCE / 2;
                sleep_until(at.min(limit)).await;
                is_confirmed = at <= limit && world.state().failovers == failovers;
            }
            let answer = world.send();
            sleep(answer.takes).await;
            if answer.is_lost {
                std::future::pending::<()>().await;
            }
            match made {
                None => Ok(Swapped::Changed),
                Some(_) if is_confirmed => Ok(Swapped::Done),
                Some(_) => Err(unavailable(true)),
            }
        });
        match patiently(deadline, sent).await {
            Some(Ok(result)) => result,
            _ => Err(unavailable(true)),
        }
    }

    async fn walk(&self, _: Deadline) -> Result<Box<dyn Walk>, StoreError> {
        let records = self.0.state().primary.values().map(Kept::record).collect();
        Ok(Box::new(Snapshot(records)))
    }

    fn marker(&self) -> &[u8] {
        MARKER
    }

    async fn markers(&self, _: Deadline) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(vec![self.0.state().marker.clone()])
    }

    async fn renew_markers(&self, marker: &[u8], _: Deadline) -> Result<(), StoreError> {
        if dataset_name(marker) == dataset_name(MARKER) {
            self.0.state().marker = marker.to_vec();
        }
        Ok(())
    }

    async fn check(&self, _: Deadline) -> Result<(), StoreError> {
        Ok(())
    }

    fn recent(&self) -> Option<&Recent> {
        Some(&self.1)
    }

    fn waits_for(&self, durability: Durability) -> bool {
        match self.0.state().acknowledging {
            Acknowledging::NoFailover => false,
            Acknowledging::Enrollments => durability == Durability::Enrollment,
            Acknowledging::All => true,
        }
    }
}

/// All records at one moment; nothing goes wrong on the way.
struct Snapshot(Vec<Record>);

#[async_trait]
impl Walk for Snapshot {
    async fn next(&mut self, _: Deadline) -> Result<Option<Vec<Record>>, StoreError> {
        let page: Vec<_> = self.0.drain(..self.0.len().min(10)).collect();
        Ok((!page.is_empty()).then_some(page))
    }

    fn total(&self) -> Option<u64> {
        None
    }
}

async fn patiently<F: Future>(deadline: Deadline, trip: F) -> Option<F::Output> {
    let patience = Deadline::after(PATIENCE.min(deadline.remaining()));
    patience.limit(trip).await.ok()
}

fn unavailable(may_have_happened: bool) -> StoreError {
    StoreError::Unavailable { cause: "the simulated network".into(), may_have_happened }
}
