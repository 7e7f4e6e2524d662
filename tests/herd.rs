//! Five processes as one herd: flooding, servers that die and come back, strangers on the peer
//! port. What a single line gets is in `conformance`, servers that know only the course's wire are
//! in `course`; what a simulator can show of agreement is shown there, faster.

mod common;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::{fs, thread};

use common::{Client, Herd, PLACELESS, until};
use herd_core::presets::PRESETS;
use rustix::process::Signal;

/// Names of this herd that can be reached from `start` when the servers in `down` are not there.
fn reached<'a>(herd: &'a Herd, start: &'a str, down: &[&str]) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::from([start]);
    loop {
        let known = seen.len();
        for (one, other) in &herd.links {
            let (one, other) = (one.as_str(), other.as_str());
            let is_up = !down.contains(&one) && !down.contains(&other);
            if is_up && (seen.contains(one) || seen.contains(other)) {
                seen.extend([one, other]);
            }
        }
        if seen.len() == known {
            return seen;
        }
    }
}

/// Lines in all logs that say what a peer sent about this client.
fn lines_told(herd: &Herd, client: &str) -> usize {
    let is_told = |line: &&str| line.contains("] peer-") && line.contains(" <- AT ");
    let of_client = |line: &&str| line.contains(&format!(" {client} "));
    let count = |name| herd.log(name).lines().filter(is_told).filter(of_client).count();
    herd.names.iter().map(|name| count(name)).sum()
}

/// Goal: a report costs exactly 2E − N + 1 lines in a herd without faults, in every preset.
/// Method: the peers' lines in the logs. All of a report's lines must come; a second report from
/// the same server is a marker, behind whose lines no more of the first can be on their way. (It
/// may cross other links than the first did, so it alone does not say that the first is through.)
/// PROTOCOL 9.1.
#[test]
fn a_report_floods_to_all_at_its_price() {
    for preset in &PRESETS {
        let herd = Herd::running(preset.year, PLACELESS);
        let price = 2 * herd.links.len() - herd.names.len() + 1;
        // What links compare when they come up must be over, else a report may be told twice.
        for name in &herd.names {
            let line = herd.report(name, &format!("early-{name}"), "+1-1", "7");
            herd.until_all_hold(&format!("early-{name}"), &line);
        }
        for name in &herd.names {
            for client in [format!("first-{name}"), format!("marker-{name}")] {
                let line = herd.report(name, &client, "+34.068930-118.445127", "1520023934.9");
                herd.until_all_hold(&client, &line);
            }
            for client in [format!("first-{name}"), format!("marker-{name}")] {
                until("its lines are logged", || lines_told(&herd, &client) >= price);
            }
            assert_eq!(lines_told(&herd, &format!("first-{name}")), price, "{}", preset.year);
        }
    }
}

/// PROTOCOL 10.4, 10.8.
#[test]
fn a_killed_server_is_joined_again_and_knows_everything() {
    let mut herd = Herd::running("2023", &[]);
    let names = herd.names.clone();
    let mut held = Vec::new();
    for (number, killed) in names.iter().enumerate() {
        let teller = &names[(number + 1) % names.len()];
        let client = format!("before-{killed}");
        held.push((client.clone(), herd.report(killed, &client, "+1-1", "7")));
        herd.until_all_hold(&client, &held[held.len() - 1].1);
        herd.kill(killed);
        let client = format!("without-{killed}");
        held.push((client.clone(), herd.report(teller, &client, "+2-2", "7")));
        // Moved while the killed server was away.
        let client = format!("before-{killed}");
        held.push((client.clone(), herd.report(teller, &client, "+3-3", "8")));
        held.retain(|(other, line)| *other != client || line.ends_with(" 8"));
        herd.start_all(&[]);
        for (client, line) in &held {
            herd.until_all_hold(client, line);
        }
    }
}

