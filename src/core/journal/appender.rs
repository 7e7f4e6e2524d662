//! The loop's account of a journal: what was appended, what of it is kept, and which answers wait
//! for that. Pure: threads write and sync meanwhile, and say how far they are ([`Progress`]).
//!
//! ```text
//!   news ──▶ buffer ──▶ (a thread writes) ──▶ (a thread syncs)
//!   appended             written               synced          positions, in bytes of lines
//!
//!   answers that were queued at position N leave when N is kept
//! ```
//!
//! An answer waits for all that was appended before it, not only for its own report: a client that
//! says the same again would else be told that it is known before it is kept.

use std::collections::VecDeque;
use std::mem;
use std::ops::Range;

use super::compaction::Compaction;
use super::writer::Progress;
use crate::names::ConnId;

/// What an answer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The system has taken the report: it survives the process.
    Written,
    /// The disk has it: it survives the machine.
    Synced,
}

/// What a journal may take of a disk, and of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// A segment that has become so long is left for the next.
    pub segment_bytes: u64,
    /// Space amplification: a journal may grow to this multiple of what it says, and by
    /// [`SEGMENTS_MORE`].
    pub room: u64,
    /// Bytes that may wait to be written. Half of them are for reports of clients alone.
    pub buffer_bytes: u64,
}

/// Segments that a journal may have before everything is written anew, however little it says.
pub const SEGMENTS_MORE: u64 = 4;
/// The same, before it is noted what is written.
const SEGMENTS_NOTED: u64 = 1;
/// Bytes of what was missed that are given at a time.
const PIECE_BYTES: u64 = 64 * 1024;
/// The same of a compaction, which must keep its pace beside all the news that one turn of a busy
/// loop may bring; so much takes a third of a millisecond.
const COMPACTION_PIECE_BYTES: u64 = 2 * PIECE_BYTES;

/// What a server must do so that old segments can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing that it does not do already.
    Nothing,
    /// Note from now on which reports are written.
    Noting,
    /// Write anew what was not written since that was noted.
    Rest,
    /// Write everything anew.
    All,
}

/// The loop's account.
pub struct Appender {
    keep: Keep,
    sizes: Sizes,
    /// Lines that were appended and not handed over.
    unwritten: Vec<u8>,
    appended: u64,
    progress: Progress,
    /// What is kept; it never goes back.
    kept: u64,
    /// What is on the disk for certain; it never goes back, either.
    synced: u64,
    /// The disk has lost something, and nothing more is kept until all is there again.
    needs_rewrite: bool,
    /// The server does not know of that yet.
    is_loss_untold: bool,
    /// It has lost something again before all was there.
    fails_again: bool,
    compaction: Compaction,
    /// The first segment that is needed since the last compaction.
    oldest: u32,
    /// So long the journal may become before the next.
    grows_to: u64,
    /// The last compaction for which a sync was wished, by where it ends.
    wished_until: u64,
    /// An operator wants everything rewritten.
    is_compaction_wanted: bool,
    /// Files are not removed for now, however long the journal becomes.
    keeps_files: bool,
    held: VecDeque<Held>,
}

/// Answers of a connection that wait.
struct Held {
    until: u64,
    conn: ConnId,
    bytes: usize,
}

impl Appender {
    /// Nothing is appended so far.
    pub fn new(keep: Keep, sizes: Sizes) -> Appender {
        Appender {
            keep,
            sizes,
            unwritten: Vec::new(),
            appended: 0,
            progress: Progress::default(),
            kept: 0,
            synced: 0,
            needs_rewrite: false,
            is_loss_untold: false,
            fails_again: false,
            compaction: Compaction::Idle,
            oldest: 0,
            grows_to: 0,
            wished_until: 0,
            is_compaction_wanted: false,
            keeps_files: false,
            held: VecDeque::new(),
        }
    }

    /// Takes news out of a text.
    pub fn append(&mut self, text: &[u8], news: &[Range<usize>]) {
        let bytes = self.take(text, news);
        self.compaction.earn(bytes);
    }

    /// Takes what the journal had missed.
    pub fn append_missed(&mut self, text: &[u8], missed: &[Range<usize>]) {
        let bytes = self.take(text, missed);
        self.compaction.spend(bytes);
    }

