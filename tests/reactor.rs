//! The loop with real sockets: many connections, far ends that are slow, greedy or gone, a system
//! without descriptors, deadlines, signals. Timing is never tested, but that nothing waits for
//! ever and no deadline comes early. What the answers say is tested in `conformance`.

mod common;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use common::fake_places::FakePlaces;
use common::{Client, Herd, PLACELESS, skip, until};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

/// Without a record for each line: these tests are about the loop, and send many.
const QUIET: &[&str] = &["--log-level", "events"];

fn quiet_and_placeless() -> Vec<&'static str> {
    [QUIET, PLACELESS].concat()
}

/// Lets this process open as many descriptors as the system grants.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(10_000).min(10_000);
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).unwrap();
}

/// Memory of a process in bytes, where the system tells it as Linux does.
fn resident_bytes(herd: &Herd) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{}/status", herd.pid("Hill"))).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(1024 * line.split_whitespace().nth(1)?.parse::<usize>().ok()?)
}

fn check_memory(herd: &Herd, before: Option<usize>, growth_max: usize) {
    match (before, resident_bytes(herd)) {
        (Some(before), Some(now)) => {
            assert!(now < before + growth_max, "grew from {before} to {now} bytes");
        }
        _ => skip("the memory of a process is looked up on Linux only"),
    }
}

/// Hundredths of a second of CPU time that a process has had, where the system tells it as Linux
/// does.
fn cpu_ticks(herd: &Herd) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", herd.pid("Hill"))).ok()?;
    // Behind the name, which may hold anything: user and system time are the 12th and 13th.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// Is somebody else still served?
fn check_served(client: &mut Client) {
    for number in 0..20 {
        let line = client.ask(&format!("IAMAT other +1-1 {number}"));
        assert!(line.ends_with(&format!(" other +1-1 {number}")), "{line}");
    }
}

/// Goal: a loop that looks for work before it sleeps does sleep. Method: it has nothing to do for a
/// second, and one that never slept would have that second's CPU time.
#[test]
fn who_spins_sleeps_all_the_same() {
    let herd = Herd::of_one("[limits]\nspin_us = 1000\n", &quiet_and_placeless());
    check_served(&mut herd.connect("Hill"));
    let Some(before) = cpu_ticks(&herd) else {
        return skip("CPU time is looked up on Linux only");
    };
    thread::sleep(Duration::from_secs(1));
    let taken = cpu_ticks(&herd).expect("it runs") - before;
    assert!(taken < 50, "{taken} hundredths of a second for nothing");
}

#[test]
fn a_thousand_connections_are_served_at_once() {
    raise_descriptors();
    let herd = Herd::of_one("", QUIET);
    let mut clients: Vec<_> = (0..1_000).map(|_| herd.connect("Hill")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let mut text = String::new();
        for time in 0..10 {
            text += &format!("IAMAT c{number} +1-1 {time}\nNOPE {time}\n");
        }
        client.send(text + &format!("WHATSAT c{number} 1 1\nWHATSAT c{number} 51 1"));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut last = Vec::new();
        for time in 0..10 {
            last = client.line();
            assert!(last.ends_with(format!(" c{number} +1-1 {time}\n").as_bytes()));
            assert_eq!(client.line(), format!("? NOPE {time}\n").as_bytes());
        }
        assert_eq!(client.line(), last);
        assert!(client.through(b"\n\n").starts_with(b"{"));
        client.half_close();
        assert_eq!(client.rest(), format!("? WHATSAT c{number} 51 1\n").as_bytes());
    }
    let status = herd.status("Hill");
    assert_eq!((status.clients_known, status.connections_total), (1_000, 1_000));
    until("all are buried", || herd.status("Hill").connections == 0);
}

/// Waits until the server takes no more of the greedy one's lines, with somebody else being served
/// all the while. Gives the number of lines that it has taken.
fn until_held_back(herd: &Herd, other: &mut Client) -> u64 {
    let (mut others, mut before) = (0, 0);
    until("the server takes no more lines", || {
        check_served(other);
        others += 20;
        let taken = herd.status("Hill").lines_in - others;
        std::mem::replace(&mut before, taken) == taken && taken > 10
    });
    before
}

