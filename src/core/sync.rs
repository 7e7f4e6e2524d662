//! What is said on a link that is up: news, what the peer has missed, and signs of life. Apart
//! from `peers` because a link's life ends with its connection, and a peer's does not.
//!
//! When a link comes up, each side sends all that it holds, a piece at a time: the next piece
//! leaves when nothing is owed any more, so a million clients do not sit in one buffer, and news
//! is flooded in between. What the other side knows already, it finds stale and passes no
//! further.
//!
//! A peer that reads more slowly than the herd reports is not hung up on and does not grow our
//! memory: above a bound, news to it is held back, and once it has taken what it is owed,
//! everything is sent again. So what is kept per peer is bounded whatever the outage.

use std::ops::Range;
use std::time::Duration;

use super::Server;
use super::border::{Note, Output, Outputs, Timer};
use super::clock::Now;
use super::names::{ConnId, PeerId};
use super::store::Cursor;
use super::wire::PeerLine;

/// How much of the store is sent at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// A greeted connection to a peer.
///
/// invariant: `owed` is at least what the reactor has not yet sent on this connection
pub(super) struct Link {
    conn: ConnId,
    since: Duration,
    /// When the peer last said anything.
    heard: Duration,
    /// Bytes sent since nothing was owed for the last time.
    owed: usize,
    /// `Drained` was asked for.
    asked: bool,
    /// How far the store has been sent; `None` when all of it has.
    cursor: Option<Cursor>,
    /// News was held back: the store must be sent again.
    behind: bool,
    pings: u64,
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

    pub fn conn(&self) -> ConnId {
        self.conn
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

    fn ask(&mut self, out: &mut Outputs) {
        if !self.asked {
            self.asked = true;
            out.push(Output::TellDrained { conn: self.conn });
        }
    }
}

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
                out.say(conn, |text| {
                    text.extend_from_slice(b"PONG ");
                    text.extend_from_slice(number);
                    text.push(b'\n');
                });
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
        let super::peers::State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        let Some(cursor) = &mut link.cursor else { return };
        let start = out.text.len();
        let mut is_done = false;
        while !is_done && out.text.len() - start < PIECE_BYTES {
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

    /// Looks after a link: asks a silent peer for a sign of life, and gives up on a dead one.
    pub(super) fn ping_due(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        let (ping_after, silence_max) = (self.settings.ping_after, self.settings.silence_max);
        let Some((_, link)) = self.peers.link(conn) else { return };
        let silence = now.monotonic - link.heard;
        if silence >= silence_max {
            self.drop_link(now, conn, "silent for too long", out);
            return;
        }
        let after = if silence >= ping_after {
            link.pings += 1;
            let ping = format!("PING {}\n", link.pings);
            link.owed += out.say(conn, |text| text.extend_from_slice(ping.as_bytes()));
            ping_after.min(silence_max - silence)
        } else {
            ping_after - silence
        };
        out.push(Output::StartTimer { timer: Timer::Ping { conn }, after });
    }
}
