//! Clients that come by TLS to real servers: the same answers as by the plain port, and what
//! becomes of those who do not speak it, or not well, or slowly.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, thread};

use common::openmetrics::Exposition;
use common::operator::Operator;
use common::papers::{ask, client_config, connect_tls, read_line, tls_over, write_papers};
use common::{Client, Herd, PLACELESS, skip, until};
use herd::status::ConnectionsPage;
use rustix::process::Signal;

/// Above the client ports of a herd, below those of peers.
const TLS_PORT_OFFSET: u16 = 50;

fn tls_port(herd: &Herd) -> u16 {
    herd.port("Hill") + TLS_PORT_OFFSET
}

/// One server, Hill, whose clients may come by TLS, with a certificate of the year 4000.
fn herd_with_tls(sections: &str, flags: &[&str]) -> Herd {
    let mut herd = Herd::of_file(&["Hill"], &[], sections);
    write_papers(herd.dir(), 4000);
    let address = format!("127.0.0.1:{}", tls_port(&herd));
    let papers = ["--tls-clients", &address, "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    herd.start("Hill", &[&papers, flags].concat());
    herd
}

fn figure(herd: &Herd, series: &str) -> f64 {
    let reply = Operator::connect(herd.operators_port("Hill")).get("/metrics");
    Exposition::parse(&reply.body).series[series]
}

/// Goal: a phone reports by TLS to the web port. Where that is allowed, others come there without;
/// where it is required, who does hears nothing and is counted.
#[test]
fn phones_come_by_tls() {
    for (way, serves_plain) in [("allow", true), ("require", false)] {
        let mut herd = Herd::of_file(&["Hill"], &[], "");
        write_papers(herd.dir(), 4000);
        herd.start("Hill", &["--tls-web", way, "--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
        let mut phone = connect_tls(&client_config(), herd.web_port("Hill"));
        for second in 0..3 {
            let body = format!("id=kiwi&lat=60.1699&lon=24.9384&timestamp=152002393{second}");
            let head = format!("Host: localhost\r\nContent-Length: {}\r\n\r\n", body.len());
            write!(phone, "POST /report HTTP/1.1\r\n{head}{body}").unwrap();
            assert_eq!(read_line(&mut phone), "HTTP/1.1 200 OK\r");
            let lines = std::iter::repeat_with(|| read_line(&mut phone));
            assert_eq!(lines.skip_while(|line| line != "\r").nth(1).unwrap(), "{\"taken\":1}");
        }
        let line = herd.held("Hill", "kiwi").unwrap();
        assert!(line.ends_with("kiwi +60.1699000+024.9384000 1520023932.000000000"), "{line}");
        assert_eq!(figure(&herd, "herd_connections{door=\"web\"}"), 1.0);

        let mut plain = Client::connect(herd.web_port("Hill"));
        plain.send("GET /v1/clients/kiwi HTTP/1.1\r\nHost: localhost\r\n\r\n");
        if serves_plain {
            assert_eq!(plain.line(), b"HTTP/1.1 200 OK\r\n");
        } else {
            herd.until_logged("Hill", "requires it of the web");
            assert_eq!(figure(&herd, "herd_tls_handshakes_total{outcome=\"no_tls\"}"), 1.0);
        }
    }
}

/// Goal: a client by TLS is a client: the same lines, whatever records they come in, and the same
/// end.
#[test]
fn lines_come_and_go_by_tls() {
    let herd = herd_with_tls("", &[]);
    let config = client_config();
    let mut client = connect_tls(&config, tls_port(&herd));
    let line = ask(&mut client, "IAMAT kiwi +60.1699+24.9384 1520023934");
    assert!(line.starts_with("AT Hill ") && line.ends_with(" 1520023934"), "{line}");
    assert_eq!(herd.held("Hill", "kiwi").unwrap(), line, "plain clients see it");

    // Each byte in a record of its own, then many lines in one.
    for byte in b"IAMAT drip +1-1 7\n" {
        client.write_all(&[*byte]).unwrap();
    }
    assert!(read_line(&mut client).ends_with(" drip +1-1 7"));
    let lines: String = (0..500).map(|n| format!("IAMAT many-{n} +1-1 7\n")).collect();
    client.write_all(lines.as_bytes()).unwrap();
    for n in 0..500 {
        assert!(read_line(&mut client).ends_with(&format!(" many-{n} +1-1 7")));
    }

    // A half-close by TLS stands for the last newline, and the answers are told to be all.
    client.write_all(b"WHATSAT kiwi 50 20\nIAMAT last +1-1 7").unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).expect("the end is told");
    let mut plain = herd.connect("Hill");
    plain.send("WHATSAT kiwi 50 20\n");
    let places = String::from_utf8(plain.through(b"\n\n")).unwrap();
    let last = heard.strip_prefix(&places).expect("the same answer");
    assert!(last.starts_with("AT Hill ") && last.ends_with(" last +1-1 7\n"), "{last}");
}

/// Goal: operators see them apart from others.
#[test]
fn operators_see_who_comes_by_tls() {
    let herd = herd_with_tls("", PLACELESS);
    let config = client_config();
    let clients = [0; 2].map(|_| {
        let mut client = connect_tls(&config, tls_port(&herd));
        ask(&mut client, "IAMAT kiwi +1-1 7");
        client
    });
    let _plain = Client::connect(herd.port("Hill"));
    let reply = Operator::connect(herd.operators_port("Hill")).get("/connections");
    let page: ConnectionsPage = serde_json::from_str(&reply.body).unwrap();
    let doors = page.connections.iter().map(|connection| &*connection.door);
    assert_eq!(doors.filter(|door| *door == "tls").count(), 2, "{reply:?}");
    let is = |series: &str, expected: f64| assert_eq!(figure(&herd, series), expected, "{series}");
    is("herd_connections{door=\"tls\"}", 2.0);
    until("the plain one is seen", || figure(&herd, "herd_connections{door=\"client\"}") == 1.0);
    is("herd_connections_opened_total{door=\"tls\"}", 2.0);
    is("herd_tls_handshakes_pending", 0.0);
    is("herd_tls_handshakes_total{outcome=\"full\"}", 1.0);
    is("herd_tls_handshakes_total{outcome=\"resumed\"}", 1.0);
    is("herd_tls_certificate_expiry_timestamp_seconds", 64_060_588_800.0);
    assert!(figure(&herd, "herd_received_bytes_total{door=\"tls\"}") > 400.0);
    assert!(figure(&herd, "herd_sent_bytes_total{door=\"tls\"}") > 400.0);
    drop(clients);
    until("they have gone", || figure(&herd, "herd_connections{door=\"tls\"}") == 0.0);
    assert!(figure(&herd, "herd_connections_closed_total{reason=\"done\"}") >= 2.0);
}

/// Goal: who has come to the wrong port, whichever it is, is told by an end, and the operator by a
/// line.
#[test]
fn the_wrong_port_is_no_riddle() {
    let herd = herd_with_tls("", PLACELESS);
    for text in ["IAMAT kiwi +1-1 7\n", "GET / HTTP/1.1\r\n\r\n", "\n"] {
        let mut plain = Client::connect(tls_port(&herd));
        plain.send(text);
        assert!(plain.hung_up().is_empty(), "{text:?}");
    }
    herd.until_logged("Hill", "tls handshake failed conn=client-");
    herd.until_logged("Hill", "reason=\"this is no TLS: plain clients have a port of their own\"");
    until("all are counted", || {
        figure(&herd, "herd_tls_handshakes_total{outcome=\"no_tls\"}") == 3.0
    });
    let told = herd.log("Hill").matches("tls handshake failed").count();
    assert_eq!(told, 1, "one line a minute");

    let mut wrong = connect_tls(&client_config(), herd.port("Hill"));
    let error = wrong.write_all(b"IAMAT kiwi +1-1 7\n").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset));
    herd.until_logged("Hill", "other protocol conn=client-");
    herd.until_logged("Hill", "protocol=TLS");
    assert_eq!(herd.held("Hill", "kiwi"), None);
}

