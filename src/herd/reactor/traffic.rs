//! What goes to the log: every line in and out, and the events of the herd's life. Logging a line
//! costs more than the work it describes; below level `debug`, all of that is skipped.
//!
//! Text from strangers is escaped before it reaches a terminal, and a long line is cut. An answer's
//! JSON becomes one record, without its line breaks and indents.

use std::fmt::{self, Write};

use log::{Level, debug, log_enabled};

use super::Reactor;
use crate::logging::events::Event;
use herd_core::border::Note;
use herd_core::names::{ConnId, PeerId};

/// Bytes of a line that are logged.
const SHOWN_BYTES_MAX: usize = 512;

pub fn is_logged() -> bool {
    log_enabled!(Level::Debug)
}

pub fn log_in(conn: ConnId, lines: &[u8]) {
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        log_line(conn, "<-", line);
    }
}

pub fn log_out(conn: ConnId, mut text: &[u8]) {
    while !text.is_empty() {
        // A body of places begins with a brace and ends with an empty line; no line of the wire
        // does either.
        let end = if text.starts_with(b"{") {
            memchr::memmem::find(text, b"\n\n").map(|at| at + 1)
        } else {
            memchr::memchr(b'\n', text)
        };
        let (line, rest) = text.split_at(end.unwrap_or(text.len()));
        text = rest.get(1..).unwrap_or_default();
        log_line(conn, "->", line);
    }
}

fn log_line(conn: ConnId, arrow: &str, line: &[u8]) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > SHOWN_BYTES_MAX {
        let start = Shown(&line[..SHOWN_BYTES_MAX]);
        debug!("{conn} {arrow} {start}… ({} bytes)", line.len());
    } else {
        debug!("{conn} {arrow} {}", Shown(line));
    }
}

/// Bytes that are safe for a terminal: all but printable ASCII is escaped, and so is the backslash.
/// In a text of several lines, each break with its indent becomes one blank.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while !rest.is_empty() {
            let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
            let run = rest.iter().position(|byte| !is_plain(byte)).unwrap_or(rest.len());
            let (plain, others) = rest.split_at(run);
            f.write_str(std::str::from_utf8(plain).unwrap_or_default())?;
            rest = match others {
                [] => break,
                [b'\n', indented @ ..] => {
                    f.write_char(' ')?;
                    indented.trim_ascii_start()
                }
                [byte, behind @ ..] => {
                    write!(f, "{}", byte.escape_ascii())?;
                    behind
                }
            };
        }
        Ok(())
    }
}

/// A difference of clocks in a form for people.
fn spoken(seconds: u64) -> String {
    match seconds {
        0..7_200 => format!("{seconds} s"),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Reactor {
    pub(super) fn log_note(&self, note: Note) {
        let name = |peer: PeerId| &self.config.peers[usize::from(peer.0)].name;
        match note {
            Note::PeerUp { peer, conn } => Event::LinkUp { peer: name(peer), conn }.log(),
            Note::PeerDown { peer, conn, why } => {
                Event::LinkDown { peer: name(peer), conn, reason: why }.log();
            }
            Note::PeerUnreachable { peer } => Event::PeerUnreachable { peer: name(peer) }.log(),
            Note::Refused { conn, why } => Event::Refused { conn, reason: why }.log(),
            Note::TooManyNewcomers { conn } => Event::TooManyNewcomers { conn }.log(),
            Note::AheadOfClock { conn, seconds } => {
                Event::ClockAhead { conn, ahead: &spoken(seconds) }.log();
            }
            Note::TwoOfOneName { peer, conn, joined } => {
                let from = |conn: ConnId| {
                    let connection = self.slots.tenant(conn.slot());
                    let ip = connection.and_then(|connection| connection.peer_ip());
                    ip.map_or("unknown".to_owned(), |ip| ip.to_string())
                };
                let (joined, refused) = (&from(joined), &from(conn));
                Event::NameConflict { peer: name(peer), joined, refused }.log();
            }
            Note::Full { clients, bytes } => Event::StoreFull { clients, bytes }.log(),
            Note::PeerBehind { peer } => Event::PeerBehind { peer: name(peer) }.log(),
            Note::PlainOverflow { peer } => Event::CoursePeerOverflow { peer: name(peer) }.log(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_plain_and_harmless() {
        let check = |text: &[u8], shown: &str| assert_eq!(Shown(text).to_string(), shown);
        check(b"IAMAT kiwi +1-1 1.5", "IAMAT kiwi +1-1 1.5");
        check(b"{\n   \"status\" : \"OK\"\n}\n", "{ \"status\" : \"OK\" } ");
        check(b"\x1b[2J\r\t\\n\xc3\xa9", "\\x1b[2J\\r\\t\\\\n\\xc3\\xa9");
        check(b"", "");
    }

    #[test]
    fn differences_are_spoken() {
        assert_eq!([90, 90_000, 1_795_321_086].map(spoken), ["90 s", "25 h", "20779 days"]);
    }
}
