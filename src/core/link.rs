//! A greeted connection to a peer, and what may be told on it now. Apart from `sync`, which tells,
//! because this is only the account of it: what was sent, what was held back, who was heard when.

use std::ops::Range;
use std::time::Duration;

use super::border::{Note, Output, Outputs};
use super::names::{ConnId, PeerId};
use super::store::Cursor;

/// A greeted connection to a peer.
///
/// invariant: `owed` is at least what the reactor has not yet sent on this connection, less the
/// greeting, which was sent before there was a link
pub(super) struct Link {
    pub conn: ConnId,
    /// When it was greeted.
    pub since: Duration,
    /// When the peer last said anything.
    pub heard: Duration,
    /// Bytes sent since nothing was owed for the last time.
    pub owed: usize,
    /// `Drained` was asked for.
    pub asked: bool,
    /// How far the store has been sent; `None` when all of it has.
    pub cursor: Option<Cursor>,
    /// News was held back: the store must be sent again.
    pub behind: bool,
    /// Signs of life asked for.
    pub pings: u64,
}

impl Link {
    pub fn new(conn: ConnId, now: Duration) -> Link {
        let cursor = Some(Cursor::default());
        Link {
            conn,
            since: now,
            heard: now,
            owed: 0,
            asked: false,
            cursor,
            behind: false,
            pings: 0,
        }
    }

    pub fn age(&self, now: Duration) -> Duration {
        now - self.since
    }

    /// Sends news, or remembers that it was not sent.
    pub fn flood(&mut self, peer: PeerId, text: Range<usize>, owed_max: usize, out: &mut Outputs) {
        if self.owed + text.len() > owed_max {
            if !self.behind {
                out.note(Note::PeerBehind { peer });
            }
            self.behind = true;
            self.ask(out);
            return;
        }
        self.owed += text.len();
        out.send(self.conn, text);
        if self.owed > owed_max / 2 {
            self.ask(out);
        }
    }

    /// Asks to be told when nothing is owed any more.
    pub fn ask(&mut self, out: &mut Outputs) {
        if !self.asked {
            self.asked = true;
            out.push(Output::TellDrained { conn: self.conn });
        }
    }
}
