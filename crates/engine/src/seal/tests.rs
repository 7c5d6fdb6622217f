use super::*;
use twinlock_core::record::Digests;
use twinlock_core::{Namespace, UserId};

fn ring(ids: &[u32]) -> Keyring {
    let keys = ids.iter().map(|id| (KeyId(*id), Zeroizing::new([*id as u8; 32])));
    Keyring::new(KeyId(ids[0]), keys).expect("a keyring")
}

fn user(namespace: &str, user: &str) -> RecordKey {
    RecordKey {
        namespace: Namespace::parse(namespace).expect("a namespace"),
        user: UserId::parse(user).expect("a user"),
    }
}

#[test]
fn what_is_sealed_opens_for_the_same_user_and_purpose_alone() {
    let ring = ring(&[1]);
    let alice = ring.vault(&user("ns", "alice"));
    let sealed = alice.seal(Purpose::TotpSecret, b"secret");
    assert_eq!(alice.open(Purpose::TotpSecret, &sealed).as_deref(), Ok(&b"secret".to_vec()));
    let others = [
        ring.vault(&user("ns", "alicf")),
        ring.vault(&user("nt", "alice")),
        ring.vault(&user("nsa", "lice")),
    ];
    assert_eq!(alice.open(Purpose::RecoveryKey, &sealed), Err(Unreadable::Damaged));
    for other in others {
        assert_eq!(other.open(Purpose::TotpSecret, &sealed), Err(Unreadable::Damaged));
    }
    for cut in 0..sealed.0.len() {
        assert!(alice.open(Purpose::TotpSecret, &Sealed(sealed.0[..cut].to_vec())).is_err());
    }
    assert_ne!(alice.seal(Purpose::TotpSecret, b"secret"), sealed, "a fresh nonce");
}

#[test]
fn an_older_key_still_opens_and_a_missing_one_is_named() {
    let old = ring(&[1]).vault(&user("ns", "alice"));
    let both = ring(&[2, 1]).vault(&user("ns", "alice"));
    let sealed = old.seal(Purpose::Password, b"x");
    assert!(both.open(Purpose::Password, &sealed).is_ok());
    let new = both.seal(Purpose::Password, b"x");
    assert_eq!(old.open(Purpose::Password, &new), Err(Unreadable::NoKey(KeyId(2))));
    let digests = |vault: &Vault| Digests(vault.digests(Named::Session, b"s").collect());
    let session = digests(&old).primary();
    assert!(digests(&both).contains(&session));
    assert_ne!(digests(&both).primary(), session);
}

#[test]
fn a_record_is_bound_to_its_user_and_shows_any_damage() {
    let ring = ring(&[1]);
    let alice = ring.vault(&user("ns", "alice"));
    let record = Record { unenrolled_at: Some(Default::default()), ..Record::default() };
    let bytes = alice.write(&record);
    assert_eq!(alice.read(&bytes), Ok(record));
    assert_eq!(ring.vault(&user("ns", "bob")).read(&bytes), Err(Unreadable::Damaged));
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x40;
        assert!(alice.read(&damaged).is_err(), "byte {index}");
    }
    assert!(alice.read(b"").is_err());
}

#[test]
fn what_was_read_before_is_read_again_as_long_as_its_key_is_there() {
    let alice = |ids: &[u32]| ring(ids).vault(&user("ns", "alice"));
    let record = Record { unenrolled_at: Some(Default::default()), ..Record::default() };
    let bytes = alice(&[1]).write(&record);
    assert_eq!(alice(&[2, 1]).read_again(&bytes), Ok(record));
    assert_eq!(alice(&[2]).read_again(&bytes), Err(Unreadable::NoKey(KeyId(1))));
}

#[test]
fn a_record_of_a_format_from_the_far_future_is_refused() {
    let alice = ring(&[1]).vault(&user("ns", "alice"));
    let mut bytes = alice.write(&Record::default());
    bytes[0] = 3;
    assert_eq!(alice.read(&bytes), Err(Unreadable::Format(3)));
}

#[test]
fn a_keyring_needs_its_primary_and_no_key_twice() {
    let key = |id| (KeyId(id), Zeroizing::new([0; 32]));
    assert_eq!(Keyring::new(KeyId(1), [key(2)]).err(), Some(KeyringError::NoPrimary(KeyId(1))));
    assert_eq!(Keyring::new(KeyId(1), [key(1), key(1)]).err(), Some(KeyringError::Twice(KeyId(1))));
}

#[test]
fn a_prepared_key_opens_and_is_no_former_one() {
    let ring = ring(&[1, 2, 3]).with_prepared(&[KeyId(2)]).expect("a keyring");
    assert_eq!((ring.primary(), ring.is_former(KeyId(1))), (KeyId(1), false));
    assert!(ring.is_prepared(KeyId(2)) && !ring.is_former(KeyId(2)));
    assert!(ring.is_former(KeyId(3)) && !ring.is_former(KeyId(4)));
    let refused = self::ring(&[1, 2]).with_prepared(&[KeyId(1)]).err();
    assert_eq!(refused, Some(KeyringError::PreparedPrimary(KeyId(1))));
}

#[test]
fn what_is_known_besides_is_prepared() {
    let both = ring(&[1]).knowing(&ring(&[2, 1]));
    assert_eq!(both.primary(), KeyId(1));
    assert!(both.is_prepared(KeyId(2)) && !both.is_former(KeyId(2)));
}

#[test]
fn one_id_with_two_secrets_is_a_contradiction() {
    let other = Keyring::new(KeyId(1), [(KeyId(1), Zeroizing::new([9; 32]))]).expect("a keyring");
    assert_eq!(ring(&[1]).contradiction(&other), Some(KeyId(1)));
    assert!(!ring(&[1]).is_same(&other));
    assert_eq!(ring(&[2, 1]).contradiction(&ring(&[1, 3])), None);
    assert!(ring(&[1, 2, 3]).is_same(&ring(&[1, 3, 2])) && !ring(&[1, 2]).is_same(&ring(&[2, 1])));
}

#[test]
fn nothing_of_the_keyring_is_shown() {
    let ring = Keyring::new(KeyId(7), [(KeyId(7), Zeroizing::new([0x41; 32]))]);
    let shown = format!("{ring:?} {:?}", ring.as_ref().map(|ring| ring.vault(&user("n", "u"))));
    assert!(shown.contains("00000007") && !shown.contains("AAAA") && !shown.contains("65, 65"));
}
