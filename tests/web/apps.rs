//! Each app's requests, written after what its versions send, and what becomes of them: the report,
//! and the answer that lets the app go on.

use std::time::Duration;

use herd_core::clock::PosixTime;
use herd_web::{Fix, Hints, Reading, Reply, Unusable, read_body};

const NOW: u64 = 1_795_910_200;

fn hints(query: &str) -> Hints<'_> {
    Hints {
        query,
        name: None,
        user: None,
        device: None,
        now: PosixTime::new(NOW, 5),
        ahead_max: Duration::from_secs(300),
    }
}

fn fix(client: &str, position: &str, seconds: u64, nanos: u32) -> Fix {
    let stamp = PosixTime::new(seconds, nanos);
    Fix { client: client.to_owned(), position: position.to_owned(), stamp }
}

/// Demands one fix and nothing of no use.
#[track_caller]
fn check(body: &str, hints: &Hints<'_>, expected: Fix, reply: Reply) {
    let reading = read_body(body.as_bytes(), hints);
    assert_eq!((reading.fixes.as_slice(), reading.reply), (&[expected][..], reply), "{body}");
    assert_eq!(reading.unusable, Reading::default().unusable, "{body}");
}

/// Demands no fix, this reason, and this kind of answer.
#[track_caller]
fn check_unusable(body: &str, hints: &Hints<'_>, why: Unusable, reply: Reply) {
    let reading = read_body(body.as_bytes(), hints);
    assert_eq!((reading.fixes.len(), reading.reply), (0, reply), "{body}");
    let mut expected = Reading::default().unusable;
    expected[why as usize] = 1;
    assert_eq!(reading.unusable, expected, "{body}");
}

#[test]
fn owntracks() {
    let android = r#"{"_type":"location","BSSID":"aa:bb","acc":12,"alt":30,"batt":81,"bs":1,
        "cog":270,"conn":"w","created_at":1795910186,"lat":60.1699,"lon":24.9384,"m":1,
        "tid":"ph","topic":"owntracks/jane/phone","tst":1795910184,"vac":2,"vel":4,"_id":"6f"}"#;
    let expected = fix("jane/phone", "+60.1699000+024.9384000", 1_795_910_184, 0);
    check(android, &hints(""), expected.clone(), Reply::OwnTracks);
    // iOS says who it is in headers; the older Android in the query.
    let ios = r#"{"_type":"location","tid":"ph","lat":60.1699,"lon":24.9384,"tst":1795910184}"#;
    let by_header = Hints { user: Some("jane"), device: Some("phone"), ..hints("") };
    check(ios, &by_header, expected.clone(), Reply::OwnTracks);
    check(ios, &hints("u=jane&d=phone"), expected.clone(), Reply::OwnTracks);
    let by_name = Hints { name: Some("jane"), ..hints("") };
    let named = Fix { client: "jane/ph".to_owned(), ..expected.clone() };
    check(ios, &by_name, named, Reply::OwnTracks);
    let short = Fix { client: "ph".to_owned(), ..expected };
    check(ios, &hints(""), short, Reply::OwnTracks);
    // Overland's mode of this name counts from 2001.
    let from_2001 = ios.replace("1795910184", "817602984");
    let expected = fix("jane/phone", "+60.1699000+024.9384000", 1_795_910_184, 0);
    check(&from_2001, &by_header, expected, Reply::OwnTracks);
}

