//! The calls of the API: load, let the rules decide, swap, and begin again if somebody was faster.

mod admin;
mod decide;
mod keys;
mod operator;
mod password;
mod resealing;

pub use keys::KeyringRefused;

use crate::deadline::Deadline;
use crate::entropy;
use crate::error::Error;
use crate::events::{EventId, Events, Watch};
use crate::hash::{Hasher, Password, PasswordHash};
use crate::metrics::Metrics;
use crate::reseal::Progress;
use crate::seal::{Keyring, Named, Purpose, Unreadable, Vault};
use crate::store::{RecordKey, Store, StoreError};
use decide::Fields;
use keys::{InForce, Keys};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use twinlock_core::decision::{Decision, Factor};
use twinlock_core::enrollment::{self, Confirmed, Description};
use twinlock_core::login::{self, Channel, Login, Verdict};
use twinlock_core::record::{Digests, Sealed};
use twinlock_core::recovery::{RecoveryKey, RecoveryKeyHash};
use twinlock_core::second_factor::{
    self, Attempt, Fresh, Granted, Issued, Opened, Presented, Proven,
};
use twinlock_core::totp::{Secret, TotpCode};
use twinlock_core::{
    AccountName, Namespace, Policy, RequestId, SessionId, Timestamp, UserId, elevation, otpauth, qr,
};
use zeroize::Zeroizing;

/// Runs the rules against a store.
pub struct Engine {
    store: Arc<dyn Store>,
    keys: Keys,
    hasher: Hasher,
    policy: Policy,
    events: Option<Events>,
    metrics: Metrics,
    resealing: watch::Sender<Progress>,
    stops_resealing: watch::Sender<bool>,
}

/// Who calls, and until when.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whose users the caller sees.
    pub namespace: Namespace,
    /// The authenticated caller, for the audit trail.
    pub caller: Arc<str>,
    /// Where the attempt came from, for the audit trail.
    pub client: ClientContext,
    /// By when the call must have ended.
    pub deadline: Deadline,
    /// The caller's name for this request, so that it may be repeated.
    pub request_id: Option<RequestId>,
    /// The administrator who does it to another user, for the audit trail.
    pub actor: Option<UserId>,
}

impl Call {
    /// The same call, as done by an administrator.
    fn by(&self, administrator: UserId) -> Self {
        Self { actor: Some(administrator), ..self.clone() }
    }
}

/// Where an attempt came from. It changes no decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientContext {
    /// The address, as the product saw it.
    pub ip_address: String,
    /// The program, as it called itself.
    pub user_agent: String,
}

/// An enrollment that was begun.
#[derive(Debug)]
pub struct Enrollment {
    /// The secret, to be shown once.
    pub secret: Secret,
    /// The same for an app; it holds the secret.
    pub otpauth_uri: Zeroizing<String>,
    /// The same as a QR code, a whole SVG document.
    pub qr_svg: Zeroizing<String>,
    /// When it lapses.
    pub expire_at: Timestamp,
}

/// What is presented to elevate a session.
#[derive(Debug)]
pub enum Proof {
    /// A code.
    Totp(TotpCode),
    /// The recovery key.
    RecoveryKey(RecoveryKey),
    /// A password, with the verifier of the product's own user table where it has one.
    Password(Password, Option<PasswordHash>),
    /// The product's word, and how it proved identity.
    Asserted(String),
}

/// A password verifier to be.
#[derive(Debug)]
pub enum NewPassword {
    /// A password, to be hashed here.
    Plain(Password),
    /// A verifier that the product has.
    Hash(PasswordHash),
}

/// A login to decide on.
#[derive(Debug)]
pub struct LoginRequest {
    /// How the user comes in.
    pub channel: Channel,
    /// What the user may do in the product.
    pub authorities: Vec<String>,
    /// The path that the login is for.
    pub resource: String,
}

impl Engine {
    /// An engine over a store.
    pub fn new(
        store: Arc<dyn Store>,
        keyring: Arc<Keyring>,
        hasher: Hasher,
        policy: Policy,
    ) -> Self {
        Self {
            store,
            keys: Keys::new(keyring),
            hasher,
            policy,
            events: None,
            metrics: Metrics::default(),
            resealing: watch::Sender::default(),
            stops_resealing: watch::Sender::new(false),
        }
    }

    /// The same engine, which tells what happens.
    #[must_use]
    pub fn telling(self, events: Events) -> Self {
        Self { events: Some(events), ..self }
    }

    /// What happens, where somebody is told.
    pub fn events(&self) -> Option<&Events> {
        self.events.as_ref()
    }

