//! A server under a program that speaks as systemd does (`sd_notify(3)`): it hears that the server
//! is ready, that its loop turns, and that it ends.

mod common;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::Command;

use common::operator::Operator;
use common::{Herd, PLACELESS, TIMEOUT, until};
use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};

/// The next thing that the server says, in words.
fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).expect("the server says something");
    String::from_utf8(bytes[..length].to_vec()).unwrap().trim().to_owned()
}

/// Goal: a loop that hangs is noticed, and what starts after a server finds it ready.
/// Method: an idle server, which wakes only to say that it is alive. While it starts nobody reads
/// what it says, and it must not wait for that.
#[test]
fn a_service_manager_hears_that_a_server_is_ready_alive_and_stopping() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let path = herd.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut command = herd.command("Hill", &[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    herd.launch("Hill", command);
    // It may have said so often that it lives that there was no room for more.
    let said: Vec<_> = (0..6).map(|_| next(&socket)).collect();
    assert_eq!(said.iter().filter(|said| *said == "READY=1").count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|said| *said == "WATCHDOG=1").count(), 5, "{said:?}");
    a_reload_is_told(&herd, &socket);
    herd.signal("Hill", Signal::TERM);
    while next(&socket) != "STOPPING=1" {}
    let told = "STATUS=stopping (told): told to stop, clients are still taken";
    assert_eq!(next(&socket), told);
    while !next(&socket).starts_with("STATUS=stopping (handing_over): ") {}
    assert!(herd.ended("Hill").success());
}

/// The manager hears that a reload begins, with the time at which it did (without it, one of
/// `Type=notify-reload` would wait for ever), and then that it is over.
fn a_reload_is_told(herd: &Herd, socket: &UnixDatagram) {
    let now = || {
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec * 1_000_000 + now.tv_nsec / 1_000
    };
    let before = now();
    herd.signal("Hill", Signal::HUP);
    let mut said = (0..).map(|_| next(socket)).filter(|said| said != "WATCHDOG=1");
    let told = said.next().unwrap();
    let began = told.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&told);
    assert!((before..=now()).contains(&began.parse().unwrap()), "{told}, after {before}");
    assert_eq!(said.next().unwrap(), "READY=1");
}

/// Goal: however long a journal is, what starts a server waits until it is loaded, and sees how far
/// that is. What starts one without a journal hears nothing of that.
#[test]
fn a_service_manager_waits_for_a_journal() {
    let mut herd = Herd::of_file(&["Hill"], &[], "[journal]\nkeep = \"written\"\n");
    let path = herd.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    for life in 0..3 {
        let mut command = herd.command("Hill", &[]);
        command.env("NOTIFY_SOCKET", &path);
        herd.launch("Hill", command);
        herd.report("Hill", "kiwi", "+34.1-118.4", &life.to_string());
        herd.kill("Hill");
        let said = (0..).map(|_| next(&socket));
        let told: Vec<_> = said.take_while(|told| told != "READY=1").collect();
        if life == 0 {
            assert!(told.is_empty(), "{told:?}");
            continue;
        }
        let status = |told: &String| {
            let (time, status) = told.split_once("\nSTATUS=").expect(told);
            assert!(number(time, "EXTEND_TIMEOUT_USEC=") >= 10_000_000, "{told}");
            status.to_owned()
        };
        let told: Vec<_> = told.iter().map(status).collect();
        assert_eq!((told[0].as_str(), told.last().unwrap().as_str()), ("loading 0 %", ""));
    }
}

