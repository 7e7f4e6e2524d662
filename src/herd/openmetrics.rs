//! Metrics as text: families of figures to OpenMetrics 1.0, as a Prometheus scrapes them. It knows
//! no server: what is measured is told by those who call it.
//!
//! Every figure is read at one moment and told at once, so nothing here is shared, locked or kept.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// What a scraper learns about the text: some fail a scrape without a version.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A label's name and value.
pub type Label = (&'static str, String);

/// How many observations belong to each upper bound, and not to one before, and their sum. The
/// last count is of those above all bounds.
#[derive(Clone, Debug)]
pub struct Buckets {
    counts: Vec<(f64, u64)>,
    sum: f64,
}

impl Buckets {
    pub fn new(bounds: &[f64], counts: &[u64], sum: f64) -> Buckets {
        let all = bounds.iter().copied().chain([f64::INFINITY]);
        let counts = counts.iter().copied().chain([0]);
        Buckets { counts: all.zip(counts).collect(), sum }
    }
}

/// A figure of a family.
#[derive(Clone, Debug)]
pub enum Figure {
    /// Only grows, from the start of the process on.
    Counter(f64),
    /// Goes up and down.
    Gauge(f64),
    /// Says what the labels say.
    Info,
    Histogram(Buckets),
}

/// Figures of one name, which labels tell apart.
#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    series: Vec<(Vec<Label>, Figure)>,
}

/// All families, in the order in which they are told.
#[derive(Debug, Default)]
pub struct Metrics {
    families: Vec<Family>,
}

impl Metrics {
    /// A family with one series without labels. A counter's name is given without its `_total`, a
    /// text's without its `_info`.
    pub fn one(&mut self, name: &'static str, help: &'static str, figure: Figure) {
        self.many(name, help, [(Vec::new(), figure)]);
    }

    /// A family whose series have labels: the same at each scrape, whatever their figures.
    pub fn many(
        &mut self,
        name: &'static str,
        help: &'static str,
        series: impl IntoIterator<Item = (Vec<Label>, Figure)>,
    ) {
        self.families.push(Family { name, help, series: series.into_iter().collect() });
    }

    /// The whole text, with its end.
    pub fn into_text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::with_capacity(32 * 1024);
        encode(&mut text, &registry).expect("a String takes what it is given");
        text
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        // One without series has nothing to say, and a scraper would take it for a mistake.
        for family in self.families.iter().filter(|family| !family.series.is_empty()) {
            let kind = match family.series[0].1 {
                Figure::Counter(_) => MetricType::Counter,
                Figure::Gauge(_) => MetricType::Gauge,
                Figure::Info => MetricType::Info,
                Figure::Histogram(_) => MetricType::Histogram,
            };
            let mut out = encoder.encode_descriptor(family.name, family.help, None, kind)?;
            for (labels, figure) in &family.series {
                match figure {
                    Figure::Info => out.encode_info(labels)?,
                    _ if labels.is_empty() => write(&mut out, figure)?,
                    _ => write(&mut out.encode_family(labels)?, figure)?,
                }
            }
        }
        Ok(())
    }
}

fn write(out: &mut MetricEncoder<'_>, figure: &Figure) -> fmt::Result {
    // Digits behind a point would be added to whole numbers, too; those below 2^53 are exact.
    const WHOLE: f64 = (1u64 << 53) as f64;
    let is_whole = |value: &f64| value.fract() == 0.0 && (0.0..=WHOLE).contains(value);
    match figure {
        Figure::Counter(value) if is_whole(value) => {
            out.encode_counter::<NoLabelSet, u64, u64>(&(*value as u64), None)
        }
        Figure::Counter(value) => out.encode_counter::<NoLabelSet, f64, u64>(value, None),
        Figure::Gauge(value) if is_whole(value) => out.encode_gauge(&(*value as u64)),
        Figure::Gauge(value) => out.encode_gauge(value),
        Figure::Histogram(Buckets { counts, sum }) => {
            let count = counts.iter().map(|(_, count)| count).sum();
            out.encode_histogram::<NoLabelSet>(*sum, count, counts, None)
        }
        Figure::Info => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_become_text() {
        let mut metrics = Metrics::default();
        metrics.one("a_b", "How many.", Figure::Counter(3.0));
        metrics.one("a_seconds", "How long.", Figure::Counter(0.25));
        let door = |door: &str| vec![("door", door.to_owned())];
        let both = [(door("x"), Figure::Gauge(0.0)), (door("y\"\n"), Figure::Gauge(-1.5))];
        metrics.many("a_door", "Which.", both);
        metrics.one("a_moment", "When.", Figure::Gauge(1_795_957_011.0));
        metrics.many("a_none", "Nothing.", []);
        let buckets = Figure::Histogram(Buckets::new(&[0.5, 1.0], &[2, 0, 1], 7.5));
        metrics.one("a_time_seconds", "Times.", buckets);
        metrics.many("a", "Who.", [(vec![("name", "Hill".to_owned())], Figure::Info)]);
        let expected = "# HELP a_b How many.\n# TYPE a_b counter\na_b_total 3\n\
                        # HELP a_seconds How long.\n# TYPE a_seconds counter\n\
                        a_seconds_total 0.25\n\
                        # HELP a_door Which.\n# TYPE a_door gauge\n\
                        a_door{door=\"x\"} 0\na_door{door=\"y\\\"\\n\"} -1.5\n\
                        # HELP a_moment When.\n# TYPE a_moment gauge\na_moment 1795957011\n\
                        # HELP a_time_seconds Times.\n# TYPE a_time_seconds histogram\n\
                        a_time_seconds_sum 7.5\na_time_seconds_count 3\n\
                        a_time_seconds_bucket{le=\"0.5\"} 2\na_time_seconds_bucket{le=\"1.0\"} 2\n\
                        a_time_seconds_bucket{le=\"+Inf\"} 3\n\
                        # HELP a Who.\n# TYPE a info\na_info{name=\"Hill\"} 1\n# EOF\n";
        assert_eq!(metrics.into_text(), expected);
    }
}
