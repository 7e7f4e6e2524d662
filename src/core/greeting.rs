//! Who is there? The first line on a peer connection, on either side of it. Apart from the rest of
//! a peer's life because this is where a stranger becomes a peer, or does not.
//!
//! ```text
//!   we dial:      HERD/1 us them … ──▶        we accept:           ◀── HERD/1 them us …
//!                 ◀── HERD/1 them us …                      HERD/1 us them … ──▶
//! ```
//!
//! Whoever accepts says nothing before it has read a greeting that is meant for it. What is
//! checked are names: the herd's, ours, and that the other is a peer of ours. Names are no
//! secret, so the peer port must be out of strangers' reach (`config::layers::guard`).

use super::Server;
use super::border::{Note, Output, Outputs, Timer};
use super::clock::Now;
use super::line::{Line, Lines};
use super::names::{ConnId, PeerId};
use super::roll::State;
use super::wire::{Greeting, PeerLine};

/// Connections on the peer port that have not said who they are. Each lasts for the greeting's
/// patience at most; beyond this many, the oldest must go.
const STRANGERS_MAX: usize = 64;
/// Nothing beyond the plain protocol is offered yet.
const CAPS: &[u8] = b"-";

impl Server {
    /// Lines on the peer port, from peers and from those who may become one.
    pub(super) fn peer_lines(
        &mut self,
        now: Now,
        conn: ConnId,
        lines: &mut Lines<'_>,
        out: &mut Outputs,
    ) {
        while let Some(line) = lines.take() {
            self.counters.lines_in += 1;
            let message = match line {
                Line::Whole(line) => PeerLine::parse(line),
                Line::TooLong(_) => PeerLine::Invalid,
            };
            let goes_on = match self.peers.peer_on(conn) {
                Some(peer) => match self.peers.at(peer).state {
                    State::Up { .. } => self.link_line(now, peer, conn, message, out),
                    _ => self.greeted_back(now, peer, conn, message, out),
                },
                None => self.stranger_line(now, conn, message, out),
            };
            if !goes_on {
                lines.hold();
            }
        }
    }

    /// Somebody has connected to the peer port, and says nothing about itself yet.
    pub(super) fn stranger_came(&mut self, conn: ConnId, out: &mut Outputs) {
        self.peers.strangers.push_back(conn);
        self.await_greeting(conn, out);
        if self.peers.strangers.len() > STRANGERS_MAX
            && let Some(conn) = self.peers.strangers.pop_front()
        {
            self.refuse(conn, "too many have not greeted", out);
        }
    }

    pub(super) fn await_greeting(&mut self, conn: ConnId, out: &mut Outputs) {
        let after = self.settings.greeting_patience;
        out.push(Output::StartTimer { timer: Timer::Greeting { conn }, after });
    }

    pub(super) fn greeting_due(&mut self, conn: ConnId, out: &mut Outputs) {
        if self.peers.strangers.contains(&conn) {
            self.peers.strangers.retain(|&stranger| stranger != conn);
            self.refuse(conn, "no greeting in time", out);
        } else if let Some(peer) = self.peers.peer_on(conn)
            && matches!(self.peers.at(peer).state, State::Greeting { .. })
        {
            self.refuse(conn, "no greeting in time", out);
        }
    }

    /// The first line on a connection that we accepted.
    fn stranger_line(
        &mut self,
        now: Now,
        conn: ConnId,
        line: PeerLine<'_>,
        out: &mut Outputs,
    ) -> bool {
        let known = self.peers.strangers.len();
        self.peers.strangers.retain(|&stranger| stranger != conn);
        if self.peers.strangers.len() == known {
            // Neither a peer nor a stranger: hung up on, and its last lines are still coming.
            return false;
        }
        match self.check_greeting(line) {
            Ok(peer) => {
                self.greet(peer, conn, out);
                self.link_up(now, peer, conn, out);
                true
            }
            Err(why) => {
                self.refuse(conn, why, out);
                false
            }
        }
    }

    /// The first line on a connection that we dialled.
    fn greeted_back(
        &mut self,
        now: Now,
        peer: PeerId,
        conn: ConnId,
        line: PeerLine<'_>,
        out: &mut Outputs,
    ) -> bool {
        let checked = self.check_greeting(line);
        match checked {
            Ok(from) if from == peer => {
                self.link_up(now, peer, conn, out);
                true
            }
            checked => {
                self.refuse(conn, checked.err().unwrap_or("not the peer that was dialled"), out);
                false
            }
        }
    }

    pub(super) fn greet(&mut self, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        let nonce = self.peers.random.u128(..);
        let (from, herd) = (&*self.settings.name, &self.settings.herd);
        let to = self.peers.name(peer);
        out.say(conn, |text| Greeting { from, to, herd, nonce, caps: CAPS }.write_line(text));
    }

    /// Says which peer greets us, or what is wrong with the greeting.
    fn check_greeting(&self, line: PeerLine<'_>) -> Result<PeerId, &'static str> {
        let PeerLine::Greeting(greeting) = line else { return Err("not a greeting") };
        if greeting.herd != self.settings.herd {
            return Err("a server of another herd");
        }
        if *greeting.to != *self.settings.name {
            return Err("greets another server than this one");
        }
        self.peers.named(greeting.from).ok_or("not a peer of this server")
    }

    fn refuse(&mut self, conn: ConnId, why: &'static str, out: &mut Outputs) {
        self.counters.refused += 1;
        out.note(Note::Refused { conn, why });
        out.push(Output::HangUp { conn });
    }
}
