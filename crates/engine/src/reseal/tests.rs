use super::*;
use crate::seal::HEAD_LEN;
use crate::store::RecordKey;
use twinlock_core::receipt::Holds;
use twinlock_core::record::{Digest, Elevation, Method};
use twinlock_core::totp::Parameters;
use twinlock_core::{Timestamp, UserId};
use zeroize::Zeroizing;

fn ring(ids: &[u32]) -> Keyring {
    let keys = ids.iter().map(|id| (KeyId(*id), Zeroizing::new([*id as u8; 32])));
    Keyring::new(KeyId(ids[0]), keys).expect("a keyring")
}

fn vault(ring: &Keyring) -> Vault {
    let user = UserId::parse("alice").expect("a user");
    ring.vault(&RecordKey { namespace: Namespace::default(), user })
}

fn keys(ring: &Keyring, bytes: &[u8]) -> BTreeSet<KeyId> {
    super::keys(ring, || vault(ring), bytes)
}

/// A record with something sealed in every place that has room for it.
fn full(vault: &Vault) -> Record {
    let now = Timestamp::from_secs(1_800_000_000);
    let seal = |purpose, text: &str| vault.seal(purpose, text.as_bytes());
    let receipt = |answer: &str| Receipt {
        id: Digest([1; 16]),
        request: Digest([2; 16]),
        at: now,
        kept: Kept::Success { answer: seal(Purpose::Answer, answer), holds: Holds::RecoveryKey },
    };
    let refusal = Receipt { kept: Kept::InvalidCode, ..receipt("") };
    Record {
        authenticator: Some(Authenticator {
            secret: seal(Purpose::TotpSecret, "secret"),
            parameters: Parameters::default(),
            last_step: None,
            enrolled_at: now,
        }),
        pending: Some(Pending {
            secret: seal(Purpose::TotpSecret, "pending"),
            parameters: Parameters::default(),
            session: Digest([3; 16]),
            ground: Method::Totp,
            begun_at: now,
        }),
        recovery: Some(Recovery {
            hash: seal(Purpose::RecoveryKey, "hash"),
            created_at: now,
            acknowledged: true,
        }),
        password: Some(seal(Purpose::Password, "password")),
        elevations: vec![Elevation { session: Digest([4; 16]), method: Method::Totp, at: now }],
        receipts: vec![receipt("one"), refusal, receipt("two")],
        enforced_since: Some(now),
        unenrolled_at: Some(now),
        ..Record::default()
    }
}

/// What is sealed in a record, opened.
fn opened(vault: &Vault, record: &Record) -> Vec<(Purpose, Vec<u8>)> {
    let open = |(purpose, sealed): (Purpose, &mut Sealed)| {
        (purpose, vault.open(purpose, sealed).expect("it opens").to_vec())
    };
    sealed_values(&mut record.clone()).into_iter().map(open).collect()
}

/// The record without what is sealed in it.
fn rest(record: &Record) -> Record {
    let mut record = record.clone();
    sealed_values(&mut record).into_iter().for_each(|(_, sealed)| sealed.0.clear());
    record
}

#[test]
fn everything_is_sealed_anew_and_nothing_else_changes() {
    let old = vault(&ring(&[1]));
    let record = full(&old);
    let bytes = old.write(&record);
    let both = ring(&[2, 1]);
    assert_eq!(keys(&both, &bytes), BTreeSet::from([KeyId(1)]));

    let resealed = reseal(&both, &vault(&both), &bytes).expect("readable").expect("an old one");
    let bytes = vault(&both).write(&resealed);
    assert_eq!(keys(&both, &bytes), BTreeSet::from([KeyId(2)]));
    let new = vault(&ring(&[2]));
    let read = new.read(&bytes).expect("the new key alone opens it");
    assert_eq!(opened(&new, &read), opened(&old, &record));
    assert_eq!(opened(&new, &read).len(), 6);
    assert_eq!(rest(&read), rest(&record));
    assert_eq!(reseal(&both, &vault(&both), &bytes), Ok(None), "there is nothing left to do");
}

