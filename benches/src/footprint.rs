//! What Twinlock needs before it has anything to do: memory, time to start, room on disk.

use crate::client::Connection;
use crate::field::enroll;
use crate::people::People;
use crate::process::{self, Server, Store};
use crate::table::spread;
use crate::usage;
use anyhow::Result;
use std::time::Duration;
use tokio::time::sleep;

const CONNECTIONS: usize = 1_000;
/// How long a server is left alone before its memory is looked at.
const IDLE: Duration = Duration::from_millis(1_000);

/// Measures it with the default settings, and prints it.
pub async fn footprint(starts: usize) -> Result<()> {
    let directory = tempfile::tempdir_in(std::env::current_dir()?)?;
    let redis = Server::redis().await?;
    println!("\nAt rest (1,000 users):\n");
    println!(
        "| store | idle memory MB | with {CONNECTIONS} connections MB | start to first answer ms |"
    );
    println!("|---|---|---|---|");
    for (name, store) in
        [("Redis", Store::Redis(redis.port)), ("embedded", Store::Embedded(directory.path()))]
    {
        enroll(store, &People::new(1_000, 0)).await?;
        let (mut idle, mut connected, mut took) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..starts {
            let server = Server::twinlock(store, &[]).await?;
            took.push(server.took.as_secs_f64() * 1e3);
            sleep(IDLE).await;
            idle.push(usage::memory(server.pid())? as f64 / 1e6);
            let mut connections = Vec::with_capacity(CONNECTIONS);
            for _ in 0..CONNECTIONS {
                connections.push(Connection::open(server.port).await?);
            }
            sleep(IDLE).await;
            connected.push(usage::memory(server.pid())? as f64 / 1e6);
        }
        println!(
            "| {name} | {} | {} | {} |",
            spread(&idle, 1),
            spread(&connected, 1),
            spread(&took, 1)
        );
    }
    let size = std::fs::metadata(process::binary()?)?.len();
    println!("\nThe binary has {:.1} MB.", size as f64 / 1e6);
    Ok(())
}
