//! Recovery keys: what a user who has lost the authenticator gets in with, once.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{Malformed, Namespace, UserId};

/// Crockford's base32 (<https://www.crockford.com/base32.html>): no I, L, O, which are read as digits,
/// and no U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUPS: usize = 5;
const SYMBOLS: usize = 25;

/// A recovery key: 125 random bits, shown as five groups of five characters such as
/// "7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1B".
///
/// With more than 112 bits it is a look-up secret that NIST SP 800-63B lets be stored under a fast hash.
/// It is wiped from memory when dropped, and never shown by `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryKey {
    /// The lower 125 bits; the first symbol is the highest five.
    bits: u128,
}

impl RecoveryKey {
    /// The most bytes of typed text that are looked at.
    pub const MAX_BYTES: usize = 128;

    /// A new key, out of bytes from a cryptographic random number generator; three bits are not used.
    pub fn generate(random: [u8; 16]) -> Self {
        let random = Zeroizing::new(random);
        Self { bits: u128::from_be_bytes(*random) & ((1 << 125) - 1) }
    }

    /// Parses what a user typed.
    ///
    /// Case does not matter, ASCII spaces and hyphens may be anywhere, and I and L are read as 1, O as 0.
    /// Anything that does not have exactly 25 characters of the alphabet then, U among them, is refused,
    /// and so is more than [`Self::MAX_BYTES`].
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = Malformed {
            field: "recovery_key",
            problem: "must have 25 letters and digits, in five groups of five",
        };
        if text.len() > Self::MAX_BYTES {
            return Err(malformed);
        }
        let mut key = Self { bits: 0 };
        let mut count = 0;
        for typed in text.bytes().filter(|byte| !matches!(byte, b' ' | b'-')) {
            let symbol = match typed.to_ascii_uppercase() {
                b'I' | b'L' => b'1',
                b'O' => b'0',
                other => other,
            };
            let Some(value) = ALPHABET.iter().position(|known| *known == symbol) else {
                return Err(malformed);
            };
            key.bits = (key.bits << 5) + value as u128;
            count += 1;
        }
        if count == SYMBOLS { Ok(key) } else { Err(malformed) }
    }

    /// The key as it is shown to its user, once; never to be logged.
    pub fn expose(&self) -> Zeroizing<String> {
        let symbols = self.symbols();
        let mut text = Zeroizing::new(String::with_capacity(SYMBOLS + GROUPS - 1));
        for group in symbols.chunks(SYMBOLS / GROUPS) {
            if !text.is_empty() {
                text.push('-');
            }
            text.extend(group.iter().copied().map(char::from));
        }
        text
    }

    /// What is stored of it: SHA-256 over namespace, user and key, so that it is worth nothing to another
    /// user, nor to one of the same name in another namespace.
    pub fn hash(&self, namespace: &Namespace, user: &UserId) -> RecoveryKeyHash {
        let symbols = self.symbols();
        let mut hash = Sha256::new_with_prefix(b"twinlock recovery key 1");
        for part in [namespace.as_str().as_bytes(), user.as_str().as_bytes(), &*symbols] {
            // Without the lengths, ("a", "bc") and ("ab", "c") would have one hash.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        RecoveryKeyHash(hash.finalize().into())
    }

    fn symbols(&self) -> Zeroizing<[u8; SYMBOLS]> {
        let mut symbols = Zeroizing::new([0; SYMBOLS]);
        let mut bits = Zeroizing::new(self.bits);
        for symbol in symbols.iter_mut().rev() {
            *symbol = ALPHABET[(*bits & 31) as usize];
            *bits >>= 5;
        }
        symbols
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey(redacted)")
    }
}

/// The SHA-256 of a recovery key, bound to its user: 32 bytes, to be stored sealed like a secret.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryKeyHash([u8; 32]);

impl RecoveryKeyHash {
    /// Takes the bytes of a stored one.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be sealed and stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are of the same key and user, compared in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for RecoveryKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKeyHash(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const SHOWN: &str = "7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1B";

    fn hash(key: &RecoveryKey, namespace: &str, user: &str) -> RecoveryKeyHash {
        key.hash(&Namespace::parse(namespace).unwrap(), &UserId::parse(user).unwrap())
    }

