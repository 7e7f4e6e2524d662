//! The line buffer: bytes come in as the network cut them, whole lines go out. Apart because it
//! is a tool: it finds newlines and keeps bounds; what a line means is `core::wire`'s business.
//!
//! In use, a read almost always ends with a newline. Then its lines are handed on from where the
//! kernel put them and nothing is kept: a connection between two commands owns no memory here.
//! Only what follows the last line taken is copied, to be joined with the next read.
//!
//! ```text
//!    kept from the read before      this read
//!   ┌─────────────────────────┬──────────────────────────────────┐
//!   │ I A M A T   x   + 1 - 1 │   0 \n W H A T S A T … \n I A M A │
//!   └─────────────────────────┴──────────────────────────────────┘
//!     line ───────────────────────▶ line ────────────▶ left ─────▶ kept for the next
//! ```
//!
//! ```text
//!                 more than line_bytes_max and no newline
//!   Gathering ───────────────────────────────────────────────▶ Skipping
//!       ▲                                                         │  more than
//!       └───────────────────── newline ───────────────────────────┤  endless_bytes_max
//!                                                                 ▼
//!                                                              Endless: hang up
//! ```
//!
//! asyncio: StreamReader.readuntil; its `_buffer` is `kept`, its LimitOverrunError is `TooLong`.

/// How much of a line that is too long is told.
pub const TOO_LONG_START: usize = 256;

/// Bounds for the lines of one kind of connection, in bytes without the terminator.
#[derive(Clone, Copy, Debug)]
pub struct LineLimits {
    /// A longer line is told as too long, and only its first bytes are.
    pub line_bytes_max: usize,
    /// After as many bytes without a newline, the sender does not mean to send one.
    pub endless_bytes_max: usize,
}

impl LineLimits {
    /// A longer line than this ends the connection.
    pub fn equal(bytes_max: usize) -> LineLimits {
        LineLimits { line_bytes_max: bytes_max, endless_bytes_max: bytes_max }
    }
}

/// The unfinished line of one connection.
///
/// invariant: `skipped > 0` means that the current line was told as too long, and `kept` is empty
#[derive(Debug, Default)]
pub struct LineBuffer {
    kept: Vec<u8>,
    /// Bytes of the current line that were thrown away; 0 while gathering.
    skipped: u32,
}

impl LineBuffer {
    /// The lines of what was kept and what was just read. Give the outcome to `settle`, with the
    /// same `read`, before anything else.
    #[inline]
    pub fn lines<'a>(&'a mut self, read: &'a [u8], limits: LineLimits) -> Lines<'a> {
        let read = self.skip(read);
        if self.kept.is_empty() {
            return Lines::new(read, limits);
        }
        self.kept.extend_from_slice(read);
        Lines::new(&self.kept, limits)
    }

    /// Keeps what was not taken.
    pub fn settle(&mut self, read: &[u8], outcome: Outcome) {
        if self.kept.is_empty() {
            self.kept.extend_from_slice(&read[read.len() - outcome.left..]);
        } else {
            let taken = self.kept.len() - outcome.left;
            self.kept.drain(..taken);
        }
        self.skipped = self.skipped.saturating_add(outcome.skipped);
        if self.kept.is_empty() {
            // Idle connections are many: the memory goes back.
            self.kept = Vec::new();
        }
    }

    /// Whether a line has begun and not ended.
    #[inline]
    pub fn is_partial(&self) -> bool {
        !self.kept.is_empty() || self.skipped > 0
    }

    /// Whether the line that has begun is so long that the connection is to be closed.
    #[inline]
    pub fn is_endless(&self, limits: LineLimits) -> bool {
        self.skipped as usize > limits.endless_bytes_max
    }

    /// The bytes of `read` that come after the line being skipped, if one is.
    fn skip<'a>(&mut self, read: &'a [u8]) -> &'a [u8] {
        if self.skipped == 0 {
            return read;
        }
        match memchr::memchr(b'\n', read) {
            Some(newline) => {
                self.skipped = 0;
                &read[newline + 1..]
            }
            None => {
                self.skipped = self.skipped.saturating_add(read.len() as u32);
                &[]
            }
        }
    }
}

