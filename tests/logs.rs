//! The logs of real servers: what each form of a line says, where it goes, how much of it there is.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use common::{Client, Herd, PLACELESS, until};
use herd_core::names::ConnKind;
use rustix::process::Signal;
use serde_json::Value;

const MEMBERS: [&str; 12] = [
    "ts", "level", "server", "event", "conn", "door", "peer", "reason", "dir", "line", "bytes",
    "msg",
];

fn herd_says(herd: &Herd, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
        command.env_remove(name);
    }
    let run_dir = format!("--run-dir={}", herd.path("run").display());
    let output = command.current_dir(herd.dir()).args(words).arg(run_dir).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn log_of(herd: &Herd, name: &str) -> String {
    fs::read_to_string(herd.path("log").join(format!("{name}.log"))).unwrap_or_default()
}

/// What a line of a log says: its members in their order.
fn record(line: &str) -> Value {
    let record: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
    let order = MEMBERS.iter().filter(|key| record.get(key).is_some());
    let places = order.map(|key| line.find(&format!("\"{key}\":")).unwrap());
    let places = Vec::from_iter(places);
    assert_eq!(places.len(), record.as_object().unwrap().len(), "others stand there: {line}");
    assert!(places.is_sorted(), "{line}");
    let shape = record["ts"].as_str().unwrap().replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!((&*shape, &record["server"]), ("0000-00-00T00:00:00.000000Z", &"Hill".into()));
    record
}

/// Goal: whatever clients say, each line of the log is JSON, and says what they said.
#[test]
fn every_line_of_json_is_json() {
    let mut herd = Herd::of_one("", &[PLACELESS, &["--log-format", "json"]].concat());
    let mut client = herd.connect("Hill");
    let hostile = b"IAMAT \x1b[2J\xff\x00\\x41\"},{\"event\":\"line\" +1-1 7\r\n";
    client.send(hostile);
    client.line();
    client.ask("IAMAT kiwi +1-1 7");
    client.ask("WHATSAT kiwi 10 5");
    Client::connect(herd.port("Hill")).send(b"GET / HTTP/1.1\r\n\r\n");
    until("it was logged", || log_of(&herd, "Hill").contains("\"other-protocol\""));
    herd.signal("Hill", Signal::TERM);
    herd.ended("Hill");

    let text = log_of(&herd, "Hill");
    let records = Vec::from_iter(text.lines().map(record));
    let events = Vec::from_iter(records.iter().map(|record| record["event"].as_str().unwrap()));
    assert_eq!(events[0], "server-listening");
    assert_eq!(events.last(), Some(&"server-stopped"));
    for event in ["connected", "line", "other-protocol", "closed", "server-stopping"] {
        assert!(events.contains(&event), "{event} is not in {events:?}");
    }
    let line = records.iter().find(|record| record["event"] == "line").unwrap();
    let escaped = r#"IAMAT \x1b[2J\xff\x00\\x41"},{"event":"line" +1-1 7\r"#;
    assert_eq!((&line["line"], &line["bytes"]), (&escaped.into(), &(hostile.len() - 1).into()));
    assert_eq!((&line["dir"], &line["door"]), (&"in".into(), &"client".into()));
    for record in &records {
        let door = record.get("door").map(|door| door.as_str().unwrap());
        let conn = record.get("conn").map(|conn| conn.as_str().unwrap());
        let is_known = |door| ConnKind::ALL.iter().any(|kind| kind.name() == door);
        assert!(door.is_none_or(is_known), "{record}");
        assert_eq!(door, conn.map(|conn| conn.rsplit_once('-').unwrap().0), "{record}");
    }
}

