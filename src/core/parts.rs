//! Which servers hold which clients, where not all of them hold all. Apart because it is a pure
//! function of names: every server calculates the same from the same list, so nothing is agreed
//! upon, and who publishes need not know it.
//!
//! A part is a node of the digest: everything, one of 32, or one of 1,024. A client's leaf says
//! which part it is in, and servers compare a part as they compare everything.
//!
//! ```text
//!            part 0        part 1        part 2   …           by rendezvous hashing: each part
//!   Anna     0.91 holds    0.35          0.80 holds           ranks the servers anew, and the
//!   Bert     0.22          0.77 holds    0.79 holds           first `copies` of them hold it
//!   Carl     0.54 holds    0.81 holds    0.13
//! ```
//!
//! If a server comes or goes, a part moves only where it has changed who the first are. By chance
//! alone some servers would hold half as much again as others, so one that has its share is passed
//! over: for that, a few more parts move.

use super::store::digest::{LEAVES, Leaf, Node};
use super::store::hash::Hasher;

/// The number of a part.
pub type Part = u16;

/// Into how many parts clients can be divided, by the level of the digest.
const COUNTS: [usize; 3] = [1, 32, 1_024];
/// What ranks servers. It is no secret, and part of the protocol.
const RANKS: (u64, u64) = (0x7061_7274, 0x7261_6e6b);

/// How clients are divided, and who holds what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Of the digest.
    level: usize,
    /// In the order of their bytes.
    names: Vec<Vec<u8>>,
    /// Of each part, where in `names` its holders are, the first in rank first; empty if everybody
    /// holds all.
    holders: Vec<Vec<u16>>,
}

impl Parts {
    /// One part, which everybody holds.
    pub fn whole() -> Parts {
        Parts { level: 0, names: Vec::new(), holders: Vec::new() }
    }

    /// Divides clients into 32 or 1,024 parts, each of which `copies` of these servers hold, or all
    /// of them if there are fewer. `None` for another number of parts, for no copies, and without
    /// servers.
    pub fn divided(count: usize, copies: usize, servers: &[Vec<u8>]) -> Option<Parts> {
        let level = COUNTS.iter().position(|it| *it == count).filter(|level| *level > 0)?;
        let mut names = servers.to_vec();
        names.sort_unstable();
        names.dedup();
        let copies = copies.min(names.len());
        if copies == 0 {
            return None;
        }
        let mut shares = Shares::new(count, copies, names.len());
        let holders = (0..count).map(|part| shares.assign(copies, &ranked(part, &names)));
        Some(Parts { level, holders: holders.collect(), names })
    }

    /// Whether everybody holds all.
    pub fn is_whole(&self) -> bool {
        self.level == 0
    }

    /// How many parts there are.
    pub fn count(&self) -> usize {
        COUNTS[self.level]
    }

    /// All parts.
    pub fn all(&self) -> impl Iterator<Item = Part> + use<> {
        (0..self.count()).map(|part| part as Part)
    }

    /// The part that a leaf of the digest belongs to.
    #[inline]
    pub fn of(&self, leaf: Leaf) -> Part {
        // Each level has 32 times as many nodes as the one above it.
        leaf >> (LEAVES.ilog2() - 5 * self.level as u32)
    }

    /// The part as a node of the digest.
    ///
    /// # Panics
    /// If there is no such part.
    pub fn node(&self, part: Part) -> Node {
        Node::new(self.level, part.into()).expect("a part is a node")
    }

    /// Whether a server holds a part.
    pub fn is_holder(&self, name: &[u8], part: Part) -> bool {
        self.is_whole() || self.holders(part).any(|holder| holder == name)
    }

    /// The servers that hold a part, the first in rank first; none if everybody holds all.
    pub fn holders(&self, part: Part) -> impl Iterator<Item = &[u8]> {
        let holders = self.holders.get(usize::from(part)).into_iter().flatten();
        holders.map(|at| &*self.names[usize::from(*at)])
    }

    /// The parts that a server holds.
    pub fn held_by(&self, name: &[u8]) -> Vec<Part> {
        self.all().filter(|part| self.is_holder(name, *part)).collect()
    }
}

/// All servers as this part ranks them.
fn ranked(part: usize, names: &[Vec<u8>]) -> Vec<u16> {
    let hasher = Hasher::new(RANKS);
    let rank =
        |at: &u16| hasher.hash(&[&names[usize::from(*at)][..], b"/", &part.to_be_bytes()].concat());
    let mut order = Vec::from_iter(0..names.len() as u16);
    order.sort_by_cached_key(|at| std::cmp::Reverse(rank(at)));
    order
}

