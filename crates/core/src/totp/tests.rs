use std::cell::RefCell;

use proptest::prelude::*;
use rstest::rstest;
use sha1::Digest;

use super::*;

const RFC4226: &str = include_str!("../../vectors/rfc4226-appendix-d.txt");
const RFC6238: &str = include_str!("../../vectors/rfc6238-appendix-b.txt");

fn rows(file: &str) -> Vec<Vec<&str>> {
    let rows = file.lines().filter(|line| !line.starts_with('#'));
    rows.map(|line| line.split(' ').collect()).collect()
}

fn rfc_secret(length: usize) -> Secret {
    let bytes: Vec<u8> = b"1234567890".iter().copied().cycle().take(length).collect();
    Secret::from_bytes(&bytes).unwrap()
}

#[test]
fn rfc_4226_appendix_d() {
    let rows = rows(RFC4226);
    assert_eq!(rows.len(), 10);
    let secret = rfc_secret(20);
    for row in rows {
        let [counter, _, truncated, code] = row[..] else { panic!("{row:?}") };
        let counter = counter.parse().unwrap();
        let truncated: u32 = truncated.parse().unwrap();
        let value = |digits| hotp(&secret, Algorithm::Sha1, digits, counter);
        assert_eq!(value(Digits::Six), code.parse().unwrap());
        assert_eq!(value(Digits::Seven), truncated % 10_000_000);
        assert_eq!(value(Digits::Eight), truncated % 100_000_000);
        let generated = generate(&secret, &Parameters::default(), Step(counter));
        assert_eq!(*generated.expose(), code);
    }
}

#[test]
fn rfc_6238_appendix_b() {
    let rows = rows(RFC6238);
    assert_eq!(rows.len(), 18);
    for row in rows {
        let [secs, step, code, algorithm] = row[..] else { panic!("{row:?}") };
        let now = Timestamp::from_secs(secs.parse().unwrap());
        let step = Step(u64::from_str_radix(step, 16).unwrap());
        let algorithm = Algorithm::parse(algorithm).unwrap();
        let secret = rfc_secret(match algorithm {
            Algorithm::Sha1 => 20,
            Algorithm::Sha256 => 32,
            Algorithm::Sha512 => 64,
        });
        let parameters = Parameters { algorithm, digits: Digits::Eight, ..Parameters::default() };
        assert_eq!(parameters.period.step(now), step);
        assert_eq!(*generate(&secret, &parameters, step).expose(), code);
        let code = TotpCode::parse(code).unwrap();
        let window = Window::default();
        assert_eq!(matched_step(&secret, &parameters, window, now, &code), Some(step));
    }
}

/// HMAC as RFC 2104 section 2 writes it, and the truncation of RFC 4226 section 5.3 by its own words.
fn reference_code(secret: &[u8], parameters: &Parameters, step: u64) -> String {
    fn hmac<D: Digest>(block: usize, key: &[u8], message: &[u8]) -> Vec<u8> {
        let mut key = if key.len() > block { D::digest(key).to_vec() } else { key.to_vec() };
        key.resize(block, 0);
        let padded = |pad: u8| key.iter().map(|byte| byte ^ pad).collect::<Vec<_>>();
        let inner = D::digest([padded(0x36), message.to_vec()].concat()).to_vec();
        D::digest([padded(0x5c), inner].concat()).to_vec()
    }
    let message = step.to_be_bytes();
    let hash = match parameters.algorithm {
        Algorithm::Sha1 => hmac::<Sha1>(64, secret, &message),
        Algorithm::Sha256 => hmac::<Sha256>(64, secret, &message),
        Algorithm::Sha512 => hmac::<Sha512>(128, secret, &message),
    };
    let offset = usize::from(hash[hash.len() - 1] % 16);
    let number = hash[offset..offset + 4].iter().fold(0_u64, |n, byte| n * 256 + u64::from(*byte));
    let text = format!("{:010}", number % (1 << 31));
    text[10 - parameters.digits.count()..].to_owned()
}