#[test]
fn what_owntracks_says_beside_reports_is_answered() {
    for kind in ["transition", "waypoint", "waypoints", "status", "lwt", "dump", "steps", "card"] {
        let body = format!(r#"{{"_type":"{kind}","tst":1795910184}}"#);
        check_unusable(&body, &hints(""), Unusable::NoPosition, Reply::OwnTracks);
    }
    let body = r#"{"_type":"encrypted","data":"c2VjcmV0"}"#;
    check_unusable(body, &hints(""), Unusable::Encrypted, Reply::OwnTracks);
    // A friend was deleted.
    check_unusable("", &hints(""), Unusable::NoPosition, Reply::OwnTracks);
    let broken_off = r#"{"_type":"location","lat":60.16"#;
    check_unusable(broken_off, &hints(""), Unusable::Malformed, Reply::OwnTracks);
}

#[test]
fn traccar_client_to_8_and_osmand() {
    let expected = fix("123456", "+60.1699000+024.9384000", 1_795_910_184, 0);
    let query = "id=123456&timestamp=1795910184&lat=60.1699&lon=24.9384&speed=0.0&bearing=0.0\
                 &altitude=30.0&accuracy=12.0&batt=81.0";
    check("", &hints(query), expected.clone(), Reply::Summary);
    check(query, &hints(""), expected.clone(), Reply::Summary);
    // OsmAnd: milliseconds, and whatever names the user has typed.
    let query = "deviceid=123456&lat=60.1699&lon=24.9384&timestamp=1795910184250&hdop=3.9";
    let expected_ms = fix("123456", "+60.1699000+024.9384000", 1_795_910_184, 250_000_000);
    check("", &hints(query), expected_ms, Reply::Summary);
    let query = "id=123456&location=60.1699,24.9384&timestamp=2026-11-28T23:56:24Z&valid=true";
    check("", &hints(query), expected.clone(), Reply::Summary);
    let now = Fix { stamp: PosixTime::new(NOW, 5), ..expected };
    check("", &hints("id=123456&lat=60.1699&lon=24.9384"), now, Reply::Summary);
}

#[test]
fn traccar_client_9() {
    let body = r#"{"location":{"timestamp":"2026-11-28T23:56:24.250Z","coords":{"latitude":60.1699,
        "longitude":24.9384,"accuracy":12,"speed":-1,"heading":-1,"altitude":30},"is_moving":false,
        "odometer":0,"event":"motionchange","battery":{"level":0.81,"is_charging":false},
        "extras":{},"_":"&id=123456&lat=60.1699&lon=24.9384&timestamp=2026-11-28T23:56:24.250Z&"},
        "device_id":"123456"}"#;
    let expected = fix("123456", "+60.1699000+024.9384000", 1_795_910_184, 250_000_000);
    check(body, &hints(""), expected, Reply::Summary);
    let heartbeat = r#"{"location":{"timestamp":"2026-11-28T23:56:24Z","event":"heartbeat"},
        "device_id":"123456"}"#;
    check_unusable(heartbeat, &hints(""), Unusable::NoPosition, Reply::Summary);
}

#[test]
fn traccar_client_10() {
    let body = "id=123456&timestamp=1795910184&lat=60.1699&lon=24.9384&speed=1.9&bearing=270\
                &altitude=30&accuracy=12&batt=81&charge=true";
    let expected = fix("123456", "+60.1699000+024.9384000", 1_795_910_184, 0);
    check(body, &hints(""), expected.clone(), Reply::Summary);
    check_unusable("id=123456&batt=80", &hints(""), Unusable::NoPosition, Reply::Summary);
    let batch = r#"[{"id":"123456","lat":60.1698,"lon":24.9384,"timestamp":1795910180},
        {"id":"123456","lat":60.1699,"lon":24.9384,"timestamp":1795910184}]"#;
    let mut reading = read_body(batch.as_bytes(), &hints(""));
    assert_eq!(reading.fixes.len(), 2);
    reading.keep_newest();
    assert_eq!(reading.fixes, [expected]);
}

#[test]
fn gpslogger_and_home_assistant() {
    let expected = fix("jane", "+60.1699000+024.9384000", 1_795_910_184, 0);
    let query = "latitude=60.1699&longitude=24.9384&device=jane&accuracy=12.0&battery=81\
                 &speed=0.0&direction=0.0&altitude=30.0&provider=gps&activity=still";
    let now = Fix { stamp: PosixTime::new(NOW, 5), ..expected.clone() };
    check("", &hints(query), now, Reply::Summary);
    let template = r#"{"lat":60.1699,"lon":24.9384,"id":"jane","time":"2026-11-28T23:56:24.000Z"}"#;
    check(template, &hints(""), expected.clone(), Reply::Summary);
    let companion = r#"{"type":"update_location","data":{"gps":[60.1699,24.9384],
        "gps_accuracy":12,"battery":81}}"#;
    let now = Fix { stamp: PosixTime::new(NOW, 5), ..expected };
    check(companion, &hints("id=jane"), now.clone(), Reply::Summary);
    check(companion, &Hints { name: Some("jane"), ..hints("") }, now, Reply::Summary);
}

