//! The simulator: whole herds in one thread, with real cores, fake wires and virtual time.
//! Operators, teachers and CI run it (`herd sim`), and so do the tests; it opens no socket and
//! reads no clock.
//!
//! A seed is a run of a herd: it decides which servers are joined, what clients say and what goes
//! wrong (`scenario`). A run that breaks a promise (`invariants::Invariant`) can be repeated
//! from its seed, word for word.
//!
//! Reading order: `invariants` (what is promised), `scenario` (what a seed decides), `world` (how
//! it happens), `host` (a server and its pipes), `journal` and `disk` (what it keeps, and on what).

mod agenda;
mod client;
pub mod crowd;
pub mod disk;
mod engine;
pub mod event_log;
pub mod faults;
mod following;
pub mod graph;
pub mod host;
pub mod hunt;
pub mod invariants;
mod journal;
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

/// Every so many seeds, one is run twice, and must be the same run.
const TWICE_EVERY: u64 = 1_000;
/// A larger herd is not broken but measured: its faults are those of its parts.
pub const SERVERS_MAX: usize = 64;

/// What all runs of a run have in common. Each seed decides what is `None`.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub servers: Option<RangeInclusive<usize>>,
    pub graph: Option<Shape>,
    pub faults: Option<Faults>,
    /// Servers tell each other by an engine instead of links.
    pub engine: bool,
    /// Into how many parts clients are divided there: 1 or 32.
    pub parts: Option<usize>,
    /// So many reports, one after the other, and nothing else: for measuring what they cost.
    pub reports: Option<usize>,
}

/// A run, after its end.
pub struct Run {
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
    /// Does one run.
    pub fn run(&self, seed: u64, detail: Detail) -> Run {
        let scenario = match self.reports {
            Some(reports) => Scenario::measured(self, reports, seed),
            None => Scenario::of_seed(self, seed),
        };
        let (servers, links) = (scenario.graph.names.len(), scenario.graph.links.len());
        let mut world = World::new(scenario, seed, detail);
        // The state after a panic is looked at, but the run does not go on with it.
        let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
        let cost = match self.reports {
            Some(_) => world.propagation.cost(),
            None => Cost::default(),
        };
        Run {
            seed,
            outcome: ended.unwrap_or_else(|payload| Err(Violation::of_panic(&*payload))),
            hash: world.event_log.hash(),
            counts: world.event_log.counts,
            rows: world.event_log.rows,
            servers,
            links,
            cost,
        }
    }

    /// One run of many; now and then, it is done twice.
    pub fn run_one_of_many(&self, seed: u64, number: u64) -> Run {
        let mut run = self.run(seed, Detail::Silent);
        if number.is_multiple_of(TWICE_EVERY) && run.outcome.is_ok() {
            let again = self.run(seed, Detail::Silent);
            run.outcome = Invariant::Replay.demand(run.hash == again.hash, || {
                format!("{:016x} the first time and {:016x} again", run.hash, again.hash)
            });
        }
        run
    }

    /// The command that runs this seed again.
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
        if self.engine {
            command += " --engine";
        }
        if let Some(parts) = self.parts {
            command += &format!(" --parts {parts}");
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
