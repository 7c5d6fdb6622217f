//! What Prometheus itself says of the metrics and of the alert rules. `tests/run` installs promtool.

use super::Page;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use twinlock_tests::Server;

fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool, of Debian's package prometheus");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let server = Server::start_default();
    let mut client = server.client().await;
    twinlock_tests::User::enroll(&mut client, "ann").await;
    promtool(&["check", "metrics"], &Page::of(&server).text);
}

#[test]
fn the_alert_rules_fire_when_they_should_and_no_sooner() {
    promtool(&["check", "rules", "helm/twinlock/files/alerts.yaml"], "");
    promtool(&["test", "rules", "tests/tests/telemetry/alerts.test.yaml"], "");
}
