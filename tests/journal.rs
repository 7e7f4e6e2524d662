//! What was answered is there after kill -9, a full disk or rot: real processes, real files. That
//! the same holds on disks that lie and for machines that die, the simulator shows
//! (`herd_sim::disk`).

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Client, Herd, TIMEOUT, until};
use herd::status::{JournalState, JournalStatus};
use herd_core::journal::frame::HEADER_BYTES;
use rustix::process::Signal;

const TALKERS: usize = 4;
const CLIENTS: usize = 50;
/// Requests that a talker sends before it reads their answers.
const PIPELINE: usize = 16;

/// For each client, the time of the last report that was answered.
type Answered = BTreeMap<String, u64>;

/// Reports for clients of its own until the server is gone. `from` is the first time that it says.
fn talk(port: u16, talker: usize, from: u64) -> Answered {
    let mut answered = Answered::new();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut random = fastrand::Rng::with_seed(from);
    for time in (from..).step_by(PIPELINE) {
        let clients: Vec<_> = (0..PIPELINE).map(|_| random.usize(0..CLIENTS)).collect();
        let line = |(at, client): (usize, &usize)| {
            format!("IAMAT {talker}-{client} +34.1-118.4 {}\n", time + at as u64)
        };
        let text: String = clients.iter().enumerate().map(line).collect();
        if stream.write_all(text.as_bytes()).is_err() {
            return answered;
        }
        for _ in &clients {
            let Some(Ok(answer)) = answers.next() else { return answered };
            let fields: Vec<_> = answer.split(' ').collect();
            assert_eq!(fields[0], "AT", "{answer}");
            answered.insert(fields[3].to_owned(), fields[5].parse().unwrap());
        }
    }
    unreachable!("a server does not live so long")
}

/// Demands that a server holds what was answered, or something newer.
fn check(herd: &Herd, name: &str, answered: &Answered) {
    let mut client = herd.connect(name);
    for (id, time) in answered {
        let answer = client.ask(&format!("WHATSAT {id} 1 0\n"));
        let held: u64 = match answer.split(' ').nth(5) {
            Some(held) if answer.starts_with("AT ") => held.trim().parse().unwrap(),
            _ => panic!("{id} was answered and is not known: {answer}"),
        };
        assert!(held >= *time, "{id}: {time} was answered, and {held} is known");
        client.through(b"\n\n");
    }
}

fn with_journal(keep: &str) -> String {
    format!("[journal]\nkeep = {keep:?}\n[log]\nlevel = \"events\"\n")
}

