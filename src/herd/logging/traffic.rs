//! What lines of clients and peers look like in the log. The writer thread makes them, of bytes
//! that the loop has copied: to spell a line costs more than the work that it describes.
//!
//! Text from strangers is escaped before it reaches a terminal. As text, a long line is cut, and an
//! answer's JSON becomes one record, without its line breaks and indents. In JSON a line of the
//! wire is whole, so that its bytes can be had back; only an answer's JSON is cut.

use std::io::Write;

use super::entries::{Traffic, Way};
use super::form::{Form, GROWS, Stamp};

/// Bytes of a line that are logged as text, and of an answer's JSON in either form.
const SHOWN_BYTES_MAX: usize = 512;

/// Spells records of lines as those of events are spelled.
pub(super) struct Scribe {
    form: Form,
    /// What each record of the lines at hand begins with.
    start: Vec<u8>,
    stamp: Stamp,
}

impl Scribe {
    pub(super) fn new(form: Form) -> Scribe {
        Scribe { form, start: Vec::new(), stamp: Stamp::default() }
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    /// Spells the records of these lines, in order, until there are `text_max` bytes of text. Says
    /// how many bytes of the lines those were, and how many records.
    pub(super) fn spell(
        &mut self,
        traffic: Traffic,
        lines: &[u8],
        text_max: usize,
        text: &mut Vec<u8>,
    ) -> (usize, u64) {
        self.start.clear();
        self.form.begin_traffic(traffic, &mut self.stamp, &mut self.start);
        // All lines are looked at together, and one by one only if that finds something.
        let are_plain = if self.form.is_json() {
            are_all(lines, |byte| is_plain_in_json(byte) | (*byte == b'\n'))
        } else {
            are_all(lines, |byte| is_plain(byte) | (*byte == b'\n'))
        };
        let (mut rest, mut records) = (lines, 0);
        while !rest.is_empty() && text.len() < text_max {
            let (line, taken) = first_record(traffic.way, rest);
            if let Some(line) = line {
                text.extend_from_slice(&self.start);
                self.spell_line(traffic.way, line, are_plain, text);
                records += 1;
            }
            rest = &rest[taken..];
        }
        (lines.len() - rest.len(), records)
    }

    fn spell_line(&self, way: Way, line: &[u8], is_plain: bool, text: &mut Vec<u8>) {
        let is_short = line.len() <= SHOWN_BYTES_MAX && !is_body(way, line);
        let is_copied = is_plain && is_short;
        if is_copied {
            text.extend_from_slice(line);
        }
        match (self.form.is_json(), is_copied) {
            (true, true) => end_quote(line, text),
            (true, false) => quote_line(way, line, text),
            (false, true) => text.push(b'\n'),
            (false, false) => {
                show_line(line, text);
                text.push(b'\n');
            }
        }
    }
}

/// A body of places begins with a brace and ends with an empty line; no line of the wire does
/// either.
fn is_body(way: Way, lines: &[u8]) -> bool {
    way == Way::Out && lines.starts_with(b"{")
}

/// The first line that is a record of its own, if there is one, and the bytes up to its end.
fn first_record(way: Way, lines: &[u8]) -> (Option<&[u8]>, usize) {
    let end = if is_body(way, lines) {
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

/// The rest of an object of JSON behind the quote that begins its line: the line with the quote
/// that ends it, how many bytes it has, and a newline.
///
/// The value is what `show` makes of the line, but for line breaks, which are `\n` there: so the
/// bytes of a line can be had back, whatever they are.
fn quote_line(way: Way, line: &[u8], text: &mut Vec<u8>) {
    let most = if is_body(way, line) { SHOWN_BYTES_MAX } else { usize::MAX };
    quote(&line[..line.len().min(most)], text);
    end_quote(line, text);
}

fn end_quote(line: &[u8], text: &mut Vec<u8>) {
    text.extend_from_slice(b"\",\"bytes\":");
    text.extend_from_slice(itoa::Buffer::new().format(line.len()).as_bytes());
    text.extend_from_slice(b"}\n");
}

fn quote(mut rest: &[u8], text: &mut Vec<u8>) {
    while !rest.is_empty() {
        let run = rest.iter().position(|byte| !is_plain_in_json(byte)).unwrap_or(rest.len());
        text.extend_from_slice(&rest[..run]);
        let Some((byte, behind)) = rest[run..].split_first() else { break };
        match byte {
            b'"' => text.extend_from_slice(b"\\\""),
            // Each backslash of the escaped byte is one of the value, and so two of the JSON.
            byte => {
                byte.escape_ascii().for_each(|spelled| match spelled {
                    b'\\' => text.extend_from_slice(b"\\\\"),
                    other => text.push(other),
                });
            }
        }
        rest = behind;
    }
}

/// Whether all bytes are so. Nearly always they are, so there is no branch a byte: many are looked
/// at in one instruction.
fn are_all(bytes: &[u8], is_so: impl Fn(&u8) -> bool) -> bool {
    let (chunks, rest) = bytes.as_chunks::<32>();
    let mut others = [0; 32];
    for chunk in chunks {
        for (other, byte) in others.iter_mut().zip(chunk) {
            *other |= if is_so(byte) { 0 } else { u8::MAX };
        }
    }
    rest.iter().all(is_so) && others == [0; 32]
}

/// Printable ASCII that escapes nothing.
fn is_plain(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~') & (*byte != b'\\')
}

/// The same within a text of JSON.
fn is_plain_in_json(byte: &u8) -> bool {
    is_plain(byte) & (*byte != b'"')
}

/// Bytes that are safe for a terminal: all but printable ASCII is escaped, and so is the backslash.
/// In a text of several lines, each break with its indent becomes one blank.
fn show(mut rest: &[u8], text: &mut Vec<u8>) {
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
    use std::time::Duration;

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
            let mut scribe = Scribe::new(Form::new("Hill", false, false));
            let traffic = Traffic { conn, way, at };
            let (mut text, mut rest) = (Vec::new(), lines);
            while !rest.is_empty() {
                let one_more = text.len() + 1;
                let (taken, records) = scribe.spell(traffic, rest, one_more, &mut text);
                assert!(taken > 0 && records <= 1);
                rest = &rest[taken..];
            }
            let mut together = Vec::new();
            let records = expected.len() as u64;
            let all = scribe.spell(traffic, lines, usize::MAX, &mut together);
            assert_eq!(all, (lines.len(), records));
            assert_eq!(together, text);
            let arrow = if way == Way::In { "<-" } else { "->" };
            let start = format!("2026-11-29T09:28:36.500529034Z [DEBUG] client-7 {arrow} ");
            let lines_of_log = expected.iter().map(|line| format!("{start}{line}\n"));
            assert_eq!(String::from_utf8(text).unwrap(), lines_of_log.collect::<String>());
            assert_eq!(count(way, lines), records);
        };
        check(Way::In, b"IAMAT a\r\n\n\nWHATSAT b\npart", &["IAMAT a", "WHATSAT b", "part"]);
        check(Way::In, b"\r\n{\n\nx\n", &["", "{", "x"]);
        check(Way::Out, b"AT a\n{\n  1\n}\n\nAT b\n", &["AT a", "{ 1 } ", "AT b"]);
        check(Way::Out, b"\n{", &["", "{"]);
    }

    /// Goal: no byte escapes the look at many at once, wherever it stands.
    #[test]
    fn one_byte_in_a_read_is_found() {
        for length in 1..100 {
            for at in 0..length {
                for byte in 0..=u8::MAX {
                    let mut lines = vec![b'x'; length];
                    lines[at] = byte;
                    let found = !are_all(&lines, is_plain);
                    assert_eq!(found, !is_plain(&byte), "{byte:#x} at {at} of {length}");
                }
            }
        }
    }

    /// Undoes what `quote` does to the value of a line.
    fn bytes_of(value: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = value.as_bytes();
        while let Some((byte, behind)) = rest.split_first() {
            let (byte, taken) = match (byte, behind) {
                (b'\\', [b'x', high, low, ..]) => {
                    let digits = [*high, *low];
                    let digits = std::str::from_utf8(&digits).unwrap();
                    (u8::from_str_radix(digits, 16).unwrap(), 3)
                }
                (b'\\', [b't', ..]) => (b'\t', 1),
                (b'\\', [b'r', ..]) => (b'\r', 1),
                (b'\\', [b'n', ..]) => (b'\n', 1),
                (b'\\', [escaped, ..]) => (*escaped, 1),
                _ => (*byte, 0),
            };
            bytes.push(byte);
            rest = &behind[taken..];
        }
        bytes
    }

    /// Goal: whatever a line is made of, its record is JSON of printable ASCII, and says its bytes.
    #[test]
    fn json_gives_the_bytes_back() {
        let conn = ConnId::new(ConnKind::Client, 7, 0);
        let at = Duration::new(1_795_944_516, 529_034);
        let check = |way, line: &[u8], shown: usize| {
            let mut scribe = Scribe::new(Form::new("Hill", true, false));
            let mut text = Vec::new();
            scribe.spell(Traffic { conn, way, at }, line, usize::MAX, &mut text);
            let text = String::from_utf8(text).unwrap();
            assert!(text.trim_end_matches('\n').bytes().all(|byte| matches!(byte, b' '..=b'~')));
            let record: serde_json::Value = serde_json::from_str(&text).unwrap();
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            assert_eq!(bytes_of(record["line"].as_str().unwrap()), line[..shown.min(line.len())]);
            assert_eq!(record["bytes"], line.len());
            text
        };
        let all = Vec::from_iter((0..=u8::MAX).filter(|byte| *byte != b'\n'));
        check(Way::In, &all, usize::MAX);
        check(Way::In, b"IAMAT \\x41\\\\n\"'\\\"\r\n", usize::MAX);
        check(Way::In, &[b'\\'; 9_000], usize::MAX);
        check(Way::Out, &[&b"{\n\""[..], &[b'x'; 600], b"\n\n"].concat(), 512);
        let plain = check(Way::Out, b"AT Hill +0.1 kiwi +1-1 7\n", usize::MAX);
        let expected = "{\"ts\":\"2026-11-29T09:28:36.000529Z\",\"level\":\"debug\",\
                        \"server\":\"Hill\",\"event\":\"line\",\"conn\":\"client-7\",\
                        \"door\":\"client\",\"dir\":\"out\",\
                        \"line\":\"AT Hill +0.1 kiwi +1-1 7\",\"bytes\":24}\n";
        assert_eq!(plain, expected);
    }
}
