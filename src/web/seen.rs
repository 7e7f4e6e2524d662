//! Where a client is, as GeoJSON (RFC 7946).

use std::io::Write;

use herd_core::clock::PosixTime;
use herd_core::wire::{self, Report};

use crate::blur::{Blur, Square};
use crate::follow::area::Area;
pub(crate) use crate::json_text::shown;
use crate::json_text::{push_date, push_degrees, push_metres, push_spelled, push_text, push_whole};
use crate::nearby::Count;

/// What a client takes in an answer, unless its name is long, and what comes behind all.
const FEATURE_BYTES: usize = 272;
const END_BYTES: usize = 128;

/// Appends one Feature: `{"type":"Feature","id":"kiwi","geometry":…,"properties":…}`.
///
/// A position that is no position of this globe has no geometry (null, as RFC 7946 wants).
pub fn write_feature(
    report: &Report<'_>,
    now: PosixTime,
    distance_m: Option<f64>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"type\":\"Feature\",\"id\":");
    push_text(report.client, out);
    let before_geometry = out.len();
    out.extend_from_slice(b",\"geometry\":{\"type\":\"Point\",\"coordinates\":[");
    if push_spelled(report.position, out) {
        out.extend_from_slice(b"]}");
    } else if let Some(at) = wire::position(report.position) {
        push_degrees(at.longitude, out);
        out.push(b',');
        push_degrees(at.latitude, out);
        out.extend_from_slice(b"]}");
    } else {
        out.truncate(before_geometry);
        out.extend_from_slice(b",\"geometry\":null");
    }
    let seconds = report.stamp.whole_seconds();
    out.extend_from_slice(b",\"properties\":{\"time\":\"");
    push_date(seconds, out);
    out.extend_from_slice(b"\",\"stamp\":");
    push_text(&report.time, out);
    out.extend_from_slice(b",\"server\":");
    push_text(report.server, out);
    out.extend_from_slice(b",\"skew\":");
    push_text(report.skew, out);
    out.extend_from_slice(b",\"age\":");
    push_whole(now.whole_seconds().saturating_sub(seconds), 1, out);
    if let Some(metres) = distance_m {
        out.extend_from_slice(b",\"distance\":");
        push_metres(metres, out);
    }
    out.extend_from_slice(b"}}");
}

/// Appends the Feature of a client of which only about where it is may be known: the square that it
/// is in as a Polygon, and the minute. Who heard it, and how late, is not told.
pub fn write_square(report: &Report<'_>, blur: Blur, out: &mut Vec<u8>) {
    let Square { area, minute_s } =
        blur.square(wire::position(report.position), report.stamp.whole_seconds());
    out.extend_from_slice(b"{\"type\":\"Feature\",\"id\":");
    push_text(report.client, out);
    let geometry = area.map(|Area { west, south, east, north }| {
        let ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
        serde_json::json!({ "type": "Polygon", "coordinates": [ring] })
    });
    let _ = write!(out, ",\"geometry\":{}", geometry.unwrap_or_default());
    out.extend_from_slice(b",\"properties\":{\"time\":\"");
    push_date(minute_s, out);
    out.extend_from_slice(b"\"}}");
}

/// Clients, or how many of them are where, in a collection: its text, as it grows.
pub struct Collection {
    text: Vec<u8>,
    features: usize,
}

impl Default for Collection {
    fn default() -> Collection {
        let text = b"{\"type\":\"FeatureCollection\",\"features\":[".to_vec();
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

    /// So many clients may be added, for whose text there should be room.
    pub fn expect(&mut self, features: usize) {
        self.text.reserve(features * FEATURE_BYTES + END_BYTES);
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
    pub fn finish(mut self, next: Option<&str>) -> Vec<u8> {
        let _ = write!(self.text, "],\"numberReturned\":{}", self.features);
        if let Some(next) = next {
            let _ = write!(self.text, ",\"next\":{}", json(next));
        }
        self.text.extend_from_slice(b"}\n");
        self.text
    }

    fn comma(&mut self) {
        if self.features > 0 {
            self.text.push(b',');
        }
        self.features += 1;
    }
}

pub(crate) fn json(text: &str) -> String {
    let mut spelled = Vec::with_capacity(text.len() + 2);
    push_text(text.as_bytes(), &mut spelled);
    String::from_utf8(spelled).expect("JSON is text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nearby::Point;

    fn feature(line: &str) -> String {
        let mut text = Vec::new();
        let report = Report::of_line(line.as_bytes()).unwrap();
        write_feature(&report, PosixTime::new(1_795_910_190, 0), None, &mut text);
        let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(read["type"], "Feature");
        String::from_utf8(text).unwrap()
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
    fn who_is_blurred_is_in_a_square() {
        let line = b"AT Hill +0.25 \"kiwi\" +60.1699+024.9384 1795910184.000000001";
        let mut text = Vec::new();
        let blur = Blur::new(1_000).unwrap();
        write_square(&Report::of_line(line).unwrap(), blur, &mut text);
        let expected = "{\"type\":\"Feature\",\"id\":\"\\\"kiwi\\\"\",\"geometry\":\
                        {\"coordinates\":[[[24.9169921875,60.1611328125],\
                        [24.9609375,60.1611328125],[24.9609375,60.172119140625],\
                        [24.9169921875,60.172119140625],\
                        [24.9169921875,60.1611328125]]],\"type\":\"Polygon\"},\"properties\":\
                        {\"time\":\"2026-11-28T23:56:00Z\"}}";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
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
        let text = String::from_utf8(two.finish(Some("/?a=\""))).unwrap();
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(text.contains("\"distance\":12.3"), "{text}");
        let count = &read["features"][1];
        assert_eq!(count["geometry"]["coordinates"], serde_json::json!([-2.5, 1.5]));
        assert_eq!((&count["properties"]["count"], &read["next"]), (&7.into(), &"/?a=\"".into()));
        assert_eq!(read["numberReturned"], 2);
        let none = Collection::default().finish(None);
        let expected = "{\"type\":\"FeatureCollection\",\"features\":[],\"numberReturned\":0}\n";
        assert_eq!(none, expected.as_bytes());
    }
}
