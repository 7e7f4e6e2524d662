//! What a simulated server has of a connection, and what it cannot do alone. Apart from `body`,
//! which moves all of this: here it only stands.

use super::watch::Violation;
use herd_core::border::Note;
use herd_core::line::LineBuffer;
use herd_core::names::{ConnId, PeerId, Ticket};
use herd_core::whatsat::Question;

/// What the world must do or know.
#[derive(Clone, Debug)]
pub enum Act {
    Dial {
        peer: PeerId,
    },
    Ask {
        conn: ConnId,
        ticket: Ticket,
        question: Question,
    },
    /// Nothing will follow what was sent on this connection.
    Finish {
        conn: ConnId,
    },
    /// The connection was hung up on.
    Reset {
        conn: ConnId,
    },
    /// The connection of a peer is over at this end.
    Over {
        conn: ConnId,
    },
    Noted(Note),
    /// The mind asked for something that no reactor could do.
    Broken(Violation),
}

#[derive(Default)]
pub struct Socket {
    pub inbox: LineBuffer,
    pub outbox: Vec<u8>,
    /// Came while lines were held back.
    pub unread: Vec<u8>,
    pub lines_left: bool,
    pub held: bool,
    /// The far end will send no more.
    pub ended: bool,
    /// It may have more to say, but nobody reads it: half a line stays half a line.
    pub dismissed: bool,
    pub end_told: bool,
    /// Nothing is heard any more, and after the outbox is sent, nothing is said.
    pub closing: bool,
    /// The last word was said.
    pub finished: bool,
    pub tell_drained: bool,
}
