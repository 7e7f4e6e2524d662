//! What was seen of a herd from outside: every request of every client, its answer, and when.
//! Apart because three sides meet here and know nothing of each other: those who talk, those who
//! make trouble, and the checker, which judges.

use std::collections::BTreeMap;
use std::time::Duration;

use herd_core::wire::{Command, Report};

/// One request. Times count from the beginning of the history.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub asked: Duration,
    /// One line, without its newline.
    pub request: String,
    /// All that came back, newlines included, and when. What was not answered may or may not have
    /// been heard.
    pub answer: Option<(Duration, String)>,
}

/// One process, from its start to its end: what it knew dies with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life {
    pub server: String,
    pub number: usize,
}

/// What one client said and heard on one connection, in order.
#[derive(Clone, Debug)]
pub struct Connection {
    pub with: Life,
    pub exchanges: Vec<Exchange>,
    /// What came after the last answer, which should be nothing.
    pub more: String,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub connections: Vec<Connection>,
    /// The last lives: those that did not end.
    pub alive: Vec<Life>,
    /// After everything had healed: the AT line of each client at each server, where there is one.
    pub healed: BTreeMap<String, BTreeMap<String, String>>,
}

impl Exchange {
    /// Who is reported or asked for.
    pub fn client(&self) -> &str {
        self.request.split(' ').nth(1).unwrap_or_default()
    }

    pub fn is_report(&self) -> bool {
        self.request.starts_with("IAMAT ")
    }

    /// The AT line of the answer, without its newline, if it begins with one.
    pub fn at_line(&self) -> Option<&str> {
        let (_, answer) = self.answer.as_ref()?;
        answer.split('\n').next().filter(|line| line.starts_with("AT "))
    }
}

/// Takes an AT line apart.
pub fn report(line: &str) -> Option<Report<'_>> {
    match Command::parse(line.as_bytes()) {
        Command::At(report) => Some(report),
        _ => None,
    }
}
