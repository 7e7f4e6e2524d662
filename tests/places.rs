//! WHATSAT against a remote service: what the client gets when the service is good, slow, broken
//! or away, and that the loop waits for none of them. The service is `common::fake_places`; what
//! the source makes of each reply is tested in `places::remote`.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use common::fake_places::{Call, FakePlaces, GOOGLE_LEGACY, GOOGLE_NEW, OVERPASS, Protocol};
use common::operator::Operator;
use common::{Client, Herd, until};
use herd::status::ServiceState;
use serde_json::Value;

const TIME: &str = "1520023934.918963997";

/// Would be recognised wherever it turned up.
const KEY: &str = "AIzaSyNobodyMaySeeThis";

/// A server that asks this service, with `more` for its section `[places]`.
fn asking(fake: &FakePlaces, more: &str) -> Herd {
    Herd::of_one(&fake.sections(more), &[])
}

/// Reads an AT line and a body.
fn answer(client: &mut Client) -> (String, Value) {
    let line = String::from_utf8(client.line()).unwrap();
    let body = client.through(b"\n\n");
    (line, serde_json::from_slice(&body).unwrap())
}

/// The next answer must be this AT line and a body with this status, without results and with a
/// reason.
fn check_failure(client: &mut Client, line: &str, status: &str) {
    let (heard, body) = answer(client);
    assert_eq!(heard.trim_end(), line);
    assert_eq!((&body["status"], &body["results"]), (&status.into(), &Value::Array(vec![])));
    assert!(body["html_attributions"].is_array() && body["error_message"].is_string(), "{body}");
}

/// A body as the service gives it, with results at these distances in hundredths of a degree.
fn body(distances: &[u32]) -> String {
    let result = |distance: &u32| {
        format!(
            "\n\n      {{ \"geometry\" : {{ \"location\" : {{ \"lat\" : 34.0{distance}, \
             \"lng\" : -118.0 }} }},\n\n\n \"name\" : \"Käse {distance}\" }}"
        )
    };
    let results: Vec<_> = distances.iter().map(result).collect();
    format!(
        "{{\n   \"html_attributions\" : [ \"by\" ],\n   \"next_page_token\" : \"more\",\n   \
         \"results\" : [{}\n\n],\n\n   \"status\" : \"OK\"\n}}\n\n\n",
        results.join(",")
    )
}

