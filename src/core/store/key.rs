//! Where a client is kept: its two hashes. Apart because others keep keys, and many of them.

use super::bucket::Tag;
use super::digest::Leaf;
use super::walk::Span;

/// Where a client is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Key {
    pub(super) leaf: Leaf,
    pub(super) tag: Tag,
}

impl Key {
    /// The bits of a number that has all of a key.
    pub const BITS: u32 = Leaf::BITS + Tag::BITS;

    /// The part of the store that the client belongs to.
    pub fn leaf(self) -> Leaf {
        self.leaf
    }

    /// The slice of its leaf that the client lies in, below `Span::SLICES`.
    #[inline]
    pub fn slice(self) -> u32 {
        self.tag >> Span::SLICE_BITS
    }

    /// The key as a number, for those who keep many.
    pub fn to_number(self) -> u64 {
        u64::from(self.leaf) << Tag::BITS | u64::from(self.tag)
    }

    /// The key of what `to_number` has given.
    pub fn from_number(number: u64) -> Key {
        Key { leaf: (number >> Tag::BITS) as Leaf, tag: number as Tag }
    }
}
