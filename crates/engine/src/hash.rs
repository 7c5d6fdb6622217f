//! Password hashes: reading them, checking passwords against them and making new ones, on a bounded
//! number of threads.
//!
//! Hashing is dear on purpose, so it is where a flood hurts first. Three bounds hold whatever
//! callers do: at most `concurrency` hashes run at once, at most [`MAX_WAITING`] callers wait for
//! their turn, and what a single hash may cost is limited where it is read ([`PasswordHash`]).
//! So hashing never fills more than `concurrency` × [`MAX_MEMORY_KIB`] of memory (512 MiB for two
//! cores), and `concurrency` × `memory_kib` (38 MiB for two cores) where every hash is Twinlock's own.

mod function;
mod password;
mod verifier;

pub use function::MAX_MEMORY_KIB;
pub use password::Password;
pub use verifier::PasswordHash;

use crate::SPANS;
use crate::deadline::Deadline;
use crate::metrics::{Counter, Histogram};
use argon2::{Algorithm, Version};
use function::{Function, Problem};
use std::sync::Arc;
use std::thread::{self, available_parallelism};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;
use tracing::Instrument;
use twinlock_core::Malformed;

/// The most callers that may wait for their turn; one more is refused at once.
pub const MAX_WAITING: usize = 1024;
/// How much less urgent a hash is than what answers calls, as nice(1) counts: as much as there is. Where both want a
/// core, it gets a seventieth of what they get: by that, one hash in about two seconds.
const NICENESS: i32 = 19;

/// Gives out turns to hash.
#[derive(Debug)]
pub struct Hasher {
    parameters: Argon2Parameters,
    turns: Arc<Semaphore>,
    waiting: Semaphore,
    concurrency: usize,
    metrics: Arc<Metrics>,
}

/// What the pool counts.
#[derive(Debug, Default)]
pub struct Metrics {
    /// How long it took until a turn came, for those to whom it came.
    pub waited: Histogram,
    /// How long a hash took to compute.
    pub took: Histogram,
    /// Those to whom no turn came in time.
    pub overloaded: Counter,
}

/// A turn to hash, for one password.
#[derive(Debug)]
pub struct Permit {
    parameters: Argon2Parameters,
    turn: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

/// What new hashes cost: Argon2id, version 1.3 (RFC 9106).
///
/// The default is one of the settings that OWASP's password storage sheet holds to be equally
/// strong; among them it balances memory and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Parameters {
    /// Memory in KiB: 8 for each lane of parallelism to [`MAX_MEMORY_KIB`]; 19,456 by default.
    pub memory_kib: u32,
    /// Passes over the memory: at least 1, and memory × iterations at most 1 GiB; 2 by default.
    pub iterations: u32,
    /// Lanes, 1 to 64. They are computed one after the other, on one core; 1 by default.
    pub parallelism: u32,
}

/// There was no turn to hash in time, or too many callers wait for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked at once")]
pub struct Overloaded;

/// A hash was not computed; it says nothing about the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The memory that the hash fills could not be had.
    #[error("there was not enough memory to hash a password")]
    Memory,
    /// The function refused its input.
    #[error("the hash function refused its input")]
    Function,
    /// Its thread panicked, or there was none to be had.
    #[error("hashing a password ended before it had a result")]
    Aborted,
}

impl Hasher {
    /// The most turns that may be given out at once.
    pub const MAX_CONCURRENCY: usize = 1024;

    /// A hasher that makes hashes of this cost, and computes at most `concurrency` of any kind at
    /// once: 1 to 1,024.
    pub fn new(parameters: Argon2Parameters, concurrency: usize) -> Result<Self, Malformed> {
        if parameters.function().is_err() {
            return Err(Malformed {
                field: "argon2",
                problem: "must have a memory_kib of 8 for each lane to 262144, 1 to 1024 \
                    iterations, memory_kib times iterations of at most 1048576, and a parallelism \
                    of 1 to 64",
            });
        }
        if !(1..=Self::MAX_CONCURRENCY).contains(&concurrency) {
            return Err(Malformed { field: "argon2.concurrency", problem: "must be 1 to 1024" });
        }
        Ok(Self {
            parameters,
            turns: Arc::new(Semaphore::new(concurrency)),
            waiting: Semaphore::new(MAX_WAITING),
            concurrency,
            metrics: Arc::default(),
        })
    }

    /// How many hashes may be computed at once.
    pub fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// How many turns are given out.
    pub fn running(&self) -> usize {
        self.concurrency.saturating_sub(self.turns.available_permits())
    }

    /// How many callers wait for a turn.
    pub fn waiting(&self) -> usize {
        MAX_WAITING.saturating_sub(self.waiting.available_permits())
    }