/// PROTOCOL 3.5, 3.6, 3.7.
#[test]
fn a_good_answer_is_cut_to_the_bound() {
    let fake = FakePlaces::start();
    let herd = asking(&fake, "");
    let line = herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let mut client = herd.connect("Hill");
    let ask = |client: &mut Client, bound: usize| {
        client.send(format!("WHATSAT kiwi 10.5 {bound}\n"));
        let call = fake.call();
        assert_eq!((call.query("location"), call.query("radius")), ("34%2C-118", "10500"));
        call.answer("200 OK", &body(&[3, 1, 2, 4]));
    };
    for bound in [0, 2, 4, 20] {
        ask(&mut client, bound);
        assert_eq!(client.line(), format!("{line}\n").as_bytes());
        let text = client.through(b"\n\n");
        assert!(text.ends_with(b"}\n\n"), "{}", text.escape_ascii());
        let seen: Value = serde_json::from_slice(&text).unwrap();
        let names = seen["results"].as_array().unwrap().iter().map(|result| &result["name"]);
        let nearest = ["Käse 1", "Käse 2", "Käse 3", "Käse 4"].map(Value::from);
        assert!(names.eq(nearest.iter().take(bound)), "{seen}");
        assert_eq!(seen["next_page_token"], "more");
        assert_eq!((&seen["html_attributions"][0], &seen["status"]), (&"by".into(), &"OK".into()));
    }
    assert!(client.is_silent());
    // The service's own refusals are passed on.
    client.send("WHATSAT kiwi 10 5\n");
    fake.call().answer("200 OK", r#"{"results":[],"status":"OVER_QUERY_LIMIT"}"#);
    assert_eq!(answer(&mut client).1["status"], "OVER_QUERY_LIMIT");
}

/// PROTOCOL 3.8.
#[test]
fn a_service_that_fails_is_told_of() {
    let fake = FakePlaces::start();
    let herd = asking(&fake, "");
    let line = herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let mut client = herd.connect("Hill");
    let mut check = |reply: fn(Call), status: &str| {
        client.send("WHATSAT kiwi 10 5\n");
        reply(fake.call());
        check_failure(&mut client, &line, status);
    };
    check(|call| call.answer("500 Internal Server Error", "<p>sorry</p>"), "UNKNOWN_ERROR");
    check(|call| call.answer("403 Forbidden", "no"), "REQUEST_DENIED");
    check(|call| call.answer("429 Too Many Requests", ""), "OVER_QUERY_LIMIT");
    check(|call| call.answer("200 OK", "{ not JSON"), "UNKNOWN_ERROR");
    check(drop, "UNKNOWN_ERROR");
}

#[test]
fn a_service_that_is_not_there_is_told_of() {
    let nobody = "[places]\nsource = \"google-legacy\"\nurl = \"http://127.0.0.1:9\"\n";
    let herd = Herd::of_one(nobody, &[]);
    let line = herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let mut client = herd.connect("Hill");
    client.send("WHATSAT kiwi 10 5\nWHATSAT kiwi 10 5\n");
    check_failure(&mut client, &line, "UNKNOWN_ERROR");
    check_failure(&mut client, &line, "UNKNOWN_ERROR");
}

/// Goal: a service that hangs costs those that ask it the deadline, and others nothing.
#[test]
fn a_service_that_hangs_keeps_nobody_else() {
    let fake = FakePlaces::start();
    let herd = asking(&fake, "deadline = \"700 ms\"\n");
    let line = herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let begin = Instant::now();
    let mut waiting: Vec<_> = (0..20).map(|_| herd.connect("Hill")).collect();
    for (radius, client) in waiting.iter_mut().enumerate() {
        // Each asks something else: the same question would be asked once.
        client.send(format!("WHATSAT kiwi {radius} 5\nIAMAT behind +1-1 7\n"));
    }
    // All workers wait for the service; the loop does not.
    let held: Vec<_> = (0..4).map(|_| fake.call()).collect();
    let mut other = herd.connect("Hill");
    for number in 0..100 {
        let line = other.ask(&format!("IAMAT other +1-1 {number}"));
        assert!(line.ends_with(&format!(" other +1-1 {number}")), "{line}");
    }
    for client in &mut waiting {
        check_failure(client, &line, "UNKNOWN_ERROR");
        assert!(client.line().ends_with(b" behind +1-1 7\n"), "answers stay in order");
    }
    assert!(begin.elapsed() >= Duration::from_millis(700), "the deadline is waited for");
    until("no question waits", || herd.status("Hill").questions_waiting == 0);
    drop(held);
}

/// Goal: several questions of one connection are in flight at once, and their answers leave in
/// the order of the questions. Method: the service answers the last question first, and each
/// answer is known to have come before the next is given. PROTOCOL 1.11.
#[test]
fn answers_leave_in_order_whatever_their_own() {
    let fake = FakePlaces::start();
    let herd = asking(&fake, "deadline = \"10 min\"\n");
    let names = ["a", "b", "c", "d"];
    let mut lines = Vec::new();
    for (number, name) in names.iter().enumerate() {
        lines.push(herd.report("Hill", name, &format!("+{number}-118"), TIME));
    }
    let mut client = herd.connect("Hill");
    client.send("WHATSAT a 1 1\nWHATSAT b 1 1\nNOPE\nWHATSAT c 1 1\nWHATSAT d 1 1\nLAST");
    client.half_close();
    let mut calls: Vec<_> = names.iter().map(|_| fake.call()).collect();
    calls.sort_by_key(|call| call.query("location").to_owned());
    for left in (0..names.len()).rev() {
        assert!(client.is_silent(), "nothing overtakes the first question");
        let body = format!("{{\"results\":[],\"status\":\"ZERO_RESULTS\",\"number\":{left}}}");
        calls.pop().unwrap().answer("200 OK", &body);
        until("an answer has come", || herd.status("Hill").questions_waiting == left as u64);
    }
    for (number, line) in lines.iter().enumerate() {
        let (heard, body) = answer(&mut client);
        assert_eq!((heard.trim_end(), &body["number"]), (line.as_str(), &number.into()));
        if number == 1 {
            assert_eq!(client.line(), b"? NOPE\n");
        }
    }
    assert_eq!(client.rest(), b"? LAST\n");
}

/// PROTOCOL 3.8.
#[test]
fn more_questions_than_the_queue_holds_are_refused_at_once() {
    let fake = FakePlaces::start();
    let herd = asking(&fake, "deadline = \"10 min\"\nworkers = 1\nqueue_max = 2\n");
    let line = herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let ask = |radius: u64| {
        let mut client = herd.connect("Hill");
        client.send(format!("WHATSAT kiwi {radius} 5\n"));
        client
    };
    let mut served = vec![ask(1)];
    let first = fake.call();
    for waiting in [2, 3] {
        served.push(ask(waiting));
        until("it waits", || herd.status("Hill").questions_waiting == waiting);
    }
    for radius in 4..7 {
        check_failure(&mut ask(radius), &line, "OVER_QUERY_LIMIT");
    }
    first.answer_nothing_there();
    fake.call().answer_nothing_there();
    fake.call().answer_nothing_there();
    for client in &mut served {
        let (heard, body) = answer(client);
        assert_eq!((heard.trim_end(), &body["status"]), (line.as_str(), &"ZERO_RESULTS".into()));
    }
}

/// Goal: the same question on its way is asked once, however many ask it, and all of them get the
/// answer. Method: one client asks it often, another asks it too, and the service answers once;
/// a second call would wait for an answer that never comes.
#[test]
fn the_same_question_is_asked_once() {
    let fake = FakePlaces::start();
    let herd = asking(&fake, "deadline = \"10 min\"\n");
    let line = herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let mut askers = [herd.connect("Hill"), herd.connect("Hill")];
    askers[0].send("WHATSAT kiwi 10 5\n".repeat(64));
    until("they wait", || herd.status("Hill").questions_waiting == 64);
    askers[1].send("WHATSAT kiwi 10 5\n");
    until("one more waits", || herd.status("Hill").questions_waiting == 65);
    fake.call().answer_nothing_there();
    for (client, answers) in askers.iter_mut().zip([64, 1]) {
        for _ in 0..answers {
            let (heard, body) = answer(client);
            let expected = (line.as_str(), &"ZERO_RESULTS".into());
            assert_eq!((heard.trim_end(), &body["status"]), expected);
        }
    }
}

/// Goal: a dead service is left alone for a while, and clients hear so at once. Method: it hangs
/// up on five calls in a row; then nobody takes the next call, and still there is an answer.
#[test]
fn a_dead_service_is_left_alone() {
    let fake = FakePlaces::start();
    let herd = asking(&fake, "deadline = \"10 min\"\n");
    let line = herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let mut client = herd.connect("Hill");
    for _ in 0..5 {
        client.send("WHATSAT kiwi 10 5\n");
        drop(fake.call());
        check_failure(&mut client, &line, "UNKNOWN_ERROR");
    }
    client.send("WHATSAT kiwi 10 5\n");
    check_failure(&mut client, &line, "UNKNOWN_ERROR");
    // For an alert, the service has failed those as well who were not allowed to ask it.
    let reply = Operator::connect(herd.operators_port("Hill")).get("/metrics");
    let is_failed = |line: &&str| {
        line.starts_with("herd_questions_total") && line.contains("outcome=\"failed\"")
    };
    let failed = reply.body.lines().find(is_failed).unwrap();
    assert!(failed.ends_with(" 6"), "{failed}");
}

/// Goal: an operator sees that a service has died, why, and that it is well again: once each in the
/// log, and in the status. Method: as above; then it hears no more, and refuses.
#[test]
fn a_dead_service_is_seen() {
    let fake = FakePlaces::start();
    let herd = asking(&fake, "deadline = \"10 min\"\ncalls_per_day = 100\n");
    herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let mut client = herd.connect("Hill");
    let service = || herd.status("Hill").places_service.unwrap();
    assert_eq!((service().state, service().calls_left_today), (ServiceState::Well, Some(100)));
    for _ in 0..5 {
        client.send("WHATSAT kiwi 10 5\n");
        drop(fake.call());
        answer(&mut client);
    }
    let why = "the places service failed: unexpected end of file";
    herd.until_logged(
        "Hill",
        &format!("[WARN] places service suspended error={why:?}: it fails, and is tried now"),
    );
    let seen = service();
    assert_eq!((seen.state, seen.trouble.as_deref()), (ServiceState::LeftAlone, Some(why)));
    assert_eq!((seen.calls_today, seen.calls_left_today), (5, Some(95)));
    assert!(herd.status("Hill").places.contains("fails and is left alone"));
}

/// Goal: so he does if it refuses, and the client does not hear the service's own words.
#[test]
fn a_service_that_refuses_is_seen() {
    let fake = FakePlaces::start();
    let herd = asking(&fake, "");
    herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let mut client = herd.connect("Hill");
    let mut ask = |reply: &str| {
        client.send("WHATSAT kiwi 10 5\n");
        fake.call().answer("200 OK", reply);
        answer(&mut client).1
    };
    let refusal = r#"{"status":"REQUEST_DENIED","error_message":"IP 192.0.2.7 is not allowed"}"#;
    for _ in 0..3 {
        let heard = ask(refusal);
        assert_eq!(heard["status"], "REQUEST_DENIED");
        assert!(!heard.to_string().contains("192.0.2.7"), "{heard}");
    }
    let told = "places service refuses error=\"REQUEST_DENIED: IP 192.0.2.7 is not allowed\"";
    herd.until_logged("Hill", told);
    let seen = herd.status("Hill").places_service.unwrap();
    assert_eq!(seen.state, ServiceState::Refuses);
    ask(r#"{"results":[7],"status":"OK"}"#);
    herd.until_logged("Hill", "places service accepts");
    assert_eq!(herd.log("Hill").matches(told).count(), 1, "once is enough");
    let seen = herd.status("Hill").places_service.unwrap();
    assert_eq!((seen.state, seen.elements_skipped, seen.trouble), (ServiceState::Well, 1, None));
}

/// Goal: a process that is killed and started again finds no new budget. Method: a budget of two
/// calls, and a kill after the first.
#[test]
fn a_budget_outlives_its_process() {
    let fake = FakePlaces::start();
    let mut herd = asking(&fake, "calls_per_day = 2\n");
    let ask = |herd: &Herd, radius: u32, is_called: bool| {
        herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
        let mut client = herd.connect("Hill");
        client.send(format!("WHATSAT kiwi {radius} 5\n"));
        if is_called {
            fake.call().answer_nothing_there();
        }
        answer(&mut client).1["status"].clone()
    };
    assert_eq!(ask(&herd, 1, true), "ZERO_RESULTS");
    herd.signal("Hill", rustix::process::Signal::KILL);
    herd.ended("Hill");
    herd.start("Hill", &[]);
    assert_eq!(herd.status("Hill").places_service.unwrap().calls_left_today, Some(1));
    assert_eq!(ask(&herd, 2, true), "ZERO_RESULTS");
    assert_eq!(ask(&herd, 3, false), "OVER_QUERY_LIMIT");
}

/// Goal: one address gets its share and no more. Method: loopback is limited like everybody else.
#[test]
fn one_address_gets_its_share() {
    let fake = FakePlaces::start();
    let limits = "deadline = \"10 min\"\nquestions_at_once = 2\nquestions_per_second = 1\n\
        limits_loopback = true\n";
    let herd = asking(&fake, limits);
    let line = herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let mut client = herd.connect("Hill");
    client
        .send("WHATSAT kiwi 1 5\nWHATSAT kiwi 2 5\n".to_owned() + &"WHATSAT kiwi 3 5\n".repeat(9));
    fake.call().answer_nothing_there();
    fake.call().answer_nothing_there();
    for _ in 0..2 {
        assert_eq!(answer(&mut client).1["status"], "ZERO_RESULTS");
    }
    check_failure(&mut client, &line, "OVER_QUERY_LIMIT");
}

/// A server that asks this service, has the key from a file or from the environment, and writes
/// down all it can.
fn with_key(fake: &FakePlaces, from_file: bool) -> Herd {
    let by_file = if from_file { "key_file = \"places.key\"\n" } else { "" };
    let mut herd = Herd::of_file(&["Hill"], &[], &fake.sections(by_file));
    let mut command = herd.command("Hill", &["--log-level", "trace"]);
    if from_file {
        let key_file = herd.path("places.key");
        fs::write(&key_file, format!("{KEY}\n")).unwrap();
        fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600)).unwrap();
    } else {
        command.env("HERD_PLACES_KEY", KEY);
    }
    herd.launch("Hill", command);
    herd
}

