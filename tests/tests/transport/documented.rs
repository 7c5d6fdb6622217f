//! What `docs/callers.md` says, done word for word.

use std::path::Path;
use std::process::Command;
use twinlock_tests::{Options, Server, binary, finish, twinlock, unconfigure};

const PAGE: &str = include_str!("../../../docs/callers.md");

/// The blocks of a language that hold this.
fn block(language: &str, word: &str) -> &'static str {
    let blocks = PAGE.split("```").skip(1).step_by(2);
    let blocks: Vec<&str> =
        blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect();
    blocks.into_iter().find(|block| block.contains(word)).expect("a block with that word")
}

/// Runs commands in a directory, with the binary of this build as `twinlock`.
fn shell(directory: &Path, commands: &str) -> String {
    let path = std::env::var("PATH").expect("a path");
    let built = binary();
    let mut command = Command::new("bash");
    unconfigure(command.args(["-euc", commands]).current_dir(directory));
    command.env("PATH", format!("{}:{path}", built.parent().expect("a directory").display()));
    let (status, output, errors) = finish(&mut command);
    assert_eq!(status, Some(0), "{commands}\n{output}\n{errors}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_for_certificates_make_ones_that_work() {
    let directory = tempfile::tempdir().expect("a directory");
    shell(directory.path(), block("sh", "openssl req"));
    // The file names its certificates relative to the working directory, which is the server's own.
    let at = |name: &str| format!("{:?}", directory.path().join(name));
    let mut file = block("toml", "# twinlock.toml").to_owned();
    for name in ["tls.crt", "tls.key", "ca.crt"] {
        file = file.replace(&format!("\"{name}\""), &at(name));
    }
    let server = Server::start(Options::default().file(&file));
    let port = server.authority().rsplit(':').next().expect("a port");
    let calls = block("sh", "twinlock status").replace("6238", port);
    let output = shell(directory.path(), &calls);
    assert!(output.contains("Two-step verification  off"), "{output}");
    assert!(output.contains("\"enrolled\":false"), "{output}");
    // Without the certificate neither does.
    let without = calls.replace(" --tls-cert web.crt --tls-key web.key", "");
    let mut command = twinlock();
    let first = without.lines().next().expect("a command");
    command.args(first.split_whitespace().skip(1)).current_dir(directory.path());
    assert_eq!(finish(&mut command).0, Some(3));
}

#[test]
fn the_command_for_a_token_prints_an_entry_that_is_right() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = shell(directory.path(), block("sh", "token new"));
    let (_, entry) = output.split_once("[[caller]]").expect("an entry");
    let path = directory.path().join("twinlock.toml");
    std::fs::write(&path, format!("[[caller]]{entry}")).expect("a file");
    let check = "twinlock serve --check-config --config twinlock.toml";
    assert_eq!(shell(directory.path(), check), "The configuration is right.\n");
}
