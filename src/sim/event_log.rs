//! The record of a simulated run: a hash of everything, counts, and rows for people. None of it
//! changes what happens.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

/// How much of a run is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Only its end.
    Silent,
    /// What happened to servers and links, and what clients reported.
    Events,
    /// Every line between servers, too.
    Lines,
}

/// One row of the event log.
#[derive(Clone, Debug)]
pub struct Row {
    at: Duration,
    who: String,
    what: String,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub events: u64,
    pub commands: u64,
    pub link_faults: u64,
    pub crashes: u64,
    /// How long the herd has run.
    pub time: Duration,
}

pub struct EventLog {
    hash: DefaultHasher,
    detail: Detail,
    pub rows: Vec<Row>,
    pub counts: Counts,
}

impl EventLog {
    pub fn new(detail: Detail) -> EventLog {
        let (rows, counts) = (Vec::new(), Counts::default());
        EventLog { hash: DefaultHasher::new(), detail, rows, counts }
    }

    /// Notes an event for the hash.
    pub fn note(&mut self, now: Duration, what: &str, at: (usize, usize), bytes: &[u8]) {
        self.counts.time = now;
        self.hash.write_u128(now.as_nanos());
        self.hash.write(what.as_bytes());
        self.hash.write_usize(at.0);
        self.hash.write_usize(at.1);
        self.hash.write_usize(bytes.len());
        self.hash.write(bytes);
    }

    /// Everything that has happened, as one number: the same seed must give the same.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub fn wants(&self, detail: Detail) -> bool {
        self.detail >= detail
    }

    /// Writes a row, if rows are wanted.
    pub fn tell(&mut self, now: Duration, who: &str, what: impl FnOnce() -> String) {
        if self.wants(Detail::Events) {
            self.rows.push(Row { at: now, who: who.to_owned(), what: what() });
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A long id says nothing that its first letters do not.
        let mut what: String = self.what.chars().take(100).collect();
        if what.len() < self.what.len() {
            what.push('…');
        }
        write!(f, "{:7.3}  {:10}  {what}", self.at.as_secs_f64(), self.who)
    }
}
