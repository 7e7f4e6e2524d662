//! Where clients are divided: what those must hold who hold a part, and when they may say that all
//! of it has come (I22). Apart from `even`, which looks at two ends of a link.

use std::collections::{BTreeMap, BTreeSet};

use super::tables::{agree, holds};
use super::{Invariant, Invariants, Violation};
use crate::client::report;
use crate::host::Host;
use herd_core::parts::{Part, Parts};

/// A server's name, what it holds and cannot have forgotten, and the server.
pub type Table<'a> = (&'a str, Vec<String>, &'a Host);

/// What had been told when a server's connection came up, and who had told it: that must have come
/// before it says that a part is complete. By server.
#[derive(Default)]
pub struct Expected(BTreeMap<usize, Vec<(usize, String)>>);

impl Invariants {
    /// The connection of a server has come up, and these servers had told these lines.
    pub fn expect(&mut self, server: usize, told: Vec<(usize, String)>) {
        self.expected.0.insert(server, told);
    }

    /// The connection of a server is over: it can be asked for nothing, and is told nothing.
    pub fn has_lost_engine(&mut self, server: usize) {
        self.expected.0.remove(&server);
        for told in self.expected.0.values_mut() {
            told.retain(|(teller, _)| *teller != server);
        }
    }

    /// Looks whether a server that had an input says that a part is complete.
    ///
    /// # Errors
    /// I22.
    pub fn look_at_parts(&mut self, server: usize, body: &Host) -> Result<(), Violation> {
        let Some(expected) = self.expected.0.get_mut(&server) else { return Ok(()) };
        let mut broken = None;
        expected.retain(|(_, line)| {
            let part = body.server.part_of(report(line).client);
            let is_complete = body.server.is_complete(part);
            if is_complete && !holds(body.server.store(), line) {
                broken =
                    Some(format!("it says that part {part} is complete, and has not {line:?}"));
            }
            !is_complete
        });
        broken.map_or(Ok(()), |why| Err(Invariant::Complete.broken(why)))
    }

    /// All who hold a part hold the same, say that it is complete, and hold what anybody holds of
    /// it, unless they held better until that expired. The tables are all servers', in their order.
    ///
    /// # Errors
    /// I4, I22.
    pub fn are_parts_whole(&self, tables: &[Table<'_>], parts: &Parts) -> Result<(), Violation> {
        if parts.is_whole() {
            return Ok(());
        }
        let tables = Vec::from_iter(tables.iter().map(|table| (table, by_part(table))));
        let nothing = Vec::new();
        let clients = Vec::from_iter(tables.iter().flat_map(|(_, lines)| lines.keys()));
        for part in BTreeSet::from_iter(parts.all().chain(clients.into_iter().copied())) {
            let of_part = |at: usize| tables[at].1.get(&part).unwrap_or(&nothing);
            let is_holder = |at: &usize| parts.is_holder(tables[*at].0.0.as_bytes(), part);
            let holders = Vec::from_iter((0..tables.len()).filter(is_holder));
            let Some(&first) = holders.first() else { continue };
            for &holder in &holders {
                let (name, _, body) = tables[holder].0;
                agree((tables[first].0.0, of_part(first)), (name, of_part(holder)))?;
                Invariant::Complete.demand(body.server.is_complete(part), || {
                    format!("{name} did not say for too long that it has all of part {part}")
                })?;
                for ((other, ..), lines) in &tables {
                    let lines = lines.get(&part).unwrap_or(&nothing);
                    let has_had = |line: &&String| {
                        holds(body.server.store(), line) || self.seats[holder].has_forgotten(line)
                    };
                    let missing = lines.iter().find(|line| !has_had(line));
                    Invariant::Complete.demand(missing.is_none(), || {
                        format!("{name} holds part {part}, and not {missing:?}, which {other} has")
                    })?;
                }
            }
        }
        Ok(())
    }
}

fn by_part((_, lines, body): &Table<'_>) -> BTreeMap<Part, Vec<String>> {
    let mut parts = BTreeMap::<Part, Vec<String>>::new();
    for line in lines {
        let part = body.server.part_of(report(line).client);
        parts.entry(part).or_default().push(line.clone());
    }
    parts
}