/// How much each server holds, and may hold: the share of all, rounded down, or up as long as that
/// does not leave others with less.
struct Shares {
    held: Vec<usize>,
    least: usize,
    /// How many servers may hold one more.
    larger: usize,
    parts_left: usize,
}

impl Shares {
    fn new(parts: usize, copies: usize, servers: usize) -> Shares {
        let all = parts * copies;
        let (least, larger) = (all / servers, all % servers);
        Shares { held: vec![0; servers], least, larger, parts_left: parts }
    }

    /// Gives the next part to the first servers that have room. Those who would miss their share
    /// without it come before all others.
    fn assign(&mut self, copies: usize, ranked: &[u16]) -> Vec<u16> {
        let must = |at: &&u16| self.held[usize::from(**at)] + self.parts_left <= self.least;
        let (first, then): (Vec<&u16>, Vec<&u16>) = ranked.iter().partition(must);
        let mut holders = Vec::with_capacity(copies);
        for at in first.into_iter().chain(then) {
            let held = &mut self.held[usize::from(*at)];
            let is_larger = *held == self.least;
            if holders.len() < copies && (*held < self.least || is_larger && self.larger > 0) {
                self.larger -= usize::from(is_larger);
                *held += 1;
                holders.push(*at);
            }
        }
        self.parts_left -= 1;
        holders
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(count: usize) -> Vec<Vec<u8>> {
        (0..count).map(|at| format!("server-{at}").into_bytes()).collect()
    }

    /// PROTOCOL 15.7.
    #[test]
    fn a_part_is_a_node_of_the_digest() {
        for count in [32, 1_024] {
            let parts = Parts::divided(count, 2, &servers(6)).unwrap();
            assert_eq!(parts.all().count(), count);
            for part in parts.all() {
                let leaves = parts.node(part).leaves();
                assert_eq!(leaves.len(), LEAVES / count);
                assert!(leaves.into_iter().all(|leaf| parts.of(leaf as Leaf) == part));
            }
        }
        let whole = Parts::whole();
        assert_eq!((whole.count(), whole.of(16_383), whole.node(0)), (1, 0, Node::ROOT));
        assert!(whole.is_holder(b"anybody", 0));
    }

    #[test]
    fn what_cannot_be_divided_is_not() {
        assert_eq!(Parts::divided(1, 2, &servers(3)), None);
        assert_eq!(Parts::divided(33, 2, &servers(3)), None);
        assert_eq!(Parts::divided(32, 0, &servers(3)), None);
        assert_eq!(Parts::divided(32, 2, &[]), None);
        let few = Parts::divided(32, 3, &servers(2)).unwrap();
        assert!(few.all().all(|part| few.holders(part).count() == 2));
    }

    /// Goal: every server comes to the same, in whatever order its file names the others.
    #[test]
    fn the_order_of_names_does_not_matter() {
        let (forwards, mut backwards) = (servers(7), servers(7));
        backwards.reverse();
        assert_eq!(Parts::divided(32, 3, &forwards), Parts::divided(32, 3, &backwards));
    }

    /// Goal: no server hears more than a tenth above its share, or below it.
    #[test]
    fn servers_hold_equal_shares() {
        let sizes = (1..20).flat_map(|servers| [(32, 1), (32, 2), (32, 3)].map(|it| (it, servers)));
        for ((count, copies), holders) in sizes.chain([((1_024, 3), 50)]) {
            let names = servers(holders);
            let copies = copies.min(holders);
            let parts = Parts::divided(count, copies, &names).unwrap();
            let share = (count * copies) as f64 / holders as f64;
            for name in &names {
                let held = parts.held_by(name).len() as f64;
                assert!((held - share).abs() < 1.0, "{count} of {holders}: {held}, not {share}");
            }
            for part in parts.all() {
                let mut holders = Vec::from_iter(parts.holders(part));
                holders.sort_unstable();
                holders.dedup();
                assert_eq!(holders.len(), copies);
            }
        }
    }

    /// Goal: if one of ten servers goes, most of what the others hold stays where it is.
    #[test]
    fn few_parts_move_when_a_server_goes() {
        let (ten, nine) = (servers(10), servers(9));
        for count in [32, 1_024] {
            let before = Parts::divided(count, 3, &ten).unwrap();
            let after = Parts::divided(count, 3, &nine).unwrap();
            let moved: usize = after
                .all()
                .map(|part| after.holders(part).filter(|it| !before.is_holder(it, part)).count())
                .sum();
            let must = before.held_by(b"server-9").len();
            assert!(must <= moved && moved <= 3 * must, "{moved} moved, {must} had to");
        }
    }
}
