//! A peer's life, written down as states: who is joined to whom. What is said once a link is up is
//! in `flood` and `repair`.
//!
//! ```text
//!                 ┌───────────── back-off ─────────────┐
//!                 ▼                                    │ refused, silent, lost
//!   we dial:   Waiting ──▶ Dialing ──▶ Greeting ──▶ Up ┘
//!
//!   they dial: Down ◀─────────────────────────────▶ Up
//!                        (a stranger until greeted)
//! ```
//!
//! One side of each link dials; the configuration says which. The other dials once when it starts,
//! as a hint to be redialled. The side that accepts is silent until it has read the greeting, so a
//! scanner learns nothing from an open port. A newer greeted connection replaces an older one: the
//! older is the leftover of a peer that died without a word.
//!
//! asyncio: all of this hides in the program counter of `while True: await open_connection(…)`.

pub(crate) mod course;
pub(crate) mod course_frame;
pub(crate) mod even;
pub(crate) mod greeting;
pub(crate) mod handover;
pub(crate) mod line_mac;
pub(crate) mod link;
pub(crate) mod missed;
pub(crate) mod peer_clock;
mod redial;
pub(crate) mod reload;
pub(crate) mod repair;
pub(crate) mod table;

use std::time::Duration;

use crate::Server;
use crate::border::{Note, Output, Outputs, Timer};
use crate::clock::Now;
use crate::counters::{CONNECTION_LOST, REPLACED, RefusedFor, SILENT};
use crate::names::{ConnId, PeerId};
use crate::wire::peer_command::Refusal;
use handover::Heir;
use link::{Link, Terms};
use table::State;

/// A link that has lasted this long makes the peer's earlier failures forgotten.
const STABLE_AFTER: Duration = Duration::from_secs(10);

impl Server {
    pub(crate) fn connected(&mut self, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        match self.peers.at(peer).state {
            State::Dialing { attempt } => {
                self.greet(peer, conn, attempt, out);
            }
            State::Plain(_) => self.plain_connected(peer, conn, out),
            State::Engine(_) => self.engine_connected(conn, out),
            // They have connected to us while we were still dialling.
            _ => out.push(Output::HangUp { conn }),
        }
    }

    pub(crate) fn link_up(
        &mut self,
        now: Now,
        peer: PeerId,
        conn: ConnId,
        terms: Terms,
        out: &mut Outputs,
    ) {
        if let Some(joined) = self.is_double(peer, &terms) {
            self.refuse_double(now, conn, terms, out);
            if self.may_note(now, "another server of that name is joined") {
                out.note(Note::TwoOfOneName { peer, conn, joined });
            }
            return;
        }
        let attempt = match &mut self.peers.at(peer).state {
            State::Up { link, attempt } => {
                let (old, run, attempt) = (link.conn, link.run, *attempt);
                if run != terms.theirs.run {
                    self.peers.at(peer).replaced = run;
                }
                let why = REPLACED;
                out.note(Note::PeerDown { peer, conn: old, why });
                out.push(Output::HangUp { conn: old });
                attempt
            }
            State::Greeting { conn: dialled, attempt, .. } => {
                let (dialled, attempt) = (*dialled, *attempt);
                if dialled != conn {
                    out.push(Output::HangUp { conn: dialled });
                }
                attempt
            }
            State::Waiting { attempt } | State::Dialing { attempt } => *attempt,
            State::Down | State::Plain(_) | State::Engine(_) | State::Removed => 0,
        };
        let link =
            Link::new(conn, now.monotonic, self.settings.limits.peer_outbox_bytes_max, terms);
        let entry = self.peers.at(peer);
        entry.state = State::Up { link, attempt };
        entry.trouble = None;
        entry.heir = Heir::Owed;
        out.note(Note::PeerUp { peer, conn });
        self.ping_later(now, conn, self.settings.limits.ping_after, out);
        // From here on news is flooded on this link, and only now begins what it has missed:
        // the other order would lose what comes in between.
        self.begin_sync(now, peer, out);
    }

    /// The connection on which another process of this name is joined, if this one was joined
    /// before it: then both are alive, and would replace each other for ever.
    fn is_double(&mut self, peer: PeerId, terms: &Terms) -> Option<ConnId> {
        let entry = self.peers.at(peer);
        let run = terms.theirs.run;
        let was_replaced = run.is_some() && entry.replaced == run;
        match &entry.state {
            State::Up { link, .. } if was_replaced && link.run != run => Some(link.conn),
            _ => None,
        }
    }

    fn refuse_double(&mut self, now: Now, conn: ConnId, terms: Terms, out: &mut Outputs) {
        self.counters.refuse(RefusedFor::Double);
        let mut link =
            Link::new(conn, now.monotonic, self.settings.limits.peer_outbox_bytes_max, terms);
        link.say(out, |text| Refusal::Name.write(text));
        out.push(Output::Close { conn });
    }

    /// Ends a link that is up or being greeted, for a reason of ours.
    pub(crate) fn drop_link(
        &mut self,
        now: Now,
        conn: ConnId,
        why: &'static str,
        out: &mut Outputs,
    ) {
        out.push(Output::HangUp { conn });
        self.link_lost(now, conn, why, out);
    }

    pub(crate) fn link_closed(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        self.peers.take_stranger(conn);
        self.link_lost(now, conn, CONNECTION_LOST, out);
    }

    pub(crate) fn link_lost(
        &mut self,
        now: Now,
        conn: ConnId,
        why: &'static str,
        out: &mut Outputs,
    ) {
        let Some(peer) = self.peers.peer_on(conn) else { return };
        let attempt = match &self.peers.at(peer).state {
            State::Up { link, attempt } => {
                let stable = link.age(now.monotonic) >= STABLE_AFTER;
                out.note(Note::PeerDown { peer, conn, why });
                if stable { 0 } else { attempt + 1 }
            }
            State::Greeting { attempt, .. } => attempt + 1,
            _ => return,
        };
        self.wait(peer, attempt, out);
    }

    /// Looks after a link: asks a silent peer for a sign of life, and gives up on a dead one.
    pub(crate) fn ping_due(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        let (ping_after, silence_max) =
            (self.settings.limits.ping_after, self.settings.limits.silence_max);
        let Some((_, link)) = self.peers.link(conn) else { return };
        // Another timer has taken the place of this one.
        if now.monotonic < link.ping_at {
            return;
        }
        let silence = now.monotonic - link.heard;
        if silence >= silence_max {
            self.drop_link(now, conn, SILENT, out);
            return;
        }
        let is_due = link.knows_clock && link.clock.is_due(now);
        let after = if silence >= ping_after || is_due {
            link.ping(now, out);
            ping_after.min(silence_max - silence)
        } else {
            ping_after - silence
        };
        self.ping_later(now, conn, after, out);
    }

    pub(crate) fn ping_later(
        &mut self,
        now: Now,
        conn: ConnId,
        after: Duration,
        out: &mut Outputs,
    ) {
        let Some((_, link)) = self.peers.link(conn) else { return };
        link.ping_at = now.monotonic + after;
        out.push(Output::StartTimer { timer: Timer::Ping { conn }, after });
    }
}