/// Goal: whatever two servers are down, reports reach exactly those that are still connected, and
/// everybody once the two are back. Method: all pairs.
#[test]
fn two_servers_may_be_down() {
    let mut herd = Herd::running("2023", PLACELESS);
    let names = herd.names.clone();
    for (position, one) in names.iter().enumerate() {
        for two in &names[position + 1..] {
            let down = [one.as_str(), two.as_str()];
            down.iter().for_each(|name| herd.kill(name));
            herd.until_joined();
            let alive: Vec<_> =
                names.iter().filter(|name| !down.contains(&name.as_str())).collect();
            let mut lines = Vec::new();
            for teller in &alive {
                let client = format!("{one}-{two}-{teller}");
                let line = herd.report(teller, &client, "+1-1", "7");
                let reached = reached(&herd, teller, &down);
                for name in &alive {
                    if reached.contains(name.as_str()) {
                        let hold = || herd.held(name, &client).is_some_and(|held| held == line);
                        until(&format!("{name} holds {line}"), hold);
                    } else {
                        assert_eq!(herd.held(name, &client), None, "{name} cannot know {line}");
                    }
                }
                lines.push((client, line));
            }
            herd.start_all(PLACELESS);
            lines.iter().for_each(|(client, line)| herd.until_all_hold(client, line));
        }
    }
}

#[test]
fn a_chain_heals_in_its_middle() {
    let names = ["A", "B", "C", "D", "E"];
    let links = [("A", "B"), ("C", "B"), ("C", "D"), ("E", "D")];
    let mut herd = Herd::of_file(&names, &links, "[limits]\nbackoff_max = \"200 ms\"\n");
    herd.start_all(PLACELESS);
    let whole = herd.report("A", "whole", "+1-1", "7");
    herd.until_all_hold("whole", &whole);

    herd.kill("C");
    herd.until_joined();
    let left = herd.report("A", "both", "+1-1", "7");
    let right = herd.report("E", "both", "+2-2", "8");
    for (name, line) in [("B", &left), ("D", &right)] {
        until("each half agrees", || herd.held(name, "both").as_ref() == Some(line));
    }
    assert_eq!(herd.held("A", "both"), Some(left));
    herd.start_all(PLACELESS);
    herd.until_all_hold("both", &right);
    herd.until_all_hold("whole", &whole);
}

/// A peer may be known by a name, which a worker resolves; `localhost` has one or two addresses,
/// of which one answers.
#[test]
fn peers_may_have_names() {
    let mut herd = Herd::of_file(&["A", "B"], &[("A", "B")], "");
    let literal = fs::read_to_string(herd.path("herd.toml")).unwrap();
    fs::write(herd.path("herd.toml"), literal.replace("127.0.0.1", "localhost")).unwrap();
    herd.start_all(PLACELESS);
    let line = herd.report("A", "kiwi", "+1-1", "7");
    herd.until_all_hold("kiwi", &line);
}

/// Two herds that know nothing of each other may share a run directory and have servers of the
/// same name. Method: two years with a Jaquez, started in one directory.
#[test]
fn two_herds_may_share_a_directory() {
    let mut herd = Herd::of_year("2022");
    herd.start("Jaquez", PLACELESS);
    let other = Herd::of_year("2023");
    let mut command = other.command("Jaquez", PLACELESS);
    command.current_dir(herd.dir()).arg("--run-dir").arg(herd.path("run"));
    let mut second = command.spawn().unwrap();
    until("the second answers", || TcpStream::connect(("127.0.0.1", other.port("Jaquez"))).is_ok());
    assert!(herd.status("Jaquez").client_address.ends_with(&herd.port("Jaquez").to_string()));
    second.kill().unwrap();
    second.wait().unwrap();
}

/// Goal: a client that reports at two servers at once has one place, the same at all servers.
/// Method: two threads, the same times; what the total order prefers is known beforehand.
#[test]
fn one_client_at_two_servers_is_in_one_place() {
    let herd = Herd::running("2023", PLACELESS);
    let report_all = |name: &str, position: &str, times: [u32; 20]| {
        let mut client = herd.connect(name);
        let line = |time| client.ask(&format!("IAMAT kiwi {position} {time}"));
        times.map(line).into_iter().last().unwrap()
    };
    for round in 0..10 {
        // Equal times; and the last of one side is newer than the last of the other.
        let times = |newer: u32| std::array::from_fn(|at| 100 * round + at as u32 + newer);
        for (ones, twos) in [(times(1), times(1)), (times(30), times(31)), (times(61), times(60))] {
            let [one, two] = thread::scope(|scope| {
                let one = scope.spawn(|| report_all("Bailey", "+1-1", ones));
                let two = scope.spawn(|| report_all("Clark", "+2-2", twos));
                [one.join().unwrap(), two.join().unwrap()]
            });
            herd.until_all_hold("kiwi", if ones > twos { &one } else { &two });
        }
    }
}

