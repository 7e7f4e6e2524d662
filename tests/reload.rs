//! What an operator changes while servers run: limits, keys and links, with real processes. Of each
//! single key, `src/herd/reactor/reload/tests.rs` says what becomes of it.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::operator::Operator;
use common::{Client, Herd, PLACELESS, until};
use herd::status::PeerState;

const SECTIONS: &str = "[limits]\nbackoff_max = \"200 ms\"\n";
const NAMES: [&str; 5] = ["A", "B", "C", "D", "E"];
const RING: [(&str, &str); 5] = [("A", "B"), ("B", "C"), ("C", "D"), ("D", "E"), ("E", "A")];

/// `herd reload --wait NAME…`: its exit code and what it says.
fn reload(herd: &Herd, names: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
        command.env_remove(name);
    }
    command.current_dir(herd.dir());
    let command = command.args(["reload", "--wait", "--config", "herd.toml"]).args(names);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[track_caller]
fn check(herd: &Herd, name: &str, code: i32, part: &str) {
    let (found, said) = reload(herd, &[name]);
    assert_eq!(found, Some(code), "{said}");
    assert!(said.contains(part), "{said}\n  lacks {part}");
}

fn read(herd: &Herd) -> String {
    fs::read_to_string(herd.path("herd.toml")).unwrap()
}

/// What a metric says.
fn figure(herd: &Herd, name: &str, metric: &str) -> f64 {
    let text = Operator::connect(herd.operators_port(name)).get("/metrics").body;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{metric} ")));
    line.unwrap_or_else(|| panic!("{metric} is not in {text}")).trim().parse().unwrap()
}

/// Goal: reloads under load close no connection and lose no answer, whether they are right or not,
/// and what is wrong changes nothing.
#[test]
fn many_reloads_disturb_nobody() {
    const RELOADS: usize = 200;
    // A log of lines may drop some where the machine is busy.
    let sections = format!("[log]\nlevel = \"events\"\n{SECTIONS}");
    let mut herd = Herd::of_file(&["Hill"], &[], &sections);
    herd.start("Hill", PLACELESS);
    let (good, is_over) = (read(&herd), AtomicBool::new(false));
    let other = good.replace("200 ms", "300 ms") + "idle = \"4 min\"\nwrite_stall = \"11 s\"\n";
    let broken = good.clone() + "idle = \"0 s\"\n";
    let talk = |number: usize| {
        let mut client = herd.connect("Hill");
        let mut asked = 0;
        while !is_over.load(Ordering::Relaxed) {
            let lines: String =
                (0..16).map(|at| format!("IAMAT c{number} +1-1 {}\n", asked + at)).collect();
            client.send(lines);
            for at in 0..16 {
                let answer = client.line();
                let end = format!(" c{number} +1-1 {}\n", asked + at);
                assert!(answer.ends_with(end.as_bytes()), "{}", answer.escape_ascii());
            }
            asked += 16;
        }
        asked
    };
    let asked: usize = thread::scope(|scope| {
        let talkers: Vec<_> = (0..3).map(|number| scope.spawn(move || talk(number))).collect();
        for at in 0..RELOADS {
            let (text, code, part) = match at % 3 {
                0 => (&other, 0, "in force: limits.idle, limits.write_stall, limits.backoff_max"),
                1 => (&broken, 78, "herd.toml:"),
                _ => (&good, 0, "in force: limits.idle, limits.write_stall, limits.backoff_max"),
            };
            fs::write(herd.path("herd.toml"), text).unwrap();
            check(&herd, "Hill", code, part);
            let is_right = figure(&herd, "Hill", "herd_config_last_reload_successful");
            assert_eq!(is_right, f64::from(u8::from(code == 0)));
        }
        is_over.store(true, Ordering::Relaxed);
        talkers.into_iter().map(|talker| talker.join().unwrap()).sum()
    });
    assert!(asked > RELOADS, "{asked} answers");
    let refusals = || herd.log("Hill").matches("reload refused").count();
    until("the log is written", || refusals() >= RELOADS / 3);
    let log = herd.log("Hill");
    assert!(!log.contains("idle_timeout") && !log.contains("write_timeout"));
}

