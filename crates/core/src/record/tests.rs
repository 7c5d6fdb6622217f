use super::*;
use crate::receipt::{Found, Holds, Kept, Mark, find, remember_success};
use proptest::prelude::*;
use std::time::Duration;

fn sealed() -> impl Strategy<Value = Sealed> {
    prop::collection::vec(any::<u8>(), 0..80).prop_map(Sealed)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 16]>().prop_map(Digest)
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_millis)
}

fn method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![
        Method::Totp,
        Method::RecoveryKey,
        Method::Password,
        Method::Asserted,
    ])
}

fn parameters() -> impl Strategy<Value = Parameters> {
    use crate::totp::{Algorithm, Digits, Period};
    let algorithms = vec![Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512];
    let digits = vec![Digits::Six, Digits::Seven, Digits::Eight];
    (prop::sample::select(algorithms), prop::sample::select(digits), 1_u64..=86_400).prop_map(
        |(algorithm, digits, secs)| Parameters {
            algorithm,
            digits,
            period: Period::new(std::time::Duration::from_secs(secs)).expect("in range"),
        },
    )
}

fn counter() -> impl Strategy<Value = Counter> {
    (any::<u32>(), timestamp(), any::<u32>()).prop_map(|(failures, since, charges)| Counter {
        failures,
        since,
        charges,
    })
}

fn holds() -> impl Strategy<Value = Holds> {
    prop::sample::select(vec![Holds::Nothing, Holds::PendingSecret, Holds::RecoveryKey])
}

fn receipt() -> impl Strategy<Value = Receipt> {
    let kept = prop_oneof![
        (sealed(), holds()).prop_map(|(answer, holds)| Kept::Success { answer, holds }),
        Just(Kept::InvalidCode),
        timestamp().prop_map(|retry_at| Kept::CodeAlreadyUsed { retry_at }),
    ];
    (digest(), digest(), timestamp(), kept).prop_map(|(id, request, at, kept)| Receipt {
        id,
        request,
        at,
        kept,
    })
}

fn authenticator() -> impl Strategy<Value = Authenticator> {
    (sealed(), parameters(), prop::option::of(any::<u64>()), timestamp()).prop_map(
        |(secret, parameters, last_step, enrolled_at)| Authenticator {
            secret,
            parameters,
            last_step: last_step.map(Step),
            enrolled_at,
        },
    )
}

fn pending() -> impl Strategy<Value = Pending> {
    (sealed(), parameters(), digest(), method(), timestamp()).prop_map(
        |(secret, parameters, session, ground, begun_at)| Pending {
            secret,
            parameters,
            session,
            ground,
            begun_at,
        },
    )
}

fn recovery() -> impl Strategy<Value = Recovery> {
    (sealed(), timestamp(), any::<bool>()).prop_map(|(hash, created_at, acknowledged)| Recovery {
        hash,
        created_at,
        acknowledged,
    })
}

fn record() -> impl Strategy<Value = Record> {
    let elevation = (digest(), method(), timestamp()).prop_map(|(session, method, at)| Elevation {
        session,
        method,
        at,
    });
    (
        prop::option::of(authenticator()),
        prop::option::of(pending()),
        prop::option::of(recovery()),
        prop::option::of(sealed()),
        (counter(), counter()),
        prop::collection::vec(elevation, 0..5),
        prop::collection::vec(receipt(), 0..5),
        (prop::option::of(timestamp()), prop::option::of(timestamp())),
        later(),
    )
        .prop_map(
            |(
                authenticator,
                pending,
                recovery,
                password,
                (second_factor_failures, password_failures),
                elevations,
                receipts,
                (enforced_since, unenrolled_at),
                later,
            )| Record {
                authenticator,
                pending,
                recovery,
                password,
                second_factor_failures,
                password_failures,
                elevations,
                receipts,
                enforced_since,
                unenrolled_at,
                later,
            },
        )
}

