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
    /// What each record of the entry at hand begins with, and what entry that is.
    start: Vec<u8>,
    entry: Option<Traffic>,
    stamp: Stamp,
}

impl Scribe {
    pub(super) fn new(form: Form) -> Scribe {
        Scribe { form, start: Vec::new(), entry: None, stamp: Stamp::default() }
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    /// Spells the first record of these lines, if they have one. Says how many bytes it was.
    pub(super) fn spell(&mut self, traffic: Traffic, lines: &[u8], text: &mut Vec<u8>) -> usize {
        let (line, taken) = first_record(traffic.way, lines);
        if let Some(line) = line {
            if self.entry != Some(traffic) {
                self.start.clear();
                self.form.begin_traffic(traffic, &mut self.stamp, &mut self.start);
                self.entry = Some(traffic);
            }
            text.extend_from_slice(&self.start);
            if self.form.is_json() {
                quote_line(traffic.way, line, text);
            } else {
                show_line(line, text);
                text.push(b'\n');
            }
        }
        taken
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
    text.extend_from_slice(b"\",\"bytes\":");
    text.extend_from_slice(itoa::Buffer::new().format(line.len()).as_bytes());
    text.extend_from_slice(b"}\n");
}

fn quote(mut rest: &[u8], text: &mut Vec<u8>) {
    let is_plain = |byte: &u8| is_plain(byte) && *byte != b'"';
    // Without a branch a byte, so that many are looked at in one instruction.
    if rest.iter().fold(true, |all, byte| all & is_plain(byte)) {
        text.extend_from_slice(rest);
        return;
    }
    while !rest.is_empty() {
        let run = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
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

/// Printable ASCII that escapes nothing.
fn is_plain(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~') && *byte != b'\\'
}

/// Bytes that are safe for a terminal: all but printable ASCII is escaped, and so is the backslash.
/// In a text of several lines, each break with its indent becomes one blank.
fn show(mut rest: &[u8], text: &mut Vec<u8>) {
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
            let form = Form::new("Hill", false, false);
            let (mut scribe, mut text, mut rest) = (Scribe::new(form), Vec::new(), lines);
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
            scribe.spell(Traffic { conn, way, at }, line, &mut text);
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
