//! How reports lie in a file: a header, then frames of AT lines, each with a checksum. Apart
//! because it is a tool: bytes in, bytes out, and no file.
//!
//! ```text
//! herd journal 1 herd=2023 server=Bailey journal=9f3a… segment=17 made=1795321086 crc=…
//! #000fa4 002d 5f00c1aa          payload bytes, reports, CRC-32
//! AT Bailey +0.263873386 kiwi +34.068930-118.445127 1520023934.918963997
//! …
//! ```
//!
//! It is text, because what it keeps is text: `less`, `grep` and a few lines of any language read
//! it. A report has no newline, so a client cannot write the beginning of a line, and after any
//! damage the next frame is found by its `#` and believed by its checksum.
//!
//! The checksum covers the place as well: the journal, the segment and the offset. What a disk has
//! written to a wrong place, or left there from before, is no frame. Checksums are not chained: a
//! frame that is damaged takes no other with it.
//!
//! A segment may be written over the file of an older one. Then its header says so with `over=12`,
//! behind what it was written to there lies what the older one has said, and one zero byte ends
//! each write: the next one begins with its place. So what a write has not come to the end of is
//! known from what was there before.

use std::ops::Range;

use super::{JournalId, SegmentId};
use crate::digits;

/// A header and the spaces behind it.
pub const HEADER_BYTES: usize = 256;
/// Payload of a frame, unless a single line is longer. A sector that has gone bad takes some forty
/// reports with it, and what stands before them is a hundredth of the bytes.
const PAYLOAD_BYTES: usize = 4096;
/// No line may be longer, so a damaged length cannot make us read on for ever.
pub const LINE_BYTES_MAX: usize = 1 << 20;

const VERSION: &[u8] = b"1";
const MAGIC: &[u8] = b"herd journal ";
/// `#llllll cccc xxxxxxxx` and a newline.
const OPENING_BYTES: usize = 22;
/// The part of it that the checksum covers.
const COVERED: Range<usize> = 0..12;

/// What the first line of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The herd whose reports these are.
    pub herd: &'a [u8],
    /// The server that wrote them.
    pub server: &'a [u8],
    /// Which segment it is.
    pub id: SegmentId,
    /// When it was begun, in POSIX seconds.
    pub made: u64,
    /// The number of the segment whose file it is written over, if it is.
    pub over: Option<u32>,
}

/// Why a segment has no header that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// A journal of a version that we do not know.
    Version(u32),
    /// Too short, or its checksum is not right.
    Damaged,
}

impl Header<'_> {
    /// Writes all bytes of it, the last of which is a newline.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(VERSION);
        let Header { id: SegmentId { journal, number }, made, .. } = self;
        for (key, text) in [(" herd=", self.herd), (" server=", self.server)] {
            out.extend_from_slice(key.as_bytes());
            out.extend_from_slice(text);
        }
        let over = self.over.map_or(String::new(), |over| format!(" over={over}"));
        let rest = format!(" journal={journal} segment={number} made={made}{over}");
        out.extend_from_slice(rest.as_bytes());
        let crc = header_crc(&out[start + MAGIC.len() + VERSION.len()..]);
        out.extend_from_slice(format!(" crc={crc:08x}").as_bytes());
        debug_assert!(out.len() - start < HEADER_BYTES, "names are of 64 bytes at most");
        out.resize(start + HEADER_BYTES - 1, b' ');
        out.push(b'\n');
    }

    /// Reads the header of a segment.
    ///
    /// # Errors
    ///
    /// If it is of another version, or damaged. One whose version alone is damaged is damaged.
    pub fn parse(segment: &[u8]) -> Result<Header<'_>, HeaderError> {
        let text = segment.get(..HEADER_BYTES).ok_or(HeaderError::Damaged)?.trim_ascii_end();
        let text = text.strip_prefix(MAGIC).ok_or(HeaderError::Damaged)?;
        let version_len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (version, text) = text.split_at(version_len);
        let read = Header::parse_fields(text).filter(|_| version == VERSION);
        match read {
            Some(header) => Ok(header),
            // A digit that has gone bad does not make it another version.
            None if text.starts_with(b" ") && Header::parse_fields(text).is_none() => {
                let other = number(version).filter(|_| version != VERSION);
                Err(other.map_or(HeaderError::Damaged, HeaderError::Version))
            }
            None => Err(HeaderError::Damaged),
        }
    }

    /// What stands behind the version.
    fn parse_fields(text: &[u8]) -> Option<Header<'_>> {
        let crc_at = text.len().checked_sub(" crc=".len() + 8)?;
        let (covered, crc) = text.split_at(crc_at);
        if hex(crc.strip_prefix(b" crc=")?)? != header_crc(covered) {
            return None;
        }
        let mut fields = covered.strip_prefix(b" ")?.split(|&byte| byte == b' ');
        let mut field = |key: &str| fields.next()?.strip_prefix(key.as_bytes());
        Some(Header {
            herd: field("herd=")?,
            server: field("server=")?,
            id: SegmentId {
                journal: JournalId::parse(field("journal=")?)?,
                number: number(field("segment=")?)?,
            },
            made: number(field("made=")?)?,
            over: field("over=").and_then(number),
        })
    }
}

