//! What waits for the writer: bytes as they came, and what each stretch of them is. The loop's
//! share of logging a line ends here, with a copy; to make text of it is the writer's.

use std::mem;
use std::time::Duration;

use herd_core::names::ConnId;

use super::sink::count_lines;
use super::traffic;

/// What a stretch of bytes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Finished lines of the log.
    Text,
    Traffic(Traffic),
}

/// Lines that a connection has sent, or was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    pub conn: ConnId,
    pub way: Way,
    /// Since the Unix epoch.
    pub at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    In,
    Out,
}

/// Stretches of bytes, in the order in which they came.
#[derive(Default)]
pub(super) struct Entries {
    list: Vec<Entry>,
    bytes: Vec<u8>,
}

struct Entry {
    what: What,
    bytes: usize,
}

impl Entries {
    /// Has room for so many bytes of lines without moving them.
    pub(super) fn with_capacity(bytes: usize) -> Entries {
        Entries { list: Vec::new(), bytes: Vec::with_capacity(bytes) }
    }

    /// The memory that one more entry takes.
    pub(super) const fn size_of(bytes: usize) -> usize {
        mem::size_of::<Entry>() + bytes
    }

    /// The memory that all of them take.
    pub(super) fn size(&self) -> usize {
        self.list.len() * mem::size_of::<Entry>() + self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Adds an entry, of a byte at least.
    pub(super) fn push(&mut self, what: What, bytes: &[u8]) {
        debug_assert!(!bytes.is_empty());
        self.list.push(Entry { what, bytes: bytes.len() });
        self.bytes.extend_from_slice(bytes);
    }
}

/// Entries on their way to the disk, from the front.
#[derive(Default)]
pub(super) struct Reader {
    entries: Entries,
    /// The entry that is read, and where in all the bytes it is read on.
    entry: usize,
    at: usize,
    /// The end of the entry in all the bytes; `at` if it has not been begun.
    end: usize,
}

impl Reader {
    pub(super) fn new(entries: Entries) -> Reader {
        Reader { entries, ..Reader::default() }
    }

    /// There is nothing left.
    pub(super) fn is_done(&self) -> bool {
        self.entry == self.entries.list.len()
    }

    /// Takes the full entries, for those that have been read.
    pub(super) fn swap(&mut self, full: &mut Entries) {
        debug_assert!(self.is_done());
        self.entries.list.clear();
        self.entries.bytes.clear();
        mem::swap(&mut self.entries, full);
        (self.entry, self.at, self.end) = (0, 0, 0);
    }

    /// Gives the rest of the entry that is read to `take`, which says how much of it it has taken:
    /// a byte at least.
    pub(super) fn read(&mut self, take: impl FnOnce(What, &[u8]) -> usize) {
        let Some(entry) = self.entries.list.get(self.entry) else { return };
        if self.at == self.end {
            self.end = self.at + entry.bytes;
        }
        self.at += take(entry.what, &self.entries.bytes[self.at..self.end]);
        if self.at == self.end {
            self.entry += 1;
        }
    }

    /// Lines of the log that what is left would be.
    pub(super) fn count_lines(mut self) -> u64 {
        let mut lines = 0;
        while !self.is_done() {
            self.read(|what, bytes| {
                lines += count(what, bytes);
                bytes.len()
            });
        }
        lines
    }
}

/// Lines of the log that these bytes are.
pub(super) fn count(what: What, bytes: &[u8]) -> u64 {
    match what {
        What::Text => count_lines(bytes),
        What::Traffic(Traffic { way, .. }) => traffic::count(way, bytes),
    }
}
