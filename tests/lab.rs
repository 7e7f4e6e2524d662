//! The lab, as a lecturer runs it: each experiment shows its effect, and the book and the list name
//! the same ones. What it shows are facts about Linux and mio, so this is also how the house
//! notices that one of them is not true any more.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::{fs, thread};

use common::skip;
use common::twin::have_python;

/// What a lecture hall can read.
const COLUMNS: usize = 80;
/// Experiments that run the twin, or a piece of asyncio beside it.
const PYTHON: &[&str] = &["order", "executor", "trickle", "deadlock", "starvation"];

fn lab(arguments: &[&str]) -> (Option<i32>, String) {
    let mut herd = Command::new(env!("CARGO_BIN_EXE_herd"));
    let Output { status, stdout, stderr } = herd.arg("lab").args(arguments).output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// The experiments and their chapters.
fn listed() -> BTreeMap<String, String> {
    let (code, list) = lab(&["--list"]);
    assert_eq!(code, Some(0), "{list}");
    assert_eq!(lab(&[]).1, list, "without a name they are listed");
    let rows = list.lines().take_while(|line| !line.is_empty());
    let words = rows.map(|row| row.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    words.map(|words| (words[0].clone(), words[1].clone())).collect()
}

fn check(name: &str, chapter: &str) {
    let (code, told) = lab(&[name]);
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
    for name in PYTHON {
        let chapter = listed.remove(*name).unwrap();
        match have_python() {
            true => check(name, &chapter),
            false => skip(&format!("`herd lab {name}` needs python3, 3.11 or later")),
        }
    }
    if !cfg!(target_os = "linux") {
        return skip("what the lab tells of readiness is told of Linux");
    }
    // Some wait for hundreds of milliseconds, so two at a time.
    let listed = Vec::from_iter(listed);
    let (some, others) = listed.split_at(listed.len() / 2);
    thread::scope(|scope| {
        for half in [some, others] {
            scope.spawn(move || half.iter().for_each(|(name, chapter)| check(name, chapter)));
        }
    });
}

#[test]
fn the_book_and_the_list_name_the_same_experiments() {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("NOTES.md");
    let book = fs::read_to_string(book).unwrap();
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
fn an_experiment_that_is_not_there_is_named() {
    let (code, told) = lab(&["undrian"]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("undrained"), "{told}");
}
