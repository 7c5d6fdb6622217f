//! A sample of each source: whoever is taken over signs in with the code that their app shows, and of all
//! others the report says why they were not.

use std::time::Duration;
use twinlock_core::totp::{Algorithm, Digits, Parameters, Period};
use twinlock_tests::Server;

use super::{Run, command, describe, sample, sign_in};

/// The secrets of RFC 6238 appendix B.
const SHA1: &[u8] = b"12345678901234567890";
const SHA256: &[u8] = b"12345678901234567890123456789012";
const SHA512: &[u8] = b"1234567890123456789012345678901234567890123456789012345678901234";

/// Somebody who is taken over, and what their app holds.
type Taken<'a> = (&'a str, &'a [u8], (Algorithm, u32, u64));

const USUAL: (Algorithm, u32, u64) = (Algorithm::Sha1, 6, 30);

struct Source<'a> {
    sample: &'a str,
    arguments: &'a [&'a str],
    taken: &'a [Taken<'a>],
    /// Lines of the report.
    told: &'a [&'a str],
    /// Those who must not be enrolled afterwards.
    not_taken: &'a [&'a str],
}

impl Source<'_> {
    async fn check(&self) {
        let server = Server::start_default();
        let file = sample(self.sample);
        let import = |extra: &[&str]| {
            let mut command = command(&server.address, &file);
            command.current_dir(sample("")).args(self.arguments).args(extra);
            Run::of(&mut command)
        };

        let dry = import(&["--dry-run", "--json"]);
        let skips = !self.told.is_empty();
        assert_eq!(dry.status, i32::from(skips), "{}{}", dry.output, dry.errors);
        assert_eq!(dry.count("would_be_imported"), self.taken.len() as u64, "{}", dry.output);
        let mut client = server.client().await;
        for (user, ..) in self.taken {
            assert!(!describe(&mut client, user).await.enrolled, "{user} after the dry run");
        }

        let run = import(&[]);
        assert_eq!(run.status, i32::from(skips), "{}{}", run.output, run.errors);
        let mut told: Vec<&str> = run.output.lines().collect();
        let summary = told.pop().expect("a summary");
        let imported = format!(": {} imported, 0 enrolled already, ", self.taken.len());
        assert!(summary.contains(&imported), "{summary}");
        assert_eq!(told, self.told, "{}", self.sample);

        let mut enrolled = Vec::new();
        for (user, secret, (algorithm, digits, period)) in self.taken {
            let parameters = Parameters {
                algorithm: *algorithm,
                digits: Digits::new(*digits).expect("digits"),
                period: Period::new(Duration::from_secs(*period)).expect("a period"),
            };
            sign_in(&server, user, secret, &parameters).await;
            enrolled.push(describe(&mut client, user).await.enroll_time);
            for run in [&dry, &run] {
                no_secret(&run.output, secret);
                no_secret(&run.errors, secret);
            }
        }
        for user in self.not_taken {
            assert!(!describe(&mut client, user).await.enrolled, "{user}");
        }

        let again = import(&["--json"]);
        assert_eq!(again.status, 1, "{}{}", again.output, again.errors);
        assert_eq!(again.count("already_enrolled"), self.taken.len() as u64, "{}", again.output);
        assert_eq!(again.count("imported") + again.count("failed"), 0, "{}", again.output);
        for ((user, ..), before) in self.taken.iter().zip(enrolled) {
            assert_eq!(describe(&mut client, user).await.enroll_time, before, "{user}");
        }
    }
}

