//! Backups: what is read back, what is refused, and what a restore may touch.

#[allow(dead_code, reason = "it is shared, and others use the rest")]
mod suite;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;
use suite::{named, soon};
use tempfile::TempDir;
use twinlock_core::record::Record as Content;
use twinlock_core::{Namespace, Timestamp};
use twinlock_engine::backup::{
    Allowed, Backup, BackupError, Contents, RestoreError, Scope, Verified,
};
use twinlock_engine::clock;
use twinlock_engine::seal::{KeyId, Keyring, Purpose};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{
    Durability, Found, Marked, Record, RecordKey, Store, StoreError, Swap, Target, Version,
};
use zeroize::Zeroizing;

const CHUNK: usize = 64 * 1024 + 16;
const HEADER: usize = 16 + 1 + 4 + 32;
const REPLACING: Allowed = Allowed { replace: true, partial: false, unreadable: false };

#[tokio::test]
async fn a_backup_holds_every_record_as_it_is() {
    let (store, _directory) = filled(&ring(&[1]), 500).await;
    let file = backup(&store, &ring(&[1]), Scope::Everything).await;
    let contents = verify(&file, &ring(&[1])).expect("a backup");
    assert_eq!((contents.records, contents.left_out, contents.unreadable), (500, 0, 0));
    assert_eq!(contents.marker, store.marker());
    assert_eq!(records_of(&file, &ring(&[1])), records(&store).await);
    assert!(file.len() > 2 * CHUNK, "the tests below want several chunks: {}", file.len());
    for user in ["user-7", "shop"] {
        let is_told = file.windows(user.len()).any(|window| window == user.as_bytes());
        assert!(!is_told, "{user} can be read");
    }
}

#[tokio::test]
async fn no_bit_of_a_backup_can_be_changed() {
    let (store, _directory) = filled(&ring(&[1]), 3).await;
    let file = backup(&store, &ring(&[1, 2]), Scope::Everything).await;
    for index in 0..file.len() {
        let mut damaged = file.clone();
        damaged[index] ^= 1 << (index % 8);
        assert!(verify(&damaged, &ring(&[1, 2])).is_err(), "byte {index}");
        assert!(verify(&file[..index], &ring(&[1, 2])).is_err(), "cut at {index}");
    }
    let (store, _directory) = filled(&ring(&[1]), 500).await;
    let file = backup(&store, &ring(&[1]), Scope::Everything).await;
    for index in (0..file.len()).step_by(997) {
        let mut damaged = file.clone();
        damaged[index] ^= 0x80;
        assert!(verify(&damaged, &ring(&[1])).is_err(), "byte {index}");
    }
}

#[tokio::test]
async fn chunks_cannot_be_cut_off_moved_doubled_or_added() {
    let (store, _directory) = filled(&ring(&[1]), 500).await;
    let file = backup(&store, &ring(&[1]), Scope::Everything).await;
    let other = backup(&store, &ring(&[1]), Scope::Everything).await;
    let refused = |file: Vec<u8>| verify(&file, &ring(&[1])).expect_err("it passed");

    let whole = (file.len() - HEADER) / CHUNK;
    for chunks in 1..=whole {
        let cut = file[..HEADER + chunks * CHUNK].to_vec();
        assert!(matches!(refused(cut), BackupError::CutOff(_)), "after {chunks} chunks");
    }
    let chunk = |n: usize| HEADER + n * CHUNK..HEADER + (n + 1) * CHUNK;
    let mut swapped = file.clone();
    let (first, second) = (file[chunk(0)].to_vec(), file[chunk(1)].to_vec());
    swapped[chunk(0)].copy_from_slice(&second);
    swapped[chunk(1)].copy_from_slice(&first);
    assert!(matches!(refused(swapped), BackupError::Damaged(53)));
    let doubled = [&file[..HEADER + CHUNK], &file[HEADER..]].concat();
    assert!(matches!(refused(doubled), BackupError::Damaged(_)));
    let without_one = [&file[..HEADER + CHUNK], &file[HEADER + 2 * CHUNK..]].concat();
    assert!(matches!(refused(without_one), BackupError::Damaged(_)));
    let mut spliced = file.clone();
    spliced[chunk(1)].copy_from_slice(&other[chunk(1)]);
    assert!(matches!(refused(spliced), BackupError::Damaged(_)));
    let body_of_another = [&file[..HEADER], &other[HEADER..]].concat();
    assert!(matches!(refused(body_of_another), BackupError::Damaged(53)));
    refused([file.as_slice(), b"x"].concat());
    refused([file.as_slice(), file.as_slice()].concat());
    refused([file.as_slice(), &vec![0; CHUNK]].concat());
}

