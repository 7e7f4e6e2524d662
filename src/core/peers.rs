//! A peer's life, written down as states. Apart because who is joined to whom is a story of its
//! own; what is said once a link is up is in `flood` and `sync`.
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
//! One side of each link dials; the configuration says which. The other only knocks, when it
//! starts. Whoever accepts is silent until it has read the greeting, so a scanner learns nothing
//! from an open port. A newer greeted connection replaces an older one: the older is the leftover
//! of a peer that died without a word.
//!
//! asyncio: all of this hides in the program counter of `while True: await open_connection(…)`.

use std::time::Duration;

use super::Server;
use super::border::{Note, Output, Outputs, Timer};
use super::clock::Now;
use super::link::{Link, Terms};
use super::names::{ConnId, PeerId};
use super::planted::{Bug, planted};
use super::roll::State;

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
            State::Waiting { attempt: awaited } if *awaited == attempt && !self.leaving => {
                self.peers.at(peer).redials += 1;
                self.dial(peer, attempt, out);
            }
            State::Plain(_) => self.plain_redial(peer, attempt, out),
            _ if planted(Bug::StaleTimerBelieved) => self.dial(peer, attempt, out),
            // Meanwhile the peer came up by itself.
            _ => {}
        }
    }

    /// A peer that we are to dial has started, and says so: now is the time. It has proven nothing
    /// and need not: whoever else knocks can only have us dial whom we would dial anyway.
    pub(super) fn knocked(&mut self, peer: PeerId, conn: ConnId, out: &mut Outputs) {
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
    /// the same peer. Whoever is to be dialled by the peer waits for that.
    fn wait(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        let gives_up = planted(Bug::RedialGivesUp) && attempt > 5;
        if !self.peers.at(peer).dials || self.leaving || gives_up {
            self.peers.at(peer).state = State::Down;
            return;
        }
        self.peers.at(peer).state = State::Waiting { attempt };
        let after = self.backoff(attempt);
        out.push(Output::StartTimer { timer: Timer::Redial { peer, attempt }, after });
    }

    pub(super) fn backoff(&mut self, attempt: u32) -> Duration {
        let growth = BACKOFF_GROWTH.powi(attempt.min(100) as i32);
        let grown = self.settings.backoff_min.mul_f64(growth);
        let longest = grown.min(self.settings.backoff_max);
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
        let attempt = match &self.peers.at(peer).state {
            State::Up { link, attempt } => {
                let (old, attempt) = (link.conn, *attempt);
                let why = "replaced by a newer connection";
                out.note(Note::PeerDown { peer, conn: old, why });
                if !planted(Bug::OldLinkKept) {
                    out.push(Output::HangUp { conn: old });
                }
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
        let link = Link::new(conn, now.monotonic, self.settings.peer_owed_max, terms);
        self.peers.at(peer).state = State::Up { link, attempt };
        out.note(Note::PeerUp { peer, conn });
        let after = self.settings.ping_after;
        out.push(Output::StartTimer { timer: Timer::Ping { conn }, after });
        // From here on news is flooded on this link, and only now begins what it has missed:
        // the other order would lose what comes in between.
        self.begin_sync(peer, out);
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

    fn link_lost(&mut self, now: Now, conn: ConnId, why: &'static str, out: &mut Outputs) {
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

    pub(super) fn leave(&mut self, out: &mut Outputs) {
        self.leaving = true;
        while let Some(stranger) = self.peers.strangers.pop_front() {
            out.push(Output::HangUp { conn: stranger.conn });
        }
        for peer in self.peers.ids() {
            match &mut self.peers.at(peer).state {
                State::Up { link, .. } => {
                    link.say(out, |text| text.extend_from_slice(b"BYE"));
                    out.push(Output::Close { conn: link.conn });
                }
                State::Greeting { conn, .. } => out.push(Output::HangUp { conn: *conn }),
                State::Plain(_) => continue,
                _ => {}
            }
            self.peers.at(peer).state = State::Down;
        }
    }

    /// Looks after a link: asks a silent peer for a sign of life, and gives up on a dead one.
    pub(super) fn ping_due(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        let (ping_after, silence_max) = (self.settings.ping_after, self.settings.silence_max);
        let Some((_, link)) = self.peers.link(conn) else { return };
        let silence = match planted(Bug::SilenceUnnoticed) {
            true => ping_after,
            false => now.monotonic - link.heard,
        };
        if silence >= silence_max {
            self.drop_link(now, conn, "silent for too long", out);
            return;
        }
        let after = if silence >= ping_after {
            link.pings += 1;
            let number = link.pings;
            link.say(out, |text| text.extend_from_slice(format!("PING {number}").as_bytes()));
            ping_after.min(silence_max - silence)
        } else {
            ping_after - silence
        };
        out.push(Output::StartTimer { timer: Timer::Ping { conn }, after });
    }
}
