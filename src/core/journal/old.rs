//! Segments that are not needed any more. Apart from `writer`, because a thread does this without
//! it.
//!
//! To make a file, to fill it and to remove it costs the system more than what is written to it. So
//! while a journal is busy, the files of old segments are kept as spares and written over:
//!
//! ```text
//!    17.herd ── rename ──▶ 17.herd.spare ── header of 23, synced ── rename ──▶ 23.herd
//!             sync of names                                      sync of names
//! ```
//!
//! The name of a segment never stands on the disk for what another one has begun with: a spare is
//! not written to before its old name is gone, and has its new one when its new header is there.
//! Its old frames are none of the new segment (`frame`). A spare says nothing: one that a life has
//! left is removed by the next.

use super::SegmentId;
use super::writer::Disk;

/// Segments that are to go, in the end or until they are written over.
#[derive(Debug, Default)]
pub struct OldSegments {
    /// The last are the first to go.
    waiting: Vec<(SegmentId, bool)>,
    gone: Vec<SegmentId>,
    spares: Vec<SegmentId>,
}

impl OldSegments {
    /// One more, which goes before those from before.
    pub(super) fn push(&mut self, id: SegmentId, is_spare: bool) {
        self.waiting.push((id, is_spare));
    }

    /// Removes files, or makes them spares, as long as they may go. Says whether none is left of
    /// which that was asked.
    pub fn run<D: Disk>(&mut self, disk: &D, may_go: impl Fn() -> bool) -> bool {
        while may_go()
            && let Some((id, is_spare)) = self.waiting.pop()
        {
            if is_spare && disk.keep_spare(id).is_ok() {
                self.spares.push(id);
            } else if disk.remove(id).is_ok() {
                self.gone.push(id);
            }
        }
        // Before that, its old name may come back, for whatever is in the file by then.
        if !self.spares.is_empty() && disk.sync_names().is_err() {
            for spare in self.spares.drain(..) {
                // If it stays, the next life removes it.
                let _ = disk.remove_spare(spare);
                self.gone.push(spare);
            }
        }
        self.waiting.is_empty()
    }

    /// What has gone, and what is a spare now.
    pub(super) fn into_gone(self) -> (Vec<SegmentId>, Vec<SegmentId>) {
        (self.gone, self.spares)
    }
}
