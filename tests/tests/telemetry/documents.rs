//! docs/telemetry.md, the dashboard and the alerts speak of the metrics that there are, and of all of them.

use super::{Page, until};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use twinlock_core::Reason;
use twinlock_proto::code_name;
use twinlock_tests::Server;

pub fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

pub fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).expect("a file of the project")
}

/// The metrics of the page for users: names, with their types and labels.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let text = read("docs/telemetry.md");
    let (_, metrics) = text.split_once("## Metrics").expect("a chapter");
    let (metrics, _) = metrics.split_once("\n## ").expect("an end");
    let rows = metrics.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, meaning] = cells[..] else { panic!("four cells: {row}") };
        assert!(meaning.ends_with('.'), "{row}");
        let labels = labels.split(", ").map(|label| label.trim_matches('`').to_owned());
        let labels = labels.filter(|label| !label.is_empty()).collect();
        (name.trim_matches('`').to_owned(), (kind.to_owned(), labels))
    })
    .collect()
}

#[tokio::test]
async fn each_metric_is_documented_and_each_documented_one_is_there() {
    let server = Server::start_default();
    let client = &mut server.client().await;
    twinlock_tests::User::enroll(client, "ann").await;
    let records = |page: &Page| page.samples.contains_key("twinlock_records");
    let page = until(&server, "the records are counted", records).await;
    let documented = documented();
    let told: BTreeMap<&str, &str> =
        documented.iter().map(|(name, (kind, _))| (name.as_str(), kind.as_str())).collect();
    assert_eq!(told, page.families());
    let is_shown = |family: &&str| page.samples.keys().any(|sample| sample.starts_with(*family));
    let empty: Vec<&str> = page.families().into_keys().filter(|it| !is_shown(it)).collect();
    // A test with TLS looks at these.
    let of_tls = "twinlock_tls_certificate_expiry_timestamp_seconds";
    assert_eq!(empty, [of_tls, "twinlock_tls_handshake_failures_total"]);
    for sample in page.samples.keys() {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            let family = name.strip_suffix(end)?;
            documented.get(family).filter(|(kind, _)| kind == "histogram")
        });
        let (_, known) = family.or(documented.get(name)).expect(sample);
        let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.split('=').next().unwrap_or_default().to_owned());
        let labels: BTreeSet<String> = labels.filter(|label| label != "le").collect();
        assert_eq!(&labels, known, "{sample}");
    }
}

/// The names of metrics in an expression.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    let names = words.filter(|word| word.starts_with("twinlock_") || word.starts_with("process_"));
    names.map(str::to_owned).collect()
}

/// The labels that Prometheus itself gives.
const OF_PROMETHEUS: [&str; 3] = ["instance", "job", "le"];

/// What an expression asks of a metric's labels: the metric, the label and each value.
fn selected_in(expression: &str) -> Vec<(String, String, String)> {
    let mut selected = Vec::new();
    for (before, after) in expression.match_indices('{').map(|(at, _)| expression.split_at(at)) {
        let name = before.rsplit(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
        let name = name.into_iter().next().unwrap_or_default();
        let Some((selectors, _)) = after[1..].split_once('}') else { continue };
        if !name.starts_with("twinlock_") {
            continue;
        }
        for selector in selectors.split("\",") {
            let (label, values) = selector.split_once('"').expect("a value in quotes");
            let label = label.trim_end_matches(['=', '!', '~']).trim();
            for value in values.trim_end_matches('"').split('|') {
                selected.push((name.to_owned(), label.to_owned(), value.to_owned()));
            }
        }
    }
    selected
}

#[tokio::test]
async fn dashboard_and_alerts_select_labels_that_there_are() {
    let server = Server::start_default();
    twinlock_tests::User::enroll(&mut server.client().await, "ann").await;
    let page = Page::of(&server);
    let documented = documented();
    let codes = (0..=16).map(|code| code_name(code.into()));
    let reasons: Vec<&str> =
        Reason::ALL.iter().map(|reason| reason.as_str()).chain(codes).collect();
    let dashboard = read("helm/twinlock/files/dashboard.json").replace("\\\"", "\"");
    let mut values = 0;
    for (name, label, value) in
        [selected_in(&dashboard), selected_in(&read("helm/twinlock/files/alerts.yaml"))].concat()
    {
        if OF_PROMETHEUS.contains(&&*label) {
            continue;
        }
        let family = name.strip_suffix("_bucket").unwrap_or(&name);
        let (_, labels) = documented.get(family).expect(&name);
        assert!(labels.contains(&label), "{name} has no label {label}");
        let is_shown = match name.starts_with("twinlock_calls") {
            true => reasons.contains(&&*value),
            false => {
                let sought = format!("{label}=\"{value}\"");
                page.samples.keys().any(|it| it.starts_with(&name) && it.contains(&sought))
            }
        };
        assert!(is_shown, "no {label} of {name} is ever {value}");
        values += 1;
    }
    assert!(values > 15, "{values}");
}

#[test]
fn dashboard_and_alerts_use_what_is_documented() {
    let documented = documented();
    let is_known = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().any(|end| {
            let family = name.strip_suffix(end).and_then(|family| documented.get(family));
            family.is_some_and(|(kind, _)| kind == "histogram")
        });
        of_histogram || documented.get(name).is_some_and(|(kind, _)| kind != "histogram")
    };
    let dashboard: Value =
        serde_json::from_str(&read("helm/twinlock/files/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let shown: BTreeSet<String> =
        targets.flat_map(|target| metrics_in(target["expr"].as_str().expect("an expr"))).collect();
    assert!(shown.len() > 30, "{shown:?}");
    let watched = metrics_in(&read("helm/twinlock/files/alerts.yaml"));
    assert!(watched.len() > 12, "{watched:?}");
    for name in shown.iter().chain(&watched) {
        assert!(is_known(name), "{name} is not documented");
    }
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
}

#[test]
fn each_alert_is_documented_and_tested() {
    let alerts = read("helm/twinlock/files/alerts.yaml");
    let alerts: BTreeSet<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    let page = read("docs/telemetry.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `Twinlock"));
    let told: BTreeSet<String> =
        rows.filter_map(|row| Some(format!("Twinlock{}", row.split_once('`')?.0))).collect();
    assert_eq!(alerts.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>(), told);
    let tests = read("tests/tests/telemetry/alerts.test.yaml");
    for alert in alerts {
        let named = format!("alertname: {alert}\n");
        let mut fires = tests.split(&named).skip(1);
        assert!(fires.any(|rest| rest.trim_start().starts_with("exp_alerts")), "{alert}");
        assert!(tests.contains(&format!("alertname: {alert} }}")), "{alert} is quiet at times");
    }
}