/// Goal: who begins a handshake and does not end it has a bounded time, however it is spent.
#[test]
fn a_slow_handshake_ends() {
    let herd = herd_with_tls("[tls]\nhandshake = \"300 ms\"\n", PLACELESS);
    let silent = Client::connect(tls_port(&herd));
    let mut half = Client::connect(tls_port(&herd));
    half.send([0x16, 3, 1, 2, 0]);
    let mut dripping = TcpStream::connect(("127.0.0.1", tls_port(&herd))).unwrap();
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    for byte in hello.into_iter().chain([0; 400]) {
        if dripping.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    for mut client in [silent, half, Client::of(dripping)] {
        client.hung_up();
    }
    until("all are counted", || {
        figure(&herd, "herd_tls_handshakes_total{outcome=\"timeout\"}") == 3.0
    });
    assert_eq!(figure(&herd, "herd_tls_handshakes_pending"), 0.0);
    herd.until_logged("Hill", "it has taken longer than `handshake` in [tls] of herd.toml");
    // One that is open may wait for longer.
    let mut client = connect_tls(&client_config(), tls_port(&herd));
    ask(&mut client, "IAMAT kiwi +1-1 7");
    thread::sleep(Duration::from_millis(600));
    ask(&mut client, "IAMAT kiwi +1-1 8");
}

/// Goal: a connection that somebody has cut is no half-close: half a line is none.
#[test]
fn a_cut_connection_ends_after_its_last_line() {
    let herd = herd_with_tls("", PLACELESS);
    let mut client = connect_tls(&client_config(), tls_port(&herd));
    client.write_all(b"IAMAT whole +1-1 7\nIAMAT half +1-1 15200").unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    assert!(read_line(&mut client).ends_with(" whole +1-1 7"));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the server's end is told");
    assert!(rest.is_empty(), "{}", rest.escape_ascii());
    assert_eq!(herd.held("Hill", "half"), None);
}

/// Goal: answers of megabytes reach a client that reads late and little, whole and in order.
#[test]
fn a_slow_reader_gets_all_of_it() {
    /// More than the kernel takes for both ends.
    const ANSWERS: usize = 2_000;
    let herd = herd_with_tls("", &[]);
    herd.report("Hill", "kiwi", "+60.1699+24.9384", "7");
    let questions = "WHATSAT kiwi 50 20\n".repeat(ANSWERS);
    let mut plain = herd.connect("Hill");
    plain.send("WHATSAT kiwi 50 20\n");
    let expected = plain.through(b"\n\n");

    let config = client_config();
    let stream = TcpStream::connect(("127.0.0.1", tls_port(&herd))).unwrap();
    let mut client = tls_over(&config, stream);
    client.write_all(questions.as_bytes()).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    // Until the kernel takes no more.
    let owes = || {
        let reply = Operator::connect(herd.operators_port("Hill")).get("/connections");
        let page: ConnectionsPage = serde_json::from_str(&reply.body).unwrap();
        page.connections.iter().any(|it| it.door == "tls" && it.owed_bytes > 64 * 1024)
    };
    until("the server owes more than it may", owes);
    let mut heard = Vec::new();
    let mut piece = [0; 1000];
    for _ in 0..200 {
        let count = client.read(&mut piece).unwrap();
        heard.extend_from_slice(&piece[..count]);
    }
    client.read_to_end(&mut heard).expect("the end is told");
    assert_eq!(heard.len(), ANSWERS * expected.len());
    assert!(heard.chunks(expected.len()).all(|answer| answer == expected));
}

/// Goal: a server that stops gives its answers and says by TLS that there are no more.
#[test]
fn a_drain_ends_sessions_in_order() {
    let mut herd = herd_with_tls("", PLACELESS);
    let mut client = connect_tls(&client_config(), tls_port(&herd));
    ask(&mut client, "IAMAT kiwi +1-1 7");
    client.write_all(b"IAMAT kiwi +1-1 8\n").unwrap();
    until("the line has come", || herd.held("Hill", "kiwi").unwrap().ends_with(" 8"));
    let _shaking = Client::connect(tls_port(&herd));
    herd.signal("Hill", Signal::TERM);
    let mut heard = String::new();
    client.read_to_string(&mut heard).expect("the end is told");
    assert!(heard.ends_with(" kiwi +1-1 8\n"), "{heard}");
    drop(client);
    drop(_shaking);
    assert!(herd.ended("Hill").success());
}

/// Goal (T5): a new certificate is shown to those who come after the reload; nobody is lost,
/// neither by a good file nor by a bad one.
#[test]
fn certificates_are_read_again_under_load() {
    let herd = herd_with_tls("", PLACELESS);
    let (port, stop) = (tls_port(&herd), AtomicBool::new(false));
    let (asked, shown) = (AtomicUsize::new(0), std::sync::Mutex::new(BTreeSet::new()));
    let loaded = || herd.log("Hill").matches("certificate loaded expires=").count();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = connect_tls(&client_config(), port);
            while !stop.load(Ordering::Relaxed) {
                ask(&mut client, "IAMAT steady +1-1 7");
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Without a ticket, so that the certificate is shown.
                    let mut client = connect_tls(&client_config(), port);
                    ask(&mut client, "IAMAT fresh +1-1 7");
                    let cert = client.conn.peer_certificates().unwrap()[0].to_vec();
                    shown.lock().unwrap().insert(cert);
                }
            });
        }
        let stopping = StopWhenDropped(&stop);
        for round in 1..=5 {
            let cert = write_papers(herd.dir(), 4000 + round);
            herd.signal("Hill", Signal::HUP);
            until("it is loaded", || loaded() == round as usize);
            let expires = figure(&herd, "herd_tls_certificate_expiry_timestamp_seconds");
            assert!(expires > 64_060_588_800.0);
            until("it is shown", || shown.lock().unwrap().contains(&*cert));
        }
        fs::write(herd.path("cert.pem"), "nonsense").unwrap();
        herd.signal("Hill", Signal::HUP);
        herd.until_logged("Hill", "reload refused error=\"the TLS certificate cert.pem holds no");
        let before = asked.load(Ordering::Relaxed);
        until("all go on", || asked.load(Ordering::Relaxed) > before + 10);
        drop(stopping);
    });
    assert!(shown.into_inner().unwrap().len() >= 5);
    assert_eq!(figure(&herd, "herd_tls_handshakes_total{outcome=\"refused\"}"), 0.0);
}