/// One line, without its terminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// All bytes of a line within the limit.
    Whole(&'a [u8]),
    /// The first bytes of a line over the limit; the rest of it is never seen.
    TooLong(&'a [u8]),
}

/// The lines of one read, and how many of them may be taken now.
///
/// They cross the border in batches, but are taken one by one: their taker stops when
/// enough is owed to the sender (`room_bytes`), and what is left waits in the buffer.
#[derive(Debug)]
pub struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    limits: LineLimits,
    lines_max: usize,
    room_bytes: usize,
    newcomers_max: usize,
    last_is_whole: bool,
    skipped: u32,
    taken: usize,
    paused: bool,
    rest: Rest,
}

/// What is known of the bytes that were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Lines.
    Lines,
    /// The beginning of something else.
    Partial,
    /// Something else, whole.
    Whole,
}

/// A place between two lines of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    at: usize,
    taken: usize,
    skipped: u32,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes at the end of the read that were not taken.
    pub left: usize,
    /// Lines that were taken.
    pub taken: usize,
    /// Whether there are whole lines among them.
    pub lines_left: bool,
    skipped: u32,
}

impl Outcome {
    /// Whether nothing is left, and no line goes on that was told as too long.
    #[inline]
    pub fn is_all(&self) -> bool {
        self.left == 0 && self.skipped == 0
    }
}

impl<'a> Lines<'a> {
    /// The lines of these bytes, with no bound but that on the length of each.
    #[inline]
    pub fn new(bytes: &'a [u8], limits: LineLimits) -> Lines<'a> {
        Lines {
            bytes,
            at: 0,
            limits,
            lines_max: usize::MAX,
            room_bytes: usize::MAX,
            newcomers_max: usize::MAX,
            last_is_whole: false,
            skipped: 0,
            taken: 0,
            paused: false,
            rest: Rest::Lines,
        }
    }

    /// At most so many lines, and at most so many bytes of answers, one answer more or less.
    pub fn bounded(mut self, lines_max: usize, room_bytes: usize) -> Lines<'a> {
        self.lines_max = lines_max;
        self.room_bytes = room_bytes;
        self
    }

