//! Links by TLS between real servers: that nothing of them can be read on the way, who is kept out,
//! and that a herd which runs changes over without a loss. What the two ends prove to each other is
//! in `src/herd/tls/peers.rs`.

mod common;

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::openmetrics::Exposition;
use common::operator::Operator;
use common::proxy::{Mood, Proxy};
use common::{Herd, PLACELESS, until};
use herd::status::PeerState;

const NAMES: [&str; 5] = ["A", "B", "C", "D", "E"];
const RING: [(&str, &str); 5] = [("A", "B"), ("B", "C"), ("C", "D"), ("D", "E"), ("E", "A")];

/// Links come back at once, however busy the machine is.
const LIMITS: &str = "[limits]\nbackoff_max = \"200 ms\"\n";

/// The sections of a herd whose links are by TLS, or not.
fn sections(way: &str) -> String {
    format!("{LIMITS}[tls]\npeers = \"{way}\"\n")
}

fn with_key(file: &str) -> Vec<&str> {
    [PLACELESS, &["--key-file", file]].concat()
}

/// A ring of five with one key, whose links may be so.
fn ring(way: &str) -> Herd {
    let mut herd = Herd::of_file(&NAMES, &RING, &sections(way));
    herd.write_keys("herd.key", "a");
    herd.start_all(&with_key("herd.key"));
    herd
}

/// Two servers with a proxy between them. A dials B.
fn pair(way: &str) -> (Herd, Proxy) {
    let (herd, mut proxies) = Herd::with_proxies(&["A", "B"], &[("A", "B")], &sections(way));
    for (file, digit) in [("herd.key", "a"), ("other.key", "b")] {
        herd.write_keys(file, digit);
    }
    (herd, proxies.remove(0))
}

/// Links that are up, and how many of them are by TLS.
fn links(herd: &Herd) -> (usize, usize) {
    let statuses = herd.names.iter().map(|name| herd.status(name));
    let peers: Vec<_> = statuses.flat_map(|status| status.peers).collect();
    let up = peers.iter().filter(|peer| peer.state == PeerState::Up);
    (up.clone().count(), up.filter(|peer| peer.tls).count())
}

fn figure(herd: &Herd, name: &str, series: &str) -> f64 {
    let reply = Operator::connect(herd.operators_port(name)).get("/metrics");
    Exposition::parse(&reply.body).series[series]
}

/// How many clients a server knows whose names begin so.
fn known(herd: &Herd, name: &str, prefix: &str) -> usize {
    let output = run(herd, &["dump", name]);
    let lines = output.lines().map(|line| line.split(' ').nth(3).unwrap_or_default());
    lines.filter(|client| client.starts_with(prefix)).count()
}

