//! What is said on a link that is up, and what the peer has missed. Apart from `peers` because a
//! link's life ends with its connection, and a peer's does not.
//!
//! When a link comes up, each side sends all that it holds, a piece at a time: the next piece
//! leaves when nothing is owed any more, so a million clients do not sit in one buffer, and news
//! is flooded in between. What the other side knows already, it finds stale and passes no
//! further.
//!
//! A peer that reads more slowly than the herd reports is not hung up on and does not grow our
//! memory: above a bound, news to it is held back, and once it has taken what it is owed,
//! everything is sent again. So what is kept per peer is bounded whatever the outage.

use super::Server;
use super::border::Outputs;
use super::clock::Now;
use super::names::{ConnId, PeerId};
use super::roll::State;
use super::store::Cursor;
use super::wire::PeerLine;

/// How much of the store is sent at a time, if a peer may be owed as much.
const PIECE_BYTES: usize = 64 * 1024;

impl Server {
    /// Handles one line of a peer. Says whether the link goes on.
    pub(super) fn link_line(
        &mut self,
        now: Now,
        peer: PeerId,
        conn: ConnId,
        line: PeerLine<'_>,
        out: &mut Outputs,
    ) -> bool {
        if let Some((_, link)) = self.peers.link(conn) {
            link.heard = now.monotonic;
        }
        match line {
            PeerLine::At(report) => {
                self.judge(report, Some(peer), out);
                true
            }
            PeerLine::Ping { number } => {
                let pong = out.say(conn, |text| {
                    text.extend_from_slice(b"PONG ");
                    text.extend_from_slice(number);
                    text.push(b'\n');
                });
                if let Some((_, link)) = self.peers.link(conn) {
                    link.owed += pong;
                }
                true
            }
            PeerLine::Pong | PeerLine::Blank => true,
            PeerLine::Bye => {
                self.drop_link(now, conn, "it said good-bye", out);
                false
            }
            PeerLine::Greeting(_) | PeerLine::Invalid => {
                self.counters.refused += 1;
                self.drop_link(now, conn, "it does not speak our language", out);
                false
            }
        }
    }

    /// Sends the next piece of what the peer may have missed.
    pub(super) fn catch_up(&mut self, peer: PeerId, out: &mut Outputs) {
        let piece_bytes = PIECE_BYTES.min(self.settings.peer_owed_max);
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        let Some(cursor) = &mut link.cursor else { return };
        let start = out.text.len();
        let mut is_done = false;
        while !is_done && out.text.len() - start < piece_bytes {
            match self.store.walk(cursor) {
                Some(report) => report.write_line(&mut out.text),
                None => is_done = true,
            }
        }
        if out.text.len() > start {
            out.send(link.conn, start..out.text.len());
            link.owed += out.text.len() - start;
        }
        if is_done {
            link.cursor = None;
        }
        if !is_done || link.behind {
            link.ask(out);
        }
    }

    /// Nothing is owed to this connection any more.
    pub(super) fn drained(&mut self, conn: ConnId, out: &mut Outputs) {
        let Some((peer, link)) = self.peers.link(conn) else { return };
        link.owed = 0;
        link.asked = false;
        if link.behind && link.cursor.is_none() {
            link.behind = false;
            link.cursor = Some(Cursor::default());
        }
        self.catch_up(peer, out);
    }
}
