//! The copy of the tree that has all bugs, each behind a switch. Here texts are put together and
//! nothing runs.
//!
//! A switch is the environment variable `MUTANT`: it names the bug that is on, and without it the
//! copy does what the tree does. So one build serves all of them. What a file needs for its
//! switches is within it; so no other file has to know, in any crate or language.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Mutant, MutationError};

/// The variable that names the bug that is on.
pub const SWITCH: &str = "MUTANT";

/// What is at the top of a checkout and no part of the tree: what git keeps, what cargo builds (in
/// `target`, or the directory that is configured instead), and what a herd leaves.
fn is_left_out(name: &str) -> bool {
    name.starts_with("target") || [".git", "run", "log"].contains(&name)
}

/// Makes `to` a copy of the tree at `from`, with the edits of these mutants. What is the same
/// already is not touched, so that cargo need not build it again.
///
/// # Errors
/// A mutant does not fit its file, or a file cannot be read or written.
pub fn make(from: &Path, to: &Path, mutants: &[Mutant]) -> Result<(), MutationError> {
    let edited = edited_files(from, mutants)?;
    copy_folder(from, to, Path::new(""), &edited)
        .map_err(|error| MutationError::System(format!("copy the tree to {}", to.display()), error))
}

/// What the copy has of each file that one of these mutants edits.
///
/// # Errors
/// A mutant does not fit its file, or that cannot be read.
pub fn edited_files(
    root: &Path,
    mutants: &[Mutant],
) -> Result<BTreeMap<PathBuf, String>, MutationError> {
    let mut edits = BTreeMap::<&str, Vec<&Mutant>>::new();
    for mutant in mutants {
        edits.entry(&mutant.edit.file).or_default().push(mutant);
    }
    let edited = edits.into_iter().map(|(file, mutants)| {
        let path = root.join(file);
        let text = fs::read_to_string(&path)
            .map_err(|error| MutationError::System(format!("read {}", path.display()), error))?;
        Ok((PathBuf::from(file), switched_text(&text, &mutants)?))
    });
    edited.collect()
}