    fn take(&mut self, text: &[u8], ranges: &[Range<usize>]) -> u64 {
        let before = self.unwritten.len();
        ranges.iter().for_each(|range| self.unwritten.extend_from_slice(&text[range.clone()]));
        let bytes = (self.unwritten.len() - before) as u64;
        self.appended += bytes;
        bytes
    }

    /// What was appended since it was last asked for, to be written. `spare` is empty, and its
    /// memory is used from now on.
    pub fn hand_over(&mut self, spare: Vec<u8>) -> Vec<u8> {
        debug_assert!(spare.is_empty());
        mem::replace(&mut self.unwritten, spare)
    }

    /// Whether there is something to be written.
    pub fn has_news(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// Learns how far the threads are.
    pub fn update(&mut self, progress: Progress) {
        let has_lost = progress.losses > self.progress.losses;
        self.progress = progress;
        self.fails_again |= has_lost && self.needs_rewrite;
        if has_lost {
            self.needs_rewrite = true;
            self.is_loss_untold = true;
            self.compaction.begin(progress.segment);
        }
        if !self.needs_rewrite {
            self.synced = progress.synced;
            self.kept = self.kept.max(match self.keep {
                Keep::Written => progress.written,
                Keep::Synced => progress.synced,
            });
        }
    }

    /// Whether the disk has lost something, so that the journal must be given everything again.
    /// True once for each time.
    pub fn take_loss(&mut self) -> bool {
        mem::take(&mut self.is_loss_untold)
    }

    /// What was appended so far.
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// What is on the disk for certain.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Whether something that was kept once may not be on the disk, and is being written again.
    pub fn needs_rewrite(&self) -> bool {
        self.needs_rewrite
    }

    /// Whether all that was appended is kept, so that no answer need wait.
    pub fn is_all_kept(&self) -> bool {
        self.kept == self.appended
    }

    /// So many more bytes to this connection wait for all that was appended so far.
    pub fn hold(&mut self, conn: ConnId, bytes: usize) {
        self.held.push_back(Held { until: self.appended, conn, bytes });
    }

    /// A connection and how many of its bytes may leave now.
    pub fn release(&mut self) -> Option<(ConnId, usize)> {
        self.held.front().filter(|held| held.until <= self.kept)?;
        self.held.pop_front().map(|held| (held.conn, held.bytes))
    }

    /// The same for one that may leave though it is not kept.
    pub fn release_unkept(&mut self) -> Option<(ConnId, usize)> {
        self.held.pop_front().map(|held| (held.conn, held.bytes))
    }

    /// Whether the disk fails again and again, so that nothing is kept.
    pub fn fails_again(&self) -> bool {
        self.fails_again
    }

    /// How often answers were made to wait that still do.
    pub fn holds(&self) -> usize {
        self.held.len()
    }

    /// Whether any answer waits.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Bytes that may be appended before the buffer is full.
    pub fn room_bytes(&self) -> usize {
        let waiting = self.appended.saturating_sub(self.progress.written);
        self.sizes.buffer_bytes.saturating_sub(waiting) as usize
    }

    /// Room for reports of peers: the other half is for those of clients.
    pub fn peers_room_bytes(&self) -> usize {
        self.room_bytes().saturating_sub(self.sizes.buffer_bytes as usize / 2)
    }

    /// Whether so much waits that no more lines of clients should be taken.
    pub fn is_congested(&self) -> bool {
        self.peers_room_bytes() == 0
    }

    /// Bytes of what was missed that may be appended now. After a loss, answers wait for them, and
    /// then no pace is kept.
    pub fn missed_bytes(&self) -> usize {
        let allowed = match self.compaction {
            Compaction::Rewriting { .. } if !self.needs_rewrite => {
                self.compaction.allowed().min(COMPACTION_PIECE_BYTES)
            }
            _ => PIECE_BYTES,
        };
        allowed.min(self.peers_room_bytes() as u64) as usize
    }

    /// The journal misses something that an earlier life has said; nothing is kept until it has
    /// been given that. Segments from `oldest` on are needed still.
    pub fn begin_with_rewrite(&mut self, oldest: u32) {
        self.needs_rewrite = true;
        self.compaction.begin(oldest);
    }

    /// Everything is rewritten, for something of the journal has gone bad.
    pub fn begin_compaction(&mut self) {
        self.compaction.begin(self.progress.segment);
    }

    /// Everything is to be rewritten when it is next asked whether that is due.
    pub fn want_compaction(&mut self) {
        self.is_compaction_wanted = true;
    }

    /// No file is removed for now, or files are removed again. Meanwhile no length makes a
    /// compaction due: it would save nothing.
    pub fn keep_files(&mut self, keeps_files: bool) {
        self.keeps_files = keeps_files;
    }

    /// What must be done now so that old segments can go: the operator wants it, or the journal is
    /// too long for reports that take `live_bytes`. Each but `Nothing` once for each time.
    pub fn begin_compaction_if_due(&mut self, live_bytes: u64) -> Due {
        let Sizes { segment_bytes, room, .. } = self.sizes;
        self.grows_to = room * live_bytes + SEGMENTS_MORE * segment_bytes;
        // What the last compaction has made old is still counted until the writer knows that it is
        // old.
        let is_counted = self.progress.oldest >= self.oldest && !self.keeps_files;
        let is_longer = |segments: u64| {
            is_counted && self.progress.bytes > room * live_bytes + segments * segment_bytes
        };
        let is_long = self.is_compaction_wanted || is_longer(SEGMENTS_MORE);
        match self.compaction {
            Compaction::Noting { .. } if is_long && !self.is_compaction_wanted => {
                self.compaction.begin_with_rest();
                Due::Rest
            }
            Compaction::Idle | Compaction::Noting { .. } if is_long => {
                self.is_compaction_wanted = false;
                self.begin_compaction();
                Due::All
            }
            Compaction::Idle if is_longer(SEGMENTS_NOTED) => {
                self.compaction.note(self.progress.segment);
                Due::Noting
            }
            _ => Due::Nothing,
        }
    }

    /// Time has gone by in which a compaction may write so much, whether there is news or not.
    pub fn earn_by_clock(&mut self, bytes: u64) {
        self.compaction.earn(bytes);
    }

    /// What an answer waits for.
    pub fn keep(&self) -> Keep {
        self.keep
    }

    /// The journal has missed nothing that it has not been given since.
    pub fn all_given(&mut self) {
        self.compaction.all_given(self.appended);
    }

    /// Whether a compaction is written and waits for a sync alone. True once for each: if it waited
    /// until the next is due, all that comes meanwhile would lie beside what is to be removed.
    pub fn take_sync_wish(&mut self) -> bool {
        let until = self.compaction.waits_for().filter(|until| self.progress.written >= *until);
        until.is_some_and(|until| mem::replace(&mut self.wished_until, until) != until)
    }

    /// The number of the first segment that is needed, when a compaction is over.
    pub fn end_compaction(&mut self) -> Option<u32> {
        let oldest = self.compaction.end(self.progress.synced)?;
        self.oldest = oldest;
        self.needs_rewrite = false;
        self.fails_again = false;
        Some(oldest)
    }

    /// How many bytes the journal may have before a compaction is due, as far as is known now.
    pub fn grows_to(&self) -> u64 {
        self.grows_to
    }

    /// Whether some of a compaction has not been appended yet.
    pub fn is_giving(&self) -> bool {
        matches!(self.compaction, Compaction::Rewriting { .. })
    }

    /// Whether everything is being rewritten.
    pub fn is_compacting(&self) -> bool {
        !matches!(self.compaction, Compaction::Idle | Compaction::Noting { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a disk that has failed once is trusted to take all of it anew; one that fails at that
    /// is not, until it has.
    #[test]
    fn a_disk_may_fail_once() {
        let sizes = Sizes { segment_bytes: 1_000, room: 2, buffer_bytes: 1_000 };
        let mut appender = Appender::new(Keep::Written, sizes);
        appender.append(b"x", std::slice::from_ref(&(0..1)));
        let mut update = |losses, synced| {
            appender.update(Progress { losses, written: 1, synced, ..Progress::default() });
            appender.all_given();
            (appender.fails_again(), appender.end_compaction().is_some())
        };
        assert_eq!(update(0, 0), (false, false));
        assert_eq!(update(1, 0), (false, false));
        assert_eq!(update(2, 0), (true, false));
        assert_eq!(update(2, 1), (true, true));
        assert_eq!(update(3, 1), (false, true), "it is whole again");
    }

    /// Goal: what a compaction has made old is removed as soon as it can be.
    #[test]
    fn a_compaction_that_is_written_wants_one_sync() {
        let sizes = Sizes { segment_bytes: 1_000, room: 2, buffer_bytes: 1_000 };
        let mut appender = Appender::new(Keep::Written, sizes);
        for appended in 1..4 {
            appender.begin_compaction();
            assert!(!appender.take_sync_wish() && appender.is_giving());
            appender.append(b"x", std::slice::from_ref(&(0..1)));
            appender.all_given();
            assert!(!appender.take_sync_wish(), "it is not written");
            assert!(!appender.is_giving() && appender.is_compacting(), "the loop may sleep");
            appender.update(Progress { written: appended, ..Progress::default() });
            assert!(appender.take_sync_wish());
            assert!(!appender.take_sync_wish());
        }
    }

    /// Goal: a compaction is not followed by another because its old segments are still there.
    #[test]
    fn what_is_being_removed_makes_no_compaction_due() {
        let sizes = Sizes { segment_bytes: 1_000, room: 2, buffer_bytes: 1_000 };
        let mut appender = Appender::new(Keep::Written, sizes);
        let long = Progress { segment: 7, bytes: 9_000, oldest: 3, ..Progress::default() };
        appender.update(long);
        assert_eq!(appender.begin_compaction_if_due(1_000), Due::All);
        appender.all_given();
        assert_eq!(appender.end_compaction(), Some(7));
        let due = appender.begin_compaction_if_due(1_000);
        assert_eq!(due, Due::Nothing, "the writer does not know yet what is old");
        appender.update(Progress { oldest: 7, bytes: 3_000, ..long });
        assert_eq!(appender.begin_compaction_if_due(1_000), Due::Nothing);
        appender.update(Progress { oldest: 7, bytes: 9_000, ..long });
        assert_eq!(appender.begin_compaction_if_due(1_000), Due::All, "it has become long again");
    }

    /// Goal: a journal has its bound, and before it is reached, it is noted who need not be written
    /// anew.
    #[test]
    fn it_is_noted_what_is_written_before_a_compaction() {
        let sizes = Sizes { segment_bytes: 1_000, room: 2, buffer_bytes: 1_000 };
        let mut appender = Appender::new(Keep::Written, sizes);
        let mut due = |segment, bytes| {
            appender.update(Progress { segment, bytes, ..Progress::default() });
            let found = [(); 2].map(|()| appender.begin_compaction_if_due(1_000));
            let is_compacting = appender.is_compacting();
            appender.all_given();
            (found, is_compacting, appender.end_compaction())
        };
        assert_eq!(due(3, 3_000), ([Due::Nothing; 2], false, None));
        assert_eq!(due(3, 3_001), ([Due::Noting, Due::Nothing], false, None));
        assert_eq!(due(5, 6_000), ([Due::Nothing; 2], false, None));
        assert_eq!(due(6, 6_001), ([Due::Rest, Due::Nothing], true, Some(3)));
    }

    /// Goal: if an operator wants everything written anew, it is not what was not noted.
    #[test]
    fn an_operator_has_all_of_it_written_anew() {
        let sizes = Sizes { segment_bytes: 1_000, room: 2, buffer_bytes: 1_000 };
        let mut appender = Appender::new(Keep::Written, sizes);
        appender.update(Progress { segment: 3, bytes: 3_001, ..Progress::default() });
        assert_eq!(appender.begin_compaction_if_due(1_000), Due::Noting);
        appender.update(Progress { segment: 5, bytes: 3_001, ..Progress::default() });
        appender.want_compaction();
        assert_eq!(appender.begin_compaction_if_due(1_000), Due::All);
        appender.all_given();
        assert_eq!(appender.end_compaction(), Some(5));
    }

    /// Goal: a compaction keeps its pace, whatever one turn brings.
    #[test]
    fn a_compaction_writes_two_bytes_for_each_of_news() {
        let sizes = Sizes { segment_bytes: 1_000, room: 2, buffer_bytes: 8 << 20 };
        let mut appender = Appender::new(Keep::Written, sizes);
        appender.begin_compaction();
        let news = vec![b'x'; 50_000];
        appender.append(&news, std::slice::from_ref(&(0..news.len())));
        assert_eq!(appender.missed_bytes(), 2 * news.len());
        appender.append(&news, std::slice::from_ref(&(0..news.len())));
        assert_eq!(appender.missed_bytes(), COMPACTION_PIECE_BYTES as usize, "and no turn is long");
    }
}
