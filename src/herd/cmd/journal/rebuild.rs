//! `herd journal restore` and `herd journal adopt`: a journal for a server that does not run.

use std::io::{self, Read, Write};
use std::path::Path;

use herd::config::ConfigError;
use herd::journal::{DirectoryError, JournalError, rebuild, segments};
use herd_core::journal::writer::Owner;
use herd_core::store::Store;
use herd_core::wire::Report;

use super::super::exit::{Exit, Failure};
use super::super::flags::WhoseFlags;
use super::reading::{new_store, take, unreadable};

/// Makes a journal of AT lines, and says how to go on.
///
/// # Errors
/// The lines cannot be read or are not all reports, the directory is not empty or cannot be used,
/// or the server is none of the herd's.
pub fn restore(
    out: &mut impl Write,
    lines: &Path,
    dir: &Path,
    whose: &WhoseFlags,
) -> Result<Exit, Failure> {
    let owner = owner(dir, whose)?;
    let server = shown(&owner.server);
    let text = read(lines).map_err(|error| {
        let sentence = format!("{} cannot be read: {error}; name another file", lines.display());
        Failure::new(Exit::Config, sentence)
    })?;
    let store = store_of(&text, lines)?;
    rebuild::restore(dir, owner, &store).map_err(|error| without_server(dir, error))?;
    let sentence = format!(
        "{} is a journal of {server} with {} clients; start {server} with --keep written or synced",
        dir.display(),
        store.len()
    );
    say(out, &sentence)
}

/// Makes the journal of another server this server's, and says what has become of it.
///
/// # Errors
/// It is another herd's, a server writes it, or it cannot be used.
pub fn adopt(out: &mut impl Write, dir: &Path, whose: &WhoseFlags) -> Result<Exit, Failure> {
    let owner = owner(dir, whose)?;
    // Of what is no journal, none is made.
    if segments(dir).map_err(|error| unreadable(dir, error))?.is_empty() {
        let sentence =
            format!("there is no journal in {} itself: name the one of a server", dir.display());
        return Err(Failure::new(Exit::Config, sentence));
    }
    let server = shown(&owner.server);
    let mut store = new_store();
    let adopted = rebuild::adopt(dir, owner, &mut store, take);
    let place = dir.display();
    let Some(loaded) = adopted.map_err(|error| without_server(dir, error))? else {
        return say(out, &format!("{place} is a journal of {server} already: nothing is done"));
    };
    let from: Vec<_> = loaded.owners.iter().map(|owner| shown(&owner.server)).collect();
    let from = if from.is_empty() { "somebody".to_owned() } else { from.join(" and ") };
    let clients = store.len();
    let mut sentence = format!(
        "{place} is a journal of {server} now, with {clients} clients that {from} knew; the files \
         that {from} wrote are in {place}/aside"
    );
    if !loaded.findings.are_whole() {
        sentence += "; they are not whole, and peers must fill what is missing";
    }
    say(out, &sentence)
}

fn say(out: &mut impl Write, sentence: &str) -> Result<Exit, Failure> {
    let written = writeln!(out, "{sentence}").and_then(|()| out.flush());
    written.map(|()| Exit::Success).map_err(|error| Failure::of_output(&error))
}

/// Whose a journal is to be: a directory is named after its server.
fn owner(dir: &Path, whose: &WhoseFlags) -> Result<Owner, Failure> {
    let last = dir.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let Some(server) = whose.server.clone().or(last) else {
        let sentence = format!("{} names no server: say which with --server", dir.display());
        return Err(Failure::new(Exit::Usage, sentence));
    };
    let unknown = |error: ConfigError| {
        let sentence = match whose.server {
            Some(_) => error.to_string(),
            None => format!("{error}; {} names the server unless --server does", dir.display()),
        };
        Failure::new(Exit::Config, sentence)
    };
    let (herd, _) = whose.herd.which().herd(Some(&server)).map_err(unknown)?;
    Ok(Owner { herd: herd.id.into_bytes(), server: server.into_bytes() })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut text)?;
        return Ok(text);
    }
    std::fs::read(path)
}

/// The newest report of each client.
fn store_of(text: &[u8], path: &Path) -> Result<Store, Failure> {
    let mut store = new_store();
    for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        let report = Report::of_line(line).filter(|_| line.len() <= Store::REPORT_BYTES_MAX);
        match report {
            Some(report) => drop(store.put(&report)),
            None if line.is_empty() => {}
            None => {
                let sentence = format!(
                    "{}, line {}: {:?} is no AT line, so nothing was made: take it out, or mend it",
                    path.display(),
                    at + 1,
                    String::from_utf8_lossy(&line[..line.len().min(100)])
                );
                return Err(Failure::new(Exit::Config, sentence));
            }
        }
    }
    if store.is_empty() {
        let sentence = format!("there is no AT line in {}: name another file", path.display());
        return Err(Failure::new(Exit::Config, sentence));
    }
    Ok(store)
}

/// What a failure means where no server is to be started.
fn without_server(dir: &Path, error: JournalError) -> Failure {
    match error {
        JournalError::Directory(DirectoryError::Unusable { error, .. }) => {
            let sentence = format!(
                "no journal can be made in {}: {error}; name another directory",
                dir.display()
            );
            Failure::new(Exit::CannotCreate, sentence)
        }
        error => error.into(),
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
