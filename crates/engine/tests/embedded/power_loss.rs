//! The power goes at any moment, and takes any part of what was not synced with it.

use crate::disk::{Disk, Loss, Random};
use crate::suite::{self, change, key};
use crate::{MARKER, open};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::task::JoinSet;
use twinlock_engine::clock;
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{Store, StoreError, Swap, Swapped, Version};

/// How many disks, and how often each of them loses its power.
const DISKS: u64 = 50;
const OUTAGES: u64 = 10;

const USERS: u64 = 40;

/// What is known of one user's record: its content as it was acknowledged last, and what it may have
/// become since.
#[derive(Clone, Debug, Default)]
struct Known {
    sure: Option<(Version, Vec<u8>)>,
    perhaps: Vec<Option<(Version, Vec<u8>)>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_acknowledged_survives_a_power_loss() {
    let (mut acknowledged, mut unsure) = (0, 0);
    for seed in 0..DISKS {
        let mut random = Random(seed);
        let disk = new_disk();
        let mut known: HashMap<u64, Known> = HashMap::new();
        for outage in 0..OUTAGES {
            let place = format!("seed {seed}, outage {outage}");
            disk.cut_power_after(random.below(120));
            // The power may go while the store is opened, and repairs what the last time left.
            if let Ok(store) = open(&disk) {
                let store: Arc<dyn Store> = store;
                check(&store, &mut known, &disk, &place).await;
                for _ in 0..200 {
                    let (done, lost) = round(&store, &mut known, &mut random).await;
                    acknowledged += done;
                    unsure += lost;
                    if disk.is_dark() {
                        break;
                    }
                }
            } else {
                assert!(disk.is_dark(), "{place}: {:?}", open(&disk).err());
            }
            let loss = [Loss::All, Loss::Some, Loss::Torn][random.below(3) as usize];
            disk.lose_power(loss, &mut random);
        }
        let store = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(store.marker(), MARKER, "seed {seed}");
        let store: Arc<dyn Store> = store;
        check(&store, &mut known, &disk, &format!("seed {seed}, at the end")).await;
    }
    assert!(acknowledged > 1000, "only {acknowledged} swaps came before an outage");
    assert!(unsure > 100, "only {unsure} swaps were under way in an outage");
}

#[tokio::test]
async fn a_power_loss_while_a_store_is_made_leaves_a_whole_one_or_none() {
    let (mut whole, mut none) = (0, 0);
    for seed in 0..200 {
        let mut random = Random(seed);
        let disk = Disk::default();
        disk.cut_power_after(random.below(30));
        let handles = disk.clone();
        let made = Embedded::initialize_on(move || handles.handle(), MARKER, clock::system());
        let was_made = made.is_ok();
        if random.below(2) == 0 {
            drop(made);
            disk.lose_power(Loss::Torn, &mut random);
        } else {
            disk.lose_power(Loss::Some, &mut random);
            drop(made);
        }
        match open(&disk) {
            Ok(store) => {
                assert_eq!(store.marker(), MARKER, "seed {seed}");
                whole += 1;
            }
            Err(error) => {
                assert!(!was_made, "seed {seed}: {error}");
                assert!(matches!(error, StoreError::Incomplete(_)), "seed {seed}: {error}");
                none += 1;
            }
        }
    }
    assert!(whole > 10 && none > 10, "{whole} whole, {none} none");
}

fn new_disk() -> Disk {
    let disk = Disk::default();
    let handles = disk.clone();
    let store = Embedded::initialize_on(move || handles.handle(), MARKER, clock::system());
    drop(store.expect("a store"));
    disk
}

/// Some concurrent swaps; how many were acknowledged, and of how many nobody knows.
async fn round(
    store: &Arc<dyn Store>,
    known: &mut HashMap<u64, Known>,
    random: &mut Random,
) -> (u64, u64) {
    let mut swaps = JoinSet::new();
    let first = random.below(USERS);
    for n in 0..=random.below(8) {
        let user = (first + n) % USERS;
        let bytes =
            (random.below(6) != 0).then(|| vec![random.next() as u8; random.below(3000) as usize]);
        let expected = known.entry(user).or_default().sure.as_ref().map(|(version, _)| *version);
        let swap = change(&name(user), expected, bytes.as_deref(), None);
        let store = Arc::clone(store);
        swaps.spawn(async move { (user, swap.clone(), store.swap(swap, suite::soon()).await) });
    }
    let (mut acknowledged, mut unsure) = (0, 0);
    for (user, swap, result) in swaps.join_all().await {
        let known = known.entry(user).or_default();
        match result {
            Ok(Swapped::Done) => {
                acknowledged += 1;
                known.sure = content(swap);
                known.perhaps.clear();
            }
            Ok(Swapped::Changed) => panic!("user {user} has no other writer"),
            Err(StoreError::Unavailable { may_have_happened: true, .. }) => {
                unsure += 1;
                known.perhaps.push(content(swap));
            }
            Err(StoreError::Unavailable { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    (acknowledged, unsure)
}

/// Every record is what was acknowledged last, or what was under way when the power went.
async fn check(store: &Arc<dyn Store>, known: &mut HashMap<u64, Known>, disk: &Disk, place: &str) {
    for (user, known) in known {
        let found = match store.load(&name(*user), suite::soon()).await {
            Ok(loaded) => loaded.record,
            Err(error) => {
                assert!(disk.is_dark(), "{place}: {error}");
                return;
            }
        };
        assert!(
            found == known.sure || known.perhaps.contains(&found),
            "{place}: user {user} has {found:?}, and not {known:?}"
        );
        // What was read is durable, so from now on it must stay.
        *known = Known { sure: found, perhaps: Vec::new() };
    }
}

fn content(swap: Swap) -> Option<(Version, Vec<u8>)> {
    swap.bytes.map(|bytes| (swap.version, bytes))
}

fn name(user: u64) -> twinlock_engine::store::RecordKey {
    key(&format!("user {user}"))
}