/// Copies the folder that is called `below` in both trees.
fn copy_folder(
    from: &Path,
    to: &Path,
    below: &Path,
    edited: &BTreeMap<PathBuf, String>,
) -> io::Result<()> {
    fs::create_dir_all(to.join(below))?;
    let mut kept = BTreeSet::new();
    for entry in fs::read_dir(from.join(below))? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if below.as_os_str().is_empty() && is_left_out(&name.to_string_lossy()) {
            continue;
        }
        let path = below.join(&name);
        if kind.is_dir() {
            copy_folder(from, to, &path, edited)?;
        } else if kind.is_file() {
            let text = match edited.get(&path) {
                Some(text) => text.clone().into_bytes(),
                None => fs::read(entry.path())?,
            };
            copy_file(&text, &to.join(&path), entry.metadata()?.permissions())?;
        } else {
            continue;
        }
        kept.insert(name);
    }
    // Cargo must not find what the tree no longer has.
    for entry in fs::read_dir(to.join(below))? {
        let entry = entry?;
        if !kept.contains(&entry.file_name()) {
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

fn copy_file(text: &[u8], to: &Path, permissions: fs::Permissions) -> io::Result<()> {
    if fs::read(to).is_ok_and(|there| there == text) {
        return Ok(());
    }
    fs::write(to, text)?;
    fs::set_permissions(to, permissions)
}

/// The text of a file with all these mutants in it.
fn switched_text(text: &str, mutants: &[&Mutant]) -> Result<String, MutationError> {
    let mut places = BTreeMap::<(usize, usize), Vec<&Mutant>>::new();
    for mutant in mutants {
        let Range { start, end } = mutant.edit.place(text).map_err(|why| mutant.unsound(why))?;
        places.entry((start, end)).or_default().push(mutant);
    }
    let mut switched = String::with_capacity(2 * text.len());
    let mut copied = 0;
    for ((start, end), mutants) in places {
        if start < copied {
            return Err(mutants[0].unsound("it overlaps the edit of another bug"));
        }
        switched.push_str(&text[copied..start]);
        switched.push_str(&chosen(&text[start..end], &mutants));
        copied = end;
    }
    switched.push_str(&text[copied..]);
    Ok(switched)
}

/// The text in the place of `old`: the choice between it and what these mutants have instead.
fn chosen(old: &str, mutants: &[&Mutant]) -> String {
    if mutants[0].edit.file.ends_with(".sh") {
        return chosen_by_shell(old, mutants);
    }
    let mut choice = String::new();
    for mutant in mutants {
        let (name, new) = (&mutant.name, &mutant.edit.new);
        choice += &format!(
            "if {{ static IS_ON: ::std::sync::LazyLock<bool> = ::std::sync::LazyLock::new(|| \
             ::std::env::var_os(\"{SWITCH}\").is_some_and(|name| name == \"{name}\")); *IS_ON }} \
             {{ {new} }} else "
        );
    }
    choice += &format!("{{ {old} }}");
    // Statements stay statements; an expression stays one operand among others.
    if old.trim_end().ends_with([';', '}']) { choice } else { format!("({choice})") }
}

fn chosen_by_shell(old: &str, mutants: &[&Mutant]) -> String {
    let mut choice = String::new();
    for mutant in mutants {
        let (name, new) = (&mutant.name, &mutant.edit.new);
        choice += &format!("if [ \"${{{SWITCH}-}}\" = {name} ]; then\n{new}\nel");
    }
    choice + &format!("se\n{old}\nfi")
}

#[cfg(test)]
mod tests {
    use super::super::{Edit, Expected};
    use super::*;

    fn mutant(name: &str, file: &str, old: &str, new: &str) -> Mutant {
        let [file, old, new] = [file, old, new].map(str::to_owned);
        Mutant {
            name: name.to_owned(),
            what: String::new(),
            chapter: 1,
            expected: Expected::Broken(Vec::new()),
            is_on_engine: false,
            edit: Edit { file, at: None, old, new },
        }
    }

    #[test]
    fn several_bugs_may_stand_in_one_place() {
        let mutants = [
            mutant("One", "a.sh", "echo b", "echo 1"),
            mutant("Two", "a.sh", "echo b", "echo 2"),
            mutant("Three", "a.sh", "echo c", ":"),
        ];
        let all = Vec::from_iter(&mutants);
        let switched = switched_text("echo a\necho b\necho c\n", &all).unwrap();
        let expected = "echo a\n\
            if [ \"${MUTANT-}\" = One ]; then\necho 1\n\
            elif [ \"${MUTANT-}\" = Two ]; then\necho 2\n\
            else\necho b\nfi\n\
            if [ \"${MUTANT-}\" = Three ]; then\n:\nelse\necho c\nfi\n";
        assert_eq!(switched, expected);
    }

    #[test]
    fn what_overlaps_or_is_not_found_once_is_refused() {
        let check = |old: &str, complaint: &str| {
            let mutants = [mutant("One", "a.rs", "a + b", "a"), mutant("Two", "a.rs", old, "")];
            let error = switched_text("a + b; c; c", &Vec::from_iter(&mutants)).unwrap_err();
            assert!(error.to_string().contains(complaint), "{old}: {error}");
        };
        check("b; c", "overlaps");
        check("c", "`c` is found 2 times");
        check("d", "`d` is found 0 times");
    }

    #[test]
    fn an_expression_stays_one_operand_and_a_statement_one() {
        let check = |old: &str, begin: &str, end: &str| {
            let mutant = mutant("One", "a.rs", old, "x");
            let chosen = chosen(old, &[&mutant]);
            assert!(chosen.starts_with(begin) && chosen.ends_with(end), "{chosen}");
        };
        check("a + b", "(if {", "{ x } else { a + b })");
        check("a();", "if {", "{ x } else { a(); }");
    }

    #[test]
    fn a_copy_follows_its_tree() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["tree", "target/copy"].map(|name| dir.path().join(name));
        fs::create_dir_all(from.join("src/old")).unwrap();
        fs::create_dir_all(from.join("target")).unwrap();
        fs::write(from.join("src/a.sh"), "echo a\n").unwrap();
        fs::write(from.join("src/old/b"), "b").unwrap();
        let mutants = [mutant("One", "src/a.sh", "echo a", "echo b")];
        make(&from, &to, &mutants).unwrap();
        assert!(fs::read_to_string(to.join("src/a.sh")).unwrap().contains("echo b"));
        assert!(to.join("src/old/b").exists() && !to.join("target").exists());
        let written = fs::metadata(to.join("src/old/b")).unwrap().modified().unwrap();
        make(&from, &to, &[]).unwrap();
        assert_eq!(fs::read_to_string(to.join("src/a.sh")).unwrap(), "echo a\n");
        let there = fs::metadata(to.join("src/old/b")).unwrap().modified().unwrap();
        assert_eq!(there, written, "what is the same is left as it is");
        fs::remove_dir_all(from.join("src/old")).unwrap();
        make(&from, &to, &mutants).unwrap();
        assert!(!to.join("src/old").exists());
    }
}
