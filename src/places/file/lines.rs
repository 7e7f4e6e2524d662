//! The lines of a file, counted and bounded.
//!
//! It is apart because both formats have lines and an operator wants to know which one is wrong. It
//! knows nothing of what is in them.

use std::io::{BufRead, Read};

use super::FileError;

/// Longest line, and longest row of several lines: a place has a hundredth of it. A quote that is
/// never closed, or all features in one line, must not fill the memory.
const ROW_BYTES_MAX: usize = 1 << 20;

pub struct Lines<R> {
    text: R,
    /// Lines read so far.
    pub number: u64,
}

impl<R: BufRead> Lines<R> {
    pub fn new(text: R) -> Lines<R> {
        Lines { text, number: 0 }
    }

    /// Appends the next line with its newline. Says whether there was one.
    pub fn append_to(&mut self, row: &mut Vec<u8>) -> Result<bool, FileError> {
        let room = ROW_BYTES_MAX.saturating_sub(row.len()) as u64 + 1;
        let mut limited = self.text.by_ref().take(room);
        if limited.read_until(b'\n', row).map_err(FileError::Read)? == 0 {
            return Ok(false);
        }
        self.number += 1;
        if row.len() > ROW_BYTES_MAX {
            let (line, bytes_max) = (self.number, ROW_BYTES_MAX);
            return Err(FileError::RowTooLong { line, bytes_max });
        }
        Ok(true)
    }
}
