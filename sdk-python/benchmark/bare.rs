//! What the Python benchmark is compared with: the same work without Python.
//!
//! `bare hmac` prints how many nanoseconds a wrong code takes, all three steps of it, with the secret parsed.
//! `bare calls ADDRESS COUNT` prints how many microseconds of processor time a call takes in this process.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;
use tokio::time::Instant;
use twinlock_client::proto::DescribeUserRequest;
use twinlock_client::{Client, Options};
use twinlock_core::Timestamp;
use twinlock_core::totp::{Parameters, Secret, TotpCode, Window, generate, matched_step};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["hmac"] => println!("{:.1}", hmac()),
        ["calls", address, count] => match count.parse() {
            Ok(count) => println!("{:.2}", calls(address, count)),
            Err(_) => return ExitCode::from(2),
        },
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

/// The best of some rounds: the rest is what else the machine does.
fn hmac() -> f64 {
    const ROUNDS: u32 = 20;
    const TIMES: u32 = 20_000;
    let secret = Secret::generate([7; 20]);
    let parameters = Parameters::default();
    let now = Timestamp::from_secs(1_700_000_000);
    let step = parameters.period.step(now);
    let code = generate(&secret, &parameters, twinlock_core::totp::Step(step.0 + 1000));
    let code = TotpCode::parse(&code.expose()).unwrap_or(code);
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        for _ in 0..TIMES {
            black_box(matched_step(
                black_box(&secret),
                &parameters,
                Window::default(),
                black_box(now),
                &code,
            ));
        }
        began.elapsed().as_nanos() as f64 / f64::from(TIMES)
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn calls(address: &str, count: u32) -> f64 {
    // As in the package: one thread drives the connection, and the caller waits on its own.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let Ok(runtime) = runtime else { return f64::NAN };
    runtime.block_on(async {
        let options = Options { address: address.into(), ..Options::default() };
        let Ok(client) = Client::connect_lazy(&options) else { return f64::NAN };
        let ask = || client.describe_user(DescribeUserRequest { user_id: "nobody".into() });
        for _ in 0..1000 {
            if ask().await.is_err() {
                return f64::NAN;
            }
        }
        let before = processor_time();
        for _ in 0..count {
            if ask().await.is_err() {
                return f64::NAN;
            }
        }
        let used = processor_time().saturating_sub(before);
        used.as_secs_f64() * 1e6 / f64::from(count)
    })
}

/// What this process has used so far, to ten milliseconds.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold anything; after it come the fields from the third on.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks = fields.split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}