/// Goal: nobody but the service sees the key. Method: at the loudest log level, after answers,
/// failures, a service that repeats the key, and a death, look wherever a key could be left.
fn check_key(protocol: &'static Protocol, from_file: bool) {
    let fake = FakePlaces::at(0, protocol);
    let mut herd = with_key(&fake, from_file);
    herd.report("Hill", "kiwi", "+34.0-118.0", TIME);
    let mut client = herd.connect("Hill");
    let mut told = String::new();
    let replies: [fn(Call); 7] = [
        Call::answer_nothing_there,
        |call| call.answer("302 Found\r\nLocation: /elsewhere", ""),
        |call| call.answer("200 OK", "nonsense"),
        Call::answer_place,
        |call| {
            let refusal = format!("{{\"error\":{{\"message\":\"{KEY} is not allowed\"}}}}");
            call.answer("403 Forbidden", &refusal);
        },
        |call| {
            let place = call.protocol.place().replace("\"A\"", &format!("{KEY:?}"));
            call.answer("200 OK", &place);
        },
        drop,
    ];
    for reply in replies {
        client.send("WHATSAT kiwi 10 5\n");
        let call = fake.call();
        let heard = call.head.matches(KEY).count() + call.body.matches(KEY).count();
        assert_eq!(heard, 1, "the service gets it");
        reply(call);
        told += &format!("{:?}", answer(&mut client));
    }
    told += &serde_json::to_string(&herd.status("Hill")).unwrap();
    if let Ok(arguments) = fs::read(format!("/proc/{}/cmdline", herd.pid("Hill"))) {
        told += &String::from_utf8_lossy(&arguments);
        assert!(told.contains("serve"), "{told}");
    }
    herd.signal("Hill", rustix::process::Signal::TERM);
    client.half_close();
    assert!(herd.ended("Hill").success());
    told += &herd.log("Hill");
    told += &herd.complaints("Hill");
    assert!(told.contains("WHATSAT kiwi 10 5"), "the log is loud enough: {told}");
    assert!(!told.contains(KEY), "{told}");
}

