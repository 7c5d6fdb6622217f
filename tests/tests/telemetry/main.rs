//! What the server tells of itself: metrics as documented, traces as part of the caller's, and nothing of
//! any user.

mod alerts;
mod counts;
mod documents;
mod hostile;
mod log;
mod losses;
mod prometheus;
mod store;
mod traces;

use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use twinlock_tests::Server;

/// How long something that must come may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A page of metrics, as a scrape sees it.
struct Page {
    text: String,
    /// Values by `name{labels}`.
    samples: BTreeMap<String, f64>,
}

impl Page {
    fn of(server: &Server) -> Self {
        let answer = server.probe("/metrics");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("text/plain; version=0.0.4"), "{head}");
        let samples = body.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        Self { samples: samples.collect(), text: body.to_owned() }
    }

    /// A sample, by its name and labels as they are written; 0 where there is none.
    fn value(&self, sample: &str) -> f64 {
        self.samples.get(sample).copied().unwrap_or_default()
    }

    /// The families, with their types.
    fn families(&self) -> BTreeMap<&str, &str> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split_once(' ').expect("a type")).collect()
    }
}

/// Waits until something holds of the metrics.
async fn until(server: &Server, what: &str, holds: impl Fn(&Page) -> bool) -> Page {
    let limit = Instant::now() + LIMIT;
    loop {
        let page = Page::of(server);
        if holds(&page) {
            return page;
        }
        assert!(Instant::now() < limit, "{what}: {}", page.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
