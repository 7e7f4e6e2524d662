//! When a peer is dialled: once at the start, and again after each failure, later each time. How
//! far a link has come is in `peers`.

use std::time::Duration;

use super::handover::Stage;
use super::table::State;
use crate::Server;
use crate::border::{Note, Output, Outputs, Timer};
use crate::names::{ConnId, PeerId};

/// How much longer each pause between two dials is than the one before. All pauses together are
/// then four times the last: a peer that comes back is not waited for longer than a quarter of the
/// time that it was away.
const BACKOFF_GROWTH: f64 = 1.25;

impl Server {
    /// Dials everyone once. Servers that are to dial us learn by it that we are there: their next
    /// attempt may be seconds away.
    pub(crate) fn dial_all(&mut self, out: &mut Outputs) {
        for peer in self.peers.ids() {
            match self.peers.at(peer).state {
                State::Plain(_) => {}
                State::Engine(_) => self.engine_redial(peer, 0, out),
                _ => self.dial(peer, 0, out),
            }
        }
    }

    pub(crate) fn redial(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        match &self.peers.at(peer).state {
            State::Waiting { attempt: awaited } if *awaited == attempt => {
                self.peers.at(peer).redials += 1;
                self.dial(peer, attempt, out);
            }
            State::Plain(_) => self.plain_redial(peer, attempt, out),
            State::Engine(_) => self.engine_redial(peer, attempt, out),
            // Meanwhile the peer came up by itself.
            _ => {}
        }
    }

    /// A peer that we are to dial has started, and says so: now is the time. It has proven nothing
    /// and need not: a stranger's hint can only make us dial a peer that we dial anyway.
    pub(crate) fn hint_redial(&mut self, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        out.push(Output::HangUp { conn });
        if let State::Waiting { attempt } = self.peers.at(peer).state {
            self.dial(peer, attempt, out);
        }
    }

    pub(super) fn dial(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        self.peers.at(peer).state = State::Dialing { attempt };
        out.push(Output::Dial { peer });
    }

    pub(crate) fn dial_failed(&mut self, peer: PeerId, out: &mut Outputs) {
        match self.peers.at(peer).state {
            State::Dialing { attempt } => {
                if attempt == 0 && self.peers.at(peer).dials {
                    out.note(Note::PeerUnreachable { peer });
                }
                self.wait(peer, attempt + 1, out);
            }
            State::Plain(_) => self.plain_dial_failed(peer, out),
            State::Engine(_) => self.engine_dial_failed(peer, out),
            _ => {}
        }
    }

    /// Waits before the next dial, longer each time, and never in step with the others who lost
    /// the same peer. A server that the peer is to dial waits for that.
    pub(super) fn wait(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        if !self.peers.at(peer).dials || self.stage > Stage::Serving {
            self.peers.at(peer).state = State::Down;
            return;
        }
        self.peers.at(peer).state = State::Waiting { attempt };
        let after = self.backoff(attempt);
        out.push(Output::StartTimer { timer: Timer::Redial { peer, attempt }, after });
    }

    pub(crate) fn backoff(&mut self, attempt: u32) -> Duration {
        let growth = BACKOFF_GROWTH.powi(attempt.min(100) as i32);
        let grown = self.settings.limits.backoff_min.mul_f64(growth);
        let longest = grown.min(self.settings.limits.backoff_max);
        longest.mul_f64(0.5 + 0.5 * self.peers.random.f64())
    }
}