#[test]
fn the_key_is_seen_by_the_service_only() {
    for protocol in [&GOOGLE_LEGACY, &GOOGLE_NEW] {
        check_key(protocol, true);
        check_key(protocol, false);
    }
}

/// Goal: from the line of a client to the last byte for the service, each protocol is as its
/// documents have it. Method: their own examples, asked by WHATSAT.
#[test]
fn services_are_asked_as_their_documents_say() {
    fn check(protocol: &'static Protocol, report: &str, ask: &str, head: &[&str], body: &str) {
        let fake = FakePlaces::at(0, protocol);
        let herd = with_key(&fake, false);
        herd.report("Hill", "kiwi", report, TIME);
        let mut client = herd.connect("Hill");
        client.send(format!("WHATSAT kiwi {ask}\n"));
        let call = fake.call();
        let mut expected: Vec<_> = head.iter().map(|line| (*line).to_owned()).collect();
        expected.push(format!("host: 127.0.0.1:{}", fake.port));
        expected.push(concat!("user-agent: herd/", env!("CARGO_PKG_VERSION")).to_owned());
        expected.extend(["accept: */*", "accept-encoding: gzip"].map(str::to_owned));
        if !body.is_empty() {
            expected.push(format!("content-length: {}", body.len()));
        }
        let mut lines: Vec<_> = call.head.trim_end().split("\r\n").collect();
        // The order of header fields has no meaning (RFC 9110, section 5.3).
        expected[1..].sort();
        lines[1..].sort();
        assert_eq!(lines, expected);
        assert_eq!(call.body, body);
        call.answer_place();
        assert_eq!(answer(&mut client).1["results"][0]["name"], "A");
    }
    check(
        &GOOGLE_LEGACY,
        "-33.8670522+151.1957362",
        "1.5 20",
        &["GET /maps/api/place/nearbysearch/json?location=-33.8670522%2C151.1957362&radius=1500\
           &key=AIzaSyNobodyMaySeeThis HTTP/1.1"],
        "",
    );
    check(
        &GOOGLE_NEW,
        "+37.7937-122.3965",
        "0.5 10",
        &[
            "POST /v1/places:searchNearby HTTP/1.1",
            "content-type: application/json",
            "x-goog-api-key: AIzaSyNobodyMaySeeThis",
            "x-goog-fieldmask: places.id,places.displayName,places.location,places.types,\
             places.shortFormattedAddress",
        ],
        "{\"maxResultCount\":10,\"locationRestriction\":{\"circle\":{\"center\":\
            {\"latitude\":37.7937,\"longitude\":-122.3965},\"radius\":500.0}},\
            \"rankPreference\":\"DISTANCE\"}",
    );
    check(
        &OVERPASS,
        "+60.17+24.94",
        "1 20",
        &["POST /api/interpreter HTTP/1.1", "content-type: application/x-www-form-urlencoded"],
        "data=%5Bout%3Ajson%5D%5Btimeout%3A5%5D%3B\
         nwr(around%3A500%2C60.17%2C24.94)%5B~%22%5E(amenity%7Cshop%7Ctourism%7Cleisure%7Coffice\
         %7Ccraft%7Chistoric)%24%22~%22.%22%5D%5Bname%5D%3Bout+tags+center+500%3B\
         nwr(around%3A1000%2C60.17%2C24.94)%5B~%22%5E(amenity%7Cshop%7Ctourism%7Cleisure%7Coffice\
         %7Ccraft%7Chistoric)%24%22~%22.%22%5D%5Bname%5D%3Bout+tags+center+500%3B",
    );
}
