//! The tour of the README, from its own text.

use std::process::{Command, Stdio};
use std::time::Duration;
use twinlock_tests::{Server, calm_step};

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_with_curl_does_what_the_readme_says() {
    let readme = include_str!("../../../README.md");
    let (_, tour) = readme.split_once("\n### With curl\n").expect("a tour");
    let (_, tour) = tour.split_once("\n```sh\n").expect("commands");
    let (tour, _) = tour.split_once("\n```\n").expect("an end");
    let said: Vec<&str> = tour.lines().filter_map(|line| line.strip_prefix("#> ")).collect();
    assert!(said.len() >= 9, "the tour says too little");

    let server = Server::start_default();
    let script = tour.replace("http://127.0.0.1:6238", &server.address);
    assert!(!script.contains(":6238"), "the tour has another server");
    let directory = tempfile::tempdir().expect("a directory");
    calm_step(Duration::from_secs(15)).await;
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{errors}");
    assert_eq!(errors, "");
    assert_eq!(printed.lines().count(), said.len(), "{printed}");
    for (printed, said) in printed.lines().zip(said) {
        assert!(is_like(printed.trim_start(), said), "printed: {printed}\nthe README: {said}");
    }
}

/// Whether a text is the other one, where three dots stand for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split("...");
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        last = Some(part);
    }
    rest.is_empty() || last.is_some_and(|last| text.ends_with(last))
}

#[test]
fn three_dots_stand_for_anything_and_nothing_else_does() {
    assert!(is_like("204", "204"));
    assert!(!is_like("204 ", "204") && !is_like("200", "204"));
    assert!(is_like("{\"a\":\"x\",\"b\":1} 200", "{\"a\":\"...\",\"b\":...} 200"));
    assert!(!is_like("{\"a\":\"x\"} 401", "{\"a\":\"...\"} 200"));
    assert!(!is_like("{\"a\":\"x\"} 200 and more", "{\"a\":\"...\"} 200"));
}
