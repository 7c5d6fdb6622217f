//! The directory, the file, and who may use them.

use crate::MARKER;
use crate::suite::{self, key};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tempfile::tempdir;
use twinlock_engine::clock;
use twinlock_engine::store::embedded::{Embedded, FILE_NAME};
use twinlock_engine::store::{Store, StoreError};

fn initialize(directory: &Path) -> Result<Embedded, StoreError> {
    Embedded::initialize(directory, MARKER, clock::system())
}

fn open(directory: &Path) -> Result<Embedded, StoreError> {
    Embedded::open(directory, clock::system())
}

fn incomplete(result: Result<Embedded, StoreError>) -> String {
    match result {
        Err(StoreError::Incomplete(text)) => text,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

fn in_use(result: Result<Embedded, StoreError>) -> String {
    match result {
        Err(StoreError::InUse(name)) => name,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn only_the_owner_can_read_it() {
    let parent = tempdir().expect("a directory");
    let directory = parent.path().join("a/new/one");
    let file = directory.join(FILE_NAME);
    drop(initialize(&directory).expect("a store"));
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&file), 0o600);

    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("a change of mode");
    drop(open(&directory).expect("the store"));
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn opening_creates_nothing() {
    let parent = tempdir().expect("a directory");
    let directory = parent.path().join("missing");
    assert!(incomplete(open(&directory)).contains("never initialised"));
    assert!(!directory.exists());

    assert!(incomplete(open(parent.path())).contains("never initialised"));
    assert_eq!(fs::read_dir(parent.path()).expect("a listing").count(), 0);
}

#[test]
fn an_empty_file_is_no_store_and_stays_empty() {
    let directory = tempdir().expect("a directory");
    let file = directory.path().join(FILE_NAME);
    fs::write(&file, b"").expect("a file");
    assert!(incomplete(open(directory.path())).contains("empty"));
    assert_eq!(fs::metadata(&file).expect("it is there").len(), 0);
}

#[test]
fn a_file_of_something_else_is_no_store_and_stays_as_it_is() {
    let directory = tempdir().expect("a directory");
    let file = directory.path().join(FILE_NAME);
    let content = b"-----BEGIN SOMETHING ELSE-----\n".repeat(1000);
    fs::write(&file, &content).expect("a file");
    assert!(incomplete(open(directory.path())).contains("no Twinlock store"));
    assert!(incomplete(initialize(directory.path())).contains("no Twinlock store"));
    assert_eq!(fs::read(&file).expect("it is there"), content);
}

#[test]
fn another_programs_database_is_no_store() {
    let directory = tempdir().expect("a directory");
    let table = redb::TableDefinition::<u64, u64>::new("other");
    let database = redb::Database::create(directory.path().join(FILE_NAME)).expect("a database");
    let transaction = database.begin_write().expect("a transaction");
    transaction.open_table(table).expect("a table").insert(1, 1).expect("an insertion");
    transaction.commit().expect("a commit");
    drop(database);
    assert!(incomplete(open(directory.path())).contains("no Twinlock store"));
}

#[test]
fn a_store_without_its_marker_or_a_table_is_incomplete() {
    for table in ["records", "expiry", "meta", "the marker", "the format"] {
        let directory = tempdir().expect("a directory");
        drop(initialize(directory.path()).expect("a store"));
        let file = directory.path().join(FILE_NAME);
        let database = redb::Database::open(file).expect("a database");
        let meta = redb::TableDefinition::<&str, &[u8]>::new("meta");
        let transaction = database.begin_write().expect("a transaction");
        let remove = |name: &str| {
            let mut meta = transaction.open_table(meta).expect("a table");
            assert!(meta.remove(name).expect("a removal").is_some());
        };
        match table {
            "the marker" => remove("marker"),
            "the format" => remove("format"),
            name => {
                let table = transaction.list_tables().expect("tables").find(|table| {
                    use redb::TableHandle;
                    table.name() == name
                });
                transaction.delete_table(table.expect("the table")).expect("a removal");
            }
        }
        transaction.commit().expect("a commit");
        drop(database);
        incomplete(open(directory.path()));
    }
}

#[test]
fn a_second_initialisation_is_refused() {
    let directory = tempdir().expect("a directory");
    let store = initialize(directory.path()).expect("a store");
    in_use(initialize(directory.path()));
    drop(store);
    let again = Embedded::initialize(directory.path(), b"another marker", clock::system());
    assert!(incomplete(again).contains("a data set already"));
    assert_eq!(open(directory.path()).expect("the store").marker(), MARKER);
}

#[test]
fn an_initialisation_that_was_cut_short_can_be_repeated() {
    let directory = tempdir().expect("a directory");
    fs::write(directory.path().join(FILE_NAME), b"").expect("a file");
    drop(initialize(directory.path()).expect("a store"));
    drop(open(directory.path()).expect("the store"));
}

#[test]
fn a_second_handle_is_refused_until_the_first_is_dropped() {
    let directory = tempdir().expect("a directory");
    let store = initialize(directory.path()).expect("a store");
    let name = in_use(open(directory.path()));
    assert!(name.ends_with(FILE_NAME), "{name}");
    drop(store);
    drop(open(directory.path()).expect("the store"));
}

/// The test program runs itself: with the variable set, this test is the second process.
#[test]
fn a_second_process_is_refused() {
    const DIRECTORY: &str = "TWINLOCK_TEST_SECOND_PROCESS";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        in_use(open(Path::new(&directory)));
        println!("refused");
        return;
    }
    let directory = tempdir().expect("a directory");
    let _store = initialize(directory.path()).expect("a store");
    let second = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "files::a_second_process_is_refused", "--nocapture"])
        .env(DIRECTORY, directory.path())
        .output()
        .expect("a second process");
    let said = String::from_utf8_lossy(&second.stdout);
    assert!(second.status.success() && said.contains("refused"), "{said}");
}

#[tokio::test]
async fn dropping_the_store_finishes_the_swaps_that_wait() {
    let directory = tempdir().expect("a directory");
    let store = initialize(directory.path()).expect("a store");
    let users: Vec<_> = (0..100).map(|n| key(&format!("user {n}"))).collect();
    for user in &users {
        let swap = store.swap(suite::change(user, None, Some(b"queued"), None), suite::soon());
        // Polled once, the swap is in the queue; then its caller goes away.
        let polled = tokio::time::timeout(std::time::Duration::ZERO, swap).await;
        drop(polled);
    }
    drop(store);
    let store: Arc<dyn Store> = Arc::new(open(directory.path()).expect("the store"));
    for user in &users {
        let found = suite::record(&store, user).await;
        assert_eq!(found.map(|(_, bytes)| bytes), Some(b"queued".to_vec()), "{user:?}");
    }
}
