//! What every store must do, whatever is behind it.
//!
//! Each check takes a store that it may share with others: it keeps to keys of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use twinlock_core::{Namespace, Timestamp, UserId};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::{
    Durability, Record, RecordKey, Store, StoreError, Swap, Swapped, Version, dataset_name,
};

/// Runs every check as a test of its own. The constructor is an async function that gives an
/// `Arc<dyn Store>` and something to keep for as long as the store is used.
#[macro_export]
macro_rules! store_suite {
    ($open:path) => {
        $crate::store_suite!(
            $open,
            loads_nothing_where_nothing_is,
            creates_and_loads,
            refuses_a_wrong_version,
            refuses_to_create_over_a_record,
            removes,
            lets_one_of_many_win_each_version,
            keeps_the_counts_of_concurrent_writers,
            forgets_what_has_lapsed,
            takes_an_expiry_away_again,
            tells_the_time,
            keeps_namespaces_apart,
            takes_hostile_keys,
            keeps_bytes_as_they_are,
            walks_over_every_record,
            says_that_it_can_be_used,
            renews_the_markers_of_its_name_alone,
            swaps_only_about_the_time_of_the_decision,
        );
    };
    ($open:path, $($check:ident),+ $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            let (store, _kept) = $open().await;
            $crate::suite::$check(store).await;
        }
    )+};
}

pub async fn loads_nothing_where_nothing_is(store: Arc<dyn Store>) {
    assert_eq!(version(&store, &key("nobody")).await, None);
}

pub async fn creates_and_loads(store: Arc<dyn Store>) {
    let key = key("created");
    let (swapped, made) = write(&store, &key, None, b"one").await;
    assert_eq!(swapped, Swapped::Done);
    assert_eq!(record(&store, &key).await, Some((made, b"one".to_vec())));

    let (swapped, next) = write(&store, &key, Some(made), b"two").await;
    assert_eq!(swapped, Swapped::Done);
    assert_eq!(record(&store, &key).await, Some((next, b"two".to_vec())));
}

pub async fn refuses_a_wrong_version(store: Arc<dyn Store>) {
    let key = key("versioned");
    assert_eq!(
        write(&store, &key, Some(Version::fresh()), b"on nothing").await.0,
        Swapped::Changed
    );
    assert_eq!(record(&store, &key).await, None);

    let (_, made) = write(&store, &key, None, b"one").await;
    let (_, next) = write(&store, &key, Some(made), b"two").await;
    assert_eq!(write(&store, &key, Some(made), b"late").await.0, Swapped::Changed);
    assert_eq!(remove(&store, &key, Some(made)).await, Swapped::Changed);
    assert_eq!(record(&store, &key).await, Some((next, b"two".to_vec())));
}

pub async fn refuses_to_create_over_a_record(store: Arc<dyn Store>) {
    let key = key("there already");
    let (_, made) = write(&store, &key, None, b"first").await;
    assert_eq!(write(&store, &key, None, b"second").await.0, Swapped::Changed);
    assert_eq!(remove(&store, &key, None).await, Swapped::Changed);
    assert_eq!(record(&store, &key).await, Some((made, b"first".to_vec())));
}

pub async fn removes(store: Arc<dyn Store>) {
    let key = key("removed");
    let (_, made) = write(&store, &key, None, b"short-lived").await;
    assert_eq!(remove(&store, &key, Some(made)).await, Swapped::Done);
    assert_eq!(record(&store, &key).await, None);
    assert_eq!(write(&store, &key, Some(made), b"back").await.0, Swapped::Changed);
    assert_eq!(write(&store, &key, None, b"new").await.0, Swapped::Done);
}

/// 200 writers of one record that all loaded the same version: one wins, each round.
pub async fn lets_one_of_many_win_each_version(store: Arc<dyn Store>) {
    let key = key("contended");
    let mut current = None;
    for round in 0..5 {
        let mut writers = JoinSet::new();
        for _ in 0..200 {
            let (store, key) = (Arc::clone(&store), key.clone());
            writers.spawn(async move { write(&store, &key, current, b"mine").await });
        }
        let won: Vec<_> = (writers.join_all().await.into_iter())
            .filter_map(|(swapped, version)| (swapped == Swapped::Done).then_some(version))
            .collect();
        assert_eq!(won.len(), 1, "round {round}");
        assert_eq!(version(&store, &key).await, Some(won[0]), "round {round}");
        current = Some(won[0]);
    }
}