/// Threads that wait for the others' end must not wait for ever when a test fails.
struct StopWhenDropped<'a>(&'a AtomicBool);

impl Drop for StopWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Goal: a certificate that cannot be used is told before anything is served.
#[test]
fn mistakes_are_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let run = |command: &str, name: &[&str], flags: &[&str]| {
        let mut herd = Command::new(env!("CARGO_BIN_EXE_herd"));
        for (variable, _) in env::vars().filter(|(variable, _)| variable.starts_with("HERD_")) {
            herd.env_remove(variable);
        }
        herd.args([command]).args(name).args(["--preset", "2020", "--base-port", "25990"]);
        herd.args(["--tls-clients", "127.0.0.1:25989"]).args(flags).current_dir(dir.path());
        let output = herd.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{said}");
        said
    };
    let check = |flags: &[&str], part: &str| {
        for command in ["serve", "check-config"] {
            let said = run(command, &["Hill"], flags);
            assert!(said.contains(part), "{said} lacks {part}");
        }
    };
    let both = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    check(&[], "no certificate is named: name it with --tls-cert");
    check(&both[..2], "no key of its certificate is named");
    check(&both, "the TLS certificate cert.pem cannot be read: No such file");
    write_papers(dir.path(), 2001);
    check(&both, "the TLS certificate cert.pem has expired on 2001-01-01: put a new one there");
    write_papers(dir.path(), 4000);
    fs::rename(dir.path().join("key.pem"), dir.path().join("other.pem")).unwrap();
    write_papers(dir.path(), 4000);
    check(&["--tls-cert", "cert.pem", "--tls-key", "other.pem"], "do not go together");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(dir.path().join("key.pem"), mode).unwrap();
    check(&both, "the TLS key file key.pem is open to others than its owner (mode 0644)");
}

