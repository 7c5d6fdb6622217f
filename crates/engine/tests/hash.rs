//! Password hashes of other implementations, those that must be refused, and Twinlock's own.

use proptest::prelude::*;
use std::time::Duration;
use tokio::time::Instant;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::hash::{Argon2Parameters, Hasher, Password, PasswordHash, Permit};

const VECTORS: &str = include_str!("../vectors/password-hashes.txt");

/// Source, password, hash.
fn vectors() -> impl Iterator<Item = [&'static str; 3]> {
    VECTORS.lines().filter(|line| !line.starts_with('#')).map(|line| {
        line.split('\t').collect::<Vec<_>>().try_into().expect("a vector has three fields")
    })
}

fn hasher() -> Hasher {
    Hasher::new(Argon2Parameters::default(), 2).unwrap()
}

async fn turn(hasher: &Hasher) -> Permit {
    hasher.permit(Deadline::after(Duration::from_secs(60))).await.unwrap()
}

async fn is_right(hasher: &Hasher, password: &str, hash: &str) -> bool {
    let password = Password::parse(password.into()).unwrap();
    let hash = PasswordHash::parse(hash).unwrap();
    turn(hasher).await.verify(password, hash).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_of_other_implementations_know_their_passwords() {
    let hasher = hasher();
    let mut seen = 0;
    for [source, password, hash] in vectors() {
        assert!(is_right(&hasher, password, hash).await, "{source}: {hash}");
        let wrong = format!("!{password}");
        assert!(!is_right(&hasher, &wrong, hash).await, "{source}: {hash}");
        seen += 1;
    }
    assert!(seen >= 40, "{seen} vectors");
}

#[tokio::test]
async fn every_part_of_a_digest_counts() {
    let hasher = hasher();
    for [source, password, hash] in vectors() {
        // Those that cost much would only make the test slow, and read the same.
        if ["=65536,", "=102400,", "$1000000$", "$12$", "$16384$"]
            .iter()
            .any(|dear| hash.contains(dear))
        {
            continue;
        }
        // The last but one character of base64 has no bits beyond the digest's end.
        let text = hash.trim_end_matches('=');
        for position in [text.len() - 20, text.len() - 2] {
            let other = if text.as_bytes()[position] == b'A' { "B" } else { "A" };
            let mut changed = hash.to_owned();
            changed.replace_range(position..=position, other);
            assert!(!is_right(&hasher, password, &changed).await, "{source}: {changed}");
        }
    }
}

#[tokio::test]
async fn own_hashes_are_argon2id_under_fresh_salts() {
    let hasher = hasher();
    let password = || Password::parse("correct horse".into()).unwrap();
    let first = turn(&hasher).await.hash(password()).await.unwrap();
    let second = turn(&hasher).await.hash(password()).await.unwrap();
    assert!(first.expose_text().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert_ne!(first.expose_text(), second.expose_text());
    assert!(is_right(&hasher, "correct horse", first.expose_text()).await);
    assert!(!is_right(&hasher, "correct horses", first.expose_text()).await);
    assert!(turn(&hasher).await.verify(password(), first).await.unwrap());
}

#[tokio::test]
async fn bcrypt_reads_72_bytes_and_does_not_stop_at_a_nul() {
    let hasher = hasher();
    // Of "long-" twenty times, and of "a".
    let long = "$2b$05$WAOQtPkTDq872eUsipyqvOe3x9Gp551mhQ4mPgNOEtPCu0tP38dOq";
    let short = "$2b$05$q0ytJTxKRsoJEUhxQ536.eJhaD77G25hAMJulBW6dStIraWRpqhGG";
    let password = "long-".repeat(20);
    assert!(is_right(&hasher, &password[..72], long).await);
    assert!(!is_right(&hasher, &password[..71], long).await);
    assert!(is_right(&hasher, "a", short).await);
    assert!(!is_right(&hasher, "a\0b", short).await);
    // The four stray bits in the salt's last character say nothing.
    let stray = short.replace("Q536.eJ", "Q536.fJ");
    assert_ne!(stray, short);
    assert!(is_right(&hasher, "a", &stray).await);
}

const SALT: &str = "c2FsdHNhbHRzYWx0c2FsdA";
const DIGEST: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const PADDED: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn assert_refused(hashes: &[String], problem: &str) {
    for hash in hashes {
        let began = Instant::now();
        let malformed = PasswordHash::parse(hash).expect_err(hash);
        assert!(began.elapsed() < Duration::from_millis(50), "{hash}");
        assert_eq!(malformed.field, "password_hash");
        assert!(malformed.problem.contains(problem), "{hash}: {}", malformed.problem);
    }
}

#[test]
fn dearer_hashes_than_the_limits_are_refused_without_computing_them() {
    let phc = |function: &str, costs: &str| format!("${function}${costs}${SALT}${DIGEST}");
    let mut hashes = Vec::new();
    for costs in [
        "m=262145,t=1,p=1",
        "m=262144,t=5,p=1",
        "m=4294967295,t=1,p=1",
        "m=8,t=1025,p=1",
        "m=8,t=4294967295,p=1",
        "m=4294967295,t=4294967295,p=16777215",
        "m=1024,t=1,p=65",
        "m=1024,t=1,p=4294967295",
        "m=99999999999999999999,t=1,p=1",
    ] {
        hashes.push(phc("argon2id$v=19", costs));
        hashes.push(phc("argon2i", costs));
        hashes.push(format!("argon2{}", phc("argon2id$v=19", costs)));
    }
    for costs in [
        "ln=19,r=8,p=1",
        "ln=18,r=8,p=1",
        "ln=17,r=8,p=5",
        "ln=63,r=1,p=1",
        "ln=64,r=1,p=1",
        "ln=4294967295,r=1,p=1",
        "ln=1,r=4294967295,p=4294967295",
        "ln=1,r=1,p=4294967295",
        "ln=1,r=8,p=1048576",
    ] {
        hashes.push(phc("scrypt", costs));
    }
    hashes.push(format!("scrypt$2147483648$saltsalt$8$1${PADDED}"));
    hashes.push(format!("scrypt$16384$saltsalt$8$4294967295${PADDED}"));
    for iterations in ["5000001", "4294967295", "99999999999999999999"] {
        hashes.push(phc("pbkdf2-sha256", iterations));
        hashes.push(phc("pbkdf2-sha256", &format!("i={iterations},l=32")));
        hashes.push(format!("pbkdf2_sha256${iterations}$saltsalt${PADDED}"));
    }
    // 32 bytes are two blocks of SHA-1.
    hashes.push(phc("pbkdf2-sha1", "i=2500001,l=32"));
    for cost in 16..100 {
        hashes.push(format!("$2b${cost}${}", ".".repeat(53)));
    }
    hashes.push(format!("bcrypt_sha256$$2b$31${}", ".".repeat(53)));
    assert_refused(&hashes, "memory or time");
}

#[test]
fn hashes_at_the_limits_are_accepted() {
    for hash in [
        format!("$argon2id$v=19$m=262144,t=4,p=64${SALT}${DIGEST}"),
        format!("$argon2i$m=1024,t=1024,p=1${SALT}${DIGEST}"),
        format!("$scrypt$ln=17,r=8,p=4${SALT}${DIGEST}"),
        format!("$pbkdf2-sha256$i=5000000,l=32${SALT}${DIGEST}"),
        format!("$pbkdf2-sha256$i=5000000${SALT}${DIGEST}"),
        format!("$pbkdf2-sha1$i=2500000,l=32${SALT}${DIGEST}"),
        format!("$2b$15${}", ".".repeat(53)),
    ] {
        assert!(PasswordHash::parse(&hash).is_ok(), "{hash}");
    }
}

#[test]
fn broken_and_unknown_hashes_are_refused() {
    let argon2 = |start: &str| format!("{start}${SALT}${DIGEST}");
    let bcrypt = |start: &str, length: usize| format!("{start}{}", ".".repeat(length));
    let hashes = [
        String::new(),
        "$".into(),
        "$$$$".into(),
        "correct horse".into(),
        "5f4dcc3b5aa765d61d8327deb882cf99".into(),
        format!("md5$saltsalt${PADDED}"),
        argon2("$argon2d$v=19$m=64,t=1,p=1"),
        argon2("argon2$argon2d$v=19$m=64,t=1,p=1"),
        argon2("$argon2$v=19$m=64,t=1,p=1"),
        argon2("$Argon2id$v=19$m=64,t=1,p=1"),
        argon2("$argon2id$v=18$m=64,t=1,p=1"),
        argon2("$argon2id$v=19,$m=64,t=1,p=1"),
        argon2("$argon2id$v=19$m=7,t=1,p=1"),
        argon2("$argon2id$v=19$m=15,t=1,p=2"),
        argon2("$argon2id$v=19$m=64,t=0,p=1"),
        argon2("$argon2id$v=19$m=64,t=1,p=0"),
        argon2("$argon2id$v=19$m=64,t=1"),
        argon2("$argon2id$v=19$t=1,m=64,p=1"),
        argon2("$argon2id$v=19$m=64,t=1,p=1,p=1"),
        argon2("$argon2id$v=19$m=64,t=1,p=1,keyid=AAAA"),
        argon2("$argon2id$v=19$m=+64,t=1,p=1"),
        argon2("$argon2id$v=19$m=064,t=1,p=1"),
        argon2("$argon2id$v=19$m=-64,t=1,p=1"),
        argon2("$argon2id$v=19$m=64,t=1,p="),
        argon2("$argon2id$v=19$m=٦٤,t=1,p=1"),
        argon2(" $argon2id$v=19$m=64,t=1,p=1"),
        argon2("$argon2id$v=19$m=64,t=1,p=1") + "\n",
        argon2("$argon2id$v=19$m=64,t=1,p=1") + "=",
        argon2("$argon2id$v=19$m=64,t=1,p=1") + "$",
        format!("$argon2id$v=19$m=64,t=1,p=1${SALT}"),
        argon2("$scrypt$ln=0,r=8,p=1"),
        argon2("$scrypt$ln=10,r=0,p=1"),
        argon2("$scrypt$ln=10,r=8,p=0"),
        argon2("$scrypt$n=1024,r=8,p=1"),
        format!("scrypt$1000$saltsalt$8$1${PADDED}"),
        format!("scrypt$0$saltsalt$8$1${PADDED}"),
        format!("scrypt$1$saltsalt$8$1${PADDED}"),
        format!("scrypt$1024$saltsalt$8$1${DIGEST}"),
        argon2("$pbkdf2-sha256$i=0,l=32"),
        argon2("$pbkdf2-sha256$0"),
        argon2("$pbkdf2-sha256$i=1000,l=31"),
        argon2("$pbkdf2-sha256$l=32,i=1000"),
        argon2("$pbkdf2-md5$i=1000,l=32"),
        format!("pbkdf2_sha256$1000$saltsalt${DIGEST}"),
        format!("pbkdf2_sha512$1000$saltsalt${PADDED}"),
        bcrypt("$2b$05$", 52),
        bcrypt("$2b$05$", 54),
        bcrypt("$2b$5$", 53),
        bcrypt("$2b$+5$", 53),
        bcrypt("$2b$03$", 53),
        bcrypt("$2b$00$", 53),
        bcrypt("$2x$05$", 53),
        bcrypt("$2$05$", 53),
        bcrypt("bcrypt$2b$05$", 53),
        bcrypt("bcrypt_sha512$$2b$05$", 53),
        format!("$2b$05${}é{}", ".".repeat(21), ".".repeat(30)),
        format!("$2b$05${}={}", ".".repeat(21), ".".repeat(31)),
    ];
    assert_refused(&hashes, "must be an Argon2id");
}

#[test]
fn salts_and_digests_of_unsafe_lengths_are_refused() {
    // 8 bytes, 15 bytes and 66 bytes.
    let (eight, fifteen, long) = ("AAAAAAAAAAA", "A".repeat(20), "A".repeat(88));
    for (salt, digest, problem) in [
        (SALT, "", "digest"),
        (SALT, eight, "digest"),
        (SALT, &fifteen, "digest"),
        (SALT, &long, "digest"),
        ("", DIGEST, "salt"),
        ("AAAA", DIGEST, "salt"),
        (&long, DIGEST, "salt"),
    ] {
        let hashes = [
            format!("$argon2id$v=19$m=64,t=1,p=1${salt}${digest}"),
            format!("$scrypt$ln=4,r=8,p=1${salt}${digest}"),
            format!("$pbkdf2-sha256$i=1000${salt}${digest}"),
            format!("$pbkdf2-sha256$1000${salt}${digest}"),
        ];
        assert_refused(&hashes, problem);
    }
    assert_refused(&["pbkdf2_sha256$1000$saltsalt$".into()], "digest");
    assert_refused(&["scrypt$1024$saltsalt$8$1$".into()], "digest");
    assert_refused(&[format!("pbkdf2_sha256$1000$saltsalt$ {PADDED}")], "must be");
    assert_refused(&[format!("pbkdf2_sha256$1000$${PADDED}")], "salt");
    assert_refused(&["A".repeat(PasswordHash::MAX_BYTES + 1)], "1024 bytes");
}

#[test]
fn refusals_and_debug_output_quote_nothing() {
    let refused = PasswordHash::parse("$argon2id$canary").unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("canary"));
    let text = format!("$argon2id$v=19$m=64,t=1,p=1${SALT}${DIGEST}");
    let accepted = format!("{:?}", PasswordHash::parse(&text));
    assert!(!accepted.contains(SALT) && !accepted.contains("AAAA"), "{accepted}");
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "\\PC{0,200}") {
        let _ = PasswordHash::parse(&text);
    }

    #[test]
    fn parsing_what_looks_like_a_hash_never_panics(
        start in prop::sample::select(vec![
            "$argon2id$v=19$", "$argon2i$", "argon2$argon2id$v=19$", "$scrypt$", "scrypt$",
            "$pbkdf2-sha256$", "$pbkdf2$", "pbkdf2_sha1$", "$2b$05$", "bcrypt$$2a$", "bcrypt_sha256$$2y$",
        ]),
        rest in "([a-z]{0,2}=?[0-9]{0,12}[,$]?){0,4}\\$?[A-Za-z0-9+/.=é]{0,40}\\$?[A-Za-z0-9+/.=]{0,90}",
    ) {
        let _ = PasswordHash::parse(&format!("{start}{rest}"));
    }

    #[test]
    fn parsing_a_changed_hash_never_panics(
        index in any::<prop::sample::Index>(),
        position in any::<prop::sample::Index>(),
        replacement in any::<char>(),
    ) {
        let all: Vec<_> = vectors().collect();
        let [_, _, hash] = index.get(&all);
        let mut characters: Vec<char> = hash.chars().collect();
        *position.get_mut(&mut characters) = replacement;
        if let Ok(accepted) = PasswordHash::parse(&characters.iter().collect::<String>()) {
            prop_assert!(accepted.expose_text().len() <= PasswordHash::MAX_BYTES);
        }
    }
}
