//! A file that was changed behind the store's back.
//!
//! A store that is opened checks every page of a small file, and of any file that was not closed
//! properly. So a file with flipped bits, lost sectors or a lost end is refused, or gives back what
//! was written: never something else, and never nothing.

use crate::disk::{Disk, Random};
use crate::suite::{key, try_record, write};
use crate::{MARKER, new_store, open};
use std::sync::Arc;
use twinlock_engine::store::{RecordKey, Store, Version};

const ROUNDS: u64 = 600;

/// The bytes of a closed file with some records.
async fn closed_file() -> (Vec<u8>, Vec<(RecordKey, Version, Vec<u8>)>) {
    let (store, disk) = new_store();
    let store: Arc<dyn Store> = store;
    let mut made = Vec::new();
    for n in 0..120_usize {
        let (key, bytes) = (key(&format!("user {n}")), vec![n as u8; 100 + 7 * n]);
        let (_, first) = write(&store, &key, None, b"the first").await;
        let (_, version) = write(&store, &key, Some(first), &bytes).await;
        made.push((key, version, bytes));
    }
    drop(store);
    (disk.content(), made)
}

fn damage(file: &mut Vec<u8>, random: &mut Random) -> String {
    let length = file.len() as u64;
    // The header is where a flipped bit could do the most, so it is hit more often than by chance.
    let place = |random: &mut Random| {
        let within = if random.below(4) == 0 { 320 } else { length };
        random.below(within) as usize
    };
    match random.below(6) {
        0 => {
            let at = place(random) / 512 * 512;
            file[at..at + 512].fill(0);
            format!("a sector of zeros at {at}")
        }
        1 => {
            let (at, from) = (place(random) / 4096 * 4096, place(random) / 4096 * 4096);
            file.copy_within(from..from + 4096, at);
            format!("the page at {from} written over that at {at}")
        }
        2 => {
            let to = random.below(length) as usize;
            file.truncate(to);
            format!("cut off at {to}")
        }
        _ => {
            let flips: Vec<_> = (0..=random.below(3)).map(|_| place(random)).collect();
            flips.iter().for_each(|at| file[*at] ^= 1 << random.below(8));
            format!("bits flipped at {flips:?}")
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_refused_or_gives_back_what_was_written() {
    let (file, made) = closed_file().await;
    let (mut refused, mut unharmed) = (0, 0);
    for seed in 0..ROUNDS {
        let mut random = Random(seed);
        let mut bytes = file.clone();
        let what = damage(&mut bytes, &mut random);
        let Ok(store) = open(&Disk::holding(bytes)) else {
            refused += 1;
            continue;
        };
        assert_eq!(store.marker(), MARKER, "seed {seed}: {what}");
        let store: Arc<dyn Store> = store;
        for (key, version, bytes) in &made {
            if let Ok(found) = try_record(&store, key).await {
                let found = found.unwrap_or_else(|| panic!("seed {seed}: {what}: {key:?} is lost"));
                assert_eq!(found, (*version, bytes.clone()), "seed {seed}: {what}: {key:?}");
            }
        }
        unharmed += 1;
    }
    assert!(refused > ROUNDS / 4, "only {refused} of {ROUNDS} were refused: is anything checked?");
    assert!(unharmed > 0, "not one of {ROUNDS} hit only free space: is the damage too great?");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_under_a_running_store_is_an_error_or_harmless() {
    let (file, made) = closed_file().await;
    for seed in 0..ROUNDS / 4 {
        let mut random = Random(seed);
        let disk = Disk::holding(file.clone());
        let store: Arc<dyn Store> = open(&disk).expect("the store");
        let mut bytes = disk.content();
        let what = damage(&mut bytes, &mut random);
        disk.replace(bytes, crate::disk::Trouble::None);
        for (key, version, bytes) in &made {
            // redb does not check what it reads while it runs, so a record may seem to be missing; the
            // next opening finds the damage.
            if let Ok(Some(found)) = try_record(&store, key).await {
                assert_eq!(found, (*version, bytes.clone()), "seed {seed}: {what}: {key:?}");
            }
        }
        let swap = crate::suite::change(&made[0].0, Some(made[0].1), Some(b"next"), None);
        let _ = store.swap(swap, crate::suite::soon()).await;
    }
}
