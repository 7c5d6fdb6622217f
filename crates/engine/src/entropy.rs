//! The one source of random bytes: the operating system's generator, by way of aws-lc.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Fresh random bytes.
///
/// # Panics
/// Where the operating system's generator fails. Nothing can be decided safely without it, and the
/// panic ends only the call.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system's random generator works");
    bytes
}
