//! The configuration.

use std::io::Write;
use tempfile::NamedTempFile;
use twinlock::callers::Callers;
use twinlock::config::{Config, load};
use twinlock::policy;

/// A configuration file, and behind a zero byte lines of `NAME=VALUE` from the environment: whatever is
/// read and found without problems can be used, and means the same when it is written out and read again.
pub fn config(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let file = parts.next().unwrap_or_default();
    let environment = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let variables = environment.lines().filter_map(|line| line.split_once('='));
    // Those read other files, and the fuzzer would open any.
    let variables = variables.filter(|(name, _)| !name.ends_with("_FILE"));
    let variables: Vec<_> = variables.map(|(name, value)| (name.into(), value.into())).collect();

    let Some(read) = read(file, variables) else { return };
    let problems = read.check();
    for problem in problems.iter().chain(&read.warnings()) {
        assert!(!problem.wrong.is_empty() && !problem.remedy.is_empty(), "{problem}");
    }
    if problems.is_empty() {
        policy::policy(&read).expect("what was checked can be used");
        policy::hasher(&read.argon2).expect("what was checked can be used");
        Callers::new(&read.callers).expect("what was checked can be used");
    }
    let written = toml::to_string(&read).expect("it can be written");
    let again = self::read(written.as_bytes(), Vec::new()).expect("what was written is read");
    // Secrets are neither written out nor compared.
    assert_eq!(format!("{again:?}"), format!("{read:?}"));
}

fn read(file: &[u8], variables: Vec<(String, String)>) -> Option<Config> {
    let mut written = NamedTempFile::new().expect("a file");
    written.write_all(file).expect("room for it");
    let read = load(Some(written.path()), variables.into_iter(), &[]);
    match read {
        Ok(loaded) => Some(loaded.config),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    }
}
