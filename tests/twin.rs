//! The asyncio twin, `src/teach/twin/herd_twin.py`: it follows the rules of the wire, and joins a
//! herd of
//! ours as the course's servers do. Apart from `conformance` and `herd`, which must run where there
//! is no Python.

mod common;

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{fs, thread};

use common::fake_places::FakePlaces;
use common::transcripts::TRANSCRIPTS;
use common::twin::{SOURCE, have_python};
use common::{Client, Herd, skip};
use herd_core::presets::PRESETS;
use rustix::process::Signal;
use serde_json::Value;

/// Says whether a test must do without, and says so aloud.
fn lacks_python(test: &str) -> bool {
    let lacks = !have_python();
    if lacks {
        skip(&format!("{test} needs python3, 3.11 or later, which is missing here"));
    }
    lacks
}

/// Transcripts that nobody with plain links on the client port can follow, with the reason.
const EXCEPT: &[(&str, &str)] = &[(
    "clients_cannot_speak_as_servers",
    "it has one port: a client that says AT there is a neighbour, as the course has it",
)];

fn say_transcripts(herd: &Herd) {
    for (name, transcript) in TRANSCRIPTS {
        if EXCEPT.iter().any(|(except, _)| except == name) {
            continue;
        }
        println!("{name}");
        transcript(herd);
    }
}

#[test]
fn the_twin_follows_the_rules() {
    if lacks_python("the_twin_follows_the_rules") {
        return;
    }
    say_transcripts(&Herd::of_twins("2023"));
}

/// Goal: both makes mean the same by every rule, also by the order of reports. Method: the same
/// transcripts at a herd of both, whose graph leads through both.
#[test]
fn both_makes_in_one_herd_follow_the_rules() {
    if lacks_python("both_makes_in_one_herd_follow_the_rules") {
        return;
    }
    say_transcripts(&both_makes());
}

/// The preset with Clark and Jaquez as twins.
fn both_makes() -> Herd {
    let mut herd = Herd::of_year("2023");
    for name in ["Clark", "Jaquez"] {
        herd.start_twin(name, &[]);
    }
    for (name, peer) in [("Bona", "Clark"), ("Campbell", "Jaquez")] {
        herd.start(name, &["--plain-peer", peer]);
    }
    herd.start_all(&[]);
    herd
}

/// Goal: servers that come back are told again by their neighbours. Method: one twin after
/// the other dies without a word among four that know; it must soon hold what it held.
#[test]
fn a_twin_that_comes_back_is_told_everything() {
    if lacks_python("a_twin_that_comes_back_is_told_everything") {
        return;
    }
    let mut herd = Herd::of_twins("2023");
    let kiwi = herd.report("Bailey", "kiwi", "+1-1", "7.000000001");
    let mover = herd.report("Clark", "mover", "+1-1", "7");
    herd.until_all_hold("kiwi", &kiwi);
    herd.until_all_hold("mover", &mover);
    for (at, name) in herd.names.clone().into_iter().enumerate() {
        herd.kill(&name);
        // Of what happens while it is away it must hear the last.
        let other = if name == "Bona" { "Jaquez" } else { "Bona" };
        herd.report(other, "mover", "+2-2", &format!("{at}8"));
        let mover = herd.report(other, "mover", "+3-3", &format!("{at}9"));
        herd.start_twin(&name, &[]);
        herd.until_all_hold("kiwi", &kiwi);
        herd.until_all_hold("mover", &mover);
    }
}

/// Who says AT on its one port is a neighbour: what the transcript in `EXCEPT` forbids to clients.
#[test]
fn a_twin_believes_a_plain_line_and_passes_it_on() {
    if lacks_python("a_twin_believes_a_plain_line_and_passes_it_on") {
        return;
    }
    assert!(EXCEPT.iter().all(|(except, why)| {
        !why.is_empty() && TRANSCRIPTS.iter().any(|(name, _)| name == except)
    }));
    let mut herd = Herd::of_year("2023");
    let old = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("Old={}", old.local_addr().unwrap());
    herd.start_twin("Bona", &["--plain-peer", &address]);
    let told = "AT Older -1.5e-05 kiwi +34.068930-118.445127 1520023934.9";
    let mut teller = herd.connect("Bona");
    teller.send(format!("AT Old +0.5 x +91-1 7\n{told}\n{told}\n"));
    assert_eq!(teller.line(), b"? AT Old +0.5 x +91-1 7\n");
    assert_eq!(herd.held("Bona", "kiwi"), Some(told.to_owned()));
    assert!(teller.is_silent());

    let mut hearing = Client::of(old.accept().unwrap().0);
    assert_eq!(hearing.line(), format!("{told}\n").as_bytes());
    let kiwi = herd.report("Bona", "kiwi", "+1-1", "1520023935");
    assert_eq!(hearing.line(), format!("{kiwi}\n").as_bytes(), "and not the same one twice");
    drop(hearing);
    herd.until_logged("Bona", "Old is lost");
    herd.until_logged("Bona", "<- b'AT Older");
    // A link that comes up is told what is held.
    let mut again = Client::of(old.accept().unwrap().0);
    assert_eq!(again.line(), format!("{kiwi}\n").as_bytes());
}

