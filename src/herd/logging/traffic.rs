//! What lines of clients and peers look like in the log. The writer thread makes them, of bytes
//! that the loop has copied: to spell a line costs more than the work that it describes.
//!
//! Text from strangers is escaped before it reaches a terminal, and a long line is cut. An answer's
//! JSON becomes one record, without its line breaks and indents.

use std::io::Write;
use std::time::Duration;

use time::OffsetDateTime;

use super::entries::{Traffic, Way};

/// Bytes of a line that are logged.
const SHOWN_BYTES_MAX: usize = 512;

/// Spells records as simplelog spells those of events.
#[derive(Default)]
pub(super) struct Scribe {
    /// What each record of the entry at hand begins with, and what entry that is.
    start: Vec<u8>,
    entry: Option<Traffic>,
    /// The second of the last entry, and its date and time.
    second: Option<u64>,
    date: Vec<u8>,
}

impl Scribe {
    /// Spells the first record of these lines, if they have one. Says how many bytes it was.
    pub(super) fn spell(&mut self, traffic: Traffic, lines: &[u8], text: &mut Vec<u8>) -> usize {
        let (line, taken) = first_record(traffic.way, lines);
        if let Some(line) = line {
            if self.entry != Some(traffic) {
                self.begin(traffic);
            }
            text.extend_from_slice(&self.start);
            show_line(line, text);
            text.push(b'\n');
        }
        taken
    }

    fn begin(&mut self, traffic: Traffic) {
        let Traffic { conn, way, at } = traffic;
        if self.second != Some(at.as_secs()) {
            self.second = Some(at.as_secs());
            self.date = date(at);
        }
        let arrow = match way {
            Way::In => "<-",
            Way::Out => "->",
        };
        self.start.clear();
        self.start.extend_from_slice(&self.date);
        let nanoseconds = at.subsec_nanos();
        write!(self.start, ".{nanoseconds:09}Z [DEBUG] {conn} {arrow} ").expect(GROWS);
        self.entry = Some(traffic);
    }
}

const GROWS: &str = "a Vec takes what it is given";

/// `2026-11-22T03:24:05`. A clock that cannot be right is taken for that of 1970.
pub(super) fn date(at: Duration) -> Vec<u8> {
    let seconds = i64::try_from(at.as_secs()).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}").into_bytes()
}

/// The first line that is a record of its own, if there is one, and the bytes up to its end.
fn first_record(way: Way, lines: &[u8]) -> (Option<&[u8]>, usize) {
    // A body of places begins with a brace and ends with an empty line; no line of the wire does
    // either.
    let end = if way == Way::Out && lines.starts_with(b"{") {
        memchr::memmem::find(lines, b"\n\n").map(|at| at + 1)
    } else {
        memchr::memchr(b'\n', lines)
    };
    let (line, taken) = match end {
        Some(end) => (&lines[..end], end + 1),
        None => (lines, lines.len()),
    };
    (Some(line).filter(|line| way == Way::Out || !line.is_empty()), taken)
}

/// Records of these lines.
pub(super) fn count(way: Way, mut lines: &[u8]) -> u64 {
    let mut records = 0;
    while !lines.is_empty() {
        let (line, taken) = first_record(way, lines);
        records += u64::from(line.is_some());
        lines = &lines[taken..];
    }
    records
}

fn show_line(line: &[u8], text: &mut Vec<u8>) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > SHOWN_BYTES_MAX {
        show(&line[..SHOWN_BYTES_MAX], text);
        write!(text, "… ({} bytes)", line.len()).expect(GROWS);
    } else {
        show(line, text);
    }
}

/// Bytes that are safe for a terminal: all but printable ASCII is escaped, and so is the backslash.
/// In a text of several lines, each break with its indent becomes one blank.
fn show(mut rest: &[u8], text: &mut Vec<u8>) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
    // Without a branch a byte, so that many are looked at in one instruction.
    if rest.iter().fold(true, |all, byte| all & is_plain(byte)) {
        text.extend_from_slice(rest);
        return;
    }
    while !rest.is_empty() {
        let run = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
        let (plain, others) = rest.split_at(run);
        text.extend_from_slice(plain);
        rest = match others {
            [] => break,
            [b'\n', indented @ ..] => {
                text.push(b' ');
                indented.trim_ascii_start()
            }
            [byte, behind @ ..] => {
                text.extend(byte.escape_ascii());
                behind
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_core::names::{ConnId, ConnKind};

    #[test]
    fn what_is_shown_is_plain_and_harmless() {
        let check = |line: &[u8], shown: &str| {
            let mut text = Vec::new();
            show_line(line, &mut text);
            assert_eq!(String::from_utf8(text).unwrap(), shown);
        };
        check(b"IAMAT kiwi +1-1 1.5", "IAMAT kiwi +1-1 1.5");
        check(b"{\n   \"status\" : \"OK\"\n}\n", "{ \"status\" : \"OK\" } ");
        check(b"\x1b[2J\r\t\\n\xc3\xa9\r", "\\x1b[2J\\r\\t\\\\n\\xc3\\xa9");
        check(b"", "");
        check(&[b'x'; 512], &"x".repeat(512));
        check(&[b'x'; 513], &format!("{}… (513 bytes)", "x".repeat(512)));
    }

    #[test]
    fn lines_are_records_and_a_body_is_one() {
        let check = |way, lines: &[u8], expected: &[&str]| {
            let conn = ConnId::new(ConnKind::Client, 7, 0);
            let at = Duration::new(1_795_944_516, 500_529_034);
            let (mut scribe, mut text, mut rest) = (Scribe::default(), Vec::new(), lines);
            while !rest.is_empty() {
                let taken = scribe.spell(Traffic { conn, way, at }, rest, &mut text);
                rest = &rest[taken..];
            }
            let arrow = if way == Way::In { "<-" } else { "->" };
            let start = format!("2026-11-29T09:28:36.500529034Z [DEBUG] client-7 {arrow} ");
            let lines_of_log = expected.iter().map(|line| format!("{start}{line}\n"));
            assert_eq!(String::from_utf8(text).unwrap(), lines_of_log.collect::<String>());
            assert_eq!(count(way, lines), expected.len() as u64);
        };
        check(Way::In, b"IAMAT a\r\n\n\nWHATSAT b\npart", &["IAMAT a", "WHATSAT b", "part"]);
        check(Way::In, b"\r\n{\n\nx\n", &["", "{", "x"]);
        check(Way::Out, b"AT a\n{\n  1\n}\n\nAT b\n", &["AT a", "{ 1 } ", "AT b"]);
        check(Way::Out, b"\n{", &["", "{"]);
    }

    #[test]
    fn dates_are_of_the_calendar() {
        let check = |seconds, expected: &str| {
            assert_eq!(String::from_utf8(date(Duration::from_secs(seconds))).unwrap(), expected);
        };
        check(0, "1970-01-01T00:00:00");
        check(951_782_399, "2000-02-28T23:59:59");
        check(951_782_400, "2000-02-29T00:00:00");
        check(u64::MAX, "1970-01-01T00:00:00");
    }
}