/// The last chunk is full or nearly so: whatever its length, the end is known by the seal alone.
#[tokio::test]
async fn a_backup_of_any_length_ends_where_it_ends() {
    let directory = tempfile::tempdir().expect("a directory");
    let marker = ring(&[1]).new_marker();
    let store = Embedded::initialize(directory.path(), &marker, clock::system()).expect("a store");
    let store: Arc<dyn Store> = Arc::new(store);
    let key = named("default", "alice");
    let mut current = None;
    let small = backup(&store, &ring(&[1]), Scope::Everything).await.len();
    // What is around the record: its entry's head, names, version and expiry.
    let around = 5 + (1 + 7) + (1 + 5) + 16 + 8;
    let fits = CHUNK + HEADER - small - around;
    let mut lengths = Vec::new();
    for length in fits - 2..=fits + 2 {
        // It opens under no key, and is written as it is.
        let swap = suite::change(&key, current, Some(&vec![7; length]), None);
        current = Some(swap.version);
        store.swap(swap, soon()).await.expect("a swap");
        let file = backup(&store, &ring(&[1]), Scope::Everything).await;
        let contents = verify(&file, &ring(&[1])).expect("a backup");
        assert_eq!((contents.records, contents.unreadable), (1, 1));
        lengths.push(file.len() - HEADER);
    }
    let expected = [CHUNK - 2, CHUNK - 1, CHUNK, CHUNK + 17, CHUNK + 18];
    assert_eq!(lengths, expected);
}

#[tokio::test]
async fn a_file_that_is_none_and_a_missing_key_are_told_apart() {
    let (store, _directory) = filled(&ring(&[1]), 3).await;
    let file = backup(&store, &ring(&[2, 1]), Scope::Everything).await;
    for none in [&b""[..], b"twinlock backup\n", &[0; 1000], b"{\"not\": \"a backup\"}"] {
        assert!(matches!(verify(none, &ring(&[1])), Err(BackupError::NotABackup)));
    }
    let refused = verify(&file, &ring(&[1])).expect_err("the file's key is missing").to_string();
    assert!(refused.contains("the key 00000002"), "{refused}");
    let refused = verify(&file, &ring(&[2])).expect_err("the marker's key is missing").to_string();
    assert!(refused.contains("no key 00000001"), "{refused}");
    let mut later = file.clone();
    later[16] = 2;
    assert!(matches!(verify(&later, &ring(&[2, 1])), Err(BackupError::Format(2))));
}

#[tokio::test]
async fn a_restored_store_is_the_same() {
    let (store, _directory) = filled(&ring(&[1]), 500).await;
    let file = backup(&store, &ring(&[1]), Scope::Everything).await;
    let (directory, mut target) = empty();
    let outcome = restore(&file, &mut target, Allowed::default()).await.expect("a restore");
    assert_eq!((outcome.written, outcome.removed), (500, 0));
    drop(target);
    let restored = open(&directory);
    assert_eq!(restored.marker(), store.marker());
    assert_eq!(records(&restored).await, records(&store).await);
    let expiring = restored.load(&named("shop", "user-0"), soon()).await.expect("a load");
    assert!(expiring.record.is_some());
}