#[test]
fn overland() {
    let feature = |time: &str, device: &str, latitude: &str| {
        format!(
            r#"{{"type":"Feature","geometry":{{"type":"Point","coordinates":[24.9384,{latitude}]}},
            "properties":{{"timestamp":"{time}","altitude":30,"speed":-1,"horizontal_accuracy":12,
            "motion":["walking"],"battery_level":0.81,"wifi":"","device_id":"{device}",
            "unique_id":"E0A1"}}}}"#
        )
    };
    let batch = |features: &[String]| {
        format!(r#"{{"locations":[{}],"trip":{{"mode":"walk"}}}}"#, features.join(","))
    };
    let expected = fix("phone", "+60.1699000+024.9384000", 1_795_910_184, 0);
    let one = batch(&[feature("2026-11-28T23:56:24Z", "phone", "60.1699")]);
    check(&one, &hints(""), expected.clone(), Reply::Overland);
    let unnamed = batch(&[feature("2026-11-28T16:56:24-0700", "", "60.1699")]);
    check(&unnamed, &hints("device_id=phone"), expected.clone(), Reply::Overland);
    let by_name = Hints { name: Some("phone"), ..hints("") };
    check(&unnamed, &by_name, expected.clone(), Reply::Overland);
    let unique = Fix { client: "E0A1".to_owned(), ..expected };
    check(&unnamed, &hints(""), unique, Reply::Overland);
    // A bad element costs itself.
    let mixed = batch(&[
        feature("2026-11-28T23:56:24Z", "phone", "60.1699"),
        feature("2026-11-28T23:56:25Z", "phone", "160"),
        "7".to_owned(),
        feature("yesterday", "phone", "60.1699"),
    ]);
    let reading = read_body(mixed.as_bytes(), &hints(""));
    let counts =
        [Unusable::BadPosition, Unusable::Malformed, Unusable::BadTime].map(|why| why as usize);
    assert_eq!((reading.fixes.len(), counts.map(|at| reading.unusable[at])), (1, [1, 1, 1]));
    check_unusable(r#"{"locations":7}"#, &hints(""), Unusable::Malformed, Reply::Overland);
    check_unusable(r#"{"locations":[{"#, &hints(""), Unusable::Malformed, Reply::Overland);
    let empty = read_body(br#"{"locations":[]}"#, &hints(""));
    assert_eq!((empty.fixes.len(), empty.reply), (0, Reply::Overland));
}

#[test]
fn geojson() {
    let point = r#"{"type":"Point","coordinates":[24.9384,60.1699,30]}"#;
    let now = Fix {
        stamp: PosixTime::new(NOW, 5),
        ..fix("kiwi", "+60.1699000+024.9384000", 1_795_910_184, 1)
    };
    check(point, &hints("id=kiwi"), now.clone(), Reply::Summary);
    let feature = format!(
        r#"{{"type":"Feature","id":"kiwi","geometry":{point},
        "properties":{{"stamp":"1795910184.000000001"}}}}"#
    );
    let expected = Fix { stamp: PosixTime::new(1_795_910_184, 1), ..now.clone() };
    check(&feature, &hints("id=other"), expected.clone(), Reply::Summary);
    let named =
        format!(r#"{{"type":"Feature","geometry":{point},"properties":{{"name":"kiwi"}}}}"#);
    check(&named, &hints(""), now, Reply::Summary);
    let second = feature.replace("kiwi", "fig");
    let collection = format!(r#"{{"type":"FeatureCollection","features":[{feature},{second}]}}"#);
    let reading = read_body(collection.as_bytes(), &hints(""));
    let other = Fix { client: "fig".to_owned(), ..expected.clone() };
    assert_eq!(reading.fixes, [expected, other]);
    let line = feature.replace("Point", "LineString");
    check_unusable(&line, &hints(""), Unusable::NoPosition, Reply::Summary);
    check_unusable(point, &hints(""), Unusable::NoClient, Reply::Summary);
}

#[test]
fn reasons_are_told_apart() {
    for (query, why) in [
        ("id=a&lat=60.1699&lon=24.9384&timestamp=soon", Unusable::BadTime),
        ("id=a&lat=60.1699&lon=24.9384&timestamp=1795910501", Unusable::AheadOfClock),
        ("id=a&lat=91&lon=24.9384", Unusable::BadPosition),
        ("id=a&lat=60.1699", Unusable::BadPosition),
        ("id=a&location=60.1699", Unusable::BadPosition),
        ("id=a&lat=0&lon=0.0", Unusable::NoFix),
        ("id=a&lat=60.1699&lon=24.9384&valid=false", Unusable::NoFix),
        ("lat=60.1699&lon=24.9384", Unusable::NoClient),
        ("hello", Unusable::UnknownForm),
    ] {
        check_unusable(query, &hints(""), why, Reply::Summary);
        check_unusable("", &hints(query), why, Reply::Summary);
    }
    let long = format!("id={}&lat=60.1699&lon=24.9384", "a".repeat(129));
    check_unusable(&long, &hints(""), Unusable::LongClient, Reply::Summary);
    for body in [r#"{"hello":1}"#, "{}", "[{}]"] {
        check_unusable(body, &hints(""), Unusable::UnknownForm, Reply::Summary);
    }
    for body in ["{", "[", "[1]", r#"{"lat":}"#] {
        check_unusable(body, &hints(""), Unusable::Malformed, Reply::Summary);
    }
    let no_text = read_body(b"\xff\xfe", &hints(""));
    assert_eq!(no_text.unusable[Unusable::Malformed as usize], 1);
}