/// Fields of each wire type under numbers that are free.
fn later() -> impl Strategy<Value = Later> {
    let text = prop::collection::vec(any::<u8>(), 0..100);
    let field = (11_u8..16, 0_usize..4, text).prop_map(|(number, kind, text)| match kind {
        0 => vec![number << 3, 0xff, 0x01],
        1 => [&[number << 3 | 1][..], &[7; 8]].concat(),
        2 => [&[number << 3 | 2, text.len() as u8][..], &text].concat(),
        _ => [&[number << 3 | 5][..], &[7; 4]].concat(),
    });
    prop::collection::vec(field, 0..3).prop_map(|fields| Later(fields.concat()))
}

proptest! {
    #[test]
    fn every_record_survives_the_round_trip(record in record()) {
        prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
    }

    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Record::decode(&bytes);
    }

    #[test]
    fn no_record_makes_tidying_panic(record in record(), now in timestamp()) {
        let policy = Policy::default();
        let tidy = record.tidied(&policy, now);
        prop_assert_eq!(tidy.clone().tidied(&policy, now), tidy);
    }
}

#[test]
fn the_record_of_an_enrolled_user_takes_less_than_512_bytes() {
    // A sealed value is 4 bytes of key id, 12 of nonce and 16 of tag longer than what is in it.
    let now = Timestamp::from_secs(1_800_000_000);
    let record = Record {
        authenticator: Some(Authenticator {
            secret: Sealed(vec![0xff; 20 + 32]),
            parameters: Parameters::default(),
            last_step: Some(Step(60_000_000)),
            enrolled_at: now,
        }),
        recovery: Some(Recovery {
            hash: Sealed(vec![0xff; 32 + 32]),
            created_at: now,
            acknowledged: true,
        }),
        password: Some(Sealed(vec![0xff; 97 + 32])),
        second_factor_failures: Counter { failures: 9, since: now, charges: 99 },
        ..Record::default()
    };
    let length = record.encode().len();
    assert!(length < 400, "{length}");
}

#[test]
fn only_what_holds_nothing_lasting_expires() {
    let policy = Policy::default();
    let now = Timestamp::from_secs(1_000_000);
    let mut record = Record::default();
    let session = Digests(vec![Digest([1; 16])]);
    record.elevate(&session, Method::Asserted, now);
    assert_eq!(record.expires_at(&policy), Some(now.after(policy.elevation.lifetime)));
    record.second_factor_failures = Counter::default().failed(now);
    let day = std::time::Duration::from_secs(24 * 3600);
    assert_eq!(record.expires_at(&policy), Some(now.after(day)));
    let mut hard = policy.clone();
    hard.backoff.hard_limit = Some(100);
    assert_eq!(record.expires_at(&hard), None);
    for lasting in each_lasting_thing() {
        let second_factor_failures = record.second_factor_failures;
        let record = Record { second_factor_failures, ..lasting };
        assert_eq!(record.expires_at(&policy), None, "{record:?}");
    }
}

#[test]
fn an_answer_that_may_be_asked_for_again_keeps_the_record_until_it_lapses() {
    let (policy, now) = (Policy::default(), Timestamp::from_secs(1_000_000));
    let mark = Mark { id: Digest([1; 16]), request: Digest([2; 16]) };
    let mut record = Record::default();
    remember_success(&mut record, mark, Sealed(vec![7]), Holds::Nothing, now);
    let end = now.after(Duration::from_secs(600));
    assert_eq!(record.expires_at(&policy), Some(end));
    assert_eq!(find(&record, &[mark], end), Found::Nothing);
}

#[test]
fn whatever_is_kept_makes_a_user_known_but_not_the_answers_to_requests() {
    assert!(!Record::default().is_known());
    for record in each_lasting_thing().into_iter().chain(each_passing_thing()) {
        assert!(record.is_known(), "{record:?}");
    }
    let receipts = vec![Receipt {
        id: Digest([1; 16]),
        request: Digest([2; 16]),
        at: Timestamp::from_secs(9),
        kept: Kept::InvalidCode,
    }];
    assert!(!Record { receipts, ..Record::default() }.is_known());
}