fn any_parameters() -> impl Strategy<Value = Parameters> {
    let algorithm =
        prop::sample::select(vec![Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512]);
    (algorithm, 6_u32..=8, 1_u64..=86_400).prop_map(|(algorithm, digits, secs)| Parameters {
        algorithm,
        digits: Digits::new(digits).unwrap(),
        period: Period::new(Duration::from_secs(secs)).unwrap(),
    })
}

/// Times of today, and those at both ends.
fn any_time() -> impl Strategy<Value = Timestamp> {
    let millis = prop_oneof![any::<u64>(), 0..1_000_000_u64, u64::MAX - 1_000_000..=u64::MAX];
    millis.prop_map(Timestamp::from_millis)
}

proptest! {
    #[test]
    fn the_match_is_the_latest_step_of_the_window_with_that_code(
        bytes in prop::collection::vec(any::<u8>(), 10..=128),
        parameters in any_parameters(),
        now in any_time(),
        window in 0_u32..=2,
        distance in -4_i64..=4,
    ) {
        let secret = Secret::from_bytes(&bytes).unwrap();
        let Step(current) = parameters.period.step(now);
        let presented = current.saturating_add_signed(distance);
        let text = reference_code(&bytes, &parameters, presented);
        prop_assert_eq!(&*generate(&secret, &parameters, Step(presented)).expose(), &text);

        let width = u64::from(window);
        let expected = (current.saturating_sub(width)..=current.saturating_add(width))
            .rev()
            .find(|step| reference_code(&bytes, &parameters, *step) == text);
        let code = TotpCode::parse(&text).unwrap();
        let window = Window::new(window).unwrap();
        let matched = matched_step(&secret, &parameters, window, now, &code);
        prop_assert_eq!(matched, expected.map(Step));
    }

    #[test]
    fn steps_and_the_wait_for_the_next_agree(parameters in any_parameters(), now in any_time()) {
        let period = parameters.period;
        let wait = period.until_next_step(now);
        prop_assert!(Duration::ZERO < wait && wait.as_secs() <= u64::from(period.as_secs()));
        if let Some(next) = now.as_millis().checked_add(wait.as_millis() as u64) {
            let Step(step) = period.step(now);
            prop_assert_eq!(period.step(Timestamp::from_millis(next)), Step(step + 1));
            prop_assert_eq!(period.step(Timestamp::from_millis(next - 1)), Step(step));
        }
    }

    #[test]
    fn base32_round_trips(bytes in prop::collection::vec(any::<u8>(), 10..=128)) {
        let secret = Secret::from_bytes(&bytes).unwrap();
        let text = secret.to_base32();
        prop_assert!(Secret::parse_base32(&text).unwrap() == secret);
        prop_assert!(Secret::parse_base32(&text.to_lowercase()).unwrap() == secret);
        let padded = data_encoding::BASE32.encode(&bytes);
        prop_assert!(Secret::parse_base32(&padded).unwrap() == secret);
    }

    #[test]
    fn a_code_is_6_to_8_ascii_digits(
        text in prop_oneof![any::<String>(), "[0-9]{4,10}", "[0-9]{5}\\PC[0-9]?", "\\d{6}"],
    ) {
        let ascii_digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let expected = ascii_digits && (6..=8).contains(&text.len());
        prop_assert_eq!(TotpCode::parse(&text).is_ok(), expected);
    }

    #[test]
    fn base32_is_parsed_or_refused_but_never_panics(
        text in prop_oneof![any::<String>(), "[A-Za-z2-7]{0,210}={0,8}"],
    ) {
        if let Ok(secret) = Secret::parse_base32(&text) {
            let symbols = text.trim_end_matches('=').to_uppercase();
            let kept = secret.expose().len() * 8 / 5;
            prop_assert_eq!(&secret.to_base32()[..kept], &symbols[..kept]);
        }
    }
}

