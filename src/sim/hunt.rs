//! A search for the first run that breaks a promise: crowds first, which cost little and show what
//! grows with size, then one seed after the other. `herd mutants` finds planted bugs by it.

use super::crowd::{self, Crowd, Shape};
use super::event_log::Detail;
use super::invariants::Violation;
use super::{Plan, Run};

/// The first run that broke a promise, and which one.
pub struct Catch {
    /// Runs until then, this one too.
    pub runs: u64,
    pub seed: u64,
    pub violation: Violation,
    /// It was a crowd that noticed, before any other run.
    pub is_crowd: bool,
}

/// What a bug of size must not survive.
const CROWDS: [Crowd; 3] = [
    Crowd { clients: 20_000, shape: Shape::Usual },
    Crowd { clients: 500, shape: Shape::LongLines },
    Crowd { clients: 120, shape: Shape::HeavyLeaf },
];

/// Runs crowds and then so many herds, beginning with `seed`, until one goes wrong. Crowds have
/// links, so where herds are on an engine there are none.
pub fn first_broken(plan: &Plan, seed: u64, seeds: u64) -> Option<Catch> {
    let mut crowds = CROWDS.into_iter().filter(|_| !plan.engine);
    if let Some(violation) = crowds.find_map(|crowd| crowd::run(crowd, seed).err()) {
        return Some(Catch { runs: 1, seed, violation, is_crowd: true });
    }
    (1..=seeds).find_map(|runs| {
        let seed = seed.wrapping_add(runs - 1);
        let Run { outcome, .. } = plan.run(seed, Detail::Silent);
        outcome.err().map(|violation| Catch { runs, seed, violation, is_crowd: false })
    })
}