/// Each server's log has its input and output, and its peers' coming and going.
#[test]
fn logs_tell_what_happened() {
    let mut herd = Herd::running("2023", PLACELESS);
    let line = herd.report("Bailey", "kiwi", "+1-1", "7");
    herd.until_all_hold("kiwi", &line);
    herd.until_logged("Bailey", " <- IAMAT kiwi +1-1 7\n");
    for server in ["Bailey", "Bona"] {
        for part in ["client-", "peer-", &format!(" -> {line}\n")] {
            herd.until_logged(server, part);
        }
    }
    herd.until_logged("Bona", &format!(" <- {line}\n"));

    herd.kill("Clark");
    herd.until_logged("Bona", "peer link down peer=Clark conn=peer-");
    herd.start_all(PLACELESS);
    until("its return is logged", || {
        herd.log("Bona").matches("peer link up peer=Clark ").count() >= 2
    });
    herd.signal("Clark", Signal::TERM);
    assert_eq!(herd.ended("Clark").code(), Some(0));
    herd.until_logged("Bona", "reason=\"it said good-bye\"\n");
}

/// What one server takes from a client, all others take from it: nothing that a client can say
/// breaks a link. PROTOCOL 5.1, 5.7.
#[test]
fn extreme_reports_reach_everybody() {
    let herd = Herd::running("2023", PLACELESS);
    let redials = || -> u64 {
        let of = |name: &String| herd.status(name).peers.iter().map(|peer| peer.redials).sum();
        herd.names.iter().map(of).collect::<Vec<u64>>().iter().sum()
    };
    let before = redials();
    let long = "9".repeat(38);
    let fraction = format!("7.{}", "3".repeat(8_000));
    let digits = format!("+{}1-{}1.{}", "0".repeat(3_000), "0".repeat(2_000), "5".repeat(3_000));
    let id = "i".repeat(8_150);
    for (client, position, time) in [
        ("future", "+1-1", "99999999999.999999999"),
        ("end", "+1-1", long.as_str()),
        ("finest", "+1-1", fraction.as_str()),
        ("digits", digits.as_str(), "7"),
        (id.as_str(), "+1-1", "7"),
        ("\u{7f}\u{1}\u{0}é", "-90-180", "0"),
    ] {
        let line = herd.report("Bailey", client, position, time);
        herd.until_all_hold(client, &line);
    }
    assert_eq!(redials(), before, "no link was lost");
}

// ---- strangers on the peer port ----

fn greeting(from: &str, to: &str, herd: &str) -> String {
    format!("HERD/1 {from} {to} {herd} {} -\n", "0123456789abcdef".repeat(2))
}

/// Goal: a stranger is refused without a word, and nothing changes.
/// Method: everything that is nearly a greeting, each with a forged report behind it.
/// PROTOCOL 6.1, 6.5.
#[test]
fn strangers_are_refused_in_silence() {
    let herd = Herd::running("2023", PLACELESS);
    let truth = herd.report("Bona", "kiwi", "+1-1", "7");
    herd.until_all_hold("kiwi", &truth);
    let forged = "AT Bona +0.5 kiwi +2-2 9\nAT Bona +0.5 forged +2-2 9\n";
    let long = "x".repeat(100_000);
    for first in [
        greeting("Bailey", "Bona", "2022"),
        greeting("Bailey", "Clark", "2023"),
        greeting("Nobody", "Bona", "2023"),
        greeting("Bona", "Bona", "2023"),
        // A member of the herd, but not joined with Bona.
        greeting("Jaquez", "Bona", "2023"),
        greeting("bailey", "Bona", "2023"),
        greeting("Bailey", "Bona", "2023").replace("HERD/1", "HERD/2"),
        greeting("Bailey", "Bona", "2023").replace(" -", ""),
        greeting("Bailey", "Bona", "2023").replace("0123", "wxyz"),
        String::new(),
        "PING 1\n".into(),
        "GET / HTTP/1.1\r\n\r\n".into(),
        "IAMAT forged +1-1 7\n".into(),
        "\0\u{1}\n".into(),
        format!("{long}\n"),
    ] {
        let mut stranger = herd.connect_peer("Bona");
        // It may hang up after the first line.
        let _ = stranger.stream().write_all([&first, forged].concat().as_bytes());
        assert_eq!(stranger.hung_up(), b"", "{:?}", &first[..first.len().min(80)]);
    }
    for name in &herd.names {
        assert_eq!(herd.held(name, "forged"), None);
        assert_eq!(herd.held(name, "kiwi").as_ref(), Some(&truth));
    }
    herd.until_joined();
}

