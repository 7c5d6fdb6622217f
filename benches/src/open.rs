//! How long calls take where a server has time to spare, which is how it should be run: planned load at half
//! of what it can do, without and with passwords being hashed beside it.

use crate::client::Connection;
use crate::field::{self, Callers, EMBEDDED, Field, OVER_REDIS, RUNTIMES};
use crate::floor::{REDB, TWO_SCRIPTS};
use crate::load::{Pace, Slice};
use crate::process::{self, Server, Store};
use crate::table::{self, Measured};
use crate::work::{self, Work};
use anyhow::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval};

const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_secs(3);
const HASHES: usize = 2;
const SOAK_TURN: Duration = Duration::from_secs(30);
/// As many are ten minutes. In the first ten, answers that may be repeated gather in the records of users who log in
/// once a minute; from then on as many lapse as are made.
const SOAK_TURNS: usize = 20;
/// How many turns at the beginning and at the end are compared.
const ENDS: usize = 6;
/// One connection is opened, and closed, in this time.
const CONNECTION_EVERY: Duration = Duration::from_millis(5);
/// A user verifies once a step, and with fewer in a step than these a fast server runs out of them.
const USERS: usize = 800_000;

/// Measures, and prints the tables; whether all answers were the expected ones.
pub async fn open() -> Result<bool> {
    let field = Field::enter(USERS, 0).await?;
    let mut as_expected = true;
    for (server, kind) in [(OVER_REDIS, TWO_SCRIPTS), (EMBEDDED, REDB)] {
        let callers = half_of_what_it_can(&field, server, Work::Verify).await?;
        let names = [server.to_owned()].into_iter();
        let names: Vec<_> = names.chain(RUNTIMES.map(|it| field::floor(kind, it))).collect();
        for hashes in [0, HASHES] {
            let hashing = if hashes > 0 { Some(Hashing::begin(hashes).await?) } else { None };
            let measured = |name: &String| Measured { name: name.clone(), slices: Vec::new() };
            let mut rows: Vec<_> = names.iter().map(measured).collect();
            for round in 0..=ROUNDS {
                for (name, row) in names.iter().zip(&mut rows) {
                    let work = if name == server { Work::Verify } else { Work::Floor };
                    let slice = field.load(name, work, callers, TURN).await?;
                    row.slices.extend((round > 0).then_some(slice));
                }
            }
            drop(hashing);
            println!("\n{server}: Verify, {:?}, {hashes} passwords being hashed:\n", callers.pace);
            table::print(&rows);
            for row in &rows[1..] {
                let ratio =
                    |of: fn(&Slice) -> f64| table::spread(&table::ratios(&rows[0], row, of), 2);
                let (p99, p999) = (ratio(|it| it.p99), ratio(|it| it.p999));
                println!("\nTo {}: p99 {p99}, p99.9 {p999} (at most 1.50)", row.name);
            }
            as_expected &= rows.iter().all(Measured::is_as_expected);
        }
    }
    Ok(as_expected)
}

/// Loads each store's server whose name contains the text for twenty minutes, of which the second ten count, while
/// connections come and go, and prints how it goes.
pub async fn soak(only: &str) -> Result<bool> {
    let field = Field::enter(0, USERS).await?;
    let mut as_expected = true;
    for server in [OVER_REDIS, EMBEDDED].into_iter().filter(|server| server.contains(only)) {
        let callers = half_of_what_it_can(&field, server, Work::Day).await?;
        let port = field.port(server)?;
        let churn = tokio::spawn(async move {
            let mut ticks = interval(CONNECTION_EVERY);
            loop {
                ticks.tick().await;
                // One that fails shows in what the load meets.
                drop(Connection::open(port).await);
            }
        });
        println!("\n{server}: a day's mix, {:?}, connections come and go:\n", callers.pace);
        println!(
            "| minutes | calls/s | p50 ms | p99 ms | server CPU µs/call | memory MB | unexpected |"
        );
        println!("|---|---|---|---|---|---|---|");
        let begun = Instant::now();
        let mut slices = Vec::new();
        for _ in 0..2 * SOAK_TURNS {
            let slice = field.load(server, Work::Day, callers, SOAK_TURN).await?;
            println!(
                "| {:.1} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} | {} |",
                begun.elapsed().as_secs_f64() / 60.0,
                slice.rate,
                slice.p50,
                slice.p99,
                slice.server,
                slice.memory as f64 / 1e6,
                slice.unexpected,
            );
            if let Some(example) = &slice.example {
                eprintln!("{server}: {example}");
            }
            as_expected &= slice.unexpected == 0;
            slices.push(slice);
        }
        let counted = &slices[SOAK_TURNS..];
        let grew = |of: fn(&Slice) -> f64| {
            let median = |part: &[Slice]| table::median(&part.iter().map(of).collect::<Vec<_>>());
            median(&counted[counted.len() - ENDS..]) / median(&counted[..ENDS])
        };
        println!(
            "\nThe last {ENDS} of the second ten minutes beside their first {ENDS}: memory {:.2}, p50 {:.2}, p99 \
             {:.2}, server CPU {:.2}",
            grew(|it| it.memory as f64),
            grew(|it| it.p50),
            grew(|it| it.p99),
            grew(|it| it.server),
        );
        churn.abort();
    }
    Ok(as_expected)
}

async fn half_of_what_it_can(field: &Field, server: &str, work: Work) -> Result<Callers> {
    let mut rates = Vec::new();
    for _ in 0..3 {
        let slice = field.load(server, work, Callers::MANY, Duration::from_secs(1)).await?;
        rates.push(slice.rate / work.calls());
    }
    Ok(Callers { pace: Pace::Open((table::median(&rates) / 2.0).round()), ..Callers::MANY })
}

/// A Twinlock of its own, whose callers elevate by password without a pause.
struct Hashing {
    callers: Vec<JoinHandle<()>>,
    _server: Server,
    _directory: tempfile::TempDir,
}

impl Hashing {
    async fn begin(callers: usize) -> Result<Self> {
        let directory = tempfile::tempdir_in(std::env::current_dir()?)?;
        let store = Store::Embedded(directory.path());
        process::initialize(store)?;
        let server = Server::twinlock(store, &[]).await?;
        let hashed = Arc::new(AtomicU32::new(0));
        let mut tasks = Vec::new();
        for caller in 0..callers {
            let mut connection = Connection::open(server.port).await?;
            let user = format!("hasher-{caller}");
            work::set_password(&mut connection, &user).await?;
            let hashed = hashed.clone();
            tasks.push(tokio::spawn(async move {
                while work::elevate_by_password(&mut connection, &user).await.is_ok() {
                    hashed.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        anyhow::ensure!(hashed.load(Ordering::Relaxed) > 10, "it does not hash");
        Ok(Self { callers: tasks, _server: server, _directory: directory })
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.callers.iter().for_each(JoinHandle::abort);
    }
}
