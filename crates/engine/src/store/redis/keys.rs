//! The names of keys. No other file makes one.
//!
//! | key | value |
//! |---|---|
//! | `twinlock:{3ff}:7:default:alice` | version (16 bytes), then the record |
//! | `twinlock:{3ff}:marker` | the marker of the dataset |
//! | `twinlock:{000}:events` | the latest events, a stream |
//!
//! Users fall into 1,024 buckets. The bucket in braces is the hash tag of a Cluster: a record and the
//! marker of its bucket are in one slot, so that one script reads both. The length of the namespace
//! keeps namespaces apart: `1:a:bc` is not `2:ab:c`.
//!
//! All of this is part of the format at rest: another hash would lose every user.

use crate::store::RecordKey;
use twinlock_core::{Namespace, UserId};

/// How many buckets there are.
pub(super) const BUCKETS: u16 = 1024;

/// What all keys of Twinlock match.
pub(super) const PATTERN: &str = "twinlock:*";

const PREFIX: &str = "twinlock:{";
/// The key of the first bucket's marker.
const MARKER: &[u8; 21] = b"twinlock:{000}:marker";
const LAST: &str = "marker";

/// The bucket beside whose marker the events are.
pub(super) const EVENTS_BUCKET: Bucket = Bucket(0);
const EVENTS: &str = "twinlock:{000}:events";

/// One of the buckets that users fall into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket(u16);

impl Bucket {
    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..BUCKETS).map(Self)
    }

    /// The one of a user: CRC-32 over the length of the namespace (1 byte), namespace and user.
    fn of(key: &RecordKey) -> Self {
        let (namespace, user) = (key.namespace.as_str().as_bytes(), key.user.as_str().as_bytes());
        let mut hash = crc32fast::Hasher::new();
        hash.update(&[namespace.len() as u8]);
        hash.update(namespace);
        hash.update(user);
        Self((hash.finalize() % u32::from(BUCKETS)) as u16)
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The slot of a Cluster that its keys are in.
    pub(super) fn slot(self) -> u16 {
        SLOTS[self.index()]
    }

    /// The key of its marker.
    pub(super) fn marker(self) -> &'static [u8] {
        &MARKERS[self.index()]
    }

    /// What all its keys begin with.
    fn begin(self) -> &'static [u8] {
        &self.marker()[..MARKER.len() - LAST.len()]
    }
}

/// The key of a user's record, and the bucket that it is in.
pub(super) fn record(key: &RecordKey) -> (Vec<u8>, Bucket) {
    let bucket = Bucket::of(key);
    let (namespace, user) = (key.namespace.as_str(), key.user.as_str());
    let mut record = Vec::with_capacity(MARKER.len() + namespace.len() + user.len());
    record.extend_from_slice(bucket.begin());
    // A namespace has at most 63 bytes. Every call makes such a key, and a formatter takes longer than all
    // else about it.
    let length = namespace.len() as u16;
    if length >= 10 {
        record.push(digit(length / 10));
    }
    record.push(digit(length % 10));
    for part in [":", namespace, ":", user] {
        record.extend_from_slice(part.as_bytes());
    }
    (record, bucket)
}

/// The key of the events.
pub(super) const fn events() -> &'static str {
    EVENTS
}

/// Whether a key is that of the events.
pub(super) fn is_events(key: &[u8]) -> bool {
    key == EVENTS.as_bytes()
}

/// Whether a key is that of a marker.
pub(super) fn is_marker(key: &[u8]) -> bool {
    let tag = key.strip_prefix(PREFIX.as_bytes()).and_then(|rest| rest.first_chunk::<3>());
    let number = tag.and_then(|tag| u16::from_str_radix(str::from_utf8(tag).ok()?, 16).ok());
    number.is_some_and(|number| number < BUCKETS && Bucket(number).marker() == key)
}

/// The user whose record a key names; `None` for markers and for what is none of ours.
pub(super) fn parse(key: &[u8]) -> Option<RecordKey> {
    let text = str::from_utf8(key).ok()?;
    let (_, rest) = text.strip_prefix(PREFIX)?.split_once("}:")?;
    let (length, rest) = rest.split_once(':')?;
    let (namespace, user) = rest.split_at_checked(length.parse().ok()?)?;
    let parsed = RecordKey {
        namespace: Namespace::parse(namespace).ok()?,
        user: UserId::parse(user.strip_prefix(':')?).ok()?,
    };
    // What stands in another bucket than its own is found by nobody.
    (record(&parsed).0 == key).then_some(parsed)
}

