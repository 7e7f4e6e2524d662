//! Clients that come through a proxy, which says by the PROXY protocol who they are; and what
//! becomes of a proxy that does not, and of a stranger who does as if.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::openmetrics::Exposition;
use common::operator::Operator;
use common::papers::{ask, client_config, tls_over, write_papers};
use common::{Client, Herd, PLACELESS, until};
use herd::status::ConnectionsPage;
use socket2::{Domain, Socket, Type};

/// The proxy's address, and one that is not believed.
const PROXY: &str = "127.0.0.2";
const STRANGER: &str = "127.0.0.3";
const TLS_PORT_OFFSET: u16 = 50;

/// A head of version 1 for a client at 203.0.113.9.
const HEAD: &str = "PROXY TCP4 203.0.113.9 127.0.0.1 51234 12000\r\n";

/// The same of version 2, with an extension.
fn binary_head() -> Vec<u8> {
    let addresses = [203, 0, 113, 9, 127, 0, 0, 1, 0xc8, 0x22, 0x2e, 0xe0];
    let extension = [0xe0, 0, 2, b'h', b'i'];
    [b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x11".as_slice(), &addresses, &extension].concat()
}

fn herd_behind(sections: &str, flags: &[&str]) -> Herd {
    let mut herd = Herd::of_file(&["Hill"], &[], sections);
    write_papers(herd.dir(), 4000);
    let tls = format!("127.0.0.1:{}", herd.port("Hill") + TLS_PORT_OFFSET);
    let papers = ["--tls-clients", &tls, "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    herd.start("Hill", &[&papers, flags, &["--proxy-from", PROXY]].concat());
    herd
}

fn connect_from(address: &str, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let at = |host: &str, port| SocketAddr::new(host.parse().unwrap(), port).into();
    socket.bind(&at(address, 0)).unwrap();
    socket.connect(&at("127.0.0.1", port)).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.into()
}

fn come(herd: &Herd, from: &str, head: impl AsRef<[u8]>) -> Client {
    let mut client = Client::of(connect_from(from, herd.port("Hill")));
    client.send(head);
    client
}

/// The addresses of all clients, as operators see them.
fn addresses(herd: &Herd) -> Vec<String> {
    let reply = Operator::connect(herd.operators_port("Hill")).get("/connections");
    let page: ConnectionsPage = serde_json::from_str(&reply.body).unwrap();
    let clients = page.connections.into_iter().filter(|it| ["client", "tls"].contains(&&*it.door));
    clients.filter_map(|client| client.from).collect()
}

fn refused(herd: &Herd, door: &str, reason: &str) -> f64 {
    let reply = Operator::connect(herd.operators_port("Hill")).get("/metrics");
    let series = format!("herd_connections_refused_total{{door=\"{door}\",reason=\"{reason}\"}}");
    Exposition::parse(&reply.body).series[&series]
}

/// Goal: a head is taken, whatever its version and its pieces, and what follows is the client's;
/// the address in it is what operators and the log see.
#[test]
fn a_proxy_says_who_the_client_is() {
    let herd = herd_behind("", PLACELESS);
    let mut client = come(&herd, PROXY, format!("{HEAD}IAMAT kiwi +1-1 7\n"));
    assert!(client.through(b"\n").starts_with(b"AT Hill "));
    assert_eq!(addresses(&herd), ["203.0.113.9:51234"]);
    herd.until_logged("Hill", "from=203.0.113.9:51234");
    drop(client);

    for head in [HEAD.as_bytes().to_vec(), binary_head()] {
        let mut client = come(&herd, PROXY, "");
        client.send_chopped(&head);
        client.send("IAMAT kiwi +1-1 7\n");
        assert!(client.through(b"\n").starts_with(b"AT Hill "));
        assert_eq!(addresses(&herd).last().unwrap(), "203.0.113.9:51234");
    }
    // It speaks for itself, as a check of its own does.
    for head in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"] {
        let mut client = come(&herd, PROXY, head);
        client.ask("IAMAT kiwi +1-1 7");
        assert!(addresses(&herd).last().unwrap().starts_with(PROXY));
    }
}

/// Goal: it is so before a handshake of TLS and before a request of HTTP.
#[test]
fn a_head_comes_before_everything_else() {
    let herd = herd_behind("", PLACELESS);
    let mut stream = connect_from(PROXY, herd.port("Hill") + TLS_PORT_OFFSET);
    stream.write_all(&binary_head()).unwrap();
    let mut client = tls_over(&client_config(), stream);
    assert!(ask(&mut client, "IAMAT kiwi +1-1 7").starts_with("AT Hill "));
    assert_eq!(addresses(&herd), ["203.0.113.9:51234"]);

    let mut web = connect_from(PROXY, herd.web_port("Hill"));
    let request = "GET /v1/clients/kiwi HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    write!(web, "{HEAD}{request}").unwrap();
    let mut reply = String::new();
    web.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    let mut wrong = connect_from(PROXY, herd.web_port("Hill"));
    wrong.write_all(request.as_bytes()).unwrap();
    assert!(matches!(wrong.read(&mut [0; 1]), Ok(0) | Err(_)));
    assert_eq!(refused(&herd, "web", "proxy_head_wrong"), 1.0);
}

/// Goal: without a right head a proxy's connection is closed, soon, and counted by its reason.
#[test]
fn a_proxy_must_say_who_the_client_is() {
    let herd = herd_behind("", PLACELESS);
    let wrong =
        ["IAMAT kiwi +1-1 7\n", "PROXY TCP4 x\r\nIAMAT kiwi +1-1 7\n", "GET / HTTP/1.1\r\n"];
    for (number, text) in wrong.iter().enumerate() {
        assert!(come(&herd, PROXY, text).hung_up().is_empty(), "{text}");
        assert_eq!(refused(&herd, "client", "proxy_head_wrong"), number as f64 + 1.0);
    }
    let began = Instant::now();
    for mut silent in [come(&herd, PROXY, ""), come(&herd, PROXY, &HEAD[..20])] {
        assert!(silent.hung_up().is_empty());
        assert!((2..10).contains(&began.elapsed().as_secs()));
    }
    assert_eq!(refused(&herd, "client", "proxy_head_late"), 2.0);
    drop([come(&herd, PROXY, ""), come(&herd, PROXY, &HEAD[..20])]);
    until("both are counted", || refused(&herd, "client", "proxy_head_missing") == 2.0);
    assert_eq!(herd.held("Hill", "kiwi"), None);
    let sentence = "it is in proxy_from and begins with no head of the PROXY protocol";
    assert!(herd.log("Hill").contains(sentence));
    assert_eq!(herd.log("Hill").matches("connection refused").count(), 1, "one line a minute");
}

/// Goal: what a stranger says of an address is a wrong line and nothing else, and the course's
/// clients are who they were.
#[test]
fn a_stranger_is_not_believed() {
    let herd = herd_behind("", PLACELESS);
    for from in [STRANGER, "127.0.0.1"] {
        let mut client = come(&herd, from, HEAD);
        assert_eq!(client.line(), format!("? {}\n", HEAD.trim_end()).into_bytes());
        client.ask("IAMAT kiwi +1-1 7");
        assert!(addresses(&herd).last().unwrap().starts_with(from));
    }
    for reason in ["proxy_head_wrong", "proxy_head_late", "proxy_head_missing"] {
        assert_eq!(refused(&herd, "client", reason), 0.0);
    }
}

/// Goal: what an address may do is counted by the client's, so that clients of one proxy do not pay
/// for each other, and one on the proxy's own machine is no friend of the house.
#[test]
fn limits_are_those_of_the_client() {
    let limits = "[limits]\nnew_clients_at_once = 5\nnew_clients_per_s = 1\n";
    let herd = herd_behind(limits, PLACELESS);
    let mut introduced = [0; 2];
    for (number, introduced) in introduced.iter_mut().enumerate() {
        let head = HEAD.replace("203.0.113.9", &format!("203.0.113.{number}"));
        let mut client = come(&herd, PROXY, head);
        for at in 0..20 {
            let answer = client.ask(&format!("IAMAT {number}-{at} +1-1 7"));
            *introduced += usize::from(answer.starts_with("AT "));
        }
    }
    assert!(introduced.iter().all(|count| (5..12).contains(count)), "{introduced:?}");
    // A client of this machine that speaks for itself has no limit.
    let mut own = come(&herd, PROXY, "PROXY UNKNOWN\r\n");
    (0..20).for_each(|at| assert!(own.ask(&format!("IAMAT own-{at} +1-1 7")).starts_with("AT ")));
}

/// Goal: while proxies do not say who comes, they hold the places of clients and no more.
#[test]
fn who_waits_for_a_head_has_a_place() {
    let herd = herd_behind("[limits]\nconnections_max = 4\n", PLACELESS);
    let mut silent = [0; 4].map(|_| come(&herd, PROXY, ""));
    let mut fifth = come(&herd, STRANGER, "IAMAT kiwi +1-1 7\n");
    fifth.stream().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(fifth.is_silent(), "there is no place");
    silent[0].send(HEAD);
    silent[0].ask("IAMAT plum +1-1 7");
    fifth.stream().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert!(fifth.through(b"\n").starts_with(b"AT Hill "), "the silent ones are gone");
}