    #[test]
    fn it_is_shown_in_five_groups_of_five() {
        let key =
            RecoveryKey::generate(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef_u128.to_be_bytes());
        assert_eq!(*key.expose(), "14D2P-F2DBS-QQG28-T5CY4-TQKFF");
        let most = RecoveryKey::generate([0xff; 16]);
        assert_eq!(*most.expose(), "ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ");
        let least = RecoveryKey::generate([0; 16]);
        assert_eq!(*least.expose(), "00000-00000-00000-00000-00000");
    }

    /// Each five bits choose a symbol of their own at one place, so uniform bits make uniform symbols.
    #[test]
    fn every_symbol_stands_for_one_value_at_every_place() {
        for place in 0..SYMBOLS {
            for (value, symbol) in ALPHABET.iter().enumerate() {
                let bits = (value as u128) << (5 * (SYMBOLS - 1 - place));
                let text = RecoveryKey::generate(bits.to_be_bytes()).expose().replace('-', "");
                let mut expected = [b'0'; SYMBOLS];
                expected[place] = *symbol;
                assert_eq!(text.as_bytes(), expected);
            }
        }
    }

    #[rstest]
    #[case::lower_case("7k3qf-0zv9m-t2wxa-4hj6c-d8r1b")]
    #[case::joined("7K3QF0ZV9MT2WXA4HJ6CD8R1B")]
    #[case::spaces(" 7K3QF 0ZV9M  T2WXA 4HJ6C D8R1B ")]
    #[case::hyphens_anywhere("-7-K3QF0-ZV9MT2-WXA4HJ--6CD8R1B-")]
    #[case::letter_o("7K3QF-OZV9M-T2WXA-4HJ6C-D8RIB")]
    #[case::letter_l("7k3qf-ozv9m-t2wxa-4hj6c-d8rlb")]
    fn what_is_typed_differently_is_the_same_key(#[case] typed: &str) {
        assert_eq!(*RecoveryKey::parse(typed).unwrap().expose(), SHOWN);
    }

    #[rstest]
    #[case::empty("")]
    #[case::hyphens("----")]
    #[case::short("7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1")]
    #[case::long("7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1BB")]
    #[case::letter_u("7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1U")]
    #[case::check_symbol("7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1*")]
    #[case::line_end("7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1B\n")]
    #[case::tabulator("7K3QF\t0ZV9M-T2WXA-4HJ6C-D8R1B")]
    #[case::no_break_space("7K3QF\u{a0}0ZV9M-T2WXA-4HJ6C-D8R1B")]
    #[case::dash("7K3QF–0ZV9M-T2WXA-4HJ6C-D8R1B")]
    #[case::full_width("７K3QF-0ZV9M-T2WXA-4HJ6C-D8R1B")]
    #[case::dotless_i("7K3QF-0ZV9M-T2WXA-4HJ6C-D8Rı")]
    #[case::kelvin_sign("7\u{212a}3QF-0ZV9M-T2WXA-4HJ6C-D8R1B")]
    #[case::code("123456")]
    fn what_is_no_key_is_refused(#[case] typed: &str) {
        assert_eq!(RecoveryKey::parse(typed).unwrap_err().field, "recovery_key");
    }

    #[test]
    fn over_long_text_is_refused() {
        let padded = |length: usize| format!("{SHOWN}{}", " ".repeat(length - SHOWN.len()));
        assert!(RecoveryKey::parse(&padded(128)).is_ok());
        assert!(RecoveryKey::parse(&padded(129)).is_err());
        assert!(RecoveryKey::parse(&"0".repeat(10_000_000)).is_err());
    }

    /// Stored hashes must stay good: this one was computed by Python's `hashlib`.
    #[test]
    fn the_hash_never_changes() {
        let key = RecoveryKey::parse(SHOWN).unwrap();
        let hash = hash(&key, "default", "alice");
        let expected = "d5cc0aafb11dd6026b3f055f7db920cdcbc57fe2db192a3488c266d84159b166";
        assert_eq!(data_encoding::HEXLOWER.encode(hash.as_bytes()), expected);
    }