/// The key of each bucket's marker.
static MARKERS: [[u8; MARKER.len()]; BUCKETS as usize] = {
    let mut markers = [*MARKER; BUCKETS as usize];
    let mut bucket = 0;
    while bucket < BUCKETS {
        let (_, rest) = markers[bucket as usize].split_at_mut(PREFIX.len());
        rest.split_at_mut(3).0.copy_from_slice(&tag(bucket));
        bucket += 1;
    }
    markers
};

/// The slot of each bucket.
const SLOTS: [u16; BUCKETS as usize] = {
    let mut slots = [0; BUCKETS as usize];
    let mut bucket = 0;
    while bucket < BUCKETS {
        slots[bucket as usize] = crc16(&tag(bucket)) % 16384;
        bucket += 1;
    }
    slots
};

const fn tag(bucket: u16) -> [u8; 3] {
    [digit(bucket >> 8), digit(bucket >> 4), digit(bucket)]
}

const fn digit(nibble: u16) -> u8 {
    b"0123456789abcdef"[(nibble & 15) as usize]
}

/// CRC-16/XMODEM, as the Redis Cluster specification defines the slot of a hash tag.
const fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    let mut at = 0;
    while at < bytes.len() {
        crc ^= (bytes[at] as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        at += 1;
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn key(namespace: &str, user: &str) -> RecordKey {
        RecordKey {
            namespace: Namespace::parse(namespace).expect("a namespace"),
            user: UserId::parse(user).expect("a user"),
        }
    }

    /// These are in users' databases: they never change.
    #[test]
    fn keys_are_what_they_always_were() {
        assert_eq!(record(&key("default", "alice")).0, b"twinlock:{1ef}:7:default:alice");
        assert_eq!(record(&key("a", "bc")).0, b"twinlock:{0a9}:1:a:bc");
        assert_eq!(record(&key("ab", "c")).0, b"twinlock:{347}:2:ab:c");
        assert_eq!(Bucket(0).marker(), b"twinlock:{000}:marker");
        assert_eq!(Bucket(0x1ef).marker(), b"twinlock:{1ef}:marker");
        assert_eq!(Bucket(1023).marker(), b"twinlock:{3ff}:marker");
        assert_eq!([EVENTS_BUCKET.begin(), b"events"].concat(), EVENTS.as_bytes());
    }

    #[test]
    fn a_key_names_its_user_and_no_other() {
        let longest = "\u{10ffff}".repeat(63);
        for (namespace, user) in
            [("default", "alice"), ("{0}", "}:1:a:b"), (":", ":"), ("ü", "é"), ("n", &longest)]
        {
            let key = key(namespace, user);
            assert_eq!(parse(&record(&key).0), Some(key));
        }
        for other in [
            "twinlock:{3ff}:marker",
            EVENTS,
            "twinlock:{000}:7:default:alice",
            "twinlock:{1ef}:8:default:alice",
            "twinlock:{1ef}:7:default",
            "twinlock:{1ef}:99:default:alice",
            "other",
            "",
        ] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }

    /// The first vector is the one of the Redis Cluster specification, appendix A; the others are what
    /// `CLUSTER KEYSLOT` answers.
    #[test]
    fn slots_are_those_of_the_server() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(Bucket(0).slot(), 13923);
        assert_eq!(Bucket(1023).slot(), 12569);
    }

    #[test]
    fn buckets_are_spread_over_slots_and_users_over_buckets() {
        let slots: HashSet<_> = Bucket::all().map(Bucket::slot).collect();
        assert_eq!(slots.len(), usize::from(BUCKETS), "no two buckets share a slot");
        for third in 0..3 {
            let range = third * 5461..(third + 1) * 5461;
            let count = slots.iter().filter(|slot| range.contains(*slot)).count();
            assert!((250..450).contains(&count), "{count} buckets in {range:?}");
        }
        let mut users = vec![0_u32; usize::from(BUCKETS)];
        for n in 0..102_400 {
            users[Bucket::of(&key("default", &format!("user-{n}"))).index()] += 1;
        }
        assert!(users.iter().all(|count| (50..160).contains(count)), "{users:?}");
    }
}