    /// What the pool counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The number of cores, which is the right concurrency where nothing else is configured.
    pub fn default_concurrency() -> usize {
        available_parallelism().map_or(1, |cores| cores.get().min(Self::MAX_CONCURRENCY))
    }

    /// Waits for a turn, in the order of arrival and not past the deadline.
    pub async fn permit(&self, deadline: Deadline) -> Result<Permit, Overloaded> {
        let begun = Instant::now();
        let turn = match Arc::clone(&self.turns).try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                self.wait(deadline).await.inspect_err(|Overloaded| self.metrics.overloaded.add())?
            }
        };
        self.metrics.waited.record(begun.elapsed());
        Ok(Permit { parameters: self.parameters, turn, metrics: self.metrics.clone() })
    }

    async fn wait(&self, deadline: Deadline) -> Result<OwnedSemaphorePermit, Overloaded> {
        let _place = self.waiting.try_acquire().map_err(|_| Overloaded)?;
        let turn = Arc::clone(&self.turns).acquire_owned();
        deadline.limit(turn).await.map_err(|_| Overloaded)?.map_err(|_| Overloaded)
    }
}

impl Permit {
    /// Whether the password is the one behind the hash.
    ///
    /// The turn ends when the hash is computed, even where the caller stops waiting before that.
    pub async fn verify(self, password: Password, hash: PasswordHash) -> Result<bool, Failure> {
        self.run(move |_| hash.verify(&password)).await
    }

    /// A new hash of the password: Argon2id under a fresh salt of 128 bits.
    ///
    /// The turn ends when the hash is computed, even where the caller stops waiting before that.
    pub async fn hash(self, password: Password) -> Result<PasswordHash, Failure> {
        self.run(move |parameters| PasswordHash::create(parameters, &password)).await
    }

    /// The turn moves into the task: a caller who goes away does not stop the computation, and its
    /// memory and core are not free before it ends.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(Argon2Parameters) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (done, result) = oneshot::channel();
        let hash = move || {
            // Of this thread alone. Where the system refuses it, hashes are as urgent as logins.
            let _ = rustix::process::nice(NICENESS);
            // A new thread may have a core for some milliseconds at once, whatever its priority. This gives that up.
            thread::yield_now();
            let Self { parameters, turn, metrics } = self;
            let begun = Instant::now();
            let result = work(parameters);
            metrics.took.record(begun.elapsed());
            drop(turn);
            // The caller may have gone away.
            let _ = done.send(result);
        };
        // No thread of a pool: a priority that was lowered cannot be raised again, and to start one costs a
        // thousandth of a hash.
        let thread = thread::Builder::new().name("hash".into());
        thread.spawn(hash).map_err(|_| Failure::Aborted)?;
        let result = result.instrument(tracing::info_span!(target: SPANS, "hash"));
        result.await.unwrap_or(Err(Failure::Aborted))
    }
}

impl Argon2Parameters {
    fn function(self) -> Result<Function, Problem> {
        let costs = [self.memory_kib, self.iterations, self.parallelism];
        Function::argon2(Algorithm::Argon2id, Version::V0x13, costs)
    }
}

impl Default for Argon2Parameters {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::time::{Instant, sleep};

    const CHEAP: Argon2Parameters =
        Argon2Parameters { memory_kib: 1024, iterations: 1, parallelism: 1 };

    fn hasher(concurrency: usize) -> Arc<Hasher> {
        Arc::new(Hasher::new(CHEAP, concurrency).unwrap())
    }

    fn minute() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    fn password() -> Password {
        Password::parse("correct horse".into()).unwrap()
    }

    /// How many hashes are running, and how many ever ran at once.
    #[derive(Default)]
    struct Running {
        now: AtomicUsize,
        most: AtomicUsize,
        ended: AtomicUsize,
    }

    impl Running {
        fn count<T>(&self, work: impl FnOnce() -> T) -> T {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            let result = work();
            self.now.fetch_sub(1, Ordering::SeqCst);
            self.ended.fetch_add(1, Ordering::SeqCst);
            result
        }
    }

