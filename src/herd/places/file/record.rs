//! One row of CSV after RFC 4180: fields between commas, in quotes if they hold any.
//!
//! This file knows quotes; what columns mean is in `csv`. It is lenient: a quote within a field
//! that does not begin with one is an ordinary byte, white space around quotes is nothing, and a
//! row may have any number of fields. A quote that closes nowhere, or in the middle of some later
//! row, costs the row in which it stands, and no other.

use std::io::BufRead;

use super::lines::{Line, Lines};
use super::{Fault, FileError};

/// A row, in memory that is used again for the next.
pub struct Record {
    /// What stands between fields.
    pub separator: u8,
    /// As it is in the file.
    raw: Vec<u8>,
    /// The fields without their quotes, one behind the other.
    plain: Vec<u8>,
    /// Where in `plain` each field ends.
    ends: Vec<usize>,
}

/// Where a row begins, and what is wrong with it. Where a quote is wrong, it is the quote's line.
pub type Begun = (u64, Result<(), Fault>);

impl Record {
    pub fn new(separator: u8) -> Record {
        Record { separator, raw: Vec::new(), plain: Vec::new(), ends: Vec::new() }
    }

    /// Reads the next row that is not blank; `None` at the end of the file.
    pub fn read(&mut self, lines: &mut Lines<impl BufRead>) -> Result<Option<Begun>, FileError> {
        loop {
            self.raw.clear();
            match lines.append_to(&mut self.raw)? {
                Line::Over => return Ok(None),
                Line::TooLong => {
                    lines.skip_rest()?;
                    return Ok(Some((lines.number, Err(Fault::RowTooLong))));
                }
                Line::Here if self.raw.trim_ascii().is_empty() => {}
                Line::Here => return self.split(lines).map(Some),
            }
        }
    }

    /// Splits the row that was read last, which may need more lines.
    pub fn split(&mut self, lines: &mut Lines<impl BufRead>) -> Result<Begun, FileError> {
        let line = lines.number;
        self.plain.clear();
        self.ends.clear();
        let mut at = 0;
        loop {
            let blank = self.blank(at);
            if self.raw.get(at + blank) == Some(&b'"') {
                let quote = at + blank;
                match self.unquote(quote + 1, lines)? {
                    Some(end) => at = end,
                    None => return Ok((self.give_up(quote, line, lines), Err(Fault::OpenQuote))),
                }
            }
            let rest = &self.raw[at..];
            let length = memchr::memchr2(self.separator, lines.end, rest).unwrap_or(rest.len());
            let is_last = rest.get(length) != Some(&self.separator);
            let field = &rest[..length];
            let field = if is_last { field.strip_suffix(b"\r").unwrap_or(field) } else { field };
            self.plain.extend_from_slice(field);
            self.ends.push(self.plain.len());
            if is_last {
                return Ok((line, Ok(())));
            }
            at += length + 1;
        }
    }

