//! What somebody must still be given of what is held: parts of the store, as bits. A link has one
//! for its peer, an engine for all and for each other server, and a journal for its disk. Apart
//! from them because it knows parts only, and neither lines nor connections.
//!
//! Where two digests differ, a whole leaf is missed: nothing smaller is compared. A report that
//! found no room is one of the 61 that a leaf has at a million clients, and a peer that is slow
//! must not be sent sixty others with it, or it would only become slower. So leaves have slices,
//! and each client lies in one.
//!
//! ```text
//!   leaves     ┌─┬─┬─┬─┬─┬─ ─       a bit a leaf: 2 KiB
//!              │ │1│ │1│ │
//!              └─┴┬┴─┴┬┴─┴─ ─
//!   slices     01000100…  11111…    64 bits a leaf: 128 KiB, while there are any
//! ```

use super::link::Marks;
use crate::store::digest::{LEAVES, Leaf};
use crate::store::{Key, Span};

/// A bit for each slice of a leaf.
type Slices = u64;
const _: () = assert!(Slices::BITS == Span::SLICES);
const WHOLE: Slices = Slices::MAX;

/// The parts of the store that somebody must still be given.
pub(crate) struct Missed {
    leaves: Marks,
    /// Of each leaf; of none as long as leaves are missed as wholes.
    slices: Box<[Slices]>,
}

impl Missed {
    pub fn nothing() -> Missed {
        Missed { leaves: Marks::none_of(LEAVES), slices: Box::default() }
    }

    /// In how many leaves anything is missed.
    pub fn leaves(&self) -> usize {
        self.leaves.len()
    }

    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// Whether the report of this client is missed.
    #[inline]
    pub fn has(&self, key: Key) -> bool {
        self.leaves.has(key.leaf().into()) && self.of(key.leaf().into()) & bit(key) != 0
    }

    /// All that this leaf holds is missed.
    pub fn add_leaf(&mut self, leaf: Leaf) {
        self.leaves.add(leaf.into());
        if let Some(slices) = self.slices.get_mut(usize::from(leaf)) {
            *slices = WHOLE;
        }
    }

    /// The report of this client is missed, and perhaps those of a few others.
    pub fn add(&mut self, key: Key) {
        self.refine();
        self.leaves.add(key.leaf().into());
        self.slices[usize::from(key.leaf())] |= bit(key);
    }

    /// What lies in a part is missed, and perhaps a few that lie beside it.
    pub fn add_span(&mut self, span: Span) {
        let slices = span.slices();
        if slices == (0..=Span::SLICES - 1) {
            return self.add_leaf(span.leaf());
        }
        self.refine();
        self.leaves.add(span.leaf().into());
        self.slices[usize::from(span.leaf())] |= slices.fold(0, |bits, slice| bits | 1 << slice);
    }

    /// From now on, a leaf may be missed in part.
    fn refine(&mut self) {
        if self.slices.is_empty() {
            let whole = |leaf| if self.leaves.has(leaf) { WHOLE } else { 0 };
            self.slices = (0..LEAVES).map(whole).collect();
        }
    }

    /// Takes out what lies together: slices of one leaf, at most all of them.
    pub fn take(&mut self) -> Option<Span> {
        let leaf = self.leaves.take()?;
        let mut rest = self.of(leaf);
        let span = take_span(leaf, &mut rest);
        if let Some(slices) = self.slices.get_mut(leaf) {
            *slices = rest;
        }
        if rest != 0 {
            self.leaves.add(leaf);
        } else if self.leaves.is_empty() {
            self.slices = Box::default();
        }
        Some(span)
    }

    /// All of it.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        self.leaves.list().flat_map(|leaf| {
            let mut rest = self.of(leaf);
            std::iter::from_fn(move || (rest != 0).then(|| take_span(leaf, &mut rest)))
        })
    }

    /// Of a leaf that has a mark.
    fn of(&self, leaf: usize) -> Slices {
        self.slices.get(leaf).copied().unwrap_or(WHOLE)
    }
}

/// invariant: `slices` has at least one
fn take_span(leaf: usize, slices: &mut Slices) -> Span {
    let first = slices.trailing_zeros();
    let behind = first + (*slices >> first).trailing_ones();
    *slices &= WHOLE.checked_shl(behind).unwrap_or(0);
    Span::of_slices(leaf as Leaf, first..behind)
}

fn bit(key: Key) -> Slices {
    1 << key.slice()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// All slices of these parts, each once.
    fn slices(spans: impl Iterator<Item = Span>) -> BTreeSet<(Leaf, u32)> {
        let mut set = BTreeSet::new();
        for span in spans {
            let slices = (0..Span::SLICES).filter(|&slice| span.has(key(span.leaf(), slice)));
            slices.for_each(|slice| assert!(set.insert((span.leaf(), slice)), "{span:?}"));
        }
        set
    }

    fn key(leaf: Leaf, slice: u32) -> Key {
        Key::from_number(u64::from(leaf) << 32 | u64::from(slice) << 26)
    }

    /// Method: a set, and the same random steps; few leaves, so that they meet.
    #[test]
    fn what_is_missed_is_taken_once() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut missed, mut expected) = (Missed::nothing(), BTreeSet::new());
        for step in 0..20_000 {
            let (leaf, slice) = (random.u16(0..40) * 400, random.u32(0..Span::SLICES));
            assert_eq!(missed.has(key(leaf, slice)), expected.contains(&(leaf, slice)));
            match random.u8(0..8) {
                0 => {
                    missed.add_leaf(leaf);
                    expected.extend((0..Span::SLICES).map(|slice| (leaf, slice)));
                }
                1..4 => {
                    missed.add(key(leaf, slice));
                    expected.insert((leaf, slice));
                }
                4 => {
                    let slices = slice..random.u32(slice..Span::SLICES) + 1;
                    missed.add_span(Span::of_slices(leaf, slices.clone()));
                    expected.extend(slices.map(|slice| (leaf, slice)));
                }
                _ => {
                    for gone in slices(missed.take().into_iter()) {
                        assert!(expected.remove(&gone));
                    }
                }
            }
            assert_eq!(missed.is_empty(), expected.is_empty());
            if step % 100 == 0 {
                assert_eq!(slices(missed.spans()), expected);
                let leaves = BTreeSet::from_iter(expected.iter().map(|(leaf, _)| leaf));
                assert_eq!(missed.leaves(), leaves.len());
            }
        }
        while let Some(span) = missed.take() {
            slices([span].into_iter()).iter().for_each(|gone| assert!(expected.remove(gone)));
        }
        assert!(expected.is_empty() && missed.slices.is_empty(), "its memory is given back");
    }

    #[test]
    fn a_leaf_is_taken_whole() {
        let mut missed = Missed::nothing();
        missed.add_leaf(3);
        missed.add(key(7, 63));
        missed.add(key(7, 63));
        assert_eq!(missed.take(), Some(Span::of_slices(3, 0..Span::SLICES)));
        assert_eq!(missed.take(), Some(Span::of_slices(7, 63..64)));
        assert_eq!(missed.take(), None);
    }
}
