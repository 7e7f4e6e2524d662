//! A peer's life, written down as states: who is joined to whom. What is said once a link is up is
//! in `flood` and `sync`.
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

use std::time::Duration;

use super::Server;
use super::border::{Note, Output, Outputs, Timer};
use super::clock::Now;
use super::handover::{Heir, Stage};
use super::link::{Link, Terms};
use super::names::{ConnId, PeerId};
use super::peer_table::State;
use super::peer_wire::Refusal;

/// How much longer each pause between two dials is than the one before. All pauses together are
/// then four times the last: a peer that comes back is not waited for longer than a quarter of the
/// time that it was away.
const BACKOFF_GROWTH: f64 = 1.25;
/// A link that has lasted this long makes the peer's earlier failures forgotten.
const STABLE_AFTER: Duration = Duration::from_secs(10);

impl Server {
    /// Dials everyone once. For those who are to dial us it is a knock: they may have waited for us
    /// so long that their next attempt is seconds away.
    pub(super) fn dial_all(&mut self, out: &mut Outputs) {
        for peer in self.peers.ids() {
            if self.peers.plain(peer).is_none() {
                self.dial(peer, 0, out);
            }
        }
    }

    pub(super) fn redial(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        match &self.peers.at(peer).state {
            State::Waiting { attempt: awaited } if *awaited == attempt => {
                self.peers.at(peer).redials += 1;
                self.dial(peer, attempt, out);
            }
            State::Plain(_) => self.plain_redial(peer, attempt, out),
            // Meanwhile the peer came up by itself.
            _ => {}
        }
    }

    /// A peer that we are to dial has started, and says so: now is the time. It has proven nothing
    /// and need not: a stranger's hint can only make us dial a peer that we dial anyway.
    pub(super) fn hint_redial(&mut self, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        out.push(Output::HangUp { conn });
        if let State::Waiting { attempt } = self.peers.at(peer).state {
            self.dial(peer, attempt, out);
        }
    }

    fn dial(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        self.peers.at(peer).state = State::Dialing { attempt };
        out.push(Output::Dial { peer });
    }

    pub(super) fn dial_failed(&mut self, peer: PeerId, out: &mut Outputs) {
        match self.peers.at(peer).state {
            State::Dialing { attempt } => {
                if attempt == 0 && self.peers.at(peer).dials {
                    out.note(Note::PeerUnreachable { peer });
                }
                self.wait(peer, attempt + 1, out);
            }
            State::Plain(_) => self.plain_dial_failed(peer, out),
            _ => {}
        }
    }

    /// Waits before the next dial, longer each time, and never in step with the others who lost
    /// the same peer. A server that the peer is to dial waits for that.
    fn wait(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        if !self.peers.at(peer).dials || self.stage > Stage::Serving {
            self.peers.at(peer).state = State::Down;
            return;
        }
        self.peers.at(peer).state = State::Waiting { attempt };
        let after = self.backoff(attempt);
        out.push(Output::StartTimer { timer: Timer::Redial { peer, attempt }, after });
    }

    pub(super) fn backoff(&mut self, attempt: u32) -> Duration {
        let growth = BACKOFF_GROWTH.powi(attempt.min(100) as i32);
        let grown = self.settings.limits.backoff_min.mul_f64(growth);
        let longest = grown.min(self.settings.limits.backoff_max);
        longest.mul_f64(0.5 + 0.5 * self.peers.random.f64())
    }

    pub(super) fn connected(&mut self, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        match self.peers.at(peer).state {
            State::Dialing { attempt } => {
                self.greet(peer, conn, attempt, out);
            }
            State::Plain(_) => self.plain_connected(peer, conn, out),
            // They have connected to us while we were still dialling.
            _ => out.push(Output::HangUp { conn }),
        }
    }

    pub(super) fn link_up(
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
                if run != terms.run {
                    self.peers.at(peer).replaced = run;
                }
                let why = "replaced by a newer connection";
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
            State::Down | State::Plain(_) => 0,
        };
        let link =
            Link::new(conn, now.monotonic, self.settings.limits.peer_outbox_bytes_max, terms);
        let entry = self.peers.at(peer);
        entry.state = State::Up { link, attempt };
        entry.trouble = None;
        entry.heir = Heir::Owed;
        out.note(Note::PeerUp { peer, conn });
        let after = self.settings.limits.ping_after;
        out.push(Output::StartTimer { timer: Timer::Ping { conn }, after });
        // From here on news is flooded on this link, and only now begins what it has missed:
        // the other order would lose what comes in between.
        self.begin_sync(peer, out);
    }

    /// The connection on which another process of this name is joined, if this one was joined
    /// before it: then both are alive, and would replace each other for ever.
    fn is_double(&mut self, peer: PeerId, terms: &Terms) -> Option<ConnId> {
        let entry = self.peers.at(peer);
        let was_replaced = terms.run.is_some() && entry.replaced == terms.run;
        match &entry.state {
            State::Up { link, .. } if was_replaced && link.run != terms.run => Some(link.conn),
            _ => None,
        }
    }

    fn refuse_double(&mut self, now: Now, conn: ConnId, terms: Terms, out: &mut Outputs) {
        self.counters.refused += 1;
        let mut link =
            Link::new(conn, now.monotonic, self.settings.limits.peer_outbox_bytes_max, terms);
        link.say(out, |text| Refusal::Name.write(text));
        out.push(Output::Close { conn });
    }

    /// Ends a link that is up or being greeted, for a reason of ours.
    pub(super) fn drop_link(
        &mut self,
        now: Now,
        conn: ConnId,
        why: &'static str,
        out: &mut Outputs,
    ) {
        out.push(Output::HangUp { conn });
        self.link_lost(now, conn, why, out);
    }

    pub(super) fn link_closed(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        self.peers.take_stranger(conn);
        self.link_lost(now, conn, "connection lost", out);
    }

    pub(super) fn link_lost(
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
    pub(super) fn ping_due(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        let (ping_after, silence_max) =
            (self.settings.limits.ping_after, self.settings.limits.silence_max);
        let Some((_, link)) = self.peers.link(conn) else { return };
        let silence = now.monotonic - link.heard;
        if silence >= silence_max {
            self.drop_link(now, conn, "silent for too long", out);
            return;
        }
        let after = if silence >= ping_after {
            link.ping(out);
            ping_after.min(silence_max - silence)
        } else {
            ping_after - silence
        };
        out.push(Output::StartTimer { timer: Timer::Ping { conn }, after });
    }
}