/// What a command of `herd` says on stdout.
fn run(herd: &Herd, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.env_remove("HERD_CONFIG").current_dir(herd.dir());
    let output = command.args(arguments).args(["--run-dir", "run"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn reload(herd: &Herd, name: &str) -> String {
    run(herd, &["reload", "--wait", name])
}

/// Goal: herds by TLS are herds: all hold what one has heard, and their operators see how.
/// PROTOCOL 7.9, 7.10.
#[test]
fn a_herd_by_tls_agrees() {
    let herd = ring("require");
    for name in NAMES {
        let line = herd.report(name, &format!("of-{name}"), "+1-1", "7");
        herd.until_all_hold(&format!("of-{name}"), &line);
    }
    // Much at once: several records a read, and reads that end in the middle of one.
    let mut client = herd.connect("A");
    let lines: String = (0..4_000).map(|n| format!("IAMAT many-{n} +1-1 7\n")).collect();
    client.send(&lines);
    (0..4_000).for_each(|_| drop(client.line()));
    for name in NAMES {
        until("all have all", || known(&herd, name, "many-") == 4_000);
    }
    assert_eq!(links(&herd), (10, 10));
    // What is said, and inside TLS: without a MAC, which would be one proof more of the same.
    let log = herd.log("A");
    assert!(log.contains(" <- HERD/1 ") && log.contains(" <- AT ") && !log.contains(" ~"));
    assert_eq!(figure(&herd, "A", "herd_peer_tls{peer=\"B\"}"), 1.0);
    assert!(figure(&herd, "A", "herd_tls_handshakes_total{outcome=\"full\"}") >= 2.0);
    assert_eq!(figure(&herd, "A", "herd_tls_handshakes_pending"), 0.0);
    assert!(figure(&herd, "B", "herd_received_bytes_total{door=\"peer\"}") > 1e5);
    let shown = run(&herd, &["status", "A"]);
    assert!(shown.contains("B (TLS)") && shown.contains("E (TLS)"), "{shown}");
}

/// Goal: a herd that runs changes over to TLS, and back, a step and a server at a time. Every link
/// is there again after each, and every report that was answered is everywhere in the end.
/// PROTOCOL 7.8.
#[test]
fn a_herd_changes_over_while_it_runs() {
    let herd = ring("off");
    let text = fs::read_to_string(herd.path("herd.toml")).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let reporters = NAMES.map(|name| {
            let (herd, is_over) = (&herd, &is_over);
            scope.spawn(move || {
                let mut client = herd.connect(name);
                let mut count = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let line = client.ask(&format!("IAMAT own-{name}-{count} +1-1 7"));
                    assert!(line.starts_with("AT "), "{line}");
                    count += 1;
                    thread::sleep(Duration::from_millis(2));
                }
                count
            })
        });
        for (way, by_tls) in [
            ("allow", 0),
            ("prefer", 10),
            ("require", 10),
            ("prefer", 10),
            ("allow", 0),
            ("off", 0),
        ] {
            let peers = format!("peers = \"{way}\"");
            fs::write(herd.path("herd.toml"), text.replace("peers = \"off\"", &peers)).unwrap();
            for name in NAMES {
                let said = reload(&herd, name);
                assert!(said.contains("in force: tls.peers"), "{said}");
                until("the links are there", || links(&herd).0 == 10);
            }
            until("they are as they should be", || links(&herd) == (10, by_tls));
        }
        is_over.store(true, Ordering::Relaxed);
        let answered: usize = reporters.into_iter().map(|it| it.join().unwrap()).sum();
        for name in NAMES {
            until("nothing is lost", || known(&herd, name, "own-") == answered);
        }
    });
    for name in NAMES {
        assert!(!herd.log(name).contains("tls handshake failed"), "{}", herd.log(name));
    }
}

/// Goal: who stands between two servers reads neither reports nor names, and pieces of any size
/// make the same lines. PROTOCOL 7.7.
#[test]
fn nothing_can_be_read_on_the_way() {
    let (mut herd, proxy) = pair("require");
    proxy.set(Mood::Drip);
    herd.start_all(&with_key("herd.key"));
    let line = herd.report("A", "kiwi", "+60.1699+24.9384", "1520023934");
    herd.until_all_hold("kiwi", &line);
    let back = herd.report("B", "moa", "-36.8485+174.7633", "1520023935");
    herd.until_all_hold("moa", &back);
    let tapes: Vec<u8> = proxy.tapes().into_iter().flatten().flatten().collect();
    assert!(tapes.len() > 500 && tapes.starts_with(&[0x16, 3]), "{} bytes", tapes.len());
    for word in ["kiwi", "moa", "HERD/1", "AUTH", "AT A", "+60.16", "1520023934"] {
        assert!(!tapes.windows(word.len()).any(|piece| piece == word.as_bytes()), "{word}");
    }
}

/// Goal: a server with another key, or without TLS where that is required, has no link, though all
/// else about it is right; and operators are told.
#[test]
fn strangers_stay_outside() {
    for (other, key, reason) in [
        ("require", "other.key", "no server certificate chain resolved"),
        ("off", "herd.key", "this is no TLS, and [tls] of herd.toml requires it of peers"),
        ("allow", "herd.key", "this is no TLS"),
    ] {
        let (mut herd, _proxy) = pair("require");
        let text = fs::read_to_string(herd.path("A.toml")).unwrap();
        let peers = format!("peers = \"{other}\"");
        fs::write(herd.path("A.toml"), text.replace("peers = \"require\"", &peers)).unwrap();
        herd.start("B", &with_key("herd.key"));
        herd.start("A", &with_key(key));
        herd.until_logged("B", "tls handshake failed conn=peer-");
        assert!(herd.log("B").contains(reason), "{}", herd.log("B"));
        let outcome = if key == "other.key" { "refused" } else { "no_tls" };
        let series = format!("herd_tls_handshakes_total{{outcome=\"{outcome}\"}}");
        until("it tries again and again", || figure(&herd, "B", &series) >= 3.0);
        let wrong_keys = "herd_connections_refused_total{door=\"peer\",reason=\"wrong_key\"}";
        assert!(figure(&herd, "B", wrong_keys) >= 3.0 && herd.status("B").refused >= 3);
        let trouble = herd.status("A").peers[0].trouble.clone();
        let expected = (key == "other.key").then_some("does not share a key with us");
        assert_eq!(trouble.as_deref(), expected, "A has dialled, and can say so");
        herd.report("A", "kiwi", "+1-1", "7");
        assert_eq!(links(&herd), (0, 0), "{other}");
        assert_eq!(herd.held("B", "kiwi"), None);
    }
}

