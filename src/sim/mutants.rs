//! How many lives it takes to notice a bug that was planted. Apart because it measures the
//! simulator and no herd: the bugs are in `core::planted`.

use super::chronicle::Detail;
use super::crowd::{self, Crowd, Shape};
use super::watch::Violation;
use super::{Life, Plan};
use herd_core::planted::{Bug, plant};

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

/// Lives the life again that noticed the bug, to be read.
pub fn relive(bug: Bug, seed: u64) -> Life {
    plant(Some(bug));
    let life = Plan::default().live(seed, Detail::Events);
    plant(None);
    life
}

/// Plants a bug and lives so many lives, beginning with `seed`, until one goes wrong.
pub fn hunt(bug: Bug, seed: u64, seeds: u64) -> Option<Catch> {
    plant(Some(bug));
    if let Some(violation) = CROWDS.into_iter().find_map(|crowd| crowd::live(crowd, seed).err()) {
        plant(None);
        return Some(Catch { lives: 1, seed, violation, is_crowd: true });
    }
    let caught = (1..=seeds).find_map(|lives| {
        let seed = seed.wrapping_add(lives - 1);
        let Life { outcome, .. } = Plan::default().live(seed, Detail::Silent);
        outcome.err().map(|violation| Catch { lives, seed, violation, is_crowd: false })
    });
    plant(None);
    caught
}
