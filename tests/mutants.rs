//! The planted bugs, without planting one: each fits the tree as it is, names those who must notice
//! it, and stands in the book. That they do notice, `herd mutants` shows, which has to build a copy
//! of the tree for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use herd_sim::invariants::Invariant;
use herd_teach::mutation::{Expected, FOLDER, Mutant, Test, copy, read_all};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn mutants() -> Vec<Mutant> {
    read_all(root()).unwrap()
}

#[test]
fn each_edit_fits_the_tree() {
    let mutants = mutants();
    let edited = copy::edited_files(root(), &mutants).unwrap();
    assert!(!edited.is_empty());
    for Mutant { name, edit, .. } in &mutants {
        assert!(name.chars().all(char::is_alphanumeric), "{name} is no name");
        assert_ne!(edit.old, edit.new, "{name} changes nothing");
        // Who looks for bugs must have none of his own.
        let is_shipped = ["src/sim/", "src/teach/", "tests/", "benches/"];
        assert!(!is_shipped.iter().any(|place| edit.file.starts_with(place)), "{name}");
    }
}

#[test]
fn each_bug_has_somebody_who_notices_it() {
    let promises = BTreeSet::from(Invariant::ALL.map(Invariant::name));
    for Mutant { name, expected, .. } in mutants() {
        match expected {
            Expected::Broken(broken) => {
                assert!(!broken.is_empty(), "{name} breaks nothing");
                let unknown = broken.iter().find(|name| !promises.contains(name.as_str()));
                assert_eq!(unknown, None, "{name}");
            }
            Expected::Red(Test { file, name: test }) => {
                let tests = read(&file);
                let (before, _) = tests.split_once(&format!("fn {test}(")).unwrap_or_default();
                let attributes = before.rsplit("\n\n").next().unwrap();
                assert!(attributes.contains("#[test]"), "{name}: {file} has no {test}");
            }
        }
    }
}

/// Goal: the list in chapter 17 is that of the files, and says of each bug what its file says.
#[test]
fn the_book_has_each_bug() {
    let book = read("NOTES.md");
    let (_, list) = book.split_once("\n### Planted bugs\n").unwrap();
    let list = list.split("\n## ").next().unwrap();
    let mut rows = BTreeMap::new();
    for row in list.lines().filter(|line| line.starts_with("| `")) {
        let row = row.replace('`', "");
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, what, found, _, chapter] = cells[..] else { panic!("{row}") };
        let row = [what, found, chapter].map(str::to_owned);
        assert_eq!(rows.insert(name.to_owned(), row), None, "{name} is there twice");
    }
    for Mutant { name, what, chapter, expected, .. } in mutants() {
        let Some([told, found, cited]) = rows.remove(&name) else {
            panic!("NOTES.md lacks {name}");
        };
        assert_eq!((told, cited), (what, chapter.to_string()), "{name}");
        assert!(book.contains(&format!("\n## {chapter}. ")), "{name}: there is no such chapter");
        match expected {
            Expected::Broken(promises) => assert!(promises.contains(&found), "{name}: {found}"),
            Expected::Red(test) => assert_eq!(found, test.name, "{name}"),
        }
    }
    assert!(rows.is_empty(), "{FOLDER} lacks {:?}", rows.keys());
}

/// Goal: a reader who is sent to a planted bug finds it.
#[test]
fn who_names_a_bug_names_one_that_is_there() {
    let names: BTreeSet<_> = mutants().into_iter().map(|mutant| mutant.name).collect();
    let mut named = 0;
    let mut folders = vec![root().join("src")];
    let mut texts = vec![read("NOTES.md"), read("README.md")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("rs" | "md") => texts.push(fs::read_to_string(path).unwrap()),
                _ => {}
            }
        }
    }
    for text in texts {
        for begin in ["planted bug `", "herd mutants "] {
            for rest in text.split(begin).skip(1) {
                let name = rest.split(|c: char| !c.is_alphanumeric()).next().unwrap();
                let is_name = name.starts_with(char::is_uppercase) && name.len() > 4;
                assert!(!is_name || names.contains(name), "there is no bug {name}");
                named += usize::from(is_name);
            }
        }
    }
    assert!(named > 0, "somebody is sent to a bug");
}
