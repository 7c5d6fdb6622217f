use proptest::prelude::*;
use rstest::rstest;

use super::*;

const BASE: &str = "otpauth://totp/Acme:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

fn secret() -> Secret {
    Secret::from_bytes(b"12345678901234567890").unwrap()
}

fn built(issuer: &str, account: &str) -> String {
    let issuer = Issuer::parse(issuer).unwrap();
    let account = AccountName::parse(account).unwrap();
    build(&issuer, &account, &secret(), &Parameters::default()).to_string()
}

fn names(uri: &str) -> (Option<String>, Option<String>) {
    let OtpauthUri { issuer, account_name, .. } = OtpauthUri::parse(uri).unwrap();
    (issuer.map(|name| name.to_string()), account_name.map(|name| name.to_string()))
}

#[test]
fn the_uri_names_everything() {
    assert_eq!(
        built("ACME Co", "john.doe@example.com"),
        "otpauth://totp/ACME%20Co:john.doe%40example.com\
         ?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=ACME%20Co\
         &algorithm=SHA1&digits=6&period=30",
    );
}

#[rstest]
#[case("Acme", "svc:alice", "Acme", "svc:alice")]
#[case("Acme", ":", "Acme", ":")]
#[case("Acme", "a:b:c", "Acme", "a:b:c")]
#[case("Acme: EU", "alice", "Acme- EU", "alice")]
#[case(":", "svc:alice", "-", "svc:alice")]
#[case("A+B & C?", "a/b#c=d%3A+é", "A+B & C?", "a/b#c=d%3A+é")]
fn names_reach_the_app(
    #[case] issuer: &str,
    #[case] account: &str,
    #[case] shown_issuer: &str,
    #[case] shown_account: &str,
) {
    let uri = built(issuer, account);
    assert_eq!(names(&uri), (Some(shown_issuer.into()), Some(shown_account.into())));
    assert!(!uri.contains('+'));
    assert_eq!(uri.matches(':').count(), 2);

    // Most apps decode the label first, and then split it at the first colon.
    let label = uri.strip_prefix("otpauth://totp/").unwrap().split('?').next().unwrap();
    let label = decode(label).unwrap();
    assert_eq!(label.split_once(':'), Some((shown_issuer, shown_account)));
}

#[rstest]
#[case::literal_colon("totp/Acme:alice?", Some("Acme"), Some("alice"))]
#[case::encoded_colon("totp/Acme%3aalice?", Some("Acme"), Some("alice"))]
#[case::spaces("totp/Acme%3A%20%20alice?", Some("Acme"), Some("alice"))]
#[case::no_prefix("totp/alice?issuer=Acme&", Some("Acme"), Some("alice"))]
#[case::no_issuer("totp/alice?", None, Some("alice"))]
#[case::empty_issuer("totp/alice?issuer=&", None, Some("alice"))]
#[case::nobody("totp/?", None, None)]
#[case::no_label("totp?", None, None)]
#[case::issuer_alone("totp/Acme:?", Some("Acme"), None)]
#[case::colons("totp/A%3AB%3Aalice?issuer=A%3AB&", Some("A:B"), Some("alice"))]
#[case::literal_first("totp/A%3AB:alice?", Some("A:B"), Some("alice"))]
#[case::other_issuer("totp/Old:alice?issuer=New&", Some("New"), Some("alice"))]
#[case::upper_case("TOTP/Acme:alice?ISSUER=Acme&", Some("Acme"), Some("alice"))]
#[case::plus("totp/a+b?", None, Some("a+b"))]
#[case::not_encoded("totp/100%:é?", Some("100%"), Some("é"))]
#[case::fragment("totp/Acme:alice?issuer=Acme&x=#issuer=Mallory?&", Some("Acme"), Some("alice"))]
fn labels_of_other_systems(
    #[case] uri: &str,
    #[case] issuer: Option<&str>,
    #[case] account: Option<&str>,
) {
    let secret = "secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&";
    let uri = format!("otpauth://{}", uri.replacen('?', &format!("?{secret}"), 1));
    assert_eq!(names(&uri), (issuer.map(Into::into), account.map(Into::into)));
}

#[test]
fn other_spellings_are_accepted() {
    let uri = "OtpAuth://Totp/a?Secret=gezdgnbvgy3tqojqgezdgnbvgy3tqojq%3D=&algorithm=sha256\
               &digits=8&period=60&image=https://acme.example/%FF.png&image=&&counter=1&lock";
    let OtpauthUri { secret: parsed, parameters, .. } = OtpauthUri::parse(uri).unwrap();
    assert_eq!(parsed, secret());
    assert_eq!(parameters.algorithm, Algorithm::Sha256);
    assert_eq!(parameters.digits, Digits::Eight);
    assert_eq!(parameters.period.as_secs(), 60);
    assert_eq!(OtpauthUri::parse(BASE).unwrap().parameters, Parameters::default());
}

