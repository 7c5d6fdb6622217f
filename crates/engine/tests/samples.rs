//! Records and backups as releases have written them. `samples/make.py` made them from the description of
//! the formats, without this code; those of a release never change.

#[allow(dead_code, reason = "it is shared, and others use the rest")]
mod suite;

use std::io::Cursor;
use std::sync::Arc;
use suite::{named, soon};
use twinlock_core::otpauth::OtpauthUri;
use twinlock_core::record::Method;
use twinlock_core::recovery::RecoveryKey;
use twinlock_core::totp::{self, Parameters, Secret, Step, TotpCode};
use twinlock_core::{Namespace, Policy, Reason, RequestId, SessionId, Timestamp};
use twinlock_engine::backup::{BackupError, Scope, Verified};
use twinlock_engine::clock::{self, Clock};
use twinlock_engine::engine::Credential;
use twinlock_engine::examine::examine;
use twinlock_engine::hash::{Argon2Parameters, Hasher, Password};
use twinlock_engine::seal::{KeyId, Keyring, Purpose, Unreadable};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{Record, RecordKey, Store, Target, Version};
use twinlock_engine::{Call, ClientContext, Engine, Error, NewPassword, Proof};
use zeroize::Zeroizing;

const RECORD_1: &[u8] = include_bytes!("samples/record-1.bin");
const RECORD_2: &[u8] = include_bytes!("samples/record-2.bin");
const RECORD_3: &[u8] = include_bytes!("samples/record-3.bin");
/// Everything that a record may hold, of each format.
const WHOLE_1: &[u8] = include_bytes!("samples/record-1-whole.bin");
const WHOLE_2: &[u8] = include_bytes!("samples/record-2-whole.bin");
/// Records with a field that nobody knows within each of their messages, each after its length.
const NEW_WITHIN: &[u8] = include_bytes!("samples/records-new-within.bin");
const BACKUP_1: &[u8] = include_bytes!("samples/backup-1.bin");
/// When the whole ones are in use.
const NOW: Timestamp = Timestamp::from_millis(1_740_000_300_000);
/// What the record of format 2 has that format 1 does not.
const LATER: &[u8] = b"\x58\xac\x02\x62\x12of a later release";

#[test]
fn a_record_of_format_1_is_read() {
    let vault = ring().vault(&alice());
    let record = vault.read(RECORD_1).expect("a record");
    assert!(!record.later.is_some());
    let authenticator = record.authenticator.as_ref().expect("an authenticator");
    assert_eq!(authenticator.last_step, Some(Step(58_000_000)));
    assert_eq!(authenticator.enrolled_at, Timestamp::from_millis(1_740_000_000_000));
    let secret = vault.open(Purpose::TotpSecret, &authenticator.secret).expect("a secret");
    assert_eq!(secret.as_slice(), b"12345678901234567890");
    let recovery = record.recovery.as_ref().expect("a recovery key");
    assert!(recovery.acknowledged);
    let hash: Vec<u8> = (0..32).collect();
    assert_eq!(*vault.open(Purpose::RecoveryKey, &recovery.hash).expect("a hash"), hash);
    assert_eq!(record.second_factor_failures.failures, 2);
    assert_eq!(record.enforced_since, Some(Timestamp::from_millis(1_739_000_000_000)));
    assert_eq!(record.encode(), &RECORD_1[21..], "it is written as it was read");
}

#[test]
fn a_record_of_the_next_format_is_read_and_one_beyond_is_not() {
    let vault = ring().vault(&alice());
    let (first, second) = (vault.read(RECORD_1), vault.read(RECORD_2));
    let (first, second) = (first.expect("a record"), second.expect("a record"));
    assert_eq!(second.authenticator, first.authenticator);
    assert!(second.later.is_some());
    assert_eq!(vault.read(RECORD_3), Err(Unreadable::Format(3)));
}

#[test]
fn a_backup_of_format_1_is_read() {
    let mut verified = Verified::read(Cursor::new(BACKUP_1), &ring()).expect("a backup");
    let contents = verified.contents().clone();
    assert_eq!(contents.made_at, Timestamp::from_millis(1_740_000_200_000));
    assert_eq!(contents.scope, Scope::Everything);
    assert_eq!((contents.records, contents.left_out, contents.unreadable), (2, 0, 0));
    assert_eq!(ring().open_marker(&contents.marker).as_ref(), Ok(b"the dataset's id"));
    let reader = verified.records().expect("records");
    let first = reader.next_record().expect("a record").expect("the first");
    assert_eq!((first.key, first.bytes.as_slice(), first.expire_at), (alice(), RECORD_1, None));
    let second = reader.next_record().expect("a record").expect("the second");
    assert_eq!(second.bytes, RECORD_2);
    assert_eq!(second.expire_at, Some(Timestamp::from_millis(4_000_000_000_000)));
    assert!(reader.next_record().expect("the end").is_none());
    let mut later = BACKUP_1.to_vec();
    later[16] = 2;
    let refused = Verified::read(Cursor::new(later), &ring()).err();
    assert!(matches!(refused, Some(BackupError::Format(2))));
}

