//! The operators' port of real servers: what it answers, to whom, and in what trouble.

mod common;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

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
    assert_eq!(reply.body, "doors: it was told to stop\n");
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
