//! `herd bench` against real servers: every mode counts what it has done, and says what is wrong.
//!
//! Goal: the figures can be believed. Method: a short load of each kind, then the server is asked
//! what it has seen; and far ends that are no servers. Nothing here depends on how fast anything
//! is: a load that is not answered once within its time is repeated with more of it.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use common::openmetrics::Exposition;
use common::operator::Operator;
use common::papers::write_papers;
use common::{Herd, PLACELESS};
use herd_load::{CountedLoad, Dialect, Pace, Plan};
use serde_json::Value;

struct Ended {
    code: Option<i32>,
    out: String,
    complaint: String,
}

/// `herd bench` in the directory of the herd, without the tests' environment.
fn bench(herd: &Herd, arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
        command.env_remove(name);
    }
    command.current_dir(herd.dir()).stdin(Stdio::null()).arg("bench").args(arguments);
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ended {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        complaint: String::from_utf8(stderr).unwrap(),
    }
}

const HILL: &[&str] = &["Hill", "--config", "herd.toml"];

/// Loads Hill and gives what was found. `flags` are split at blanks.
fn found(herd: &Herd, flags: &str) -> Value {
    found_at(herd, HILL, flags)
}

fn found_at(herd: &Herd, target: &[&str], flags: &str) -> Value {
    let flags = flags.split_whitespace();
    for seconds in ["0.2", "2", "20"] {
        let arguments = ["--json", "--warm-up", "0.05", "--seconds", seconds];
        let arguments: Vec<_> =
            target.iter().copied().chain(arguments).chain(flags.clone()).collect();
        let ended = bench(herd, &arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.out, ended.complaint);
        assert_eq!(ended.complaint, "", "{arguments:?}");
        let found: Value = serde_json::from_str(&ended.out).unwrap();
        if found["answers"] != 0 || found["connections"] == 0 {
            return found;
        }
    }
    panic!("nothing was answered");
}

/// Every mode: what was asked was answered, without errors, and the server has seen as much.
#[test]
fn what_was_asked_was_answered() {
    let herd = Herd::of_one("", PLACELESS);
    let check = |flags: &str, mode: &str| {
        let before = herd.status("Hill");
        let found = found(&herd, flags);
        let after = herd.status("Hill");
        let number = |key: &str| found[key].as_f64().unwrap_or_else(|| panic!("{flags}: {key}"));
        assert_eq!(found["mode"], *mode, "{flags}");
        assert_eq!(found["errors_total"], 0, "{flags}");
        assert_eq!(found["asked"], found["answered"], "{flags}");
        // One more connection, and one more line, are the probe's.
        let lines = (after.lines_in - before.lines_in) as f64;
        assert!(lines > number("asked"), "{flags}: {lines} lines");
        let connections = after.connections_total - before.connections_total;
        assert!(connections as f64 > number("connections") + number("idle"), "{flags}");
        assert!(number("seconds") >= 0.2, "{flags}");
        if number("connections") > 0.0 {
            let per_second = number("answers") / number("seconds");
            assert!((number("answers_per_second") / per_second - 1.0).abs() < 1e-6, "{flags}");
            let latency = |key: &str| found["latency_us"][key].as_f64().unwrap();
            let steps = ["p50", "p90", "p99", "p99_9"].map(latency);
            assert!(steps.is_sorted() && steps[0] > 0.0, "{flags}: {steps:?}");
            // A percentile is a bucket's upper end.
            assert!(steps[3] <= 1.002 * latency("max"), "{flags}: {steps:?}");
        }
        if cfg!(target_os = "linux") {
            assert!(number("resident_bytes_after") > 0.0, "{flags}");
            assert!(number("cpu_percent") >= 0.0 && number("load_cpu_percent") > 0.0, "{flags}");
        }
        found
    };
    check("", "closed loop");
    check("-c 1 --clients 1", "closed loop");
    check("-c 3 -p 16 --clients 7 --clients-from 999993", "closed loop");
    check("-c 200 -p 128", "closed loop");
    check("-c 5 --rate 1000", "open loop");
    check("-c 1 --rate 100000 -p 4", "open loop");
    check("-c 5 -p 2 --asleep", "closed loop");
    check("-c 5 --reconnect", "reconnect");
    check("-c 5 -p 3 --idle 100", "closed loop");
    let idle = check("--idle 100", "idle");
    if cfg!(target_os = "linux") {
        assert!(idle["resident_bytes_per_idle"].is_number());
    }
    assert_eq!(idle["asked"], 0);
}

