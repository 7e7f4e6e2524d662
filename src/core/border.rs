//! The border between the two halves: all that can happen to a server, and all that it can ask
//! for. Apart so that it fits on one screen; it decides nothing.
//!
//! `Driver::tell` hands an `Input` over and carries every `Output` out before it hands
//! over the next. In the steady state nothing here allocates: texts are written once, into one
//! buffer that is used again and again, and an output names a range of it.

use std::ops::Range;
use std::time::Duration;

use super::names::{ConnId, PeerId, Ticket};
use super::peers::table::PeerSettings;
use super::reports::changes::Changes;
use super::settings::Settings;
use super::whatsat::Question;
use super::wire::line_buffer::Lines;

/// Everything that can ever happen to a server.
///
/// A closed enum on purpose: to know what drives a server, read this list.
#[expect(missing_docs, reason = "a variant's sentence speaks of its fields, so each is one line")]
#[derive(Debug)]
pub enum Input<'a, 'b> {
    /// The loop is about to turn for the first time.
    Started,
    /// A connection was accepted. Its kind is in its name.
    Accepted { conn: ConnId },
    /// A dial has succeeded.
    Connected { peer: PeerId, conn: ConnId },
    /// A dial has failed.
    DialFailed { peer: PeerId },
    /// A peer's connection is inside TLS, by which both ends have proven that they know a key of
    /// the herd. Told before the first line of its far end.
    Secret { conn: ConnId },
    /// TLS has failed on a peer's connection: the two ends know no common key, or the far end would
    /// not show that it knows one. Told before `Closed`.
    Unproven { conn: ConnId },
    /// Whole lines have come, all those of one read. The server takes as many as it wants.
    Lines { conn: ConnId, lines: &'a mut Lines<'b> },
    /// The far end will send no more, but may still listen.
    Ended { conn: ConnId },
    /// The connection is gone.
    Closed { conn: ConnId },
    /// The far end of a peer's connection has taken so many bytes of what was owed.
    Taken { conn: ConnId, bytes: usize },
    /// Nothing is owed to the connection any more (`Output::TellFlushed`).
    Flushed { conn: ConnId },
    /// A question was answered, possibly with the reason why it cannot be.
    PlacesArrived { ticket: Ticket, body: &'a [u8] },
    /// A timer fired. It may be about something that is gone.
    TimerFired { timer: Timer },
    /// This client is to be forgotten, in the whole herd. `Server::is_erased` says whether it is.
    Erase { client: &'a [u8] },
    /// The process is about to end: its doors are closed, and clients hear their last answers.
    Draining,
    /// No client is left: hand over what is known, and say good-bye to the peers.
    Leaving,
    /// The configuration was read again: answers, bounds but `expire_after`, and keys for greetings
    /// are as it says from now on. Of peers, the next two tell.
    Changed { settings: &'a Settings },
    /// A link was added: to the next `PeerId`, or to that of a peer of this name that was removed.
    /// Or the end has changed that dials a link which is there.
    PeerConfigured { peer: PeerId, settings: &'a PeerSettings },
    /// A link was removed: the peer is hung up on, and its greetings are refused.
    PeerRemoved { peer: PeerId },
}

/// Everything that a server can ask of the reactor.
#[expect(missing_docs, reason = "a variant's sentence speaks of its fields, so each is one line")]
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this range of `Outputs::text`.
    Send { conn: ConnId, text: Range<usize> },
    /// Send what is owed, then close.
    Close { conn: ConnId },
    /// Close at once, whatever is owed.
    HangUp { conn: ConnId },
    /// Connect to a peer; the answer is `Connected` or `DialFailed`.
    Dial { peer: PeerId },
    /// Tell `TimerFired` after this time.
    StartTimer { timer: Timer, after: Duration },
    /// Ask for this connection, and tell `PlacesArrived` with the ticket; if there is no answer
    /// after `timeout`, tell `TimerFired` with `Timer::Answer`.
    AskPlaces { conn: ConnId, ticket: Ticket, question: Question, timeout: Duration },
    /// Lines may be taken again (`Lines::hold`).
    ResumeReading { conn: ConnId },
    /// Tell `Flushed` once nothing is owed to this connection.
    TellFlushed { conn: ConnId },
    /// Something an operator wants to know.
    Note(Note),
}

/// What a timer is about. Nothing is ever cancelled: each names something by a name that is
/// never given again, or by an attempt, and fires in vain if that has passed.
#[expect(missing_docs, reason = "a variant's sentence speaks of its fields, so each is one line")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Dial the peer again, if this attempt is still the one being waited for.
    Redial { peer: PeerId, attempt: u32 },
    /// Has this connection introduced itself?
    Greeting { conn: ConnId },
    /// Is this link still alive?
    Ping { conn: ConnId },
    /// Do the two ends of this link hold the same?
    Compare { conn: ConnId },
    /// Which of the reports held have expired?
    Sweep,
    /// Has this question been answered?
    Answer { ticket: Ticket },
}

/// An event of the herd's life, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A link is up: both ends have greeted each other.
    PeerUp {
        /// Who is at the other end.
        peer: PeerId,
        /// The connection that carries the link.
        conn: ConnId,
    },
    /// A link that was up is over.
    PeerDown {
        /// Who was at the other end.
        peer: PeerId,
        /// The connection that carried the link.
        conn: ConnId,
        /// The reason that the log tells.
        why: &'static str,
    },
    /// Told once for each time that a peer cannot be reached, not for each attempt.
    PeerUnreachable {
        /// The peer that we dial, in vain so far.
        peer: PeerId,
    },
    /// Somebody on the peer port is not who they should be.
    Refused {
        /// On which they came; it is closed.
        conn: ConnId,
        /// The reason that the log tells. The same one is told once in a while only.
        why: &'static str,
    },
    /// Two processes of one name are alive: one is joined, and the other one is refused.
    TwoOfOneName {
        /// The peer of that name.
        peer: PeerId,
        /// Of the process that is refused.
        conn: ConnId,
        /// Of the process that is joined.
        joined: ConnId,
    },
    /// A report of a client was refused: the store may not become larger.
    Full {
        /// How many clients are known.
        clients: usize,
        /// The memory that their reports and the index take.
        bytes: usize,
    },
    /// A peer is slow; what it misses will be sent when it has caught up.
    PeerBehind {
        /// Whose link has too much to be sent.
        peer: PeerId,
    },
    /// An address has made so many clients known that it must wait before others are.
    TooManyNewcomers {
        /// One of the address, on which the refused report came.
        conn: ConnId,
    },
    /// An IAMAT was refused because its time is so far ahead of our clock. Told once in a while:
    /// if it is the clock that is wrong, every report is refused.
    AheadOfClock {
        /// The client's.
        conn: ConnId,
        /// How far ahead the time was, without the fraction.
        seconds: u64,
    },
    /// A course server has been out of reach so long that it will not hear every report.
    PlainOverflow {
        /// The course server.
        peer: PeerId,
    },
}

/// What one `Input` brought about.
#[derive(Debug, Default)]
pub struct Outputs {
    /// All texts to be sent, one behind the other.
    pub text: Vec<u8>,
    /// What is to be done, in this order.
    pub list: Vec<Output>,
    /// The lines that the journal must be given: ranges of the text. Nothing of this may be sent
    /// to a client before they are kept.
    pub news: Vec<Range<usize>>,
    /// What has changed, if somebody watches (`Server::watch`).
    pub(crate) changes: Changes,
    /// Behind the last output that is no text: what comes between two texts must stay there.
    texts_from: usize,
    /// Behind the text that was last made longer. A batch of reports goes to each peer and to its
    /// sender in turn, so the next one nearly always makes this one longer.
    next: usize,
}

impl Outputs {
    /// How far back `send` looks for a text to the same connection.
    const MERGE_DEPTH: usize = 8;

