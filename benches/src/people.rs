//! Users who are enrolled, in every store alike, and what they can still do.

use anyhow::{Context as _, Result};
use data_encoding::BASE64;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use twinlock_core::backoff::Counter;
use twinlock_core::record::{Authenticator, Elevation, Method, Record as Content, Recovery};
use twinlock_core::totp::{self, Parameters, Secret, Step};
use twinlock_core::{Namespace, Timestamp, UserId};
use twinlock_engine::clock;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::seal::{KeyId, Keyring, Named, Purpose};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::redis::{Address, Layout, Options, Redis};
use twinlock_engine::store::{Record, RecordKey, Target, Version};
use twinlock_proto::v1::verify_request;
use zeroize::Zeroizing;

/// The session in which the elevated users are elevated.
pub const SESSION: &str = "a session of the benches";

const KEY: (KeyId, [u8; 32]) = (KeyId(0xbe9c_4e5a), *b"the key of the benches is public");
/// The most users who are blocked, and who are elevated.
const FEW: usize = 1_000;
/// Enough failures for the longest block, whatever is tolerated.
const MANY_FAILURES: u32 = 40;
/// How many records go to the store at once.
const PAGE: usize = 4_096;
/// A prime number that is no divisor of how many users there are.
const STRIDE: usize = 7_919;
/// How many users are looked at for one who can still verify, before it counts as none.
const SEARCH: usize = 2_000;

/// The users of one store.
pub struct People {
    elevated: Group,
    blocked: Group,
    to_refuse: Group,
    fresh: Group,
    active: Group,
    all: Group,
    /// The last step that each user's code was used of.
    spent: Vec<AtomicU64>,
    newcomers: AtomicUsize,
}

struct Group {
    users: Range<usize>,
    next: AtomicUsize,
}

impl Group {
    fn new(users: Range<usize>) -> Self {
        Self { users, next: AtomicUsize::new(0) }
    }

    fn next(&self) -> usize {
        self.users.start + self.next.fetch_add(1, Ordering::Relaxed) % self.users.len()
    }
}

impl People {
    /// So many users who can verify, so many of whom more is kept, and fewer of those who cannot.
    pub fn new(fresh: usize, active: usize) -> Self {
        let able = fresh + active;
        let few = FEW.min(able / 10);
        let others = 2 * few + able / 2;
        let active = others + fresh;
        let all = others + able;
        Self {
            elevated: Group::new(0..few),
            blocked: Group::new(few..2 * few),
            to_refuse: Group::new(2 * few..others),
            fresh: Group::new(others..active),
            active: Group::new(active..all),
            all: Group::new(0..all),
            spent: (0..all).map(|_| AtomicU64::new(0)).collect(),
            newcomers: AtomicUsize::new(0),
        }
    }

    /// Somebody with a right code that was not used yet; none where all have used theirs.
    pub fn fresh(&self) -> Option<(String, String)> {
        self.able(&self.fresh)
    }

    /// The same, of those who are elevated and whose answers are kept: their records grow, and would make a call
    /// of another kind cost more the longer all takes.
    pub fn active(&self) -> Option<(String, String)> {
        self.able(&self.active)
    }

    fn able(&self, group: &Group) -> Option<(String, String)> {
        let Step(present) = step();
        // The code of the next step is accepted already, so each user can verify twice at first. The one
        // of the step before may be too old when it arrives.
        (0..SEARCH.min(group.users.len())).find_map(|_| {
            let user = group.next();
            let last = self.spent[user].load(Ordering::Relaxed);
            let step = present.max(last + 1);
            if step > present + 1 {
                return None;
            }
            self.spent[user].store(step, Ordering::Relaxed);
            let secret = secret(user);
            let of_step = code(&secret, step);
            // One code in a million is that of the step before as well, and was used with it.
            let was_used = step == last + 1 && code(&secret, last) == of_step;
            (!was_used).then(|| (name(user), of_step))
        })
    }

