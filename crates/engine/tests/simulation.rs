//! Replicas, a store and everything that can go wrong between them, simulated: each seed is one life of a
//! user under attack, with requests and answers that are lost, late or doubled, a primary that fails over
//! to a replica that lags, and a clock that jumps. Time is simulated, so a life of minutes takes
//! milliseconds, and a seed that fails can be run again: `TWINLOCK_SEED=n`.

mod suite;

#[path = "simulation/life.rs"]
mod life;
#[path = "simulation/world.rs"]
mod world;

use life::Life;
use std::sync::Arc;
use twinlock_engine::store::Store;
use world::{Acknowledging, Replica, World};

/// How many seeds of each kind; a long run has many times as many.
fn seeds() -> std::ops::Range<u64> {
    if let Some(seed) = std::env::var("TWINLOCK_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return seed..seed + 1;
    }
    let long = std::env::var_os("TWINLOCK_TEST_LONG").is_some();
    0..if long { 5_000 } else { 150 }
}

fn live(acknowledging: Acknowledging) {
    for seed in seeds() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let outcome = runtime.block_on(Life::new(seed, acknowledging).run());
        if let Err(broken) = outcome {
            panic!(
                "seed {seed} with {acknowledging:?}: {broken}; repeat it with TWINLOCK_SEED={seed}"
            );
        }
    }
}

/// One primary that forgets nothing, behind a network that loses, delays and doubles.
#[test]
fn nothing_is_lost_or_doubled_while_the_network_fails() {
    live(Acknowledging::NoFailover);
}

/// Failovers, with every change acknowledged by the replica: nothing that was acknowledged is lost.
#[test]
fn nothing_acknowledged_is_lost_in_a_failover_where_all_changes_wait_for_the_replica() {
    live(Acknowledging::All);
}

/// Failovers, with changes of enrollments acknowledged alone: used steps and counters may be lost, recovery
/// keys are not.
#[test]
fn no_recovery_key_is_lost_in_a_failover_where_enrollment_changes_wait_for_the_replica() {
    live(Acknowledging::Enrollments);
}

async fn a_simulated_store() -> (Arc<dyn Store>, ()) {
    let world = World::new(1, Acknowledging::NoFailover);
    (Arc::new(Replica::of(&world)), ())
}

mod simulated {
    crate::store_suite!(super::a_simulated_store);
}