/// Goal: what wants a restart is named and counted, and keeps nothing else from being in force.
#[test]
fn what_wants_a_restart_is_named() {
    let mut herd = Herd::of_file(&["Hill"], &[], SECTIONS);
    herd.start("Hill", PLACELESS);
    check(&herd, "Hill", 0, "Hill: nothing has changed\n");
    let text = read(&herd);
    let more = text.clone() + "idle = \"4 min\"\nexpire_after = \"2 d\"\n";
    fs::write(herd.path("herd.toml"), more).unwrap();
    check(&herd, "Hill", 0, "Hill: in force: limits.idle; for a restart: limits.expire_after\n");
    check(&herd, "Hill", 0, "Hill: for a restart: limits.expire_after\n");
    assert_eq!(figure(&herd, "Hill", "herd_config_pending_restart"), 1.0);
    fs::write(herd.path("herd.toml"), text).unwrap();
    check(&herd, "Hill", 0, "Hill: in force: limits.idle\n");
    assert_eq!(figure(&herd, "Hill", "herd_config_pending_restart"), 0.0);
    fs::remove_file(herd.path("herd.toml")).unwrap();
    check(&herd, "Hill", 78, "Hill goes on as before: herd.toml cannot be read");
}

/// Goal: the herd's key is changed twice by reloads alone. No link is lost, in whatever order
/// they are reloaded, new links use the newest key, and who has the first key alone is not believed
/// any more.
#[test]
fn keys_are_rotated_without_a_restart() {
    let mut herd = Herd::of_file(&NAMES, &RING, SECTIONS);
    herd.write_keys("herd.key", "a");
    herd.write_keys("old.key", "a");
    let flags = [PLACELESS, &["--key-file", "herd.key"]].concat();
    herd.start_all(&flags);
    let mut clients = NAMES.map(|name| herd.connect(name));
    let mut report = |time: usize| {
        for (name, client) in NAMES.iter().zip(&mut clients) {
            client.ask(&format!("IAMAT of-{name} +1-1 {time}"));
        }
    };
    for (round, keys) in ["ba", "cb"].iter().enumerate() {
        herd.write_keys("herd.key", keys);
        for (at, name) in NAMES.iter().enumerate() {
            report(10 * round + at);
            check(&herd, name, 0, "in force for new connections: key_file\n");
        }
    }
    report(30);
    for name in NAMES {
        let ends = format!(" of-{name} +1-1 30");
        for server in NAMES {
            let held = || herd.held(server, &format!("of-{name}"));
            until("all reports are everywhere", || held().is_some_and(|it| it.ends_with(&ends)));
        }
        assert!(!herd.log(name).contains("peer link down"), "{}", herd.log(name));
        assert!(!herd.log(name).contains("[WARN] connection refused"), "{}", herd.log(name));
    }
    herd.kill("A");
    herd.start("A", &flags);
    herd.until_joined();
    herd.kill("A");
    herd.start("A", &[PLACELESS, &["--key-file", "old.key"]].concat());
    until("it is refused", || herd.status("A").peers.iter().all(|peer| peer.trouble.is_some()));
    assert!(herd.status("A").peers.iter().all(|peer| peer.state != PeerState::Up));
}

