//! The web port of real servers.

use std::fs;
use std::process::{Command, Stdio};

use super::common::operator::{Operator, Reply};
use super::common::{Herd, PLACELESS, await_some};

fn connect(herd: &Herd, name: &str) -> Operator {
    Operator::connect(herd.web_port(name))
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}");
    format!("{head}\r\n\r\n{body}")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn check(reply: &Reply, status: u16, part: &str) {
    assert!(reply.status == status && reply.body.contains(part), "{reply:?}");
}

/// Goal: a report by HTTP is known to the whole herd, as one by a line is.
#[test]
fn a_phone_reports_and_the_herd_knows() {
    let herd = Herd::running("2023", PLACELESS);
    herd.until_joined();
    let mut phone = connect(&herd, "Bailey");
    let body = r#"{"_type":"location","lat":60.1699,"lon":24.9384,"tst":1520023934,
        "topic":"owntracks/jane/phone"}"#;
    let reply = phone.ask(&post("/pub", body));
    assert_eq!((reply.status, &*reply.body), (200, "[]"));
    let line = await_some("it is known", || herd.held("Bailey", "jane/phone"));
    assert!(line.contains("AT Bailey +"), "{line}");
    assert!(line.ends_with(" jane/phone +60.1699000+024.9384000 1520023934.000000000"), "{line}");
    herd.until_all_hold("jane/phone", &line);
    // The same once more is no news, and nothing changes.
    assert_eq!(phone.ask(&post("/", body)).status, 200);
    assert_eq!(herd.held("Bailey", "jane/phone").as_ref(), Some(&line));
    assert_eq!(herd.status("Bailey").reports_news, 1);

    let mut browser = connect(&herd, "Clark");
    let reply = browser.ask(&get("/v1/clients/jane/phone"));
    check(&reply, 200, r#""id":"jane/phone","geometry":{"type":"Point","coordinates":[24.9384,"#);
    assert_eq!(reply.headers["content-type"], "application/geo+json");
    check(&browser.ask(&get("/v1/clients/jane%2Fphone")), 200, "\"server\":\"Bailey\"");
    check(&browser.ask(&get("/v1/clients/nobody")), 404, "no such client");
    let reply = browser.ask(&get("/v1/clients?id=nobody&id=jane/phone"));
    let read: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(read["features"].as_array().unwrap().len(), 1);
    check(&browser.ask(&get("/v1/clients")), 200, "\"numberReturned\":1}");
    check(&browser.ask(&get("/")), 200, "POST /report");
    check(&browser.ask(&get("/nothing")), 404, "GET / says what there is");
}

/// Goal: each app hears what it needs to hear, on one connection, however the bytes come.
#[test]
fn requests_come_in_any_pieces() {
    let herd = Herd::of_one("", PLACELESS);
    let mut phone = connect(&herd, "Hill");
    let query = |id: usize| format!("/report?id=c{id}&lat=60.1699&lon=24.9384&timestamp={id}");
    let overland = r#"{"locations":[{"type":"Feature","geometry":{"type":"Point","coordinates":
        [24.9384,60.1699]},"properties":{"timestamp":"2018-03-02T20:58:54Z","device_id":"o"}}]}"#;
    let many: String = (0..40).map(|id| get(&query(id))).collect();
    phone.0.send(many + &post("/report", overland));
    for _ in 0..40 {
        let reply = phone.reply(false);
        assert_eq!((reply.status, &*reply.body), (200, "{\"taken\":1}\n"));
    }
    assert_eq!(phone.reply(false).body, r#"{"result":"ok"}"#);
    assert_eq!(herd.status("Hill").clients_known, 41);
    phone.0.send_chopped(post("/report", "id=chopped&lat=60.1699&lon=24.9384").as_bytes());
    check(&phone.reply(false), 200, "\"taken\":1");
    let chunked = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                   10\r\nid=in_pieces&lat\r\n14\r\n=60.1699&lon=24.9384\r\n0\r\n\r\n";
    check(&phone.ask(chunked), 200, "\"taken\":1");
    assert!(herd.held("Hill", "in_pieces").is_some() && herd.held("Hill", "chopped").is_some());
    // A sender that asks for leave first gets it before the body is there.
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 38\r\n\
                Expect: 100-continue\r\n\r\n";
    phone.0.send(head);
    assert_eq!(phone.0.line().trim_ascii_end(), b"HTTP/1.1 100 Continue");
    assert_eq!(phone.0.line().trim_ascii_end(), b"");
    check(&phone.ask("id=by_leave&lat=60.1699000&lon=24.9384"), 200, "\"taken\":1");
}