/// 200 writers that load, add one and swap until they succeed: no addition is lost, none counts twice.
pub async fn keeps_the_counts_of_concurrent_writers(store: Arc<dyn Store>) {
    const WRITERS: u64 = 200;
    let key = key("counted");
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (store, key) = (Arc::clone(&store), key.clone());
        writers.spawn(async move {
            loop {
                let found = record(&store, &key).await;
                let (expected, count) = match &found {
                    Some((version, bytes)) => (Some(*version), number(bytes)),
                    None => (None, 0),
                };
                let next = (count + 1).to_be_bytes();
                if write(&store, &key, expected, &next).await.0 == Swapped::Done {
                    break;
                }
            }
        });
    }
    writers.join_all().await;
    let (_, bytes) = record(&store, &key).await.expect("it was written");
    assert_eq!(number(&bytes), WRITERS);
}

pub async fn forgets_what_has_lapsed(store: Arc<dyn Store>) {
    let key = key("lapsing");
    let now = now(&store, &key).await;
    let (swapped, made) = write_until(&store, &key, None, b"for now", Some(now.after(LIFE))).await;
    assert_eq!(swapped, Swapped::Done);
    assert_eq!(version(&store, &key).await, Some(made));

    pass_by(&store, &key, now.after(LIFE)).await;
    assert_eq!(version(&store, &key).await, None);
    assert_eq!(write(&store, &key, Some(made), b"of the dead").await.0, Swapped::Changed);
    assert_eq!(write(&store, &key, None, b"a new life").await.0, Swapped::Done);
    assert_eq!(record(&store, &key).await.map(|(_, bytes)| bytes), Some(b"a new life".to_vec()));
}

pub async fn takes_an_expiry_away_again(store: Arc<dyn Store>) {
    let key = key("kept after all");
    let now = now(&store, &key).await;
    let (_, made) = write_until(&store, &key, None, b"for now", Some(now.after(LIFE))).await;
    let (swapped, next) = write(&store, &key, Some(made), b"for good").await;
    assert_eq!(swapped, Swapped::Done);
    pass_by(&store, &key, now.after(LIFE)).await;
    assert_eq!(record(&store, &key).await, Some((next, b"for good".to_vec())));
}

pub async fn tells_the_time(store: Arc<dyn Store>) {
    let key = key("timed");
    let mut last = now(&store, &key).await;
    assert!(last > Timestamp::from_secs(1_600_000_000), "{last:?} is no time of today");
    for _ in 0..100 {
        let next = now(&store, &key).await;
        assert!(next >= last, "{next:?} after {last:?}");
        last = next;
    }
    pass_by(&store, &key, last.after(Duration::from_millis(5))).await;
}

pub async fn keeps_namespaces_apart(store: Arc<dyn Store>) {
    let keys = [("a", "bc"), ("ab", "c"), ("a", "b"), ("abc", "a"), ("b", "ac")];
    let mut made = Vec::new();
    for (namespace, user) in keys {
        let key = named(namespace, user);
        assert_eq!(version(&store, &key).await, None, "{key:?}");
        let (swapped, version) = write(&store, &key, None, user.as_bytes()).await;
        assert_eq!(swapped, Swapped::Done, "{key:?}");
        made.push((key, version));
    }
    for (key, made) in made {
        assert_eq!(version(&store, &key).await, Some(made), "{key:?}");
    }
}

