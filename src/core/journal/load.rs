//! What is found in the files of a journal. Apart from `frame`, because that says what a frame is,
//! and this what it means that there is none.
//!
//! Damage is never the end: behind it, frames are looked for byte by byte. Whether bytes that are
//! no frame are damage depends on where they lie. What was synced is said in later frames, and if
//! it is not there any more, the disk has lost it. What was not may have been torn off or have
//! holes, for a process or a machine has died: that is normal.

use std::collections::BTreeMap;
use std::ops::Range;

use super::frame::{self, Fact, Frame, HEADER_BYTES, Header};
use super::{JournalId, SegmentId};

/// Compared with, many bytes at a time.
const ZEROS: [u8; 4096] = [0; 4096];

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
        let len = bytes_until_zeros(self.unfinished())?;
        let tail = self.at..self.at + len;
        self.segment = &self.segment[..self.at];
        Some(Piece::Tail(tail))
    }
}

impl<'a> Pieces<'a> {
    /// What lies behind the last frame and may be of a write that has not come to its end.
    fn unfinished(&self) -> &'a [u8] {
        let rest = &self.segment[self.at..];
        let header = Header::parse(self.segment).ok().filter(|header| header.id == self.id);
        let Some(over) = header.and_then(|header| header.over) else { return rest };
        if rest.first() == Some(&0) {
            return &[];
        }
        // What the file has said before is nothing that was torn.
        let old = SegmentId { number: over, ..self.id };
        let is_old = |at: &usize| frame::read(old, self.segment, self.at + at).is_some();
        memchr::memchr_iter(b'#', rest).find(is_old).map_or(rest, |old| &rest[..old])
    }
}

/// How many bytes come before those at the end that are all zero. What was never written to is: a
/// segment is filled with zeros before it is used, and a file system may have made it longer
/// without its data.
fn bytes_until_zeros(bytes: &[u8]) -> Option<usize> {
    let last = bytes.chunks(ZEROS.len()).rposition(|piece| *piece != ZEROS[..piece.len()])?;
    let begin = last * ZEROS.len();
    let piece = &bytes[begin..bytes.len().min(begin + ZEROS.len())];
    Some(begin + piece.iter().rposition(|&byte| byte != 0)? + 1)
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
    /// Bytes that a process or a machine died over, before they were synced.
    pub torn_bytes: u64,
    /// What has gone bad, though it was synced.
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

/// What a writer that goes on with a journal must know of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// How long they are, those of other journals among them.
    pub lengths: BTreeMap<SegmentId, u64>,
    /// The first segment that is needed.
    pub oldest: u32,
    /// How much of the segments of this journal was synced.
    pub synced: BTreeMap<u32, u64>,
}

/// Lines of reports that were found together: a frame's.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Each with its newline.
    pub text: &'a [u8],
    /// They are on the disk for certain. Others may be in the system's memory alone, even after
    /// another sync: an earlier one may have failed, which a new process cannot know. They must be
    /// written again.
    pub is_synced: bool,
}

impl<'a> Found<'a> {
    /// The lines without their newlines.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        lines(self.text)
    }

    /// Gives each line to `take`, which says whether it is a report.
    ///
    /// # Errors
    /// The first that is none.
    pub fn each(&self, mut take: impl FnMut(&'a [u8]) -> bool) -> Result<(), &'a [u8]> {
        self.lines().find(|line| !take(line)).map_or(Ok(()), Err)
    }
}

/// Reads the segments of journals, one after the other, and then knows what is missing. The newest
/// should be the first: it is there that others are said to be synced.
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
    /// How much of them was synced.
    synced: BTreeMap<u32, u64>,
    /// The first one that is needed.
    oldest: u32,
}

struct Seen {
    /// Bytes of the file.
    len: u64,
    /// Where its last frame ends.
    end: u64,
    /// Bytes between and behind frames that are something else.
    bad: Vec<Range<u64>>,
    /// Its header is that of another segment.
    is_misnamed: bool,
}

impl Seen {
    fn has_frames(&self) -> bool {
        self.end > HEADER_BYTES as u64
    }
}

/// Whether anything in a segment was written to this one.
fn has_frames(id: SegmentId, segment: &[u8]) -> bool {
    Pieces::of(id, segment).any(|piece| matches!(piece, Piece::Frame(_)))
}

/// What of a header is bad that cannot be read, or is another one's. Without frames, its server may
/// have died while making it, and then zeros are nothing.
fn bad_header(segment: &[u8], has_frames: bool) -> Option<Range<u64>> {
    let head = &segment[..HEADER_BYTES.min(segment.len())];
    let last =
        if has_frames { HEADER_BYTES - 1 } else { head.iter().rposition(|&byte| byte != 0)? };
    Some(0..last as u64 + 1)
}