#[test]
fn a_record_that_was_written_since_and_still_holds_an_old_secret_is_resealed() {
    let both = ring(&[2, 1]);
    let record = full(&vault(&ring(&[1])));
    let bytes = vault(&both).write(&record);
    assert_eq!(keys(&both, &bytes), BTreeSet::from([KeyId(1), KeyId(2)]));
    let resealed = reseal(&both, &vault(&both), &bytes).expect("readable").expect("an old one");
    let bytes = vault(&both).write(&resealed);
    assert_eq!(keys(&both, &bytes), BTreeSet::from([KeyId(2)]));
}

#[test]
fn what_a_prepared_key_seals_is_left_to_it() {
    let ahead = ring(&[2, 1]);
    let behind = ring(&[1, 2]).with_prepared(&[KeyId(2)]).expect("a keyring");
    let bytes = vault(&ahead).write(&full(&vault(&ahead)));
    assert_eq!(reseal(&behind, &vault(&behind), &bytes), Ok(None));
}

#[test]
fn what_cannot_be_opened_is_left_whole() {
    let old = vault(&ring(&[1]));
    let both = ring(&[2, 1]);
    let mut record = full(&old);
    record.password = Some(vault(&ring(&[3])).seal(Purpose::Password, b"another key's"));
    let bytes = old.write(&record);
    assert_eq!(keys(&both, &bytes), BTreeSet::from([KeyId(1), KeyId(3)]));
    // A key that the keyring lacks is none that it could seal anew; the rest still is.
    let resealed = reseal(&both, &vault(&both), &bytes).expect("readable").expect("an old one");
    assert_eq!(resealed.password, record.password);

    record.password.as_mut().expect("a password").0[20] ^= 1;
    record.recovery.as_mut().expect("a key").hash.0[20] ^= 1;
    let bytes = old.write(&record);
    let damaged = Err(Left::Unreadable(Unreadable::Damaged));
    assert_eq!(reseal(&both, &vault(&both), &bytes), damaged);
    let mut bytes = old.write(&full(&old));
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert_eq!(reseal(&both, &vault(&both), &bytes), damaged);
}

#[test]
fn a_field_or_a_format_of_a_later_release_keeps_the_record_and_all_keys() {
    let old = vault(&ring(&[1]));
    let both = ring(&[2, 1]);
    let all = BTreeSet::from([KeyId(1), KeyId(2)]);
    // Field 15, bytes: "later" (the protobuf encoding's tag is the number and the wire type).
    let mut bytes = full(&old).encode_behind(&[1; HEAD_LEN]);
    bytes.extend_from_slice(b"\x7a\x05later");
    let bytes = old.tag(bytes);
    assert!(old.read(&bytes).is_ok(), "this release reads past what it does not know");
    assert_eq!(reseal(&both, &vault(&both), &bytes), Err(Left::Later));
    assert_eq!(keys(&both, &bytes), all);

    // The same within a message, the second: an enrollment that waits.
    let mut bytes = full(&old).encode_behind(&[1; HEAD_LEN]);
    bytes.extend_from_slice(b"\x12\x07\x7a\x05later");
    let bytes = old.tag(bytes);
    assert!(old.read(&bytes).is_err());
    assert_eq!(keys(&both, &bytes), all, "nobody here can tell what it holds");
    let mut damaged = bytes;
    *damaged.last_mut().expect("bytes") ^= 1;
    assert_eq!(keys(&both, &damaged), BTreeSet::from([KeyId(1)]), "nobody ever reads it again");

    let bytes = old.tag(full(&old).encode_behind(&[2; HEAD_LEN]));
    assert_eq!(reseal(&both, &vault(&both), &bytes), Err(Left::Later));
    assert_eq!(keys(&both, &bytes), all);
    let bytes = old.tag(full(&old).encode_behind(&[3; HEAD_LEN]));
    assert_eq!(keys(&both, &bytes), all, "nobody here can tell what it holds");
    assert!(keys(&both, b"").is_empty() && keys(&both, b"\x01\0\0").is_empty());
}
