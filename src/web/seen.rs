//! Where a client is, as GeoJSON (RFC 7946).

use std::borrow::Cow;
use std::fmt::Write;

use herd_core::clock::PosixTime;
use herd_core::wire::{self, Report};

use crate::json_text::{push_date, push_degrees, push_metres, push_text, push_whole};
use crate::nearby::Count;

/// Appends one Feature: `{"type":"Feature","id":"kiwi","geometry":…,"properties":…}`.
///
/// A position that is no position of this globe has no geometry (null, as RFC 7946 wants).
pub fn write_feature(
    report: &Report<'_>,
    now: PosixTime,
    distance_m: Option<f64>,
    out: &mut String,
) {
    out.push_str("{\"type\":\"Feature\",\"id\":");
    push_text(&shown(report.client), out);
    out.push_str(",\"geometry\":");
    match wire::position(report.position) {
        Some(at) => {
            out.push_str("{\"type\":\"Point\",\"coordinates\":[");
            push_degrees(at.longitude, out);
            out.push(',');
            push_degrees(at.latitude, out);
            out.push_str("]}");
        }
        None => out.push_str("null"),
    }
    let seconds = report.stamp.whole_seconds();
    out.push_str(",\"properties\":{\"time\":\"");
    push_date(seconds, out);
    out.push_str("\",\"stamp\":");
    push_text(&shown(&report.time), out);
    out.push_str(",\"server\":");
    push_text(&shown(report.server), out);
    out.push_str(",\"skew\":");
    push_text(&shown(report.skew), out);
    out.push_str(",\"age\":");
    push_whole(now.whole_seconds().saturating_sub(seconds), 1, out);
    if let Some(metres) = distance_m {
        out.push_str(",\"distance\":");
        push_metres(metres, out);
    }
    out.push_str("}}");
}

/// Clients, or how many of them are where, in a collection: its text, as it grows.
pub struct Collection {
    text: String,
    features: usize,
}

impl Default for Collection {
    fn default() -> Collection {
        let text = "{\"type\":\"FeatureCollection\",\"features\":[".to_owned();
        Collection { text, features: 0 }
    }
}

impl Collection {
    pub fn len(&self) -> usize {
        self.features
    }

    pub fn is_empty(&self) -> bool {
        self.features == 0
    }

    /// Adds a client; `distance_m` is how far away it is from what was asked for.
    pub fn add(&mut self, report: &Report<'_>, now: PosixTime, distance_m: Option<f64>) {
        self.comma();
        write_feature(report, now, distance_m, &mut self.text);
    }

    /// Adds how many are about there.
    pub fn add_count(&mut self, count: &Count) {
        self.comma();
        let ((latitude, longitude), clients) = (count.at.degrees(), count.clients);
        let _ = write!(
            self.text,
            "{{\"type\":\"Feature\",\"geometry\":{{\"type\":\"Point\",\"coordinates\":\
             [{longitude},{latitude}]}},\"properties\":{{\"count\":{clients}}}}}"
        );
    }

    /// The whole, with where to ask for more.
    pub fn finish(mut self, next: Option<&str>) -> String {
        let _ = write!(self.text, "],\"numberReturned\":{}", self.features);
        if let Some(next) = next {
            let _ = write!(self.text, ",\"next\":{}", json(next));
        }
        self.text.push_str("}\n");
        self.text
    }

    fn comma(&mut self) {
        if self.features > 0 {
            self.text.push(',');
        }
        self.features += 1;
    }
}

/// What is no text of Unicode is shown by its bytes, as in a URL.
pub(crate) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    Cow::Owned(text)
}

pub(crate) fn json(text: &str) -> String {
    let mut spelled = String::with_capacity(text.len() + 2);
    push_text(text, &mut spelled);
    spelled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nearby::Point;

    fn feature(line: &str) -> String {
        let mut text = String::new();
        let report = Report::of_line(line.as_bytes()).unwrap();
        write_feature(&report, PosixTime::new(1_795_910_190, 0), None, &mut text);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["type"], "Feature");
        text
    }

    #[test]
    fn a_report_is_a_feature() {
        let line = "AT Hill +0.25 jane/phone +60.1699+024.9384 1795910184.000000001";
        let expected = "{\"type\":\"Feature\",\"id\":\"jane/phone\",\"geometry\":{\"type\":\
                        \"Point\",\"coordinates\":[24.9384,60.1699]},\"properties\":{\"time\":\
                        \"2026-11-28T23:56:24Z\",\"stamp\":\"1795910184.000000001\",\"server\":\
                        \"Hill\",\"skew\":\"+0.25\",\"age\":6}}";
        assert_eq!(feature(line), expected);
    }

    #[test]
    fn ids_of_strangers_stay_text() {
        let text = feature("AT Hill +0.25 \"<script>\\ +60.1699+024.9384 1795910184");
        assert!(text.contains(r#""id":"\"<script>\\""#), "{text}");
        let late = feature("AT Hill +0.25 kiwi +60.1699+024.9384 99999999999999999999999");
        assert!(late.contains("\"time\":\"\"") && late.contains("\"age\":0"), "{late}");
        assert_eq!(shown(b"a\xff\xfeb"), "a%FF%FEb");
        assert_eq!((shown(b""), shown("é".as_bytes())), ("".into(), "é".into()));
    }

    #[test]
    fn collections_have_commas() {
        let report = Report::of_line(b"AT Hill +0.25 kiwi +60.5+024.5 1795910184").unwrap();
        let mut two = Collection::default();
        two.add(&report, PosixTime::new(1_795_910_190, 0), Some(12.345));
        two.add_count(&Count { at: Point::new(1.5, -2.5).unwrap(), clients: 7 });
        let text = two.finish(Some("/?a=\""));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(text.contains("\"distance\":12.3"), "{text}");
        let count = &read["features"][1];
        assert_eq!(count["geometry"]["coordinates"], serde_json::json!([-2.5, 1.5]));
        assert_eq!((&count["properties"]["count"], &read["next"]), (&7.into(), &"/?a=\"".into()));
        assert_eq!(read["numberReturned"], 2);
        let none = Collection::default().finish(None);
        let expected = "{\"type\":\"FeatureCollection\",\"features\":[],\"numberReturned\":0}\n";
        assert_eq!(none, expected);
    }
}
