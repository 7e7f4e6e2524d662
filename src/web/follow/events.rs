//! The spelling of what followers are told: Server-Sent Events (WHATWG HTML, section 9.2).

use std::fmt::Write;

use super::shown::Shown;

/// Moves in one event.
const MOVES_MAX: usize = 256;

/// A text of whole events, of which one may still be open.
pub struct Events<'a> {
    out: &'a mut String,
    /// Server and boot, which stand before the number of a change.
    origin: &'a str,
    /// Moves in the event that is open.
    moves: usize,
    /// The change that was told last.
    seq: u64,
}

impl<'a> Events<'a> {
    pub fn new(out: &'a mut String, origin: &'a str, seq: u64) -> Events<'a> {
        Events { out, origin, moves: 0, seq }
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// All up to this change is told, or of no interest.
    pub fn reach(&mut self, seq: u64) {
        self.seq = seq;
    }

    /// A client is there now.
    pub fn tell_move(&mut self, client: &Shown, seq: u64) {
        self.out.push_str(if self.moves == 0 { "event: move\ndata: [" } else { "," });
        let Shown { id, place, time, .. } = client;
        for part in ["[", id, ",", place, ",", time, "]"] {
            self.out.push_str(part);
        }
        (self.moves, self.seq) = (self.moves + 1, seq);
        if self.moves == MOVES_MAX {
            self.end_moves();
        }
    }

    /// A client has come into a fence or has left it.
    pub fn tell_fence(&mut self, event: &str, fence: &str, client: &Shown, seq: u64) {
        let Shown { id, place, time, .. } = client;
        let data = format!("{{\"fence\":{fence},\"id\":{id},\"at\":[{place}],\"t\":{time}}}");
        self.tell_change(event, &data, seq);
    }

    pub fn tell_gone(&mut self, id: &str, why: &str, seq: u64) {
        self.tell_change("gone", &format!("{{\"id\":{id},\"why\":\"{why}\"}}"), seq);
    }

    /// Something without a number: who reads it may come again with the number before.
    pub fn tell(&mut self, event: &str, data: &str) {
        self.end_moves();
        let _ = write!(self.out, "event: {event}\ndata: {data}\n\n");
    }

    /// Something by which all up to here is told.
    pub fn tell_change(&mut self, event: &str, data: &str, seq: u64) {
        self.end_moves();
        self.seq = seq;
        let _ = write!(self.out, "event: {event}\ndata: {data}\nid: ");
        self.end();
    }

    pub fn end_moves(&mut self) {
        if self.moves > 0 {
            self.moves = 0;
            self.out.push_str("]\nid: ");
            self.end();
        }
    }

    fn end(&mut self) {
        let _ = write!(self.out, "{}.{}\n\n", self.origin, self.seq);
    }
}

/// The number of the last change that a follower has been told, if that was by this origin.
pub fn cursor(last_event_id: &str, origin: &str) -> Option<u64> {
    let (before, seq) = last_event_id.trim().rsplit_once('.')?;
    (before == origin).then(|| seq.parse().ok())?
}