    /// Makes it ready for the next `Input`; the memory is kept.
    #[inline(always)]
    pub fn clear(&mut self) {
        self.text.clear();
        self.list.clear();
        self.news.clear();
        self.changes.clear();
        (self.texts_from, self.next) = (0, 0);
    }

    /// Lends what is to be done and its texts, for as long as it is carried out.
    pub(crate) fn lend(&mut self) -> (Vec<Output>, Vec<u8>) {
        (std::mem::take(&mut self.list), std::mem::take(&mut self.text))
    }

    /// Takes the memory of both back, and is ready for the next `Input`.
    #[inline(always)]
    pub(crate) fn take_back(&mut self, list: Vec<Output>, text: Vec<u8>) {
        (self.list, self.text) = (list, text);
        self.clear();
    }

    /// Asks for something after all that was asked for before.
    pub fn push(&mut self, output: Output) {
        self.list.push(output);
        self.texts_from = self.list.len();
    }

    /// Sends a range of the text. Ranges that follow each other become one.
    #[inline]
    pub fn send(&mut self, conn: ConnId, text: Range<usize>) {
        let is_text = (self.texts_from..self.list.len()).contains(&self.next);
        let guess = if is_text { self.next } else { self.texts_from };
        match self.list.get_mut(guess) {
            Some(Output::Send { conn: to, text: before })
                if *to == conn && before.end == text.start =>
            {
                before.end = text.end;
                self.next = guess + 1;
            }
            None => self.push_text(conn, text),
            _ => self.send_apart(conn, text),
        }
    }

