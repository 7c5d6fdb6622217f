//! A bench that plays the engine's part on one record: it loads, lets the rules decide, and keeps.
//!
//! Sealing changes nothing here, digests are made up, new keys come from a counter, and the clock is
//! whatever a test sets it to.
#![allow(dead_code, reason = "each test file uses its part of the bench")]

pub mod codes;

use proptest::test_runner::Config;
use std::time::Duration;
use twinlock_core::answer::Answer;
use twinlock_core::backoff::Charge;
use twinlock_core::decision::{self, Decision, Durability, EventKind, Factor};
use twinlock_core::enrollment::{self, Begun, Confirmed, Description};
use twinlock_core::login::{self, Login, Verdict};
use twinlock_core::receipt::{self, Found, Mark};
use twinlock_core::record::{Digest, Digests, Sealed};
use twinlock_core::recovery::{RecoveryKey, RecoveryKeyHash};
use twinlock_core::second_factor::{
    self, Attempt, Fresh, Granted, Issued, Opened, Presented, Proven,
};
use twinlock_core::totp::{Secret, TotpCode};
use twinlock_core::{Namespace, Policy, Record, Refusal, Timestamp, UserId, elevation};

/// When every test begins: the first moment of a step of 30 seconds.
pub const BEGIN: Timestamp = Timestamp::from_secs(1_800_000_000);
/// The session that enrolls.
pub const SESSION: &str = "laptop";

/// So many cases, unless the environment's `PROPTEST_CASES` says otherwise.
pub fn cases(moderate: u32) -> Config {
    let config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_some() {
        config
    } else {
        Config { cases: moderate, ..config }
    }
}

pub fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// The digest of a name, under the newest key.
pub fn digests(name: &str) -> Digests {
    let mut digest = [0; 16];
    for (place, byte) in name.bytes().enumerate() {
        digest[place] = byte;
    }
    Digests(vec![Digest(digest)])
}

/// What a user types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    Code(String),
    Key(String),
}

/// One user's record, with all that an engine would bring to it.
#[derive(Clone)]
pub struct Bench {
    pub record: Record,
    pub policy: Policy,
    pub now: Timestamp,
    /// The events of the last kept decision.
    pub events: Vec<EventKind>,
    /// The durability that the last kept change asked for.
    pub durability: Option<Durability>,
    /// The newest recovery key, as its user knows it.
    pub key: String,
    made: u128,
}

impl Bench {
    /// Of a user of whom nothing is known.
    pub fn new(policy: Policy) -> Self {
        Self {
            record: Record::default(),
            policy,
            now: BEGIN,
            events: Vec::new(),
            durability: None,
            key: String::new(),
            made: 0,
        }
    }

    /// Of a user who has enrolled from [`SESSION`], three steps ago.
    pub fn enrolled(policy: Policy) -> Self {
        let mut bench = Self::new(policy);
        bench.enroll_by(SESSION);
        bench.advance(secs(90));
        bench
    }

    /// Elevates a session by whatever the user's state allows, enrolls from it, and confirms.
    pub fn enroll_by(&mut self, session: &str) -> Confirmed {
        self.begin_by(session);
        let code = self.pending_code();
        self.confirm(session, &code).expect("a right first code")
    }

    /// Begins an enrollment from a session that is elevated for it.
    pub fn begin_by(&mut self, session: &str) -> Begun {
        if self.record.is_enrolled() {
            let key = Proof::Key(self.key.clone());
            self.elevate(session, &key).expect("a right recovery key");
        } else {
            self.assert(session).expect("an allowed assertion");
        }
        self.enroll(session).expect("an elevated session")
    }

