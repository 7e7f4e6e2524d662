//! The reports that servers tell each other, line by line: how often, how far, how fast. It reads
//! what the wires carry, and costs more than the rest of a simulation; only herds whose lines are
//! counted have one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::report;
use super::graph::Graph;
use super::host::{EPOCH, NANOS};
use super::invariants::{Invariant, Violation, nanos};
use super::wire::At;
use herd_core::LINE_MAC_BYTES;

/// What became of one report.
pub struct Spread {
    /// How often it was sent.
    pub lines: usize,
    /// When the last server received it.
    pub last: Duration,
    /// For each server that has it, over how many links it came.
    rounds: Vec<Option<u32>>,
}

#[derive(Default)]
pub struct Propagation {
    /// Unfinished lines, by the end they came to.
    partial: BTreeMap<(usize, usize), Vec<u8>>,
    reports: BTreeMap<String, Spread>,
}

/// What reports cost in a herd.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub reports: usize,
    pub lines: usize,
    pub bytes: usize,
    pub rounds_sum: u32,
    pub rounds_max: u32,
    /// From a report's first server to its last.
    pub time_sum: Duration,
    pub time_max: Duration,
}

impl Propagation {
    /// Bytes have come to this end, from one server to another. Gives the whole lines.
    pub fn heard(
        &mut self,
        at: At,
        (from, to): (usize, usize),
        (now, servers): (Duration, usize),
        bytes: &[u8],
    ) -> Vec<String> {
        let partial = self.partial.entry((at.wire, at.end)).or_default();
        partial.extend_from_slice(bytes);
        let Some(last) = memchr::memrchr(b'\n', partial) else { return Vec::new() };
        let rest = partial.split_off(last + 1);
        let whole = std::mem::replace(partial, rest);
        let text = String::from_utf8_lossy(&whole);
        let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        for line in lines.iter().filter(|line| line.starts_with("AT ")) {
            let line = without_seal(line);
            let new = || Spread { lines: 0, last: now, rounds: vec![None; servers] };
            let spread = self.reports.entry(line).or_insert_with(new);
            spread.lines += 1;
            // A server that sends it without having received it has it from a client.
            let rounds = *spread.rounds[from].get_or_insert(0) + 1;
            if spread.rounds[to].is_none() {
                spread.rounds[to] = Some(rounds);
                spread.last = now;
            }
        }
        lines
    }

    /// In a herd where nothing goes wrong: no report costs more than it may, and those in `held`,
    /// which were news to every server, cost exactly that.
    ///
    /// # Errors
    /// I7.
    pub fn check(&self, graph: &Graph, held: &[String]) -> Result<(), Violation> {
        let must = graph.lines_per_report();
        for (line, spread) in &self.reports {
            Invariant::Cost.demand(spread.lines <= must, || {
                format!("{} lines instead of {must} at most for {line:?}", spread.lines)
            })?;
        }
        for line in held {
            let lines = self.reports.get(line).map_or(0, |spread| spread.lines);
            Invariant::Cost.demand(lines == must, || {
                format!("{lines} lines instead of {must} for {line:?}")
            })?;
        }
        Ok(())
    }

    /// The clocks of the servers must be right for this: a report says when it was given.
    pub fn cost(&self) -> Cost {
        let mut cost = Cost::default();
        for (line, spread) in &self.reports {
            let report = report(line);
            let given = nanos(&report.time) + nanos(report.skew) - i128::from(EPOCH * NANOS);
            let given = Duration::from_nanos(u64::try_from(given).unwrap_or_default());
            let took = spread.last.saturating_sub(given);
            let rounds = spread.rounds.iter().flatten().copied().max().unwrap_or_default();
            cost.reports += 1;
            cost.lines += spread.lines;
            cost.bytes += spread.lines * line.len();
            cost.rounds_sum += rounds;
            cost.rounds_max = cost.rounds_max.max(rounds);
            cost.time_sum += took;
            cost.time_max = cost.time_max.max(took);
        }
        cost
    }
}

/// A line as it is held: each link seals it anew.
fn without_seal(line: &str) -> String {
    let sealed = line.trim_end().len().checked_sub(LINE_MAC_BYTES);
    match sealed.and_then(|end| line.split_at_checked(end)) {
        Some((report, seal)) if seal.starts_with(" ~") => format!("{report}\n"),
        _ => line.to_owned(),
    }
}
