//! What a server writes down, so that it still knows after a restart what it has answered: the
//! form in which it lies in files (`frame`), and what is found there again (`load`). Pure: the
//! files and the threads are the server's.
//!
//! Reports may be read in any order, twice, or with some of them missing: the newest of a client
//! wins, as it does when peers tell them. So a journal needs no list of its files and no snapshot,
//! and one that is damaged is not wrong but incomplete: the peers fill it.

pub mod appender;
pub mod breaker;
pub mod compaction;
pub mod frame;
pub mod gate;
pub mod load;
pub(crate) mod missed;
pub mod old;
mod renewed;
mod restored;
pub mod writer;

use std::fmt;

/// Distinguishes a journal from all others: drawn when its first segment is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalId(pub u64);

/// One file of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentId {
    /// The journal that it belongs to.
    pub journal: JournalId,
    /// Counted from 1 in the order in which they were begun.
    pub number: u32,
}

impl JournalId {
    /// Reads sixteen hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<JournalId> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 16)?;
        let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_plain.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(JournalId)
    }
}

impl fmt::Display for JournalId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl SegmentId {
    /// Reads the name of a file.
    pub fn of_file_name(name: &str) -> Option<SegmentId> {
        let (journal, number) = name.strip_suffix(".herd")?.split_once('-')?;
        let is_number = number.len() >= 8 && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = is_number.then(|| number.parse().ok()).flatten()?;
        Some(SegmentId { journal: JournalId::parse(journal.as_bytes())?, number })
    }
}

/// The name of the file.
impl fmt::Display for SegmentId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{:08}.herd", self.journal, self.number)
    }
}

#[cfg(test)]
mod tests;