/// Records of one thing each, which keeps them.
fn each_lasting_thing() -> [Record; 6] {
    let (now, sealed) = (Timestamp::from_secs(9), Sealed(vec![7]));
    let authenticator = Authenticator {
        secret: sealed.clone(),
        parameters: Parameters::default(),
        last_step: None,
        enrolled_at: now,
    };
    let recovery = Recovery { hash: sealed.clone(), created_at: now, acknowledged: true };
    [
        Record { authenticator: Some(authenticator), ..Record::default() },
        Record { recovery: Some(recovery), ..Record::default() },
        Record { password: Some(sealed), ..Record::default() },
        Record { enforced_since: Some(now), ..Record::default() },
        Record { unenrolled_at: Some(now), ..Record::default() },
        Record { later: Later(b"\x58\x01".to_vec()), ..Record::default() },
    ]
}

/// Records of one thing each, which lapses.
fn each_passing_thing() -> [Record; 4] {
    let now = Timestamp::from_secs(9);
    let pending = Pending {
        secret: Sealed(vec![7]),
        parameters: Parameters::default(),
        session: Digest([1; 16]),
        ground: Method::Password,
        begun_at: now,
    };
    let failed = Counter::default().failed(now);
    let elevation = Elevation { session: Digest([1; 16]), method: Method::Asserted, at: now };
    [
        Record { pending: Some(pending), ..Record::default() },
        Record { second_factor_failures: failed, ..Record::default() },
        Record { password_failures: failed, ..Record::default() },
        Record { elevations: vec![elevation], ..Record::default() },
    ]
}

#[test]
fn the_oldest_of_33_elevations_goes() {
    let policy = Policy::default();
    let mut record = Record::default();
    let session = |n: u8| Digests(vec![Digest([n; 16])]);
    for n in 0..33 {
        let at = Timestamp::from_secs(1000 + u64::from(n));
        record.elevate(&session(n), Method::Totp, at);
    }
    let now = Timestamp::from_secs(1040);
    assert!(record.elevation(&session(0), &policy, now).is_none());
    assert!(record.elevation(&session(1), &policy, now).is_some());
    assert!(record.elevation(&session(32), &policy, now).is_some());
    assert_eq!(record.elevations.len(), MAX_ELEVATIONS);
}

#[test]
fn what_a_later_release_keeps_outlives_a_change_and_keeps_the_record() {
    let policy = Policy::default();
    let now = Timestamp::from_secs(1_000_000);
    // Number 11, a text; number 2047, a number; number 12, twice.
    let later = b"\x5a\x05later\xf8\x7f\x01\x60\x01\x60\x02";
    let mut before = Record { password: Some(Sealed(vec![1])), ..Record::default() }.encode();
    before.splice(0..0, later[..7].iter().copied());
    before.extend_from_slice(&later[7..]);

    let mut record = Record::decode(&before).expect("a record");
    assert!(record.later.is_some() && record.is_known());
    record.password = None;
    record.second_factor_failures = Counter::default().failed(now);
    let record = record.tidied(&policy, now);
    assert_eq!(record.expires_at(&policy), None);
    let after = record.encode();
    assert!(after.ends_with(later), "{after:?}");
    assert_eq!(Record::decode(&after), Ok(record));
}

#[test]
fn what_is_new_within_a_message_is_refused_rather_than_lost() {
    let message = |number: u8, content: &[u8]| {
        [&[number << 3 | 2, content.len() as u8][..], content].concat()
    };
    let new = b"\x40\x01";
    for number in [1, 2, 3, 5, 6, 7, 8] {
        assert_eq!(Record::decode(&message(number, new)), Err(NotARecord), "within {number}");
    }
    for number in [1, 2] {
        let parameters = message(2, b"\x08\x01\x10\x06\x18\x1e\x20\x01");
        assert_eq!(Record::decode(&message(number, &parameters)), Err(NotARecord));
    }
    for broken in [&b"\x5b"[..], b"\x5a\x05late", b"\x5d123", b"\x59", b"\x58", b"\xff"] {
        assert_eq!(Record::decode(broken), Err(NotARecord), "{broken:?}");
    }
}