/// By TLS, whatever certificate the server shows; each connection has a full handshake.
#[test]
fn what_was_asked_by_tls_was_answered() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    write_papers(herd.dir(), 4000);
    let address = format!("127.0.0.1:{}", herd.spare_port());
    let papers = ["--tls-clients", &address, "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    herd.start("Hill", &papers);
    let handshakes = || {
        let reply = Operator::connect(herd.operators_port("Hill")).get("/metrics");
        let outcome = |outcome| format!("herd_tls_handshakes_total{{outcome=\"{outcome}\"}}");
        let exposition = Exposition::parse(&reply.body);
        ["full", "resumed"].map(|it| exposition.series[&outcome(it)])
    };
    let target = ["--connect", &address, "--tls"];
    for flags in ["-c 5 -p 16", "-c 1 -p 5000", "-c 100", "-c 5 --reconnect", "--idle 20"] {
        let before = handshakes();
        let found = found_at(&herd, &target, flags);
        let after = handshakes();
        let number = |key: &str| found[key].as_f64().unwrap_or_else(|| panic!("{flags}: {key}"));
        assert_eq!(number("errors_total"), 0.0, "{flags}");
        assert_eq!(number("asked"), number("answered"), "{flags}");
        let connections = match found["mode"].as_str() {
            Some("reconnect") => number("asked"),
            _ => number("connections") + number("idle"),
        };
        assert!(after[0] - before[0] >= connections, "{flags}: {before:?} {after:?}");
        assert_eq!(after[1], 0.0, "{flags}: resumed");
    }
    let plain = bench(&herd, &["--connect", &address, "--seconds", "0.1"]);
    assert_ne!(plain.code, Some(0), "who does not speak TLS is not answered");
}

/// Of one connection, for a load that counts.
fn plan(address: &str) -> Plan {
    Plan {
        address: address.parse().unwrap(),
        pids: Vec::new(),
        dialect: Dialect::Herd,
        pace: Pace::Closed,
        connections: 1,
        pipeline: 1,
        clients: 0..10,
        whatsat_percent: 0,
        idle: 0,
        is_tls: false,
        is_awake: false,
        looks_every: None,
        warm_up: Duration::ZERO,
        duration: Duration::ZERO,
    }
}

/// A load with a stopwatch elsewhere asks as often as it is told, and on as many connections.
#[test]
fn a_counted_load_counts() {
    const COUNT: u64 = 251;
    let herd = Herd::of_one("", PLACELESS);
    let check = |pace, connections: usize, pipeline, lines, new_connections: [u64; 2]| {
        let address = herd.status("Hill").client_address;
        let plan = Plan { pace, connections, pipeline, ..plan(&address) };
        let mut load = CountedLoad::open(&plan).unwrap();
        let before = herd.status("Hill");
        load.run(1).unwrap();
        load.run(COUNT - 1).unwrap();
        let after = herd.status("Hill");
        assert_eq!(after.lines_in - before.lines_in, lines, "{plan:?}");
        let [least, most] = new_connections;
        let found = after.connections_total - before.connections_total;
        assert!((least..=most).contains(&found), "{found} connections: {plan:?}");
    };
    check(Pace::Closed, 1, 1, COUNT, [0, 0]);
    check(Pace::Closed, 7, 16, COUNT, [0, 0]);
    check(Pace::Reconnect, 1, 1, COUNT, [COUNT, COUNT]);
    check(Pace::Reconnect, 100, 1, COUNT, [COUNT, COUNT]);
    // The last that were dialled may wait to be accepted.
    check(Pace::Connect, 1, 1, 0, [COUNT - 1, COUNT]);
    check(Pace::Connect, 100, 1, 0, [COUNT - 100, COUNT]);
}

#[test]
fn a_counted_load_complains() {
    let check = |answer, complaint: &str| {
        let plan = plan(&stranger(answer));
        let failure = CountedLoad::open(&plan).err().unwrap().to_string();
        assert!(failure.contains(complaint), "{failure}");
    };
    check("? what\n", "answers `? what`");
    check("", "hangs up without an answer");
}

/// WHATSATs are answered by several lines each, and must not upset the count.
#[test]
fn questions_are_mixed_in() {
    let herd = Herd::of_one("", &[]);
    for percent in ["1", "50", "100"] {
        let found = found(&herd, &format!("-c 3 -p 5 --whatsat {percent}"));
        assert_eq!(found["asked"], found["answered"]);
        assert_eq!(found["whatsat_percent"].to_string(), percent);
    }
}

#[test]
fn people_are_told_in_lines() {
    let herd = Herd::of_one("", PLACELESS);
    let flags = ["-p", "2", "--seconds", "0.2", "--warm-up", "0", "--run-dir", "elsewhere"];
    let ended = bench(&herd, &[HILL, &flags].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.complaint);
    let first = ended.out.lines().next().unwrap();
    assert!(first.contains(": closed loop, 50 connections, pipeline 2, 100,000 clients; "));
    assert!(ended.out.contains("\nerrors    none in "), "{}", ended.out);
    assert!(!ended.out.contains("\nserver"), "no pid, no costs: {}", ended.out);
}