/// Goal: where stderr is journald's, each line says how bad it is; else it is as in a file.
#[test]
fn stderr_takes_the_log() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let lines = |herd: &mut Herd, is_journal: bool| {
        let path = herd.path("stderr");
        let stderr = File::create(&path).unwrap();
        let about = stderr.metadata().unwrap();
        let inode = about.ino() + u64::from(!is_journal);
        let mut command = herd.command("Hill", &[PLACELESS, &["--log-dir", "-"]].concat());
        command.env("JOURNAL_STREAM", format!("{}:{inode}", about.dev())).stderr(stderr);
        let mut server = command.stdout(Stdio::null()).spawn().unwrap();
        let read = || fs::read_to_string(&path).unwrap();
        until("it listens", || read().contains("server listening"));
        herd.connect("Hill").ask("IAMAT kiwi +1-1 7");
        Client::connect(herd.port("Hill")).send("GET / HTTP/1.1\r\n\r\n");
        until("it was logged", || read().contains("other protocol"));
        server.kill().unwrap();
        server.wait().unwrap();
        read()
    };
    let seen = lines(&mut herd, true);
    let priority =
        |word: &str| seen.lines().find(|line| line.contains(word)).unwrap()[..3].to_owned();
    let words = ["server listening", "<- IAMAT", "other protocol"];
    assert_eq!(words.map(priority), ["<6>", "<7>", "<4>"]);
    let seen = lines(&mut herd, false);
    assert!(seen.lines().all(|line| line.starts_with("20")), "{seen}");
    assert!(!herd.path("-").exists() && !herd.path("log").exists());

    let config = format!("--config={}", herd.path("herd.toml").display());
    let (code, said) = herd_says(&herd, &["start", &config, "--log-dir=-"]);
    assert!(code == Some(78) && said.contains("`herd serve`"), "{code:?} {said}");
}

/// Goal: a level holds until another one is wanted, or falls back by itself; what comes back is the
/// level of before, also if one was lent already.
#[test]
fn a_level_is_lent() {
    let herd = Herd::of_one("", &[PLACELESS, &["--log-level", "info"]].concat());
    let mut client = herd.connect("Hill");
    let mut ask = |id: &str| drop(client.ask(&format!("IAMAT {id} +1-1 7")));
    let level = |words: &[&str]| {
        let (code, said) = herd_says(&herd, &[&["log-level", "Hill"], words].concat());
        assert_eq!(code, Some(0), "{said}");
        said
    };
    ask("a-before");
    let said = level(&["debug", "--for", "1h"]);
    assert_eq!(said, "Hill logs at level traffic for 1 h, and then at events again\n");
    ask("b-traffic");
    level(&["error", "--for", "10ms"]);
    until("it is back", || log_of(&herd, "Hill").contains("[INFO] log level to=events\n"));
    ask("c-after");
    // The end of a level that is not in force any more ends no other.
    level(&["error", "--for", "10ms"]);
    assert_eq!(level(&["traffic"]), "Hill logs at level traffic until it is told otherwise\n");
    std::thread::sleep(std::time::Duration::from_millis(50));
    ask("d-good");
    until("it is logged", || {
        log_of(&herd, "Hill").contains("AT Hill") && {
            log_of(&herd, "Hill").contains("<- IAMAT d-good")
        }
    });
    let log = log_of(&herd, "Hill");
    assert!(log.contains("<- IAMAT b-traffic") && log.contains("log level to=traffic ms=3600000"));
    assert!(!log.contains("a-before") && !log.contains("c-after"), "{log}");

    assert_eq!(herd_says(&herd, &["log-level", "Hill", "loud"]).0, Some(2));
    assert_eq!(herd_says(&herd, &["log-level", "Bona", "info"]).0, Some(3));
}

/// Goal: a server that was started without a log says so.
#[test]
fn without_a_log_there_is_no_level() {
    let herd = Herd::of_one("", &[PLACELESS, &["--log-level", "off"]].concat());
    let (code, said) = herd_says(&herd, &["log-level", "Hill", "traffic"]);
    assert!(code == Some(78) && said.contains("without a log"), "{code:?} {said}");
}

/// Goal: a log that nobody rotates takes twice its bound at most, and loses no line meanwhile.
#[test]
fn a_log_has_a_bound() {
    let sections = "[log]\nsize_max = \"1 MiB\"\n";
    let herd = Herd::of_one(sections, PLACELESS);
    let mut client = herd.connect("Hill");
    let report = format!("IAMAT {} +1-1 7\n", "k".repeat(400));
    let path = herd.path("log").join("Hill.log.1");
    let mut lines = 0;
    until("it was moved away", || {
        client.send(report.repeat(500));
        (0..500).for_each(|_| drop(client.line()));
        lines += 1_000;
        path.exists()
    });
    until("all is written", || {
        let log = fs::read_to_string(&path).unwrap() + &log_of(&herd, "Hill");
        log.matches("kkk +1-1 7").count() == lines
    });
    for path in [path, herd.path("log").join("Hill.log")] {
        // A batch is written as a whole.
        assert!(fs::metadata(path).unwrap().len() < (1 << 20) + 256 * 1024);
    }
}
