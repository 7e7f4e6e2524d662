//! The digest of a store: one number for each part of it, so that two servers find out where they
//! differ without telling each other what they hold. Apart from the store because it knows hashes
//! and no reports; what is said about it on a link is in `repair`.
//!
//! In use, every change of a record changes one number, and no other is kept: the numbers of the
//! upper levels are those of their leaves together, and are added up when somebody asks.
//!
//! ```text
//!   level 0                      root                       ROOT <count> <hash>
//!                 ┌───────────────┴──── … ────┐
//!   level 1    group 0                     group 31         L1 <32 hashes>
//!              ┌──┴── … ──┐
//!   level 2   subgroup 0   31                               L2 <group> <32 hashes>
//!              ┌─┴─ … ─┐
//!   level 3   leaf 0   15      16,384 leaves in all         L3 <subgroup> <16 hashes>
//! ```
//!
//! Which leaf a client belongs to, and what its record adds to it, are keyed hashes. They are put
//! together by exclusive or, which can be taken back: with a hash that clients could predict, they
//! could choose records that cancel each other out, and so hide a difference.
//!
//! invariant: the number of a leaf is the exclusive or of the hashes of its records

use std::ops::Range;

/// Two keyed hashes of 64 bits differ in one of 2⁶⁴ comparisons without being told apart.
pub type Hash = u64;

/// How many children a node of each level has; leaves have none.
const FAN_OUT: [usize; 3] = [32, 32, 16];
/// Parts that are not divided any further. At a million clients each has 61 of them, and the
/// numbers of all take 128 KiB.
pub const LEAVES: usize = FAN_OUT[0] * FAN_OUT[1] * FAN_OUT[2];

/// The number of a leaf.
pub type Leaf = u16;
/// Nodes above the leaves.
pub const NODES: usize = 1 + FAN_OUT[0] + FAN_OUT[0] * FAN_OUT[1];

/// A part of the store: everything, or a group of leaves, or one leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    level: usize,
    /// Which one of its level.
    at: usize,
}

impl Node {
    /// Everything: the part that all leaves belong to.
    pub const ROOT: Node = Node { level: 0, at: 0 };

    /// The node of a level above the leaves, if there are so many.
    pub fn new(level: usize, at: usize) -> Option<Node> {
        let exists = level < FAN_OUT.len() && at < FAN_OUT[..level].iter().product();
        exists.then_some(Node { level, at })
    }

    /// A number of its own among the nodes above the leaves, below `NODES`.
    pub fn number(self) -> usize {
        let above: usize =
            (0..self.level).map(|level| FAN_OUT[..level].iter().product::<usize>()).sum();
        above + self.at
    }

    /// The node of this number.
    pub fn numbered(number: usize) -> Node {
        let mut node = Node { level: 0, at: number };
        for fan_out in [1, FAN_OUT[0]] {
            if node.at >= fan_out {
                node = Node { level: node.level + 1, at: node.at - fan_out };
            }
        }
        node
    }

    /// How many levels it is below the root: 3 for a leaf.
    pub fn level(self) -> usize {
        self.level
    }

    /// Its place among the nodes of its level, from 0.
    pub fn at(self) -> usize {
        self.at
    }

    /// How many parts it has; 0 for a leaf.
    pub fn fan_out(self) -> usize {
        FAN_OUT.get(self.level).copied().unwrap_or(0)
    }

    /// Its parts, the first first.
    pub fn children(self) -> impl Iterator<Item = Node> {
        let fan_out = self.fan_out();
        (0..fan_out).map(move |child| Node { level: self.level + 1, at: self.at * fan_out + child })
    }

    /// The leaves in it.
    pub fn leaves(self) -> Range<usize> {
        let each = FAN_OUT[self.level..].iter().product::<usize>();
        self.at * each..(self.at + 1) * each
    }

    /// Its number, if it is a leaf.
    pub fn leaf(self) -> Option<Leaf> {
        (self.level == FAN_OUT.len()).then_some(self.at as Leaf)
    }
}

/// The numbers of all leaves, from which those of larger parts are added up.
#[derive(PartialEq, Eq)]
pub struct Digest {
    leaves: Box<[Hash]>,
}

impl Digest {
    /// The digest of a store that holds nothing.
    pub fn new() -> Digest {
        Digest { leaves: vec![0; LEAVES].into_boxed_slice() }
    }

    /// Takes a record in or out: the same call does both.
    pub fn toggle(&mut self, leaf: Leaf, record: Hash) {
        self.leaves[usize::from(leaf)] ^= record;
    }

    /// The leaves of a part that hold anything.
    pub fn filled(&self, node: Node) -> impl Iterator<Item = Leaf> {
        node.leaves().filter(|&leaf| self.leaves[leaf] != 0).map(|leaf| leaf as Leaf)
    }

    /// The number of a part; 0 for one without records.
    pub fn hash(&self, node: Node) -> Hash {
        self.leaves[node.leaves()].iter().fold(0, |sum, leaf| sum ^ leaf)
    }
}

impl Default for Digest {
    fn default() -> Digest {
        Digest::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROTOCOL 10.1, 10.3.
    #[test]
    fn every_leaf_is_in_one_part_of_each_level() {
        let mut level = vec![Node::ROOT];
        for fan_out in FAN_OUT {
            let next: Vec<Node> = level.iter().flat_map(|node| node.children()).collect();
            assert_eq!(next.len(), level.len() * fan_out);
            let leaves: Vec<usize> = next.iter().flat_map(|node| node.leaves()).collect();
            assert_eq!(leaves, (0..LEAVES).collect::<Vec<_>>());
            level = next;
        }
        assert!(level.iter().enumerate().all(|(at, node)| node.leaf() == Some(at as Leaf)));
        assert_eq!((Node::new(1, 31).is_some(), Node::new(1, 32)), (true, None));
        assert_eq!((Node::new(2, 1023).is_some(), Node::new(2, 1024)), (true, None));
        assert_eq!(Node::new(3, 0), None, "a leaf has no parts that could be compared");
        for (level, fan_out) in [(0, 1), (1, 32), (2, 1024)] {
            for at in 0..fan_out {
                let node = Node::new(level, at).unwrap();
                assert_eq!(Node::numbered(node.number()), node);
                assert!(node.number() < NODES);
            }
        }
    }

    #[test]
    fn a_record_shows_in_every_part_that_holds_it() {
        let mut digest = Digest::new();
        digest.toggle(5_000, 7);
        let mut node = Node::ROOT;
        while node.leaf().is_none() {
            assert_eq!(digest.hash(node), 7);
            let (inside, outside): (Vec<Node>, Vec<Node>) =
                node.children().partition(|child| child.leaves().contains(&5_000));
            assert!(outside.iter().all(|child| digest.hash(*child) == 0));
            node = inside[0];
        }
        assert_eq!(node.leaf(), Some(5_000));
        digest.toggle(5_000, 7);
        assert_eq!(digest.hash(Node::ROOT), 0);
    }
}