/// Answers each first line with `answer` and then hangs up, until the test ends.
fn stranger(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1_000]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn what_cannot_be_measured_is_told_in_one_message() {
    let herd = Herd::of_file(&["Hill"], &[], "");
    let check = |arguments: &[&str], code, part: &str| {
        let ended = bench(&herd, arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}{}", ended.out, ended.complaint);
        assert!(ended.complaint.contains(part), "{arguments:?}: {}", ended.complaint);
        let lines = ended.complaint.lines().count();
        assert!(lines == 1 || code == 2, "{}", ended.complaint);
        assert_eq!(ended.out, "");
    };
    let at_hill = |more: &[&'static str]| [HILL, more].concat();
    check(HILL, 69, "nobody listens on 127.0.0.1:");
    check(&at_hill(&["-c", "100000000"]), 71, "ulimit -n 100000016");
    check(&["Nobody", "--config", "herd.toml"], 78, "has no server Nobody");
    check(&[], 2, "--connect");
    check(&at_hill(&["--connect", "127.0.0.1:1"]), 2, "cannot be used with");
    check(&at_hill(&["--reconnect", "--rate", "1"]), 2, "cannot be used with");
    check(&at_hill(&["--protocol", "redis-set", "--whatsat", "1"]), 2, "for --protocol herd");
    check(&at_hill(&["-c", "0"]), 2, "nothing to measure");
    check(&at_hill(&["--seconds", "nan"]), 2, "write 0 to");
    check(&at_hill(&["--clients-from", "900001"]), 2, "no clients above 1,000,000");
    if cfg!(target_os = "linux") {
        check(&["--connect", "127.0.0.1:1", "--pid", "4294967295"], 3, "is it the server's?");
    }
    let [polite, silent] = [stranger("? what\n"), stranger("")];
    check(&["--connect", &polite], 69, "answers `? what`");
    check(&["--connect", &silent], 69, "hangs up without an answer");
    check(&["--connect", &polite, "--protocol", "memcached"], 69, "answers `? what`");
}

/// Method: a far end that answers well at first, as the loads' probe must be answered, and then
/// wrongly, twice, or not at all.
#[test]
fn wrong_answers_make_the_figures_worthless() {
    let herd = Herd::of_file(&["Hill"], &[], "");
    let check = |kind: &'static str, answer: fn(u64, &str) -> String| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || echo(stream.unwrap(), answer));
            }
        });
        let load = ["--seconds", "0.2", "--warm-up", "0", "-c", "1", "-p", "2", "--json"];
        let ended = bench(&herd, &[&["--connect", &address][..], &load].concat());
        assert_eq!(ended.code, Some(69), "{kind}: {}{}", ended.out, ended.complaint);
        assert!(ended.complaint.contains("errors, so the figures are worth nothing: "), "{kind}");
        let found: Value = serde_json::from_str(&ended.out).unwrap();
        assert_ne!(found["errors"][kind], 0, "{kind}: {}", ended.out);
    };
    check("refused", |number, operands| match number {
        0 => good(operands),
        _ => format!("? IAMAT {operands}\n"),
    });
    check("wrong", |number, operands| match number {
        0 => good(operands),
        _ => "AT Hill +0.1 kiwi +1-1 7\n".to_owned(),
    });
    check("unasked", |number, operands| match number {
        0 => good(operands),
        _ => good(operands).repeat(2),
    });
    check("missing", |number, operands| match number % 2 {
        0 => good(operands),
        _ => String::new(),
    });
}

fn good(operands: &str) -> String {
    format!("AT Hill +0.1 {operands}\n")
}

/// Answers each line of a connection, given how many came before it and its operands.
fn echo(stream: TcpStream, answer: fn(u64, &str) -> String) {
    let lines = BufReader::new(&stream).lines();
    for (number, line) in (0..).zip(lines.map_while(Result::ok)) {
        let operands = line.strip_prefix("IAMAT ").unwrap();
        if (&stream).write_all(answer(number, operands).as_bytes()).is_err() {
            return;
        }
    }
}

/// A small herd with few connections is shown as a large one is, and leaves nothing behind.
#[test]
fn many_connections_have_a_herd_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let run = |flags: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        command.env("TMPDIR", dir.path()).stdin(Stdio::null());
        command.args(["bench", "--million"]).args(flags.split_whitespace()).output().unwrap()
    };
    let ended = run("--servers 3 --connections 300 --rate 60 --seconds 1 --json");
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{complaint}");
    let found: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((&found["connections"], &found["servers"]), (&300.into(), &3.into()));
    assert_eq!(found["reports"]["errors"], 0, "{found}");
    assert!(found["reports"]["asked"].as_u64() >= Some(300 + 3), "{found}");
    assert!(found["agreed_after_s"].is_f64(), "{found}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);

    let ended = run("--connections 2000000");
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("can have 55 to 1000000 connections"), "{complaint}");
}