    async fn verify_counted(
        hasher: Arc<Hasher>,
        hash: PasswordHash,
        running: Arc<Running>,
    ) -> Result<bool, Failure> {
        let permit = hasher.permit(minute()).await.unwrap();
        permit.run(move |_| running.count(|| hash.verify(&password()))).await
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn never_more_hashes_run_at_once_than_there_are_turns() {
        let (hasher, running) = (hasher(2), Arc::new(Running::default()));
        let hash = PasswordHash::create(CHEAP, &password()).unwrap();
        let calls: Vec<_> = (0..500)
            .map(|_| {
                let (hasher, hash, running) = (hasher.clone(), hash.clone(), running.clone());
                tokio::spawn(verify_counted(hasher, hash, running))
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(true));
        }
        assert_eq!(running.ended.load(Ordering::SeqCst), 500);
        assert_eq!(running.most.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn callers_who_go_away_free_no_turn_that_is_still_computing() {
        let (hasher, running) = (hasher(2), Arc::new(Running::default()));
        for _ in 0..100 {
            let (hasher, counted) = (hasher.clone(), running.clone());
            let (started, has_started) = tokio::sync::oneshot::channel();
            let call = tokio::spawn(async move {
                let permit = hasher.permit(minute()).await.unwrap();
                let work = move |_| {
                    counted.count(|| {
                        let _ = started.send(());
                        std::thread::sleep(Duration::from_millis(5));
                    });
                    Ok(())
                };
                permit.run(work).await
            });
            has_started.await.unwrap();
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
        }
        let every_turn = hasher.turns.acquire_many(2).await.unwrap();
        assert_eq!(running.ended.load(Ordering::SeqCst), 100);
        assert_eq!(running.most.load(Ordering::SeqCst), 2);
        drop(every_turn);
        assert_eq!(hasher.turns.available_permits(), 2);
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_in_time_is_overloaded() {
        let hasher = hasher(1);
        let held = hasher.permit(minute()).await.unwrap();
        let began = Instant::now();
        let refused = hasher.permit(Deadline::after(Duration::from_millis(50))).await;
        assert_eq!(refused.unwrap_err(), Overloaded);
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(50), "{waited:?}");
        assert!(waited < Duration::from_secs(5), "{waited:?}");
        drop(held);
        assert!(hasher.permit(Deadline::after(Duration::ZERO)).await.is_ok());
        assert_eq!(hasher.waiting.available_permits(), MAX_WAITING);
    }

    #[tokio::test]
    async fn a_flood_is_refused_at_once() {
        let hasher = hasher(1);
        let held = hasher.permit(minute()).await.unwrap();
        let waiting: Vec<_> = (0..MAX_WAITING)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.permit(minute()).await.is_ok() })
            })
            .collect();
        while hasher.waiting.available_permits() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let began = Instant::now();
        assert_eq!(hasher.permit(minute()).await.unwrap_err(), Overloaded);
        assert!(began.elapsed() < Duration::from_millis(500));
        drop(held);
        for call in waiting {
            assert!(call.await.unwrap());
        }
        assert!(hasher.permit(minute()).await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_and_gives_the_turn_back() {
        let hasher = hasher(1);
        let permit = hasher.permit(minute()).await.unwrap();
        let result = permit.run::<bool>(|_| panic!("a panic on purpose")).await;
        assert_eq!(result, Err(Failure::Aborted));
        assert!(hasher.permit(Deadline::after(Duration::from_secs(5))).await.is_ok());
    }

    /// The nice value of a thread, by the 19th field of its `stat` (proc(5)).
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(16).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn a_hash_is_less_urgent_than_what_answers_calls() {
        let before = niceness();
        let permit = hasher(1).permit(minute()).await.unwrap();
        let of_hash = permit.run(|_| Ok(niceness())).await;
        assert_eq!(of_hash, Ok((before + NICENESS).min(19)));
        assert_eq!(niceness(), before);
        assert_eq!(tokio::task::spawn_blocking(niceness).await.unwrap(), before);
    }

    #[test]
    fn parameters_outside_the_limits_are_refused() {
        let new = |memory_kib, iterations, parallelism, concurrency| {
            let parameters = Argon2Parameters { memory_kib, iterations, parallelism };
            Hasher::new(parameters, concurrency).map_err(|malformed| malformed.field).err()
        };
        assert_eq!(new(MAX_MEMORY_KIB, 4, 64, 1024), None);
        assert_eq!(new(8, 1, 1, 1), None);
        for (memory_kib, iterations, parallelism) in
            [(MAX_MEMORY_KIB + 1, 1, 1), (MAX_MEMORY_KIB, 5, 1), (7, 1, 1), (19_456, 0, 1)]
        {
            assert_eq!(new(memory_kib, iterations, parallelism, 1), Some("argon2"));
        }
        assert_eq!(new(19_456, 2, 0, 1), Some("argon2"));
        assert_eq!(new(19_456, 2, 65, 1), Some("argon2"));
        assert_eq!(new(8, 1, 2, 1), Some("argon2"));
        assert_eq!(new(8, 1, 1, 0), Some("argon2.concurrency"));
        assert_eq!(new(8, 1, 1, usize::MAX), Some("argon2.concurrency"));
        assert!((1..=Hasher::MAX_CONCURRENCY).contains(&Hasher::default_concurrency()));
    }
}
