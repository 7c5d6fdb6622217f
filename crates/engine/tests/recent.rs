//! What was seen of a record lately, as the ground of a decision: when it saves a load, and when it must not.

use async_trait::async_trait;
use redb::backends::InMemoryBackend;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use twinlock_core::login::Channel;
use twinlock_core::second_factor::Proven;
use twinlock_core::totp::{self, Parameters, Secret, Step, TotpCode};
use twinlock_core::{Namespace, Policy, Refusal, RequestId, SessionId, Timestamp, UserId};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::engine::Credential;
use twinlock_engine::hash::{Argon2Parameters, Hasher};
use twinlock_engine::seal::{KeyId, Keyring};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{Loaded, Recent, RecordKey, Store, StoreError, Swap, Swapped, Walk};
use twinlock_engine::{Call, ClientContext, Engine, Error, LoginRequest, Proof};
use zeroize::Zeroizing;

/// A real store, as one of several processes sees it that remember what they saw.
struct Remembering {
    store: Arc<Embedded>,
    recent: Recent,
    loads: AtomicU64,
    swaps: AtomicU64,
}

impl Remembering {
    /// How many loads and swaps there were since this was last asked.
    fn counts(&self) -> (u64, u64) {
        (self.loads.swap(0, Ordering::SeqCst), self.swaps.swap(0, Ordering::SeqCst))
    }
}

#[async_trait]
impl Store for Remembering {
    async fn load(&self, key: &RecordKey, deadline: Deadline) -> Result<Loaded, StoreError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.store.load(key, deadline).await
    }

    async fn swap(&self, swap: Swap, deadline: Deadline) -> Result<Swapped, StoreError> {
        self.swaps.fetch_add(1, Ordering::SeqCst);
        self.store.swap(swap, deadline).await
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

    fn recent(&self) -> Option<&Recent> {
        Some(&self.recent)
    }
}

/// Two processes over one store, whose clock goes on from the time that the test turns it to.
struct Bench {
    engines: [Engine; 2],
    stores: [Arc<Remembering>; 2],
    began: Instant,
    turned_to: Arc<AtomicU64>,
    secret: Secret,
}

const ONE: usize = 0;
const OTHER: usize = 1;

impl Bench {
    /// With a user who is enrolled.
    async fn new() -> Self {
        // In the first third of a step, so that no step ends while a test runs.
        let (began, turned_to) = (Instant::now(), Arc::new(AtomicU64::new(1_800_000_010_000)));
        let clock = turned_to.clone();
        let clock = Arc::new(move || now(began, &clock));
        let key = (KeyId(1), Zeroizing::new([7; 32]));
        let keyring = Arc::new(Keyring::new(KeyId(1), [key]).expect("a keyring"));
        let backend = || Ok(InMemoryBackend::new());
        let store = Embedded::initialize_on(backend, &keyring.new_marker(), clock);
        let store = Arc::new(store.expect("a store"));
        let stores = [(); 2].map(|()| {
            let (recent, loads, swaps) = Default::default();
            Arc::new(Remembering { store: store.clone(), recent, loads, swaps })
        });
        let engines = [ONE, OTHER].map(|at| {
            let hasher = Hasher::new(Argon2Parameters::default(), 1).expect("a hasher");
            Engine::new(stores[at].clone(), keyring.clone(), hasher, Policy::default())
        });
        let session = SessionId::parse("session").expect("a session");
        let asserted = Proof::Asserted("test".into());
        engines[ONE].elevate(&call(None), alice(), &session, asserted).await.expect("elevated");
        let begun = engines[ONE].enroll(&call(None), alice(), &session, None).await;
        let secret = begun.expect("begun").secret;
        let bench = Self { engines, stores, began, turned_to, secret };
        let code = bench.code(0);
        let call = call(None);
        let confirmed = bench.engines[ONE].confirm_enrollment(&call, alice(), &session, &code);
        confirmed.await.expect("confirmed");
        bench.turn(60_000);
        bench.stores.iter().for_each(|store| _ = store.counts());
        bench
    }

    fn turn(&self, millis: i64) {
        let turned = self.turned_to.load(Ordering::SeqCst).saturating_add_signed(millis);
        self.turned_to.store(turned, Ordering::SeqCst);
    }

    fn code(&self, offset: i64) -> TotpCode {
        let parameters = Parameters::default();
        let Step(step) = parameters.period.step(now(self.began, &self.turned_to));
        totp::generate(&self.secret, &parameters, Step(step.saturating_add_signed(offset)))
    }

    /// A code of none of the steps about now.
    fn wrong(&self) -> TotpCode {
        let near: Vec<String> = (-3..=3).map(|n| self.code(n).expose().to_string()).collect();
        let wrong = (0..).map(|n| format!("{n:06}")).find(|code| !near.contains(code));
        TotpCode::parse(&wrong.expect("a wrong code")).expect("a code")
    }

    /// What a login begins with; it loads the record.
    async fn evaluate(&self, at: usize) {
        let login = LoginRequest {
            channel: Channel::Form,
            authorities: Vec::new(),
            resource: String::new(),
        };
        self.engines[at].evaluate_login(&call(None), alice(), &login).await.expect("a verdict");
        assert_eq!(self.stores[at].counts(), (1, 0));
    }

