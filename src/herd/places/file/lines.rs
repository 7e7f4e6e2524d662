//! The lines of a file, counted and bounded.
//!
//! An operator wants to know which line is wrong. Lines may have to be read twice: what follows a
//! quote that is never closed are ordinary rows. It knows nothing of what is in them.

use std::io::{BufRead, Read};

use super::FileError;

/// Longest line, and longest row of several lines: a place has a hundredth of it. A quote that is
/// never closed must not fill the memory.
pub const ROW_BYTES_MAX: usize = 1 << 20;

pub struct Lines<R> {
    text: R,
    /// Lines read so far.
    pub number: u64,
    /// What ends a line: a newline, or a carriage return in the files of old programs.
    pub end: u8,
    /// What was put back; before `at` it has been read again.
    back: Vec<u8>,
    at: usize,
}

/// What came of asking for a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// It was appended, with its end if it has one.
    Here,
    /// As much of it was appended as makes the row too long.
    TooLong,
    /// There is none.
    Over,
}

impl<R: BufRead> Lines<R> {
    /// Reads from a text before which there were `number` lines.
    pub fn new(text: R, number: u64, end: u8) -> Lines<R> {
        Lines { text, number, end, back: Vec::new(), at: 0 }
    }

    /// Appends the next line to a row.
    pub fn append_to(&mut self, row: &mut Vec<u8>) -> Result<Line, FileError> {
        let begin = row.len();
        let back = &self.back[self.at..];
        let length = memchr::memchr(self.end, back).map_or(back.len(), |end| end + 1);
        row.extend_from_slice(&back[..length]);
        self.at += length;
        // The last of what was put back may be the beginning of a line.
        if row.len() == begin || row.last() != Some(&self.end) {
            let room = (ROW_BYTES_MAX + 1).saturating_sub(row.len()) as u64;
            self.text.by_ref().take(room).read_until(self.end, row).map_err(FileError::Read)?;
        }
        if row.len() > ROW_BYTES_MAX {
            return Ok(Line::TooLong);
        }
        if row.len() == begin {
            return Ok(Line::Over);
        }
        self.number += 1;
        Ok(Line::Here)
    }

    /// Puts back the end of a row. Before it, there were `number` lines.
    pub fn put_back(&mut self, bytes: &[u8], number: u64) {
        self.number = number;
        match self.at.checked_sub(bytes.len()) {
            // It was put back before: then a file of bad rows is not copied for each of them.
            Some(at) if self.back[at..self.at] == *bytes => self.at = at,
            _ => {
                self.back.drain(..self.at);
                self.back.splice(..0, bytes.iter().copied());
                self.at = 0;
            }
        }
    }

    /// Skips the rest of a line of which the beginning was read.
    pub fn skip_rest(&mut self) -> Result<(), FileError> {
        self.number += 1;
        loop {
            let bytes = self.text.fill_buf().map_err(FileError::Read)?;
            let end = memchr::memchr(self.end, bytes);
            let length = end.map_or(bytes.len(), |end| end + 1);
            let is_over = end.is_some() || length == 0;
            self.text.consume(length);
            if is_over {
                return Ok(());
            }
        }
    }
}
