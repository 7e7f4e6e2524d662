//! `herd journal`: looks at the files of a journal, without a server. That changes nothing, so it
//! may be done while a server writes. What makes a journal is in `rebuild`, and what a running
//! server does with its own in `orders`.

pub mod orders;
pub mod rebuild;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use herd::journal::load::{LoadError, Loaded, Whose, load};
use herd::journal::segments;
use herd_core::journal::load::Found;
use herd_core::store::{HashKeys, Store};
use herd_core::wire::Report;
use serde_json::json;

use super::exit::{Exit, Failure};

/// Says whether journals are whole, and what they hold. `dir` is that of a server, or one with a
/// journal for each server.
///
/// # Errors
/// One is damaged, is of a later version or cannot be read, or there is none.
pub fn check(out: &mut impl Write, dir: &Path, as_json: bool) -> Result<Exit, Failure> {
    let mut is_whole = true;
    for dir in journals(dir)? {
        let (loaded, store) = read(&dir)?;
        is_whole &= loaded.findings.are_whole();
        let written = if as_json {
            write_json(out, &dir, &loaded, &store)
        } else {
            write_text(out, &dir, &loaded, &store)
        };
        written.map_err(|error| Failure::of_output(&error))?;
    }
    out.flush().map_err(|error| Failure::of_output(&error))?;
    if is_whole { Ok(Exit::Success) } else { Err(Failure::new(Exit::Failed, "")) }
}

/// Writes the newest report of each client as an AT line, in the order of the lines.
///
/// # Errors
/// A journal is of a later version or cannot be read, or there is none.
pub fn dump(out: &mut impl Write, dir: &Path) -> Result<Exit, Failure> {
    let mut store = new_store();
    for dir in journals(dir)? {
        read_into(&dir, &mut store)?;
    }
    let line = |report: Report<'_>| {
        let mut line = Vec::with_capacity(report.line_len());
        report.write_line(&mut line);
        line
    };
    let mut lines: Vec<_> = store.reports().map(line).collect();
    lines.sort_unstable();
    let written = lines.iter().try_for_each(|line| out.write_all(line)).and_then(|()| out.flush());
    written.map(|()| Exit::Success).map_err(|error| Failure::of_output(&error))
}

/// The directory itself if there are segments in it, else those in it that have some.
fn journals(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error| LoadError::Unreadable { path: dir.to_owned(), error };
    let has_segments = |dir: &Path| segments(dir).is_ok_and(|found| !found.is_empty());
    segments(dir).map_err(unreadable)?;
    if has_segments(dir) {
        return Ok(vec![dir.to_owned()]);
    }
    let entries = std::fs::read_dir(dir).map_err(unreadable)?;
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut found: Vec<_> = paths.filter(|path| path.is_dir() && has_segments(path)).collect();
    if found.is_empty() {
        let sentence =
            format!("there is no journal in {}: name the one of a server", dir.display());
        return Err(Failure::new(Exit::Config, sentence));
    }
    found.sort();
    Ok(found)
}

fn new_store() -> Store {
    Store::new(HashKeys { herd: (0, 0), process: (fastrand::u64(..), fastrand::u64(..)) })
}

fn read(dir: &Path) -> Result<(Loaded, Store), Failure> {
    let mut store = new_store();
    Ok((read_into(dir, &mut store)?, store))
}

fn read_into(dir: &Path, store: &mut Store) -> Result<Loaded, Failure> {
    Ok(load(dir, Whose::Anybodys, |found| take(store, found), |_| {})?)
}

/// Puts lines into a store. Else gives the one that is not of a report.
fn take<'a>(store: &mut Store, found: Found<'a>) -> Result<(), &'a [u8]> {
    found.each(|line| Report::of_line(line).map(|report| store.put(&report)).is_some())
}

fn write_text(out: &mut impl Write, dir: &Path, loaded: &Loaded, store: &Store) -> io::Result<()> {
    let Loaded { findings, owners, .. } = loaded;
    let whose = owners.first().map_or("unknown".to_owned(), |owner| {
        let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        format!("server {} of herd {}", shown(&owner.server), shown(&owner.herd))
    });
    writeln!(
        out,
        "{}: {whose}, {} clients, {} reports in {} segments, {} torn bytes",
        dir.display(),
        store.len(),
        findings.reports,
        findings.segments,
        findings.torn_bytes
    )?;
    for damage in &findings.damaged {
        writeln!(
            out,
            "  damaged: {}, bytes {} to {}",
            damage.id, damage.bytes.start, damage.bytes.end
        )?;
    }
    for segment in &findings.missing {
        writeln!(out, "  missing: {segment}")?;
    }
    Ok(())
}

fn write_json(out: &mut impl Write, dir: &Path, loaded: &Loaded, store: &Store) -> io::Result<()> {
    let Loaded { findings, owners, .. } = loaded;
    let owner = owners.first();
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let damaged = findings.damaged.iter().map(|damage| {
        json!({
            "segment": damage.id.to_string(),
            "from": damage.bytes.start,
            "to": damage.bytes.end,
        })
    });
    let page = json!({
        "dir": dir.display().to_string(),
        "herd": owner.map(|owner| shown(&owner.herd)),
        "server": owner.map(|owner| shown(&owner.server)),
        "whole": findings.are_whole(),
        "clients": store.len(),
        "reports": findings.reports,
        "segments": findings.segments,
        "torn_bytes": findings.torn_bytes,
        "damaged": damaged.collect::<Vec<_>>(),
        "missing": findings.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    writeln!(out, "{page}")
}