    /// What the engine counts.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The pool that hashes passwords.
    pub fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    /// The settings that decisions follow.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Watches what happens to the users of the caller's namespace: what comes after an event that is
    /// named, as far as it is kept, or what happens from now on.
    pub async fn watch_events(&self, call: &Call, after: Option<EventId>) -> Result<Watch, Error> {
        let events = self.events.as_ref().ok_or(Error::Internal("nobody is told of events"))?;
        let begun = call.deadline.limit(events.watch(call.namespace.clone(), after)).await;
        let begun = begun.unwrap_or_else(|_| Err("it did not answer within the deadline".into()));
        let watch = begun.map_err(|cause| StoreError::Unavailable {
            cause: format!("the shared log of events: {cause}"),
            may_have_happened: false,
        })?;
        watch.ok_or(Error::TooManyWatches)
    }

    /// Whether the store can be used, and why not.
    pub async fn check(&self, deadline: Deadline) -> Result<(), Error> {
        self.store.check(deadline).await.map_err(Error::from)
    }

    /// What an operator should mend about the store or the keyring although they can be used, as sentences.
    pub fn warnings(&self) -> Vec<String> {
        self.store.warnings().into_iter().chain(self.keys.warnings()).collect()
    }

    /// Starts an enrollment.
    pub async fn enroll(
        &self,
        call: &Call,
        user: UserId,
        session: &SessionId,
        account_name: Option<AccountName>,
    ) -> Result<Enrollment, Error> {
        let on = self.on(call, user);
        let digests = on.session(session);
        let secret = Secret::generate(entropy::bytes());
        let sealed = on.vault.seal(Purpose::TotpSecret, secret.expose());
        let account = match account_name {
            Some(name) => name,
            // An account name is what a user id is.
            None => AccountName::parse(on.key.user.as_str())?,
        };
        let asked =
            on.asked(call, "Enroll", None, |it| it.and(session.as_str()).and(account.as_str()));
        let begun = self
            .decide(call, &on, asked.as_ref(), |record, now| {
                Ok(enrollment::begin(record, &self.policy, now, &digests, &secret, sealed.clone()))
            })
            .await?;
        let uri = otpauth::build(&self.policy.issuer, &account, &begun.secret, &self.policy.totp);
        let svg = qr::svg(&uri).map_err(|_| Error::Internal("the URI does not fit a QR code"))?;
        Ok(Enrollment {
            secret: begun.secret,
            qr_svg: Zeroizing::new(svg),
            otpauth_uri: uri,
            expire_at: begun.expire_at,
        })
    }

    /// Confirms an enrollment with the first code.
    pub async fn confirm_enrollment(
        &self,
        call: &Call,
        user: UserId,
        session: &SessionId,
        code: &TotpCode,
    ) -> Result<Confirmed, Error> {
        let on = self.on(call, user);
        let fresh = on.fresh_recovery_key();
        let asked = on.asked(call, "ConfirmEnrollment", Some(Factor::Second), |it| {
            it.and(session.as_str()).and(code.expose())
        });
        let session = on.session(session);
        self.decide(call, &on, asked.as_ref(), |record, now| {
            let policy = &self.policy;
            let sealed = match enrollment::admit_confirmation(&record, policy, now, &session, code)
            {
                Ok(sealed) => sealed,
                Err(refused) => return Ok(refused),
            };
            let secret = on.open_secret(sealed)?;
            Ok(enrollment::confirm(record, policy, now, &session, code, &secret, &fresh))
        })
        .await
        .inspect_err(|error| self.metrics.count_refusal(Factor::Second, error))
    }

    /// Turns two-step verification off.
    pub async fn unenroll(
        &self,
        call: &Call,
        user: UserId,
        session: &SessionId,
    ) -> Result<(), Error> {
        let on = self.on(call, user);
        let asked = on.asked(call, "Unenroll", None, |it| it.and(session.as_str()));
        let session = on.session(session);
        self.decide(call, &on, asked.as_ref(), |record, now| {
            Ok(enrollment::end(record, &self.policy, now, &session))
        })
        .await
    }

    /// Says what may be told of a user.
    pub async fn describe_user(&self, call: &Call, user: UserId) -> Result<Description, Error> {
        let on = self.on(call, user);
        let (record, now) = self.read(call, &on).await?;
        Ok(enrollment::describe(&record, &self.policy, now))
    }

