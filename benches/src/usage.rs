//! What a process has used so far, as Linux tells it.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// User and system time of all threads that the process has now, to the nanosecond: the ticks of
/// `/proc/PID/stat` are as long as hundreds of calls.
pub fn cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(of(pid, "task"))? {
        // A thread may end in between.
        let Ok(told) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        nanos += told.split(' ').next().context("a time")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory, in bytes.
pub fn memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(of(pid, "status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|it| it.trim().strip_suffix(" kB")).context("VmRSS")?.parse()?;
    Ok(kib * 1024)
}

fn of(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}
