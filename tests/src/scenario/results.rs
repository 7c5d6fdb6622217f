//! Which scenario ran where, for the table that `tests/scenario_table` prints.

use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::Write;

/// Where results are written: a file for each client in this directory, if it is named.
const DIRECTORY: &str = "SCENARIO_RESULTS";

/// Adds a result: a line of client, store, scenario and how it ended, with tabs between them.
pub fn record(client: &str, store: &str, scenario: &str, end: &str) -> Result<()> {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return Ok(()) };
    let path = std::path::Path::new(&directory).join(client);
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let line = format!("{client}\t{store}\t{scenario}\t{end}\n");
    file.write_all(line.as_bytes()).with_context(|| path.display().to_string())
}