fn no_secret(said: &str, secret: &[u8]) {
    let text = String::from_utf8_lossy(secret);
    let spellings = [
        data_encoding::BASE32_NOPAD.encode(secret),
        data_encoding::HEXLOWER.encode(secret),
        text.into_owned(),
    ];
    for spelling in spellings {
        assert!(!said.contains(&spelling), "{said}");
    }
    assert!(!said.contains("otpauth://"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn otpauth_lists() {
    for (name, lines) in [("otpauth.jsonl", [5, 6, 7]), ("otpauth.csv", [6, 7, 8])] {
        let [hotp, short, twice] = lines;
        let first = if name == "otpauth.csv" { 3 } else { 2 };
        Source {
            sample: name,
            arguments: &[],
            taken: &[
                ("alice", SHA1, USUAL),
                ("bob", SHA256, (Algorithm::Sha256, 8, 60)),
                ("carol", SHA512, (Algorithm::Sha512, 7, 15)),
                ("frank, the second", b"09876543210987654321", USUAL),
            ],
            told: &[
                &format!("entry 4 (line {hotp}), dave: skipped: codes by counter (HOTP) are not supported."),
                &format!(
                    "entry 5 (line {short}), erin: skipped: otpauth_uri must have a base32 secret of 80 to \
                     1024 bits."
                ),
                &format!(
                    "entry 6 (line {twice}), bob: skipped: the same user was in entry 2 (line {first}) \
                     already, and one has one authenticator."
                ),
            ],
            not_taken: &["dave", "erin"],
        }
        .check()
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_otpauth_uris_by_the_account_in_them() {
    Source {
        sample: "otpauth.txt",
        arguments: &["--user-from", "account"],
        taken: &[
            ("alice", SHA1, USUAL),
            ("bob", SHA256, (Algorithm::Sha256, 8, 60)),
            ("carol smith", SHA512, (Algorithm::Sha512, 7, 15)),
            ("frank", b"09876543210987654321", USUAL),
        ],
        told: &[
            "entry 4 (line 4): skipped: codes by counter (HOTP) are not supported.",
            "entry 5 (line 5): skipped: otpauth_uri must have a base32 secret of 80 to 1024 bits.",
            "entry 6 (line 6), bob: skipped: the same user was in entry 2 (line 2) already, and one has one \
             authenticator.",
        ],
        not_taken: &["dave", "erin"],
    }
    .check()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_authenticators_export() {
    Source {
        sample: "google-authenticator.txt",
        arguments: &[],
        taken: &[
            ("alice@example.com", SHA1, USUAL),
            ("bob@example.com", SHA256, (Algorithm::Sha256, 8, 30)),
            ("carol@example.com", SHA512, (Algorithm::Sha512, 6, 30)),
            ("frank: the second", b"09876543210987654321", USUAL),
        ],
        told: &[
            "entry 4 (line 2), dave@example.com: skipped: codes by counter (HOTP) are not supported.",
            "entry 5 (line 2), erin@example.com: skipped: algorithm must be SHA1, SHA256 or SHA512.",
        ],
        not_taken: &["dave@example.com", "erin@example.com"],
    }
    .check()
    .await;
}

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).expect("hexadecimal")
}

#[tokio::test(flavor = "multi_thread")]
async fn django_otp_by_key_and_by_user_name() {
    let bob = hex("c0ffee00c0ffee11c0ffee22c0ffee33c0ffee44");
    let erin = hex("ffeeddccbbaa99887766554433221100ffeeddcc");
    for (arguments, [a, b, c, d, e]) in [
        (&[][..], ["1", "2", "3", "4", "5"]),
        (&["--user-from", "username"][..], ["alice", "bob", "carol", "dave", "erin"]),
    ] {
        Source {
            sample: "django-otp.json",
            arguments,
            taken: &[
                (a, SHA1, USUAL),
                (b, &bob, (Algorithm::Sha1, 8, 60)),
                (e, &erin, (Algorithm::Sha1, 6, 15)),
            ],
            told: &[
                &format!(
                    "entry 1 (line 2), {a}: imported; its clock was 60 s behind there, which may be too far \
                     off for its codes here."
                ),
                &format!(
                    "entry 3 (line 42), {b}: skipped: the same user was in entry 2 (line 22) already, and \
                     one has one authenticator."
                ),
                &format!("entry 4 (line 62), {c}: skipped: its set-up was never finished."),
                &format!("entry 5 (line 82), {d}: skipped: its steps do not count from 1970 (t0)."),
                &format!("entry 7 (line 122), {e}: skipped: codes by counter (HOTP) are not supported."),
            ],
            not_taken: &[c, d],
        }
        .check()
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keycloaks_realm_export() {
    let id = |number: u8| format!("00000000-0000-4000-8000-00000000000{number}");
    let ids = [1, 2, 3, 4, 5, 6].map(id);
    let [alice, bob, carol, dave, erin, frank] = ids.each_ref().map(String::as_str);
    Source {
        sample: "keycloak.json",
        arguments: &[],
        taken: &[
            (alice, b"kDs3JzNWBJtSn2Ah7xPq", USUAL),
            (bob, SHA256, (Algorithm::Sha256, 8, 60)),
            (carol, &[&b"0123456789".repeat(6)[..], b"abcd"].concat(), (Algorithm::Sha512, 6, 30)),
            (erin, b"jR8vQ2mLxY5tB9cW3nZk", USUAL),
            (
                "f:00000000-0000-4000-8000-0000000000aa:grace",
                b"wT5zK8rC2yX4hN6qJ1dS",
                (Algorithm::Sha1, 8, 30),
            ),
        ],
        told: &[
            &format!("entry 4 (line 107), {dave}: skipped: codes by counter (HOTP) are not supported."),
            &format!(
                "entry 6 (line 139), {erin}: skipped: the same user was in entry 5 (line 131) already, and \
                 one has one authenticator."
            ),
        ],
        not_taken: &[dave, frank],
    }
    .check()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vaults_answers() {
    Source {
        sample: "vault.json",
        arguments: &[],
        taken: &[
            ("alice@example.com", SHA1, USUAL),
            ("bob@example.com", SHA256, (Algorithm::Sha256, 8, 60)),
            ("carol@example.com", SHA512, (Algorithm::Sha512, 6, 30)),
        ],
        told: &["entry 4 (line 34): skipped: Vault did not tell the secret; it does so only in the answer to \
                 the creation of a key."],
        not_taken: &[],
    }
    .check()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kratos_identities() {
    let bob = [&b"k".repeat(10)[..], SHA1].concat();
    for (arguments, [a, b, d]) in [
        (
            &["--user-from", "email"][..],
            ["alice@example.com", "bob@example.com", "dave@example.com"],
        ),
        (
            &[][..],
            [
                "00000000-0000-4000-8000-000000000001",
                "00000000-0000-4000-8000-000000000002",
                "00000000-0000-4000-8000-000000000004",
            ],
        ),
    ] {
        Source {
            sample: "kratos.json",
            arguments,
            taken: &[(a, SHA1, USUAL), (b, &bob, USUAL)],
            told: &[&format!(
                "entry 3 (line 110), {d}: skipped: Kratos did not tell the secret; ask with \
                 include_credential=totp."
            )],
            not_taken: &[d],
        }
        .check()
        .await;
    }
}

const DISABLED: &[u8] = &[
    0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x00,
    0xff, 0xee, 0xdd, 0xcc,
];

#[tokio::test(flavor = "multi_thread")]
async fn privacyideas_own_export() {
    let frank = hex("c0ffee00c0ffee11c0ffee22c0ffee33c0ffee44");
    for (arguments, suffix) in [(&[][..], ""), (&["--user-from", "owner"][..], "@example")] {
        let [alice, bob, carol, dave, erin, frank_] =
            ["alice", "bob", "carol", "dave", "erin", "frank"]
                .map(|name| format!("{name}{suffix}"));
        let arguments = [&["--key-file", "privacyidea.pi.key"], arguments].concat();
        let nameless = if suffix.is_empty() { "login" } else { "owner" };
        Source {
            sample: "privacyidea.pi",
            arguments: &arguments,
            taken: &[
                (&alice, SHA1, USUAL),
                (&bob, SHA256, (Algorithm::Sha256, 8, 60)),
                (&carol, SHA512, (Algorithm::Sha512, 8, 30)),
                (&frank_, &frank, USUAL),
            ],
            told: &[
                &format!("entry 4, {dave}: skipped: codes by counter (HOTP) are not supported."),
                &format!("entry 5, {erin}: skipped: it is disabled or revoked."),
                &format!(
                    "entry 6, TOTP0006: skipped: it names no {nameless}; --user-from takes another name (it \
                     has serial)."
                ),
                &format!(
                    "entry 7, {frank_}: imported; its clock was 90 s ahead there, which may be too far off \
                     for its codes here."
                ),
            ],
            not_taken: &[&dave, &erin],
        }
        .check()
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn privacyideas_pskc_by_a_mapping_of_serials() {
    let frank = hex("c0ffee00c0ffee11c0ffee22c0ffee33c0ffee44");
    Source {
        sample: "privacyidea.xml",
        arguments: &[
            "--key-file",
            "privacyidea.xml.key",
            "--users",
            "privacyidea-users.csv",
            "--user-from",
            "serial",
        ],
        taken: &[
            ("alice", SHA1, USUAL),
            ("bob", SHA256, (Algorithm::Sha256, 8, 60)),
            ("carol", SHA512, (Algorithm::Sha512, 8, 30)),
            // The file does not say that it was disabled.
            ("erin", DISABLED, USUAL),
            ("frank", &frank, USUAL),
        ],
        told: &[
            "entry 1 (line 12), frank: imported; its clock was 90 s ahead there, which may be too far off \
             for its codes here.",
            "entry 2 (line 47), TOTP0006: skipped: the file of users does not know this name.",
            "entry 4 (line 117), dave: skipped: codes by counter (HOTP) are not supported.",
        ],
        not_taken: &["dave"],
    }
    .check()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn privacyideas_list_of_sha1_tokens() {
    // Bob's and Carol's are none, but the list does not say so: that is why the hash must be said.
    let frank = hex("c0ffee00c0ffee11c0ffee22c0ffee33c0ffee44");
    Source {
        sample: "privacyidea.csv",
        arguments: &["--algorithm", "sha1"],
        taken: &[
            ("alice", SHA1, USUAL),
            ("bob", SHA256, (Algorithm::Sha1, 8, 60)),
            ("carol", SHA512, (Algorithm::Sha1, 8, 30)),
            ("erin", DISABLED, USUAL),
            ("frank", &frank, USUAL),
        ],
        told: &[
            "entry 4 (line 4), dave: skipped: codes by counter (HOTP) are not supported.",
            "entry 6 (line 6), TOTP0006: skipped: it names no login; --user-from takes another name (it has \
             serial).",
        ],
        not_taken: &["dave"],
    }
    .check()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn supertokens_table() {
    let ids = [1, 2, 3, 4].map(|number| format!("{number}0000000-aaaa-4000-8000-000000000000"));
    let [alice, bob, carol, dave] = ids.each_ref().map(String::as_str);
    for (name, line) in [("supertokens.csv", 1), ("supertokens.json", 0)] {
        Source {
            sample: name,
            arguments: &[],
            taken: &[
                (alice, SHA1, USUAL),
                (bob, b"09876543210987654321", (Algorithm::Sha1, 6, 60)),
                (dave, b"yyyyyyyyyyyyyyyyyyyy", (Algorithm::Sha1, 6, 15)),
            ],
            told: &[
                &format!(
                    "entry 3 (line {}), {bob}: skipped: the same user was in entry 2 (line {}) already, and \
                     one has one authenticator.",
                    line + 3,
                    line + 2
                ),
                &format!("entry 4 (line {}), {carol}: skipped: its set-up was never finished.", line + 4),
            ],
            not_taken: &[carol],
        }
        .check()
        .await;
    }
}
