//! Unix sockets: who may connect, and who is known by being somebody on this machine.

use crate::{call, caller, logged, token};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tempfile::TempDir;
use twinlock_tests::{Options, Server, finish};

fn start(callers: &str, mode: Option<&str>) -> (Server, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let address = format!("unix:{}", directory.path().join("twinlock.sock").display());
    let mut options = Options::default().listen(&address);
    if !callers.is_empty() {
        // The address is a flag of `serve` alone, and `init` reads the file too.
        options = options.file(&format!("server.listen = \"{address}\"\n{callers}"));
    }
    if let Some(mode) = mode {
        options = options.set(&format!("server.socket_mode={mode}"));
    }
    (Server::start(options), directory)
}

/// The user that the tests run as.
fn myself() -> u32 {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::metadata(directory.path()).expect("it is there").uid()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_the_machine_is_a_caller() {
    let me = myself();
    let callers = caller("me", &format!("uid = {me}"), "namespace = \"mine\"")
        + &caller("bot", &token("token-of-bot"), "roles = [\"admin\"]");
    let (server, _directory) = start(&callers, None);
    let channel = server.channel().await;
    assert_eq!(call(&channel, None).await, Ok(()));
    assert_eq!(call(&channel, Some("nobody")).await, Err("CALLER_UNAUTHENTICATED".into()));
    assert_eq!(call(&channel, Some("token-of-bot")).await, Err("CALLER_FORBIDDEN".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_is_none() {
    let other = myself() + 1;
    let (server, _directory) = start(&caller("other", &format!("uid = {other}"), ""), None);
    let refused = call(&server.channel().await, None).await;
    assert_eq!(refused, Err("CALLER_UNAUTHENTICATED".into()));
    let words = format!("peer=user {} on this machine", myself());
    logged(&server, &["a caller was refused", "unknown_user", &words]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_has_the_mode_that_is_asked_for() {
    for (mode, bits) in [(None, 0o660), (Some("0600"), 0o600), (Some("0666"), 0o666)] {
        let (server, directory) = start("", mode);
        let metadata = std::fs::metadata(directory.path().join("twinlock.sock")).expect("there");
        assert_eq!(metadata.permissions().mode() & 0o777, bits);
        assert_eq!(call(&server.channel().await, None).await, Ok(()));
        let is_warned = server.log().contains("server.socket_mode");
        assert_eq!(is_warned, bits == 0o666, "{}", server.log());
    }
}

#[test]
fn a_mode_that_is_none_is_refused() {
    let server = Server::start_default();
    for mode in ["rw", "0888", "4755", ""] {
        let mut command = server.command("serve");
        command.args(["--check-config", "--set", &format!("server.socket_mode={mode}")]);
        let (status, _, errors) = finish(&mut command);
        assert_eq!(status, Some(2), "{mode}: {errors}");
        assert!(errors.contains("socket_mode"), "{errors}");
    }
}
