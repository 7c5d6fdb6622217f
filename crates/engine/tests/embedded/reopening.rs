//! A real file, with its lock, below a disk that fails.

use crate::MARKER;
use crate::suite::{self, change, key, version, write};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use twinlock_engine::clock;
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{Store, StoreError, Swapped};

#[derive(Debug)]
struct Failing {
    file: FileBackend,
    fails: Arc<AtomicBool>,
}

impl Failing {
    fn works(&self) -> io::Result<()> {
        let fails = self.fails.load(Ordering::SeqCst);
        if fails { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Failing {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.works().and_then(|()| self.file.set_len(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.works().and_then(|()| self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.works().and_then(|()| self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(from, to)
    }

    fn unlock_range(&self, from: Bound<u64>, to: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(from, to)
    }
}

fn backend(path: &Path, fails: &Arc<AtomicBool>) -> impl Fn() -> io::Result<Failing> + use<> {
    let (path, fails) = (path.to_owned(), Arc::clone(fails));
    move || {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let file = FileBackend::new(file).map_err(io::Error::other)?;
        Ok(Failing { file, fails: Arc::clone(&fails) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_reopened_under_its_lock_while_others_keep_reading_and_writing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store");
    File::create(&path).expect("a file");
    let fails = Arc::new(AtomicBool::new(false));
    let embedded = Embedded::initialize_on(backend(&path, &fails), MARKER, clock::system());
    let store: Arc<dyn Store> = Arc::new(embedded.expect("a store"));
    let (_, made) = write(&store, &key("alice"), None, b"kept").await;
    // A reader that is under way must not keep the file from being reopened.
    let mut walk = store.walk(suite::soon()).await.expect("a walk");

    for round in 0..3 {
        fails.store(true, Ordering::SeqCst);
        let bob = key(&format!("bob {round}"));
        let refused = store.swap(change(&bob, None, Some(b"x"), None), suite::soon()).await;
        assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..20 {
            let (store, bob) = (Arc::clone(&store), key(&format!("other {round} {n}")));
            callers.spawn(async move {
                let _ = store.load(&bob, suite::soon()).await;
                store.swap(change(&bob, None, Some(b"x"), None), suite::soon()).await.is_err()
            });
        }
        assert!(callers.join_all().await.into_iter().all(|refused| refused));
        fails.store(false, Ordering::SeqCst);
        let mut swapped = None;
        for _ in 0..1000 {
            let swap = change(&key(&format!("carol {round}")), None, Some(b"x"), None);
            swapped = store.swap(swap, suite::soon()).await.ok();
            if swapped.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(swapped, Some(Swapped::Done));
        assert_eq!(version(&store, &key("alice")).await, Some(made));
        let second = Embedded::open_on(backend(&path, &fails), clock::system());
        let refused = second.err();
        assert!(matches!(refused, Some(StoreError::InUse(_))), "round {round}: {refused:?}");
    }
    assert!(walk.next(suite::soon()).await.is_err(), "its file was closed");
}
