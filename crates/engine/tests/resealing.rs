//! Keyrings that change, and records that are resealed, while calls go on.

use async_trait::async_trait;
use redb::backends::InMemoryBackend;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use twinlock_core::{Namespace, Policy, RequestId, SessionId, Timestamp, UserId};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::engine::KeyringRefused;
use twinlock_engine::hash::{Argon2Parameters, Hasher, Password};
use twinlock_engine::reseal::{Pace, Progress};
use twinlock_engine::seal::{KeyId, Keyring, Unreadable};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{
    Durability, Loaded, Record, RecordKey, Store, StoreError, Swap, Swapped, Version, Walk,
    dataset_name,
};
use twinlock_engine::{Call, ClientContext, Engine, Error, NewPassword, Proof, clock};
use zeroize::Zeroizing;

const OLD: KeyId = KeyId(1);
const NEW: KeyId = KeyId(2);

fn ring(ids: &[KeyId]) -> Keyring {
    let keys = ids.iter().map(|id| (*id, Zeroizing::new([id.0 as u8; 32])));
    Keyring::new(ids[0], keys).expect("a keyring")
}

fn engine_over(store: Arc<dyn Store>, keyring: Keyring) -> Arc<Engine> {
    let hasher = Hasher::new(Argon2Parameters::default(), 2).expect("a hasher");
    let mut policy = Policy::default();
    policy.backoff.tolerated_failures = 10;
    Arc::new(Engine::new(store, Arc::new(keyring), hasher, policy))
}

fn new_store(keyring: &Keyring) -> Embedded {
    let backend = || Ok(InMemoryBackend::new());
    Embedded::initialize_on(backend, &keyring.new_marker(), clock::system()).expect("a store")
}

/// A store of the old key's, and an engine over it.
fn begin() -> (Arc<Embedded>, Arc<Engine>) {
    let keyring = ring(&[OLD]);
    let store = Arc::new(new_store(&keyring));
    (store.clone(), engine_over(store, keyring))
}

fn call(request_id: Option<&str>) -> Call {
    Call {
        namespace: Namespace::default(),
        caller: "test".into(),
        client: ClientContext::default(),
        deadline: ample(),
        request_id: request_id.map(|id| RequestId::parse(id).expect("an id")),
        actor: None,
    }
}

fn ample() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user")
}

fn session() -> SessionId {
    SessionId::parse("session").expect("a session")
}

fn password(text: &str) -> Password {
    Password::parse(text.into()).expect("a password")
}

async fn assert_identity(engine: &Engine, name: &str) -> Result<(), Error> {
    let proof = Proof::Asserted("test".into());
    engine.elevate(&call(None), user(name), &session(), proof).await.map(|_| ())
}

async fn enroll(engine: &Engine, name: &str, request_id: Option<&str>) -> String {
    let enrollment = engine.enroll(&call(request_id), user(name), &session(), None).await;
    enrollment.expect("an enrollment").secret.to_base32().to_string()
}

async fn reseal(engine: &Arc<Engine>) -> Progress {
    let mut progress = engine.reseal(Pace::Full);
    let ended = progress.wait_for(|progress| !progress.is_running).await;
    ended.expect("the engine lives").clone()
}