#[rstest]
#[case::at_zero(0)]
#[case::just_after(1)]
fn steps_before_zero_do_not_exist(#[case] current: u64) {
    let wrapped = |counter| u32::from(counter > u64::MAX / 2);
    assert_eq!(search(Step(current), Window(2), 1, wrapped), None);
    assert_eq!(search(Step(current), Window(2), 0, wrapped), Some(Step(current + 2)));
}

#[rstest]
#[case::at_the_end(u64::MAX)]
#[case::just_before(u64::MAX - 1)]
fn steps_after_the_last_do_not_exist(#[case] current: u64) {
    let wrapped = |counter| u32::from(counter < u64::MAX / 2);
    assert_eq!(search(Step(current), Window(2), 1, wrapped), None);
    assert_eq!(search(Step(current), Window(2), 0, wrapped), Some(Step(u64::MAX)));
}

#[rstest]
fn every_candidate_is_computed_whatever_matches(
    #[values(0, 1, 2)] width: u8,
    #[values(0, 1, 2, 1000, u64::MAX - 1, u64::MAX)] current: u64,
) {
    let all: Vec<u64> = (0..=2 * u64::from(width))
        .map(|offset| current.wrapping_add(offset).wrapping_sub(u64::from(width)))
        .collect();
    for right in all.iter().copied().map(Some).chain([None]) {
        let computed = RefCell::new(Vec::new());
        search(Step(current), Window(width), 1, |counter| {
            computed.borrow_mut().push(counter);
            u32::from(Some(counter) == right)
        });
        assert_eq!(computed.into_inner(), all, "right: {right:?}");
    }
}

#[rstest]
#[case(0, 10)]
#[case(1, 11)]
#[case(2, 12)]
fn of_two_matches_the_later_wins(#[case] width: u8, #[case] latest: u64) {
    assert_eq!(search(Step(10), Window(width), 7, |_| 7), Some(Step(latest)));
}

#[test]
fn a_code_of_another_length_never_matches() {
    let secret = rfc_secret(20);
    let mut parameters = Parameters::default();
    let value = (0..).find(|step| hotp(&secret, Algorithm::Sha1, Digits::Seven, *step) < 1_000_000);
    let step = Step(value.unwrap());
    let now = Timestamp::from_secs(step.0 * 30);
    let code = generate(&secret, &parameters, step);
    parameters.digits = Digits::Seven;
    assert_eq!(matched_step(&secret, &parameters, Window(0), now, &code), None);
    let code = TotpCode::parse(&format!("0{}", *code.expose())).unwrap();
    assert_eq!(matched_step(&secret, &parameters, Window(0), now, &code), Some(step));
}

#[rstest]
#[case::empty("")]
#[case::short("12345")]
#[case::long("123456789")]
#[case::trailing_letter("12345x")]
#[case::trailing_blank("123456 ")]
#[case::leading_blank(" 123456")]
#[case::inner_blank("123 456")]
#[case::line_end("123456\n")]
#[case::plus("+123456")]
#[case::minus("-12345")]
#[case::point("1234.5")]
#[case::exponent("1234e5")]
#[case::nul("12345\0")]
#[case::full_width("１２３４５６")]
#[case::two_full_width("１２")]
#[case::arabic_indic("١٢٣")]
#[case::superscript("12345²")]
#[case::recovery_key("7K3QF-00000-00000-00000-00000")]
fn what_is_no_code_is_refused(#[case] text: &str) {
    let malformed = TotpCode::parse(text).unwrap_err();
    assert_eq!(malformed.field, "totp_code");
}

#[rstest]
#[case("000000", Digits::Six)]
#[case("0123456", Digits::Seven)]
#[case("99999999", Digits::Eight)]
fn codes_keep_their_length(#[case] text: &str, #[case] digits: Digits) {
    let code = TotpCode::parse(text).unwrap();
    assert_eq!(code.digits(), digits);
    assert_eq!(*code.expose(), text);
}

