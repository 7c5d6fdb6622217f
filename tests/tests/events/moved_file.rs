//! The audit file is moved away, as `logrotate` does it, while the server runs.

use crate::{deny, users, written};
use std::path::Path;
use std::time::Duration;
use twinlock_tests::{Options, Server};

#[tokio::test]
async fn a_file_that_was_moved_away_is_written_to_until_the_server_is_told_to_open_a_new_one() {
    let server = Server::start(Options::default().set("audit.path=audit.log"));
    let (path, moved) = (server.directory().join("audit.log"), server.directory().join("audit.1"));
    let mut client = server.client().await;
    deny(&mut client, "alice").await;
    written(&path, 1).await;
    std::fs::rename(&path, &moved).expect("moved");
    deny(&mut client, "bob").await;
    let lines = written(&moved, 2).await;
    assert_eq!(lines[1]["user_id"], "bob");

    server.signal("HUP");
    appears(&path).await;
    deny(&mut client, "carol").await;
    assert_eq!(written(&path, 1).await[0]["user_id"], "carol");
    assert_eq!(written(&moved, 2).await.len(), 2);
}

#[tokio::test]
async fn a_server_without_a_file_takes_the_signal_calmly() {
    let server = Server::start_default();
    let mut watch = crate::Watch::begin(&server, "").await;
    server.signal("HUP");
    let mut client = server.client().await;
    for user in ["alice", "bob", "carol"] {
        tokio::time::sleep(Duration::from_millis(50)).await;
        deny(&mut client, user).await;
    }
    assert_eq!(users(&watch.take(3).await), ["alice", "bob", "carol"]);
}

async fn appears(path: &Path) {
    let limit = tokio::time::Instant::now() + crate::LIMIT;
    while !path.exists() {
        assert!(tokio::time::Instant::now() < limit, "a new file");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
