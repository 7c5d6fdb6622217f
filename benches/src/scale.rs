//! What more users cost: calls, memory, start and backup with a thousand, a hundred thousand and a million.

use crate::field::{self, Callers, SETTINGS, connect, enroll};
use crate::floor::{self, CURRENT_THREAD, REDB};
use crate::load::{Called, Pace, Slice, load};
use crate::people::People;
use crate::process::{self, Server, Store};
use crate::table::{self, Measured, spread};
use crate::usage;
use crate::work::{Edge, Work};
use anyhow::{Context as _, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
const ROUNDS: usize = 7;
const TURN: Duration = Duration::from_millis(1_500);
const STARTS: usize = 3;

/// A store of some size, and its server.
struct Sized {
    store: String,
    users: usize,
    /// What its server is asked.
    works: &'static [Work],
    redis: Option<Server>,
    data: PathBuf,
    server: Server,
    edges: Vec<Edge>,
    people: Arc<People>,
    _directory: TempDir,
}

/// Measures, and prints the tables; whether all answers were the expected ones.
pub async fn scale() -> Result<bool> {
    println!(
        "\n| store | users | writing them s | bytes a user | idle memory MB | start to first answer ms | backup s | backup MB |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut all = Vec::new();
    for over_redis in [true, false] {
        for users in SIZES {
            all.push(Sized::fill(over_redis, users).await?);
        }
    }
    for users in SIZES {
        all.push(Sized::floor(users).await?);
    }
    let turns: Vec<(&Sized, Work)> =
        all.iter().flat_map(|sized| sized.works.iter().map(move |work| (sized, *work))).collect();
    let named = |(sized, work): &(&Sized, Work)| Measured {
        name: format!("{}, {} users: {work:?}", sized.store, sized.users),
        slices: Vec::new(),
    };
    let mut rows: Vec<Measured> = turns.iter().map(named).collect();
    for round in 0..=ROUNDS {
        for ((sized, work), row) in turns.iter().copied().zip(&mut rows) {
            let slice = sized.load(work).await?;
            row.slices.extend((round > 0).then_some(slice));
        }
    }
    println!();
    table::print(&rows);
    println!("\nCPU a call beside that with {} users of the same store:\n", SIZES[0]);
    for ((sized, work), row) in turns.iter().zip(&rows) {
        // Stores come with their fewest users first.
        let same = |(other, asked): &(&Sized, Work)| other.store == sized.store && asked == work;
        let least = turns.iter().position(same).map_or(row, |index| &rows[index]);
        println!("- {}: {}", row.name, spread(&table::ratios(row, least, |it| it.server), 2));
    }
    Ok(rows.iter().all(Measured::is_as_expected))
}

impl Sized {
    async fn fill(over_redis: bool, users: usize) -> Result<Self> {
        let directory = tempfile::tempdir_in(std::env::current_dir()?)?;
        let data = directory.path().join("data");
        let redis = if over_redis { Some(Server::redis().await?) } else { None };
        let store = match &redis {
            Some(redis) => Store::Redis(redis.port),
            None => Store::Embedded(&data),
        };
        let empty = match &redis {
            Some(redis) => used_by_redis(redis.port).await?,
            None => 0,
        };
        let people = Arc::new(People::new(users * 2 / 3, 0));
        let begun = Instant::now();
        enroll(store, &people).await?;
        let written = begun.elapsed().as_secs_f64();
        let mut took = Vec::new();
        for _ in 1..STARTS {
            let server = Server::twinlock(store, SETTINGS).await?;
            took.push(server.took.as_secs_f64() * 1e3);
        }
        let server = Server::twinlock(store, SETTINGS).await?;
        took.push(server.took.as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle = usage::memory(server.pid())? as f64 / 1e6;
        let size = match &redis {
            Some(redis) => used_by_redis(redis.port).await? - empty,
            None => {
                let files = std::fs::read_dir(&data)?.map(|file| Ok(file?.metadata()?.len()));
                files.sum::<std::io::Result<u64>>()?
            }
        };
        let file = directory.path().join("backup");
        let begun = Instant::now();
        process::backup(server.port, &file)?;
        let backed_up = begun.elapsed().as_secs_f64();
        let count = people.count();
        let name = if over_redis { "Redis" } else { "embedded" };
        println!(
            "| {name} | {count} | {written:.1} | {} | {idle:.1} | {} | {backed_up:.1} | {:.1} |",
            size / count as u64,
            spread(&took, 0),
            std::fs::metadata(&file)?.len() as f64 / 1e6,
        );
        Ok(Self {
            store: name.into(),
            users: count,
            works: &[Work::EvaluateAnybody, Work::SetPassword],
            redis,
            data,
            edges: connect(&server).await?,
            server,
            people,
            _directory: directory,
        })
    }

    /// What the embedded store is made of, by itself.
    async fn floor(users: usize) -> Result<Self> {
        let directory = tempfile::tempdir_in(std::env::current_dir()?)?;
        let data = directory.path().join("data");
        let people = Arc::new(People::new(users * 2 / 3, 0));
        std::fs::create_dir(&data)?;
        floor::fill(&data, &people)?;
        let server = Server::floor(REDB, CURRENT_THREAD, 0, &data).await?;
        Ok(Self {
            store: field::floor(REDB, CURRENT_THREAD),
            users: people.count(),
            works: &[Work::FloorOfAnybody],
            redis: None,
            data,
            edges: connect(&server).await?,
            server,
            people,
            _directory: directory,
        })
    }

    async fn load(&self, work: Work) -> Result<Slice> {
        let called = Called {
            edges: &self.edges,
            callers: Callers::MANY.each,
            server: self.server.pid(),
            redis: self.redis.as_ref().map(Server::pid),
        };
        let slice = load(&called, work, &self.people, Pace::Closed, TURN).await;
        slice.with_context(|| format!("{} in {}", self.store, self.data.display()))
    }
}

async fn used_by_redis(port: u16) -> Result<u64> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
    Ok(used.context("used_memory")?.trim().parse()?)
}
