//! A code checked in this process, in turns with the least that the libraries below the core can do.

use crate::people;
use crate::table::{self, spread};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use std::hint::black_box;
use tokio::time::Instant;
use twinlock_core::totp::{Parameters, Secret, TotpCode, Window, matched_step};

const ROUNDS: usize = 31;
const CHECKS: usize = 20_000;
/// How many times the floor's time is allowed.
const FACTOR: f64 = 1.2;

/// Measures a wrong code, of which all of the window has to be looked at, and prints it.
pub fn local() -> anyhow::Result<()> {
    let users: Vec<(String, String)> = (0..256)
        .map(|user| (people::secret(user).to_base32().to_string(), people::wrong_code(user)))
        .collect();
    let (now, parameters, window) = (people::now(), Parameters::default(), Window::default());
    let current = parameters.period.step(now).0;
    let core = |secret: &str, code: &str| -> bool {
        let Ok(secret) = Secret::parse_base32(secret) else { return false };
        let Ok(code) = TotpCode::parse(code) else { return false };
        matched_step(&secret, &parameters, window, now, &code).is_some()
    };
    let floor = |secret: &str, code: &str| -> bool {
        let Ok(secret) = data_encoding::BASE32_NOPAD.decode(secret.as_bytes()) else {
            return false;
        };
        let Ok(wanted) = code.parse::<u32>() else { return false };
        let Ok(keyed) = Hmac::<Sha1>::new_from_slice(&secret) else { return false };
        // Not in constant time: it stops where it finds one.
        (current - 1..=current + 1).any(|step| {
            let mut mac = keyed.clone();
            mac.update(&step.to_be_bytes());
            let hash = mac.finalize().into_bytes();
            let at = usize::from(hash[19] & 0xf);
            let bytes = [hash[at] & 0x7f, hash[at + 1], hash[at + 2], hash[at + 3]];
            u32::from_be_bytes(bytes) % 1_000_000 == wanted
        })
    };
    let (mut of_core, mut of_floor) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        of_core.push(nanos(&users, core));
        of_floor.push(nanos(&users, floor));
    }
    let ratios: Vec<f64> =
        of_core.iter().zip(&of_floor).map(|(core, floor)| core / floor).collect();
    let within = if table::median(&ratios) <= FACTOR { "yes" } else { "no" };
    println!("\nA wrong code checked in this process, without a server:\n");
    println!("| core ns | `hmac` and `sha1` ns | ratio | at most | within |");
    println!("|---|---|---|---|---|");
    println!(
        "| {} | {} | {} | {FACTOR:.2} | {within} |",
        spread(&of_core, 0),
        spread(&of_floor, 0),
        spread(&ratios, 2),
    );
    Ok(())
}

/// How long one check takes.
fn nanos(users: &[(String, String)], check: impl Fn(&str, &str) -> bool) -> f64 {
    let begun = Instant::now();
    for (secret, code) in users.iter().cycle().take(CHECKS) {
        black_box(check(black_box(secret), black_box(code)));
    }
    begun.elapsed().as_secs_f64() * 1e9 / CHECKS as f64
}