#[tokio::test]
async fn nothing_is_written_where_the_file_is_refused_or_the_store_is_not_empty() {
    let (store, _directory) = filled(&ring(&[1]), 3).await;
    let file = backup(&store, &ring(&[1]), Scope::Everything).await;
    let (directory, mut target) = empty();
    let verified = Verified::read(Cursor::new(file.as_slice()), &ring(&[1])).expect("a backup");
    verified.plan(&mut target, &ring(&[1]), Allowed::default()).await.expect("a plan");
    drop(target);
    assert!(!directory.path().join("twinlock.redb").exists(), "a plan writes nothing");

    let (others, directory) = filled(&ring(&[3]), 5).await;
    let before = (others.marker().to_vec(), records(&others).await);
    drop(others);
    let mut target = Embedded::restoring(directory.path()).expect("a target");
    let refused = restore(&file, &mut target, Allowed::default()).await.expect_err("not empty");
    assert!(refused.to_string().contains("a dataset with 5 records"), "{refused}");
    drop(target);
    let others = open(&directory);
    assert_eq!((others.marker().to_vec(), records(&others).await), before);
    drop(others);

    let mut target = Embedded::restoring(directory.path()).expect("a target");
    let outcome = restore(&file, &mut target, REPLACING).await.expect("a restore");
    assert_eq!((outcome.written, outcome.removed), (3, 5));
    drop(target);
    let restored = open(&directory);
    assert_eq!(restored.marker(), store.marker());
    assert_eq!(records(&restored).await, records(&store).await);
}

#[tokio::test]
async fn a_restore_that_breaks_off_leaves_an_incomplete_store_and_can_be_run_again() {
    let (store, _directory) = filled(&ring(&[1]), 2500).await;
    let file = backup(&store, &ring(&[1]), Scope::Everything).await;
    for replaces in [false, true] {
        for steps in 0.. {
            let (directory, target) = if replaces {
                let (others, directory) = filled(&ring(&[3]), 5).await;
                drop(others);
                let target = Embedded::restoring(directory.path()).expect("a target");
                (directory, target)
            } else {
                empty()
            };
            let mut failing = Failing { target: Box::new(target), left: steps };
            let allowed = Allowed { replace: replaces, ..Allowed::default() };
            let outcome = restore(&file, &mut failing, allowed).await;
            drop(failing);
            let opened = Embedded::open(directory.path(), clock::system());
            let Err(error) = outcome else {
                assert!(steps >= 4, "it wrote in {steps} steps");
                break;
            };
            assert!(matches!(error, RestoreError::BrokenOff(_)), "{error}");
            assert!(error.to_string().contains("--replace"), "{error}");
            // Only where the very first step failed, the store is as it was before.
            let is_untouched = replaces && steps == 0;
            assert_eq!(opened.is_ok(), is_untouched, "after {steps} steps");
            if let Err(error) = &opened {
                assert!(matches!(error, StoreError::Incomplete(_)), "{error}");
            }
            drop(opened);
            let mut again = Embedded::restoring(directory.path()).expect("a target");
            restore(&file, &mut again, REPLACING).await.expect("a restore");
            drop(again);
            assert_eq!(records(&open(&directory)).await, records(&store).await);
        }
    }
}

#[tokio::test]
async fn unreadable_records_are_named_and_restored_only_on_demand() {
    let (store, _directory) = filled(&ring(&[1]), 3).await;
    for (user, key) in [("of a lost key", 9), ("of another lost key", 8)] {
        put(&store, &ring(&[key]), &named("default", user), None).await;
    }
    let file = backup(&store, &ring(&[1]), Scope::Everything).await;
    let contents = verify(&file, &ring(&[1])).expect("a backup");
    assert_eq!(contents.unreadable, 2);
    let told = format!("{:?}", contents.unreadable_users);
    assert!(told.contains("of a lost key") && told.contains("00000009"), "{told}");

    let (directory, mut target) = empty();
    let refused = restore(&file, &mut target, Allowed::default()).await.expect_err("unreadable");
    assert!(refused.to_string().contains("does not open 2 of the records"), "{refused}");
    let allowed = Allowed { unreadable: true, ..Allowed::default() };
    restore(&file, &mut target, allowed).await.expect("a restore");
    drop(target);
    assert_eq!(records(&open(&directory)).await, records(&store).await);
}

