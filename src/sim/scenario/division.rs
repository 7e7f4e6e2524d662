//! How the clients of a simulated herd are divided among its servers, if they are.

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

use super::{MS, Scenario};
use crate::Plan;
use crate::faults::Fault;
use crate::graph::Shape;
use herd_core::parts::Parts;

/// So many of all herds on an engine have their clients divided, if it is not said.
const DIVIDED_ONE_IN: u32 = 3;
/// Servers of such a herd.
const SERVERS: RangeInclusive<usize> = 3..=6;
/// In so many of those, there are servers that hold no part.
const IDLE_ONE_IN: u32 = 3;
/// So many of those that are not are in two regions.
const FAR_APART_ONE_IN: u32 = 3;
/// In so many, a server dies at the end, while others are asked.
const DEATHS_ONE_IN: u32 = 2;
/// In so many of those that are divided, other servers hold the parts from some time on.
const MOVES_ONE_IN: u32 = 2;

/// Who holds how much.
#[derive(Clone, Copy, Debug, Default)]
pub struct Division {
    /// How many servers hold each part; 0: clients are not divided.
    pub copies: usize,
    /// Servers that hold none: the last ones.
    pub idle: usize,
    /// Both are others from then on, if they are.
    pub moves: Option<Moves>,
    /// How a server dies in the end, if one does.
    pub death: Option<Fault>,
    /// Servers are in two regions, and tell the other one all once more so often.
    pub tell_every: Option<Duration>,
}

/// Who holds how much from some time on.
#[derive(Clone, Copy, Debug)]
pub struct Moves {
    /// When files are written anew. Servers read theirs one after the other.
    pub at: Duration,
    copies: usize,
    idle: usize,
}

impl Scenario {
    /// The same herd with its clients divided among three to six servers, if the plan says so or
    /// the seed does. Drawn apart, so that the other runs are what they were before there were
    /// parts.
    pub(super) fn divided(self, plan: &Plan, seed: u64) -> Scenario {
        let mut random = Rng::with_seed(seed.rotate_left(48));
        let is_drawn = Rng::with_seed(!seed.rotate_left(48)).u32(0..DIVIDED_ONE_IN) == 0;
        if !plan.parts.map_or(is_drawn, |parts| parts > 1) {
            return self.far_apart(plan, seed);
        }
        let servers = random.usize(plan.servers.clone().unwrap_or(SERVERS));
        let graph = Shape::Line.graph(servers, &mut random);
        let copies = random.usize(1..=3);
        let compare_every = Some(MS * random.u32(2_000..5_000));
        let has_idle = servers > 1 && random.u32(0..IDLE_ONE_IN) == 0;
        let idle = if has_idle { random.usize(1..servers.min(3)) } else { 0 };
        let how = if random.bool() { Fault::Crash } else { Fault::Power };
        let may_die = servers > 1 && plan.faults.is_none_or(|faults| faults.has(how));
        let dies = random.u32(0..DEATHS_ONE_IN) == 0 && may_die;
        Scenario {
            graph,
            division: Division {
                copies,
                idle,
                moves: self.moves(plan, seed, servers),
                death: dies.then_some(how),
                tell_every: None,
            },
            // What is lost behind the last batch, only a question shows.
            compare_every,
            ..self
        }
    }

    /// Drawn apart, so that the other runs are what they were before parts could move.
    fn moves(&self, plan: &Plan, seed: u64, servers: usize) -> Option<Moves> {
        let mut random = Rng::with_seed(seed.rotate_left(8));
        let may_move = plan.faults.is_none_or(|faults| faults.has(Fault::Reload));
        let moves = random.u32(0..MOVES_ONE_IN) == 0 && may_move;
        let copies = random.usize(1..=3);
        let idle = random.usize(0..servers.min(3));
        let at = self.peace.mul_f64(random.f64());
        moves.then_some(Moves { at, copies, idle })
    }

    /// The same herd in two regions, if the seed says so. Drawn apart.
    fn far_apart(self, plan: &Plan, seed: u64) -> Scenario {
        let mut random = Rng::with_seed(!seed.rotate_left(16));
        let is_drawn = random.u32(0..FAR_APART_ONE_IN) == 0;
        let tell_every = Some(MS * random.u32(2_000..6_000));
        if plan.parts.is_some() || !is_drawn || self.graph.names.len() < 2 {
            return self;
        }
        let how = if random.bool() { Fault::Crash } else { Fault::Power };
        let may_die = plan.faults.is_none_or(|faults| faults.has(how));
        let death = (random.u32(0..DEATHS_ONE_IN) == 0 && may_die).then_some(how);
        Scenario { division: Division { death, tell_every, ..Division::default() }, ..self }
    }

    /// The region of a server, by its place.
    pub fn region(&self, server: usize) -> Option<&'static str> {
        self.division.tell_every.map(|_| ["east", "west"][server % 2])
    }

    /// Whether servers ask each other what they do not know.
    pub fn asks_others(&self) -> bool {
        self.division.copies > 0 || self.division.tell_every.is_some()
    }

    /// Who holds what in the beginning.
    pub fn parts(&self) -> Parts {
        let Division { copies, idle, .. } = self.division;
        self.parts_of(copies, idle)
    }

    /// And from some time on.
    pub fn parts_then(&self) -> Option<Parts> {
        self.division.moves.map(|moves| self.parts_of(moves.copies, moves.idle))
    }

    fn parts_of(&self, copies: usize, idle: usize) -> Parts {
        let names = self.graph.names.iter().map(|name| name.as_bytes().to_vec());
        let holders = Vec::from_iter(names.take(self.graph.names.len().saturating_sub(idle)));
        Parts::divided(32, copies, &holders).unwrap_or_else(Parts::whole)
    }

    /// Whether who is asked by another server answers in time, wherever both are on the engine.
    pub fn is_prompt(&self) -> bool {
        !self.faults.has(Fault::Slow) && !self.faults.has(Fault::Pieces)
    }
}
