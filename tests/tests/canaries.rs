//! No secret leaves but in the one answer that is meant to hold it: not in the log at its most talkative,
//! not in an error, not in a probe, not in the store's file, not in a `Debug` text.

mod canary;

use canary::{Canaries, TOKEN, World};
use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;
use std::fmt::Debug;
use twinlock_core::enrollment::{Begun, Confirmed};
use twinlock_core::record::{Method, Sealed};
use twinlock_core::recovery::RecoveryKey;
use twinlock_core::second_factor::{Fresh, Issued, Opened, Presented, Proven};
use twinlock_core::totp::{Secret, TotpCode};
use twinlock_core::{Namespace, RequestId, SessionId, Timestamp, UserId};
use twinlock_engine::hash::{Password, PasswordHash};
use twinlock_engine::{Enrollment, NewPassword, Proof};
use twinlock_proto::{FILE_DESCRIPTOR_SET, v1};
use twinlock_tests::{Options, Server};

#[tokio::test(flavor = "multi_thread")]
async fn no_call_right_wrong_or_malformed_gives_a_secret_away() {
    let config = format!(
        "telemetry.log = \"trace\"\ntotp.digits = 8\nbackoff.tolerated_failures = 10\n\
         [[caller]]\nname = \"shop\"\ntoken_sha256 = \"{}\"\n",
        canary::sha256_hex(TOKEN)
    );
    let mut server = Server::start(Options::default().file(&config));
    let mut world = World::new(&server).await;
    add_keyring(&server, &mut world);
    world.enroll_and_log_in().await;
    world.use_passwords().await;
    world.be_malformed(&server).await;
    world.leave_traces_behind().await;
    for path in ["/readyz", "/livez", "/metrics", "/"] {
        world.seen.push((path.into(), server.probe(path).into_bytes()));
    }

    server.kill();
    let log = server.log();
    assert!(
        log.contains("ENROLLED") && log.contains("alice"),
        "the log is not at its most talkative"
    );
    world.seen.push(("the log".into(), log.into_bytes()));
    add_data(&server, &mut world);
    server = server.restart();
    assert!(server.stop().success());
    world.seen.push(("the second log".into(), server.log().into_bytes()));
    add_data(&server, &mut world);

    println!("{} canaries in {} places", world.canaries.len(), world.seen.len());
    assert!(world.canaries.len() > 100 && world.seen.len() > 50);
    for (place, bytes) in &world.seen {
        world.canaries.assert_absent(place, bytes);
    }
}

/// The key that seals, as it is written in its file and as it is used.
fn add_keyring(server: &Server, world: &mut World) {
    let file = server.directory().join("twinlock-data/keyring.toml");
    let text = std::fs::read_to_string(file).expect("a keyring");
    let key = text.lines().find_map(|line| line.strip_prefix("secret = "));
    let key = key.expect("a key").trim_matches('"');
    world.canaries.add("key of the keyring", key);
    let bytes = data_encoding::BASE64.decode(key.as_bytes()).expect("base64");
    world.canaries.add_raw("key of the keyring, decoded", &bytes);
}

/// The files of the store as they lie on the disk.
fn add_data(server: &Server, world: &mut World) {
    let file = server.directory().join("twinlock-data/twinlock.redb");
    let bytes = std::fs::read(&file).expect("the store's file");
    assert!(canary::contains(&bytes, b"alice"), "the file has no records");
    world.seen.push((file.display().to_string(), bytes));
}

#[test]
fn a_canary_is_found_in_every_form() {
    let mut canaries = Canaries::default();
    canaries.add_secret("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP");
    canaries.add("session", "a-very-secret-session");
    let raw = data_encoding::BASE32.decode(b"JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP").expect("base32");
    let hidden = [
        b"x JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP y".to_vec(),
        [b"..", &raw[..], b".."].concat(),
        data_encoding::HEXUPPER.encode(&raw).into_bytes(),
        format!("{raw:?}").into_bytes(),
        data_encoding::BASE64.encode(b"a-very-secret-session").into_bytes(),
        b"session=A-VERY-SECRET-SESSION".to_vec(),
    ];
    for bytes in hidden {
        assert!(canaries.found_in(&bytes).is_some(), "{:?}", String::from_utf8_lossy(&bytes));
    }
    assert!(canaries.found_in(b"nothing of that kind").is_none());
}

/// The texts of the API that may be printed. Whatever else is a text is taken for a secret.
const PRINTABLE: [&str; 15] = [
    "actor_id",
    "admin_user_id",
    "advice",
    "after_event_id",
    "caller",
    "event_id",
    "how",
    "ip_address",
    "key_id",
    "namespace",
    "reason",
    "type",
    "user_agent",
    "user_id",
    "why",
];

type Print = fn(&[u8]) -> String;

macro_rules! messages {
    ($($message:ident)*) => {
        BTreeMap::from([$((stringify!($message), print::<v1::$message> as Print),)*])
    };
}

