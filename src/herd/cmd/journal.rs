//! `herd journal`: looks at the files of a journal, without a server. That changes nothing, so it
//! may be done while a server writes. How they are found and read is in `reading`, what makes a
//! journal in `rebuild`, and what a running server does with its own in `orders`.

pub mod orders;
mod reading;
pub mod rebuild;

use std::io::{self, Write};
use std::path::Path;

use herd::journal::load::Loaded;
use herd_core::journal::writer::Owner;
use herd_core::store::Store;
use herd_core::wire::Report;
use serde_json::json;

use super::exit::{Exit, Failure};
use reading::{journals, new_store, read_into};

/// What becomes of a journal that is not whole.
const WAY_OUT: &str = "what is lost is on its peers: the server starts with the rest and fetches \
                       it; without peers, bring the files back from a copy";

/// Says whether journals are whole, and what they hold. `dir` is that of a server, or one with a
/// journal for each server. One that cannot be read hides none of the others.
///
/// # Errors
/// One is damaged, is of a later version or cannot be read, or there is none.
pub fn check(out: &mut impl Write, dir: &Path, as_json: bool) -> Result<Exit, Failure> {
    let (mut is_whole, mut failures) = (true, Vec::new());
    for dir in journals(dir)? {
        let mut store = new_store();
        let loaded = match read_into(&dir, &mut store) {
            Ok(loaded) => loaded,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        is_whole &= self::is_whole(&loaded);
        let written = if as_json {
            write_json(out, &dir, &loaded, &store)
        } else {
            write_text(out, &dir, &loaded, &store)
        };
        written.map_err(|error| Failure::of_output(&error))?;
    }
    out.flush().map_err(|error| Failure::of_output(&error))?;
    match failures.first() {
        Some(first) => {
            let messages = failures.iter().map(|failure| failure.message.as_str());
            Err(Failure::new(first.exit, Vec::from_iter(messages).join("\nherd: ")))
        }
        None if is_whole => Ok(Exit::Success),
        None => Err(Failure::new(Exit::Failed, "")),
    }
}

/// Writes the newest report of each client as an AT line, in the order of the lines. If something
/// was lost, it says so beside that.
///
/// # Errors
/// A journal is of a later version or cannot be read, they are of several herds, or there is none.
pub fn dump(out: &mut impl Write, dir: &Path) -> Result<Exit, Failure> {
    let (mut store, mut owners, mut lacking) = (new_store(), Vec::new(), Vec::new());
    for dir in journals(dir)? {
        let loaded = read_into(&dir, &mut store)?;
        if !is_whole(&loaded) {
            lacking.push(dir.display().to_string());
        }
        owners.extend(loaded.owners);
    }
    if let Some(other) = owners.iter().find(|owner| owner.herd != owners[0].herd) {
        let sentence = format!(
            "{} has files of {} and of {}, and one list of both would be true of neither: name one \
             journal, or move the other one's files away",
            dir.display(),
            shown(&owners[0]),
            shown(other)
        );
        return Err(Failure::new(Exit::Config, sentence));
    }
    let line = |report: Report<'_>| {
        let mut line = Vec::with_capacity(report.line_len());
        report.write_line(&mut line);
        line
    };
    let mut lines: Vec<_> = store.reports().map(line).collect();
    lines.sort_unstable();
    let written = lines.iter().try_for_each(|line| out.write_all(line)).and_then(|()| out.flush());
    written.map_err(|error| Failure::of_output(&error))?;
    if lacking.is_empty() {
        return Ok(Exit::Success);
    }
    // The lines that are left are as good as any.
    let sentence = format!(
        "not all is there that {} held: `herd journal check` says what is lost",
        lacking.join(" and ")
    );
    Err(Failure::new(Exit::Success, sentence))
}

/// Where a server keeps a journal, there is a file.
fn is_whole(loaded: &Loaded) -> bool {
    loaded.findings.segments > 0 && loaded.findings.are_whole()
}

fn shown(Owner { herd, server }: &Owner) -> String {
    let [herd, server] = [herd, server].map(|name| String::from_utf8_lossy(name));
    format!("server {server} of herd {herd}")
}

fn write_text(out: &mut impl Write, dir: &Path, loaded: &Loaded, store: &Store) -> io::Result<()> {
    let Loaded { findings, owners, .. } = loaded;
    if findings.segments == 0 {
        let dir = dir.display();
        return writeln!(out, "{dir}: no file is left of the journal that was kept here");
    }
    let whose = match &owners[..] {
        [] => "of nobody whose name can be read".to_owned(),
        owners => Vec::from_iter(owners.iter().map(shown)).join(" and "),
    };
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
    if !findings.are_whole() {
        writeln!(out, "  {WAY_OUT}")?;
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
        "whole": is_whole(loaded),
        "clients": store.len(),
        "reports": findings.reports,
        "segments": findings.segments,
        "torn_bytes": findings.torn_bytes,
        "damaged": damaged.collect::<Vec<_>>(),
        "missing": findings.missing.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    writeln!(out, "{page}")
}
