//! What a server's journal must say when it starts again (I13), and what it holds then is no older
//! than what was on its disk (I2). Peers can hide what a journal has lost, so this is asked of each
//! server alone, before its first link comes up.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Invariant, Violation};
use crate::client::report;
use crate::journal::Journal;
use herd_core::journal::appender::Keep;
use herd_core::store::{Store, rank};

/// For each client, reports that a server has held or told.
#[derive(Default)]
pub struct Ledger {
    entries: BTreeMap<Vec<u8>, Vec<Entry>>,
    /// Some of them were not given to the journal so far.
    any_is_missed: bool,
    /// The disk has broken something: nothing is promised any more.
    is_void: bool,
}

struct Entry {
    line: String,
    /// A client was told: this is promised.
    is_told: bool,
    since: Since,
}

/// Since when the journal has it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    /// It may not.
    Missed,
    /// It is among the first so many bytes that were appended.
    Appended(u64),
    /// It was found when the server started, and may have outlived another machine.
    Start { is_certain: bool },
}

impl Ledger {
    /// A client was told this when so much had been appended.
    pub fn told(&mut self, line: &str, appended: u64) {
        self.note(line, true, Since::Appended(appended));
    }

    /// The server holds this from now on, and so much has been appended if its journal misses
    /// nothing.
    pub fn held(&mut self, line: &str, appended: Option<u64>) {
        self.any_is_missed |= appended.is_none();
        self.note(line, false, appended.map_or(Since::Missed, Since::Appended));
    }

    /// The server has found this in its journal.
    pub fn found(&mut self, line: &str) {
        self.note(line, false, Since::Start { is_certain: false });
    }

    fn note(&mut self, line: &str, is_told: bool, since: Since) {
        let entries = self.entries.entry(report(line).client.to_vec()).or_default();
        match entries.iter_mut().find(|entry| entry.line == line) {
            Some(entry) => {
                entry.is_told |= is_told;
                if entry.since == Since::Missed {
                    entry.since = since;
                }
            }
            None => entries.push(Entry { line: line.to_owned(), is_told, since }),
        }
    }

    /// The journal misses nothing of what the server holds, now that so much is appended.
    pub fn all_given(&mut self, appended: u64) {
        if std::mem::take(&mut self.any_is_missed) {
            let entries = self.entries.values_mut().flatten();
            entries
                .filter(|entry| entry.since == Since::Missed)
                .for_each(|entry| entry.since = Since::Appended(appended));
        }
    }

    /// What the server held of a client has expired.
    pub fn forget(&mut self, client: &[u8]) {
        self.entries.remove(client);
    }

    /// The server has ended, and its machine if that `is_cut`: what must be there all the same?
    pub fn end(&mut self, journal: &Journal, is_cut: bool) {
        let (written, appender) = (journal.progress().written, &journal.appender);
        self.is_void |= journal.has_broken();
        self.any_is_missed = false;
        for entries in self.entries.values_mut() {
            entries.retain_mut(|entry| {
                let (in_system, on_disk) = match entry.since {
                    Since::Missed => (false, false),
                    Since::Appended(appended) => {
                        (appended <= written, appended <= appender.synced())
                    }
                    Since::Start { is_certain } => (true, is_certain || !appender.needs_rewrite()),
                };
                entry.since = Since::Start { is_certain: is_cut || on_disk };
                match is_cut {
                    true => on_disk || entry.is_told && appender.keep() == Keep::Synced,
                    false => in_system || entry.is_told,
                }
            });
        }
    }

    /// What a server knows that has just read its journal.
    ///
    /// # Errors
    /// I2, I13.
    pub fn check(&self, store: &Store) -> Result<(), Violation> {
        for Entry { line, is_told, .. } in self.entries.values().flatten().filter(|_| !self.is_void)
        {
            let noted = report(line);
            let held = store.find(noted.client);
            let is_there = held.is_some_and(|held| rank(&held, &noted) != Ordering::Less);
            let invariant = if *is_told { Invariant::Kept } else { Invariant::Rising };
            invariant.demand(is_there, || match is_told {
                true => format!("{line:?} was answered, and its server has not kept it"),
                false => {
                    format!("{line:?} was on the disk of a server that has started without it")
                }
            })?;
        }
        Ok(())
    }

    /// Whether the journal must say what an AT line says, or better.
    pub fn promises(&self, line: &str) -> bool {
        let line = report(line);
        let entries = self.entries.get(line.client).filter(|_| !self.is_void);
        entries.is_some_and(|entries| {
            entries.iter().any(|entry| rank(&report(&entry.line), &line) != Ordering::Less)
        })
    }
}