pub async fn takes_hostile_keys(store: Arc<dyn Store>) {
    let longest = "\u{10ffff}".repeat(63);
    let users = [
        "*",
        "?",
        "[a-z]",
        "{tag}",
        "}{",
        "a:b",
        "a/../b",
        "%00",
        "\\",
        "'; --",
        "\u{feff}",
        " ",
        "  ",
        "alice",
        "Alice",
        "alice ",
        "\u{e9}",
        "e\u{301}",
        "\u{202e}evil",
        "\u{10ffff}",
        &longest,
    ];
    let namespaces = ["default", "{0}", "*", &"n".repeat(63)];
    let mut made = Vec::new();
    for namespace in namespaces {
        for user in users {
            let key = named(namespace, user);
            let (swapped, version) = write(&store, &key, None, user.as_bytes()).await;
            assert_eq!(swapped, Swapped::Done, "{key:?}");
            made.push((key, version));
        }
    }
    for (key, version) in made {
        let bytes = key.user.as_str().as_bytes().to_vec();
        assert_eq!(record(&store, &key).await, Some((version, bytes)), "{key:?}");
    }
}

pub async fn keeps_bytes_as_they_are(store: Arc<dyn Store>) {
    let every: Vec<u8> = (0..=255).collect();
    for (user, bytes) in [
        ("no bytes", Vec::new()),
        ("every byte", every.clone()),
        ("zeros", vec![0; 1000]),
        ("a large record", every.repeat(256)),
    ] {
        let key = key(user);
        let (swapped, version) = write(&store, &key, None, &bytes).await;
        assert_eq!(swapped, Swapped::Done, "{user}");
        assert_eq!(record(&store, &key).await, Some((version, bytes)), "{user}");
    }
}

/// Others may write meanwhile, so what comes up besides is not looked at.
pub async fn walks_over_every_record(store: Arc<dyn Store>) {
    const RECORDS: u32 = 300;
    let end = now(&store, &key("nobody")).await.after(Duration::from_secs(3600));
    let mut writers = JoinSet::new();
    for n in 0..RECORDS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let (key, bytes) = (named("walked over", &format!("user {n}")), n.to_be_bytes());
            let expire_at = (n % 3 == 0).then_some(end);
            let (_, version) = write_until(&store, &key, None, &bytes, expire_at).await;
            (key.clone(), Record { key, version, bytes: bytes.into(), expire_at })
        });
    }
    let made: HashMap<_, _> = writers.join_all().await.into_iter().collect();
    let (_, replaced) = write(&store, &named("walked over", "removed"), None, b"x").await;
    remove(&store, &named("walked over", "removed"), Some(replaced)).await;

    let mut walk = store.walk(soon()).await.expect("a walk");
    assert!(walk.total().is_none_or(|total| total >= RECORDS.into()), "{:?}", walk.total());
    let mut found = HashMap::new();
    while let Some(page) = walk.next(soon()).await.expect("a page") {
        let ours = page.into_iter().filter(|it| it.key.namespace.as_str() == "walked over");
        found.extend(ours.map(|record| (record.key.clone(), record)));
    }
    assert!(walk.next(soon()).await.expect("the end").is_none(), "the end is the end");
    assert!(found == made, "{} were made, {} found", made.len(), found.len());
    assert!(!store.marker().is_empty());
}

pub async fn swaps_only_about_the_time_of_the_decision(store: Arc<dyn Store>) {
    let key = key("decided at a time");
    let (_, mut expected) = write(&store, &key, None, b"seen").await;
    let minute = Duration::from_secs(60);
    for (ahead, behind, swapped) in [
        (Duration::ZERO, Duration::ZERO, Swapped::Done),
        (minute, Duration::ZERO, Swapped::Changed),
        (Duration::ZERO, minute, Swapped::Changed),
        (Duration::ZERO, Duration::ZERO, Swapped::Done),
    ] {
        let now = now(&store, &key).await.after(ahead).as_millis() - behind.as_millis() as u64;
        let decided_at = Some(Timestamp::from_millis(now));
        let swap = Swap { decided_at, ..change(&key, Some(expected), Some(b"decided"), None) };
        let made = swap.version;
        assert_eq!(
            store.swap(swap, soon()).await.expect("a swap"),
            swapped,
            "{ahead:?} {behind:?}"
        );
        if swapped == Swapped::Done {
            expected = made;
        }
    }
    let decided_at = Some(now(&store, &key).await);
    let stale = Swap { decided_at, ..change(&key, Some(Version::fresh()), Some(b"stale"), None) };
    assert_eq!(store.swap(stale, soon()).await.expect("a swap"), Swapped::Changed);
    assert_eq!(version(&store, &key).await, Some(expected));
}

