//! The wire, rule by rule: the transcripts of `common::transcripts` at every server of a herd of
//! ours, and what the configuration changes. What the loop does under load is in `reactor`, the
//! herd's agreement in `herd`, the same transcripts said to another make in `twin`.
//!
//! The rules are those of src/core/PROTOCOL.md. Tests of all rings name the rules that they check,
//! as in "PROTOCOL 1.4, 1.5", and the last test here looks that no rule is without one.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use common::Herd;
use common::transcripts::{self, TRANSCRIPTS};
use herd::config::herd::LOOPBACK;
use herd::config::presets::{BASE_PORT, herd};
use herd::status::Status;
use herd_core::presets::PRESETS;

/// The servers that the tests of this file share: started by the first, ended by the last.
fn five() -> Arc<Herd> {
    static SHARED: Mutex<Weak<Herd>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    shared.upgrade().unwrap_or_else(|| {
        let herd = Arc::new(Herd::running("2023", &[]));
        *shared = Arc::downgrade(&herd);
        herd
    })
}

macro_rules! say {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            transcripts::$name(&five());
        })*

        #[test]
        fn every_transcript_is_said() {
            let said = [$(stringify!($name),)*];
            assert!(TRANSCRIPTS.iter().map(|(name, _)| *name).eq(said));
        }
    };
}

say! {
    every_line_is_answered_by_the_rules,
    the_last_line_needs_no_newline,
    lines_have_a_longest,
    skews_are_exact,
    an_older_report_replaces_nothing,
    equal_times_are_settled_everywhere_alike,
    a_question_never_overtakes_the_report_before_it,
    one_read_gets_the_whole_answer,
    clients_cannot_speak_as_servers,
    the_server_speaks_when_spoken_to,
}

// ---- what the configuration changes ----

/// PROTOCOL 2.11.
#[test]
fn stale_reports_may_be_answered_with_what_is_stored() {
    let herd = Herd::of_one("[answers]\nstale_reply = \"stored\"\n", common::PLACELESS);
    let newest = herd.report("Hill", "kiwi", "+1-1", "8");
    assert_eq!(herd.report("Hill", "kiwi", "+2-2", "7"), newest);
    assert_eq!(herd.held("Hill", "kiwi"), Some(newest));
    let newer = herd.report("Hill", "kiwi", "+3-3", "9");
    assert!(newer.ends_with(" kiwi +3-3 9"), "{newer}");
}

/// PROTOCOL 1.12.
#[test]
fn the_first_answer_may_be_the_last() {
    let herd = Herd::of_one("[answers]\nclose_after_reply = true\n", &[]);
    herd.report("Hill", "kiwi", "-48.8767-123.3933", "8");
    for (line, start) in [
        ("IAMAT kiwi +1-1 7\n", "AT Hill "),
        ("WHATSAT kiwi 10 5\n", "AT Hill "),
        ("NOPE\n", "? NOPE\n"),
        ("\n \r\n\nNOPE\n", "? NOPE\n"),
    ] {
        // What comes behind is neither answered nor taken.
        for more in ["", "IAMAT late +1-1 7\nNOPE\n", "no newline"] {
            let mut client = herd.connect("Hill");
            client.send([line, more].concat());
            let heard = String::from_utf8(client.rest()).unwrap();
            assert!(heard.starts_with(start), "{line:?}: {heard:?}");
            let answers = if line.starts_with("WHATSAT") {
                heard.matches("\n\n").count()
            } else {
                heard.lines().count()
            };
            assert_eq!(answers, 1, "{line:?}: {heard:?}");
        }
    }
    assert_eq!(herd.held("Hill", "late"), None);
}

// ---- beside the wire of clients ----