/// Goal: WHATSAT by way of a service is cut, and its failure is reported; while it hangs, nobody
/// but those behind the question waits. Method: `FakePlaces`, and a second client meanwhile.
#[test]
fn a_twin_asks_a_service_in_a_thread() {
    if lacks_python("a_twin_asks_a_service_in_a_thread") {
        return;
    }
    let fake = FakePlaces::start();
    let mut herd = Herd::of_year("2023");
    herd.start_twin("Bona", &["--places-url", &fake.url()]);
    let kiwi = herd.report("Bona", "kiwi", "+34.0-118.0", "7");
    let mut client = herd.connect("Bona");
    let answer = |client: &mut Client| -> Value {
        assert_eq!(client.line(), format!("{kiwi}\n").as_bytes());
        serde_json::from_slice(&client.through(b"\n\n")).unwrap()
    };
    let two = r#"{"results":[{"name":"A\n\n"},{"name":"Käse"}],"status":"OK","more":1}"#;
    for (bound, kept) in [(0, 0), (1, 1), (2, 2), (20, 2)] {
        client.send(format!("WHATSAT kiwi 10.5 {bound}\n"));
        let call = fake.call();
        assert_eq!((call.query("location"), call.query("radius")), ("34.0%2C-118.0", "10500"));
        call.answer("200 OK", two);
        let seen = answer(&mut client);
        assert_eq!(seen["results"].as_array().unwrap().len(), kept);
        assert_eq!((&seen["status"], &seen["more"]), (&"OK".into(), &1.into()));
    }
    let replies = [("500 Internal Server Error", two), ("200 OK", "{ not JSON"), ("200 OK", "[]")];
    for (code, body) in replies {
        client.send("WHATSAT kiwi 10 5\n");
        fake.call().answer(code, body);
        assert_eq!(answer(&mut client)["status"], "UNKNOWN_ERROR", "{body}");
    }

    client.send("WHATSAT kiwi 10 5\nIAMAT behind +1-1 7\n");
    let call = fake.call();
    herd.report("Bona", "other", "+1-1", "7");
    assert_eq!(herd.held("Bona", "behind"), None, "what is behind a question waits with it");
    let silent = thread::spawn(|| call.keep_silent());
    assert_eq!(answer(&mut client)["status"], "UNKNOWN_ERROR");
    assert!(client.line().starts_with(b"AT Bona "));
    silent.join().unwrap();
}

/// Method: the twin is stopped, so that all have to wait in the kernel. Where that is full, a
/// client would knock until its patience ends.
#[test]
fn a_crowd_may_wait_at_the_twins_door() {
    if lacks_python("a_crowd_may_wait_at_the_twins_door") {
        return;
    }
    let mut herd = Herd::of_year("2023");
    herd.start_twin("Bona", &[]);
    herd.signal("Bona", Signal::STOP);
    let address = ([127, 0, 0, 1], herd.port("Bona")).into();
    let come = |_| TcpStream::connect_timeout(&address, Duration::from_secs(5));
    // macOS allows 128, whatever is asked for.
    let crowd = if cfg!(target_os = "linux") { 500 } else { 100 };
    let arrived: Result<Vec<_>, _> = (0..crowd).map(come).collect();
    herd.signal("Bona", Signal::CONT);
    for (at, stream) in arrived.unwrap().into_iter().enumerate() {
        let answer = Client::of(stream).ask(&format!("IAMAT kiwi-{at} +1-1 7"));
        assert!(answer.starts_with("AT Bona "), "{answer}");
    }
}

/// The twin is made to be read: it compiles, it is short, it knows our herds, and its margin notes
/// lead somewhere.
#[test]
fn the_twin_is_fit_to_be_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(SOURCE)).unwrap();
    assert!(text.lines().count() < 350);
    for line in text.lines() {
        assert!(line.chars().count() <= 100 && line.trim_end() == line, "{line:?}");
    }
    for preset in &PRESETS {
        let place = |name: &str| preset.servers.iter().position(|other| *other == name).unwrap();
        let links: Vec<_> = preset
            .links
            .iter()
            .map(|(one, other)| format!("{}{}", place(one), place(other)))
            .collect();
        let (servers, links) = (preset.servers.join(" "), links.join(" "));
        let row = format!("    \"{}\": (\"{servers}\", \"{links}\"),\n", preset.year);
        assert!(text.contains(&row), "{row}");
    }
    let book = fs::read_to_string(root.join("NOTES.md")).unwrap();
    let notes: Vec<_> = text.split("NOTES ").skip(1).collect();
    assert!(notes.len() >= 15);
    for note in notes {
        let (chapter, _) = note.split_once(':').unwrap();
        assert!(book.contains(&format!("\n## {chapter}. ")), "there is no chapter {chapter}");
    }
    if lacks_python("the_twin_is_fit_to_be_read") {
        return;
    }
    let compile = "import pathlib, sys; path = sys.argv[1]; \
                   compile(pathlib.Path(path).read_text(encoding='utf-8'), path, 'exec')";
    let mut python = Command::new("python3");
    python.args(["-W", "error", "-c", compile, SOURCE]).current_dir(root);
    assert!(python.status().unwrap().success());
}
