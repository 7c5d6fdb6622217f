//! What the store is kept on, and how it is opened: a file, or whatever redb can write to.

use super::fault::Fault;
use super::{FILE_NAME, unavailable};
use crate::store::StoreError;
use redb::backends::FileBackend;
use redb::{BackendError, Builder, Database, StorageBackend};
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::ops::Bound::Unbounded;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// redb's own cache, in bytes. The operating system caches the file as well, so that a miss costs a
/// copy; and an idle process stays small.
const CACHE_BYTES: usize = 4 << 20;

/// Up to this size, in bytes, a file is checked page by page at every start. It is a matter of
/// milliseconds; a store with a million users would take seconds, each time, before its first answer.
const CHECKED_BYTES: u64 = 16 << 20;

/// Why the medium is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To make a new store, or to look whether one may be made.
    Create,
    /// To use the store that is there.
    Open,
    /// To use it again after a failure.
    Reopen,
}

/// A medium that can be opened again and again.
pub(super) struct Medium {
    name: String,
    connect: Box<dyn Fn(Purpose) -> Result<Database, Fault> + Send>,
}

impl Medium {
    pub(super) fn new<B: StorageBackend>(
        name: String,
        backend: impl Fn() -> io::Result<B> + Send + 'static,
    ) -> Self {
        let connect = Box::new(move |purpose| connect(&backend, purpose));
        Self { name, connect }
    }

    /// What to call it in a message.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn connect(&self, purpose: Purpose) -> Result<Database, Fault> {
        (self.connect)(purpose)
    }
}

/// The file of a directory that need not be there yet.
pub(super) fn new_file(directory: &Path) -> Result<Medium, StoreError> {
    let failed = |error| unavailable(format!("{}: {error}", directory.display()), false);
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let path = directory.join(FILE_NAME);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let found = options.open(&path).and_then(|file| file.metadata()).map_err(failed)?;
    close_to_others(&path, &found);
    Ok(file(path))
}

/// The file of a directory, if it is there.
pub(super) fn existing_file(directory: &Path) -> Result<Medium, StoreError> {
    let path = directory.join(FILE_NAME);
    let found = match fs::metadata(&path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Incomplete(format!(
                "{} does not exist: the store was never initialised here, or it is gone",
                path.display()
            )));
        }
        Err(error) => return Err(unavailable(format!("{}: {error}", path.display()), false)),
    };
    if !found.is_file() {
        return Err(StoreError::Incomplete(format!("{} is not a file", path.display())));
    }
    close_to_others(&path, &found);
    if fs::metadata(directory).is_ok_and(|found| found.permissions().mode() & 0o002 != 0) {
        tracing::warn!(
            directory = %directory.display(),
            "anybody on this machine can replace the store's file: take away the others' write permission"
        );
    }
    Ok(file(path))
}

fn close_to_others(path: &Path, found: &Metadata) {
    if found.permissions().mode() & 0o077 != 0 {
        let closed = fs::set_permissions(path, Permissions::from_mode(0o600)).is_ok();
        let file = path.display();
        tracing::warn!(%file, closed, "the store's file was open to other users of this machine");
    }
}

/// Makes the names of a new directory and file as durable as what is in them.
pub(super) fn sync_names(directory: &Path) -> Result<(), StoreError> {
    let sync = |directory: &Path| File::open(directory)?.sync_all();
    let parent = fs::canonicalize(directory).map(|path| path.parent().map(Path::to_path_buf));
    let synced = sync(directory).and_then(|()| parent?.map_or(Ok(()), |parent| sync(&parent)));
    synced.map_err(|error| unavailable(format!("{}: {error}", directory.display()), false))
}

fn file(path: PathBuf) -> Medium {
    Medium::new(path.display().to_string(), move || {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        FileBackend::new(file).map_err(io::Error::other)
    })
}

fn connect<B: StorageBackend>(
    backend: &impl Fn() -> io::Result<B>,
    purpose: Purpose,
) -> Result<Database, Fault> {
    if purpose == Purpose::Reopen {
        write_again(backend()?)?;
    }
    let backend = backend()?;
    let length = backend.len()?;
    // redb would make a new database of it.
    if length == 0 && purpose != Purpose::Create {
        return Err(Fault::Incomplete("the file is empty".into()));
    }
    let check = length <= CHECKED_BYTES || purpose == Purpose::Reopen;
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check);
    Ok(builder.create_with_backend(backend)?)
}

/// Writes every byte over itself, and syncs.
///
/// After a failed sync the operating system may take pages for written that never reached the disk:
/// they read well, and no later sync writes them. What is built on them now would be lost with the
/// power, though every later sync had succeeded.
fn write_again(backend: impl StorageBackend) -> Result<(), Fault> {
    match backend.try_lock_range(Unbounded, Unbounded) {
        Ok(true) | Err(BackendError::Unsupported) => {}
        Ok(false) => return Err(redb::Error::DatabaseAlreadyOpen.into()),
        Err(error) => return Err(error.into()),
    }
    let length = backend.len()?;
    let mut buffer = vec![0; 1 << 16];
    let mut offset = 0;
    while offset < length {
        let size = (length - offset).min(buffer.len() as u64);
        let part = &mut buffer[..size as usize];
        backend.read(offset, part)?;
        backend.write(offset, part)?;
        offset += size;
    }
    backend.sync_data()?;
    Ok(backend.close()?)
}
