//! An administrator's call that is cut off at every point, and repeated.

use async_trait::async_trait;
use redb::backends::InMemoryBackend;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use twinlock_core::totp::{self, Parameters, Secret, Step, TotpCode};
use twinlock_core::{Namespace, Policy, Refusal, RequestId, SessionId, Timestamp, UserId};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::hash::{Argon2Parameters, Hasher};
use twinlock_engine::seal::{KeyId, Keyring};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{Loaded, RecordKey, Store, StoreError, Swap, Swapped, Walk};
use twinlock_engine::{Call, ClientContext, Engine, Error, Proof};
use zeroize::Zeroizing;

/// A real store whose operations fail from a certain one on: not made, or made and the answer lost.
struct Failing {
    store: Embedded,
    /// How many operations still go well.
    left: AtomicU64,
    loses_answers: bool,
}

impl Failing {
    fn fails(&self) -> bool {
        let less = |left: u64| Some(left.saturating_sub(1));
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) == Ok(0)
    }
}

#[async_trait]
impl Store for Failing {
    async fn load(&self, key: &RecordKey, deadline: Deadline) -> Result<Loaded, StoreError> {
        if self.fails() { Err(cut_off(false)) } else { self.store.load(key, deadline).await }
    }

    async fn swap(&self, swap: Swap, deadline: Deadline) -> Result<Swapped, StoreError> {
        if !self.fails() {
            return self.store.swap(swap, deadline).await;
        }
        if self.loses_answers {
            self.store.swap(swap, deadline).await?;
        }
        Err(cut_off(true))
    }

    async fn walk(&self, deadline: Deadline) -> Result<Box<dyn Walk>, StoreError> {
        self.store.walk(deadline).await
    }

    fn marker(&self) -> &[u8] {
        self.store.marker()
    }

    async fn check(&self, deadline: Deadline) -> Result<(), StoreError> {
        self.store.check(deadline).await
    }
}

fn cut_off(may_have_happened: bool) -> StoreError {
    StoreError::Unavailable { cause: "cut off by the test".into(), may_have_happened }
}

struct Bench {
    engine: Engine,
    store: Arc<Failing>,
    clock: Arc<AtomicU64>,
}

impl Bench {
    fn new(loses_answers: bool) -> Self {
        let clock = Arc::new(AtomicU64::new(1_800_000_000_000));
        let read = clock.clone();
        let read = Arc::new(move || Timestamp::from_millis(read.load(Ordering::SeqCst)));
        let key = (KeyId(1), Zeroizing::new([7; 32]));
        let keyring = Arc::new(Keyring::new(KeyId(1), [key]).expect("a keyring"));
        let backend = || Ok(InMemoryBackend::new());
        let store = Embedded::initialize_on(backend, &keyring.new_marker(), read);
        let store = store.expect("a store");
        let store = Arc::new(Failing { store, left: AtomicU64::new(u64::MAX), loses_answers });
        let hasher = Hasher::new(Argon2Parameters::default(), 1).expect("a hasher");
        let engine = Engine::new(store.clone(), keyring, hasher, Policy::default());
        Self { engine, store, clock }
    }

    /// Time passes: long enough for a code that was not used, and for no receipt to lapse.
    fn wait(&self) {
        self.clock.fetch_add(30_000, Ordering::SeqCst);
    }

    fn code(&self, secret: &Secret) -> TotpCode {
        let step = Step(self.clock.load(Ordering::SeqCst) / 30_000);
        totp::generate(secret, &Parameters::default(), step)
    }

    async fn enroll(&self, name: &str) -> Secret {
        let session = SessionId::parse("session").expect("a session");
        let asserted = Proof::Asserted("test".into());
        self.engine.elevate(&call(None), user(name), &session, asserted).await.expect("elevated");
        let begun = self.engine.enroll(&call(None), user(name), &session, None).await;
        let secret = begun.expect("begun").secret;
        let code = self.code(&secret);
        let call = call(None);
        let confirmed = self.engine.confirm_enrollment(&call, user(name), &session, &code);
        confirmed.await.expect("confirmed");
        self.wait();
        secret
    }

    async fn is_enrolled(&self, name: &str) -> bool {
        let description = self.engine.describe_user(&call(None), user(name)).await;
        description.expect("a description").enrolled_at.is_some()
    }

    async fn unenroll(&self, id: Option<&str>, code: TotpCode) -> Result<(), Error> {
        self.engine.unenroll_user(&call(id), user("boss"), code, user("bob")).await
    }

    /// What follows goes well so many times, and then fails.
    fn fail_after(&self, operations: u64) {
        self.store.left.store(operations, Ordering::SeqCst);
    }

    fn heal(&self) {
        self.fail_after(u64::MAX);
    }
}

fn call(id: Option<&str>) -> Call {
    Call {
        namespace: Namespace::default(),
        caller: "test".into(),
        client: ClientContext::default(),
        deadline: Deadline::after(Duration::from_secs(30)),
        request_id: id.map(|id| RequestId::parse(id).expect("an id")),
        actor: None,
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user")
}

const ID: Option<&str> = Some("0123456789abcdef");

#[tokio::test]
async fn an_unenrollment_that_is_cut_off_anywhere_is_done_once_by_its_repeat() {
    for loses_answers in [false, true] {
        let mut cuts = 0;
        for operations in 0.. {
            let bench = Bench::new(loses_answers);
            let boss = bench.enroll("boss").await;
            bench.enroll("bob").await;
            let typed = bench.code(&boss).expose().to_string();
            let code = || TotpCode::parse(&typed).expect("a code");

            bench.fail_after(operations);
            let first = bench.unenroll(ID, code()).await;
            bench.heal();
            // The repeat asks for no other code, however late it comes.
            bench.wait();
            bench.wait();
            bench.wait();
            let is_late = first.is_err() && bench.is_enrolled("bob").await;
            let repeat = bench.unenroll(ID, code()).await;
            // Where not even the proof was spent, the code has grown too old by now.
            if matches!(repeat, Err(Error::Refused(Refusal::InvalidCode))) {
                assert!(is_late && bench.is_enrolled("bob").await, "after {operations}");
                let fresh = bench.code(&boss);
                bench.unenroll(Some("another request id"), fresh).await.expect("done");
            } else {
                repeat.unwrap_or_else(|error| panic!("after {operations} operations: {error}"));
            }
            assert!(!bench.is_enrolled("bob").await, "after {operations} operations");

            bench.enroll("bob").await;
            // A newer enrollment is none of its business.
            let _ = bench.unenroll(ID, code()).await;
            assert!(bench.is_enrolled("bob").await, "after {operations} operations");
            if first.is_ok() {
                break;
            }
            cuts += 1;
        }
        assert!(cuts >= 4, "only {cuts} places to cut it off");
    }
}

#[tokio::test]
async fn without_a_proof_nothing_is_unenrolled() {
    let bench = Bench::new(false);
    let boss = bench.enroll("boss").await;
    let bob = bench.enroll("bob").await;
    let refused = bench.unenroll(ID, bench.code(&bob)).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::InvalidCode))), "{refused:?}");
    let refused = bench.unenroll(ID, bench.code(&bob)).await;
    assert!(matches!(refused, Err(Error::Refused(Refusal::InvalidCode))), "{refused:?}");
    // The same id with a right code is another request.
    let reused = bench.unenroll(ID, bench.code(&boss)).await;
    assert!(matches!(reused, Err(Error::Refused(Refusal::RequestIdReused))), "{reused:?}");
    assert!(bench.is_enrolled("bob").await);
}