/// The version is covered, too, though it stands before what is given.
fn header_crc(fields: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(VERSION);
    hasher.update(fields);
    hasher.finalize()
}

fn number<N: TryFrom<u64>>(text: &[u8]) -> Option<N> {
    let (value, len) = digits::leading(text);
    (digits::are_all(text) && len == text.len()).then(|| value.try_into().ok()).flatten()
}

fn hex(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_plain.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// A frame that was found whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Lines, each with its newline.
    pub payload: &'a [u8],
    /// How many of them are reports.
    pub reports: usize,
}

impl Frame<'_> {
    /// Bytes that it takes in a segment.
    pub fn bytes(&self) -> usize {
        OPENING_BYTES + self.payload.len()
    }
}

/// Writes lines as frames, the first of which will stand at `offset` of the segment.
pub fn write_reports(id: SegmentId, mut offset: u64, mut lines: &[u8], out: &mut Vec<u8>) {
    while !lines.is_empty() {
        let (payload, rest) = lines.split_at(whole_lines(lines, PAYLOAD_BYTES));
        offset += write(id, offset, memchr::memchr_iter(b'\n', payload).count(), payload, out);
        lines = rest;
    }
}

/// How long as many of the first lines are as so many bytes have room for, and one at least.
pub fn whole_lines(lines: &[u8], bytes: usize) -> usize {
    if lines.len() <= bytes {
        return lines.len();
    }
    let newline = memchr::memrchr(b'\n', &lines[..bytes])
        .or_else(|| memchr::memchr(b'\n', lines))
        .expect("lines have newlines");
    newline + 1
}

/// What a journal says of itself, in frames of their own between those of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// So much of a segment was synced. What is lost of that is damage; what comes behind it, a
    /// machine that died may have taken with it.
    Synced {
        /// The number of the segment.
        segment: u32,
        /// Its first bytes, the header among them.
        bytes: u64,
    },
    /// Earlier segments are not needed any more.
    Oldest {
        /// The number of the first one that is.
        segment: u32,
    },
}

impl Fact {
    /// Reads a line, given without its newline.
    pub fn parse(line: &[u8]) -> Option<Fact> {
        let mut fields = line.split(|&byte| byte == b' ');
        let fact = match fields.next()? {
            b"SYNCED" => {
                Fact::Synced { segment: number(fields.next()?)?, bytes: number(fields.next()?)? }
            }
            b"OLDEST" => Fact::Oldest { segment: number(fields.next()?)? },
            _ => return None,
        };
        fields.next().is_none().then_some(fact)
    }

    /// Writes it as a line.
    pub fn write(&self, out: &mut Vec<u8>) {
        let line = match self {
            Fact::Synced { segment, bytes } => format!("SYNCED {segment} {bytes}\n"),
            Fact::Oldest { segment } => format!("OLDEST {segment}\n"),
        };
        out.extend_from_slice(line.as_bytes());
    }
}

/// Writes one frame of facts, which will stand at `offset` of the segment.
pub fn write_facts(id: SegmentId, offset: u64, facts: &[Fact], out: &mut Vec<u8>) {
    let mut payload = Vec::new();
    facts.iter().for_each(|fact| fact.write(&mut payload));
    write(id, offset, 0, &payload, out);
}

fn write(id: SegmentId, offset: u64, reports: usize, payload: &[u8], out: &mut Vec<u8>) -> u64 {
    let mut opening = *b"#000000 0000 00000000\n";
    write_hex(payload.len(), &mut opening[1..7]);
    write_hex(reports, &mut opening[8..12]);
    let crc = frame_crc(id, offset, &opening, payload);
    write_hex(crc as usize, &mut opening[13..21]);
    out.extend_from_slice(&opening);
    out.extend_from_slice(payload);
    (OPENING_BYTES + payload.len()) as u64
}

fn write_hex(mut value: usize, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[value % 16];
        value /= 16;
    }
    debug_assert_eq!(value, 0);
}

/// The frame that stands at `offset` of a segment, if a whole one does.
pub fn read(id: SegmentId, segment: &[u8], offset: usize) -> Option<Frame<'_>> {
    let (opening, rest) = segment.get(offset..)?.split_first_chunk::<OPENING_BYTES>()?;
    let is_shaped = [0, 7, 12, 21].map(|at| opening[at]) == *b"#  \n";
    let [payload_len, reports, crc] = if is_shaped {
        [hex(&opening[1..7])?, hex(&opening[8..12])?, hex(&opening[13..21])?]
    } else {
        return None;
    };
    let payload = rest.get(..payload_len as usize).filter(|text| text.len() <= LINE_BYTES_MAX)?;
    let is_whole = frame_crc(id, offset as u64, opening, payload) == crc;
    is_whole.then_some(Frame { payload, reports: reports as usize })
}

fn frame_crc(id: SegmentId, offset: u64, opening: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.journal.0.to_le_bytes());
    hasher.update(&id.number.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(&opening[COVERED]);
    hasher.update(payload);
    hasher.finalize()
}
