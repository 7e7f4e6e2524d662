//! Whatever comes, something is counted and the answer is one that an app can read.

use std::time::Duration;

use herd_core::clock::PosixTime;
use herd_web::{Fix, Hints, read_body};
use proptest::prelude::*;

/// Pieces of what apps send, in any order, with any bytes between them.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        prop_oneof![
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just(","),
            Just(":"),
            Just("\""),
            Just("\"_type\":\"location\""),
            Just("\"locations\":"),
            Just("\"location\":{"),
            Just("\"coords\":{"),
            Just("\"latitude\":60.1699"),
            Just("\"longitude\":24.9384"),
            Just("\"lat\":60.1699"),
            Just("\"lon\":24.9384"),
            Just("\"tst\":1795910184"),
            Just("\"type\":\"Feature\""),
            Just("\"type\":\"FeatureCollection\""),
            Just("\"features\":["),
            Just("\"geometry\":"),
            Just("\"coordinates\":[24.9,60.1]"),
            Just("\"properties\":{"),
            Just("\"device_id\":\"kiwi\""),
            Just("\"id\":\"kiwi\""),
            Just("\"type\":\"update_location\""),
            Just("\"data\":{\"gps\":[60.1,24.9]}"),
            Just("id=kiwi"),
            Just("&"),
            Just("lat=60.1699"),
            Just("&lon=24.9384"),
            Just("&timestamp=1795910184"),
            Just("null"),
            Just("1e999"),
            Just("-0"),
        ]
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec(piece, 0..32).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn each_body_is_answered(body in body(), query in "[ -~]{0,40}", name in "[ -~]{0,5}") {
        let now = PosixTime::new(1_795_910_200, 0);
        let name = Some(name.as_str()).filter(|name| !name.is_empty());
        let (user, device, ahead_max) = (None, name, Duration::MAX);
        let hints = Hints { query: &query, name, user, device, now, ahead_max };
        let reading = read_body(&body, &hints);
        for fix in &reading.fixes {
            let is_word = !fix.client.bytes().any(|byte| byte <= b' ' || byte == 0x7f);
            prop_assert!(is_word && fix.client.len() <= Fix::CLIENT_BYTES_MAX);
            prop_assert!(!fix.client.is_empty());
            let (latitude, longitude) = fix.position.split_at(11);
            prop_assert!(latitude.parse::<f64>().unwrap().abs() <= 90.0);
            prop_assert!(longitude.parse::<f64>().unwrap().abs() <= 180.0);
        }
        let (answer, _) = reading.answer();
        prop_assert!(serde_json::from_str::<serde_json::Value>(&answer).is_ok(), "{}", answer);
    }
}

/// Goal: JSON that is deep or wide costs what it is long.
#[test]
fn deep_and_wide_bodies_are_bounded() {
    let now = PosixTime::new(1_795_910_200, 0);
    let hints =
        Hints { query: "", name: None, user: None, device: None, now, ahead_max: Duration::MAX };
    for part in ["[", "{\"location\":", "{\"locations\":[", "{\"geometry\":{\"a\":", "[[{\"a\":"] {
        let deep = part.repeat((1 << 20) / part.len());
        assert!(read_body(deep.as_bytes(), &hints).fixes.is_empty());
    }
    let wide = format!("[{}1]", "1,".repeat(1 << 19));
    let reading = read_body(wide.as_bytes(), &hints);
    assert_eq!(reading.unusable.iter().sum::<u32>(), (1 << 19) + 1);
    let fields = "a=1&".repeat(1 << 18);
    assert_eq!(read_body(fields.as_bytes(), &hints).unusable.iter().sum::<u32>(), 1);
}
