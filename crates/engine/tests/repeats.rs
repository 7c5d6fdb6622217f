//! Repeats of one request while it is still under way.

use redb::backends::InMemoryBackend;
use std::sync::Arc;
use std::time::Duration;
use twinlock_core::{Namespace, Policy, Refusal, RequestId, SessionId, UserId};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::hash::{Argon2Parameters, Hasher, Password};
use twinlock_engine::seal::{KeyId, Keyring};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::{Call, ClientContext, Engine, Error, NewPassword, Proof, clock};
use zeroize::Zeroizing;

fn engine() -> Arc<Engine> {
    let key = (KeyId(1), Zeroizing::new([7; 32]));
    let keyring = Arc::new(Keyring::new(KeyId(1), [key]).expect("a keyring"));
    let backend = || Ok(InMemoryBackend::new());
    let store = Embedded::initialize_on(backend, &keyring.new_marker(), clock::system());
    let hasher = Hasher::new(Argon2Parameters::default(), 2).expect("a hasher");
    // With room for parallel attempts, so that none is refused by the backoff unread.
    let mut policy = Policy::default();
    policy.backoff.tolerated_failures = 10;
    Arc::new(Engine::new(Arc::new(store.expect("a store")), keyring, hasher, policy))
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

fn password(text: &str) -> Password {
    Password::parse(text.into()).expect("a password")
}

async fn elevate(engine: &Engine, id: &str, text: &str) -> Result<(), Error> {
    let session = SessionId::parse("session").expect("a session");
    let proof = Proof::Password(password(text), None);
    engine.elevate(&call(Some(id)), alice(), &session, proof).await.map(|_| ())
}

/// Sends the same request twice at once, and gives both answers and the failures counted in the end.
async fn twice(text: &'static str) -> ([Result<(), Error>; 2], u32) {
    let engine = engine();
    let new = NewPassword::Plain(password("right"));
    engine.set_password(&call(None), alice(), new).await.expect("a password is set");
    let id = "0123456789abcdef";
    let answers = tokio::join!(elevate(&engine, id, text), elevate(&engine, id, text));
    let description = engine.describe_user(&call(None), alice()).await.expect("a description");
    (answers.into(), description.password.count)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_wrong_password_under_one_id_counts_once_however_often_it_is_sent_at_once() {
    let (answers, failures) = twice("wrong").await;
    for answer in answers {
        assert!(matches!(answer, Err(Error::Refused(Refusal::InvalidCode))), "{answer:?}");
    }
    assert_eq!(failures, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_right_password_under_one_id_leaves_no_failure_behind() {
    let (answers, failures) = twice("right").await;
    for answer in answers {
        assert!(answer.is_ok(), "{answer:?}");
    }
    assert_eq!(failures, 0);
}
