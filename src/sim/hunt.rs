//! A search for the first life that breaks a promise: crowds first, which cost little and show what
//! grows with size, then one seed after the other. `herd mutants` finds planted bugs by it.

use super::crowd::{self, Crowd, Shape};
use super::event_log::Detail;
use super::invariants::Violation;
use super::{Life, Plan};

/// The first life that broke a promise, and which one.
pub struct Catch {
    /// Lives lived until then, this one too.
    pub lives: u64,
    pub seed: u64,
    pub violation: Violation,
    /// It was a crowd that noticed, before any other life.
    pub is_crowd: bool,
}

/// What a bug of size must not survive.
const CROWDS: [Crowd; 3] = [
    Crowd { clients: 20_000, shape: Shape::Usual },
    Crowd { clients: 500, shape: Shape::LongLines },
    Crowd { clients: 120, shape: Shape::HeavyLeaf },
];

/// Lives crowds and then so many lives, beginning with `seed`, until one goes wrong.
pub fn first_broken(seed: u64, seeds: u64) -> Option<Catch> {
    if let Some(violation) = CROWDS.into_iter().find_map(|crowd| crowd::live(crowd, seed).err()) {
        return Some(Catch { lives: 1, seed, violation, is_crowd: true });
    }
    (1..=seeds).find_map(|lives| {
        let seed = seed.wrapping_add(lives - 1);
        let Life { outcome, .. } = Plan::default().live(seed, Detail::Silent);
        outcome.err().map(|violation| Catch { lives, seed, violation, is_crowd: false })
    })
}
