//! What is found in the files of a journal. Apart from `frame`, because that says what a frame is,
//! and this what it means that there is none.
//!
//! Damage is never the end: behind it, frames are looked for byte by byte. Only where none follows
//! does it matter which segment it is. The last one that was written to may end anywhere, for a
//! process or a machine has died: its tail is torn, which is normal. How long each earlier one
//! became stands in a later one, and what is less than that is damage.

use std::collections::BTreeMap;
use std::ops::Range;

use super::frame::{self, Fact, Frame, HEADER_BYTES};
use super::{JournalId, SegmentId};

/// A part of a segment, as it lies there.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A whole frame.
    Frame(Frame<'a>),
    /// Bytes that are no frame, with a frame behind them.
    Gap(Range<usize>),
    /// Bytes behind the last frame, and not all of them zero.
    Tail(Range<usize>),
}

/// The pieces of a segment from the end of its header on, in order. Each frame's `offset` is where
/// the one before ends.
pub struct Pieces<'a> {
    id: SegmentId,
    segment: &'a [u8],
    at: usize,
}

impl<'a> Pieces<'a> {
    /// Of a segment with its header, however damaged that is: the file's name says what it is.
    pub fn of(id: SegmentId, segment: &'a [u8]) -> Pieces<'a> {
        Pieces { id, segment, at: HEADER_BYTES.min(segment.len()) }
    }

    /// Where the next piece begins, or the last one ends.
    pub fn offset(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let rest = &self.segment[self.at..];
        if let Some(frame) = frame::read(self.id, self.segment, self.at) {
            self.at += frame.bytes();
            return Some(Piece::Frame(frame));
        }
        let is_frame = |at: &usize| frame::read(self.id, self.segment, self.at + at).is_some();
        if let Some(next) = memchr::memchr_iter(b'#', rest).find(is_frame) {
            let gap = self.at..self.at + next;
            self.at = gap.end;
            return Some(Piece::Gap(gap));
        }
        // What was never written to is zero: a segment is filled with zeros before it is used, and
        // a file system may have made it longer without its data.
        let len = rest.iter().rposition(|&byte| byte != 0)? + 1;
        let tail = self.at..self.at + len;
        self.segment = &self.segment[..self.at];
        Some(Piece::Tail(tail))
    }
}

/// A verified frame says something that this version does not know. It is of a later version, and
/// to guess would be to lose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownLine {
    /// Where.
    pub id: SegmentId,
    /// What.
    pub line: String,
}

/// Bytes of a segment that should be frames and are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Which segment.
    pub id: SegmentId,
    /// Where in it.
    pub bytes: Range<u64>,
}

/// What was found in all segments together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Segments that were read.
    pub segments: usize,
    /// Frames of reports.
    pub frames: u64,
    /// Reports in them; there may be several of a client.
    pub reports: u64,
    /// Bytes behind the last frame of a segment that a process or a machine died over.
    pub torn_bytes: u64,
    /// What has gone bad.
    pub damaged: Vec<Damage>,
    /// Segments that should be there.
    pub missing: Vec<SegmentId>,
}

impl Findings {
    /// Whether nothing is wrong. A torn tail is normal.
    pub fn are_whole(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty()
    }
}

/// Reads the segments of journals, one after the other in any order, and then knows what is
/// missing.
#[derive(Default)]
pub struct Survey {
    findings: Findings,
    journals: BTreeMap<JournalId, Segments>,
}

/// What is known of the segments of one journal.
#[derive(Default)]
struct Segments {
    /// Those that were read.
    seen: BTreeMap<u32, Seen>,
    /// How long segments became, as later ones say.
    lengths: BTreeMap<u32, u64>,
    /// The first one that is needed.
    oldest: u32,
}

struct Seen {
    /// Where its last frame ends.
    end: u64,
    has_frames: bool,
    /// Bytes behind it that are something else.
    tail: Range<u64>,
}

impl Survey {
    /// Reads one segment. Each line of a report is given to `take`, without its newline, which says
    /// whether it is one.
    ///
    /// # Errors
    ///
    /// If a frame that is whole says what is not known here; nothing behind it has been read.
    pub fn read(
        &mut self,
        id: SegmentId,
        segment: &[u8],
        mut take: impl FnMut(&[u8]) -> bool,
    ) -> Result<(), UnknownLine> {
        let journal = self.journals.entry(id.journal).or_default();
        let mut pieces = Pieces::of(id, segment);
        let mut seen = Seen { end: pieces.offset() as u64, has_frames: false, tail: 0..0 };
        self.findings.segments += 1;
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Frame(frame) => {
                    seen.end = pieces.offset() as u64;
                    seen.has_frames = true;
                    self.findings.frames += u64::from(frame.reports > 0);
                    self.findings.reports += frame.reports as u64;
                    for line in frame.payload.split_inclusive(|&byte| byte == b'\n') {
                        let line = &line[..line.len() - 1];
                        if let Some(fact) = Fact::parse(line) {
                            journal.note(fact);
                        } else if !take(line) {
                            let line = String::from_utf8_lossy(line).into_owned();
                            return Err(UnknownLine { id, line });
                        }
                    }
                }
                Piece::Gap(gap) => {
                    let bytes = gap.start as u64..gap.end as u64;
                    self.findings.damaged.push(Damage { id, bytes });
                }
                Piece::Tail(tail) => seen.tail = tail.start as u64..tail.end as u64,
            }
        }
        journal.seen.insert(id.number, seen);
        Ok(())
    }

    /// Says what was found, once all segments are read.
    pub fn finish(mut self) -> Findings {
        for (&journal, segments) in &self.journals {
            segments.judge(journal, &mut self.findings);
        }
        self.findings.damaged.sort_by_key(|damage| (damage.id, damage.bytes.start));
        self.findings
    }
}

impl Segments {
    fn note(&mut self, fact: Fact) {
        match fact {
            Fact::After { segment, bytes } => {
                let length = self.lengths.entry(segment).or_default();
                *length = bytes.max(*length);
            }
            Fact::Oldest { segment } => self.oldest = self.oldest.max(segment),
        }
    }

    fn judge(&self, journal: JournalId, findings: &mut Findings) {
        let written_last = self.seen.iter().rev().find(|(_, seen)| seen.has_frames);
        let written_last = written_last.map_or(0, |(&number, _)| number);
        for (&number, seen) in &self.seen {
            let id = SegmentId { journal, number };
            let tail_bytes = seen.tail.end - seen.tail.start;
            let lost = match self.lengths.get(&number) {
                Some(&length) => seen.end..length,
                // It was the last one to be written to, or it never was.
                None if number >= written_last => 0..0,
                None => seen.tail.clone(),
            };
            if lost.is_empty() {
                findings.torn_bytes += tail_bytes;
            } else {
                findings.damaged.push(Damage { id, bytes: lost });
            }
        }
        let last = self.seen.last_key_value().map_or(0, |(&number, _)| number);
        let missing = (self.oldest.max(1)..=last).filter(|number| !self.seen.contains_key(number));
        findings.missing.extend(missing.map(|number| SegmentId { journal, number }));
    }
}
