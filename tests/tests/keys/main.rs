//! The keyring of a running server: rotated under load, changed by hand, broken, and retired from.

mod files;
mod load;
mod mounted;
mod replicas;
mod restored;
mod rotation;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use twinlock::keyring::{self, File, State};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::examine::examine;
use twinlock_engine::seal::Keyring;
use twinlock_engine::store::Store;
use twinlock_tests::redis::until;
use twinlock_tests::{Server, finish, twinlock};

/// A `twinlock keys` command on the server's keyring, through the server.
fn keys(server: &Server, arguments: &[&str]) -> Command {
    keys_through(server, &server.address, arguments)
}

/// The same through another server.
fn keys_through(server: &Server, address: &str, arguments: &[&str]) -> Command {
    let mut command = twinlock();
    command.current_dir(server.directory()).arg("keys").args(arguments);
    for setting in &server.options().set {
        command.args(["--set", setting]);
    }
    command.args(["--address", address]);
    command
}

/// Runs one that is expected to succeed; gives its output and its notes.
fn done(server: &Server, arguments: &[&str]) -> String {
    ended(server, arguments, 0)
}

/// Runs one that is expected to be refused; gives what it says.
fn refused(server: &Server, arguments: &[&str]) -> String {
    ended(server, arguments, 1)
}

fn ended(server: &Server, arguments: &[&str], expected: i32) -> String {
    let file = keyring_file(server);
    let mut secrets = secrets(&file);
    let (status, said, noted) = finish(&mut keys(server, arguments));
    let text = said + &noted;
    assert_eq!(status, Some(expected), "keys {arguments:?}: {text}{}", server.log());
    secrets.extend(self::secrets(&file));
    for secret in secrets {
        assert!(!text.contains(&secret), "keys {arguments:?} shows a key");
        assert!(!log_has(server, &secret), "the log shows a key");
    }
    let mode = fs::metadata(&file).expect("a keyring").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it is its owner's alone");
    text
}

/// The keys of a file as they are written there.
fn secrets(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("a keyring");
    let lines = text.lines().filter(|line| line.starts_with("secret"));
    lines.map(|line| line.split('"').nth(1).expect("quoted").to_owned()).collect()
}

fn keyring_file(server: &Server) -> PathBuf {
    server.directory().join("twinlock-data/keyring.toml")
}

/// The names of the keys in a file: the primary, and the others.
fn ids(file: &Path) -> (String, Vec<String>) {
    let file = File::read(file).expect("a keyring");
    let mut ids = file.entries().map(|key| key.id.to_string());
    (ids.next().expect("a primary"), ids.collect())
}

/// A keyring with nothing but the primary key of a file.
fn primary_alone(file: &Path) -> Keyring {
    let file = File::read(file).expect("a keyring");
    let primary = file.entries().find(|key| file.state(key) == State::Primary);
    let line = primary.expect("a primary").expose_line();
    keyring::parse_inline(&line).expect("a keyring of one key")
}

/// Opens everything in a store with this keyring alone; gives the number of records.
async fn all_opens_with(store: Arc<dyn Store>, keyring: &Keyring) -> usize {
    let deadline = || Deadline::after(std::time::Duration::from_secs(20));
    for marker in store.markers(deadline()).await.expect("markers") {
        keyring.open_marker(&marker).expect("the marker is sealed under the new key");
    }
    let mut walk = store.walk(deadline()).await.expect("a walk");
    let mut count = 0;
    while let Some(page) = walk.next(deadline()).await.expect("a page") {
        for record in &page {
            let name = &record.key.user;
            examine(keyring, record).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
        count += page.len();
    }
    count
}

fn log_has(server: &Server, text: &str) -> bool {
    server.log().contains(text)
}

fn wait_for_log(server: &Server, text: &str) {
    until(|| log_has(server, text), &format!("{text:?} in the log: {}", server.log()));
}

/// Puts a file in its place at once, as an editor or Kubernetes does.
fn put(path: &Path, text: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::rename(&new, path).expect("in its place");
}
