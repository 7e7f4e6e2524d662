//! The operators' port of real servers: what it answers, to whom, and in what trouble.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::openmetrics::Exposition;
use common::operator::Operator;
use common::{Client, Herd, PLACELESS, await_some, until};
use herd::status::{ConnectionsPage, Status};
use rustix::process::Signal;

fn operator(herd: &Herd, name: &str) -> Operator {
    Operator::connect(herd.operators_port(name))
}

#[test]
fn each_path_has_its_answer() {
    let herd = Herd::of_one("", PLACELESS);
    herd.report("Hill", "kiwi", "+1-1", "7");
    let mut operator = operator(&herd, "Hill");
    for path in ["/livez", "/readyz", "/startupz"] {
        let reply = operator.get(path);
        assert_eq!((reply.status, &*reply.body), (200, "ok\n"), "{path}");
        assert_eq!(reply.headers["cache-control"], "no-store");
    }
    let reply = operator.get("/readyz?verbose");
    assert!(reply.status == 200 && reply.body.contains("[+] doors: "), "{reply:?}");
    let status: Status = serde_json::from_str(&operator.get("/status").body).unwrap();
    assert_eq!((&*status.name, status.clients_known), ("Hill", 1));
    let at = format!("127.0.0.1:{}", herd.operators_port("Hill"));
    assert_eq!(status.operators_address, Some(at));

    let reply = operator.get("/");
    assert!(reply.status == 404 && reply.body.contains("/livez /readyz"), "{reply:?}");
    assert!(!reply.headers.keys().any(|name| name.starts_with("access-control")));
    let reply = operator.ask("HEAD /status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(reply.status == 200 && reply.headers["content-length"] != "0");

    // Several at once, and one in pieces, on one connection.
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    operator.0.send(get("/livez") + &get("/nothing") + &get("/readyz"));
    let seen = [0; 3].map(|_| operator.reply(false).status);
    assert_eq!(seen, [200, 404, 200]);
    operator.0.send_chopped(get("/livez").as_bytes());
    assert_eq!(operator.reply(false).status, 200);
    let reply = operator.ask("GET /livez HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n");
    assert_eq!((reply.status, &*reply.headers["connection"]), (200, "close"));
    assert!(operator.0.rest().is_empty());
}

/// Goal: what is no request of an operator gets one answer and the end of the connection.
#[test]
fn others_are_refused() {
    let herd = Herd::of_one("[limits]\npartial_line = \"300 ms\"\n", PLACELESS);
    let check = |request: &[u8], status: u16, part: &str| {
        let mut operator = operator(&herd, "Hill");
        operator.0.send(request);
        let reply = operator.reply(false);
        assert_eq!(reply.status, status, "{}: {reply:?}", request.escape_ascii());
        assert!(reply.body.contains(part) && reply.headers["connection"] == "close", "{reply:?}");
        assert!(operator.0.rest().is_empty());
    };
    let evil = b"GET /status HTTP/1.1\r\nHost: evil.example:12300\r\n\r\n";
    check(evil, 421, "does not go by that name");
    check(b"POST /status HTTP/1.1\r\nHost: localhost\r\n\r\nx", 405, "only GET and HEAD");
    check(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "no HTTP request");
    check(b"IAMAT kiwi +1-1 7\n", 400, "no HTTP request");
    check(&[&b"GET /"[..], &[b'a'; 9_000]].concat(), 431, "too long");
    // It has all the time that a line has, and not more for each piece.
    check(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", 408, "no end");
    let mut half = operator(&herd, "Hill");
    half.0.send("GET /livez HTTP/1.1\r\n");
    half.0.half_close();
    assert_eq!(half.reply(false).status, 408);
    assert_eq!(herd.held("Hill", "kiwi"), None);
}

/// Goal: an operator is answered although clients have all places, and so is the next one although
/// others stay connected.
#[test]
fn the_port_answers_whatever_else_is_full() {
    let herd = Herd::of_one("[limits]\nconnections_max = 2\n", PLACELESS);
    let _clients = [0; 5].map(|_| Client::connect(herd.port("Hill")));
    until("clients have all places", || herd.status("Hill").connections == 2);
    let mut operators: Vec<_> = (0..40).map(|_| operator(&herd, "Hill")).collect();
    let mut last = operators.pop().unwrap();
    assert_eq!(last.get("/livez").status, 200);
    let page: ConnectionsPage = serde_json::from_str(&last.get("/connections").body).unwrap();
    let of = |door: &str| page.connections.iter().filter(|conn| conn.door == door).count();
    // One place is left for the next.
    assert_eq!((of("client"), of("operator"), &page.next), (2, 15, &None));
    assert!(operators[0].0.rest().is_empty());
}

#[test]
fn connections_come_in_pages() {
    let herd = Herd::of_one("", PLACELESS);
    let mut operator = operator(&herd, "Hill");
    let mut clients: Vec<_> = (0..25).map(|_| Client::connect(herd.port("Hill"))).collect();
    for client in &mut clients {
        assert!(client.ask("IAMAT kiwi +1-1 7").starts_with("AT "));
    }
    let mut seen = Vec::new();
    let mut after = String::new();
    let pages = (0..10).find(|_| {
        let reply = operator.get(&format!("/connections?limit=10{after}"));
        let page: ConnectionsPage = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(page.total, 26);
        seen.extend(page.connections.iter().map(|conn| conn.conn.clone()));
        after = page.next.iter().map(|next| format!("&after={next}")).collect();
        page.next.is_none()
    });
    assert_eq!(pages, Some(2), "three pages");
    assert_eq!(seen.len(), 26);
    let serial = |conn: &String| conn.rsplit('-').next().unwrap().parse::<u64>().unwrap();
    assert!(seen[0].starts_with("operator-") && seen.is_sorted_by_key(serial), "{seen:?}");
    let from = clients[24].stream().local_addr().unwrap().to_string();
    let reply = operator.get("/connections?sort=idle&limit=1000");
    let page: ConnectionsPage = serde_json::from_str(&reply.body).unwrap();
    assert!(page.connections.iter().any(|conn| conn.from.as_ref() == Some(&from)));
    assert!(page.connections.is_sorted_by_key(|conn| u64::MAX - conn.idle_ms), "{page:?}");
    for wrong in ["limit=0", "limit=1001", "sort=colour", "after=x", "after=1-", "after=-1"] {
        assert_eq!(operator.get(&format!("/connections?{wrong}")).status, 400, "{wrong}");
    }
}

/// Goal: while a server drains it lives, has started, and is not ready.
#[test]
fn a_server_that_drains_is_not_ready() {
    let mut herd = Herd::of_one("", PLACELESS);
    let mut operator = operator(&herd, "Hill");
    assert_eq!(operator.get("/readyz").status, 200);
    // It holds the drain up: it is owed what it does not read.
    let mut client = Client::connect(herd.port("Hill"));
    client.ask("IAMAT kiwi +1-1 7");
    herd.signal("Hill", Signal::TERM);
    let reply = await_some("it drains", || {
        Some(operator.get("/readyz")).filter(|reply| reply.status == 503)
    });
    let why = "doors: it was told to stop, phase draining: the last answers are sent\n";
    assert_eq!(reply.body, why);
    assert_eq!([operator.get("/livez"), operator.get("/startupz")].map(|it| it.status), [200; 2]);
    drop(client);
    herd.ended("Hill");
}

/// Goal: the port is another program's, too wide or off: what a server says and does then.
#[test]
fn the_port_is_where_the_operator_wants_it() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let run = |flags: &[&str]| {
        let mut command: Command = herd.command("Hill", flags);
        let ended = command.stderr(Stdio::piped()).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let taken = TcpListener::bind(("127.0.0.1", herd.operators_port("Hill"))).unwrap();
    let (code, complaint) = run(PLACELESS);
    let named = format!("{}, the operators' port, is taken", taken.local_addr().unwrap());
    assert!(code == Some(98) && complaint.contains(&named), "{code:?} {complaint}");
    let (code, complaint) = run(&["--operators", "0.0.0.0:1"]);
    assert!(code == Some(78) && complaint.contains("`operators_open = true`"), "{complaint}");
    let (code, complaint) = run(&["--operators", "on"]);
    assert!(code == Some(2) && complaint.contains("or write off"), "{complaint}");

    herd.start("Hill", &[PLACELESS, &["--operators", "off"]].concat());
    assert_eq!(herd.status("Hill").operators_address, None);
    herd.kill("Hill");
    let open = fs::read_to_string(herd.path("herd.toml")).unwrap();
    fs::write(herd.path("herd.toml"), format!("operators_open = true\n{open}")).unwrap();
    let spare: SocketAddr = format!("0.0.0.0:{}", herd.spare_port()).parse().unwrap();
    herd.start("Hill", &[PLACELESS, &["--operators", &spare.to_string()]].concat());
    assert_eq!(Operator::connect(spare.port()).get("/livez").status, 200);
    drop(taken);
}

fn scrape(operator: &mut Operator) -> Exposition {
    let reply = operator.get("/metrics");
    let version = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!((reply.status, &*reply.headers["content-type"]), (200, version));
    assert!(reply.body.len() < 64 * 1024, "{} bytes", reply.body.len());
    Exposition::parse(&reply.body)
}

/// The page for operators has each metric.
fn check_page(seen: &Exposition) {
    let page = fs::read_to_string("src/herd/PRODUCTION.md").unwrap();
    for (name, kind) in &seen.families {
        let name = if kind == "counter" { format!("{name}_total") } else { name.clone() };
        assert!(name.starts_with("process_") || page.contains(&format!("`{name}`")), "{name}");
    }
}

/// Two news and a copy were told by a client, and one by a peer; the loop has turned for each.
fn check_reports_and_turns(grown: &dyn Fn(&str) -> f64) {
    let reports = |from: &str, verdict: &str| {
        grown(&format!("herd_reports_total{{from=\"{from}\",verdict=\"{verdict}\"}}"))
    };
    assert_eq!([reports("client", "news"), reports("client", "stale")], [2.0, 1.0]);
    assert_eq!([reports("peer", "news"), reports("peer", "stale")], [2.0, 0.0]);
    assert_eq!(grown("herd_report_age_seconds_count"), 2.0);
    assert!(grown("herd_report_age_seconds_sum") < 60.0);
    let turns = grown("herd_loop_turn_duration_seconds_count");
    assert_eq!(turns, grown("herd_loop_turns_total"));
    assert!(grown("herd_loop_busy_seconds_total") > 0.0);
}

/// What has not happened is not counted.
fn check_quiet(grown: &dyn Fn(&str) -> f64) {
    for other in [
        "herd_accept_failures_total",
        "herd_connections_refused_total{door=\"peer\",reason=\"stranger\"}",
        "herd_links_lost_total{reason=\"far_end\"}",
        "herd_peer_behind{peer=\"Bona\"}",
        "herd_worker_jobs{job=\"resolve\"}",
        "herd_draining{phase=\"told\"}",
    ] {
        assert_eq!(grown(other), 0.0, "{other}");
    }
}

/// Bona hears about two clients, and Hill hears of them. What is not spelled as usual takes another
/// way through the core, and is measured alike. One is measured in a millisecond.
fn hear_of_others(herd: &Herd) {
    let usual = ("plum", "+34.068930-118.445127", "1520023934.918963997");
    for (client, position, time) in [usual, ("lime", "+1-1", "7")] {
        herd.report("Bona", client, position, time);
        until("Hill has heard of it", || herd.held("Hill", client).is_some());
        thread::sleep(Duration::from_millis(2));
    }
}

/// Goal: the figures are those of what was done, and no series comes or goes meanwhile.
#[test]
fn metrics_count_what_was_done() {
    let soon = "[limits]\nready_alone_after = \"1 ms\"\n";
    let mut herd = Herd::of_file(&["Hill", "Bona"], &[("Hill", "Bona")], soon);
    herd.start_all(PLACELESS);
    let mut operator = operator(&herd, "Hill");
    until("it is ready", || operator.get("/readyz").status == 200);
    let before = scrape(&mut operator);
    assert!(before.series.len() <= 250, "{} series", before.series.len());
    check_page(&before);
    assert_eq!(before.value("herd_peer_up{peer=\"Bona\"}"), 1.0);
    assert_eq!(before.value("herd_server_info{name=\"Hill\",herd=\"tests\"}"), 1.0);
    assert_eq!(before.value("herd_ready"), 1.0);

    let mut client = herd.connect("Hill");
    let sent =
        "IAMAT kiwi +1-1 7\nIAMAT fig +1-1 7\nIAMAT kiwi +1-1 6\n\nHELLO\nWHATSAT plum 1 1\n";
    client.send(sent);
    let heard: usize = (0..5).map(|_| client.line().len()).sum();
    hear_of_others(&herd);
    drop(client);
    let closed = "herd_connections_closed_total{reason=\"done\"}";
    // Those of `held` are closed, too, and each has asked once.
    let now = await_some("the client is gone", || {
        let now = scrape(&mut operator);
        (now.value("herd_connections{door=\"client\"}") == 0.0).then_some(now)
    });
    assert!(before.series.keys().eq(now.series.keys()), "series come or go");
    let grown = |series: &str| now.value(series) - before.value(series);
    let asked = grown("herd_commands_total{command=\"whatsat\"}") - 1.0;
    assert!(asked >= 1.0);
    assert_eq!(grown("herd_commands_total{command=\"iamat\"}"), 3.0);
    assert_eq!(grown("herd_commands_total{command=\"other\"}"), 2.0);
    assert_eq!(grown("herd_commands_refused_total{reason=\"malformed\"}"), 1.0);
    // Each of the two was there in the end.
    assert_eq!(grown("herd_commands_refused_total{reason=\"unanswerable\"}"), asked - 1.0);
    check_reports_and_turns(&grown);
    assert_eq!(now.value("herd_peer_links_total{peer=\"Bona\"}"), 1.0);
    assert_eq!(grown("herd_clients"), 4.0);
    assert_eq!(grown("herd_connections_opened_total{door=\"client\"}"), asked + 1.0);
    assert_eq!(grown(closed), asked + 1.0);
    let line = "WHATSAT plum 0 0\n".len() as f64;
    let received = sent.len() as f64 + asked * line;
    assert_eq!(grown("herd_received_bytes_total{door=\"client\"}"), received);
    assert!(grown("herd_sent_bytes_total{door=\"client\"}") > heard as f64);
    assert!(grown("herd_loop_turns_total") > 5.0 && grown("herd_loop_cpu_seconds_total") > 0.0);
    check_quiet(&grown);

    // The log counts what it has written, some milliseconds later.
    let logged = now.value("herd_log_lines_total") + 2.0;
    until("lines of the log are counted", || {
        scrape(&mut operator).value("herd_log_lines_total") >= logged
    });

    // Servers that are told the same say so, and those that hold the same.
    let mut bona = Operator::connect(herd.operators_port("Bona"));
    until("all is flooded", || scrape(&mut bona).value("herd_clients") == 4.0);
    let other = scrape(&mut bona);
    for equal in ["herd_config_hash", "herd_store_digest", "herd_clients"] {
        assert_eq!(other.value(equal), now.value(equal), "{equal}");
    }
    herd.kill("Bona");
    until("the loss is seen", || {
        let lost = scrape(&mut operator);
        lost.value("herd_peer_up{peer=\"Bona\"}") == 0.0
            && lost.value("herd_peer_link_losses_total{peer=\"Bona\"}") == 1.0
            && lost.value("herd_links_lost_total{reason=\"far_end\"}") == 1.0
    });
}

/// Goal: a server that comes back is ready when it holds what its peer holds, and stays so when it
/// loses the peer; one that waits for a peer says so.
#[test]
fn a_server_is_ready_when_it_has_caught_up() {
    let waits = "[limits]\nready_alone_after = \"off\"\n";
    let mut herd = Herd::of_file(&["Hill", "Bona"], &[("Hill", "Bona")], waits);
    herd.start("Bona", PLACELESS);
    let mut bona = operator(&herd, "Bona");
    let reply = bona.get("/readyz");
    assert_eq!(reply.body, "caught up: what peers hold is still coming\n");
    assert_eq!(
        (reply.status, bona.get("/startupz").status, bona.get("/livez").status),
        (503, 503, 200)
    );
    let mut client = herd.connect("Bona");
    for number in 0..2_000 {
        client.send(format!("IAMAT client-{number} +1-1 7\n"));
        client.line();
    }
    herd.start("Hill", PLACELESS);
    let mut hill = operator(&herd, "Hill");
    until("Hill is ready", || hill.get("/readyz").status == 200);
    let now = scrape(&mut hill);
    assert_eq!(now.value("herd_clients"), 2_000.0, "ready before all had come");
    assert_eq!(now.value("herd_caught_up{how=\"even\"}"), 1.0);
    assert_eq!(now.value("herd_caught_up{how=\"alone\"}"), 0.0);
    assert!(now.value("herd_peer_last_even_timestamp_seconds{peer=\"Bona\"}") > 1e9);
    until("Bona has heard that Hill held nothing", || bona.get("/readyz").status == 200);
    herd.kill("Bona");
    until("the loss is seen", || scrape(&mut hill).value("herd_peer_up{peer=\"Bona\"}") == 0.0);
    let reply = hill.get("/readyz?verbose");
    assert!(reply.status == 200 && reply.body.contains("[+] caught up: it has held"), "{reply:?}");

    // Another process of it finds nobody, and does not wait for ever.
    herd.kill("Hill");
    let text = fs::read_to_string(herd.path("herd.toml")).unwrap();
    fs::write(herd.path("herd.toml"), text.replace("\"off\"", "\"50 ms\"")).unwrap();
    herd.start("Hill", PLACELESS);
    let mut hill = operator(&herd, "Hill");
    until("it is ready alone", || hill.get("/readyz").status == 200);
    assert_eq!(scrape(&mut hill).value("herd_caught_up{how=\"alone\"}"), 1.0);
}

/// Goal: what alerts and the dashboard ask for is there, and a server of five has not more series
/// than a scraper likes, whatever clients do.
#[test]
fn alerts_and_dashboard_ask_for_what_is_there() {
    let names = ["Hill", "Bona", "Clark", "Jaquez", "Bailey"];
    let links = names[1..].iter().map(|name| ("Hill", *name));
    let soon = "[journal]\nkeep = \"written\"\n[limits]\nready_alone_after = \"1 ms\"\n";
    let mut herd = Herd::of_file(&names, &Vec::from_iter(links), soon);
    herd.start("Hill", PLACELESS);
    let mut operator = operator(&herd, "Hill");
    let there = scrape(&mut operator);
    let series = there.series.len();
    assert!(series <= 250, "{series} series");
    for number in 0..100 {
        herd.connect("Hill").send(format!("IAMAT client-{number} +1-1 7\nx-{number}\n"));
    }
    until("all were heard", || herd.status("Hill").clients_known == 100);
    assert!(there.series.keys().eq(scrape(&mut operator).series.keys()), "series come or go");

    let samples = there.families.iter().flat_map(|(name, kind)| {
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        suffixes.iter().map(move |suffix| format!("{name}{suffix}"))
    });
    let mut samples = BTreeSet::from_iter(samples);
    // Where clients come by TLS: see `tests/tls.rs`.
    samples.insert("herd_tls_certificate_expiry_timestamp_seconds".to_owned());
    // Where a herd is on an engine.
    let of_engines = ["herd_engine_state", "herd_engine_refused_total"];
    samples.extend(of_engines.map(str::to_owned));
    for what in ["alerts", "dashboard"] {
        let printed = Command::new(env!("CARGO_BIN_EXE_herd")).args(["print", what]).output();
        let printed = String::from_utf8(printed.unwrap().stdout).unwrap();
        let words = printed.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words = words.filter(|word| word.starts_with("herd_") || word.starts_with("process_"));
        let named = BTreeSet::from_iter(words.map(str::to_owned));
        assert!(named.len() > 10 && named.is_subset(&samples), "{what}: {:?}", {
            Vec::from_iter(named.difference(&samples))
        });
    }
}
