//! What the documents say of the sources, as far as a machine can see it: names, files, tests and
//! messages that they cite are there. Apart from the rest because it reads texts for people.

use std::fs;
use std::path::Path;

use super::{Source, everything, is_word, sources, words};

const DOCUMENTS: [&str; 10] = [
    "README.md",
    "NOTES.md",
    "src/core/PROTOCOL.md",
    "src/herd/CLIENTS.md",
    "src/herd/PRODUCTION.md",
    "src/herd/COURSE.md",
    "src/herd/SCALE.md",
    "src/herd/config/SETTINGS.md",
    "src/herd/places/README.md",
    "benches/README.md",
];

/// Every name with `::` that a document or the lab cites stands in one of our other sources, or is
/// a library's.
#[test]
fn documents_cite_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libraries = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let is_foreign = |name: &str| {
        name == "std" || libraries.lines().any(|line| line.starts_with(&format!("{name} = ")))
    };
    let sources = sources(&["src"]);
    let knows = |source: &Source, name: &str| {
        words(&source.path).chain(words(&source.text)).any(|word| word == name)
    };
    let (lab, sources): (Vec<_>, Vec<_>) =
        sources.into_iter().partition(|source| source.is_in("src/teach/lab/"));
    let lab = lab.iter().map(|source| source.path.as_str());
    for document in DOCUMENTS.into_iter().chain(lab) {
        let text = fs::read_to_string(root.join(document)).unwrap();
        for cited in text.split('`').skip(1).step_by(2).filter(|cited| cited.contains("::")) {
            let is_path = cited.trim_end_matches("()").chars().all(|c| is_word(c) || c == ':');
            let names: Vec<_> = words(cited).collect();
            if !is_path || is_foreign(names[0]) {
                continue;
            }
            let is_there =
                sources.iter().any(|source| names.iter().all(|name| knows(source, name)));
            assert!(is_there, "{document} cites `{cited}`, which is not there");
        }
    }
}

/// A file that a document names is there, and each step of chapter 19 is in a file of its row.
#[test]
fn documents_name_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let spans = |text: &str| -> Vec<String> {
        text.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " ")).collect()
    };
    for document in DOCUMENTS {
        for path in spans(&read(document)) {
            let is_path = ["src/", "tests/", "benches/"].iter().any(|top| path.starts_with(top));
            let is_there = !is_path || root.join(path.split(' ').next().unwrap()).exists();
            assert!(is_there, "{document} names `{path}`, which is not there");
        }
    }
    let book = read("NOTES.md");
    let (_, journeys) = book.split_once("\n## 19. ").unwrap();
    let (journeys, _) = journeys.split_once("\n## ").unwrap();
    let rows: Vec<_> = journeys.lines().filter(|line| line.ends_with(".rs` |")).collect();
    assert!(rows.len() > 25);
    for row in rows {
        let cells: Vec<_> = row.split(" | ").collect();
        let [step, functions, files] = cells[..] else { panic!("{row} has three cells") };
        let texts: Vec<_> = spans(files).iter().map(|file| read(&format!("src/{file}"))).collect();
        for function in spans(functions) {
            let name = function.rsplit("::").next().unwrap();
            let is_there = texts.iter().any(|text| words(text).any(|word| word == name));
            assert!(is_there, "{step}: `{function}` is not in {files}");
        }
    }
}

/// The operator's page has a row for each exit code, and for no other.
#[test]
fn every_exit_code_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let page = read("src/herd/PRODUCTION.md");
    let (_, rows) = page.split_once("\n## Exit codes\n").unwrap();
    let (rows, _) = rows.split_once("\n## ").unwrap();
    let rows = rows.lines().filter_map(|row| row.strip_prefix("| ")?.split(' ').next());
    let explained: Vec<u8> = rows.filter_map(|code| code.parse().ok()).collect();
    let source = read("src/herd/cmd/exit.rs");
    let codes = source.lines().filter_map(|line| line.strip_suffix(',')?.split_once(" = "));
    let codes: Vec<u8> = codes.filter_map(|(_, code)| code.parse().ok()).collect();
    assert!(codes.len() > 5);
    assert_eq!(explained, codes);
}

/// The messages that README's table of troubles explains are messages of ours.
#[test]
fn messages_are_cited_as_they_are() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, troubles) = text.split_once("\n## When something is wrong\n").unwrap();
    let (troubles, _) = troubles.split_once("\n## ").unwrap();
    let rows: Vec<_> = troubles.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    assert!(rows.len() >= 10, "{troubles}");
    // A message may be broken over two lines of its source.
    let in_one_line =
        |text: &str| text.replace('\\', "").split_whitespace().collect::<Vec<_>>().join(" ");
    let sources: Vec<_> =
        sources(&["src"]).iter().map(|source| in_one_line(&source.text)).collect();
    for message in rows.iter().filter_map(|row| row.split('`').next()) {
        let is_there = sources.iter().any(|source| source.contains(message));
        assert!(is_there || message.starts_with("? "), "no source says `{message}`");
    }
}

/// Each broken line of chapter 17 makes a test or a transcript go red: there must be one
/// of that name.
#[test]
fn exercises_name_tests_that_exist() {
    let book = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("NOTES.md")).unwrap();
    let (_, exercises) = book.split_once("\n## 17. ").unwrap();
    let (table, _) = exercises.split_once("\n### ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let names = rows.flat_map(|row| row.split(" | ").nth(2).unwrap().split('`').skip(1).step_by(2));
    let names = Vec::from_iter(names);
    assert!(!names.is_empty());
    let sources = everything();
    for name in names {
        let test = format!("fn {name}(");
        let is_there = sources.iter().any(|source| source.text.contains(&test));
        assert!(is_there, "there is no test `{name}`");
    }
}
