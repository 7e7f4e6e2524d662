//! Which journals are meant by a directory, and what lies there: for commands that look. A server
//! may write, and remove files, meanwhile.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use herd::journal::load::{LoadError, Loaded, Whose, load};
use herd::journal::{is_kept_in, segments};
use herd_core::journal::load::Found;
use herd_core::store::{HashKeys, Store};
use herd_core::wire::Report;

use super::super::exit::{Exit, Failure};

/// How often a journal is read that seems to lack something: a server that goes on writing may have
/// removed a file, or be in the middle of a write.
const LOOKS: usize = 3;

/// The directory itself if a server keeps its journal there, else those in it in which one does.
///
/// # Errors
/// There is none, or it cannot be said because something cannot be read.
pub fn journals(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    if is_journal(dir)? {
        return Ok(vec![dir.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| unreadable(dir, error))? {
        let path = entry.map_err(|error| unreadable(dir, error))?.path();
        if path.is_dir() && is_journal(&path)? {
            found.push(path);
        }
    }
    if found.is_empty() {
        let sentence = format!(
            "there is no journal in {}: name the directory of a server's, or the one with all of \
             them",
            dir.display()
        );
        return Err(Failure::new(Exit::Config, sentence));
    }
    found.sort();
    Ok(found)
}

/// Whether a directory has files of a journal, or had some once.
fn is_journal(dir: &Path) -> Result<bool, Failure> {
    let found = segments(dir).map_err(|error| unreadable(dir, error))?;
    Ok(!found.is_empty() || is_kept_in(dir))
}

/// What lies in a directory of one server. `store` is given all reports.
///
/// # Errors
/// It is of a later version, or cannot be read.
pub fn read_into(dir: &Path, store: &mut Store) -> Result<Loaded, Failure> {
    let read = look_again(|| load(dir, Whose::Anybodys, |found| take(store, found), |_| {}));
    read.map_err(|error| match error {
        LoadError::Unreadable { path, error } => unreadable(&path, error),
        error => error.into(),
    })
}

/// Looks as often as something seems to be lost.
fn look_again(mut look: impl FnMut() -> Result<Loaded, LoadError>) -> Result<Loaded, LoadError> {
    for _ in 1..LOOKS {
        match look() {
            Ok(loaded) if !loaded.findings.are_whole() => {}
            Err(LoadError::Unreadable { error, .. }) if error.kind() == ErrorKind::NotFound => {}
            read => return read,
        }
    }
    look()
}

/// Knows nobody.
pub fn new_store() -> Store {
    Store::new(HashKeys { herd: (0, 0), process: (fastrand::u64(..), fastrand::u64(..)) })
}

/// Puts lines into a store. Else gives the one that is not of a report.
///
/// # Errors
/// That line.
pub fn take<'a>(store: &mut Store, found: Found<'a>) -> Result<(), &'a [u8]> {
    found.each(|line| Report::of_line(line).map(|report| store.put(&report)).is_some())
}

/// What may be done about a directory or a file that cannot be read.
pub fn unreadable(path: &Path, error: io::Error) -> Failure {
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound => Failure::new(
            Exit::Config,
            format!("there is nothing at {shown}: name the directory of a journal"),
        ),
        ErrorKind::NotADirectory => Failure::new(
            Exit::Config,
            format!("{shown} is a file: name the directory in which the files of a journal lie"),
        ),
        ErrorKind::PermissionDenied => Failure::new(
            Exit::NotAllowed,
            format!("{shown} may not be read by this user: look at it as its server's user"),
        ),
        _ => LoadError::Unreadable { path: path.to_owned(), error }.into(),
    }
}

#[cfg(test)]
mod tests {
    use herd_core::journal::load::Findings;
    use herd_core::journal::{JournalId, SegmentId};

    use super::*;

    /// Goal: a file that a server removes while its journal is read is not a loss, and what is gone
    /// for good is told.
    #[test]
    fn a_journal_that_changes_is_read_again() {
        let lacking = |missing| {
            let id = SegmentId { journal: JournalId(1), number: 1 };
            let findings = Findings { missing: vec![id; missing], ..Findings::default() };
            Ok(Loaded { findings, journal: None, owners: Vec::new() })
        };
        let failed = |kind: ErrorKind| {
            Err(LoadError::Unreadable { path: PathBuf::new(), error: kind.into() })
        };
        let looked = |looks: Vec<Result<Loaded, LoadError>>| {
            let mut looks = looks.into_iter();
            let read = look_again(|| looks.next().expect("it has looked enough"));
            (read.map(|loaded| loaded.findings.missing.len()).ok(), looks.len())
        };
        assert_eq!(looked(vec![failed(ErrorKind::NotFound), lacking(0), lacking(1)]), (Some(0), 1));
        assert_eq!(looked(vec![lacking(1), lacking(0), lacking(1)]), (Some(0), 1));
        assert_eq!(looked(vec![lacking(1), lacking(2), lacking(3)]), (Some(3), 0));
        assert_eq!(looked(vec![failed(ErrorKind::PermissionDenied), lacking(0)]), (None, 1));
        let is_gone = || failed(ErrorKind::NotFound);
        assert_eq!(looked(vec![is_gone(), is_gone(), is_gone(), lacking(0)]), (None, 1));
    }
}