    /// The row as it is in the file, without its end.
    pub fn raw(&self) -> &[u8] {
        let end = self.raw.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
        &self.raw[..end.map_or(0, |end| end + 1)]
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

    /// How many bytes of white space stand at `at`.
    fn blank(&self, at: usize) -> usize {
        let is_blank = |byte: &&u8| matches!(**byte, b' ' | b'\t') && **byte != self.separator;
        self.raw[at..].iter().take_while(is_blank).count()
    }

    /// Takes what is in quotes, of which the first stands before `begin`; over as many lines as it
    /// takes. Gives where it ends; `None` if it does not, or not where a field ends.
    fn unquote(
        &mut self,
        begin: usize,
        lines: &mut Lines<impl BufRead>,
    ) -> Result<Option<usize>, FileError> {
        let mut at = begin;
        let mut is_long = false;
        loop {
            let Some(length) = memchr::memchr(b'"', &self.raw[at..]) else {
                self.plain.extend_from_slice(&self.raw[at..]);
                at = self.raw.len();
                is_long = true;
                match lines.append_to(&mut self.raw)? {
                    Line::Here => continue,
                    Line::TooLong | Line::Over => return Ok(None),
                }
            };
            self.plain.extend_from_slice(&self.raw[at..at + length]);
            at += length + 1;
            // Two quotes are one that is meant.
            if self.raw.get(at) != Some(&b'"') {
                break;
            }
            self.plain.push(b'"');
            at += 1;
        }
        // Within a line the rest belongs to the field. Over several lines, it was not this quote
        // that was to be closed here.
        let behind = self.raw.get(at + self.blank(at));
        let is_end = |byte| byte == self.separator || byte == lines.end || byte == b'\r';
        Ok((!is_long || behind.is_none_or(|byte| is_end(*byte))).then_some(at))
    }

    /// Puts back all lines of the row behind that of a quote. Gives the quote's line.
    fn give_up(&self, quote: usize, line: u64, lines: &mut Lines<impl BufRead>) -> u64 {
        let line = line + memchr::memchr_iter(lines.end, &self.raw[..quote]).count() as u64;
        let end = memchr::memchr(lines.end, &self.raw[quote..]);
        let next = end.map_or(self.raw.len(), |end| quote + end + 1);
        lines.put_back(&self.raw[next..], line);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::ROW_BYTES_MAX;
    use super::*;

    type Row = (u64, Result<Vec<String>, Fault>);

    fn rows(text: &str, end: u8) -> Vec<Row> {
        let mut lines = Lines::new(text.as_bytes(), 0, end);
        let mut record = Record::new(b',');
        let mut found = Vec::new();
        while let Some((line, state)) = record.read(&mut lines).unwrap() {
            let fields = record.fields().map(|it| String::from_utf8(it.to_vec()).unwrap());
            found.push((line, state.map(|()| fields.collect())));
        }
        found
    }

    #[test]
    fn rows_are_split() {
        fn check_at(text: &str, end: u8, expected: &[(u64, &[&str])]) {
            let owned = |fields: &[&str]| fields.iter().map(|it| it.to_string()).collect();
            let expected: Vec<Row> =
                expected.iter().map(|(line, fields)| (*line, Ok(owned(fields)))).collect();
            assert_eq!(rows(text, end), expected, "{text:?}");
        }
        let check = |text: &str, expected: &[(u64, &[&str])]| check_at(text, b'\n', expected);
        check("", &[]);
        check("a,b\nc", &[(1, &["a", "b"]), (2, &["c"])]);
        check(",\n\n \r\n,,", &[(1, &["", ""]), (4, &["", "", ""])]);
        check("\"a,\"\"b\"\"\",c\nd", &[(1, &["a,\"b\"", "c"]), (2, &["d"])]);
        check("\"a\nb\n\",c\nd", &[(1, &["a\nb\n", "c"]), (4, &["d"])]);
        check("5\" x,\"y\"z\n", &[(1, &["5\" x", "yz"])]);
        check("\"\",\"\"\"\"\n", &[(1, &["", "\""])]);
        check("a, \"b,c\" ,d\r\n", &[(1, &["a", "b,c ", "d"])]);
        check("\"a\nb\" ,c\r\n\"d\ne\"\r\n", &[(1, &["a\nb ", "c"]), (3, &["d\ne"])]);
        check("\"a\nb\"", &[(1, &["a\nb"])]);
        check_at("a,\"b\rc\"\rd\r", b'\r', &[(1, &["a", "b\rc"]), (3, &["d"])]);
    }

    #[test]
    fn an_open_quote_costs_its_own_row() {
        fn check(text: &str, expected: &[(u64, &str)]) {
            let spelled = rows(text, b'\n').into_iter().map(|(line, row)| match row {
                Ok(fields) => (line, fields.join("|")),
                Err(fault) => (line, fault.to_string()),
            });
            let expected = expected.iter().map(|(line, row)| (*line, row.to_string()));
            assert_eq!(Vec::from_iter(spelled), Vec::from_iter(expected), "{text:?}");
        }
        let open = "a quote is not closed";
        check("a,\"b\n", &[(1, open)]);
        check("a,\"b\nc\nd", &[(1, open), (2, "c"), (3, "d")]);
        check("\"a\nb\n\"c\",d\n", &[(1, open), (2, "b"), (3, "c|d")]);
        check("\"a\nb\",\"c\nd\n", &[(2, open), (3, "d")]);
        check("\"a\n\"b\n\"c\nd\n", &[(1, open), (2, open), (3, open), (4, "d")]);
        let long = "b\n".repeat(ROW_BYTES_MAX);
        let found = rows(&format!("\"a\n{long}\"c\"\n"), b'\n');
        assert_eq!(found[0], (1, Err(Fault::OpenQuote)));
        assert_eq!(found[1], (2, Ok(vec!["b".to_owned()])));
        assert_eq!(found.len(), ROW_BYTES_MAX + 2);
        assert_eq!(*found.last().unwrap(), (ROW_BYTES_MAX as u64 + 2, Ok(vec!["c".to_owned()])));
    }

    #[test]
    fn a_line_has_a_bound() {
        let long = "x".repeat(ROW_BYTES_MAX + 1);
        let found = rows(&format!("a\n{long}{long}\nb\n{long}"), b'\n');
        let ok = |line, text: &str| (line, Ok(vec![text.to_owned()]));
        let too_long = |line| (line, Err(Fault::RowTooLong));
        assert_eq!(found, [ok(1, "a"), too_long(2), ok(3, "b"), too_long(4)]);
    }
}