async fn records(store: &dyn Store) -> BTreeMap<String, Record> {
    let mut walk = store.walk(ample()).await.expect("a walk");
    let mut records = BTreeMap::new();
    while let Some(page) = walk.next(ample()).await.expect("a page") {
        records.extend(page.into_iter().map(|record| (record.key.user.to_string(), record)));
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_and_the_marker_end_under_the_new_key_which_then_does_alone() {
    let (store, engine) = begin();
    for n in 0..300 {
        let name = format!("user {n}");
        assert_identity(&engine, &name).await.expect("elevated");
        enroll(&engine, &name, None).await;
    }
    let new = NewPassword::Plain(password("right"));
    engine.set_password(&call(None), user("user 7"), new).await.expect("a password is set");
    let before = records(&*store).await;
    let census = engine.census(|_| {}).await.expect("a census");
    assert!(census.records_needing(OLD) == 300 && census.markers.contains(&OLD));

    assert!(engine.change_keyring(ring(&[NEW, OLD])).await.expect("a good keyring"));
    let progress = reseal(&engine).await;
    assert_eq!(
        (progress.resealed, progress.total().records, progress.total().done),
        (300, 300, 300)
    );
    let census = engine.census(|_| {}).await.expect("a census");
    assert!(!census.needs(OLD) && census.records_needing(NEW) == 300, "{census:?}");

    let after = records(&*store).await;
    let alone = ring(&[NEW]);
    for (name, record) in &after {
        alone.vault(&record.key).read(&record.bytes).expect("readable");
        assert_eq!(record.expire_at, before[name].expire_at, "{name}");
        assert_ne!(record.version, before[name].version);
    }
    let marker = store.markers(ample()).await.expect("markers").pop().expect("one");
    assert_eq!(alone.open_marker(&marker), ring(&[OLD]).open_marker(store.marker()));
    assert_eq!(dataset_name(&marker), dataset_name(store.marker()));
    store.check(ample()).await.expect("the store knows its own marker again");
    let nobody = engine.describe_user(&call(None), user("nobody")).await;
    assert!(nobody.is_ok(), "an absence is believed beside the new marker");

    assert!(engine.change_keyring(alone).await.expect("nothing needs the old key"));
    let proof = Proof::Password(password("right"), None);
    let elevated = engine.elevate(&call(None), user("user 7"), &session(), proof).await;
    elevated.expect("the password still is the right one");
    assert_eq!(reseal(&engine).await.resealed, 300, "there is nothing to do");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_fails_while_keyrings_change_and_records_are_resealed() {
    let (store, engine) = begin();
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (engine, stop) = (engine.clone(), stop.clone());
        callers.spawn(async move {
            // Every user has two callers, who race with each other and with resealing.
            let name = format!("user {}", n / 2);
            let mut calls = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                assert_identity(&engine, &name).await.expect("elevated");
                let (call, session) = (call(None), session());
                let granted = engine.check_elevation(&call, user(&name), &session, None).await;
                granted.expect("a session is known under every key");
                calls += 1;
            }
            calls
        });
    }
    let mut keys = vec![OLD];
    for next in (2..40).map(KeyId) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        keys.insert(0, next);
        engine.change_keyring(ring(&keys)).await.expect("a good keyring");
        let progress = reseal(&engine).await;
        assert_eq!(progress.trouble, None);
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(calls) = callers.join_next().await {
        assert!(calls.expect("no call failed") > 10);
    }
    for record in records(&*store).await.values() {
        ring(&keys[..1]).vault(&record.key).read(&record.bytes).expect("under the last key alone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_its_answer_though_the_keys_have_changed() {
    let (_, engine) = begin();
    assert_identity(&engine, "alice").await.expect("elevated");
    let id = Some("0123456789abcdef");
    let secret = enroll(&engine, "alice", id).await;
    engine.change_keyring(ring(&[NEW, OLD])).await.expect("a good keyring");
    assert_eq!(enroll(&engine, "alice", id).await, secret);
    assert_eq!(reseal(&engine).await.resealed, 1);
    assert_eq!(enroll(&engine, "alice", id).await, secret, "the answer was resealed with the rest");
}

/// A store that stops once after a swap, until the test lets it go on.
struct Pausing {
    store: Embedded,
    pause: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
}

#[async_trait]
impl Store for Pausing {
    async fn load(&self, key: &RecordKey, deadline: Deadline) -> Result<Loaded, StoreError> {
        self.store.load(key, deadline).await
    }

    async fn swap(&self, swap: Swap, deadline: Deadline) -> Result<Swapped, StoreError> {
        let swapped = self.store.swap(swap, deadline).await;
        let pause = self.pause.lock().expect("a lock").take();
        if let Some((reached, go_on)) = pause {
            reached.send(()).expect("the test waits");
            go_on.await.expect("the test says when");
        }
        swapped
    }

    async fn walk(&self, deadline: Deadline) -> Result<Box<dyn Walk>, StoreError> {
        self.store.walk(deadline).await
    }

    fn marker(&self) -> &[u8] {
        self.store.marker()
    }

    async fn markers(&self, deadline: Deadline) -> Result<Vec<Vec<u8>>, StoreError> {
        self.store.markers(deadline).await
    }

    async fn renew_markers(&self, marker: &[u8], deadline: Deadline) -> Result<(), StoreError> {
        self.store.renew_markers(marker, deadline).await
    }

    async fn check(&self, deadline: Deadline) -> Result<(), StoreError> {
        self.store.check(deadline).await
    }
}

/// The marker speaks for the records: who lacks a key that one of them needs cannot open it, and does not start.
#[tokio::test(flavor = "multi_thread")]
async fn the_marker_is_resealed_when_no_record_needs_a_former_key_any_more() {
    let keyring = ring(&[OLD]);
    let store = Arc::new(Pausing { store: new_store(&keyring), pause: Mutex::default() });
    let engine = engine_over(store.clone(), keyring);
    for name in ["alice", "bob"] {
        assert_identity(&engine, name).await.expect("elevated");
    }
    engine.change_keyring(ring(&[NEW, OLD])).await.expect("a good keyring");
    let (reached, is_reached) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel();
    *store.pause.lock().expect("a lock") = Some((reached, goes_on));
    let mut progress = engine.reseal(Pace::Full);
    is_reached.await.expect("a record was resealed");
    let marker = async || store.markers(ample()).await.expect("markers").pop().expect("one");
    let alone = ring(&[NEW]).open_marker(&marker().await);
    assert_eq!(alone, Err(Unreadable::NoKey(OLD)), "the pass may end here");
    go_on.send(()).expect("the store waits");
    progress.wait_for(|progress| !progress.is_running).await.expect("the engine lives");
    assert!(ring(&[NEW]).open_marker(&marker().await).is_ok());
}

/// Elevates by a password whose record is changed after its failure was counted and before it is settled.
async fn elevate_across<F: Future>(change: impl FnOnce(Arc<Engine>) -> F) -> Result<(), Error> {
    let keyring = ring(&[OLD]);
    let store = Arc::new(Pausing { store: new_store(&keyring), pause: Mutex::default() });
    let engine = engine_over(store.clone(), keyring);
    let new = NewPassword::Plain(password("right"));
    engine.set_password(&call(None), user("alice"), new).await.expect("a password is set");
    engine.change_keyring(ring(&[NEW, OLD])).await.expect("a good keyring");

    let (reached, is_reached) = oneshot::channel();
    let (go_on, goes_on) = oneshot::channel();
    *store.pause.lock().expect("a lock") = Some((reached, goes_on));
    let other = engine.clone();
    let elevating = tokio::spawn(async move {
        let proof = Proof::Password(password("right"), None);
        other.elevate(&call(None), user("alice"), &session(), proof).await.map(|_| ())
    });
    is_reached.await.expect("the failure was counted");
    change(engine.clone()).await;
    go_on.send(()).expect("the store waits");
    let outcome = elevating.await.expect("no panic");
    let failures = engine.describe_user(&call(None), user("alice")).await.expect("a description");
    assert_eq!(failures.password.count, u32::from(outcome.is_err()));
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_is_right_though_its_verifier_is_resealed_while_it_is_hashed() {
    let outcome = elevate_across(|engine| async move {
        assert_eq!(reseal(&engine).await.resealed, 1);
    });
    outcome.await.expect("the right password");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_changed_while_it_is_hashed_is_wrong() {
    let outcome = elevate_across(|engine| async move {
        let new = NewPassword::Plain(password("another"));
        engine.set_password(&call(None), user("alice"), new).await.expect("a password is set");
    });
    assert!(outcome.await.is_err(), "it was checked against one that is not in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_that_would_lose_something_is_refused_and_the_one_before_goes_on() {
    let (_, engine) = begin();
    assert_identity(&engine, "alice").await.expect("elevated");
    let refused = async |keyring: Keyring| {
        let refused = engine.change_keyring(keyring).await.expect_err("refused");
        let warning = engine.warnings().pop().expect("a warning");
        assert!(warning.contains(&refused.to_string()), "{warning}");
        assert_identity(&engine, "alice").await.expect("the keyring before goes on");
        refused
    };
    let other = Keyring::new(OLD, [(OLD, Zeroizing::new([9; 32]))]).expect("a keyring");
    let contradicts = refused(other).await;
    assert!(matches!(contradicts, KeyringRefused::Contradiction(OLD)), "{contradicts}");
    let lacks = refused(ring(&[NEW])).await;
    assert!(matches!(lacks, KeyringRefused::WithoutPrimary(OLD)), "{lacks}");

    engine.change_keyring(ring(&[NEW, OLD])).await.expect("a good keyring");
    assert_eq!(engine.warnings(), [""; 0]);
    let needed = refused(ring(&[NEW])).await;
    assert!(matches!(needed, KeyringRefused::Needed { key: OLD, records: 1 }), "{needed}");
    assert!(!engine.change_keyring(ring(&[NEW, OLD])).await.expect("the same one"));
    assert_eq!(engine.warnings(), [""; 0], "what is right again is no warning any more");
    reseal(&engine).await;
    engine.change_keyring(ring(&[NEW])).await.expect("nothing needs the old key any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_stays_as_it_is_and_keeps_its_key() {
    let (store, engine) = begin();
    for name in ["alice", "bob", "carol"] {
        assert_identity(&engine, name).await.expect("elevated");
    }
    let mut damaged = records(&*store).await["bob"].clone();
    *damaged.bytes.last_mut().expect("bytes") ^= 1;
    let swap = Swap {
        key: damaged.key.clone(),
        expected: Some(damaged.version),
        version: Version::fresh(),
        bytes: Some(damaged.bytes.clone()),
        expire_at: damaged.expire_at,
        durability: Durability::Attempt,
        decided_at: None,
    };
    assert_eq!(store.swap(swap, ample()).await.expect("a swap"), Swapped::Done);

    engine.change_keyring(ring(&[NEW, OLD])).await.expect("a good keyring");
    let progress = reseal(&engine).await;
    assert_eq!((progress.resealed, progress.left.get(&OLD)), (2, Some(&1)));
    assert_eq!((progress.total().records, progress.total().done), (3, 2));
    assert_eq!(records(&*store).await["bob"].bytes, damaged.bytes);
    let census = engine.census(|_| {}).await.expect("a census");
    assert!(census.markers.contains(&OLD), "what needs the key keeps the marker, too");
    let refused = engine.change_keyring(ring(&[NEW])).await.expect_err("bob needs it");
    assert!(matches!(refused, KeyringRefused::Needed { key: OLD, records: 1 }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_key_opens_what_others_seal_with_it_and_is_not_sealed_over() {
    let keyring = ring(&[OLD]);
    let store = Arc::new(new_store(&keyring));
    let behind = engine_over(store.clone(), keyring);
    let prepared = ring(&[OLD, NEW]).with_prepared(&[NEW]).expect("a keyring");
    assert!(behind.change_keyring(prepared).await.expect("a good keyring"));
    let ahead = engine_over(store.clone(), ring(&[NEW, OLD]));
    assert_identity(&ahead, "alice").await.expect("elevated");
    assert_eq!(reseal(&ahead).await.resealed, 0, "only the marker is the old key's");
    let marker = store.markers(ample()).await.expect("markers");
    assert_identity(&behind, "bob").await.expect("elevated, beside the ahead one's marker");
    assert_identity(&behind, "alice").await.expect("elevated");
    assert_eq!(reseal(&behind).await.resealed, 0);
    assert_eq!(store.markers(ample()).await.expect("markers"), marker);
    assert_eq!(reseal(&ahead).await.resealed, 2);
    assert_eq!(ahead.look_for_later_keyring().await.expect("a look"), None);
    let told = behind.look_for_later_keyring().await.expect("a look").expect("it is behind");
    assert!(told.contains("key 00000002, which is only prepared here"), "{told}");
    assert_eq!(behind.warnings(), [told]);
    assert!(behind.change_keyring(ring(&[NEW, OLD])).await.expect("a good keyring"));
    assert_eq!(behind.look_for_later_keyring().await.expect("a look"), None);
    assert_eq!(behind.warnings(), [""; 0]);
}

#[tokio::test]
async fn records_that_have_lapsed_need_no_key() {
    let keyring = ring(&[OLD]);
    let now = Arc::new(Mutex::new(Timestamp::from_secs(1_800_000_000)));
    let read = now.clone();
    let backend = || Ok(InMemoryBackend::new());
    let clock = Arc::new(move || *read.lock().expect("a lock"));
    let store = Embedded::initialize_on(backend, &keyring.new_marker(), clock).expect("a store");
    let engine = engine_over(Arc::new(store), keyring);
    assert_identity(&engine, "alice").await.expect("elevated");
    engine.change_keyring(ring(&[NEW, OLD])).await.expect("a good keyring");
    *now.lock().expect("a lock") = Timestamp::from_secs(1_900_000_000);
    // Nothing was written since, so the store has not swept it away.
    assert_eq!(engine.census(|_| {}).await.expect("a census").records_needing(OLD), 0);
    assert_eq!(reseal(&engine).await.resealed, 0);
    engine.change_keyring(ring(&[NEW])).await.expect("nothing needs the old key");
}
