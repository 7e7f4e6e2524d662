//! The lab, as a lecturer runs it: each experiment shows its effect, and the book and the list name
//! the same ones. What it shows are facts about Linux and mio, so this is also how the house
//! notices that one of them is not true any more.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::{fs, thread};

use common::skip;
use common::twin::have_python;

/// What a lecture hall can read.
const COLUMNS: usize = 80;
/// Experiments that run the twin, or a piece of asyncio beside it.
const PYTHON: &[&str] = &[
    "order",
    "executor",
    "trickle",
    "deadlock",
    "starvation",
    "followers",
    "start-tls",
    "server-close",
];

fn lab(arguments: &[&str]) -> (Option<i32>, String) {
    let mut herd = Command::new(env!("CARGO_BIN_EXE_herd"));
    let Output { status, stdout, stderr } = herd.arg("lab").args(arguments).output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The experiments and their chapters.
fn listed() -> BTreeMap<String, String> {
    let (code, list) = lab(&["--list"]);
    assert_eq!(code, Some(0), "{list}");
    assert_eq!(lab(&[]).1, list, "without a name they are listed");
    let is_narrow = |line: &str| line.chars().count() <= COLUMNS;
    assert!(list.lines().all(is_narrow), "{list}");
    let rows = list.lines().take_while(|line| !line.is_empty());
    let words = rows.map(|row| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words.map(|words| (words[0].clone(), words[1].clone())).collect()
}

fn check(name: &str, chapter: &str) {
    let (code, told) = lab(&[name]);
    if code == Some(69) && told.contains("needs a directory on a disk") {
        return skip("an experiment needs a directory on a disk: set TMPDIR to one");
    }
    assert_eq!(code, Some(0), "{told}");
    assert!(told.lines().any(|line| line == format!("NOTES, chapter {chapter}")), "{told}");
    assert!(told.contains("\nIn this house: "), "{told}");
    for line in told.lines() {
        assert!(line.chars().count() <= COLUMNS, "{name}: {line}");
    }
}

#[test]
fn each_experiment_shows_its_effect() {
    let mut listed = listed();
    if !cfg!(target_os = "linux") {
        skip("what the lab says about readiness is so on Linux");
        listed.retain(|name, _| PYTHON.contains(&name.as_str()));
    }
    if !have_python() {
        skip("some experiments need python3, 3.11 or later, which is missing here");
        listed.retain(|name, _| !PYTHON.contains(&name.as_str()));
    }
    // Most of them wait most of the time.
    let queue = Mutex::new(listed.into_iter());
    let next = || queue.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((name, chapter)) = next() {
                    check(&name, &chapter);
                }
            });
        }
    });
}

#[test]
fn the_book_and_the_list_name_the_same_experiments() {
    let book = read("NOTES.md");
    let listed = listed();
    // Where an experiment sends its reader, it is named.
    for (name, chapter) in &listed {
        let begin = book.find(&format!("\n## {chapter}. ")).unwrap();
        let text = book[begin + 1..].split("\n## ").next().unwrap();
        let is_named = text.contains(&format!("`herd lab {name}`"));
        assert!(is_named || text.contains(&format!("| `{name}` |")), "{name}: chapter {chapter}");
    }
    for cited in book.split("`herd lab ").skip(1) {
        let name = cited.split(['`', ' ']).next().unwrap();
        assert!(["NAME", "--list"].contains(&name) || listed.contains_key(name), "{name}");
    }
}

#[test]
fn a_missing_python_is_reported() {
    let mut herd = Command::new(env!("CARGO_BIN_EXE_herd"));
    let Output { status, stderr, .. } =
        herd.args(["lab", "order"]).env("PATH", "").output().unwrap();
    let complaint = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(69), "{complaint}");
    assert!(complaint.contains("needs python3") && complaint.lines().count() == 1, "{complaint}");
}

#[test]
fn an_experiment_that_is_not_there_is_named() {
    let (code, told) = lab(&["undrian"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("undrained"), "{told}");
}
