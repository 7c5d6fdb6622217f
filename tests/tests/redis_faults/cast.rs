//! The users of one round, what was ever told of them, and what must hold of it in the end.

use super::stage::{INITIAL, Stage};
use fastrand::Rng;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Status;
use twinlock_proto::v1::{
    CheckElevationRequest, Decision, ElevateRequest, EvaluateLoginRequest, LoginChannel,
    VerifyRequest, elevate_request,
};
use twinlock_tests::{Client, User, reason};

/// The users of one round.
pub struct Cast {
    guessed: Vec<Told>,
    /// Each with a code that nobody has used.
    coded: Vec<(Told, String)>,
    keyed: Vec<Told>,
    redeemers: Vec<tokio::sync::Mutex<Redeemer>>,
    /// One whose session is elevated for as long as the tests run.
    elevated: User,
    is_over: AtomicBool,
}

/// A call that has ended.
pub struct Call {
    /// Which of the servers that may be faulted it was sent to.
    pub server: Option<usize>,
    /// Whether it began under a fault.
    pub in_fault: bool,
    pub took: Duration,
    /// `OK`, or the reason of its refusal.
    pub end: String,
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checked {
    /// Guesses whose outcome was told.
    pub guesses: usize,
    /// Guesses that were counted, and of which nobody was told the outcome.
    pub unanswered_guesses: usize,
    /// Codes that were accepted.
    pub codes: usize,
    /// Keys of which many tried to be the one who redeems them, and one was.
    pub keys: usize,
    /// Keys that were redeemed one after the other.
    pub redeemed: usize,
    /// Of these, by a repeat of a call that had failed.
    pub repeated: usize,
}

impl Checked {
    pub fn add(&mut self, other: &Self) {
        self.guesses += other.guesses;
        self.unanswered_guesses += other.unanswered_guesses;
        self.codes += other.codes;
        self.keys += other.keys;
        self.redeemed += other.redeemed;
        self.repeated += other.repeated;
    }
}

/// A user, and all that was told of attempts with their proofs.
struct Told {
    user: User,
    ends: Mutex<Ends>,
}

/// Attempts by their ids; those without one are given one here.
#[derive(Default)]
struct Ends {
    first: Option<Instant>,
    last: Option<Instant>,
    /// When it was first told that it had failed.
    failed: HashMap<String, Instant>,
    /// The recovery key that came with the success, if any.
    succeeded: HashMap<String, String>,
    /// Sent with an id, and not told.
    unknown: HashSet<String>,
    /// How many answers said that it had failed.
    failures: usize,
    /// How many answers said nothing.
    unavailable: usize,
}

/// Somebody who redeems one key after the other, with request ids, and repeats what failed.
struct Redeemer {
    user: User,
    key: String,
    old_key: String,
    pending: Option<VerifyRequest>,
    last: Option<VerifyRequest>,
    has_failed: bool,
    checked: Checked,
}

impl Cast {
    pub async fn enroll(stage: &Stage, number: usize) -> Self {
        let mut enrolling = JoinSet::new();
        let names = ["guessed"; 4].into_iter().chain(["coded"; 3]).chain(["keyed"; 3]);
        let names = names.chain(["redeemer"; 4]).chain(["elevated"]).enumerate();
        for (n, name) in names {
            let mut client = stage.direct.client().await;
            let id = format!("round-{number}-{name}-{n}");
            enrolling.spawn(async move { (name, User::enroll(&mut client, &id).await) });
        }
        let users = enrolling.join_all().await;
        let all = |name| {
            let mine = users.iter().filter(move |(role, _)| *role == name);
            mine.map(|(_, user)| user.clone())
        };
        let elevated = all("elevated").next().expect("one");
        let mut client = stage.direct.client().await;
        let elevate = elevated.elevate("elevated", elevated.code(1));
        client.elevate(elevate).await.expect("an elevation");
        Self {
            guessed: all("guessed").map(Told::new).collect(),
            coded: all("coded")
                .map(|user| {
                    let code = user.code(1);
                    (Told::new(user), code)
                })
                .collect(),
            keyed: all("keyed").map(Told::new).collect(),
            redeemers: all("redeemer").map(|user| Redeemer::new(user).into()).collect(),
            elevated,
            is_over: false.into(),
        }
    }