    /// `send`, where another output is next.
    fn send_apart(&mut self, conn: ConnId, text: Range<usize>) {
        let texts_from = self.texts_from.min(self.list.len());
        let texts = self.list[texts_from..].iter_mut().enumerate().rev();
        for (at, output) in texts.take(Self::MERGE_DEPTH) {
            if let Output::Send { conn: to, text: before } = output
                && *to == conn
            {
                if before.end == text.start {
                    before.end = text.end;
                    self.next = texts_from + at + 1;
                    return;
                }
                break;
            }
        }
        self.push_text(conn, text);
    }

    /// Not inlined, so that `send` is.
    #[inline(never)]
    fn push_text(&mut self, conn: ConnId, text: Range<usize>) {
        self.list.push(Output::Send { conn, text });
        self.next = self.list.len();
    }

    /// Gives the journal a line, with its newline. Lines that follow each other become one range.
    pub fn push_news(&mut self, line: Range<usize>) {
        match self.news.last_mut() {
            Some(before) if before.end == line.start => before.end = line.end,
            _ => self.news.push(line),
        }
    }

    /// Writes a text and sends it.
    pub fn say(&mut self, conn: ConnId, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.text.len();
        write(&mut self.text);
        self.send(conn, start..self.text.len());
        self.text.len() - start
    }

    /// Has something told in the log.
    pub fn note(&mut self, note: Note) {
        self.push(Output::Note(note));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ConnKind;

    #[test]
    fn ranges_that_follow_each_other_become_one() {
        let [a, b] = [1, 2].map(|serial| ConnId::new(ConnKind::Client, serial, 0));
        let send = |conn, text| Output::Send { conn, text };
        let mut out = Outputs::default();
        for at in 0..3 {
            out.send(a, 10 * at..10 * at + 10);
            out.send(b, 10 * at..10 * at + 10);
        }
        out.send(a, 40..50);
        out.push(Output::Close { conn: b });
        out.send(a, 50..60);
        let expected = [
            send(a, 0..30),
            send(b, 0..30),
            send(a, 40..50),
            Output::Close { conn: b },
            send(a, 50..60),
        ];
        assert_eq!(out.list, expected);
    }
}
