//! The simulator: whole herds in one thread, with real cores, fake wires and virtual time.
//! Operators, teachers and CI run it (`herd sim`), and so do the tests; it opens no socket and
//! reads no clock.
//!
//! A seed is a life of a herd: it decides which servers are joined, what clients say and what goes
//! wrong (`scenario`). A life that breaks a promise (`invariants::Invariant`) can be lived again
//! from its seed, word for word.
//!
//! Reading order: `invariants` (what is promised), `scenario` (what a seed decides), `world` (how
//! it happens), `host` (a server and its pipes).

mod agenda;
mod client;
pub mod crowd;
pub mod disk;
pub mod durability;
pub mod event_log;
pub mod faults;
pub mod graph;
pub mod host;
pub mod hunt;
pub mod invariants;
mod propagation;
mod scenario;
mod settings;
mod wire;
mod world;

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};

use event_log::{Counts, Detail, Row};
use faults::Faults;
use graph::Shape;
use invariants::{Invariant, Violation};
pub use propagation::Cost;
use scenario::Scenario;
use world::World;

/// Every so many seeds, one is lived twice, and must be the same life.
const TWICE_EVERY: u64 = 1_000;
/// A larger herd is not broken but measured: its faults are those of its parts.
pub const SERVERS_MAX: usize = 64;

/// What all lives of a run have in common. Each seed decides what is `None`.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub servers: Option<RangeInclusive<usize>>,
    pub graph: Option<Shape>,
    pub faults: Option<Faults>,
    /// So many reports, one after the other, and nothing else: for measuring what they cost.
    pub reports: Option<usize>,
}

/// A life, after its end.
pub struct Life {
    pub seed: u64,
    pub outcome: Result<(), Violation>,
    pub hash: u64,
    pub counts: Counts,
    pub rows: Vec<Row>,
    pub servers: usize,
    pub links: usize,
    pub cost: Cost,
}

impl Plan {
    /// Lives one life.
    pub fn live(&self, seed: u64, detail: Detail) -> Life {
        let scenario = match self.reports {
            Some(reports) => Scenario::measured(self, reports, seed),
            None => Scenario::of_seed(self, seed),
        };
        let (servers, links) = (scenario.graph.names.len(), scenario.graph.links.len());
        let mut world = World::new(scenario, seed, detail);
        // The state after a panic is looked at, but the life does not go on with it.
        let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
        let cost = match self.reports {
            Some(_) => world.propagation.cost(),
            None => Cost::default(),
        };
        Life {
            seed,
            outcome: lived.unwrap_or_else(|payload| Err(Violation::of_panic(&*payload))),
            hash: world.event_log.hash(),
            counts: world.event_log.counts,
            rows: world.event_log.rows,
            servers,
            links,
            cost,
        }
    }

    /// One life of many; now and then, it is lived twice.
    pub fn live_one_of_many(&self, seed: u64, number: u64) -> Life {
        let mut life = self.live(seed, Detail::Silent);
        if number.is_multiple_of(TWICE_EVERY) && life.outcome.is_ok() {
            let again = self.live(seed, Detail::Silent);
            life.outcome = Invariant::Replay.demand(life.hash == again.hash, || {
                format!("{:016x} the first time and {:016x} again", life.hash, again.hash)
            });
        }
        life
    }

    /// The command that lives this seed again.
    pub fn command(&self, seed: u64) -> String {
        let mut command = format!("herd sim --seed {seed}");
        if let Some(servers) = &self.servers {
            let (least, most) = (servers.start(), servers.end());
            command += &if least == most {
                format!(" --servers {least}")
            } else {
                format!(" --servers {least}-{most}")
            };
        }
        let flags = [
            ("graph", self.graph.map(|graph| graph.to_string())),
            ("faults", self.faults.map(|faults| faults.to_string())),
            ("reports", self.reports.map(|reports| reports.to_string())),
        ];
        for (flag, value) in flags {
            if let Some(value) = value {
                command += &format!(" --{flag} {value}");
            }
        }
        command
    }
}