impl Survey {
    /// Reads one segment. The lines of reports are given to `take`, a frame's at a time, so that it
    /// can look ahead; it gives back one that is no report.
    ///
    /// # Errors
    ///
    /// If a frame that is whole says what is not known here; nothing behind it has been read.
    pub fn read(
        &mut self,
        id: SegmentId,
        segment: &[u8],
        mut take: impl for<'a> FnMut(Found<'a>) -> Result<(), &'a [u8]>,
    ) -> Result<(), UnknownLine> {
        let unknown = |line| UnknownLine { id, line: String::from_utf8_lossy(line).into_owned() };
        // A whole file may lie in another one's place. It is as good as any, but nothing that is
        // said of the place is true of it. A header may, too, before the frames of this one.
        let header = Header::parse(segment).ok().map(|header| header.id);
        let other = header.filter(|&other| other != id && !has_frames(id, segment));
        let (written_as, is_misnamed) = (other.unwrap_or(id), other.is_some());
        let journal = self.journals.entry(written_as.journal).or_default();
        let (mut pieces, mut reports) = (Pieces::of(written_as, segment), Vec::new());
        let (len, end) = (segment.len() as u64, pieces.offset() as u64);
        let mut seen = Seen { len, end, bad: Vec::new(), is_misnamed };
        self.findings.segments += 1;
        // What a segment says of itself stands anywhere in it, so reports are taken later.
        while let Some(piece) = pieces.next() {
            let frame = match piece {
                Piece::Frame(frame) => frame,
                Piece::Gap(bad) | Piece::Tail(bad) => {
                    seen.bad.push(bad.start as u64..bad.end as u64);
                    continue;
                }
            };
            seen.end = pieces.offset() as u64;
            if frame.reports > 0 {
                self.findings.frames += 1;
                self.findings.reports += frame.reports as u64;
                reports.push((seen.end, frame.payload));
                continue;
            }
            for line in lines(frame.payload) {
                journal.note(Fact::parse(line).ok_or_else(|| unknown(line))?);
            }
        }
        if header != Some(written_as) {
            seen.bad.extend(bad_header(segment, seen.has_frames()));
        }
        let journal = self.journals.entry(id.journal).or_default();
        let synced = journal.synced_of(id.number);
        // It should be gone, and may go at any time.
        let is_old = id.number < journal.oldest;
        journal.seen.insert(id.number, seen);
        for (end, text) in reports {
            let is_synced = end <= synced && !is_misnamed && !is_old;
            take(Found { text, is_synced }).map_err(unknown)?;
        }
        Ok(())
    }

    /// What a writer that goes on with one of the journals must know.
    pub fn past(&self, journal: JournalId) -> Past {
        let mut past = Past::default();
        for (&journal, segments) in &self.journals {
            let length = |(&number, seen): (&u32, &Seen)| (SegmentId { journal, number }, seen.len);
            past.lengths.extend(segments.seen.iter().map(length));
        }
        let Some(segments) = self.journals.get(&journal) else { return past };
        past.oldest = segments.oldest;
        let is_needed = |number: &u32| *number >= segments.oldest;
        past.synced = segments.synced.clone();
        past.synced.retain(|number, _| is_needed(number) && segments.seen.contains_key(number));
        past
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

fn lines(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    payload.split_inclusive(|&byte| byte == b'\n').map(|line| &line[..line.len() - 1])
}

impl Segments {
    fn note(&mut self, fact: Fact) {
        match fact {
            Fact::Synced { segment, bytes } => {
                let synced = self.synced.entry(segment).or_default();
                *synced = bytes.max(*synced);
            }
            Fact::Oldest { segment } => self.oldest = self.oldest.max(segment),
        }
    }

    /// How many of the first bytes of a segment must be there. One that nothing is said of may lack
    /// its header, too: its server has died while making it.
    fn synced_of(&self, number: u32) -> u64 {
        self.synced.get(&number).copied().unwrap_or(0)
    }

    fn judge(&self, journal: JournalId, findings: &mut Findings) {
        for (&number, seen) in &self.seen {
            let id = SegmentId { journal, number };
            // A header is synced before there are frames.
            let header = if seen.has_frames() { HEADER_BYTES as u64 } else { 0 };
            let synced = self.synced_of(number).max(header);
            if seen.is_misnamed {
                findings.damaged.push(Damage { id, bytes: 0..seen.len });
                continue;
            }
            // Zeros behind the last frame were never written to, unless they were synced.
            let missing = (seen.end < synced).then_some(seen.end..synced);
            let bad = seen.bad.iter().filter(|bad| bad.start < seen.end).cloned();
            for lost in bad.chain(missing) {
                if lost.start < synced {
                    findings.damaged.push(Damage { id, bytes: lost.start..lost.end.min(synced) });
                }
            }
            let torn = |bad: &Range<u64>| bad.end.saturating_sub(bad.start.max(synced));
            findings.torn_bytes += seen.bad.iter().map(torn).sum::<u64>();
        }
        let last = self.seen.last_key_value().map_or(0, |(&number, _)| number);
        let missing = (self.oldest.max(1)..=last).filter(|number| !self.seen.contains_key(number));
        findings.missing.extend(missing.map(|number| SegmentId { journal, number }));
    }
}
