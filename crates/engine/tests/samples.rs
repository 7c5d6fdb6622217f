//! Records and backups as releases have written them. `samples/make.py` made them from the description of
//! the formats, without this code; those of a release never change.

#[allow(dead_code, reason = "it is shared, and others use the rest")]
mod suite;

use std::io::Cursor;
use std::sync::Arc;
use suite::{named, soon};
use twinlock_core::totp::{Step, TotpCode};
use twinlock_core::{Namespace, Policy, Reason, Timestamp};
use twinlock_engine::backup::{BackupError, Scope, Verified};
use twinlock_engine::clock;
use twinlock_engine::engine::Credential;
use twinlock_engine::examine::examine;
use twinlock_engine::hash::{Argon2Parameters, Hasher};
use twinlock_engine::seal::{KeyId, Keyring, Purpose, Unreadable};
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{Record, RecordKey, Store, Target, Version};
use twinlock_engine::{Call, ClientContext, Engine, Error};
use zeroize::Zeroizing;

const RECORD_1: &[u8] = include_bytes!("samples/record-1.bin");
const RECORD_2: &[u8] = include_bytes!("samples/record-2.bin");
const RECORD_3: &[u8] = include_bytes!("samples/record-3.bin");
const BACKUP_1: &[u8] = include_bytes!("samples/backup-1.bin");
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
    let (engine, store, _directory) = serving(RECORD_2).await;
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
    let (engine, store, _directory) = serving(RECORD_3).await;
    let verified = engine.verify(&call(), alice().user, None, wrong()).await.map(|_| ());
    let erased = engine.erase_user(&call(), alice().user).await;
    let cleared = engine.clear_password(&call(), alice().user).await;
    for refused in [verified, erased, cleared] {
        let reason = refused.expect_err("it was written over").reason();
        assert_eq!(reason, Some(Reason::SecretUnreadable));
    }
    let (version, bytes) = suite::record(&store, &alice()).await.expect("a record");
    assert_eq!((version, bytes.as_slice()), (Version([7; 16]), RECORD_3));
    let record = Record { key: alice(), version, bytes, expire_at: None };
    assert_eq!(examine(&ring(), &record), Err(Unreadable::Format(3)));
}

fn ring() -> Keyring {
    let id = KeyId(0x0102_0304);
    Keyring::new(id, [(id, Zeroizing::new([0x42; 32]))]).expect("a keyring")
}

fn alice() -> RecordKey {
    named("default", "alice")
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
async fn serving(bytes: &[u8]) -> (Engine, Arc<dyn Store>, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut target = Embedded::restoring(directory.path()).expect("a target");
    let version = Version([7; 16]);
    let record = Record { key: alice(), version, bytes: bytes.to_vec(), expire_at: None };
    target.put(vec![record]).await.expect("a write");
    target.mark(&ring().new_marker()).await.expect("a marker");
    drop(target);
    let store = Embedded::open(directory.path(), clock::system()).expect("a store");
    let store: Arc<dyn Store> = Arc::new(store);
    let hasher = Hasher::new(Argon2Parameters::default(), 1).expect("a hasher");
    let engine = Engine::new(store.clone(), Arc::new(ring()), hasher, Policy::default());
    (engine, store, directory)
}
