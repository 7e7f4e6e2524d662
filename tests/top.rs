//! `herd top` at real servers, as scripts use it. Its screen is looked at by `tests/top.py`.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Herd, PLACELESS, until};
use rustix::process::Signal;
use serde_json::Value;

/// Its exit code and what it prints.
fn top(herd: &Herd, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
        command.env_remove(name);
    }
    command.current_dir(herd.dir()).arg("top").args(arguments).stdin(Stdio::null());
    let ended = command.output().unwrap();
    assert_eq!(ended.stderr, b"", "{arguments:?}");
    (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
}

/// A line of JSON for each server, by its name.
fn rows(herd: &Herd, arguments: &[&str]) -> (Option<i32>, BTreeMap<String, Value>) {
    let (code, out) = top(herd, &[&["--once", "--json"], arguments].concat());
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row["name"].as_str().unwrap().to_owned(), row)
    };
    (code, out.lines().map(row).collect())
}

const OF_HERD: [&str; 2] = ["--config", "herd.toml"];

/// Goal: figures are those of what is done meanwhile, and what is wrong with a server is its row.
#[test]
fn each_server_has_a_row() {
    let soon = "[limits]\nready_alone_after = \"1 ms\"\n";
    let mut herd = Herd::of_file(&["Hill", "Bona"], &[("Hill", "Bona")], soon);
    herd.start_all(PLACELESS);
    until("both are ready", || {
        let (code, rows) = rows(&herd, &OF_HERD);
        assert_eq!(code, Some(0));
        rows.values().all(|row| row["state"] == "ready")
    });
    let is_over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = herd.connect("Hill");
            while !is_over.load(Ordering::Relaxed) {
                client.ask("IAMAT kiwi +1-1 7");
            }
        });
        let seen = rows(&herd, &OF_HERD).1;
        is_over.store(true, Ordering::Relaxed);
        seen
    });
    let (hill, bona) = (&seen["Hill"], &seen["Bona"]);
    let rate = |row: &Value, figure: &str| row[figure].as_f64().unwrap();
    assert!(rate(hill, "requests_per_s") > 1.0 && rate(hill, "busy") > 0.0, "{hill}");
    // Each line has 18 bytes.
    assert!(rate(hill, "received_bytes_per_s") > 17.9 * rate(hill, "requests_per_s"), "{hill}");
    assert_eq!((&hill["connections"], rate(bona, "requests_per_s")), (&Value::from(1), 0.0));
    assert_eq!((&bona["clients_known"], &bona["herd"]), (&Value::from(1), &Value::from("tests")));
    until("nothing is under way, and they agree", || {
        let rows = rows(&herd, &OF_HERD).1;
        rows["Hill"]["digest"] == rows["Bona"]["digest"]
    });
    assert_eq!(hill["peers"], Value::from(vec!["Bona"]));
    // Nobody who looks is seen.
    assert_eq!(rate(bona, "sent_bytes_per_s").min(10_000.0), rate(bona, "sent_bytes_per_s"));

    herd.signal("Hill", Signal::STOP);
    let (code, out) = top(&herd, &OF_HERD);
    assert!(code == Some(69) && out.starts_with("SERVER "), "{out}");
    let line = out.lines().find(|line| line.starts_with("Hill ")).unwrap();
    assert!(line.contains(" silent ") && line.contains("not answered within 1s"), "{line}");
    herd.kill("Hill");
    // Without a herd.toml, those that have run here.
    let (code, seen) = rows(&herd, &[]);
    let states = ["Hill", "Bona"].map(|name| seen[name]["state"].clone());
    assert_eq!((code, states), (Some(3), ["stopped", "ready"].map(Value::from)));
    assert_eq!(seen["Hill"]["requests_per_s"], Value::Null);
    until("the loss is seen", || {
        rows(&herd, &["Bona"]).1["Bona"]["peers_missing"] == Value::from(vec!["Hill"])
    });
}

/// Goal: a port that is not for operators is told apart, in one sentence.
#[test]
fn a_port_that_is_wrong_is_named() {
    let herd = Herd::of_one("", PLACELESS);
    let at = |port: u16| format!("127.0.0.1:{port}");
    let (code, seen) = rows(&herd, &["--at", &at(herd.operators_port("Hill"))]);
    assert_eq!((code, seen.len(), seen.contains_key("Hill")), (Some(0), 1, true));
    let check = |port: u16, part: &str| {
        let (code, seen) = rows(&herd, &["--at", &at(port)]);
        let row = &seen[&at(port)];
        assert_eq!((code, &row["state"]), (Some(69), &Value::from("silent")));
        assert!(row["why"].as_str().unwrap().contains(part), "{row}");
    };
    check(herd.port("Hill"), "is the clients' port");
    check(herd.port("Hill") + 100, "speaks no HTTP");
    check(herd.spare_port(), "nobody listens on 127.0.0.1:");
    // Another program speaks HTTP there, and its words move no cursor.
    let web = TcpListener::bind(("127.0.0.1", herd.spare_port())).unwrap();
    thread::spawn(move || {
        for stream in web.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n\x1b[2J";
            let _ = stream.write_all([answer; 2].concat().as_bytes());
        }
    });
    check(herd.spare_port(), "is no herd's port for operators");
}

/// Goal: a herd that is nowhere is said so, and is no success.
#[test]
fn without_servers_there_is_nothing_to_show() {
    let herd = Herd::of_file(&["Hill"], &[], "");
    let (code, out) = top(&herd, &[]);
    assert!(code == Some(3) && out.contains("no server has run here yet"), "{out}");
    assert_eq!(top(&herd, &["--json"]), (Some(3), String::new()));
    let (code, seen) = rows(&herd, &OF_HERD);
    assert_eq!((code, &seen["Hill"]["state"]), (Some(3), &Value::from("stopped")));
}
