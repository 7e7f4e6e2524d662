//! A share link that blurs: whatever its holder asks, at whichever door and how often, no byte of
//! the answers says where the client is.

use std::collections::BTreeSet;

use herd_web::mqtt::far_end::Heard;
use serde_json::{Value, json};

use super::access::{CLIENTS, NOBODY, ask, basic, done, guarded};
use super::common::operator::{Operator, Reply};
use super::common::{Client, Herd};
use super::mqtt;

pub const CLIENT: &str = "joe/car";
/// What only those may know who see it.
const TELLING: [&str; 7] =
    ["60.12345", "24.76543", "60.123", "24.765", "6012345", "2476543", "123456789"];
/// The square of a kilometre that it is in: west, south, east, north.
const SQUARE: [f64; 4] = [24.7412109375, 60.1171875, 24.78515625, 60.128173828125];
const MINUTE: u64 = 1_520_023_920;

/// A server at which the client is, and a link by which it can be seen for a while.
pub fn shared(flags: &[&str]) -> (Herd, Vec<String>, String) {
    let (herd, secrets) = guarded();
    report(&herd, "+60.1234567+024.7654321", "1520023934.123456789");
    let share = ["share", CLIENT, "--for", "1 h", "--access", "access.toml"];
    let files = ["--key-file", "herd.key", "--config", "herd.toml"];
    let url = done(&herd, &[&share[..], &files, flags].concat());
    let link = url.trim_end().split_once("/map#").unwrap().1.to_owned();
    (herd, secrets, link)
}

fn report(herd: &Herd, position: &str, time: &str) {
    assert!(herd.report("Hill", CLIENT, position, time).starts_with("AT "));
}

pub fn bearer(link: &str) -> String {
    format!("Authorization: Bearer {link}\r\n")
}

/// All that can be asked by a path.
fn paths() -> Vec<String> {
    let mut paths = ["/", "/report", "/pub", "/openapi.json", "/v1/me", "/v1/session", "/nothing"]
        .map(str::to_owned)
        .to_vec();
    for client in CLIENTS.into_iter().chain([NOBODY]) {
        let path = format!("/v1/clients/{client}");
        paths.extend([
            format!("{path}/near?radius=9e6"),
            format!("{path}/places?radius=9"),
            format!("/v1/clients?id={client}"),
            format!("/v1/clients?prefix={client}"),
            format!("/v1/follow?prefix={client}"),
            format!("/report?id={client}&lat=1&lon=1&timestamp=5"),
            path,
        ]);
    }
    for query in ["bbox=24,60,25,61", "fence=f:24,60,25,61", "bbox=-180,-90,180,90", "prefix="] {
        paths.push(format!("/v1/follow?{query}"));
        paths.push(format!("/v1/follow?{query}&id={CLIENT}"));
        paths.push(format!("/v1/clients?{query}"));
        paths.push(format!("/v1/clients?{query}&thin=true"));
    }
    paths.push(format!("/v1/follow?id={CLIENT}&id=kiwi"));
    paths.extend(
        ["/v1/follow", "/v1/clients", "/v1/clients?near=60.12,24.76&radius=9e6"].map(str::to_owned),
    );
    paths
}

fn tells_nothing(what: &str, reply: &str) {
    let found = TELLING.iter().find(|part| reply.contains(**part));
    assert!(found.is_none(), "{what}: {reply}");
}

/// Goal: the holder of a link that blurs is told the square of its client and nothing else, by all
/// methods, at all paths, by all ways to show the link.
#[test]
fn no_answer_tells_where_it_is() {
    let (herd, _, link) = shared(&["--blur"]);
    let body = r#"{"_type":"location","lat":2,"lon":2,"tst":1520023934,"topic":"o/joe/car"}"#;
    let ways = [
        (bearer(&link), String::new()),
        (String::new(), format!("/t/{link}")),
        (basic("", &link), String::new()),
        (basic(CLIENT, &link), String::new()),
        (format!("Cookie: herd_session={link}\r\n"), String::new()),
    ];
    let mut statuses = BTreeSet::new();
    for (way, (head, begin)) in ways.iter().enumerate() {
        for path in paths() {
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
                let mut conn = Operator::connect(herd.web_port("Hill"));
                let reply = ask(&mut conn, method, head, &format!("{begin}{path}"), body);
                let what = format!("{way} {method} {path}");
                tells_nothing(&what, &format!("{reply:?}"));
                let is_it = path == format!("/v1/clients/{CLIENT}");
                if path.starts_with("/v1/c") || path.starts_with("/v1/f") {
                    let is_asked = way < 2 && is_it && matches!(method, "GET" | "HEAD");
                    assert_eq!(reply.status == 200, is_asked, "{what}: {reply:?}");
                }
                statuses.insert(reply.status);
            }
        }
    }
    assert!(statuses.is_superset(&BTreeSet::from([200, 401, 403])), "{statuses:?}");
    assert!(herd.held("Hill", CLIENT).unwrap().contains("+60.1234567"), "and nothing was changed");
    for (user, secret) in [("", &*link), (CLIENT, &link), ("jane", &link)] {
        let refused = mqtt::connect_as(&herd, user, secret);
        assert!(matches!(refused, Heard::Connack(code) if code > 0), "{refused:?}");
    }
    let metrics = Operator::connect(herd.operators_port("Hill")).get("/metrics");
    tells_nothing("metrics", &metrics.body);
}