/// A release that is rolled back, or runs beside the next one, must not take away what that one wrote.
#[tokio::test]
async fn a_change_keeps_the_fields_of_a_later_release() {
    let (engine, store, _directory) = serving(RECORD_2, clock::system()).await;
    let refused = engine.verify(&call(), alice().user, None, wrong()).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    let (_, bytes) = suite::record(&store, &alice()).await.expect("a record");
    assert_ne!(bytes, RECORD_2);
    assert_eq!(bytes[0], 1);
    assert!(bytes.ends_with(LATER), "a field was lost");
    let record = ring().vault(&alice()).read(&bytes).expect("a record");
    assert_eq!(
        record.second_factor_failures.failures, 1,
        "the former ones were forgotten long ago"
    );
}

#[tokio::test]
async fn a_record_of_an_unknown_format_is_never_written_over() {
    assert_eq!(left_alone(RECORD_3).await, Unreadable::Format(3));
}

/// No release writes such a field; if one did, this one would rather refuse the user than lose it.
#[tokio::test]
async fn a_record_with_something_new_within_it_is_never_written_over() {
    let mut rest = NEW_WITHIN;
    let mut count = 0;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let (bytes, behind) = behind.split_at(u16::from_be_bytes(*length).into());
        assert_eq!(left_alone(bytes).await, Unreadable::Damaged);
        (rest, count) = (behind, count + 1);
    }
    assert_eq!(count, 9);
}

/// Makes sure that no call changes a record that cannot be read; gives what an examination says of it.
async fn left_alone(bytes: &[u8]) -> Unreadable {
    let (engine, store, _directory) = serving(bytes, clock::system()).await;
    let (call, user, session) = (call(), || alice().user, laptop());
    let asserted = Proof::Asserted("a test".into());
    let uri = OtpauthUri::parse("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    let refused = [
        engine.verify(&call, user(), None, wrong()).await.map(drop),
        engine.elevate(&call, user(), &session, asserted).await.map(drop),
        engine.enroll(&call, user(), &session, None).await.map(drop),
        engine.unenroll(&call, user(), &session).await,
        engine.rotate_recovery_key(&call, user(), &session).await.map(drop),
        engine.clear_password(&call, user()).await,
        engine.drop_elevation(&call, user(), None).await,
        engine.import_enrollment(&call, user(), &uri.expect("a URI"), false).await.map(drop),
        engine.reset_user(&call, user(), "a test").await,
        engine.erase_user(&call, user()).await,
    ];
    for refused in refused {
        let reason = refused.expect_err("it was written over").reason();
        assert_eq!(reason, Some(Reason::SecretUnreadable));
    }
    let (version, after) = suite::record(&store, &alice()).await.expect("a record");
    assert_eq!((version, after.as_slice()), (Version([7; 16]), bytes));
    let record = Record { key: alice(), version, bytes: after, expire_at: None };
    examine(&ring(), &record).expect_err("it cannot be read")
}

#[tokio::test]
async fn what_is_in_a_record_of_format_1_does_what_it_did() {
    live(WHOLE_1, b"").await;
}

#[tokio::test]
async fn a_whole_life_keeps_the_fields_of_a_later_release() {
    live(WHOLE_2, LATER).await;
}