/// Goal: a long batch is one report for the herd, and what is of no use is counted.
#[test]
fn a_batch_is_its_newest() {
    let herd = Herd::of_one("", PLACELESS);
    let feature = |second: usize| {
        format!(
            r#"{{"type":"Feature","geometry":{{"type":"Point","coordinates":[24.9,60.{second:04}]}},
            "properties":{{"timestamp":{},"device_id":"phone","speed":-1,"battery_level":0.81}}}}"#,
            1_520_000_000 + second
        )
    };
    let features = Vec::from_iter((0..1_000).map(feature));
    let batch = format!(r#"{{"locations":[{}]}}"#, features.join(","));
    let mut phone = connect(&herd, "Hill");
    assert_eq!(phone.ask(&post("/report", &batch)).body, r#"{"result":"ok"}"#);
    let line = herd.held("Hill", "phone").unwrap();
    assert!(line.ends_with("+60.0999000+024.9000000 1520000999.000000000"), "{line}");
    assert_eq!(herd.status("Hill").reports_news, 1);
    check(&phone.ask(&post("/report", "id=a&lat=0&lon=0")), 200, "\"unusable\":{\"no_fix\":1}");
    let metrics = Operator::connect(herd.operators_port("Hill")).get("/metrics").body;
    assert!(metrics.contains("herd_web_unusable_total{reason=\"no_fix\"} 1\n"), "{metrics}");
    assert!(metrics.contains("herd_web_reports_total{verdict=\"taken\"} 1\n"), "{metrics}");
}

/// Goal: one request cannot make a turn long: it reports so many clients and no more.
#[test]
fn one_request_reports_a_bounded_number_of_clients() {
    let herd = Herd::of_one("", PLACELESS);
    let mut gateway = connect(&herd, "Hill");
    let batch = |count: usize| {
        let report = |id: usize| format!(r#"{{"id":"c{id}","lat":60.1699,"lon":24.9384}}"#);
        format!("[{}]", Vec::from_iter((0..count).map(report)).join(","))
    };
    check(&gateway.ask(&post("/", &batch(1_001))), 413, "at most 1000 clients");
    assert_eq!(herd.status("Hill").clients_known, 0);
    check(&gateway.ask(&post("/", &batch(1_000))), 200, "\"taken\":1000");
    assert_eq!(herd.status("Hill").clients_known, 1_000);
}

/// Goal: a web page of somebody else can neither report a client nor see one.
#[test]
fn pages_of_others_are_refused() {
    let herd = Herd::of_one("", PLACELESS);
    herd.report("Hill", "kiwi", "+1-1", "7");
    let check_refused = |method: &str, path: &str, header: &str, status: u16| {
        let request = format!("{method} {path} HTTP/1.1\r\n{header}\r\nContent-Length: 0\r\n\r\n");
        let mut page = connect(&herd, "Hill");
        let reply = page.ask(&request);
        assert_eq!(reply.status, status, "{request}");
        assert!(!reply.headers.keys().any(|name| name.starts_with("access-control")));
        assert!(page.0.rest().is_empty());
    };
    let report = "/report?id=forged&lat=60.1699&lon=24.9384";
    for path in [report, "/v1/clients/kiwi"] {
        for method in ["GET", "POST"] {
            let rebound = "Host: evil.example";
            check_refused(method, path, rebound, 421);
            for header in
                ["Origin: http://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"]
            {
                check_refused(method, path, &format!("Host: localhost\r\n{header}"), 403);
            }
        }
    }
    assert_eq!(herd.held("Hill", "forged"), None);
    assert_eq!(herd.status("Hill").clients_known, 1);
}

/// Goal: what there is no room for is refused so that a phone keeps it; what is no HTTP is refused
/// once.
#[test]
fn what_cannot_be_taken_is_said() {
    let herd = Herd::of_one("[limits]\nclients_max = 1\npartial_line = \"300 ms\"\n", PLACELESS);
    let mut phone = connect(&herd, "Hill");
    check(&phone.ask(&post("/", "id=a&lat=60.1699&lon=24.9384")), 200, "\"taken\":1");
    let reply = phone.ask(&post("/", "id=b&lat=60.1699&lon=24.9384"));
    check(&reply, 503, "send it again later");
    assert_eq!(reply.headers["retry-after"], "30");
    check(&phone.ask(&post("/", "id=a&lat=61&lon=24.9384")), 200, "\"taken\":1");
    let long = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1048577\r\n\r\n";
    for (request, status) in [
        (long, 413),
        ("PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("IAMAT kiwi +1-1 7\n", 400),
        ("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nid=a", 408),
    ] {
        let mut other = connect(&herd, "Hill");
        let reply = other.ask(request);
        assert_eq!(reply.status, status, "{request}");
        assert!(other.0.rest().is_empty(), "{request}");
    }
}

/// Goal: those who send half a head and wait keep nobody else waiting, are told that it has no end,
/// and are gone. `tests/web_figures.py slowloris` has ten thousand, and a clock.
#[test]
fn half_sent_heads_are_nobody_elses_business() {
    const HALVES: usize = 300;
    let herd = Herd::of_one("[limits]\npartial_line = \"1 s\"\n", PLACELESS);
    let mut halves: Vec<_> = (0..HALVES).map(|_| connect(&herd, "Hill")).collect();
    let begin = "POST /report HTTP/1.1\r\nHost: localhost\r\nContent-Le";
    halves.iter_mut().for_each(|half| half.0.send(begin));
    let mut phone = connect(&herd, "Hill");
    for second in 0..100 {
        let body = format!("id=kiwi&lat=60.1699&lon=24.9384&timestamp=15200{second:05}");
        check(&phone.ask(&post("/report", &body)), 200, "\"taken\":1");
    }
    for half in &mut halves {
        assert_eq!(half.reply(false).status, 408);
        assert!(half.0.rest().is_empty());
    }
    let mut operator = Operator::connect(herd.operators_port("Hill"));
    await_some("they are gone", || {
        let metrics = operator.get("/metrics").body;
        metrics.contains("herd_connections{door=\"web\"} 1\n").then_some(())
    });
    check(&phone.ask(&get("/v1/clients/kiwi")), 200, "1520000099.0");
}

/// Goal: strangers are not let in by mistake, and the port can be off.
#[test]
fn the_port_is_on_loopback_or_off() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let run = |flags: &[&str]| {
        let mut command: Command = herd.command("Hill", &[PLACELESS, flags].concat());
        let output = command.stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, complaint) = run(&["--web", "0.0.0.0:1"]);
    assert!(code == Some(78) && complaint.contains("`web_open = true`"), "{complaint}");
    let (code, complaint) = run(&["--web", "on"]);
    assert!(code == Some(2) && complaint.contains("or write off"), "{complaint}");
    herd.start("Hill", &[PLACELESS, &["--web", "off"]].concat());
    assert_eq!(herd.status("Hill").web_address, None);
    herd.kill("Hill");
    herd.start("Hill", PLACELESS);
    let at = format!("127.0.0.1:{}", herd.web_port("Hill"));
    assert_eq!(herd.status("Hill").web_address, Some(at));
    let file = fs::read_to_string(herd.path("herd.toml")).unwrap();
    assert!(!file.contains("web"), "{file}");
}