#[test]
fn secrets_have_10_to_128_bytes() {
    for (length, allowed) in [(0, false), (9, false), (10, true), (128, true), (129, false)] {
        let bytes = vec![7; length];
        assert_eq!(Secret::from_bytes(&bytes).is_ok(), allowed, "{length}");
        let text = data_encoding::BASE32.encode(&bytes);
        assert_eq!(Secret::parse_base32(&text).is_ok(), allowed, "{length}");
    }
    assert_eq!(Secret::generate([7; 20]).expose(), [7; 20]);
}

#[rstest]
#[case::digit_one("GEZDGNBVGY3TQOJ1")]
#[case::blank("GEZD GNBV GY3T QOJQ")]
#[case::hyphen("GEZDGNBV-GY3TQOJQ")]
#[case::padding_within("GEZDGNBV=GY3TQOJQ")]
#[case::too_much_padding("GEZDGNBVGY3TQOJQ=======")]
#[case::impossible_length("GEZDGNBVGY3TQOJQA")]
#[case::not_ascii("GEZDGNBVGY3TQOÉQ")]
#[case::long("A".repeat(1000))]
fn what_is_not_base32_is_refused(#[case] text: impl AsRef<str>) {
    assert_eq!(Secret::parse_base32(text.as_ref()).unwrap_err().field, "secret");
}

#[test]
fn left_over_bits_of_base32_are_dropped() {
    let secret = Secret::parse_base32("GEZDGNBVGY3TQOJQGF").unwrap();
    assert_eq!(secret.expose(), b"12345678901");
    let secret = Secret::parse_base32("GEZDGNBVGY3TQOJQGE").unwrap();
    assert_eq!(secret.expose(), b"12345678901");
}

#[test]
fn parameters_keep_to_their_ranges() {
    for (count, allowed) in [(0, false), (5, false), (6, true), (7, true), (8, true), (9, false)] {
        assert_eq!(Digits::new(count).is_ok(), allowed, "{count}");
    }
    for (steps, allowed) in [(0, true), (2, true), (3, false), (256, false), (u32::MAX, false)] {
        assert_eq!(Window::new(steps).is_ok(), allowed, "{steps}");
    }
    for (millis, allowed) in [
        (0, false),
        (999, false),
        (1000, true),
        (1500, false),
        (86_400_000, true),
        (86_401_000, false),
        (u64::MAX, false),
    ] {
        assert_eq!(Period::new(Duration::from_millis(millis)).is_ok(), allowed, "{millis}");
    }
    assert_eq!(Algorithm::parse("sha512"), Ok(Algorithm::Sha512));
    assert!(Algorithm::parse("MD5").is_err());
}

#[test]
fn the_defaults_are_what_every_app_supports() {
    let Parameters { algorithm, digits, period } = Parameters::default();
    assert_eq!((algorithm.name(), digits.count(), period.as_secs()), ("SHA1", 6, 30));
    assert_eq!(Window::default().steps(), 1);
}

#[test]
fn secrets_are_the_same_only_where_every_bit_is() {
    let bytes = [0x5a; 20];
    assert_eq!(Secret::generate(bytes), Secret::from_bytes(&bytes).unwrap());
    for bit in 0..160 {
        let mut other = bytes;
        other[bit / 8] ^= 1 << (bit % 8);
        assert_ne!(Secret::generate(bytes), Secret::generate(other), "bit {bit}");
    }
    assert_ne!(Secret::generate(bytes), Secret::from_bytes(&[0x5a; 21]).unwrap());
}

#[test]
fn secrets_and_codes_are_redacted() {
    let secret = rfc_secret(20);
    let code = TotpCode::parse("123456").unwrap();
    assert_eq!(format!("{secret:?} {code:?}"), "Secret(redacted) TotpCode(redacted)");
}