#[tokio::test]
async fn a_backup_of_a_namespace_leaves_the_others_alone() {
    let (store, directory) = filled(&ring(&[1]), 30).await;
    let shop = Scope::Namespace(Namespace::parse("shop").expect("a namespace"));
    let file = backup(&store, &ring(&[1]), shop.clone()).await;
    let contents = verify(&file, &ring(&[1])).expect("a backup");
    assert_eq!((contents.records, contents.left_out), (15, 15));
    assert!(records_of(&file, &ring(&[1])).keys().all(|(namespace, _)| namespace == "shop"));

    let before = records(&store).await;
    put(&store, &ring(&[1]), &named("shop", "newer"), None).await;
    put(&store, &ring(&[1]), &named("desk", "newer"), None).await;
    let after = records(&store).await;
    let marker = store.marker().to_vec();
    drop(store);
    let mut target = Embedded::restoring(directory.path()).expect("a target");
    let found = target.look(&shop).await.expect("a look");
    let marked = Marked::Everywhere(marker.clone());
    assert_eq!(found, Found { marker: marked, inside: 16, outside: 16 });
    restore(&file, &mut target, REPLACING).await.expect("a restore");
    drop(target);
    let restored = open(&directory);
    let mut expected = before;
    let newer = ("desk".to_owned(), "newer".to_owned());
    expected.insert(newer.clone(), after[&newer].clone());
    assert_eq!(records(&restored).await, expected);
    assert_eq!(restored.marker(), marker);

    let (_directory, mut target) = empty();
    let refused = restore(&file, &mut target, Allowed::default()).await.expect_err("partial");
    assert!(refused.to_string().contains("--partial"), "{refused}");
    let allowed = Allowed { partial: true, ..Allowed::default() };
    restore(&file, &mut target, allowed).await.expect("a restore");

    // Where others' users stay, their keyring must be this one.
    let (others, directory) = filled(&ring(&[3]), 4).await;
    drop(others);
    let mut target = Embedded::restoring(directory.path()).expect("a target");
    let refused = restore(&file, &mut target, REPLACING).await.expect_err("another keyring");
    assert!(matches!(refused, RestoreError::Foreign(_)), "{refused}");
}

#[tokio::test]
async fn of_a_record_that_comes_up_twice_the_later_one_holds() {
    let (directory, mut target) = empty();
    let key = named("default", "alice");
    let record = |n: u8, expire_at| Record {
        key: key.clone(),
        version: Version::fresh(),
        bytes: vec![n],
        expire_at,
    };
    let soon_gone = Some(Timestamp::from_secs(4_000_000_000));
    target.put(vec![record(1, soon_gone), record(2, None)]).await.expect("a write");
    target.put(vec![record(3, soon_gone)]).await.expect("a write");
    target.put(vec![record(4, None)]).await.expect("a write");
    target.mark(&ring(&[1]).new_marker()).await.expect("a marker");
    drop(target);
    let store = open(&directory);
    let found = records(&store).await;
    assert_eq!(found.len(), 1);
    assert_eq!(suite::record(&store, &key).await.map(|(_, bytes)| bytes), Some(vec![4]));
}

/// A target whose work fails after some steps.
struct Failing {
    target: Box<dyn Target>,
    left: usize,
}

impl Failing {
    fn step(&mut self) -> Result<(), StoreError> {
        let cause = || StoreError::Unavailable { cause: "a test".into(), may_have_happened: false };
        self.left = self.left.checked_sub(1).ok_or_else(cause)?;
        Ok(())
    }
}

#[async_trait::async_trait]
impl Target for Failing {
    async fn look(&mut self, scope: &Scope) -> Result<Found, StoreError> {
        self.target.look(scope).await
    }

    async fn clear(&mut self, scope: &Scope) -> Result<(), StoreError> {
        self.step()?;
        self.target.clear(scope).await
    }

    async fn put(&mut self, records: Vec<Record>) -> Result<(), StoreError> {
        self.step()?;
        self.target.put(records).await
    }

    async fn mark(&mut self, marker: &[u8]) -> Result<(), StoreError> {
        self.step()?;
        self.target.mark(marker).await
    }
}

