//! What need not be written anew because somebody has just said it: clients whose newest report
//! lies in the segments that a compaction keeps.
//!
//! Of a busy server's clients, most report more often than it is compacted. So it is noted for some
//! time before a compaction who does: a bit for each part of the store, as small as a part can be
//! (`peers::missed`). If the report of the only client of a part is written, nothing that was
//! written before is needed of this part.

use crate::store::digest::{LEAVES, Leaf};
use crate::store::{Key, Span, Tag};

/// A bit for each slice of a leaf.
type Slices = u64;
const _: () = assert!(Slices::BITS == Span::SLICES);

/// Parts of the store of which only what was written since a segment was begun is needed.
pub(crate) struct Renewed {
    /// Of each leaf.
    slices: Box<[Slices]>,
}

impl Renewed {
    /// Nothing was written so far.
    pub fn nothing() -> Renewed {
        Renewed { slices: vec![0; LEAVES].into() }
    }

    /// Whether the slice in which this client lies is.
    #[inline]
    pub fn has(&self, key: Key) -> bool {
        self.slices[usize::from(key.leaf())] & bit(key.slice()) != 0
    }

    /// The report of the only client of a slice was written.
    pub fn add(&mut self, key: Key) {
        self.slices[usize::from(key.leaf())] |= bit(key.slice());
    }

    /// A report of this slice was not written.
    pub fn remove(&mut self, key: Key) {
        self.slices[usize::from(key.leaf())] &= !bit(key.slice());
    }

    /// Whether a client with this tag must be written anew.
    pub fn lacks(&self, leaf: Leaf, tag: Tag) -> bool {
        self.slices[usize::from(leaf)] & bit(tag >> Span::SLICE_BITS) == 0
    }
}

fn bit(slice: u32) -> Slices {
    1 << slice
}