/// Uses everything that the record holds. `later` must be in it to its end.
async fn live(bytes: &[u8], later: &[u8]) {
    let (engine, store, _directory) = serving(bytes, Arc::new(|| NOW)).await;
    let (user, session) = (|| alice().user, laptop());
    let kept = async || {
        let (_, after) = suite::record(&store, &alice()).await.expect("a record");
        assert!(after != bytes && after.ends_with(later), "a field was lost");
        let record = ring().vault(&alice()).read(&after).expect("a record");
        assert_eq!(record.later.is_some(), !later.is_empty());
    };

    let told = engine.describe_user(&call(), user()).await.expect("a description");
    assert!(told.has_password && told.recovery_key_acknowledged && told.enrolled_at.is_some());
    assert_eq!((told.second_factor.count, told.password.count), (1, 1));
    let pending_until = Timestamp::from_millis(NOW.as_millis() + 540_000);
    assert_eq!(told.pending_expire_at, Some(pending_until));
    for (name, method) in [("laptop", Method::Totp), ("phone", Method::RecoveryKey)] {
        let session = SessionId::parse(name).expect("a session");
        let granted = engine.check_elevation(&call(), user(), &session, None).await;
        assert_eq!(granted.expect("elevated").method, method);
    }
    let repeat = |id| Call { request_id: RequestId::parse(id).ok(), ..call() };
    let answered =
        engine.rotate_recovery_key(&repeat("an answered request"), user(), &session).await;
    let answered = answered.expect("the answer of the first try");
    assert_eq!(*answered.key.expose(), "14D2P-F2DBS-QQG28-T5CY4-TQKFF");
    for (id, code, reason) in [
        ("a refused request", "000000", Reason::InvalidCode),
        ("a repeated code's", "111111", Reason::CodeAlreadyUsed),
    ] {
        let code = Credential::Totp(TotpCode::parse(code).expect("a code"));
        let refused = engine.verify(&repeat(id), user(), None, code).await;
        assert_eq!(refused.expect_err("as at first").reason(), Some(reason));
    }
    let (_, unchanged) = suite::record(&store, &alice()).await.expect("a record");
    assert_eq!(unchanged, bytes, "a repeat changes nothing");

    let code = Credential::Totp(code_of(b"12345678901234567890"));
    engine.verify(&call(), user(), None, code).await.expect("a right code");
    kept().await;
    let key = RecoveryKey::parse("7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1B").expect("a key");
    let key = Credential::RecoveryKey(key);
    let proven = engine.verify(&call(), user(), None, key).await.expect("the recovery key");
    kept().await;
    let created_at = proven.issued.expect("a successor").created_at;
    engine.acknowledge_recovery_key(&call(), user(), created_at).await.expect("acknowledged");
    kept().await;
    let code = code_of(b"09876543210987654321");
    let confirmed = engine.confirm_enrollment(&call(), user(), &session, &code).await;
    confirmed.expect("what waited is confirmed");
    kept().await;
    engine.rotate_recovery_key(&call(), user(), &session).await.expect("another key");
    engine.enroll(&call(), user(), &session, None).await.expect("another enrollment");
    kept().await;
    engine.unenroll(&call(), user(), &session).await.expect("unenrolled");
    kept().await;
    let password = |text: &str| Password::parse(text.into()).expect("a password");
    let proof = Proof::Password(password("the right password"), None);
    engine.elevate(&call(), user(), &session, proof).await.expect("the right password");
    kept().await;
    let another = NewPassword::Plain(password("another"));
    engine.set_password(&call(), user(), another).await.expect("a password is set");
    engine.clear_password(&call(), user()).await.expect("and cleared");
    engine.drop_elevation(&call(), user(), None).await.expect("dropped");
    kept().await;
    let uri = OtpauthUri::parse("otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
    engine.import_enrollment(&call(), user(), &uri.expect("a URI"), true).await.expect("imported");
    engine.reset_user(&call(), user(), "a test").await.expect("reset");
    kept().await;
    engine.erase_user(&call(), user()).await.expect("erased");
    assert!(suite::record(&store, &alice()).await.is_none(), "erased is erased");
}

/// The code at the time of the samples, with the default parameters.
fn code_of(secret: &[u8]) -> TotpCode {
    let (secret, parameters) =
        (Secret::from_bytes(secret).expect("a secret"), Parameters::default());
    totp::generate(&secret, &parameters, parameters.period.step(NOW))
}

fn ring() -> Keyring {
    let id = KeyId(0x0102_0304);
    Keyring::new(id, [(id, Zeroizing::new([0x42; 32]))]).expect("a keyring")
}

fn alice() -> RecordKey {
    named("default", "alice")
}

fn laptop() -> SessionId {
    SessionId::parse("laptop").expect("a session")
}

fn wrong() -> Credential {
    Credential::Totp(TotpCode::parse("000000").expect("a code"))
}

fn call() -> Call {
    Call {
        namespace: Namespace::default(),
        caller: "a test".into(),
        client: ClientContext::default(),
        deadline: soon(),
        request_id: None,
        actor: None,
    }
}

/// An engine over a store that has one record of Alice's.
async fn serving(bytes: &[u8], clock: Clock) -> (Engine, Arc<dyn Store>, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut target = Embedded::restoring(directory.path()).expect("a target");
    let version = Version([7; 16]);
    let record = Record { key: alice(), version, bytes: bytes.to_vec(), expire_at: None };
    target.put(vec![record]).await.expect("a write");
    target.mark(&ring().new_marker()).await.expect("a marker");
    drop(target);
    let store = Embedded::open(directory.path(), clock).expect("a store");
    let store: Arc<dyn Store> = Arc::new(store);
    let hasher = Hasher::new(Argon2Parameters::default(), 1).expect("a hasher");
    let engine = Engine::new(store.clone(), Arc::new(ring()), hasher, Policy::default());
    (engine, store, directory)
}
