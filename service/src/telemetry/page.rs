//! The page of metrics: its form in OpenMetrics, and in the older text format of Prometheus.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::fmt;
use twinlock_engine::metrics::{Distribution, Histogram};

/// The content type of OpenMetrics 1.0.
pub const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus's own text.
pub const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether whoever asks takes OpenMetrics, as Prometheus does; `curl` and `promtool` want the plain text.
pub fn wants_open_metrics(accept: &str) -> bool {
    accept.contains("application/openmetrics-text")
}

/// Writes all that a collector has, in OpenMetrics.
pub fn open_metrics(collector: impl Collector) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    let mut page = String::with_capacity(32 * 1024);
    text::encode(&mut page, &registry)?;
    Ok(page)
}

/// The same in the plain text, where a family of counters is called what its samples are, and an info is
/// a gauge.
pub fn plain(open_metrics: &str) -> String {
    let mut page = String::with_capacity(open_metrics.len() + 1024);
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
        else {
            if !line.starts_with('#') {
                page.push_str(line);
                page.push('\n');
            }
            continue;
        };
        let kind = lines.next().and_then(|line| line.rsplit(' ').next()).unwrap_or("untyped");
        let (suffix, kind) = match kind {
            "counter" => ("_total", kind),
            "info" => ("_info", "gauge"),
            _ => ("", kind),
        };
        page.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
    }
    page
}

/// Labels: names and values of bounded sets.
pub type Labels<'l, const N: usize> = [(&'static str, &'l str); N];

/// Writes families of metrics, one after the other.
pub struct Page<'e>(pub DescriptorEncoder<'e>);

impl Page<'_> {
    /// A number that only grows, by labels. The name goes without `_total`.
    pub fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l, N>, u64)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        for (labels, count) in rows {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
        Ok(())
    }

    /// A number that only grows. The name goes without `_total`.
    pub fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, u64, u64>(&count, None)
    }

    /// The same, in parts of one.
    pub fn fraction(&mut self, name: &str, help: &str, count: f64) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Counter)?;
        family.encode_counter::<NoLabelSet, f64, f64>(&count, None)
    }

    /// A number as it is now; nothing where it is not known.
    pub fn gauge<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        value: Option<V>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Gauge)?;
        value.map_or(Ok(()), |value| family.encode_gauge(&value))
    }

    /// Which of several states holds: 1 for that one, 0 for the others.
    pub fn states(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        states: &[&'static str],
        present: &str,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Gauge)?;
        for state in states {
            let holds = u64::from(*state == present);
            family.encode_family(&[(label, *state)])?.encode_gauge(&holds)?;
        }
        Ok(())
    }

    /// How long something took, by labels; nothing of what never was.
    pub fn histograms<'l, 'h, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = (Labels<'l, N>, &'h Histogram)>,
    ) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Histogram)?;
        for (labels, histogram) in rows {
            let Distribution { buckets, count, seconds } = histogram.read();
            if count > 0 {
                let mut metric = family.encode_family(&labels)?;
                metric.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
            }
        }
        Ok(())
    }

    /// How long something took.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        let mut family = self.family(name, help, MetricType::Histogram)?;
        let Distribution { buckets, count, seconds } = histogram.read();
        family.encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }

    /// What does not change while the process lives. The name goes without `_info`.
    pub fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: Labels<'_, N>,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Info)?.encode_info(&labels)
    }

    fn family<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Sample;

    impl Collector for Sample {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let mut page = Page(encoder);
            page.counters("calls", "Calls.", [([("method", "Verify")], 2)])?;
            page.counters("nothing", "Nothing yet.", [([("why", "none")], 0); 0])?;
            page.gauge("records", "Records.", Some(3_u64))?;
            page.gauge::<u64>("unknown", "Not known.", None)?;
            page.states("state", "Which.", "state", &["up", "down"], "down")?;
            page.info("build", "The build.", [("version", "1.2.3")])
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        let open = open_metrics(Sample).expect("a page");
        assert!(
            open.contains("# TYPE calls counter\ncalls_total{method=\"Verify\"} 2\n"),
            "{open}"
        );
        assert!(open.ends_with("# EOF\n"));
        assert_eq!(
            plain(&open),
            "# HELP calls_total Calls.\n# TYPE calls_total counter\ncalls_total{method=\"Verify\"} 2\n\
             # HELP nothing_total Nothing yet.\n# TYPE nothing_total counter\n\
             # HELP records Records.\n# TYPE records gauge\nrecords 3\n\
             # HELP unknown Not known.\n# TYPE unknown gauge\n\
             # HELP state Which.\n# TYPE state gauge\nstate{state=\"up\"} 0\nstate{state=\"down\"} 1\n\
             # HELP build_info The build.\n# TYPE build_info gauge\nbuild_info{version=\"1.2.3\"} 1\n"
        );
        assert!(wants_open_metrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"));
        assert!(!wants_open_metrics("*/*"));
    }
}