/// Goal: without a key there is nothing that TLS could rest on, and nothing starts.
#[test]
fn without_a_key_there_is_no_tls() {
    let herd = Herd::of_file(&NAMES, &RING, &sections("allow"));
    let output = herd.command("A", PLACELESS).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let complaints = herd.complaints("A");
    assert!(complaints.contains("links by TLS (allow) rest on the herd's key"), "{complaints}");
}

/// Goal: keys are changed on one server after the other, and links that come up meanwhile find the
/// key that both ends have. Method: the server whose keys have changed is killed and comes back, so
/// its links shake hands anew.
#[test]
fn keys_are_rotated_by_tls() {
    let mut herd = ring("require");
    for (at, name) in NAMES.iter().enumerate() {
        herd.write_keys(&format!("{name}.key"), "a");
        herd.kill(name);
        herd.start(name, &with_key(&format!("{name}.key")));
        herd.report(name, &format!("before-{at}"), "+1-1", "7");
    }
    herd.until_joined();
    for (round, keys) in ["ba", "b"].iter().enumerate() {
        for name in NAMES {
            let file = format!("{name}.key");
            herd.write_keys(&file, keys);
            let said = reload(&herd, name);
            assert!(said.contains("in force for new connections: key_file"), "{said}");
            // Its links are new at the far ends, whose keys are other ones.
            let neighbour = NAMES[(NAMES.iter().position(|it| *it == name).unwrap() + 1) % 5];
            herd.kill(neighbour);
            herd.start(neighbour, &with_key(&format!("{neighbour}.key")));
            herd.until_joined();
            let client = format!("in-{round}-{name}");
            let line = herd.report(name, &client, "+1-1", "7");
            herd.until_all_hold(&client, &line);
        }
    }
    assert_eq!(links(&herd), (10, 10));
    for name in NAMES {
        until("nothing is lost", || known(&herd, name, "in-") == 10);
        assert!(!herd.log(name).contains("tls handshake failed"), "{}", herd.log(name));
    }
}

/// Goal: a handshake that does not go on ends, whichever end has begun it, and the next one is
/// tried.
#[test]
fn a_frozen_handshake_ends() {
    let more = sections("require") + "handshake = \"60 s\"\n";
    let more = more.replace("[tls]", "greeting = \"300 ms\"\n[tls]");
    let mut herd = Herd::of_file(&["A", "B"], &[("A", "B")], &more);
    herd.write_keys("herd.key", "a");
    // The first takes dials and never says a word.
    let silent = TcpListener::bind(("127.0.0.1", herd.port("B") + 100)).unwrap();
    herd.start("A", &with_key("herd.key"));
    let mut strangers = [&[][..], &[0x16], &[0x16, 3, 1, 2, 0, 1]].map(|bytes| {
        let mut stranger = herd.connect_peer("A");
        stranger.send(bytes);
        stranger
    });
    for stranger in &mut strangers {
        assert!(stranger.hung_up().is_empty());
    }
    let late = "herd_tls_handshakes_total{outcome=\"timeout\"}";
    until("they are counted", || figure(&herd, "A", late) >= 4.0);
    until("it dials again", || herd.status("A").peers[0].redials > 1);
    drop(silent);
    herd.start("B", &with_key("herd.key"));
    herd.until_joined();
    assert_eq!(links(&herd), (2, 2));
    assert_eq!(figure(&herd, "A", "herd_tls_handshakes_pending"), 0.0);
}
