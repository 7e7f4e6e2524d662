//! What the journal is given: news as it comes, and what it has missed when there is room for it.
//! Apart from `journal`, which says how that lies in files.
//!
//! To a server, its disk is one more slow peer. It has a mark for each leaf of which it may not
//! hold everything; those are written from memory, a piece at a time, whatever they have come of:
//! news that found no room, a disk that has failed, or a journal that has become too long.
//!
//! An answer to a client rests on a report, and that must be kept first. Reports of clients always
//! find room, for the reactor reads no more of them while there is little. A peer's may not; if a
//! client then says or asks for what only memory holds, it is written before the answer.

use std::ops::Range;

use super::Server;
use super::border::Outputs;
use super::clock::PosixTime;
use super::digest::{LEAVES, Leaf, Node};
use super::journal::load::Found;
use super::link::Marks;
use super::store::{Key, Place, Verdict};
use super::wire::Report;

/// The account of what the disk has been given.
pub(super) struct Journaling {
    /// Leaves of which the disk may not hold everything.
    missed: Marks,
    /// Where the leaf goes on of which a piece was written last.
    writing: Option<Place>,
    /// Bytes that the disk takes now.
    room: usize,
}

impl Journaling {
    /// A disk that holds all that is known so far.
    pub fn new() -> Journaling {
        Journaling { missed: Marks::none_of(LEAVES), writing: None, room: 0 }
    }

    fn is_behind(&self) -> bool {
        self.writing.is_some() || !self.missed.is_empty()
    }

    fn next_place(&mut self) -> Option<Place> {
        let leaf = |leaf: usize| Place { leaf: leaf as Leaf, tag: 0 };
        self.writing.take().or_else(|| self.missed.take().map(leaf))
    }
}

impl Server {
    /// Whether the journal has missed something.
    pub fn is_journal_behind(&self) -> bool {
        self.journaling.as_ref().is_some_and(Journaling::is_behind)
    }

    /// Gives the journal a report that is news. A peer's may have to wait.
    #[inline]
    pub(super) fn lay(
        &mut self,
        leaf: Leaf,
        line: Range<usize>,
        is_clients: bool,
        out: &mut Outputs,
    ) {
        let Some(journaling) = &mut self.journaling else { return };
        if !is_clients && journaling.room < line.len() {
            journaling.missed.add(leaf.into());
            return;
        }
        journaling.room = journaling.room.saturating_sub(line.len());
        out.lay(line);
    }

    /// Gives the journal what an answer is about to rest on, if it may have missed that.
    pub(super) fn lay_held(&mut self, key: Key, client: &[u8], out: &mut Outputs) {
        let Some(journaling) = &self.journaling else { return };
        let is_writing = journaling.writing.is_some_and(|place| place.leaf == key.leaf());
        if !is_writing && !journaling.missed.has(key.leaf().into()) {
            return;
        }
        if let Some(held) = self.store.find(client) {
            let start = out.text.len();
            held.write_line(&mut out.text);
            out.lay(start..out.text.len());
        }
    }

    /// The journal has room for news, and for so much of what it has missed.
    pub(super) fn journal_room(&mut self, bytes: usize, missed_bytes: usize, out: &mut Outputs) {
        let Some(journaling) = &mut self.journaling else { return };
        journaling.room = bytes;
        let start = out.text.len();
        let is_enough = |out: &Outputs| out.text.len() - start >= missed_bytes;
        while !is_enough(out)
            && let Some(place) = journaling.next_place()
        {
            let mut last = None;
            for (tag, report) in self.store.reports_from(place) {
                // Reports of one tag are never parted: the next piece begins at a tag.
                if is_enough(out) && last != Some(tag) {
                    journaling.writing = Some(Place { tag, ..place });
                    break;
                }
                report.write_line(&mut out.text);
                self.counters.walked += 1;
                last = Some(tag);
            }
        }
        if out.text.len() > start {
            out.lay(start..out.text.len());
        }
    }

    /// The journal must be given everything that is held.
    pub fn journal_misses_all(&mut self) {
        let Some(journaling) = &mut self.journaling else { return };
        self.store.digest().filled(Node::ROOT).for_each(|leaf| journaling.missed.add(leaf.into()));
    }

    /// Takes a report that was found in the journal, when the server starts: nobody hears of it. If
    /// it is not certain that the disk has it, it is written again. Says whether it is spelled as a
    /// report.
    pub fn restore(&mut self, found: Found<'_>) -> bool {
        let Some(report) = Report::of_line(found.line) else { return false };
        if *report.server == *self.settings.name {
            self.stamps.restore(PosixTime::heard_at(report.stamp, report.skew));
        }
        let leaf = self.store.key(report.client).leaf();
        if let Verdict::News { .. } = self.store.put(&report)
            && !found.is_synced
            && let Some(journaling) = &mut self.journaling
        {
            journaling.missed.add(leaf.into());
        }
        true
    }
}
