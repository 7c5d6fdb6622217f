//! Every kind of fault between Twinlock and Redis, again and again, under parallel calls: no code and no
//! key works twice, no guess is free, no call outlives its deadline, and the end of the fault is noticed
//! within a second.
//!
//! 2,000 calls meet a fault, or 20,000 where `TWINLOCK_TEST_LONG` is set. `TWINLOCK_TEST_SEED` repeats the
//! choices of a run (not its timing, which is the kernel's).

mod cast;
mod lost_answers;
mod pace;
mod stage;

use cast::Cast;
use pace::Pace;
use stage::{DEADLINE, Stage};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use twinlock_tests::fault_proxy::{Kind, seeded};

/// How soon after the end of a fault a call must succeed.
const BACK: Duration = Duration::from_secs(1);
/// How much later than its deadline a call may be seen to end on a machine with nothing else to do.
const SLACK: Duration = Duration::from_millis(150);
/// How many calls one after the other are under way at the same time.
const WORKERS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_makes_a_rule_inexact() {
    let least = if std::env::var_os("TWINLOCK_TEST_LONG").is_some() { 20_000 } else { 2_000 };
    let mut rng = seeded();
    let stage = Arc::new(Stage::start().await);
    let mut told = Told::default();
    let mut checks = JoinSet::new();
    for number in 0.. {
        if told.faulted >= least && number >= 2 * Kind::ALL.len() {
            break;
        }
        let kind = Kind::ALL[number % Kind::ALL.len()];
        let cast = Arc::new(Cast::enroll(&stage, number).await);
        // One of the two servers, or both.
        let faulted = [&[0][..], &[1], &[0, 1]][rng.usize(0..3)];
        let pace = Pace::start();

        stage.slow_down(&mut rng);
        let mut playing = JoinSet::new();
        for _ in 0..WORKERS {
            playing.spawn(cast.clone().play(stage.clone(), rng.fork()));
        }
        sleep(Duration::from_millis(rng.u64(50..200))).await;
        stage.inflict(kind, faulted, &mut rng);
        sleep(Duration::from_millis(rng.u64(400..900))).await;
        stage.heal();
        let healed = Instant::now();
        let mut back = JoinSet::new();
        for server in faulted {
            let (cast, mut client) = (cast.clone(), stage.faulted[*server].client().await);
            back.spawn(async move {
                cast.answered(&mut client).await;
                healed.elapsed()
            });
        }
        let back = back.join_all().await.into_iter().max().unwrap_or_default();
        cast.stop();
        for calls in playing.join_all().await {
            told.add(kind, calls, faulted);
        }
        let late = pace.end();
        told.back(kind, back);
        assert!(back <= BACK + late, "{kind:?}: answers came {back:?} after its end");
        let longest = told.longest_of_round.split_off(0).into_iter().max().unwrap_or_default();
        assert!(
            longest <= DEADLINE + SLACK + 3 * late,
            "{kind:?}: a call took {longest:?} of {DEADLINE:?} on a machine that was {late:?} late"
        );
        let (stage, told_of) = (stage.clone(), cast);
        checks.spawn(async move { told_of.check(&stage).await });
    }
    while let Some(checked) = checks.join_next().await {
        told.checked(checked.expect("the rules hold"));
    }
    told.print();
    told.shows_something();
}

/// What a run has shown.
#[derive(Default)]
struct Told {
    faulted: usize,
    unavailable: usize,
    longest: Duration,
    longest_of_round: Vec<Duration>,
    back: BTreeMap<String, Vec<Duration>>,
    ends: BTreeMap<String, usize>,
    met: BTreeMap<String, usize>,
    checks: cast::Checked,
}

impl Told {
    fn add(&mut self, kind: Kind, calls: Vec<cast::Call>, faulted: &[usize]) {
        for call in calls {
            *self.ends.entry(call.end.clone()).or_default() += 1;
            self.longest = self.longest.max(call.took);
            self.longest_of_round.push(call.took);
            if call.in_fault && call.server.is_some_and(|server| faulted.contains(&server)) {
                self.faulted += 1;
                *self.met.entry(format!("{kind:?}")).or_default() += 1;
                self.unavailable += usize::from(call.end == "STORE_UNAVAILABLE");
            }
        }
    }

    fn back(&mut self, kind: Kind, after: Duration) {
        self.back.entry(format!("{kind:?}")).or_default().push(after);
    }

    fn checked(&mut self, checked: cast::Checked) {
        self.checks.add(&checked);
    }

    fn print(&self) {
        println!(
            "{} calls met a fault, and {} of them failed; the longest of all took {:?} of {DEADLINE:?}",
            self.faulted, self.unavailable, self.longest
        );
        println!("all calls: {:?}", self.ends);
        println!("{:?}", self.checks);
        for (kind, times) in &self.back {
            let longest = times.iter().max().expect("a time");
            println!("{kind}: {} calls, back after {longest:?} at most", self.met[kind]);
        }
    }

    /// A run in which nothing failed, or nothing succeeded, has shown nothing.
    fn shows_something(&self) {
        for kind in Kind::ALL {
            let kind = format!("{kind:?}");
            assert!(self.met.get(&kind).is_some_and(|count| *count > 0), "nothing met {kind}");
        }
        assert!(self.unavailable > 100, "too few calls failed");
        let cast::Checked { guesses, unanswered_guesses, codes, keys, redeemed, repeated } =
            self.checks;
        for shown in [guesses, unanswered_guesses, codes, keys, redeemed, repeated] {
            assert!(shown > 0, "{:?}", self.checks);
        }
    }
}