    /// Decides what a login still owes.
    pub async fn evaluate_login(
        &self,
        call: &Call,
        user: UserId,
        request: &LoginRequest,
    ) -> Result<Verdict, Error> {
        let on = self.on(call, user);
        let policy = &self.policy.login;
        let login = Login {
            user: on.key.user.as_str(),
            channel: request.channel,
            authorities: &request.authorities,
            resource: &request.resource,
        };
        if let Some((verdict, event)) = login::without_record(policy, &login) {
            self.publish(call, &on.key, None, event);
            return Ok(verdict);
        }
        let asked = on.asked(call, "EvaluateLogin", None, |it| {
            request.authorities.iter().fold(it.and(&request.resource), Fields::and)
        });
        self.decide(call, &on, asked.as_ref(), |record, now| {
            Ok(login::evaluate(record, policy, now, &login))
        })
        .await
    }

    /// Checks the second step of a login.
    pub async fn verify(
        &self,
        call: &Call,
        user: UserId,
        session: Option<&SessionId>,
        credential: Credential,
    ) -> Result<Proven, Error> {
        let on = self.on(call, user);
        let digests = session.map(|session| on.session(session));
        self.second_factor(call, &on, "Verify", session, credential, |record, now, attempt| {
            second_factor::verify(record, &self.policy, now, attempt, digests.as_ref())
        })
        .await
    }

    /// Elevates a session.
    pub async fn elevate(
        &self,
        call: &Call,
        user: UserId,
        session: &SessionId,
        proof: Proof,
    ) -> Result<Proven, Error> {
        let on = self.on(call, user);
        let digests = on.session(session);
        let credential = match proof {
            Proof::Totp(code) => Credential::Totp(code),
            Proof::RecoveryKey(key) => Credential::RecoveryKey(key),
            Proof::Password(password, hash) => {
                let elevated = self.elevate_by_password(call, &on, session, password, hash).await;
                return elevated.inspect_err(|it| self.metrics.count_refusal(Factor::Password, it));
            }
            Proof::Asserted(how) => {
                let asked = on
                    .asked(call, "Elevate/asserted", None, |it| it.and(session.as_str()).and(how));
                return self
                    .decide(call, &on, asked.as_ref(), |record, now| {
                        Ok(elevation::assert(record, &self.policy, now, &digests))
                    })
                    .await;
            }
        };
        let session = Some(session);
        self.second_factor(call, &on, "Elevate", session, credential, |record, now, attempt| {
            second_factor::elevate(record, &self.policy, now, attempt, &digests)
        })
        .await
    }

    /// Says whether a session is elevated.
    pub async fn check_elevation(
        &self,
        call: &Call,
        user: UserId,
        session: &SessionId,
        max_age: Option<Duration>,
    ) -> Result<Granted, Error> {
        let on = self.on(call, user);
        let session = on.session(session);
        let (record, now) = self.read(call, &on).await?;
        Ok(enrollment::check_elevation(&record, &self.policy, now, &session, max_age)?)
    }

    /// Ends a session's elevation, or all of them where none is named.
    pub async fn drop_elevation(
        &self,
        call: &Call,
        user: UserId,
        session: Option<&SessionId>,
    ) -> Result<(), Error> {
        let on = self.on(call, user);
        let session = session.map(|session| on.session(session));
        self.decide(call, &on, None, |record, _| Ok(elevation::drop(record, session.as_ref())))
            .await
    }

    /// Replaces the recovery key.
    pub async fn rotate_recovery_key(
        &self,
        call: &Call,
        user: UserId,
        session: &SessionId,
    ) -> Result<Issued, Error> {
        let on = self.on(call, user);
        let fresh = on.fresh_recovery_key();
        let asked = on.asked(call, "RotateRecoveryKey", None, |it| it.and(session.as_str()));
        let session = on.session(session);
        self.decide(call, &on, asked.as_ref(), |record, now| {
            Ok(enrollment::rotate_recovery_key(record, &self.policy, now, &session, &fresh))
        })
        .await
    }

    /// Records that the user has stored the recovery key.
    pub async fn acknowledge_recovery_key(
        &self,
        call: &Call,
        user: UserId,
        created_at: Timestamp,
    ) -> Result<(), Error> {
        let on = self.on(call, user);
        self.decide(call, &on, None, |record, _| {
            Ok(enrollment::acknowledge_recovery_key(record, created_at))
        })
        .await
    }