fn ring(ids: &[u32]) -> Keyring {
    let keys = ids.iter().map(|id| (KeyId(*id), Zeroizing::new([*id as u8; 32])));
    Keyring::new(KeyId(ids[0]), keys).expect("a keyring")
}

/// A store with so many users, by turns of the namespaces "shop" and "desk".
async fn filled(ring: &Keyring, users: u32) -> (Arc<dyn Store>, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let marker = ring.new_marker();
    let store = Embedded::initialize(directory.path(), &marker, clock::system()).expect("a store");
    let store: Arc<dyn Store> = Arc::new(store);
    let mut writers = tokio::task::JoinSet::new();
    let ring = Arc::new(ring.clone());
    for n in 0..users {
        let (store, ring) = (store.clone(), ring.clone());
        writers.spawn(async move {
            let key = named(if n % 2 == 0 { "shop" } else { "desk" }, &format!("user-{n}"));
            let expire_at = (n % 5 == 0).then(|| Timestamp::from_secs(4_000_000_000));
            put(&store, &ring, &key, expire_at).await;
        });
    }
    writers.join_all().await;
    (store, directory)
}

async fn put(
    store: &Arc<dyn Store>,
    ring: &Keyring,
    key: &RecordKey,
    expire_at: Option<Timestamp>,
) {
    let vault = ring.vault(key);
    let password = Some(vault.seal(Purpose::Password, &[b'p'; 200]));
    let bytes = vault.write(&Content { password, ..Content::default() });
    let swap = Swap {
        key: key.clone(),
        expected: None,
        version: Version::fresh(),
        bytes: Some(bytes),
        expire_at,
        durability: Durability::Attempt,
        decided_at: None,
    };
    store.swap(swap, soon()).await.expect("a swap");
}

fn empty() -> (TempDir, twinlock_engine::store::embedded::Restoring) {
    let directory = tempfile::tempdir().expect("a directory");
    let target = Embedded::restoring(directory.path()).expect("a target");
    (directory, target)
}

fn open(directory: &TempDir) -> Arc<dyn Store> {
    Arc::new(Embedded::open(directory.path(), clock::system()).expect("a store"))
}

async fn backup(store: &Arc<dyn Store>, ring: &Keyring, scope: Scope) -> Vec<u8> {
    let mut backup = Backup::begin(&**store, ring, scope, soon()).await.expect("a backup");
    let mut file = Vec::new();
    let mut is_last = false;
    while let Some(part) = backup.next(soon()).await.expect("a part") {
        assert!(!is_last, "something follows the last part");
        is_last = part.is_last;
        file.extend(part.bytes);
    }
    assert!(is_last);
    file
}

fn verify(file: &[u8], ring: &Keyring) -> Result<Contents, BackupError> {
    Verified::read(Cursor::new(file), ring).map(|verified| verified.contents().clone())
}

async fn restore(
    file: &[u8],
    target: &mut dyn Target,
    allowed: Allowed,
) -> Result<twinlock_engine::backup::Outcome, RestoreError> {
    let mut verified = Verified::read(Cursor::new(file), &ring(&[1])).expect("a backup");
    verified.restore(target, &ring(&[1]), allowed).await
}

type Records = BTreeMap<(String, String), Record>;

fn by_name(record: Record) -> ((String, String), Record) {
    let name = (record.key.namespace.to_string(), record.key.user.to_string());
    (name, record)
}

fn records_of(file: &[u8], ring: &Keyring) -> Records {
    let mut verified = Verified::read(Cursor::new(file), ring).expect("a backup");
    let reader = verified.records().expect("records");
    let mut records = Records::new();
    while let Some(record) = reader.next_record().expect("a record") {
        records.extend([by_name(record)]);
    }
    records
}

async fn records(store: &Arc<dyn Store>) -> Records {
    let mut walk = store.walk(soon()).await.expect("a walk");
    let mut records = Records::new();
    while let Some(page) = walk.next(soon()).await.expect("a page") {
        records.extend(page.into_iter().map(by_name));
    }
    records
}