/// Silence, and a greeting that does not end, are refused when the patience for it is over.
/// PROTOCOL 6.7.
#[test]
fn silent_strangers_are_sent_away() {
    let sections = "[limits]\ngreeting = \"300 ms\"\n";
    let mut herd = Herd::of_file(&["A", "B"], &[("B", "A")], sections);
    herd.start("A", PLACELESS);
    let mut silent = herd.connect_peer("A");
    let mut slow = herd.connect_peer("A");
    slow.send(greeting("B", "A", "tests").trim_end());
    assert_eq!(silent.hung_up(), b"");
    assert_eq!(slow.hung_up(), b"");
    herd.until_logged("A", "reason=\"no greeting in time\"");
}

/// The one who greets well is answered, and only then: this is what the strangers above lack.
/// PROTOCOL 6.2, 6.9, 8.1, 8.2, 11.1.
#[test]
fn a_peer_is_greeted_and_believed() {
    let mut herd = Herd::of_file(&["A", "B"], &[("B", "A")], "");
    herd.start("A", PLACELESS);
    let known = herd.report("A", "known", "+1-1", "7");

    let mut old = herd.connect_peer("A");
    old.send(greeting("B", "A", "tests"));
    assert!(old.line().starts_with(b"HERD/1 A B tests "));
    assert_eq!(old.line(), format!("{known}\n").as_bytes(), "what it has missed");

    // A newer link replaces an older one.
    let mut peer = herd.connect_peer("A");
    peer.send(greeting("B", "A", "tests"));
    assert_eq!(old.hung_up(), b"");
    assert!(peer.line().starts_with(b"HERD/1 A B tests "));
    assert_eq!(peer.line(), format!("{known}\n").as_bytes());

    peer.send("AT B +0.500000000 told +2-2 8\nPING 17\n\n");
    assert_eq!(peer.line(), b"PONG 17\n", "and nobody hears its own news again");
    assert_eq!(herd.held("A", "told").unwrap(), "AT B +0.500000000 told +2-2 8");
    let news = herd.report("A", "news", "+3-3", "9");
    assert_eq!(peer.line(), format!("{news}\n").as_bytes());

    peer.send("AT B +0.500000000 unfinished +2-2");
    peer.half_close();
    assert_eq!(peer.hung_up(), b"");
    assert_eq!(herd.held("A", "unfinished"), None);

    let names_behind = "AT B +0.5 bad +1-1 8 B\n";
    for bad in ["IAMAT kiwi +1-1 7\n", "AT B +0.5 bad +91-1 8\n", names_behind, "nonsense\n"] {
        let mut peer = herd.connect_peer("A");
        peer.send(greeting("B", "A", "tests") + bad + "AT B +0.5 after +2-2 8\n");
        peer.hung_up();
        assert_eq!(herd.held("A", "after"), None, "{bad:?}");
    }
}