/// Goal: who asks 10,000 times and reads nothing is not served further, costs bounded memory, and
/// keeps nobody; when at last it reads, not one answer is missing. PROTOCOL 4.3.
#[test]
fn a_slow_reader_is_waited_for() {
    let herd = Herd::of_one("[limits]\nwrite_stall = \"10 min\"\n", QUIET);
    let line = herd.report("Hill", "kiwi", "+60.1699+24.9384", "7");
    let mut slow = herd.connect("Hill");
    slow.send("WHATSAT kiwi 50 20\n");
    assert_eq!(slow.line(), format!("{line}\n").as_bytes());
    let answer = [line.as_bytes(), b"\n", &slow.through(b"\n\n")].concat();
    let before = resident_bytes(&herd);

    let questions = 10_000;
    let mut writer = slow.stream().try_clone().unwrap();
    let writing = thread::spawn(move || {
        writer.write_all("WHATSAT kiwi 50 20\n".repeat(questions).as_bytes()).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut other = herd.connect("Hill");
    let taken = until_held_back(&herd, &mut other);
    assert!(taken < questions as u64, "{taken} lines were taken");
    check_memory(&herd, before, 16 << 20);

    let heard = slow.rest();
    assert_eq!(heard.len(), questions * answer.len());
    assert!(heard.chunks_exact(answer.len()).all(|heard| heard == answer));
    writing.join().unwrap();
    check_memory(&herd, before, 16 << 20);
}

/// Goal: who pipelines megabytes without reading is pushed back by TCP, while others are served.
/// PROTOCOL 4.3.
#[test]
fn a_greedy_writer_is_pushed_back() {
    const BYTES_MAX: usize = 256 << 20;
    let herd = Herd::of_one("[limits]\nwrite_stall = \"10 min\"\n", &quiet_and_placeless());
    let mut greedy = herd.connect("Hill");
    let before = resident_bytes(&herd);
    let id = "i".repeat(500);
    let lines = format!("IAMAT {id} +1-1 7\n").repeat(100);
    greedy.stream().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut sent = 0;
    let mut rest: &[u8] = b"";
    while sent < BYTES_MAX {
        rest = if rest.is_empty() { lines.as_bytes() } else { rest };
        match greedy.stream().write(rest) {
            Ok(count) => (sent, rest) = (sent + count, &rest[count..]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent < BYTES_MAX, "somebody has taken {sent} bytes");
    check_served(&mut herd.connect("Hill"));
    check_memory(&herd, before, 16 << 20);

    let mut writer = greedy.stream().try_clone().unwrap();
    writer.set_write_timeout(Some(common::TIMEOUT)).unwrap();
    let lines_sent = (sent + rest.len()) / (lines.len() / 100);
    let last = rest.to_vec();
    let writing = thread::spawn(move || {
        writer.write_all(&last).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let heard = greedy.rest();
    let end = format!(" {id} +1-1 7");
    let answers = heard.split(|&byte| byte == b'\n').filter(|line| line.ends_with(end.as_bytes()));
    assert_eq!(answers.count(), lines_sent);
    writing.join().unwrap();
}

#[test]
fn a_dripping_client_keeps_nobody() {
    let herd = Herd::of_one("", &quiet_and_placeless());
    let mut dripping = herd.connect("Hill");
    let mut other = herd.connect("Hill");
    for byte in b"IAMAT drip +1-1 7" {
        dripping.send([*byte]);
        check_served(&mut other);
        assert!(dripping.is_silent());
    }
    dripping.send("\n");
    assert!(dripping.line().ends_with(b" drip +1-1 7\n"));
}

/// Goal: when the system has no descriptor to give, nobody is forgotten, however long that lasts.
/// Method: the limit is lowered while the server runs, for several of its pauses.
#[test]
#[cfg(target_os = "linux")]
fn a_system_without_descriptors_is_survived() {
    let herd = Herd::of_one("", &quiet_and_placeless());
    let mut first = herd.connect("Hill");
    check_served(&mut first);
    let pid = rustix::process::Pid::from_raw(herd.pid("Hill") as i32);
    let none = Rlimit { current: Some(1), maximum: getrlimit(Resource::Nofile).maximum };
    let before = rustix::process::prlimit(pid, Resource::Nofile, none).unwrap();

    // They wait in the kernel and send all the same.
    let mut clients: Vec<_> = (0..40).map(|_| herd.connect("Hill")).collect();
    clients.iter_mut().for_each(|client| client.send("IAMAT kiwi +1-1 7\n"));
    herd.until_logged("Hill", "accept failed ");
    thread::sleep(Duration::from_secs(1));
    check_served(&mut first);
    assert!(clients.iter_mut().all(Client::is_silent));
    rustix::process::prlimit(pid, Resource::Nofile, before).unwrap();
    for mut client in clients.drain(..) {
        assert!(client.line().ends_with(b" kiwi +1-1 7\n"));
    }
    check_served(&mut first);
}

/// Goal: whatever else connects, clients find the room that was promised. Method: few descriptors,
/// strangers on the peer port and askers at the admin socket who say nothing.
#[test]
fn silent_crowds_take_no_client_s_place() {
    let mut herd = Herd::of_file(&["Hill"], &[], "[limits]\ngreeting = \"10 min\"\n");
    let command = herd.command_after("ulimit -n 128", "Hill", &quiet_and_placeless());
    herd.launch("Hill", command);
    // The log is written by a thread of its own, and may be later than the first answer.
    herd.until_logged("Hill", "connections_max=");
    let log = herd.log("Hill");
    let promised = log.split("connections_max=").nth(1).unwrap();
    let promised: usize = promised.lines().next().unwrap().parse().unwrap();
    assert!(promised >= 40, "{promised} connections");
    let _strangers = Vec::from_iter((0..80).map(|_| herd.connect_peer("Hill")));
    let admin = herd.path("run/Hill.sock");
    let ask = |_| std::os::unix::net::UnixStream::connect(&admin).unwrap();
    let askers = Vec::from_iter((0..40).map(ask));
    let mut clients = Vec::from_iter((0..promised).map(|_| herd.connect("Hill")));
    for client in &mut clients {
        assert_eq!(client.ask("NOPE"), "? NOPE");
    }
    drop(askers);
    assert_eq!(herd.status("Hill").connections as usize, promised);
    assert!(!herd.log("Hill").contains("accept failed"), "{}", herd.log("Hill"));
}

/// Goal: a log that may not grow costs lines of the log and nothing else.
#[test]
fn a_limit_on_files_ends_nobody() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    // In blocks of 512 or of 1024 bytes.
    let command = herd.command_after("ulimit -f 40", "Hill", PLACELESS);
    herd.launch("Hill", command);
    let mut client = herd.connect("Hill");
    for number in 0..400 {
        let nonsense = format!("{number} {}", "x".repeat(400));
        assert_eq!(client.ask(&nonsense), format!("? {nonsense}"));
    }
    check_served(&mut client);
}

/// Goal: who may wait for one answer only gets the next when that has come. PROTOCOL 3.9.
#[test]
fn questions_may_have_to_wait_for_each_other() {
    let herd = Herd::of_one("[limits]\nwaits_max = 1\n", QUIET);
    let line = herd.report("Hill", "kiwi", "+60.1699+24.9384", "7");
    let mut client = herd.connect("Hill");
    client.send("WHATSAT kiwi 1 1\n".repeat(5) + "NOPE\n");
    for _ in 0..5 {
        assert_eq!(client.line(), format!("{line}\n").as_bytes());
        assert!(client.through(b"\n\n").starts_with(b"{"));
    }
    assert_eq!(client.line(), b"? NOPE\n");
}

/// Goal: at the cap, people wait at the door, and each who leaves lets somebody in. PROTOCOL 4.5.
#[test]
fn a_full_house_lets_people_in_as_others_leave() {
    let herd = Herd::of_one("[limits]\nconnections_max = 4\n", PLACELESS);
    let mut inside: Vec<_> = (0..4).map(|_| herd.connect("Hill")).collect();
    inside.iter_mut().for_each(check_served);
    let mut waiting: Vec<_> = (0..8).map(|_| herd.connect("Hill")).collect();
    waiting.iter_mut().for_each(|client| client.send("IAMAT kiwi +1-1 7\n"));
    check_served(&mut inside[0]);
    assert_eq!(herd.status("Hill").connections, 4);
    assert!(waiting.iter_mut().all(Client::is_silent));
    for mut client in waiting {
        drop(inside.pop());
        assert!(client.line().ends_with(b" kiwi +1-1 7\n"));
        inside.insert(0, client);
    }
}

// ---- deadlines ----

/// Goal: each kind of silence has its deadline, which comes, and never early. PROTOCOL 4.1.
#[test]
fn silence_has_deadlines() {
    // Long enough for a client on a busy machine to say what it has to say.
    let limits = "[limits]\nfirst_byte = \"1500 ms\"\npartial_line = \"2 s\"\nidle = \"3 s\"\n\
                  write_stall = \"2 s\"\n";
    let herd = Herd::of_one(limits, QUIET);
    herd.report("Hill", "kiwi", "+60.1699+24.9384", "7");
    let check = |what: &str, wait_ms: u64, act: &mut dyn FnMut(&mut Client)| {
        let begin = Instant::now();
        let mut client = herd.connect("Hill");
        act(&mut client);
        client.hung_up();
        assert!(begin.elapsed() >= Duration::from_millis(wait_ms), "{what}: too early");
        herd.until_logged("Hill", what);
    };
    check("reason=first_byte_timeout", 1_500, &mut |_| {});
    check("client line timeout", 2_000, &mut |client| client.send("IAMAT"));
    check("reason=idle_timeout", 3_000, &mut |client| {
        assert_eq!(client.ask("NOPE"), "? NOPE");
    });
    check("client line timeout", 2_000, &mut |client| {
        // Dripping does not begin the line anew.
        let mut byte = client.stream();
        while byte.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    check("reason=write_timeout", 2_000, &mut |client| {
        let mut stream = client.stream();
        let _ = stream.write_all("WHATSAT kiwi 50 20\n".repeat(4_000).as_bytes());
        herd.until_logged("Hill", "reason=write_timeout");
    });
    assert_eq!(herd.status("Hill").connections, 0);
}

/// Goal: a server that was stopped, as a container's freezer does it, ends nobody whose commands it
/// could not read meanwhile, nor a peer.
#[test]
fn a_freeze_ends_nobody() {
    let limits = "[limits]\nfirst_byte = \"3 s\"\npartial_line = \"3 s\"\nidle = \"3 s\"\n\
                  ping_after = \"1 s\"\nsilence_max = \"3 s\"\n";
    let mut herd = Herd::of_file(&["Hill", "Dale"], &[("Hill", "Dale")], limits);
    herd.start_all(&quiet_and_placeless());
    let mut clients = Vec::from_iter((0..12).map(|_| herd.connect("Hill")));
    for (number, client) in clients.iter_mut().enumerate() {
        match number % 3 {
            0 => {}
            1 => client.send("IAMAT kiwi +1-1 "),
            _ => assert_eq!(client.ask("NOPE"), "? NOPE"),
        }
    }
    herd.signal("Hill", Signal::STOP);
    // Peers that run would give up on one that is silent for so long.
    herd.signal("Dale", Signal::STOP);
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(if number % 3 == 1 { "7\n" } else { "IAMAT kiwi +1-1 7\n" });
    }
    thread::sleep(Duration::from_secs(5));
    herd.signal("Hill", Signal::CONT);
    herd.signal("Dale", Signal::CONT);
    for client in &mut clients {
        assert!(client.line().ends_with(b" kiwi +1-1 7\n"));
    }
    for name in ["Hill", "Dale"] {
        let log = herd.log(name);
        assert!(!log.contains("peer link down"), "{log}");
    }
}

// ---- people who go ----

/// A client that resets while its question is in flight leaves nothing behind.
#[test]
fn a_reset_with_a_question_in_flight_is_forgotten() {
    let fake = FakePlaces::start();
    let herd = Herd::of_one(&fake.sections("deadline = \"10 min\"\n"), &[]);
    let mut other = herd.connect("Hill");
    other.ask("IAMAT kiwi +1-1 7");
    let reset = herd.connect("Hill");
    let mut stream = reset.stream();
    stream.write_all(b"WHATSAT kiwi 1 1\nIAMAT behind +1-1 7\nWHATSAT kiwi 2 1\n").unwrap();
    let calls = [fake.call(), fake.call()];
    socket2::SockRef::from(reset.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    until("the reset is noticed", || herd.status("Hill").connections == 1);
    assert_eq!(herd.status("Hill").questions_waiting, 0);
    for call in calls {
        call.answer_nothing_there();
    }
    check_served(&mut other);
    // Another radius: the same question could still be in flight, and would be asked only once.
    other.send("WHATSAT behind 3 1\n");
    fake.call().answer_nothing_there();
    assert!(other.line().ends_with(b" behind +1-1 7\n"), "what it reported is known");
    other.through(b"\n\n");
}

// ---- signals ----

/// Goal: SIGTERM loses no answer, and leaves the port free. Method: a question in flight, somebody
/// idle, somebody in the middle of a line; then the next server starts at once. PROTOCOL 4.6.
#[test]
fn a_drain_loses_no_answer_and_frees_the_port() {
    let fake = FakePlaces::start();
    let sections = fake.sections("[limits]\ndrain = \"10 min\"\n");
    let mut herd = Herd::of_file(&["Hill"], &[], &sections);
    for signal in [Signal::TERM, Signal::INT] {
        herd.start("Hill", &[]);
        let line = herd.report("Hill", "kiwi", "+1-1", "7");
        let [mut asking, mut idle, mut partial] = [0; 3].map(|_| herd.connect("Hill"));
        asking.send("IAMAT before +1-1 7\nWHATSAT kiwi 1 1\nNOPE\n");
        assert!(asking.line().ends_with(b" before +1-1 7\n"));
        let call = fake.call();
        check_served(&mut idle);
        partial.send("IAMAT half");

        herd.signal("Hill", signal);
        until("it drains", || herd.status("Hill").draining);
        let refused = TcpStream::connect(("127.0.0.1", herd.port("Hill")));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!((idle.rest(), partial.rest()), (vec![], vec![]));
        drop((idle, partial));
        // Sent too late: not answered, and no harm to what is.
        asking.send("IAMAT late +1-1 7\n");
        call.answer_nothing_there();
        assert_eq!(asking.line(), format!("{line}\n").as_bytes());
        assert!(asking.through(b"\n\n").starts_with(b"{"));
        assert_eq!(asking.rest(), b"? NOPE\n");
        drop(asking);
        assert_eq!(herd.ended("Hill").code(), Some(0));
        assert!(herd.log("Hill").ends_with("stopped\n"), "{}", herd.log("Hill"));
    }
    // `start` demands that the port is free at the first attempt; so it is after a kill.
    herd.start("Hill", &[]);
    let mut connected = herd.connect("Hill");
    check_served(&mut connected);
    herd.kill("Hill");
    herd.start("Hill", &[]);
}

/// A drain is over when its time is, or when a second signal comes.
/// PROTOCOL 4.6.
#[test]
fn a_drain_has_its_bound_and_can_be_cut_short() {
    let fake = FakePlaces::start();
    for (drain, signals) in [("300 ms", 1), ("10 min", 2)] {
        let places = fake.sections("deadline = \"10 min\"\n");
        let mut herd = Herd::of_one(&format!("{places}[limits]\ndrain = \"{drain}\"\n"), &[]);
        herd.report("Hill", "kiwi", "+1-1", "7");
        let mut asking = herd.connect("Hill");
        asking.send("WHATSAT kiwi 1 1\n");
        let call = fake.call();
        herd.signal("Hill", Signal::TERM);
        if signals == 2 {
            until("it drains", || herd.status("Hill").draining);
            herd.signal("Hill", Signal::TERM);
        }
        assert_eq!(herd.ended("Hill").code(), Some(0));
        assert_eq!(asking.hung_up(), b"");
        drop(call);
    }
}

#[test]
fn the_log_is_reopened_after_a_rotation() {
    let herd = Herd::of_one("", PLACELESS);
    herd.report("Hill", "before", "+1-1", "7");
    herd.until_logged("Hill", "IAMAT before");
    let [log, old] = ["log/Hill.log", "log/Hill.log.1"].map(|name| herd.path(name));
    fs::rename(&log, &old).unwrap();
    herd.signal("Hill", Signal::HUP);
    until("there is a new log", || log.exists());
    herd.report("Hill", "after", "+1-1", "7");
    herd.until_logged("Hill", "IAMAT after");
    let [log, old] = [log, old].map(|path| fs::read_to_string(path).unwrap());
    assert!(old.contains("IAMAT before") && !old.contains("IAMAT after"), "{old}");
    assert!(!log.contains("IAMAT before"), "{log}");
}
