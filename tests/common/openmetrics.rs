//! A strict reader of OpenMetrics 1.0 text, as far as a herd speaks it: counters, gauges, infos and
//! histograms.
//! Apart because a scraper that forgives would hide what another one does not.

use std::collections::BTreeMap;

/// What a text says: the families with their types, and the series, labels and all, with their
/// values.
#[derive(Debug, Default)]
pub struct Exposition {
    pub families: BTreeMap<String, String>,
    pub series: BTreeMap<String, f64>,
}

impl Exposition {
    /// Panics at the first thing that a strict reader refuses.
    pub fn parse(text: &str) -> Exposition {
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF and a newline");
        let mut seen = Exposition::default();
        let mut family = String::new();
        let mut lines = body.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect(line);
                assert!(help.ends_with('.') && !help.contains(['\\', '"']), "{line}");
                let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
                let (other, kind) = kind.and_then(|rest| rest.split_once(' ')).expect(line);
                assert_eq!(other, name, "the type stands behind the help");
                assert!(["counter", "gauge", "info", "histogram"].contains(&kind), "{kind}");
                check_name(name, kind);
                let before = seen.families.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} has two families");
                assert!(lines.peek().is_some_and(|line| !line.starts_with('#')), "{name} is empty");
                family = name.to_owned();
            } else {
                seen.read_sample(&family, line);
            }
        }
        seen.check_histograms();
        seen
    }

    /// Buckets grow to the last, which has all; the histograms of a herd have no labels but `le`.
    fn check_histograms(&self) {
        for (name, _) in self.families.iter().filter(|(_, kind)| *kind == "histogram") {
            let start = format!("{name}_bucket{{le=\"");
            let buckets = self.series.iter().filter_map(|(series, value)| {
                let bound = series.strip_prefix(&start)?.strip_suffix("\"}").expect(series);
                Some((bound.parse::<f64>().expect(series), *value))
            });
            let mut buckets = Vec::from_iter(buckets);
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(buckets.is_sorted_by_key(|(_, value)| *value), "{name}: {buckets:?}");
            let all = self.value(&format!("{name}_count"));
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, all)), "{name}");
            assert!(self.series.contains_key(&format!("{name}_sum")), "{name}");
        }
    }

    fn read_sample(&mut self, family: &str, line: &str) {
        assert!(!line.starts_with('#') && !family.is_empty(), "{line}");
        let (series, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = series.split_once('{').map_or((series, None), |(name, labels)| {
            (name, Some(labels.strip_suffix('}').expect(line)))
        });
        let suffix = match &*self.families[family] {
            "counter" => "_total",
            "info" => "_info",
            "histogram" => ["_bucket", "_sum", "_count"]
                .into_iter()
                .find(|suffix| name.ends_with(suffix))
                .expect(line),
            _ => "",
        };
        assert_eq!(name, format!("{family}{suffix}"), "it belongs to another family");
        labels.into_iter().for_each(check_labels);
        let value: f64 = value.parse().expect(line);
        let is_fit = match suffix {
            "_info" => value == 1.0,
            "_total" => value >= 0.0,
            _ => value.is_finite(),
        };
        assert!(is_fit, "{line}");
        assert_eq!(self.series.insert(series.to_owned(), value), None, "{series} stands twice");
    }

    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("there is no {series}"))
    }
}

fn check_name(name: &str, kind: &str) {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(name.chars().all(is_word) && name.starts_with(|c: char| c.is_ascii_lowercase()));
    for reserved in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
        assert!(!name.ends_with(reserved), "{name} is a {kind}");
    }
}

/// `a="x",b="y"`, with backslashes before quotes, newlines and themselves.
fn check_labels(labels: &str) {
    let mut names = Vec::new();
    let mut rest = labels;
    loop {
        let (name, value) = rest.split_once("=\"").expect(labels);
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{labels}");
        assert!(!names.contains(&name), "{name} stands twice in {labels}");
        names.push(name);
        let mut escaped = false;
        let end = value.find(|c: char| {
            let is_end = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            is_end
        });
        let end = end.expect(labels);
        match value[end + 1..].strip_prefix(',') {
            Some(more) => rest = more,
            None => return assert!(value[end + 1..].is_empty(), "{labels}"),
        }
    }
}