/// Goal: two processes of one name do not replace each other for ever: the first one is told why it
/// is not let in again. Method: two that greet in turn, each with the name of its process.
/// PROTOCOL 6.4, 6.8, 6.9.
#[test]
fn a_process_that_was_replaced_is_refused() {
    let mut herd = Herd::of_file(&["A", "B"], &[("B", "A")], "");
    herd.start("A", PLACELESS);
    let join = |run: u64| {
        let mut peer = herd.connect_peer("A");
        peer.send(greeting("B", "A", "tests").replace(" -\n", &format!(" run:{run:016x}\n")));
        assert!(peer.line().starts_with(b"HERD/1 A B tests "));
        peer
    };
    let mut first = join(1);
    let mut second = join(2);
    assert_eq!(first.hung_up(), b"");
    assert_eq!(join(1).hung_up(), b"REFUSED name\n");
    second.send("PING 5\n");
    assert_eq!(second.line(), b"PONG 5\n");
    // A third one is a restart, as far as anybody can know.
    let mut third = join(3);
    assert_eq!(second.hung_up(), b"");
    third.send("PING 6\n");
    assert_eq!(third.line(), b"PONG 6\n");
}

/// Goal: a peer that starts is dialled at once, however long it was away. Method: the pause between
/// two dials is longer than this test may last. PROTOCOL 6.10.
#[test]
fn a_greeting_of_a_peer_to_be_dialled_is_a_hint() {
    let sections = "[limits]\nbackoff_min = \"1 d\"\nbackoff_max = \"1 d\"\n";
    let mut herd = Herd::of_file(&["A", "B"], &[("A", "B")], sections);
    herd.start("A", PLACELESS);
    herd.until_logged("A", "peer unreachable peer=B");
    let listener = TcpListener::bind(("127.0.0.1", herd.port("B") + 100)).unwrap();
    let mut hint = herd.connect_peer("A");
    hint.send(greeting("B", "A", "tests"));
    assert_eq!(hint.hung_up(), b"");
    let mut dialled = Client::of(listener.accept().unwrap().0);
    assert!(dialled.line().starts_with(b"HERD/1 A B tests "));
}

/// Goal: a server that leaves says so when its peer has everything, and knows whether the peer
/// keeps it. Method: a peer that says that it does, and one that hangs up instead.
/// PROTOCOL 8.5, 11.2, 11.3, 11.4.
#[test]
fn a_server_that_leaves_waits_for_its_peer() {
    for (keeps, code) in [(true, 0), (false, 75)] {
        let mut herd = Herd::of_file(&["A", "B"], &[("B", "A")], "[limits]\ndrain = \"10 min\"\n");
        herd.start("A", PLACELESS);
        let known = herd.report("A", "kiwi", "+1-1", "7");
        let mut peer = herd.connect_peer("A");
        peer.send(greeting("B", "A", "tests"));
        assert!(peer.line().starts_with(b"HERD/1 A B tests "));
        assert_eq!(peer.line(), format!("{known}\n").as_bytes());
        herd.signal("A", Signal::TERM);
        for round in 1..=4 {
            assert_eq!(peer.line(), format!("PING {round}\n").as_bytes());
            peer.send(format!("PONG {round}\n"));
        }
        assert_eq!(peer.line(), b"BYE\n");
        if keeps {
            peer.send("KEPT\n");
            assert_eq!(peer.hung_up(), b"");
        }
        drop(peer);
        assert_eq!(herd.ended("A").code(), Some(code));
        assert_eq!(herd.log("A").contains("some may be lost"), !keeps);
    }
}

/// The lines of clients stand between the events around them, at the level that has them, and at
/// no other.
#[test]
fn only_the_level_of_traffic_has_the_lines() {
    for (level, has_lines) in [("events", false), ("traffic", true)] {
        let mut herd = Herd::of_file(&["Hill"], &[], "");
        herd.start("Hill", &[PLACELESS, &["--log-level", level]].concat());
        let mut client = herd.connect("Hill");
        let answer = client.ask("IAMAT kiwi +1-1 7");
        drop(client);
        herd.until_logged("Hill", " client closed ");
        let log = herd.log("Hill");
        let (_, life) = log.split_once(" client connected conn=").unwrap();
        let (life, _) = life.split_once(" client closed ").unwrap();
        let conn = life.split(' ').next().unwrap();
        for line in ["<- IAMAT kiwi +1-1 7", &format!("-> {answer}")] {
            let record = format!(" [DEBUG] {conn} {line}\n");
            assert_eq!(life.contains(&record), has_lines, "{life}");
        }
    }
}