/// Goal: another make of TLS comes to the same answers. Method: openssl's client, where there is
/// one.
#[test]
fn another_library_is_understood() {
    let is_there = Command::new("openssl").arg("version").output().is_ok();
    if !is_there {
        return skip("there is no openssl here");
    }
    let herd = herd_with_tls("", PLACELESS);
    for (version, expected) in [("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let address = format!("127.0.0.1:{}", tls_port(&herd));
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &address, version, "-CAfile", "cert.pem"]);
        openssl.args(["-verify_return_error", "-ign_eof"]).current_dir(herd.dir());
        openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = openssl.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("IAMAT {expected} +1-1 7\n").as_bytes()).unwrap();
        let held = until_held(&herd, expected);
        child.kill().unwrap();
        let said = child.wait_with_output().unwrap().stdout;
        let said = String::from_utf8_lossy(&said);
        assert!(held.ends_with(&format!(" {expected} +1-1 7")));
        assert!(said.contains(expected) && said.contains("Verify return code: 0 (ok)"), "{said}");
    }
    for version in ["-tls1_1", "-tls1"] {
        let address = format!("127.0.0.1:{}", tls_port(&herd));
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-connect", &address, version, "-cipher", "ALL:@SECLEVEL=0"]);
        let output = openssl.stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success(), "{version} is too old");
    }
}

fn until_held(herd: &Herd, client: &str) -> String {
    common::await_some("the report has come", || herd.held("Hill", client))
}