    /// Makes calls, one after the other, until the round is over.
    pub async fn play(self: Arc<Self>, stage: Arc<Stage>, mut rng: Rng) -> Vec<Call> {
        let mut calls = Vec::new();
        while !self.is_over.load(Ordering::SeqCst) {
            let (server, mut client) = stage.client(&mut rng);
            let in_fault = stage.is_faulted();
            let begin = Instant::now();
            let end = match rng.u8(0..10) {
                0..3 => rng.choice(&self.guessed).expect("one").guess(&mut client, &mut rng).await,
                3..5 => {
                    let (told, code) = rng.choice(&self.coded).expect("one");
                    told.present_code(code, &mut client, &mut rng).await
                }
                5..7 => {
                    rng.choice(&self.keyed).expect("one").present_key(&mut client, &mut rng).await
                }
                7..9 => match rng.choice(&self.redeemers).expect("one").try_lock() {
                    Ok(mut redeemer) => redeemer.redeem(&mut client, &mut rng).await,
                    Err(_) => self.look(&mut client, &mut rng).await,
                },
                _ => self.look(&mut client, &mut rng).await,
            };
            calls.push(Call { server, in_fault, took: begin.elapsed(), end });
            sleep(Duration::from_millis(rng.u64(0..25))).await;
        }
        calls
    }