pub async fn says_that_it_can_be_used(store: Arc<dyn Store>) {
    store.check(soon()).await.expect("a store that works");
}

/// How long a record lives that is to lapse within a test.
const LIFE: Duration = Duration::from_millis(300);

/// Waits until the store's clock has passed a time.
async fn pass_by(store: &Arc<dyn Store>, key: &RecordKey, time: Timestamp) {
    for _ in 0..2000 {
        if now(store, key).await > time {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the store's clock stands still");
}

/// A deadline that no test should meet.
/// A marker is renewed under another key, and the store is the same dataset all the time.
pub async fn renews_the_markers_of_its_name_alone(store: Arc<dyn Store>) {
    let first = store.marker().to_vec();
    let renewed = [dataset_name(&first), b"under another key"].concat();
    let foreign = [&[0xff; 16][..], b"of another dataset"].concat();
    for (marker, expected) in [(&renewed, &renewed), (&foreign, &renewed), (&first, &first)] {
        let done = store.renew_markers(marker, soon()).await;
        // A store may say that there is none of that name, or leave it at that.
        assert!(done.is_ok() || *marker == foreign, "{done:?}");
        let markers = store.markers(soon()).await.expect("markers");
        assert_eq!(markers, std::slice::from_ref(expected));
        store.check(soon()).await.expect("the same dataset");
        assert_eq!(version(&store, &key("nobody beside it")).await, None);
    }
}

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub fn key(user: &str) -> RecordKey {
    named("suite", user)
}

pub fn named(namespace: &str, user: &str) -> RecordKey {
    RecordKey {
        namespace: Namespace::parse(namespace).expect("a namespace"),
        user: UserId::parse(user).expect("a user"),
    }
}

/// A swap of the lesser class, with a fresh version.
pub fn change(
    key: &RecordKey,
    expected: Option<Version>,
    bytes: Option<&[u8]>,
    expire_at: Option<Timestamp>,
) -> Swap {
    Swap {
        key: key.clone(),
        expected,
        version: Version::fresh(),
        bytes: bytes.map(<[u8]>::to_vec),
        expire_at,
        durability: Durability::Attempt,
        decided_at: None,
    }
}

pub async fn write(
    store: &Arc<dyn Store>,
    key: &RecordKey,
    expected: Option<Version>,
    bytes: &[u8],
) -> (Swapped, Version) {
    write_until(store, key, expected, bytes, None).await
}

pub async fn write_until(
    store: &Arc<dyn Store>,
    key: &RecordKey,
    expected: Option<Version>,
    bytes: &[u8],
    expire_at: Option<Timestamp>,
) -> (Swapped, Version) {
    let swap = change(key, expected, Some(bytes), expire_at);
    let version = swap.version;
    (store.swap(swap, soon()).await.expect("a swap"), version)
}

pub async fn remove(store: &Arc<dyn Store>, key: &RecordKey, expected: Option<Version>) -> Swapped {
    store.swap(change(key, expected, None, None), soon()).await.expect("a removal")
}

pub async fn try_record(
    store: &Arc<dyn Store>,
    key: &RecordKey,
) -> Result<Option<(Version, Vec<u8>)>, StoreError> {
    Ok(store.load(key, soon()).await?.record)
}

pub async fn record(store: &Arc<dyn Store>, key: &RecordKey) -> Option<(Version, Vec<u8>)> {
    try_record(store, key).await.expect("a load")
}

pub async fn version(store: &Arc<dyn Store>, key: &RecordKey) -> Option<Version> {
    record(store, key).await.map(|(version, _)| version)
}

async fn now(store: &Arc<dyn Store>, key: &RecordKey) -> Timestamp {
    store.load(key, soon()).await.expect("a load").now
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}