#[test]
fn no_message_of_the_api_prints_a_secret() {
    let printers = messages! {
        EnrollRequest EnrollResponse ConfirmEnrollmentRequest ConfirmEnrollmentResponse
        UnenrollRequest UnenrollResponse DescribeUserRequest DescribeUserResponse Backoff
        EvaluateLoginRequest EvaluateLoginResponse VerifyRequest VerifyResponse ElevateRequest
        PasswordCredential AssertedCredential ElevateResponse Elevation CheckElevationRequest
        CheckElevationResponse DropElevationRequest DropElevationResponse
        RotateRecoveryKeyRequest RotateRecoveryKeyResponse AcknowledgeRecoveryKeyRequest
        AcknowledgeRecoveryKeyResponse SetPasswordRequest SetPasswordResponse
        ClearPasswordRequest ClearPasswordResponse ClientContext
        UnenrollUserRequest UnenrollUserResponse ClearBackoffRequest ClearBackoffResponse
        ImportEnrollmentRequest ImportEnrollmentResponse WatchEventsRequest WatchEventsResponse
        Event BackupRequest BackupResponse ResealRequest ResealResponse ExamineRequest
        ExamineResponse Finding EraseUserRequest EraseUserResponse ResetUserRequest
        ResetUserResponse ListKeysRequest ListKeysResponse KeyringKey
    };
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("descriptors").file;
    let messages: BTreeMap<String, DescriptorProto> = files
        .into_iter()
        .filter(|file| file.package() == "twinlock.v1")
        .flat_map(|file| file.message_type)
        .map(|message| (message.name().to_owned(), message))
        .collect();
    let mut secrets = 0;
    for (name, message) in &messages {
        let print = printers.get(name.as_str());
        let print = print.unwrap_or_else(|| panic!("the new message {name} is not tested here"));
        for (field, bytes) in encodings(message, &messages) {
            let printed = print(&bytes);
            assert!(!printed.contains("canary"), "{name}.{field}: {printed}");
            secrets += 1;
        }
    }
    assert!(secrets > 40, "{secrets} fields were tested");
}

/// For each field that leads to a secret, a message that holds a canary there and nothing else.
fn encodings(
    message: &DescriptorProto,
    messages: &BTreeMap<String, DescriptorProto>,
) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for field in &message.field {
        let inner = match field.r#type() {
            Type::String | Type::Bytes if !PRINTABLE.contains(&field.name()) => {
                vec![(String::new(), b"canary".to_vec())]
            }
            Type::Message => {
                let inner = field.type_name().strip_prefix(".twinlock.v1.");
                let inner = inner.and_then(|name| messages.get(name));
                inner.map(|inner| encodings(inner, messages)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        for (path, bytes) in inner {
            // A length-delimited field: its number and the wire type 2, the length, the bytes.
            let tag = u8::try_from(field.number() << 3 | 2).expect("a field below 16");
            let length = u8::try_from(bytes.len()).expect("a short message");
            all.push((format!("{}.{path}", field.name()), [&[tag, length], &bytes[..]].concat()));
        }
    }
    all
}

fn print<M: Message + Default + Debug>(bytes: &[u8]) -> String {
    let message = M::decode(bytes).expect("a message");
    format!("{message:?} {message:#?}")
}

#[test]
fn no_type_inside_prints_a_secret() {
    let mut canaries = Canaries::default();
    let text = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";
    let uri = format!("otpauth://totp/Twinlock:alice?secret={text}&issuer=Twinlock");
    let phc = "$argon2id$v=19$m=64,t=1,p=1$uY6x4AUydEs$yffQlH24z44z/hKo79ajGg";
    canaries.add_secret(text);
    canaries.add_key("7K3M9-QXW2P-4TRVB-8NHJC-5DYFG");
    canaries.add("session", "canary-session");
    canaries.add("request id", "canary-request-id");
    canaries.add("password", "canary-password");
    canaries.add("code", "37341600");
    canaries.add_phc(phc);

    let secret = || Secret::parse_base32(text).expect("a secret");
    let key = || RecoveryKey::parse("7K3M9-QXW2P-4TRVB-8NHJC-5DYFG").expect("a key");
    let hash = || key().hash(&Namespace::default(), &UserId::parse("alice").expect("a user"));
    canaries.add_raw("hash of the recovery key", hash().as_bytes());
    let code = || TotpCode::parse("37341600").expect("a code");
    let password = || Password::parse("canary-password".into()).expect("a password");
    let phc = || PasswordHash::parse(phc).expect("a hash");
    let session = SessionId::parse("canary-session").expect("a session");
    let request = RequestId::parse("canary-request-id").expect("an id");
    let at = Timestamp::from_secs(1_790_000_000);
    let issued = || Issued { key: key(), created_at: at };
    let proven =
        Proven { method: Method::RecoveryKey, at, issued: Some(issued()), elevation: None };
    let enrollment = Enrollment {
        secret: secret(),
        otpauth_uri: uri.clone().into(),
        qr_svg: uri.into(),
        expire_at: at,
    };
    let client = twinlock_client::Options {
        token: Some("canary-password".into()),
        ..twinlock_client::Options::default()
    };
    let values: [&dyn Debug; 21] = [
        &secret(),
        &code(),
        &key(),
        &hash(),
        &session,
        &request,
        &password(),
        &phc(),
        &Begun { secret: secret(), expire_at: at },
        &Confirmed { issued: issued(), enrolled_at: at },
        &proven,
        &Presented::Totp(code()),
        &Presented::RecoveryKey(hash(), Fresh { key: key(), hash: Sealed(vec![1]) }),
        &Opened::Secret(secret()),
        &Opened::RecoveryKey(Some(hash())),
        &Fresh { key: key(), hash: Sealed(vec![1]) },
        &enrollment,
        &[Proof::Totp(code()), Proof::RecoveryKey(key())],
        &Proof::Password(password(), Some(phc())),
        &[NewPassword::Plain(password()), NewPassword::Hash(phc())],
        &client,
    ];
    for value in values {
        for printed in [format!("{value:?}"), format!("{value:#?}")] {
            canaries.assert_absent(&printed, printed.as_bytes());
        }
    }
}
