//! What was seen of records lately, so that the next change may be decided on without another load.
//!
//! A login asks what it owes, and a moment later brings the code. What the first call loaded is still the
//! record when the second one comes, nearly always. So the second one decides on it, and the store makes the
//! swap only if that was true: if the record has the version that was seen, and if the store's own clock shows
//! the time that was decided by, or only a little more. If not, the call loads and decides again. Nothing is
//! ever answered on the strength of what is here without such a swap.

use super::{Loaded, RecordKey, Version};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use twinlock_core::Timestamp;

/// How much later than it was decided a swap may be made: as much as a load may be older than its swap.
pub const LATEST: Duration = Duration::from_millis(500);

/// Whether a swap that was decided at this time, if one is told, may be made where the store's clock shows that.
pub fn is_in_time(decided_at: Option<Timestamp>, now: Timestamp) -> bool {
    decided_at.is_none_or(|at| at <= now && now <= at.after(LATEST))
}

/// How many records there is room for. Where two want the same place, the later one has it.
const PLACES: usize = 1024;
/// The largest record that is kept, in bytes; that of an enrolled user seldom has as many.
const LARGEST: usize = 1024;
/// How long a record is of use: until a user has typed a code.
const LONGEST: Duration = Duration::from_secs(120);
/// The store's clock is taken to be slower than this machine's by one part in so many: a time that is ahead of
/// it would be of no use, and one that is a little behind is.
const DRIFT: u32 = 1000;

/// Records as they were seen lately: a bounded number, and each once.
#[derive(Debug)]
pub struct Recent {
    /// Each is a pointer alone, for most are looked at in vain.
    places: Mutex<Box<[Option<Box<Seen>>]>>,
    hash: RandomState,
}

#[derive(Debug)]
struct Seen {
    key: RecordKey,
    version: Version,
    bytes: Vec<u8>,
    /// The store's time of the load.
    now: Timestamp,
    /// The moment at which that was known.
    at: Instant,
}

impl Recent {
    /// Keeps a record that was loaded a moment ago.
    pub fn keep(&self, key: &RecordKey, version: Version, bytes: Vec<u8>, now: Timestamp) {
        if bytes.len() <= LARGEST {
            let seen = Seen { key: key.clone(), version, bytes, now, at: Instant::now() };
            self.at(key, |place| *place = Some(Box::new(seen)));
        }
    }

    /// Gives a record away, with the time that the store's clock shows by now or has just shown.
    pub fn take(&self, key: &RecordKey) -> Option<Loaded> {
        let seen = self.at(key, |place| place.take_if(|seen| seen.key == *key))?;
        let since = seen.at.elapsed();
        let now = seen.now.after(since - since / DRIFT);
        (since <= LONGEST).then_some(Loaded { record: Some((seen.version, seen.bytes)), now })
    }

    fn at<T>(&self, key: &RecordKey, work: impl FnOnce(&mut Option<Box<Seen>>) -> T) -> T {
        let place = self.hash.hash_one(key) as usize % PLACES;
        work(&mut self.places.lock().unwrap_or_else(PoisonError::into_inner)[place])
    }
}

impl Default for Recent {
    fn default() -> Self {
        let places = (0..PLACES).map(|_| None).collect();
        Self { places: Mutex::new(places), hash: RandomState::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlock_core::{Namespace, UserId};

    fn key(user: &str) -> RecordKey {
        let user = UserId::parse(user).expect("a user");
        RecordKey { namespace: Namespace::default(), user }
    }

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[tokio::test(start_paused = true)]
    async fn a_record_is_given_once_with_a_time_that_is_not_ahead() {
        let recent = Recent::default();
        recent.keep(&key("alice"), Version([1; 16]), vec![7], NOW);
        assert!(recent.take(&key("bob")).is_none());
        tokio::time::advance(Duration::from_secs(60)).await;
        let taken = recent.take(&key("alice")).expect("what was kept");
        assert_eq!(taken.record, Some((Version([1; 16]), vec![7])));
        assert_eq!(taken.now, NOW.after(Duration::from_millis(59_940)));
        assert!(NOW.after(Duration::from_secs(60)).until(taken.now.after(LATEST)) > Duration::ZERO);
        assert!(recent.take(&key("alice")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn neither_an_old_one_nor_a_large_one_is_given() {
        let recent = Recent::default();
        recent.keep(&key("alice"), Version([1; 16]), vec![7], NOW);
        tokio::time::advance(LONGEST + Duration::from_millis(1)).await;
        assert!(recent.take(&key("alice")).is_none());
        recent.keep(&key("alice"), Version([1; 16]), vec![7; LARGEST + 1], NOW);
        assert!(recent.take(&key("alice")).is_none());
    }

    #[test]
    fn there_is_room_for_a_bounded_number() {
        let recent = Recent::default();
        for user in 0..3 * PLACES {
            recent.keep(&key(&format!("user-{user}")), Version([1; 16]), vec![7], NOW);
        }
        let given =
            (0..3 * PLACES).filter(|user| recent.take(&key(&format!("user-{user}"))).is_some());
        assert!((1..=PLACES).contains(&given.count()));
    }
}