    pub fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }

    pub fn rewind(&mut self, by: Duration) {
        let by = u64::try_from(by.as_millis()).expect("a short time");
        self.now = Timestamp::from_millis(self.now.as_millis().saturating_sub(by));
    }

    /// Keeps what was decided, as the engine does, and tells the answer.
    pub fn keep<T>(&mut self, decision: Decision<T>) -> Result<T, Refusal> {
        let Decision { outcome, record, durability, events } = decision;
        self.durability = record.as_ref().map(|_| durability);
        self.events = events.iter().map(|event| event.kind).collect();
        if let Some(record) = record {
            let record = record.tidied(&self.policy, self.now);
            let holds_nothing = record.expires_at(&self.policy).is_some_and(|end| end <= self.now);
            let bytes = if holds_nothing { Vec::new() } else { record.encode() };
            self.record = Record::decode(&bytes).expect("a record that was written just now");
        }
        outcome
    }

    /// Decides a request with an id as the engine does: its receipt first, then the rule.
    pub fn ask<T: Answer>(
        &mut self,
        mark: Mark,
        proof: Option<Factor>,
        rule: impl FnOnce(&mut Self) -> Decision<T>,
    ) -> Result<T, Refusal> {
        let mut decision = match receipt::find(&self.record, &[mark], self.now) {
            Found::Answer(Sealed(bytes)) => {
                return Ok(T::from_bytes(bytes).expect("the answer of such a request"));
            }
            Found::Refused(refusal) => return Err(refusal),
            Found::Reused => decision::reused(self.record.clone(), &self.policy, self.now, proof),
            Found::Nothing => rule(self),
        };
        if let Some(record) = &mut decision.record {
            match &decision.outcome {
                Ok(answer) => {
                    let sealed = Sealed(answer.to_bytes().to_vec());
                    let holds = answer.holds();
                    receipt::remember_success(record, mark, sealed, holds, self.now);
                }
                Err(refusal) => receipt::remember_refusal(record, mark, refusal, self.now),
            }
        }
        self.keep(decision)
    }

    pub fn verify(&mut self, session: Option<&str>, proof: &Proof) -> Result<Proven, Refusal> {
        let decision = self.verifying(session, proof);
        let proven = self.keep(decision);
        self.note(proven.as_ref().ok().and_then(|proven| proven.issued.as_ref()));
        proven
    }

    /// What a Verify would decide now.
    pub fn verifying(&mut self, session: Option<&str>, proof: &Proof) -> Decision<Proven> {
        let session = session.map(digests);
        self.settling(proof, |record, policy, now, attempt| {
            second_factor::verify(record, policy, now, attempt, session.as_ref())
        })
    }

    pub fn elevate(&mut self, session: &str, proof: &Proof) -> Result<Proven, Refusal> {
        let decision = self.elevating(session, proof);
        let proven = self.keep(decision);
        self.note(proven.as_ref().ok().and_then(|proven| proven.issued.as_ref()));
        proven
    }

    /// What an Elevate by second factor would decide now.
    pub fn elevating(&mut self, session: &str, proof: &Proof) -> Decision<Proven> {
        let session = digests(session);
        self.settling(proof, |record, policy, now, attempt| {
            second_factor::elevate(record, policy, now, attempt, &session)
        })
    }

    fn settling(
        &mut self,
        proof: &Proof,
        settle: impl FnOnce(Record, &Policy, Timestamp, Attempt<'_>) -> Decision<Proven>,
    ) -> Decision<Proven> {
        let presented = match proof {
            Proof::Code(code) => Presented::Totp(TotpCode::parse(code).expect("a code")),
            Proof::Key(key) => {
                let hash = hash(&RecoveryKey::parse(key).expect("a key"));
                Presented::RecoveryKey(hash, self.fresh())
            }
        };
        let record = self.record.clone();
        let sealed = match second_factor::admit(&record, &self.policy, self.now, &presented) {
            Ok(sealed) => sealed.cloned(),
            Err(refused) => return refused,
        };
        let opened = match (&presented, sealed) {
            (Presented::Totp(_), sealed) => Opened::Secret(open(&sealed.expect("a secret"))),
            (Presented::RecoveryKey(..), sealed) => Opened::RecoveryKey(sealed.map(|sealed| {
                RecoveryKeyHash::from_bytes(sealed.0.try_into().expect("a hash of 32 bytes"))
            })),
        };
        let attempt = Attempt { presented: &presented, opened };
        settle(record, &self.policy, self.now, attempt)
    }

    pub fn enroll(&mut self, session: &str) -> Result<Begun, Refusal> {
        let decision = self.enrolling(session);
        self.keep(decision)
    }

    /// What an Enroll would decide now.
    pub fn enrolling(&mut self, session: &str) -> Decision<Begun> {
        self.made += 1;
        let mut random = [7; 20];
        random[4..].copy_from_slice(&self.made.to_be_bytes());
        let secret = Secret::generate(random);
        let sealed = Sealed(secret.expose().to_vec());
        let session = digests(session);
        enrollment::begin(self.record.clone(), &self.policy, self.now, &session, &secret, sealed)
    }

    pub fn confirm(&mut self, session: &str, code: &str) -> Result<Confirmed, Refusal> {
        let decision = self.confirming(session, code);
        let confirmed = self.keep(decision);
        self.note(confirmed.as_ref().ok().map(|confirmed| &confirmed.issued));
        confirmed
    }

    /// What a ConfirmEnrollment would decide now.
    pub fn confirming(&mut self, session: &str, code: &str) -> Decision<Confirmed> {
        let (session, code) = (digests(session), TotpCode::parse(code).expect("a code"));
        let fresh = self.fresh();
        let (record, policy, now) = (self.record.clone(), &self.policy, self.now);
        match enrollment::admit_confirmation(&record, policy, now, &session, &code) {
            Err(refused) => refused,
            Ok(sealed) => {
                let secret = open(sealed);
                enrollment::confirm(record, policy, now, &session, &code, &secret, &fresh)
            }
        }
    }

    pub fn unenroll(&mut self, session: &str) -> Result<(), Refusal> {
        let record = self.record.clone();
        self.keep(enrollment::end(record, &self.policy, self.now, &digests(session)))
    }

    pub fn rotate(&mut self, session: &str) -> Result<Issued, Refusal> {
        let fresh = self.fresh();
        let (record, session) = (self.record.clone(), digests(session));
        let decision =
            enrollment::rotate_recovery_key(record, &self.policy, self.now, &session, &fresh);
        let issued = self.keep(decision);
        self.note(issued.as_ref().ok());
        issued
    }

    pub fn acknowledge(&mut self, created_at: Timestamp) -> Result<(), Refusal> {
        self.keep(enrollment::acknowledge_recovery_key(self.record.clone(), created_at))
    }

    pub fn describe(&self) -> Description {
        enrollment::describe(&self.record, &self.policy, self.now)
    }

    pub fn assert(&mut self, session: &str) -> Result<Proven, Refusal> {
        let record = self.record.clone();
        self.keep(elevation::assert(record, &self.policy, self.now, &digests(session)))
    }

    /// Elevates by the stored password, with nobody else in between.
    pub fn password(&mut self, session: &str, password: &str) -> Result<Proven, Refusal> {
        let (verifier, charge) = self.charge(false)?;
        let is_right = verifier == elevation::Verifier::Stored(Sealed(password.into()));
        self.settle(session, &verifier, charge, is_right)
    }

    /// Admits a password and counts its failure ahead of the check.
    pub fn charge(&mut self, supplied: bool) -> Result<(elevation::Verifier, Charge), Refusal> {
        let record = self.record.clone();
        match elevation::admit_password(&record, &self.policy, self.now, supplied) {
            Err(refused) => self.keep(refused),
            Ok(verifier) => {
                let charged = elevation::charge_password(record, &self.policy, self.now);
                let charge = self.keep(charged)?;
                Ok((verifier, charge))
            }
        }
    }

    /// Settles a password that was checked meanwhile.
    pub fn settle(
        &mut self,
        session: &str,
        verifier: &elevation::Verifier,
        charge: Charge,
        is_right: bool,
    ) -> Result<Proven, Refusal> {
        let (record, session) = (self.record.clone(), digests(session));
        let (policy, now) = (&self.policy, self.now);
        let is_in_force = match verifier {
            elevation::Verifier::Supplied => true,
            elevation::Verifier::Stored(sealed) => record.password.as_ref() == Some(sealed),
        };
        let checked = elevation::Checked { is_right, is_in_force };
        let decision = elevation::settle_password(record, policy, now, &session, charge, checked);
        self.keep(decision)
    }

    pub fn set_password(&mut self, password: &str) {
        let decision = elevation::set_password(self.record.clone(), Sealed(password.into()));
        self.keep(decision).expect("never refused");
    }

    pub fn clear_password(&mut self) {
        self.keep(elevation::clear_password(self.record.clone())).expect("never refused");
    }

    pub fn drop_elevation(&mut self, session: Option<&str>) {
        let session = session.map(digests);
        let decision = elevation::drop(self.record.clone(), session.as_ref());
        self.keep(decision).expect("never refused");
    }

    pub fn check(&self, session: &str, max_age: Option<Duration>) -> Result<Granted, Refusal> {
        let session = digests(session);
        enrollment::check_elevation(&self.record, &self.policy, self.now, &session, max_age)
    }

    pub fn is_elevated(&self, session: &str) -> bool {
        self.check(session, None).is_ok()
    }

    pub fn log_in(&mut self, login: &Login<'_>) -> Verdict {
        let decision = self.evaluating(login);
        self.keep(decision).expect("a login is never refused with an error")
    }

    /// What an EvaluateLogin would decide now.
    pub fn evaluating(&mut self, login: &Login<'_>) -> Decision<Verdict> {
        let policy = &self.policy.login;
        match login::without_record(policy, login) {
            Some((verdict, event)) => {
                Decision { events: event.into_iter().collect(), ..Decision::unchanged(verdict) }
            }
            None => login::evaluate(self.record.clone(), policy, self.now, login),
        }
    }

    fn fresh(&mut self) -> Fresh {
        self.made += 1;
        let key = RecoveryKey::generate(self.made.to_be_bytes());
        Fresh { hash: Sealed(hash(&key).as_bytes().to_vec()), key }
    }

    fn note(&mut self, issued: Option<&Issued>) {
        if let Some(issued) = issued {
            self.key = issued.key.expose().to_string();
        }
    }
}

fn open(sealed: &Sealed) -> Secret {
    Secret::from_bytes(&sealed.0).expect("a secret of 160 bits")
}

fn hash(key: &RecoveryKey) -> RecoveryKeyHash {
    let user = UserId::parse("alice").expect("a user id");
    key.hash(&Namespace::default(), &user)
}
