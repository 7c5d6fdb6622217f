//! What teams write themselves, in turns with Twinlock over Redis: `benches/peers`.

use crate::field::{Callers, Field, OVER_REDIS, OVER_REDIS_AS_JSON};
use crate::people::{self, People};
use crate::table::{self, Measured};
use crate::work::Work;
use anyhow::Result;
use std::process::Command;
use std::time::Duration;

/// A server that does what Verify does, in a few lines.
pub struct Peer {
    /// Its name in tables.
    pub name: &'static str,
    /// What starts it, but for its port, from where `benches/run` installs it.
    pub command: fn() -> Command,
    /// How many times Twinlock's CPU it is to cost at least, Redis's counted in.
    at_least: f64,
}

const PEERS: [Peer; 2] = [
    Peer { name: "Express, Redis", command: express, at_least: 12.0 },
    Peer { name: "FastAPI, Redis", command: fastapi, at_least: 18.0 },
];
const WORKS: [(Work, &str); 2] =
    [(Work::Verify, "Verify, right code"), (Work::Refused, "Verify, wrong code")];

const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_millis(500);
/// Long enough for some thousand calls.
const TURN_OF_PEERS: Duration = Duration::from_secs(2);
/// A user verifies once a step, and no more users are enrolled than that takes.
const USERS: usize = 250_000;
const USERS_OF_PEERS: usize = 50_000;
/// How many users go to Redis at once.
const PAGE: usize = 1_024;

/// Measures, and prints the table; whether all answers were the expected ones.
pub async fn peers() -> Result<bool> {
    let field = Field::with_peers(USERS, &PEERS, USERS_OF_PEERS).await?;
    let twinlocks = [OVER_REDIS, OVER_REDIS_AS_JSON].map(|name| (name, TURN));
    let servers = twinlocks.into_iter().chain(PEERS.map(|peer| (peer.name, TURN_OF_PEERS)));
    let mut turns = Vec::new();
    let mut rows = Vec::new();
    for (server, turn) in servers {
        for (work, what) in WORKS {
            turns.push((server, work, turn));
            rows.push(Measured { name: format!("{server}: {what}"), slices: Vec::new() });
        }
    }
    for round in 0..=ROUNDS {
        // The first one warms up, as with the floors, and connects.
        for ((server, work, turn), row) in turns.iter().zip(&mut rows) {
            let slice = field.load(server, *work, Callers::MANY, *turn).await?;
            row.slices.extend((round > 0).then_some(slice));
        }
        eprint!("\rround {round} of {ROUNDS} ");
    }
    eprintln!();
    let in_flight = Callers::MANY.connections * Callers::MANY.each;
    println!(
        "\n{in_flight} calls in flight (closed loop): over gRPC on {} connections, as JSON over HTTP/1.1 on \
         one connection each.\n",
        Callers::MANY.connections
    );
    table::print_with(&["CPU beside Twinlock's", "at least", "met"], &rows, |row| {
        beside(row, &rows)
    });
    println!(
        "\nCPU beside Twinlock's over gRPC in the same round, Redis's counted in on both sides."
    );
    Ok(rows.iter().all(Measured::is_as_expected))
}

fn beside(row: &Measured, rows: &[Measured]) -> Vec<String> {
    let Some((server, what)) = row.name.split_once(": ") else { return Vec::new() };
    let twinlock = format!("{OVER_REDIS}: {what}");
    let Some(twinlock) = rows.iter().find(|it| it.name == twinlock) else { return Vec::new() };
    let ratios = table::ratios(row, twinlock, |it| it.server + it.redis.unwrap_or_default());
    let (at_least, met) = match PEERS.iter().find(|peer| peer.name == server) {
        None => (String::new(), ""),
        Some(peer) if table::median(&ratios) >= peer.at_least => (peer.at_least.to_string(), "yes"),
        Some(peer) => (peer.at_least.to_string(), "no"),
    };
    vec![table::spread(&ratios, 1), at_least, met.into()]
}

/// Enrolls users as the peers keep them.
pub async fn enroll(url: &str, people: &People) -> Result<()> {
    let mut redis = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    for first in (0..people.count()).step_by(PAGE) {
        let mut page = redis::pipe();
        for user in first..people.count().min(first + PAGE) {
            let secret = people::secret(user).to_base32();
            let fields = [("secret", secret.as_str()), ("last_step", "0")];
            page.hset_multiple(format!("totp:{}", people::name(user)), &fields).ignore();
        }
        page.exec_async(&mut redis).await?;
    }
    Ok(())
}

/// One process with one thread that answers, as Twinlock is.
fn express() -> Command {
    let mut express = Command::new("peers/node");
    express.arg("peers/express/server.js").env("NODE_ENV", "production");
    express
}

/// One process with one thread that answers; uvloop and httptools are taken where they are installed.
fn fastapi() -> Command {
    let mut fastapi = Command::new("peers/venv/bin/python");
    fastapi.args(["-m", "uvicorn", "--app-dir", "peers/fastapi", "--no-access-log"]);
    fastapi.args(["--timeout-keep-alive", "75", "app:app", "--port"]);
    fastapi
}
