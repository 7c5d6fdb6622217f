//! What the kernel tells of this process, by the names that every exporter of Prometheus uses.

use super::page::Page;
use std::fmt;
use std::fs;

/// The kernel counts a hundred ticks a second for user space, whatever its own pace.
const TICKS_PER_SECOND: f64 = 100.0;

/// What is known; each is missing where `/proc` does not tell it.
#[derive(Debug, Default)]
struct Process {
    processor_seconds: Option<f64>,
    started: Option<f64>,
    memory_bytes: Option<u64>,
    open_files: Option<u64>,
    most_files: Option<u64>,
}

/// Writes what the kernel tells at this moment.
pub fn write(page: &mut Page<'_>) -> fmt::Result {
    let process = Process::read();
    page.fraction(
        "process_cpu_seconds",
        "Time of the processor used, in seconds.",
        process.processor_seconds.unwrap_or_default(),
    )?;
    page.gauge(
        "process_start_time_seconds",
        "When the process began, in Unix time.",
        process.started,
    )?;
    page.gauge("process_resident_memory_bytes", "Memory in use.", process.memory_bytes)?;
    page.gauge("process_open_fds", "Open file descriptors.", process.open_files)?;
    page.gauge("process_max_fds", "The most file descriptors that may be open.", process.most_files)
}

impl Process {
    fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let stat = read("/proc/self/stat");
        // The name, in parentheses, may hold anything; after it come the fields from the third on.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let booted = field(&read("/proc/stat"), "btime").map(|seconds| seconds as f64);
        Self {
            processor_seconds: ticks(14)
                .zip(ticks(15))
                .map(|(user, system)| (user + system) / TICKS_PER_SECOND),
            started: booted.zip(ticks(22)).map(|(booted, after)| booted + after / TICKS_PER_SECOND),
            memory_bytes: field(&read("/proc/self/status"), "VmRSS:").map(|kib| kib * 1024),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            most_files: field(&read("/proc/self/limits"), "Max open files"),
        }
    }
}

/// The first number of the line that begins with this name.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_this_process() {
        let process = Process::read();
        assert!(process.processor_seconds.is_some_and(|seconds| seconds >= 0.0), "{process:?}");
        assert!(process.started.is_some_and(|at| at > 1_600_000_000.0), "{process:?}");
        assert!(process.memory_bytes.is_some_and(|bytes| bytes > 100_000), "{process:?}");
        assert!(process.open_files.is_some_and(|count| count > 2), "{process:?}");
        assert!(process.most_files.is_some_and(|count| count > 2), "{process:?}");
    }
}
