//! The spelling of what followers are told: Server-Sent Events (WHATWG HTML, section 9.2), or
//! messages of MQTT. Both say the same; what only a stream of events needs (a first word, numbers
//! to come again with) is left out of messages.

use std::io::Write;
use std::sync::Arc;

use serde_json::json;

use super::shown::Shown;
use crate::blur::{Blur, Square};
use crate::mqtt::answer;
use crate::seen::{self, shown};

/// Moves in one event.
const MOVES_MAX: usize = 256;

/// How a follower is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    Events,
    /// Messages, under this first word of their topics.
    Messages {
        root: Arc<str>,
    },
    /// Events that say in which square a client is, and not where.
    Squares(Blur),
}

impl Form {
    /// Whether it is a stream of events.
    pub fn has_events(&self) -> bool {
        !matches!(self, Form::Messages { .. })
    }
}

/// A text of whole events or messages, of which one event may still be open.
pub struct Events<'a> {
    out: &'a mut Vec<u8>,
    form: &'a Form,
    /// Server and boot, which stand before the number of a change.
    origin: &'a str,
    /// Moves in the event that is open.
    moves: usize,
    /// The change that was told last.
    seq: u64,
    /// What is told was so before the follower came.
    is_retained: bool,
}

impl<'a> Events<'a> {
    pub fn new(
        out: &'a mut Vec<u8>,
        (form, is_retained): (&'a Form, bool),
        origin: &'a str,
        seq: u64,
    ) -> Events<'a> {
        Events { out, form, origin, moves: 0, seq, is_retained }
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
        if let Form::Messages { root } = self.form {
            self.seq = seq;
            let (Some(topic), Some(message)) = (client.topic(), client.message()) else { return };
            return answer::publish(&[root, "/", topic], message, self.is_retained, self.out);
        }
        self.push(if self.moves == 0 { "event: move\ndata: [" } else { "," });
        self.push(client.row());
        (self.moves, self.seq) = (self.moves + 1, seq);
        if self.moves == MOVES_MAX {
            self.end_moves();
        }
    }

    /// A client is somewhere in this square now.
    pub fn tell_square(&mut self, client: &Shown, square: &Square, seq: u64) {
        let bbox = square.area.map(|it| json!([it.west, it.south, it.east, it.north]));
        let (id, bbox) = (client.id(), bbox.unwrap_or_default());
        let data = format!("{{\"id\":{id},\"bbox\":{bbox},\"t\":{}}}", square.minute_s);
        self.tell_change("square", &data, seq);
    }

    /// A client has come into a fence or has left it.
    pub fn tell_fence(&mut self, event: &str, fence: &str, client: &Shown, seq: u64) {
        let (id, place, time) = (client.id(), client.place(), client.time());
        let data = format!("{{\"fence\":{fence},\"id\":{id},\"at\":[{place}],\"t\":{time}}}");
        self.tell_change(event, &data, seq);
    }

    /// A client that the follower asks for is not there any more.
    pub fn tell_gone(&mut self, client: &[u8], topic: Option<&str>, why: &str, seq: u64) {
        if let Form::Messages { root } = self.form {
            self.seq = seq;
            let topic = topic.map(|topic| [&**root, "/", topic]);
            return topic.iter().for_each(|topic| answer::publish(topic, "", false, self.out));
        }
        let id = seen::json(&shown(client));
        self.tell_change("gone", &format!("{{\"id\":{id},\"why\":\"{why}\"}}"), seq);
    }

    /// Something without a number: who reads it may come again with the number before.
    pub fn tell(&mut self, event: &str, data: &str) {
        if self.form.has_events() {
            self.end_moves();
            self.write(format_args!("event: {event}\ndata: {data}\n\n"));
        }
    }

    /// Something by which all up to here is told.
    pub fn tell_change(&mut self, event: &str, data: &str, seq: u64) {
        self.end_moves();
        self.seq = seq;
        if self.form.has_events() {
            self.write(format_args!("event: {event}\ndata: {data}\nid: "));
            self.end();
        }
    }

    pub fn end_moves(&mut self) {
        if self.moves > 0 {
            self.moves = 0;
            self.push("]\nid: ");
            self.end();
        }
    }

    fn end(&mut self) {
        let (origin, seq) = (self.origin, self.seq);
        self.write(format_args!("{origin}.{seq}\n\n"));
    }

    fn push(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.out.write_fmt(text);
    }
}

/// The number of the last change that a follower has been told, if that was by this origin.
pub fn cursor(last_event_id: &str, origin: &str) -> Option<u64> {
    let (before, seq) = last_event_id.trim().rsplit_once('.')?;
    (before == origin).then(|| seq.parse().ok())?
}
