//! The file that new recovery keys are written to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use twinlock_core::UserId;

use crate::cli::Failure;

/// A CSV file with the columns `user_id` and `recovery_key`, which its owner alone may read. Each key is
/// written as soon as it is told.
pub(super) struct RecoveryKeys(csv::Writer<File>);

impl RecoveryKeys {
    /// Refuses a file that is there: keys of an earlier run are told once and must not be lost.
    pub(super) fn check(path: &Path) -> Result<(), Failure> {
        match path.symlink_metadata() {
            Ok(_) => Err(Failure::Usage(format!(
                "{} is there already. Recovery keys are written to a new file.",
                path.display()
            ))),
            Err(_) => Ok(()),
        }
    }

    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        Self::check(path)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| {
            Failure::Usage(format!("{} cannot be made: {error}.", path.display()))
        })?;
        let mut keys = Self(csv::Writer::from_writer(file));
        keys.record(["user_id", "recovery_key"])?;
        Ok(keys)
    }

    pub(super) fn write(&mut self, user: &UserId, key: &str) -> io::Result<()> {
        self.record([user.as_str(), key])
    }

    /// Waits until all of it is on the disk.
    pub(super) fn finish(self) -> io::Result<()> {
        self.0.into_inner().map_err(|error| error.into_error())?.sync_all()
    }

    fn record(&mut self, record: [&str; 2]) -> io::Result<()> {
        self.0.write_record(record)?;
        self.0.flush()
    }
}