#[rstest]
#[case::empty("")]
#[case::other_scheme("https://totp/a?secret=GEZDGNBVGY3TQOJQ")]
#[case::half_a_scheme("otpauth:/")]
#[case::split_character("otpauth:/é")]
#[case::hotp("otpauth://hotp/a?secret=GEZDGNBVGY3TQOJQ&counter=1")]
#[case::migration("otpauth-migration://offline?data=GEZDGNBVGY3TQOJQ")]
#[case::no_type("otpauth:///a?secret=GEZDGNBVGY3TQOJQ")]
#[case::port("otpauth://totp:80/a?secret=GEZDGNBVGY3TQOJQ")]
#[case::no_secret("otpauth://totp/a?digits=6")]
#[case::no_query("otpauth://totp/a")]
#[case::secret_in_fragment("otpauth://totp/a#?secret=GEZDGNBVGY3TQOJQ")]
#[case::empty_secret("otpauth://totp/a?secret=")]
#[case::secret_of_75_bits("otpauth://totp/a?secret=GEZDGNBVGY3TQOJ")]
#[case::not_base32("otpauth://totp/a?secret=GEZDGNBVGY3TQOJ1")]
#[case::blanks("otpauth://totp/a?secret=GEZD+GNBV+GY3T+QOJQ")]
#[case::not_utf_8("otpauth://totp/%FF?secret=GEZDGNBVGY3TQOJQ")]
#[case::control("otpauth://totp/a%0Ab?secret=GEZDGNBVGY3TQOJQ")]
fn other_things_are_refused(#[case] uri: &str) {
    assert_eq!(OtpauthUri::parse(uri).unwrap_err().field, "otpauth_uri");
}

#[rstest]
#[case::secret("secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")]
#[case::capital_secret("SECRET=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")]
#[case::encoded_secret("%73ecret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")]
#[case::two_issuers("issuer=A&issuer=A")]
#[case::two_digits("digits=6&digits=6")]
#[case::two_periods("period=30&period")]
#[case::two_algorithms("algorithm=SHA1&algorithm=SHA1")]
#[case::md5("algorithm=MD5")]
#[case::no_algorithm("algorithm=")]
#[case::no_digits("digits=")]
#[case::zero_digits("digits=0")]
#[case::five_digits("digits=5")]
#[case::nine_digits("digits=9")]
#[case::signed_digits("digits=%2B6")]
#[case::many_digits("digits=4294967302")]
#[case::full_width_digits("digits=６")]
#[case::zero_period("period=0")]
#[case::negative_period("period=-30")]
#[case::fractional_period("period=30.5")]
#[case::long_period("period=86401")]
#[case::overflowing_period("period=18446744073709551646")]
fn other_parameters_are_refused(#[case] parameter: &str) {
    let malformed = OtpauthUri::parse(&format!("{BASE}&{parameter}")).unwrap_err();
    assert_eq!(malformed.field, "otpauth_uri");
}

#[test]
fn over_long_ones_are_refused() {
    let of_length = |length| format!("{BASE}&x={}", "x".repeat(length - BASE.len() - 3));
    assert!(OtpauthUri::parse(&of_length(4096)).is_ok());
    assert!(OtpauthUri::parse(&of_length(4097)).is_err());
    let long = format!("otpauth://totp/{}?secret=GEZDGNBVGY3TQOJQ", "a".repeat(256));
    assert!(OtpauthUri::parse(&long).is_err());
    assert!(OtpauthUri::parse(&format!("{BASE}&issuer={}", "a".repeat(128))).is_ok());
    assert!(OtpauthUri::parse(&format!("{BASE}&issuer={}", "a".repeat(129))).is_err());
}

#[test]
fn the_secret_is_redacted() {
    let parsed = format!("{:?}", OtpauthUri::parse(BASE).unwrap());
    assert!(parsed.contains("alice") && parsed.contains("Secret(redacted)"), "{parsed}");
}

fn any_name() -> impl Strategy<Value = String> {
    let name = prop_oneof!["[^\\pC]{1,32}", "[a-z:%+ /?&=#]{1,60}"];
    name.prop_map(|name| name.trim_start().to_owned()).prop_filter("empty", |name| !name.is_empty())
}

proptest! {
    #[test]
    fn what_is_built_is_parsed(
        issuer in any_name(),
        account in any_name(),
        bytes in prop::collection::vec(any::<u8>(), 10..=128),
        algorithm in prop::sample::select(vec!["SHA1", "SHA256", "SHA512"]),
        digits in 6_u32..=8,
        secs in 1_u64..=86_400,
    ) {
        let expected = OtpauthUri {
            issuer: Issuer::parse(&issuer.replace(':', "-")).ok(),
            account_name: AccountName::parse(&account).ok(),
            secret: Secret::from_bytes(&bytes).unwrap(),
            parameters: Parameters {
                algorithm: Algorithm::parse(algorithm).unwrap(),
                digits: Digits::new(digits).unwrap(),
                period: Period::new(Duration::from_secs(secs)).unwrap(),
            },
        };
        let issuer = Issuer::parse(&issuer).unwrap();
        let account = expected.account_name.as_ref().unwrap();
        let uri = build(&issuer, account, &expected.secret, &expected.parameters);
        prop_assert!(uri.bytes().all(|byte| byte.is_ascii_graphic()));
        prop_assert!(uri.len() <= 1809);
        prop_assert_eq!(OtpauthUri::parse(&uri).unwrap(), expected);
    }

    #[test]
    fn hostile_text_neither_panics_nor_comes_back(
        text in prop_oneof![
            any::<String>(),
            "(?i)otpauth://totp/\\PC{0,40}\\?(secret=[A-Z2-7=%]{0,40}|[a-z]{1,9}=\\PC{0,9}|&){0,6}",
        ],
    ) {
        match OtpauthUri::parse(&text) {
            Ok(parsed) => prop_assert!(parsed.secret.expose().len() >= 10),
            Err(malformed) => prop_assert_eq!(malformed.field, "otpauth_uri"),
        }
    }
}
