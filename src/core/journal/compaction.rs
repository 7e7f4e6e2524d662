//! When all that is known is written anew, so that old segments can go. Pure arithmetic: the
//! server gives the reports (`Server::append_missed`), the writer the numbers of segments.
//!
//! A compaction writes each report that is held once more, a leaf at a time, between the news. It
//! begins when the journal is several times as long as what it says, and ends when its last byte is
//! synced: then nothing before its first segment is needed. For each byte of news it may write two,
//! so it ends before half as much news has come as there are reports, and the journal has a bound:
//!
//! ```text
//!   noted from   room × live + 1 segment     the first segment that it will keep
//!   begins at    room × live + 4 segments
//!   bytes    ≤   (room + 1.5) × live + 6     with the rest of the last one, and the next
//! ```
//!
//! Who reports between the first two lies in a segment that is kept, and need not be written anew
//! (`renewed`): of a busy server's clients, that is most. There is no copy in memory and no fork,
//! for reports may be written in any order.

/// Bytes of a compaction for each byte of news.
const PACE: u64 = 2;
/// What was not used is not saved for ever: the disk would be flooded later.
const ALLOWED_BYTES_MAX: u64 = 4 << 20;

/// Whether a compaction is under way, and how far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compaction {
    /// Nothing is to be done.
    #[default]
    Idle,
    /// Nothing yet, but it is noted what is written.
    Noting {
        /// As for `Rewriting`.
        from: u32,
    },
    /// Reports are written again.
    Rewriting {
        /// The segment that was written to when it began, or when noting began: what comes before
        /// it will be old.
        from: u32,
        /// Bytes that may be written now.
        allowed: u64,
    },
    /// All reports have been given to the disk.
    Closing {
        /// As for `Rewriting`.
        from: u32,
        /// What must be synced.
        until: u64,
    },
}

impl Compaction {
    /// From now on it is noted what is written.
    pub fn note(&mut self, from: u32) {
        *self = Compaction::Noting { from };
    }

    /// Begins with what has not been written since `note`.
    pub fn begin_with_rest(&mut self) {
        if let Compaction::Noting { from } = *self {
            self.begin(from);
        }
    }

    /// Begins. The server has been told that the disk misses everything.
    pub fn begin(&mut self, from: u32) {
        *self = Compaction::Rewriting { from, allowed: 0 };
    }

    /// So many bytes of news were written; or so much time has gone by that the compaction may go
    /// on as if they were.
    pub fn earn(&mut self, bytes: u64) {
        if let Compaction::Rewriting { allowed, .. } = self {
            *allowed = (*allowed + PACE * bytes).min(ALLOWED_BYTES_MAX);
        }
    }

    /// Bytes of the compaction that may be written now.
    pub fn allowed(&self) -> u64 {
        match self {
            Compaction::Rewriting { allowed, .. } => *allowed,
            _ => 0,
        }
    }

    /// So many bytes of the compaction were written.
    pub fn spend(&mut self, bytes: u64) {
        if let Compaction::Rewriting { allowed, .. } = self {
            *allowed = allowed.saturating_sub(bytes);
        }
    }

    /// The disk misses nothing any more: so far has been written.
    pub fn all_given(&mut self, written: u64) {
        if let Compaction::Rewriting { from, .. } = *self {
            *self = Compaction::Closing { from, until: written };
        }
    }

    /// What must be synced, if a compaction waits for nothing else.
    pub fn waits_for(&self) -> Option<u64> {
        match *self {
            Compaction::Closing { until, .. } => Some(until),
            _ => None,
        }
    }

    /// The first segment that is needed from now on, once the compaction is synced. Then it is
    /// over.
    pub fn end(&mut self, synced: u64) -> Option<u32> {
        match *self {
            Compaction::Closing { from, until } if synced >= until => {
                *self = Compaction::Idle;
                Some(from)
            }
            _ => None,
        }
    }
}