    /// Stores a password verifier.
    pub async fn set_password(
        &self,
        call: &Call,
        user: UserId,
        password: NewPassword,
    ) -> Result<(), Error> {
        let on = self.on(call, user);
        let hash = match password {
            NewPassword::Hash(hash) => hash,
            NewPassword::Plain(password) => {
                let permit = self.hash_permit(call).await?;
                call.deadline
                    .limit(permit.hash(password))
                    .await
                    .map_err(|_| Error::Overloaded)??
            }
        };
        let sealed = on.vault.seal(Purpose::Password, hash.expose_text().as_bytes());
        self.decide(call, &on, None, |record, _| {
            Ok(elevation::set_password(record, sealed.clone()))
        })
        .await
    }

    /// Removes the password verifier.
    pub async fn clear_password(&self, call: &Call, user: UserId) -> Result<(), Error> {
        let on = self.on(call, user);
        self.decide(call, &on, None, |record, _| Ok(elevation::clear_password(record))).await
    }

    async fn second_factor(
        &self,
        call: &Call,
        on: &On,
        method: &str,
        session: Option<&SessionId>,
        credential: Credential,
        settle: impl Fn(twinlock_core::Record, Timestamp, Attempt<'_>) -> Decision<Proven>,
    ) -> Result<Proven, Error> {
        let asked = on.asked(call, method, Some(Factor::Second), |it| {
            let it = it.and(session.map(SessionId::as_str).unwrap_or_default());
            match &credential {
                Credential::Totp(code) => it.and("totp").and(code.expose()),
                Credential::RecoveryKey(key) => it.and("recovery key").and(key.expose()),
            }
        });
        let presented = match credential {
            Credential::Totp(code) => Presented::Totp(code),
            Credential::RecoveryKey(key) => {
                let hash = key.hash(&on.key.namespace, &on.key.user);
                Presented::RecoveryKey(hash, on.fresh_recovery_key())
            }
        };
        self.decide(call, on, asked.as_ref(), |record, now| {
            let opened = match second_factor::admit(&record, &self.policy, now, &presented) {
                Err(refused) => return Ok(refused),
                Ok(sealed) => on.open(&presented, sealed)?,
            };
            let attempt = Attempt { presented: &presented, opened };
            Ok(settle(record, now, attempt))
        })
        .await
        .inspect_err(|error| self.metrics.count_refusal(Factor::Second, error))
    }

    fn on(&self, call: &Call, user: UserId) -> On {
        let key = RecordKey { namespace: call.namespace.clone(), user };
        let in_force = self.keys.in_force();
        On { vault: in_force.keyring.vault(&key), key, _in_force: in_force }
    }
}

/// A code or a recovery key.
#[derive(Debug)]
pub enum Credential {
    /// A code.
    Totp(TotpCode),
    /// The recovery key.
    RecoveryKey(RecoveryKey),
}

/// Whom a call is about, with the keys of that user.
struct On {
    key: RecordKey,
    vault: Vault,
    /// Held until the call has ended: see [`Engine::change_keyring`].
    _in_force: Arc<InForce>,
}

impl On {
    fn session(&self, session: &SessionId) -> Digests {
        Digests(self.vault.digests(Named::Session, session.as_str().as_bytes()).collect())
    }

    fn fresh_recovery_key(&self) -> Fresh {
        let key = RecoveryKey::generate(entropy::bytes());
        let hash = key.hash(&self.key.namespace, &self.key.user);
        Fresh { hash: self.vault.seal(Purpose::RecoveryKey, hash.as_bytes()), key }
    }

    fn open(&self, presented: &Presented, sealed: Option<&Sealed>) -> Result<Opened, Unreadable> {
        Ok(match (presented, sealed) {
            (Presented::Totp(_), Some(sealed)) => Opened::Secret(self.open_secret(sealed)?),
            (Presented::Totp(_), None) => return Err(Unreadable::Damaged),
            (Presented::RecoveryKey(..), sealed) => Opened::RecoveryKey(
                sealed.map(|sealed| self.open_recovery_hash(sealed)).transpose()?,
            ),
        })
    }

    fn open_secret(&self, sealed: &Sealed) -> Result<Secret, Unreadable> {
        let bytes = self.vault.open(Purpose::TotpSecret, sealed)?;
        Secret::from_bytes(&bytes).map_err(|_| Unreadable::Damaged)
    }

    fn open_recovery_hash(&self, sealed: &Sealed) -> Result<RecoveryKeyHash, Unreadable> {
        let bytes = self.vault.open(Purpose::RecoveryKey, sealed)?;
        let bytes = bytes.as_slice().try_into().map_err(|_| Unreadable::Damaged)?;
        Ok(RecoveryKeyHash::from_bytes(bytes))
    }
}