    async fn verify(&self, at: usize, id: Option<&str>, code: TotpCode) -> Result<Proven, Error> {
        self.engines[at].verify(&call(id), alice(), None, Credential::Totp(code)).await
    }
}

fn now(began: Instant, turned_to: &AtomicU64) -> Timestamp {
    Timestamp::from_millis(turned_to.load(Ordering::SeqCst)).after(began.elapsed())
}

fn call(request_id: Option<&str>) -> Call {
    Call {
        namespace: Namespace::default(),
        caller: "test".into(),
        client: ClientContext::default(),
        deadline: Deadline::after(Duration::from_secs(60)),
        request_id: request_id.map(|id| RequestId::parse(id).expect("an id")),
        actor: None,
    }
}

fn alice() -> UserId {
    UserId::parse("alice").expect("a user")
}

fn is_refused<T>(answer: &Result<T, Error>, refusal: &Refusal) -> bool {
    matches!(answer, Err(Error::Refused(refused)) if refused == refusal)
}

#[tokio::test]
async fn a_code_that_follows_its_login_needs_no_load() {
    let bench = Bench::new().await;
    bench.evaluate(ONE).await;
    bench.verify(ONE, None, bench.code(0)).await.expect("verified");
    assert_eq!(bench.stores[ONE].counts(), (0, 1));
    let used = bench.verify(ONE, None, bench.code(0)).await;
    assert!(matches!(used, Err(Error::Refused(Refusal::CodeAlreadyUsed { .. }))), "{used:?}");
    assert_eq!(bench.stores[ONE].counts(), (1, 1), "what was seen served once");
}

#[tokio::test]
async fn a_wrong_code_is_counted_by_the_same_swap() {
    let bench = Bench::new().await;
    bench.evaluate(ONE).await;
    let wrong = bench.verify(ONE, None, bench.wrong()).await;
    assert!(is_refused(&wrong, &Refusal::InvalidCode), "{wrong:?}");
    assert_eq!(bench.stores[ONE].counts(), (0, 1));
    let described = bench.engines[ONE].describe_user(&call(None), alice()).await;
    assert_eq!(described.expect("a description").second_factor.count, 1);
}

#[tokio::test]
async fn what_another_process_changed_meanwhile_is_decided_on_anew() {
    let bench = Bench::new().await;
    bench.evaluate(ONE).await;
    let code = bench.code(0);
    bench.verify(OTHER, None, bench.code(0)).await.expect("verified");
    let used = bench.verify(ONE, None, code).await;
    assert!(matches!(used, Err(Error::Refused(Refusal::CodeAlreadyUsed { .. }))), "{used:?}");
    assert_eq!(bench.stores[ONE].counts(), (1, 2));
}

#[tokio::test]
async fn a_refusal_that_changes_nothing_comes_from_a_load() {
    let bench = Bench::new().await;
    for _ in 0..2 {
        bench.verify(ONE, None, bench.wrong()).await.expect_err("a wrong code");
    }
    bench.stores[ONE].counts();
    bench.evaluate(ONE).await;
    // The block ends, and only the store knows.
    bench.turn(1_000);
    bench.verify(ONE, None, bench.code(0)).await.expect("verified after the block");
    assert_eq!(bench.stores[ONE].counts(), (1, 1));

    bench.turn(30_000);
    for _ in 0..2 {
        bench.verify(ONE, None, bench.wrong()).await.expect_err("a wrong code");
    }
    bench.stores[ONE].counts();
    bench.evaluate(ONE).await;
    let blocked = bench.verify(ONE, None, bench.code(0)).await;
    assert!(matches!(blocked, Err(Error::Refused(Refusal::Backoff { .. }))), "{blocked:?}");
    assert_eq!(bench.stores[ONE].counts(), (1, 0));
}

#[tokio::test]
async fn a_repeat_is_answered_from_a_load() {
    let bench = Bench::new().await;
    let (id, code) = (Some("0123456789abcdef"), bench.code(0));
    let first = bench.verify(ONE, id, bench.code(0)).await.expect("verified");
    bench.stores[ONE].counts();
    bench.evaluate(ONE).await;
    let again = bench.verify(ONE, id, code).await.expect("the same answer");
    assert_eq!(again.at, first.at);
    assert_eq!(bench.stores[ONE].counts(), (1, 0));
}

#[tokio::test]
async fn a_clock_that_is_elsewhere_by_now_decides_anew() {
    for turned in [-90_000, 90_000] {
        let bench = Bench::new().await;
        bench.evaluate(ONE).await;
        let code = bench.code(0);
        bench.turn(turned);
        // Right by the clock of before, and of no step in the window of now.
        let late = bench.verify(ONE, None, code).await;
        assert!(is_refused(&late, &Refusal::InvalidCode), "{turned}: {late:?}");
        assert_eq!(bench.stores[ONE].counts(), (1, 2), "{turned}");
    }
}