#[test]
fn what_no_message_has_is_refused() {
    let nine = [0xff; 9];
    let longest = |last: u8| [&[0x48][..], &nine, &[last]].concat();
    assert_eq!(
        Record::decode(&longest(1)).map(|record| record.enforced_since),
        Ok(Some(Timestamp::MAX))
    );
    for (bytes, what) in [
        (&longest(2)[..], "a number of 65 bits"),
        (&[&longest(0x81)[..], &[0]].concat(), "a number of eleven bytes"),
        (b"\x00\x01", "a field without a number"),
        (b"\x80\x80\x80\x80\x10\x01", "a number of a field that there cannot be"),
        (b"\x0b\x0c", "a group"),
        (b"\x08\x01", "a number for a message"),
        (b"\x20\x01", "a number for bytes"),
        (b"\x4a\x01\x01", "bytes for a number"),
        (b"\x4d\x01\x00\x00\x00", "four bytes for a number"),
        (b"\x2a\x06\x08\x80\x80\x80\x80\x10", "more failures than are counted"),
    ] {
        assert_eq!(Record::decode(bytes), Err(NotARecord), "{what}");
    }
    let last = b"\xf8\xff\xff\xff\x0f\x01";
    assert_eq!(Record::decode(last).map(|record| record.later.0), Ok(last.to_vec()));
}

#[test]
fn a_message_lacks_nothing_that_it_must_have() {
    let whole =
        Record { second_factor_failures: Counter::default(), ..each_passing_thing()[0].clone() };
    let authenticator = each_lasting_thing()[0].clone();
    let elevation = each_passing_thing()[3].clone();
    let receipts = vec![Receipt {
        id: Digest([1; 16]),
        request: Digest([2; 16]),
        at: Timestamp::from_secs(9),
        kept: Kept::InvalidCode,
    }];
    let receipt = Record { receipts, ..Record::default() };
    // Each message, and the numbers of its fields that it cannot do without.
    for (record, needed) in [
        (authenticator, &[2][..]),
        (whole, &[2, 3, 4]),
        (elevation, &[1, 2]),
        (receipt, &[1, 2, 6]),
    ] {
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Ok(record));
        let message = &bytes[2..];
        let fields: Vec<_> = fields::Fields(message).map(|it| it.expect("a field")).collect();
        for missing in &fields {
            let rest = fields.iter().filter(|it| it.number != missing.number);
            let rest: Vec<u8> = rest.flat_map(|it| it.bytes.to_vec()).collect();
            let without = [&bytes[..1], &[rest.len() as u8], &rest].concat();
            let is_needed = needed.contains(&missing.number);
            assert_eq!(Record::decode(&without).is_err(), is_needed, "without {}", missing.number);
        }
    }
}

#[test]
fn what_an_answer_holds_is_kept_in_the_place_that_once_told_of_a_key_alone() {
    let receipt = |holds: &[u8]| {
        let ids = [&b"\x0a\x10"[..], &[1; 16], b"\x12\x10", &[2; 16]].concat();
        let content = [&ids[..], b"\x18\x07\x22\x01\x09", holds].concat();
        [&[8 << 3 | 2, content.len() as u8][..], &content].concat()
    };
    let table = [
        (&b""[..], Holds::Nothing),
        (b"\x28\x01", Holds::RecoveryKey),
        (b"\x28\x02", Holds::PendingSecret),
    ];
    for (bytes, holds) in table {
        let bytes = receipt(bytes);
        let record = Record::decode(&bytes).expect("a record");
        assert_eq!(record.receipts[0].holds(), holds);
        assert_eq!(record.encode(), bytes);
    }
    // Written out, which nobody has to do.
    let nothing = Record::decode(&receipt(b"\x28\x00")).expect("a record");
    assert_eq!(nothing.receipts[0].holds(), Holds::Nothing);
    assert_eq!(Record::decode(&receipt(b"\x28\x03")), Err(NotARecord));
}
