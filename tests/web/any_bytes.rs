//! What each kind of client sends, changed at random: nothing panics, whatever is read is what the
//! wire takes, and the answer is one that its app can read. The same changes each time.
//!
//! As many as one wants are tried by hand, in a release build:
//!
//! ```text
//! ANY_BYTES=100000000 cargo test --release --test web any_bytes -- --nocapture
//! ```

use std::time::{Duration, Instant};

use fastrand::Rng;
use herd_core::clock::PosixTime;
use herd_core::wire::Command;
use herd_web::http::{self, Limits};
use herd_web::{Hints, mqtt, read_body};

/// Executions of each kind, unless `ANY_BYTES` says how many there are in all.
const EXECUTIONS: u64 = 3_000;
const EDITS_MAX: usize = 6;
const LIMITS: Limits = Limits { head_bytes_max: 4_096, body_bytes_max: 4_096 };
const NOW: u64 = 1_795_910_200;

/// How something reaches us.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Body,
    Query,
    Head,
    Mqtt,
}

/// Of each kind of client, something that it sends.
const KINDS: [(&str, Way, &str); 12] = [
    (
        "OwnTracks",
        Way::Body,
        r#"{"_type":"location","acc":12,"batt":81,"cog":270,"lat":60.1699,"lon":24.9384,
            "tid":"ph","topic":"owntracks/jane/phone","tst":1795910184,"vel":4}"#,
    ),
    (
        "Traccar Client 10",
        Way::Body,
        "id=kiwi&lat=60.1699&lon=24.9384&timestamp=1795910184&speed=1.9&bearing=7&charge=false",
    ),
    (
        "Traccar Client 9",
        Way::Body,
        r#"{"location":{"timestamp":"2026-11-28T23:56:24.5Z","coords":{"latitude":60.1699,
            "longitude":24.9384,"speed":-1},"_":"&id=kiwi&lat=60.1"},"device_id":"kiwi"}"#,
    ),
    ("OsmAnd", Way::Query, "id=kiwi&lat=60.1699&lon=24.9384&timestamp=1795910184123&hdop=3.2"),
    (
        "GPSLogger",
        Way::Body,
        "latitude=60.1699&longitude=24.9384&device=kiwi&time=2026-11-28T23%3A56%3A24%2B02:00",
    ),
    (
        "Overland",
        Way::Body,
        r#"{"locations":[{"type":"Feature","geometry":{"type":"Point",
            "coordinates":[24.9384,60.1699]},"properties":{"timestamp":"2026-11-28T23:56:24-0700",
            "device_id":"kiwi","speed":-1}}],"trip":{}}"#,
    ),
    (
        "Home Assistant",
        Way::Body,
        r#"{"type":"update_location","data":{"gps":[60.1699,24.9384],"gps_accuracy":20},"id":"k"}"#,
    ),
    (
        "GeoJSON",
        Way::Body,
        r#"{"type":"FeatureCollection","features":[{"type":"Feature","id":"kiwi","geometry":{
            "type":"Point","coordinates":[24.9384,60.1699,7]},
            "properties":{"time":1795910184.5}}]}"#,
    ),
    ("a list", Way::Body, r#"[{"id":"kiwi","lat":"60.1699","lon":"24.9384"},{"id":"fig"}]"#),
    ("a gateway", Way::Query, "deviceid=kiwi&location=60.1699,24.9384&valid=true&timestamp=0"),
    (
        "a head",
        Way::Head,
        "POST /t/secret/report?a=b HTTP/1.1\r\nHost: localhost:12200\r\nExpect: 100-continue\r\n\
         Transfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    ),
    (
        "MQTT",
        Way::Mqtt,
        "\x10\x1d\0\x04MQTT\x04\x42\0\x3c\0\x02me\0\x04jane\0\x07secret1\
         \x32\x12\0\x0downtracks/a/b\0\x07{}\x60\0\x30\x05\0\x01a12",
    ),
];

/// What changes a meaning oftener than a byte does.
const WORDS: [&str; 16] = [
    "\"",
    "\\u0000",
    "1e999",
    "-0",
    "null",
    "[[",
    "}",
    "\r\n",
    "%",
    "%2",
    "\"lat\":",
    "&lat=",
    "9999999999999999999",
    "\"_type\":\"encrypted\"",
    "Content-Length: 1\r\n",
    "\u{fffd}",
];

fn change(bytes: &mut Vec<u8>, random: &mut Rng) {
    for _ in 0..random.usize(1..=EDITS_MAX) {
        let (from, to) = (random.usize(0..=bytes.len()), random.usize(0..=bytes.len()));
        let part = from.min(to)..from.max(to).min(from.min(to) + 24);
        match random.u32(0..8) {
            0..3 if from < bytes.len() => bytes[from] = random.u8(..),
            3 => drop(bytes.drain(part)),
            4 => bytes.extend_from_within(part),
            5 => bytes.truncate(from.max(1)),
            _ => {
                let word = WORDS[random.usize(0..WORDS.len())];
                bytes.splice(from..from, word.bytes());
            }
        }
    }
}

fn check(way: Way, bytes: &[u8]) {
    let (body, query) = match way {
        Way::Head => return check_head(bytes),
        Way::Mqtt => return check_packets(bytes),
        Way::Body => (bytes, ""),
        Way::Query => (&b""[..], str::from_utf8(bytes).unwrap_or_default()),
    };
    let hints = Hints {
        query,
        name: None,
        user: None,
        device: None,
        now: PosixTime::new(NOW, 0),
        ahead_max: Duration::from_secs(300),
    };
    let mut reading = read_body(body, &hints);
    reading.keep_newest();
    for fix in &reading.fixes {
        let mut line = Vec::new();
        fix.write_line(&mut line);
        let Command::Iamat(iamat) = Command::parse(line.trim_ascii_end()) else {
            panic!("{}, of {}", line.escape_ascii(), bytes.escape_ascii())
        };
        assert!(iamat.client == fix.client.as_bytes() && fix.position.len() == 23, "{fix:?}");
    }
    let (answer, _) = reading.answer();
    assert!(answer.starts_with(['[', '{']) && answer.trim_end().ends_with([']', '}']));
}

/// What was taken is no more than what came, and all that comes is taken or refused.
fn check_head(mut bytes: &[u8]) {
    while let http::Parsed::Whole(request, length) = http::parse(bytes, LIMITS) {
        assert!((1..=bytes.len()).contains(&length) && request.body.len() <= length);
        assert!(request.path.starts_with('/'));
        bytes = &bytes[length..];
    }
}

fn check_packets(mut bytes: &[u8]) {
    while let mqtt::Parsed::Whole(_, length) = mqtt::parse(bytes) {
        assert!((1..=bytes.len()).contains(&length));
        bytes = &bytes[length..];
    }
}

#[test]
fn any_bytes_are_answered() {
    let wanted = std::env::var("ANY_BYTES").ok();
    let each = wanted.as_ref().map_or(EXECUTIONS, |text| {
        let all: u64 = text.parse().expect("ANY_BYTES is how many executions there are in all");
        all.div_ceil(KINDS.len() as u64)
    });
    let mut bytes = Vec::new();
    for (number, (name, way, sent)) in KINDS.into_iter().enumerate() {
        let (mut random, began) = (Rng::with_seed(number as u64), Instant::now());
        check(way, sent.as_bytes());
        for _ in 0..each {
            bytes.clear();
            bytes.extend_from_slice(sent.as_bytes());
            change(&mut bytes, &mut random);
            check(way, &bytes);
        }
        println!("{each} of {name} in {:.1} s", began.elapsed().as_secs_f64());
    }
}