    /// At most so many clients may become known by them.
    pub fn introducing(mut self, newcomers_max: usize) -> Lines<'a> {
        self.newcomers_max = newcomers_max;
        self
    }

    /// Nothing will follow these bytes, so the last line needs no newline (PROTOCOL 1.2).
    pub fn ended(mut self) -> Lines<'a> {
        self.last_is_whole = true;
        self
    }

    /// The next line, if there is a whole one and the bound on their number allows it.
    pub fn take(&mut self) -> Option<Line<'a>> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() || self.taken == self.lines_max || self.paused {
            return None;
        }
        let line = match memchr::memchr(b'\n', rest) {
            Some(newline) => {
                self.at += newline + 1;
                &rest[..newline]
            }
            None if self.last_is_whole || self.is_too_long(rest) => {
                self.at = self.bytes.len();
                self.skipped = if self.last_is_whole { 0 } else { rest.len() as u32 };
                rest
            }
            None => return None,
        };
        self.taken += 1;
        Some(if self.is_too_long(line) {
            Line::TooLong(&line[..line.len().min(TOO_LONG_START)])
        } else {
            Line::Whole(line.strip_suffix(b"\r").unwrap_or(line))
        })
    }

    /// The bytes that come next, no more of them than a line may have with its newline; none if no
    /// line may be taken. For those who know a line when they see its front: `pass` takes it.
    #[inline]
    pub fn ahead(&self) -> &'a [u8] {
        if self.taken == self.lines_max || self.paused {
            return &[];
        }
        let rest = &self.bytes[self.at..];
        &rest[..rest.len().min(self.limits.line_bytes_max.saturating_add(1))]
    }

    /// Takes the line ahead, which is so many bytes with its terminator.
    #[inline]
    pub fn pass(&mut self, bytes: usize) {
        self.at += bytes;
        self.taken += 1;
    }

    /// Takes all bytes that have come, whole lines or not: for a language that has others.
    pub fn take_all(&mut self) -> &'a [u8] {
        let rest = self.rest();
        self.pass(rest.len());
        rest
    }

    /// Whether all that has come is taken.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The place before the next line, for `give_back`.
    pub fn mark(&self) -> Mark {
        Mark { at: self.at, taken: self.taken, skipped: self.skipped }
    }

    /// As if nothing had been taken since the mark.
    pub fn give_back(&mut self, mark: Mark) {
        (self.at, self.taken, self.skipped) = (mark.at, mark.taken, mark.skipped);
    }

    /// How many clients may become known by them.
    pub(crate) fn newcomers_max(&self) -> usize {
        self.newcomers_max
    }

    /// Bytes of answers for which there is room.
    pub fn room_bytes(&self) -> usize {
        self.room_bytes
    }

    /// Takes no more until the taker says that it can (`Output::ResumeReading`).
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Whether the taker wants no more lines for now.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// What is left is the beginning of something that has more than one line and is not whole yet:
    /// more must come before any of it is taken.
    pub fn rest_is_partial(&mut self) {
        self.rest = Rest::Partial;
    }

    /// What is left begins with something whole that is no line.
    pub fn rest_is_whole(&mut self) {
        self.rest = Rest::Whole;
    }

    /// Whether nothing will follow these bytes.
    pub fn are_last(&self) -> bool {
        self.last_is_whole
    }

    /// The bytes that were not taken yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Lines that were taken so far.
    pub fn taken(&self) -> usize {
        self.taken
    }

    /// All the bytes that have come and were not taken before.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The bytes of the lines taken so far, with their terminators.
    pub fn consumed(&self) -> &'a [u8] {
        &self.bytes[..self.at]
    }

    /// What has become of the batch so far, for `LineBuffer::settle`.
    #[inline]
    pub fn outcome(&self) -> Outcome {
        let rest = &self.bytes[self.at..];
        let is_line = || self.last_is_whole || memchr::memchr(b'\n', rest).is_some();
        Outcome {
            left: rest.len(),
            taken: self.taken,
            lines_left: !rest.is_empty()
                && match self.rest {
                    Rest::Lines => is_line(),
                    known => known == Rest::Whole,
                },
            skipped: self.skipped,
        }
    }

    /// A carriage return before the newline belongs to the terminator, and one at the end of what
    /// has come may still turn out to: the half-close, too, may stand for the newline.
    fn is_too_long(&self, line: &[u8]) -> bool {
        line.strip_suffix(b"\r").unwrap_or(line).len() > self.limits.line_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LineLimits = LineLimits { line_bytes_max: 300, endless_bytes_max: 1000 };

    /// Feeds the pieces and gives every line as text, `!` before those that were too long.
    fn lines_of(pieces: &[&[u8]], lines_max: usize) -> Vec<String> {
        let mut buffer = LineBuffer::default();
        let mut told = Vec::new();
        let note = |line: Line, told: &mut Vec<String>| {
            let (mark, bytes) = match line {
                Line::Whole(bytes) => ("", bytes),
                Line::TooLong(bytes) => ("!", bytes),
            };
            told.push(format!("{mark}{}", String::from_utf8_lossy(bytes)));
        };
        for &piece in pieces {
            let mut read = piece;
            loop {
                let mut lines = buffer.lines(read, LIMITS).bounded(lines_max, 0);
                while let Some(line) = lines.take() {
                    note(line, &mut told);
                }
                let outcome = lines.outcome();
                buffer.settle(read, outcome);
                read = &[];
                if outcome.taken == 0 {
                    break;
                }
            }
        }
        let mut lines = buffer.lines(&[], LIMITS).ended();
        while let Some(line) = lines.take() {
            note(line, &mut told);
        }
        told
    }

    #[test]
    fn lines_are_found_whatever_the_pieces() {
        let check = |pieces: &[&str], expected: &[&str]| {
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            assert_eq!(lines_of(&pieces, usize::MAX), expected);
            assert_eq!(lines_of(&pieces, 1), expected);
        };
        check(&["a\nb\n"], &["a", "b"]);
        check(&["a", "\n", "b\nc"], &["a", "b", "c"]);
        check(&["a\r", "\nb\r\r\n\r\n"], &["a", "b\r", ""]);
        check(&["", "\n\n", ""], &["", ""]);
        check(&["no newline"], &["no newline"]);
        check(&["the half-close stands for a newline\r"], &["the half-close stands for a newline"]);
    }

    #[test]
    fn a_line_over_the_limit_is_told_once() {
        let long = "x".repeat(301);
        let start = format!("!{}", &long[..TOO_LONG_START]);
        let at_limit = "y".repeat(300);
        let check = |pieces: &[&str], expected: &[&str]| {
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
            assert_eq!(lines_of(&pieces, usize::MAX), expected);
        };
        check(&[&long, "more", "\nnext\n"], &[&start, "next"]);
        check(&[&format!("{long}\nnext\n")], &[&start, "next"]);
        check(&[&at_limit, "\r", "\nnext\n"], &[&at_limit, "next"]);
        check(&[&at_limit, "\r", "\r\nnext\n"], &[&format!("!{}", &at_limit[..256]), "next"]);
        check(&[&long], &[&start]);
    }

    #[test]
    fn an_endless_line_is_noticed() {
        let mut buffer = LineBuffer::default();
        for _ in 0..11 {
            assert!(!buffer.is_endless(LIMITS));
            let read = [b'x'; 100];
            let mut lines = buffer.lines(&read, LIMITS);
            while lines.take().is_some() {}
            let outcome = lines.outcome();
            buffer.settle(&read, outcome);
        }
        assert!(buffer.is_endless(LIMITS) && buffer.is_partial());
    }

    /// Method: every line is taken, given back and taken again, and must come again.
    #[test]
    fn what_was_given_back_comes_again() {
        let long = "x".repeat(301);
        let read = format!("a\nb\n{long}");
        let mut lines = Lines::new(read.as_bytes(), LIMITS);
        let mut seen = 0;
        loop {
            let mark = lines.mark();
            let line = lines.take();
            let outcome = lines.outcome();
            lines.give_back(mark);
            assert_eq!(lines.outcome().taken, seen);
            assert_eq!(lines.take(), line);
            assert_eq!(lines.outcome(), outcome);
            match line {
                Some(_) => seen += 1,
                None => break,
            }
        }
        assert_eq!(seen, 3);
    }

    /// Goal: what has several lines waits for the last of them, and nobody is busy meanwhile.
    #[test]
    fn a_part_of_several_lines_waits_in_the_buffer() {
        let mut buffer = LineBuffer::default();
        let mut lines = buffer.lines(b"a\nb\n", LIMITS);
        assert!(lines.outcome().lines_left);
        lines.rest_is_partial();
        let outcome = lines.outcome();
        assert!(!outcome.lines_left && outcome.left == 4);
        buffer.settle(b"a\nb\n", outcome);
        assert!(buffer.is_partial());
        let mut lines = buffer.lines(b"\n", LIMITS);
        assert_eq!((lines.rest(), lines.are_last()), (&b"a\nb\n\n"[..], false));
        lines.pass(5);
        assert_eq!(lines.outcome().taken, 1);
        assert!(lines.is_over() && lines.ended().are_last());
    }

    #[test]
    fn a_paused_batch_waits_in_the_buffer() {
        let mut buffer = LineBuffer::default();
        let mut lines = buffer.lines(b"a\nb\nc", LIMITS);
        assert_eq!(lines.take(), Some(Line::Whole(b"a")));
        lines.pause();
        assert_eq!(lines.take(), None);
        let outcome = lines.outcome();
        assert!(lines.is_paused() && outcome.left == 3);
        buffer.settle(b"a\nb\nc", outcome);
        let mut lines = buffer.lines(b"", LIMITS);
        assert_eq!(lines.take(), Some(Line::Whole(b"b")));
        assert_eq!(lines.take(), None);
        let outcome = lines.outcome();
        buffer.settle(b"", outcome);
        assert_eq!(buffer.lines(b"\n", LIMITS).take(), Some(Line::Whole(b"c")));
    }
}
