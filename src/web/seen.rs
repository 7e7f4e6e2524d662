//! Where a client is, as GeoJSON (RFC 7946).

use std::borrow::Cow;
use std::fmt::Write;

use herd_core::clock::PosixTime;
use herd_core::wire::{self, Report};
use time::OffsetDateTime;

/// Appends one Feature: `{"type":"Feature","id":"kiwi","geometry":…,"properties":…}`.
///
/// A position that is no position of this globe has no geometry (null, as RFC 7946 wants).
pub fn write_feature(report: &Report<'_>, now: PosixTime, out: &mut String) {
    let id = json(&shown(report.client));
    let _ = write!(out, "{{\"type\":\"Feature\",\"id\":{id},\"geometry\":");
    match wire::position(report.position) {
        Some(at) => {
            let (longitude, latitude) = (at.longitude, at.latitude);
            let _ = write!(out, "{{\"type\":\"Point\",\"coordinates\":[{longitude},{latitude}]}}");
        }
        None => out.push_str("null"),
    }
    let seconds = report.stamp.whole_seconds();
    let _ = write!(
        out,
        ",\"properties\":{{\"time\":{},\"stamp\":{},\"server\":{},\"skew\":{},\"age\":{}}}}}",
        json(&date(seconds)),
        json(&shown(&report.time)),
        json(&shown(report.server)),
        json(&shown(report.skew)),
        now.whole_seconds().saturating_sub(seconds),
    );
}

/// Clients in a collection, with what comes before and behind them.
pub fn collection(features: &[String]) -> String {
    format!("{{\"type\":\"FeatureCollection\",\"features\":[{}]}}\n", features.join(","))
}

/// What is no text of Unicode is shown by its bytes, as in a URL.
pub(crate) fn shown(bytes: &[u8]) -> Cow<'_, str> {
    let mut chunks = bytes.utf8_chunks().peekable();
    match chunks.next() {
        Some(chunk) if chunk.invalid().is_empty() && chunks.peek().is_none() => {
            return Cow::Borrowed(chunk.valid());
        }
        None => return Cow::Borrowed(""),
        Some(_) => {}
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    Cow::Owned(text)
}

pub(crate) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// RFC 3339, in seconds; of a time that no calendar has, nothing.
fn date(posix_s: u64) -> String {
    let seconds = i64::try_from(posix_s).ok();
    let Some(time) = seconds.and_then(|it| OffsetDateTime::from_unix_timestamp(it).ok()) else {
        return String::new();
    };
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feature(line: &str) -> String {
        let mut text = String::new();
        let report = Report::of_line(line.as_bytes()).unwrap();
        write_feature(&report, PosixTime::new(1_795_910_190, 0), &mut text);
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
        let two = collection(&["{}".to_owned(), "{}".to_owned()]);
        assert_eq!(two, "{\"type\":\"FeatureCollection\",\"features\":[{},{}]}\n");
    }
}