/// What `herd` prints with these arguments.
fn printed(arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    let ended = command.args(arguments).current_dir(dir.path()).output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

/// The number behind this in a text.
fn number(text: &str, before: &str) -> u64 {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    let digits = rest.trim_start_matches([' ', '=', '"']);
    digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// Goal: what starts a server waits for its end as long as that may take, and an operator who wants
/// longer is told where that must be said.
#[test]
fn what_is_printed_lets_a_server_drain() {
    let drain = number(include_str!("../src/herd/config/SETTINGS.md"), "| `drain` | `");
    let unit = printed(&["print", "systemd"]);
    let needed = number(&unit, "LAME_DUCK_GRACE=") + number(&unit, "LAME_DUCK=") + drain + 5;
    assert!(needed <= number(&unit, "TimeoutStopSec="), "{needed} s");
    let manifests = printed(&["print", "kubernetes"]);
    let needed = number(&manifests, "lame_duck_grace") + number(&manifests, "lame_duck =") + drain;
    assert!(needed + 5 <= number(&manifests, "terminationGracePeriodSeconds:"), "{needed} s");

    let fits = printed(&["check-config", "Bona", "--lame-duck-grace=10s", "--lame-duck=40s"]);
    assert!(!fits.contains("TimeoutStopSec"), "{fits}");
    let long = printed(&["check-config", "Bona", "--lame-duck-grace=10s", "--lame-duck=41s"]);
    let part = "need 61 s with 5 s to spare, and what `herd print` prints kills a server after";
    assert!(long.contains(part) && long.contains("TimeoutStopSec="), "{long}");
}

/// Goal: a unit of sockets has the ports of the server that it is for.
#[test]
fn sockets_are_those_of_the_server() {
    let usual = printed(&["print", "socket"]);
    assert_eq!(usual.matches("\nListenStream=").count(), 5);
    let of_bona = printed(&["print", "socket", "Bona", "--base-port", "22000"]);
    let listens = of_bona.lines().filter_map(|line| line.strip_prefix("ListenStream="));
    let status = printed(&["check-config", "Bona", "--base-port", "22000"]);
    let listens: Vec<_> = listens.collect();
    assert_eq!(listens.len(), 5, "{of_bona}");
    assert!(listens.iter().all(|port| status.contains(&format!("  {port}\n"))), "{of_bona}");
    assert!(of_bona.contains("Description=ports of herd server Bona\n"));
}

/// Goal: an operator's drain is told in all places, has its exit codes, and is not cut short by
/// what then stops the machine.
#[test]
fn an_operator_sees_how_far_a_drain_is() {
    let limits = "[limits]\nlame_duck_grace = \"300 ms\"\nlame_duck = \"10 min\"\n";
    let mut herd = Herd::of_one(limits, PLACELESS);
    let run_dir = herd.path("run");
    let drain = |name: &str, flags: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        command.args(["drain", name, "--run-dir"]).arg(&run_dir).args(flags);
        let ended = command.output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = drain("Smith", &[]);
    assert!(code == Some(3) && said.contains("Smith is not running"), "{code:?} {said}");
    let mut operator = Operator::connect(herd.operators_port("Hill"));
    let mut half = herd.connect("Hill");
    half.send("IAMAT kiwi +1-1 ");
    let (code, said) = drain("Hill", &[]);
    assert!(code == Some(0) && said.starts_with("Hill drains, and has ended in "), "{said}");
    herd.signal("Hill", Signal::TERM);
    let mut phases = BTreeSet::new();
    until("clients leave", || {
        assert_eq!(operator.get("/livez").status, 200);
        assert_eq!(operator.get("/readyz").status, 503);
        phases.extend(herd.status("Hill").drain_phase);
        phases.contains("leaving")
    });
    let scraped = operator.get("/metrics").body;
    assert!(scraped.contains("\nherd_draining{phase=\"leaving\"} 1"), "{scraped}");
    assert!(scraped.contains("\nherd_draining{phase=\"told\"} 0"), "{scraped}");
    let refused = TcpStream::connect(("127.0.0.1", herd.port("Hill")));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let (code, said) = drain("Hill", &[]);
    assert!(code == Some(0) && said.contains("drains already, phase leaving"), "{said}");
    half.send("7\n");
    assert!(half.line().ends_with(b" kiwi +1-1 7\n"));
    assert!(half.rest().is_empty());
    drop((half, operator));
    let (code, said) = drain("Hill", &["--wait"]);
    assert!(matches!(code, Some(0 | 3)), "{code:?} {said}");
    assert_eq!(herd.ended("Hill").code(), Some(0));
    let log = herd.log("Hill");
    let mut rest = &*log;
    for part in [
        "server stopping grace_ms=300 ",
        "drain phase=told",
        "stop noted",
        "drain phase=closed",
        "drain phase=leaving",
        "drain phase=draining",
        "drain phase=handing_over",
        "server stopped",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} is missing in {log}"));
        rest = &rest[at..];
    }
}

/// Goal: no one need listen, and what is set for another process concerns no server.
#[test]
fn a_server_without_a_service_manager_serves() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let mut command = herd.command("Hill", &[]);
    command.env("NOTIFY_SOCKET", herd.path("nobody")).env("WATCHDOG_USEC", "nonsense");
    herd.launch("Hill", command);
    assert!(herd.report("Hill", "kiwi", "+34.0-118.0", "7").starts_with("AT Hill "));
}