fn seen(conn: &mut Operator, link: &str) -> Value {
    let Reply { status, body, .. } =
        ask(conn, "GET", &bearer(link), &format!("/v1/clients/{CLIENT}"), "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Goal: asking often tells no more than asking once, whatever the client does in its square; and
/// what the link tells of itself is what it is for.
#[test]
fn asking_often_tells_no_more() {
    let (herd, _, link) = shared(&["--blur", "1 km"]);
    let mut conn = Operator::connect(herd.web_port("Hill"));
    let [west, south, east, north] = SQUARE;
    let ring = [[west, south], [east, south], [east, north], [west, north], [west, south]];
    let expected = json!({
        "type": "Feature", "id": CLIENT, "properties": { "time": "2018-03-02T20:52:00Z" },
        "geometry": { "type": "Polygon", "coordinates": [ring] },
    });
    for (second, position) in
        ["+60.1172+024.7413", "+60.128+024.785", "+60.12+024.75", "+60.1281+024.7413"]
            .into_iter()
            .enumerate()
    {
        report(&herd, position, &format!("{}.5", 1_520_023_940 + second));
        assert_eq!(seen(&mut conn, &link), expected, "{position}");
    }
    let me = ask(&mut conn, "GET", &bearer(&link), "/v1/me", "").body;
    let me: Value = serde_json::from_str(&me).unwrap();
    assert_eq!(me["blurred"], json!({ "client": CLIENT, "metres": 1_000 }));
    assert_eq!((&me["read"], &me["report"]), (&json!([]), &json!([])));
}

/// Goal: who follows by such a link hears of squares and minutes alone, once each, though the
/// client reports more often; and when it is gone.
#[test]
fn who_follows_hears_of_squares() {
    let (herd, secrets, link) = shared(&["--blur"]);
    let mut stream = Client::connect(herd.web_port("Hill"));
    let path = format!("/v1/follow?id={CLIENT}&every=50");
    stream.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", bearer(&link)));
    let mut heard = stream.through(b"event: ready");
    let mut hear = |until: &str| heard.extend(stream.through(until.as_bytes()));
    // In its square and minute; in its minute, in another square; back; and in its square later.
    for (position, time) in [
        ("+60.1181234+024.7654321", "1520023935.123456789"),
        ("+60.1281234+024.7434321", "1520023936.123456789"),
    ] {
        report(&herd, position, time);
    }
    report(&herd, "+60.1290000+024.7654321", "1520023937");
    hear("60.13916015625],\"t\":1520023920}");
    report(&herd, "+60.1234567+024.7654321", "1520023938");
    hear("60.128173828125],\"t\":1520023920}");
    report(&herd, "+60.1234567+024.7654321", "1520023999.123456789");
    hear("\"t\":1520023980}");
    let head = format!("Authorization: Bearer {}\r\n", secrets[1]);
    let mut conn = Operator::connect(herd.web_port("Hill"));
    let reply = ask(&mut conn, "DELETE", &head, &format!("/v1/clients/{CLIENT}"), "");
    assert_eq!(reply.status, 200);
    hear("\"why\":\"erased\"");
    let heard = String::from_utf8(heard).unwrap();
    tells_nothing("the stream", &heard);
    let squares = Vec::from_iter(heard.lines().filter(|line| line.contains("\"bbox\"")));
    let square = |[west, south, east, north]: [f64; 4], minute| {
        let bbox = json!([west, south, east, north]);
        format!("data: {{\"id\":\"{CLIENT}\",\"bbox\":{bbox},\"t\":{minute}}}")
    };
    let [west, _, east, south] = SQUARE;
    let above = [west, south, east, 60.13916015625];
    let expected = [(SQUARE, MINUTE), (above, MINUTE), (SQUARE, MINUTE), (SQUARE, MINUTE + 60)];
    assert_eq!(squares, expected.map(|(area, minute)| square(area, minute)), "{heard}");
    assert_eq!(heard.matches("event: ").count(), 7, "hello, squares, ready, gone: {heard}");
}