/// Goal: servers that were restarted since a rotation and others that were not say the same digest
/// of the same reports, so they compare: after each step of two rotations. PROTOCOL 10.1.
#[test]
fn digests_are_comparable_while_keys_change() {
    let mut herd = Herd::of_file(&NAMES, &RING, SECTIONS);
    let keygen = |herd: &Herd, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        let made = command.arg("keygen").args(words).arg("herd.key").current_dir(herd.dir());
        assert!(made.stdout(Stdio::null()).status().unwrap().success());
    };
    keygen(&herd, &[]);
    let flags = [PLACELESS, &["--key-file", "herd.key"]].concat();
    herd.start_all(&flags);
    for round in 0..2 {
        keygen(&herd, &["--rotate"]);
        for (at, name) in NAMES.iter().enumerate() {
            check(&herd, name, 0, "in force for new connections: key_file\n");
            herd.report(name, &format!("of-{round}-{name}"), "+1-1", "7");
            if at == 0 {
                herd.kill(name);
                herd.start(name, &flags);
                herd.until_joined();
            }
            let digests = || BTreeSet::from_iter(NAMES.map(|name| herd.status(name).digest));
            until("all say the same of the same", || digests().len() == 1);
        }
    }
    let held = NAMES.map(|name| herd.status(name).clients_known);
    assert_eq!(held, [2 * NAMES.len() as u64; NAMES.len()]);
}

/// Goal: links come and go while servers run. One that is removed is hung up on and refused, which
/// is counted and not logged each time; one that comes back hears what it has missed.
#[test]
fn links_come_and_go() {
    let links = [("A", "B"), ("C", "A")];
    let mut herd = Herd::of_file(&["A", "B", "C"], &links, SECTIONS);
    herd.start_all(PLACELESS);
    let text = read(&herd);
    let peers = |herd: &Herd, name: &str| {
        let peers = herd.status(name).peers.into_iter();
        peers.map(|peer| (peer.name, peer.state)).collect::<Vec<_>>()
    };
    // C, who dials, goes on dialling: it does not know.
    fs::write(herd.path("herd.toml"), text.replace(", [\"C\", \"A\"]", "")).unwrap();
    check(&herd, "A", 0, "A: in force: links\n");
    assert_eq!(peers(&herd, "A"), [("B".to_owned(), PeerState::Up)]);
    until("C is refused", || herd.status("A").refused >= 5);
    let log = herd.log("A");
    assert_eq!(log.matches("reason=\"its link was removed\"").count(), 2, "{log}");
    herd.report("A", "kiwi", "+1-1", "7");
    assert_eq!(herd.held("C", "kiwi"), None);
    check(&herd, "C", 0, "C: in force: links\n");
    assert_eq!(peers(&herd, "C"), []);
    let refused = herd.status("A").refused;

    // A new link is to another server, and the old one comes back.
    let more = text.replace("[[\"A\", \"B\"]", "[[\"B\", \"C\"], [\"A\", \"B\"]");
    fs::write(herd.path("herd.toml"), more).unwrap();
    for name in ["A", "B", "C"] {
        check(&herd, name, 0, &format!("{name}: in force: links\n"));
    }
    herd.until_joined();
    assert_eq!(peers(&herd, "C").len(), 2);
    until("C hears what it has missed", || herd.held("C", "kiwi").is_some());
    assert_eq!(herd.status("A").digest, herd.status("C").digest);
    assert!(herd.status("A").refused <= refused + 1, "nobody is refused any more");
    let mut peer: Client = herd.connect_peer("A");
    peer.send("HERD/1 D A tests 00000000000000000000000000000000 -\n");
    assert!(peer.rest().is_empty());
}

/// Goal: what all servers say of the file that all of them read is said once.
#[test]
fn a_file_that_is_wrong_is_told_once() {
    let mut herd = Herd::of_file(&NAMES, &RING, SECTIONS);
    for name in NAMES {
        herd.start(name, PLACELESS);
    }
    fs::write(herd.path("herd.toml"), read(&herd) + "nonsense\n").unwrap();
    let (code, said) = reload(&herd, &NAMES);
    assert_eq!((code, said.matches("nonsense").count()), (Some(78), 1), "{said}");
    assert!(said.contains("A, B, C, D, E go on as before: "), "{said}");
}