fn segments(herd: &Herd, name: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(herd.path("journal").join(name)).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

/// Goal: a server that is killed again and again under load, alone in its herd, knows all that it
/// has answered.
#[test]
fn what_was_answered_survives_kill_9() {
    for keep in ["written", "synced"] {
        let mut herd = Herd::of_file(&["Hill"], &[], &with_journal(keep));
        let mut answered = Answered::new();
        for life in 0..4 {
            herd.start("Hill", &[]);
            check(&herd, "Hill", &answered);
            let port = herd.port("Hill");
            let talk = |talker| thread::spawn(move || talk(port, talker, 1_000_000 * (life + 1)));
            let talkers: Vec<_> = (0..TALKERS).map(talk).collect();
            // It is not the time that matters, but that it is another one in each life.
            thread::sleep(Duration::from_millis(100 + 130 * life));
            herd.kill("Hill");
            answered.extend(talkers.into_iter().flat_map(|talker| talker.join().unwrap()));
        }
        herd.start("Hill", &[]);
        check(&herd, "Hill", &answered);
        assert!(answered.len() > CLIENTS, "{} clients were answered", answered.len());
    }
}

/// Goal: five servers that are killed at once know together what each has answered, and agree.
#[test]
fn a_herd_that_is_killed_as_a_whole_agrees_again() {
    let names = ["Hill", "Jaquez", "Smith"];
    let links = [("Hill", "Jaquez"), ("Jaquez", "Smith")];
    let mut herd = Herd::of_file(&names, &links, &with_journal("written"));
    herd.start_all(&[]);
    let ports = names.map(|name| herd.port(name));
    let talk = |talker| thread::spawn(move || talk(ports[talker % 3], talker, 1_000));
    let talkers: Vec<_> = (0..TALKERS).map(talk).collect();
    thread::sleep(Duration::from_millis(500));
    names.iter().for_each(|name| herd.kill(name));
    let answered: Answered =
        talkers.into_iter().flat_map(|talker| talker.join().unwrap()).collect();
    herd.start_all(&[]);
    until("all know the same", || {
        let digests = names.map(|name| herd.status(name).digest);
        digests[0] == digests[1] && digests[1] == digests[2]
    });
    names.iter().for_each(|name| check(&herd, name, &answered));
}

/// Goal: where the disk takes no more, answers wait, the server lives, and when there is room
/// again, all of them leave. Method: files may not become long, and new ones have no place.
#[test]
fn a_full_disk_keeps_answers_waiting() {
    let mut herd = Herd::of_file(&["Hill"], &[], &with_journal("written"));
    let command = herd.command_after("ulimit -f 8", "Hill", &["--log-level", "off"]);
    herd.launch("Hill", command);
    let (place, elsewhere) = (herd.path("journal/Hill"), herd.path("elsewhere"));
    fs::rename(&place, &elsewhere).unwrap();
    let mut client = herd.connect("Hill");
    let journal = |herd: &Herd| herd.status("Hill").journal.unwrap();
    let mut sent = Answered::new();
    loop {
        let JournalStatus { state, appended_bytes, written_bytes, .. } = journal(&herd);
        if state == JournalState::Refused {
            break;
        }
        // What waits must fit into a file as long as files may become.
        if appended_bytes == written_bytes {
            let time = sent.len() as u64 + 1;
            client.send(format!("IAMAT c{time} +34.1-118.4 {time}\n"));
            sent.insert(format!("c{time}"), time);
            assert!(time < 100_000, "nothing was ever full");
        }
    }
    until("answers wait", || journal(&herd).answers_wait);
    assert!(journal(&herd).trouble.is_some());
    fs::rename(&elsewhere, &place).unwrap();
    for _ in 0..sent.len() {
        assert!(client.line().starts_with(b"AT Hill "));
    }
    herd.kill("Hill");
    herd.start("Hill", &[]);
    check(&herd, "Hill", &sent);
}

/// Goal: what has gone bad is told, costs what it has hit, and is brought back by a peer.
#[test]
fn rot_is_told_and_mended() {
    let mut herd =
        Herd::of_file(&["Hill", "Jaquez"], &[("Hill", "Jaquez")], &with_journal("written"));
    herd.start_all(&[]);
    let lines: Vec<_> =
        (0..CLIENTS).map(|n| herd.report("Hill", &format!("c{n}"), "+34.1-118.4", "7")).collect();
    herd.until_all_hold("c49", &lines[49]);
    herd.signal("Hill", Signal::TERM);
    assert!(herd.ended("Hill").success());
    let with_reports = |path: &PathBuf| fs::read(path).unwrap().windows(5).any(|w| w == b" c30 ");
    let spoilt = segments(&herd, "Hill").into_iter().find(with_reports).unwrap();
    let mut bytes = fs::read(&spoilt).unwrap();
    let at = bytes.windows(5).position(|window| window == b" c30 ").unwrap();
    bytes[at + 1] ^= 1;
    fs::write(&spoilt, bytes).unwrap();
    herd.start("Hill", &[]);
    herd.until_logged("Hill", "journal damaged segment=");
    let aside = herd.path("journal/Hill/damaged").join(spoilt.file_name().unwrap());
    until("the damaged file is set aside", || aside.exists());
    for (n, line) in lines.iter().enumerate() {
        until("it is there", || herd.held("Hill", &format!("c{n}")).as_ref() == Some(line));
    }
}

/// Goal: an operator's mistake is told in a sentence, and changes nothing.
#[test]
fn a_journal_of_another_is_refused() {
    let mut herd = Herd::of_file(&["Hill", "Jaquez"], &[], &with_journal("written"));
    herd.start("Hill", &[]);
    let refused = |herd: &Herd, name: &str, flags: &[&str]| {
        let mut server = herd.command(name, flags).stderr(Stdio::piped()).spawn().unwrap();
        let begun = Instant::now();
        while server.try_wait().unwrap().is_none() && begun.elapsed() < TIMEOUT {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = server.kill();
        let output = server.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let mut client = Client::connect(herd.port("Hill"));
    client.ask("IAMAT kiwi +34.1-118.4 7\n");
    fs::create_dir_all(herd.path("journal")).unwrap();
    fs::rename(herd.path("journal/Hill"), herd.path("journal/Jaquez")).unwrap();
    let (code, said) = refused(&herd, "Jaquez", &["--run-dir", "other"]);
    assert!(code == Some(98) && said.contains("is written by process"), "{code:?} {said}");
    herd.kill("Hill");
    let before = segments(&herd, "Jaquez").len();
    let (code, said) = refused(&herd, "Jaquez", &[]);
    assert!(code == Some(78) && said.contains("was written by the server Hill"), "{said}");
    assert_eq!(segments(&herd, "Jaquez").len(), before);
    fs::rename(herd.path("journal/Jaquez"), herd.path("journal/Hill")).unwrap();
    let file = fs::read_to_string(herd.path("herd.toml")).unwrap();
    fs::write(herd.path("herd.toml"), file.replacen("\"tests\"", "\"others\"", 1)).unwrap();
    let (code, said) = refused(&herd, "Hill", &[]);
    assert!(code == Some(78) && said.contains("of the herd tests"), "{code:?} {said}");
    fs::write(herd.path("occupied"), "a file").unwrap();
    let (code, said) = refused(&herd, "Hill", &["--journal-dir", "occupied"]);
    assert!(code == Some(73) && said.contains("--keep off"), "{code:?} {said}");
}

/// Goal: a disk that has written the beginning of another server's file over that of ours has
/// damaged it, and the server starts.
#[test]
fn a_header_of_another_server_is_damage() {
    let mut herd = Herd::of_file(&["Hill", "Jaquez"], &[], &with_journal("written"));
    let [beginning, spoilt] = ["Jaquez", "Hill"].map(|name| {
        herd.start(name, &[]);
        herd.report(name, "kiwi", "+34.1-118.4", "7");
        herd.kill(name);
        segments(&herd, name)[0].clone()
    });
    let mut bytes = fs::read(&spoilt).unwrap();
    bytes[..HEADER_BYTES].copy_from_slice(&fs::read(beginning).unwrap()[..HEADER_BYTES]);
    fs::write(&spoilt, bytes).unwrap();
    herd.start("Hill", &[]);
    assert!(herd.held("Hill", "kiwi").is_some());
    herd.until_logged("Hill", "journal damaged segment=");
}

/// Goal: what lies on the disk can be looked at, beside a server that writes and without one.
#[test]
fn a_journal_is_checked_and_dumped() {
    let mut herd = Herd::of_file(&["Hill"], &[], &with_journal("written"));
    herd.start("Hill", &[]);
    let herd_says = |herd: &Herd, words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        let output = command.current_dir(herd.dir()).args(words).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    };
    let (code, said) = herd_says(&herd, &["journal", "check", "log"]);
    assert!(code == 78 && said.contains("there is no journal in log"), "{code} {said}");
    let mut lines: Vec<_> =
        (0..9).map(|n| herd.report("Hill", &format!("c{n}"), "+34.1-118.4", "7") + "\n").collect();
    lines[3] = herd.report("Hill", "c3", "+34.1-118.4", "8") + "\n";
    lines.sort();
    assert_eq!(herd_says(&herd, &["dump", "Hill"]), (0, lines.concat()));
    for dir in ["journal", "journal/Hill"] {
        let (code, said) = herd_says(&herd, &["journal", "check", dir]);
        assert!(
            code == 0 && said.contains("server Hill of herd tests, 9 clients, 10 re"),
            "{said}"
        );
        assert_eq!(herd_says(&herd, &["journal", "dump", dir]), (0, lines.concat()));
    }
    until("the next segment is prepared", || segments(&herd, "Hill").len() == 2);
    herd.kill("Hill");
    fs::remove_file(&segments(&herd, "Hill")[0]).unwrap();
    let (code, said) = herd_says(&herd, &["journal", "check", "journal", "--json"]);
    let page: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, page["whole"].as_bool(), page["clients"].as_u64()),
        (1, Some(false), Some(0))
    );
    assert_eq!(page["missing"].as_array().unwrap().len(), 1);
}

/// Goal: a dump of many reports is whole, while others are served.
#[test]
fn a_dump_of_many_is_whole() {
    let herd = Herd::of_one("[log]\nlevel = \"events\"\n", &[]);
    let mut client = herd.connect("Hill");
    let many = 20_000;
    let said: String = (0..many).map(|n| format!("IAMAT c{n} +34.1-118.4 7\n")).collect();
    let mut writing = client.stream().try_clone().unwrap();
    let telling = thread::spawn(move || writing.write_all(said.as_bytes()).unwrap());
    let mut lines: Vec<_> = (0..many).map(|_| client.line()).collect();
    telling.join().unwrap();
    lines.sort();
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    let output = command.current_dir(herd.dir()).args(["dump", "Hill"]).output().unwrap();
    assert!(output.status.success() && output.stdout == lines.concat());
    let output = command.args(["--run-dir", "nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
}