    /// Ends the round.
    pub fn stop(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Waits until a server answers.
    pub async fn answered(&self, client: &mut Client) {
        while self.elevation(client, "elevated").await != "OK" {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Reads something of which the answer is certain.
    async fn look(&self, client: &mut Client, rng: &mut Rng) -> String {
        match rng.u8(0..3) {
            0 => {
                let end = self.elevation(client, "elevated").await;
                expected(&end, &["OK"]);
                end
            }
            1 => {
                let end = self.elevation(client, "another").await;
                expected(&end, &["ELEVATION_REQUIRED"]);
                end
            }
            _ => {
                let request = EvaluateLoginRequest {
                    user_id: self.elevated.id.clone(),
                    channel: LoginChannel::Form.into(),
                    ..Default::default()
                };
                let answer = client.evaluate_login(request).await;
                let decision = answer.map(|answer| answer.into_inner().decision());
                assert!(!decision.as_ref().is_ok_and(|it| *it != Decision::Verify), "{decision:?}");
                let end = end_of(&decision);
                expected(&end, &["OK"]);
                end
            }
        }
    }

    async fn elevation(&self, client: &mut Client, session: &str) -> String {
        let request = CheckElevationRequest {
            user_id: self.elevated.id.clone(),
            session_id: session.into(),
            max_age: None,
        };
        end_of(&client.check_elevation(request).await)
    }

    /// Checks all that was told, after the faults, by a server that had none.
    pub async fn check(&self, stage: &Stage) -> Checked {
        let mut client = stage.direct.client().await;
        let mut checked = Checked::default();
        for told in &self.guessed {
            told.check_guesses(&mut client, &mut checked).await;
        }
        for (told, code) in &self.coded {
            checked.codes += told.ends().succeeded.len();
            let is_used = !told.ends().succeeded.is_empty();
            unblocked(&told.user, &mut client).await;
            let again = client.verify(told.user.verify(code)).await;
            assert!(again.is_err() || !is_used, "{}: a code was accepted twice", told.user.id);
        }
        for told in &self.keyed {
            told.check_key(&mut client, &mut checked).await;
        }
        for redeemer in &self.redeemers {
            let mut redeemer = redeemer.lock().await;
            redeemer.check(&mut client).await;
            checked.add(&redeemer.checked);
        }
        checked
    }
}

impl Told {
    fn new(user: User) -> Self {
        Self { user, ends: Mutex::default() }
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn guess(&self, client: &mut Client, rng: &mut Rng) -> String {
        let session = "a guesser's session";
        let wrong = self.user.wrong_code();
        if rng.u8(0..8) == 0 {
            let request = CheckElevationRequest {
                user_id: self.user.id.clone(),
                session_id: session.into(),
                max_age: None,
            };
            let end = end_of(&client.check_elevation(request).await);
            expected(&end, &["ELEVATION_REQUIRED"]);
            return end;
        }
        if rng.u8(0..4) == 0 {
            let elevate = self.user.elevate(session, wrong);
            return self.elevate(elevate, client, rng, &["INVALID_CODE", "BACKOFF"]).await;
        }
        self.verify(self.user.verify(wrong), client, rng, &["INVALID_CODE", "BACKOFF"]).await
    }

    async fn present_code(&self, code: &str, client: &mut Client, rng: &mut Rng) -> String {
        let ends = ["OK", "CODE_ALREADY_USED", "BACKOFF"];
        if rng.bool() {
            return self.verify(self.user.verify(code), client, rng, &ends).await;
        }
        self.elevate(self.user.elevate("session", code), client, rng, &ends).await
    }

    async fn present_key(&self, client: &mut Client, rng: &mut Rng) -> String {
        let ends = ["OK", "INVALID_CODE", "BACKOFF"];
        let key = self.user.recovery_key.clone();
        if rng.bool() {
            return self.verify(self.user.redeem(key), client, rng, &ends).await;
        }
        let mut elevate = self.user.elevate("session", "");
        elevate.credential = Some(elevate_request::Credential::RecoveryKey(key));
        self.elevate(elevate, client, rng, &ends).await
    }

    async fn verify(
        &self,
        mut request: VerifyRequest,
        client: &mut Client,
        rng: &mut Rng,
        ends: &[&str],
    ) -> String {
        let id = self.id("verify", rng);
        request.request_id = sent_id(&id);
        self.begin();
        let answer = client.verify(request).await;
        self.end(id, answer.map(|answer| answer.into_inner().recovery_key), ends)
    }

    async fn elevate(
        &self,
        mut request: ElevateRequest,
        client: &mut Client,
        rng: &mut Rng,
        ends: &[&str],
    ) -> String {
        let id = self.id("elevate", rng);
        request.request_id = sent_id(&id);
        self.begin();
        let answer = client.elevate(request).await;
        self.end(id, answer.map(|answer| answer.into_inner().recovery_key), ends)
    }

    /// None, a new one, or one of which nothing was told.
    fn id(&self, method: &str, rng: &mut Rng) -> String {
        let ends = self.ends();
        let mut unknown: Vec<&String> =
            ends.unknown.iter().filter(|id| id.starts_with(method)).collect();
        unknown.sort();
        match rng.u8(0..4) {
            0 | 1 => format!("none {:032x}", rng.u128(..)),
            2 if !unknown.is_empty() => unknown[rng.usize(0..unknown.len())].clone(),
            _ => format!("{method} {:032x}", rng.u128(..)),
        }
    }

    fn begin(&self) {
        let mut ends = self.ends();
        ends.first.get_or_insert_with(Instant::now);
    }

    fn end(&self, id: String, answer: Result<String, Status>, expected_ends: &[&str]) -> String {
        let end = end_of(&answer);
        expected(&end, expected_ends);
        let now = Instant::now();
        let mut ends = self.ends();
        ends.last = Some(now);
        match &*end {
            "OK" => {
                ends.unknown.remove(&id);
                let key = answer.expect("it is one");
                let before = ends.succeeded.insert(id, key.clone());
                assert!(before.is_none_or(|before| before == key), "a repeat got another key");
                let count = ends.succeeded.len();
                assert_eq!(count, 1, "{}: it was accepted twice", self.user.id);
            }
            "INVALID_CODE" | "CODE_ALREADY_USED" => {
                ends.failures += 1;
                ends.unknown.remove(&id);
                ends.failed.entry(id).or_insert(now);
            }
            "STORE_UNAVAILABLE" => {
                ends.unavailable += 1;
                let is_known = ends.succeeded.contains_key(&id) || ends.failed.contains_key(&id);
                if !sent_id(&id).is_empty() && !is_known {
                    ends.unknown.insert(id);
                }
            }
            _ => {}
        }
        end
    }

    async fn check_guesses(&self, client: &mut Client, checked: &mut Checked) {
        let counted = self.user.failures(client).await as usize;
        let ends = self.ends();
        let id = &self.user.id;
        let told = ends.failed.len();
        assert!(told <= counted, "{id}: of {told} guesses only {counted} were counted");
        let most = ends.failures + ends.unavailable;
        assert!(counted <= most, "{id}: {counted} were counted of {most}");
        let (Some(first), Some(last)) = (ends.first, ends.last) else { return };
        // Whatever was answered and whatever was not: no more than the schedule allows.
        let allowed = (1..).take_while(|n| earliest(*n) <= last - first).count();
        assert!(counted <= allowed, "{id}: {counted} guesses in {:?}", last - first);
        let mut times: Vec<Duration> = ends.failed.values().map(|at| *at - first).collect();
        times.sort();
        for (n, time) in (1..).zip(times) {
            assert!(earliest(n) <= time, "{id}: guess {n} was evaluated {time:?} after the first");
        }
        checked.guesses += told;
        checked.unanswered_guesses += counted - told;
    }

    async fn check_key(&self, client: &mut Client, checked: &mut Checked) {
        let unknown: Vec<String> = self.ends().unknown.iter().cloned().collect();
        let ends = ["OK", "INVALID_CODE", "BACKOFF"];
        for id in unknown {
            let old = self.user.recovery_key.clone();
            let answer = if id.starts_with("verify") {
                let mut request = self.user.redeem(old);
                request.request_id = sent_id(&id);
                client.verify(request).await.map(|answer| answer.into_inner().recovery_key)
            } else {
                let mut request = self.user.elevate("session", "");
                request.credential = Some(elevate_request::Credential::RecoveryKey(old));
                request.request_id = sent_id(&id);
                client.elevate(request).await.map(|answer| answer.into_inner().recovery_key)
            };
            self.end(id, answer, &ends);
        }
        let new = self.ends().succeeded.values().next().cloned();
        let Some(new) = new else { return };
        unblocked(&self.user, client).await;
        let old = client.verify(self.user.redeem(&*self.user.recovery_key)).await;
        assert_eq!(end_of(&old), "INVALID_CODE", "{}: the old key", self.user.id);
        unblocked(&self.user, client).await;
        client.verify(self.user.redeem(new)).await.expect("the new key works");
        checked.keys += 1;
    }
}

impl Redeemer {
    fn new(user: User) -> Self {
        let key = user.recovery_key.clone();
        Self {
            user,
            key,
            old_key: String::new(),
            pending: None,
            last: None,
            has_failed: false,
            checked: Checked::default(),
        }
    }

    async fn redeem(&mut self, client: &mut Client, rng: &mut Rng) -> String {
        if let Some(last) = self.last.clone()
            && rng.u8(0..4) == 0
        {
            let answer = client.verify(last).await;
            let end = end_of(&answer);
            expected(&end, &["OK"]);
            if let Ok(again) = answer {
                assert_eq!(again.into_inner().recovery_key, self.key, "{}", self.user.id);
            }
            return end;
        }
        let request = self.pending.clone().unwrap_or_else(|| {
            let mut request = self.user.redeem(&*self.key);
            request.request_id = format!("{:032x}", rng.u128(..));
            request
        });
        let answer = client.verify(request.clone()).await;
        let end = end_of(&answer);
        expected(&end, &["OK"]);
        let Ok(answer) = answer else {
            self.pending = Some(request);
            self.has_failed = true;
            return end;
        };
        self.pending = None;
        self.last = Some(request);
        self.old_key = std::mem::replace(&mut self.key, answer.into_inner().recovery_key);
        assert_ne!(self.key, self.old_key);
        self.checked.redeemed += 1;
        self.checked.repeated += usize::from(std::mem::take(&mut self.has_failed));
        end
    }

    /// Whatever became of the call without an answer, its repeat brings the key; the last key works and
    /// the one before does not.
    async fn check(&mut self, client: &mut Client) {
        let mut rng = Rng::with_seed(0);
        self.last = None;
        self.redeem(client, &mut rng).await;
        let end = self.redeem(client, &mut rng).await;
        assert_eq!(end, "OK", "{}", self.user.id);
        let old = client.verify(self.user.redeem(&*self.old_key)).await;
        assert_eq!(end_of(&old), "INVALID_CODE", "{}: the old key", self.user.id);
    }
}

/// How long after the first guess the `n`-th may be evaluated at the earliest: one failure is tolerated.
fn earliest(n: u32) -> Duration {
    INITIAL * ((1 << n.saturating_sub(2)) - 1)
}

/// The id that is sent; none where the attempt has none.
fn sent_id(id: &str) -> String {
    if id.starts_with("none") { String::new() } else { id.into() }
}

fn end_of<T>(answer: &Result<T, Status>) -> String {
    answer.as_ref().map_or_else(reason, |_| "OK".into())
}

/// Under a fault a call may also say that the store is not available, and nothing else.
fn expected(end: &str, ends: &[&str]) {
    assert!(end == "STORE_UNAVAILABLE" || ends.contains(&end), "{end} instead of {ends:?}");
}

async fn unblocked(user: &User, client: &mut Client) {
    loop {
        let backoff = user.describe(client).await.second_factor_backoff.expect("a counter");
        if backoff.blocked_until.is_none() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}