    /// Waits until half of those who can verify have a code that was not used yet.
    pub async fn rested(&self) {
        for group in [&self.fresh, &self.active] {
            if group.users.is_empty() {
                continue;
            }
            let half_a_turn_on = group.next.load(Ordering::Relaxed) + group.users.len() / 2;
            let user = group.users.start + half_a_turn_on % group.users.len();
            while self.spent[user].load(Ordering::Relaxed) > step().0 {
                sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// Somebody with a wrong code, which is looked at.
    pub fn to_refuse(&self) -> (String, String) {
        let user = self.to_refuse.next();
        (name(user), wrong_code(user))
    }

    /// Somebody within a block, with a wrong code.
    pub fn blocked(&self) -> (String, String) {
        let user = self.blocked.next();
        (name(user), "000000".into())
    }

    /// Somebody whose session [`SESSION`] is elevated.
    pub fn elevated(&self) -> String {
        name(self.elevated.next())
    }

    /// Anybody, so that whoever comes next is elsewhere in the store.
    pub fn anybody(&self) -> String {
        name(self.all.next().wrapping_mul(STRIDE) % self.all.users.len())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.users.len()
    }

    /// Somebody whom nobody knows yet.
    pub fn newcomer(&self) -> String {
        format!("newcomer-{}", self.newcomers.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes all of them into a dataset that no server uses at the moment.
    pub async fn enroll(&self, target: &mut dyn Target) -> Result<()> {
        let (id, secret) = KEY;
        let keyring = Keyring::new(id, [(id, Zeroizing::new(secret))])?;
        let now = now();
        for first in (0..self.spent.len()).step_by(PAGE) {
            let page = first..self.spent.len().min(first + PAGE);
            let records = page.map(|user| self.record(&keyring, user, now));
            target.put(records.collect::<Result<_>>()?).await?;
        }
        Ok(())
    }

    fn record(&self, keyring: &Keyring, user: usize, now: Timestamp) -> Result<Record> {
        let key = RecordKey {
            namespace: Namespace::default(),
            user: UserId::parse(&name(user)).context("a user id")?,
        };
        let vault = keyring.vault(&key);
        let mut content = Content {
            authenticator: Some(Authenticator {
                secret: vault.seal(Purpose::TotpSecret, secret(user).expose()),
                parameters: Parameters::default(),
                last_step: Some(Step(50_000_000)),
                enrolled_at: now,
            }),
            recovery: Some(Recovery {
                hash: vault.seal(Purpose::RecoveryKey, &[user as u8; 32]),
                created_at: now,
                acknowledged: true,
            }),
            ..Content::default()
        };
        if self.elevated.users.contains(&user) {
            let session = vault.digests(Named::Session, SESSION.as_bytes()).take(1);
            let elevate = |session| Elevation { session, method: Method::Totp, at: now };
            content.elevations.extend(session.map(elevate));
        }
        if self.blocked.users.contains(&user) {
            content.second_factor_failures =
                Counter { failures: MANY_FAILURES, since: now, charges: MANY_FAILURES };
        }
        let bytes = vault.write(&content);
        Ok(Record { key, version: Version::fresh(), bytes, expire_at: None })
    }
}

/// A dataset in a file that no server uses.
pub fn embedded(directory: &Path) -> Result<Box<dyn Target>> {
    Ok(Box::new(Embedded::restoring(directory)?))
}

/// A dataset in a Redis of loopback.
pub async fn redis(port: u16) -> Result<Box<dyn Target>> {
    let address = Address::parse(&format!("redis://127.0.0.1:{port}"))?;
    let options = Options {
        layout: Layout::Standalone(address),
        username: None,
        password: None,
        tls_authorities: None,
        timeout: Duration::from_secs(10),
        acknowledging_replicas: 0,
        acknowledge_attempts: false,
    };
    Ok(Box::new(Redis::restoring(options, Deadline::after(Duration::from_secs(10))).await?))
}

/// The keyring, as `keyring.keys` has it.
pub fn key_for_the_environment() -> String {
    format!("{}:{}", KEY.0, BASE64.encode(&KEY.1))
}

/// A code as a credential.
pub fn code_of(code: String) -> verify_request::Credential {
    verify_request::Credential::TotpCode(code)
}

/// The present code of an authenticator with the default parameters.
pub fn present_code(secret: &Secret) -> String {
    code(secret, step().0)
}

/// Who is meant by a number below [`People::count`].
pub fn name(user: usize) -> String {
    format!("user-{user}")
}

/// Different for every user, and the same in every store.
pub fn secret(user: usize) -> Secret {
    let mut bytes = [0; 20];
    let mut state = user as u64;
    for part in bytes.chunks_mut(4) {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        part.copy_from_slice(&(state >> 32).to_be_bytes()[4..]);
    }
    Secret::generate(bytes)
}

fn code(secret: &Secret, step: u64) -> String {
    totp::generate(secret, &Parameters::default(), Step(step)).expose().to_string()
}

/// A code that no step near now has.
pub fn wrong_code(user: usize) -> String {
    let (secret, Step(present)) = (secret(user), step());
    // One more than the window on either side: the step may change on the way.
    let near = [-2, -1, 0, 1, 2].map(|offset| code(&secret, present.saturating_add_signed(offset)));
    let codes = (0..).map(|number| format!("{number:06}"));
    codes.into_iter().find(|code| !near.contains(code)).unwrap_or_default()
}

fn step() -> Step {
    Parameters::default().period.step(now())
}

/// The time of this machine.
pub fn now() -> Timestamp {
    clock::system()()
}
