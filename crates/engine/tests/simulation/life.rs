//! One life: a user, the replicas that serve the user, attackers, and what must hold in the end.

use crate::world::{Acknowledging, Change, Replica, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;
use twinlock_core::login::Channel;
use twinlock_core::recovery::RecoveryKey;
use twinlock_core::second_factor::Proven;
use twinlock_core::totp::{self, Parameters, Secret, TotpCode};
use twinlock_core::{Namespace, Policy, Record, Refusal, RequestId, SessionId, UserId};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::engine::Credential;
use twinlock_engine::hash::{Argon2Parameters, Hasher};
use twinlock_engine::seal::{KeyId, Keyring};
use twinlock_engine::store::{RecordKey, StoreError};
use twinlock_engine::{Call, ClientContext, Engine, Error, LoginRequest, Proof};
use zeroize::Zeroizing;

const REPLICAS: usize = 3;
/// How often each actor acts.
const ACTS: usize = 12;

pub struct Life {
    world: Arc<World>,
    acknowledging: Acknowledging,
    keyring: Arc<Keyring>,
    engines: Vec<Engine>,
    next_id: Mutex<u64>,
    seen: Mutex<Seen>,
}

/// What the callers were told.
#[derive(Default)]
struct Seen {
    /// How often the code of each step was accepted. Steps, not codes: of a million codes, two steps of
    /// one life sometimes have the same.
    accepted: BTreeMap<u64, u32>,
    /// Evaluated refusals, repeats of one request apart.
    refused: usize,
    refused_ids: BTreeSet<String>,
}

impl Life {
    pub fn new(seed: u64, acknowledging: Acknowledging) -> Arc<Self> {
        let world = World::new(seed, acknowledging);
        let key = (KeyId(1), Zeroizing::new([7; 32]));
        let keyring = Arc::new(Keyring::new(KeyId(1), [key]).expect("a keyring"));
        let engines = (0..REPLICAS).map(|_| {
            let hasher = Hasher::new(Argon2Parameters::default(), 1).expect("a hasher");
            let store = Arc::new(Replica::of(&world));
            Engine::new(store, keyring.clone(), hasher, Policy::default())
        });
        let engines = engines.collect();
        let (next_id, seen) = (Mutex::new(0), Mutex::new(Seen::default()));
        Arc::new(Self { world, acknowledging, keyring, engines, next_id, seen })
    }

    /// Lives; says what was broken.
    pub async fn run(self: Arc<Self>) -> Result<(), String> {
        let (secret, key) = self.enroll().await?;
        let secret = Arc::new(secret);
        self.world.set_storm(25);
        let owner = tokio::spawn(self.clone().log_in(secret.clone()));
        let replayer = tokio::spawn(self.clone().replay(secret.clone()));
        let guesser = tokio::spawn(self.clone().guess(secret.clone()));
        let redeemer = tokio::spawn(self.clone().redeem(key));
        let chaos = tokio::spawn(self.clone().go_wrong());
        let ended = tokio::join!(owner, replayer, guesser, redeemer, chaos);
        let key = ended.3.map_err(|error| error.to_string())??;
        for ended in [ended.0, ended.1, ended.2, ended.4] {
            ended.map_err(|error| error.to_string())?;
        }
        self.world.set_storm(0);
        // What is still on its way arrives, and every block ends.
        sleep(Duration::from_secs(2 * 3600)).await;
        let proven = self.verify(0, None, Credential::RecoveryKey(key)).await;
        proven.map_err(|error| format!("the owner's recovery key does not work: {error}"))?;
        self.check()
    }

    async fn enroll(&self) -> Result<(Secret, RecoveryKey), String> {
        let engine = &self.engines[0];
        let failed = |error: Error| error.to_string();
        let session = session();
        let asserted = Proof::Asserted("test".into());
        engine.elevate(&self.call(None), alice(), &session, asserted).await.map_err(failed)?;
        let begun =
            engine.enroll(&self.call(None), alice(), &session, None).await.map_err(failed)?;
        let code = self.code(&begun.secret, 0);
        let confirmed = engine
            .confirm_enrollment(&self.call(None), alice(), &session, &code)
            .await
            .map_err(failed)?;
        // The enrollment is old news when the trouble begins.
        sleep(Duration::from_secs(60)).await;
        Ok((begun.secret, confirmed.issued.key))
    }

    /// The owner, who repeats a call that was not answered.
    async fn log_in(self: Arc<Self>, secret: Arc<Secret>) {
        for _ in 0..ACTS {
            sleep(self.pause(40)).await;
            let (step, text) = self.right(&secret);
            let id = self.fresh_id();
            for _ in 0..4 {
                let code = TotpCode::parse(&text).expect("a code");
                let at = self.world.roll(REPLICAS as u64) as usize;
                let answer = self.verify(at, Some(&id), Credential::Totp(code)).await;
                let is_final = !is_unknown(&answer);
                self.note(Some(&id), step, &answer);
                if is_final {
                    break;
                }
            }
        }
    }

    /// Sends one right code to every replica at once.
    async fn replay(self: Arc<Self>, secret: Arc<Secret>) {
        for _ in 0..ACTS {
            sleep(self.pause(50)).await;
            let (step, text) = self.right(&secret);
            let attempts = (0..REPLICAS).map(|at| {
                let (life, text) = (self.clone(), text.clone());
                tokio::spawn(async move {
                    let code = TotpCode::parse(&text).expect("a code");
                    let answer = life.verify(at, None, Credential::Totp(code)).await;
                    life.note(None, step, &answer);
                })
            });
            for attempt in attempts.collect::<Vec<_>>() {
                attempt.await.expect("an attempt");
            }
        }
    }

    /// Sends many wrong codes to every replica at once.
    async fn guess(self: Arc<Self>, secret: Arc<Secret>) {
        for _ in 0..ACTS / 2 {
            sleep(self.pause(120)).await;
            let near: Vec<String> =
                (-3..=3).map(|offset| self.code(&secret, offset).expose().to_string()).collect();
            let wrong = (0..).map(|n| format!("{n:06}")).find(|code| !near.contains(code));
            let wrong = wrong.expect("a wrong code");
            let attempts = (0..8).map(|n| {
                let (life, text) = (self.clone(), wrong.clone());
                tokio::spawn(async move {
                    let code = TotpCode::parse(&text).expect("a code");
                    let answer = life.verify(n % REPLICAS, None, Credential::Totp(code)).await;
                    life.note(None, 0, &answer);
                })
            });
            for attempt in attempts.collect::<Vec<_>>() {
                attempt.await.expect("an attempt");
            }
        }
    }

    /// Uses the recovery key again and again, and repeats a call with its id until it is answered; gives
    /// the key in force.
    async fn redeem(self: Arc<Self>, mut key: RecoveryKey) -> Result<RecoveryKey, String> {
        for _ in 0..ACTS / 2 {
            sleep(self.pause(100)).await;
            let id = self.fresh_id();
            for _ in 0..200 {
                let at = self.world.roll(REPLICAS as u64) as usize;
                let credential = Credential::RecoveryKey(key.clone());
                match self.verify(at, Some(&id), credential).await {
                    Ok(Proven { issued: Some(issued), .. }) => {
                        key = issued.key;
                        break;
                    }
                    Err(Error::Refused(Refusal::Backoff { retry_after })) => {
                        sleep(retry_after).await;
                    }
                    answer if is_unknown(&answer) => sleep(self.pause(1)).await,
                    answer => return Err(format!("the recovery key was refused: {answer:?}")),
                }
            }
        }
        Ok(key)
    }

    async fn go_wrong(self: Arc<Self>) {
        for _ in 0..ACTS {
            sleep(self.pause(60)).await;
            self.world.set_storm(self.world.roll(60) as u32);
            if self.world.roll(4) == 0 {
                self.world.jump_forward(Duration::from_millis(self.world.roll(60_000)));
            }
            if self.acknowledging != Acknowledging::NoFailover && self.world.roll(3) == 0 {
                self.world.fail_over();
            }
        }
    }

    async fn verify(
        &self,
        at: usize,
        id: Option<&str>,
        credential: Credential,
    ) -> Result<Proven, Error> {
        // A login asks first what it owes, and what that loaded is decided on.
        if self.world.roll(2) == 0 {
            let login = LoginRequest {
                channel: Channel::Form,
                authorities: Vec::new(),
                resource: String::new(),
            };
            let _ = self.engines[at].evaluate_login(&self.call(None), alice(), &login).await;
            sleep(self.pause(3)).await;
        }
        self.engines[at].verify(&self.call(id), alice(), None, credential).await
    }

    fn call(&self, id: Option<&str>) -> Call {
        Call {
            namespace: Namespace::default(),
            caller: "test".into(),
            client: ClientContext::default(),
            deadline: Deadline::after(Duration::from_secs(5)),
            request_id: id.map(|id| RequestId::parse(id).expect("an id")),
            actor: None,
        }
    }

    fn fresh_id(&self) -> String {
        let mut next = self.next_id.lock().expect("ids");
        *next += 1;
        format!("request-{next:016}")
    }

    fn pause(&self, most_secs: u64) -> Duration {
        Duration::from_millis(self.world.roll(most_secs * 1000) + 1)
    }

    fn code(&self, secret: &Secret, offset: i64) -> TotpCode {
        let parameters = Parameters::default();
        let totp::Step(step) = parameters.period.step(self.world.now());
        totp::generate(secret, &parameters, totp::Step(step.saturating_add_signed(offset)))
    }

    /// The present step and its code.
    fn right(&self, secret: &Secret) -> (u64, String) {
        let totp::Step(step) = Parameters::default().period.step(self.world.now());
        (step, self.code(secret, 0).expose().to_string())
    }

    fn note(&self, id: Option<&str>, step: u64, answer: &Result<Proven, Error>) {
        let mut seen = self.seen.lock().expect("notes");
        match answer {
            Ok(_) => {
                *seen.accepted.entry(step).or_default() += 1;
            }
            Err(Error::Refused(Refusal::InvalidCode | Refusal::CodeAlreadyUsed { .. })) => {
                if id.is_none_or(|id| seen.refused_ids.insert(id.to_owned())) {
                    seen.refused += 1;
                }
            }
            Err(_) => {}
        }
    }

    /// What must hold, from what the callers were told and what the store went through.
    fn check(&self) -> Result<(), String> {
        let seen = self.seen.lock().expect("notes");
        let may_forget = self.acknowledging == Acknowledging::Enrollments;
        if let Some((step, times)) = seen.accepted.iter().find(|(_, times)| **times > 1)
            && !may_forget
        {
            return Err(format!("the code of step {step} was accepted {times} times"));
        }
        let policy = Policy::default();
        let vault =
            self.keyring.vault(&RecordKey { namespace: Namespace::default(), user: alice() });
        let read = |bytes: Option<Vec<u8>>| -> Record {
            bytes.map(|bytes| vault.read(&bytes).expect("a record")).unwrap_or_default()
        };
        let (mut before, mut charged) = (Record::default(), 0);
        for change in self.world.take_history() {
            let (after, swapped) = match change {
                Change::Swapped(bytes) => (read(bytes), true),
                Change::FailedOver(bytes) => (read(bytes), false),
            };
            let (old, new) = (before.second_factor_failures, after.second_factor_failures);
            if swapped && new.charges != old.charges {
                charged += 1;
                let end = old.since.after(policy.backoff.wait(old.failures));
                if new.charges != old.charges + 1 || new.since < end {
                    return Err(format!("a guess within a block: {old:?}, then {new:?}"));
                }
            }
            before = after;
        }
        if seen.refused > charged {
            return Err(format!("{} guesses were evaluated, {charged} counted", seen.refused));
        }
        let last = before.authenticator.and_then(|authenticator| authenticator.last_step);
        let latest = seen.accepted.keys().next_back();
        if !may_forget && last.map(|last| last.0) < latest.copied() {
            return Err(format!("step {latest:?} was accepted, and {last:?} is kept"));
        }
        Ok(())
    }
}

fn is_unknown(answer: &Result<Proven, Error>) -> bool {
    matches!(answer, Err(Error::Store(StoreError::Unavailable { .. }) | Error::Contended))
}

fn alice() -> UserId {
    UserId::parse("alice").expect("a user")
}

fn session() -> SessionId {
    SessionId::parse("session").expect("a session")
}
