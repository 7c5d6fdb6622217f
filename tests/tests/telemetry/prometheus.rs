//! Prometheus itself: it scrapes a server, and evaluates the alert rules and what the dashboard asks.

use super::LIMIT;
use super::documents::{file, read};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use twinlock_tests::http::{Http, encode};
use twinlock_tests::{Server, User};

/// A Prometheus that scrapes one server every second.
struct Prometheus {
    child: Child,
    api: Http,
    _directory: TempDir,
}

impl Prometheus {
    fn of(server: &Server) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: ['{}']\n\
             scrape_configs:\n- job_name: twinlock\n  static_configs: [{{ targets: ['{}'] }}]\n",
            file("helm/twinlock/files/alerts.yaml").canonicalize().expect("a file").display(),
            server.probes.trim_start_matches("http://"),
        );
        std::fs::write(directory.path().join("prometheus.yml"), config).expect("a file");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let mut command = Command::new("prometheus");
        command.args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}")).current_dir(directory.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("prometheus, of Debian's package of that name");
        let api = Http::new(&Server::elsewhere(&format!("http://{address}")));
        Self { child, api, _directory: directory }
    }

    /// What a path of its interface answers; null where it does not.
    async fn data(&self, path: &str) -> Value {
        let answer = self.api.send("GET", &format!("/api/v1/{path}"), &[], "").await;
        answer.map(|answer| answer.value()["data"].clone()).unwrap_or_default()
    }

    /// The value of each series that an expression gives.
    async fn values(&self, expression: &str) -> Vec<f64> {
        let data = self.data(&format!("query?query={}", encode(expression))).await;
        let series = data["result"].as_array().cloned();
        let series = series.unwrap_or_else(|| panic!("{expression}: {data}"));
        let values = series.iter().map(|series| series["value"][1].as_str()?.parse().ok());
        values.collect::<Option<_>>().unwrap_or_else(|| panic!("{expression}: {data}"))
    }

    async fn until(&self, expression: &str) {
        let limit = Instant::now() + LIMIT;
        while self.data("status/runtimeinfo").await.is_null()
            || self.values(expression).await.is_empty()
        {
            assert!(Instant::now() < limit, "{expression}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn prometheus_reads_every_metric_and_knows_every_expression() {
    let server = Server::start_default();
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "ann").await;
    client.verify(user.verify(user.wrong_code())).await.expect_err("a wrong code");
    let prometheus = Prometheus::of(&server);
    prometheus.until("count_over_time(up{job=\"twinlock\"}[1m]) > 1").await;
    client.verify(user.verify(user.wrong_code())).await.expect_err("a wrong code");
    let verified = "twinlock_calls_total{method=\"Verify\",reason=\"INVALID_CODE\"}";
    prometheus.until(&format!("{verified} == 2 and {verified} offset 1s == 2")).await;

    let targets = prometheus.data("targets").await;
    let target = &targets["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()));
    assert_eq!(prometheus.values("sum(twinlock_events_total{type=\"ENROLLED\"})").await, [1.0]);
    assert_eq!(prometheus.values("sum(twinlock_build_info{store=\"embedded\"})").await, [1.0]);

    let rules = prometheus.data("rules").await;
    let rules = rules["groups"][0]["rules"].as_array().expect("rules").clone();
    assert!(rules.len() > 10, "{rules:?}");
    for rule in rules {
        let found = (&rule["health"], &rule["lastError"], &rule["state"]);
        assert_eq!(found, (&"ok".into(), &Value::Null, &"inactive".into()), "{rule}");
    }

    let dashboard: Value =
        serde_json::from_str(&read("helm/twinlock/files/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut empty = BTreeSet::new();
    for target in targets {
        let expression = target["expr"].as_str().expect("an expression");
        let asked = expression.replace("$instance", ".*").replace("$__rate_interval", "1m");
        if prometheus.values(&asked).await.is_empty() {
            empty.insert(expression);
        }
    }
    let shown: Vec<&str> = empty.into_iter().filter(|it| !it.contains("twinlock_tls_")).collect();
    assert_eq!(shown, [NOT_RESEALING]);
}

/// The one panel that is empty where nothing is wrong and there is no TLS.
const NOT_RESEALING: &str = "twinlock_reseal_records_done{instance=~\"$instance\"} / \
    (twinlock_reseal_records{instance=~\"$instance\"} > 0)";