/// PROTOCOL 13.1.
#[test]
fn the_admin_socket_answers_one_line() {
    let herd = five();
    for line in ["status\n", "\n", "help\n", "status", "status\nstatus\n"] {
        let mut socket = UnixStream::connect(herd.path("run/Bona.sock")).unwrap();
        socket.set_read_timeout(Some(common::TIMEOUT)).unwrap();
        socket.write_all(line.as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let status: Status = serde_json::from_str(&answer).unwrap();
        assert_eq!((status.name.as_str(), answer.matches('\n').count()), ("Bona", 1), "{line:?}");
    }
}

/// PROTOCOL 14.1.
#[test]
fn the_courses_herds_are_those_of_the_protocol() {
    let rows = PRESETS.iter().map(|preset| {
        let years = [Some(preset.year), preset.alias];
        let years = years.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let herd = herd(preset, LOOPBACK, BASE_PORT);
        let links = herd.links.iter().map(|link| format!("{}–{}", link.dials, link.accepts));
        let links = links.collect::<Vec<_>>().join(", ");
        format!("| {years} | {} | {links} |\n", herd.names().replace(',', ""))
    });
    let (_, table) = protocol()
        .split_once("| year | servers, in order | links |\n|---|---|---|\n")
        .map(|(before, table)| (before.to_owned(), table.to_owned()))
        .unwrap();
    assert!(table.starts_with(&rows.collect::<String>()), "{table}");
}

// ---- the rules ----

fn protocol() -> String {
    fs::read_to_string(root().join("src/core/PROTOCOL.md")).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The number of a rule: its section, and its place there.
type Rule = (usize, usize);

fn parse(number: &str) -> Option<Rule> {
    let (section, place) = number.split_once('.')?;
    Some((section.parse().ok()?, place.parse().ok()?))
}

/// The rules that a text names behind the word, with commas between them.
fn cited(text: &str) -> Vec<Rule> {
    let lists = text.split("PROTOCOL ").skip(1).map(|rest| {
        let is_list = |c: char| c.is_ascii_digit() || ".,\n /".contains(c);
        rest.split(|c| !is_list(c)).next().unwrap_or_default()
    });
    let clean = |number: &str| number.trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
    lists.flat_map(|list| list.split(',').map(clean).map_while(|number| parse(&number))).collect()
}

/// All sources below a folder.
fn sources(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_source = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    files.into_iter().filter(is_source).chain(folders.into_iter().flat_map(sources)).collect()
}

/// Goal: the numbers have no gaps, none is cited that is not there, and each rule is checked by a
/// test that says so. Method: tests are the folder `tests`, and below `src` what follows
/// `cfg(test)` and files called tests.rs.
#[test]
fn every_rule_has_a_test() {
    let text = protocol();
    let rules: Vec<_> = text
        .lines()
        .filter_map(|line| parse(line.strip_prefix("**")?.split("**").next()?))
        .collect();
    let sections: BTreeSet<_> = rules.iter().map(|(section, _)| *section).collect();
    let numbers = sections.iter().flat_map(|&section| {
        let count = rules.iter().filter(|rule| rule.0 == section).count();
        (1..=count).map(move |place| (section, place))
    });
    assert_eq!(rules, Vec::from_iter(numbers));
    assert!(sections.iter().copied().eq(1..=sections.len()));

    let mut tested = BTreeSet::new();
    let all = sources(root().join("tests")).into_iter().chain(sources(root().join("src")));
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        for rule in cited(&text) {
            assert!(rules.contains(&rule), "{}: there is no rule {rule:?}", path.display());
        }
        let is_in_tests = path.components().any(|folder| folder.as_os_str() == "tests");
        let is_test = is_in_tests || path.ends_with("tests.rs");
        let begin = if is_test { Some(0) } else { text.find("#[cfg(test)]") };
        tested.extend(cited(&text[begin.unwrap_or(text.len())..]));
    }
    let untested: Vec<_> = rules.iter().filter(|rule| !tested.contains(rule)).collect();
    assert!(untested.is_empty(), "no test cites these: {untested:?}");
}

#[test]
fn citations_are_read_as_they_are_written() {
    let check = |text: &str, rules: &[Rule]| assert_eq!(cited(text), rules, "{text}");
    // Else these would be citations themselves.
    let word = "PROTOCOL";
    check(&format!("/// Goal. {word} 1.4, 1.5."), &[(1, 4), (1, 5)]);
    check(&format!("// {word} 10.2: a; {word} 9.1 and more, 3"), &[(10, 2), (9, 1)]);
    check(&format!("{word}.md says so"), &[]);
}