    #[test]
    fn the_parts_of_the_hash_do_not_run_together() {
        let key = RecoveryKey::parse(SHOWN).unwrap();
        assert!(!hash(&key, "a", "bc").matches(&hash(&key, "ab", "c")));
        assert!(!hash(&key, "a", "b").matches(&hash(&key, "b", "a")));
    }

    #[test]
    fn a_hash_that_differs_in_any_bit_does_not_match() {
        let bytes = [0x5a; 32];
        let hash = RecoveryKeyHash::from_bytes(bytes);
        assert!(hash.matches(&RecoveryKeyHash::from_bytes(bytes)));
        for bit in 0..256 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!hash.matches(&RecoveryKeyHash::from_bytes(other)), "bit {bit}");
        }
    }

    #[test]
    fn keys_and_hashes_are_redacted() {
        let key = RecoveryKey::parse(SHOWN).unwrap();
        let shown = format!("{key:?} {:?}", hash(&key, "default", "alice"));
        assert_eq!(shown, "RecoveryKey(redacted) RecoveryKeyHash(redacted)");
    }

    fn typed(key: &str, noise: &[(bool, u8)]) -> String {
        let mut text = String::new();
        for (character, (lower, gap)) in key.chars().filter(|c| *c != '-').zip(noise) {
            let character = match (character, gap % 4) {
                ('1', 1) => 'I',
                ('1', 2) => 'L',
                ('0', 1) => 'O',
                (other, _) => other,
            };
            text.push(if *lower { character.to_ascii_lowercase() } else { character });
            text.push_str(["", " ", "-", " - "][usize::from(gap / 4 % 4)]);
        }
        text
    }

    proptest! {
        #[test]
        fn keys_round_trip_however_they_are_typed(
            random in any::<[u8; 16]>(),
            noise in prop::collection::vec(any::<(bool, u8)>(), SYMBOLS),
        ) {
            let key = RecoveryKey::generate(random);
            let shown = key.expose();
            for text in [shown.to_string(), typed(&shown, &noise)] {
                let parsed = RecoveryKey::parse(&text).unwrap();
                prop_assert_eq!(&*parsed.expose(), &*shown);
                prop_assert!(hash(&parsed, "n", "u").matches(&hash(&key, "n", "u")));
            }
        }

        #[test]
        fn the_three_highest_bits_are_not_used(random in any::<[u8; 16]>(), top in 0_u8..8) {
            let mut other = random;
            other[0] = other[0] & 0x1f | top << 5;
            let (key, other) = (RecoveryKey::generate(random), RecoveryKey::generate(other));
            prop_assert_eq!(&*key.expose(), &*other.expose());
        }

        #[test]
        fn a_hash_belongs_to_one_user_of_one_namespace(
            keys in any::<[[u8; 16]; 2]>(),
            namespaces in ["[ab]{1,3}", "[ab]{1,3}"],
            users in ["[ab]{1,3}", "[ab]{1,3}"],
        ) {
            let [one, two] = keys.map(RecoveryKey::generate);
            let same = one.bits == two.bits && namespaces[0] == namespaces[1] && users[0] == users[1];
            let hashes = [hash(&one, &namespaces[0], &users[0]), hash(&two, &namespaces[1], &users[1])];
            prop_assert_eq!(hashes[0].matches(&hashes[1]), same);
            let moved = hash(&one, &namespaces[1], &users[1]);
            let stays = namespaces[0] == namespaces[1] && users[0] == users[1];
            prop_assert_eq!(hashes[0].matches(&moved), stays);
        }

        #[test]
        fn no_text_makes_it_panic(text in prop_oneof![any::<String>(), "[0-9A-Za-z -]{20,40}"]) {
            let symbols = text.bytes().filter(|byte| !b" -".contains(byte));
            let all_known = symbols.clone().all(|byte| byte.is_ascii_alphanumeric() && !b"uU".contains(&byte));
            let expected = text.len() <= 128 && all_known && symbols.count() == SYMBOLS;
            prop_assert_eq!(RecoveryKey::parse(&text).is_ok(), expected);
        }
    }
}
