//! One row of CSV after RFC 4180: fields between commas, in quotes if they hold any.
//!
//! It is apart from `csv`, which knows what columns mean; this knows quotes. It is lenient: a quote
//! within a field that does not begin with one is an ordinary byte, and a row may have any number
//! of fields.

use std::io::BufRead;

use super::FileError;
use super::lines::Lines;

/// A row, in memory that is used again for the next.
#[derive(Default)]
pub struct Record {
    /// As it is in the file.
    raw: Vec<u8>,
    /// The fields without their quotes, one behind the other.
    plain: Vec<u8>,
    /// Where in `plain` each field ends.
    ends: Vec<usize>,
}

impl Record {
    /// Reads the next row that is not blank. Gives the line on which it begins.
    pub fn read(&mut self, lines: &mut Lines<impl BufRead>) -> Result<Option<u64>, FileError> {
        loop {
            self.raw.clear();
            if !lines.append_to(&mut self.raw)? {
                return Ok(None);
            }
            if !self.raw.trim_ascii().is_empty() {
                break;
            }
        }
        let line = lines.number;
        self.plain.clear();
        self.ends.clear();
        let mut at = 0;
        loop {
            if self.raw.get(at) == Some(&b'"') {
                at = self.unquote(at + 1, lines)?;
            }
            let rest = &self.raw[at..];
            let length = memchr::memchr2(b',', b'\n', rest).unwrap_or(rest.len());
            self.plain.extend_from_slice(&rest[..length]);
            self.ends.push(self.plain.len());
            if rest.get(length) != Some(&b',') {
                return Ok(Some(line));
            }
            at += length + 1;
        }
    }

    /// The field at `column`; empty if the row is too short to have it.
    pub fn field(&self, column: usize) -> &[u8] {
        let Some(&end) = self.ends.get(column) else { return &[] };
        let begin = column.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.plain[begin..end]
    }

    pub fn fields(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|column| self.field(column))
    }

    /// Takes what is in quotes, of which the first stands before `at`; over as many lines as it
    /// takes. Gives where it ends.
    fn unquote(
        &mut self,
        mut at: usize,
        lines: &mut Lines<impl BufRead>,
    ) -> Result<usize, FileError> {
        loop {
            let Some(length) = memchr::memchr(b'"', &self.raw[at..]) else {
                self.plain.extend_from_slice(&self.raw[at..]);
                at = self.raw.len();
                // A file may end within quotes; then they end there, too.
                if lines.append_to(&mut self.raw)? { continue } else { return Ok(at) }
            };
            self.plain.extend_from_slice(&self.raw[at..at + length]);
            at += length + 1;
            // Two quotes are one that is meant.
            if self.raw.get(at) != Some(&b'"') {
                return Ok(at);
            }
            self.plain.push(b'"');
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split() {
        fn check(text: &str, expected: &[(u64, &[&str])]) {
            let mut lines = Lines::new(text.as_bytes());
            let mut record = Record::default();
            let mut found = Vec::new();
            while let Some(line) = record.read(&mut lines).unwrap() {
                let fields = record.fields().map(|it| String::from_utf8(it.to_vec()).unwrap());
                found.push((line, fields.collect::<Vec<_>>()));
            }
            let owned = |fields: &[&str]| fields.iter().map(|it| it.to_string()).collect();
            let expected: Vec<_> =
                expected.iter().map(|(line, fields)| (*line, owned(fields))).collect();
            assert_eq!(found, expected, "{text:?}");
        }
        check("", &[]);
        check("a,b\nc", &[(1, &["a", "b"]), (2, &["c"])]);
        check(",\n\n \r\n,,", &[(1, &["", ""]), (4, &["", "", ""])]);
        check("\"a,\"\"b\"\"\",c\nd", &[(1, &["a,\"b\"", "c"]), (2, &["d"])]);
        check("\"a\nb\n\",c\nd", &[(1, &["a\nb\n", "c"]), (4, &["d"])]);
        check("5\" x,\"y\"z\n", &[(1, &["5\" x", "yz"])]);
        check("\"\",\"\"\"\"\n", &[(1, &["", "\""])]);
        check("a,\"b\n", &[(1, &["a", "b\n"])]);
    }
}
