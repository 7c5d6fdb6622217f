//! The rules meet no clock, no randomness, no network and no runtime: not even by a dependency.

use std::path::Path;
use std::process::Command;

/// Names of crates, and beginnings of names, that bring in the outside world.
const OUTSIDE: &[&str] = &[
    "async",
    "chrono",
    "crossbeam",
    "fastrand",
    "futures",
    "getrandom",
    "hyper",
    "jiff",
    "mio",
    "polling",
    "rand",
    "reqwest",
    "rustls",
    "smol",
    "socket2",
    "time",
    "tokio",
    "tonic",
    "tower",
    "tracing",
    "ureq",
    "web-time",
];

#[test]
fn no_dependency_of_core_brings_in_the_outside_world() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--package", "twinlock-core", "--edges", "normal", "--target", "all"])
        .args(["--prefix", "none", "--format", "{p}", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs this test, so it can run here");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8(tree.stdout).expect("crate names are ASCII");
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"hmac") && names.contains(&"prost"), "that is not core's tree: {tree}");
    let outside = |name: &&str| {
        OUTSIDE.iter().any(|banned| {
            name.strip_prefix(banned).is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
        })
    };
    let found: Vec<&str> = names.into_iter().filter(outside).collect();
    assert_eq!(found, Vec::<&str>::new());
}

#[test]
fn no_source_of_core_reaches_for_the_outside_world() {
    let mut sources = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    assert!(sources.len() > 20, "that is not all of core: {sources:?}");
    let outside = [
        "Instant",
        "SystemTime",
        "async fn",
        "std::env",
        "std::fs",
        "std::io",
        "std::net",
        "std::process",
        "std::thread",
        "thread_local!",
        "static mut",
    ];
    for source in sources {
        let text = std::fs::read_to_string(&source).expect("a source file");
        for word in outside {
            assert!(!text.contains(word), "{} in {}", word, source.display());
        }
    }
}

fn collect(folder: &Path, sources: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}
