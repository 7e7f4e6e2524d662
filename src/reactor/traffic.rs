//! What the log is told: every line in and out, and the events of the herd's life. Apart because
//! to log a line costs more than the work it describes; below level `debug`, all of that is
//! skipped.
//!
//! What strangers send is escaped before it reaches a terminal, and a long line is cut. An
//! answer's JSON becomes one record.

use log::{Level, debug, info, log_enabled, warn};

use super::Reactor;
use crate::core::border::Note;
use crate::core::names::{ConnId, PeerId};

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
        let end = match text.starts_with(b"{") {
            true => memchr::memmem::find(text, b"\n\n").map(|at| at + 1),
            false => memchr::memchr(b'\n', text),
        };
        let (line, rest) = text.split_at(end.unwrap_or(text.len()));
        text = rest.get(1..).unwrap_or_default();
        log_line(conn, "->", line);
    }
}

fn log_line(conn: ConnId, arrow: &str, line: &[u8]) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.len() > SHOWN_BYTES_MAX {
        false => debug!("{conn} {arrow} {}", line.escape_ascii()),
        true => {
            let start = line[..SHOWN_BYTES_MAX].escape_ascii();
            debug!("{conn} {arrow} {start}… ({} bytes)", line.len());
        }
    }
}

impl Reactor {
    pub(super) fn log_note(&self, note: Note) {
        let name = |peer: PeerId| &self.config.peers[usize::from(peer.0)].name;
        match note {
            Note::PeerUp { peer, conn } => info!("peer {} has joined on {conn}", name(peer)),
            Note::PeerDown { peer, conn, why } => {
                warn!("peer {} has left {conn}: {why}", name(peer));
            }
            Note::PeerUnreachable { peer } => {
                warn!("peer {} cannot be reached; dialling on", name(peer));
            }
            Note::Refused { conn, why } => warn!("{conn} is refused: {why}"),
            Note::PeerBehind { peer } => {
                warn!("peer {} reads slowly; what it misses is sent later", name(peer));
            }
            Note::PlainOverflow { peer } => {
                warn!("peer {} was away for too long and will miss reports", name(peer));
            }
        }
    }
}
