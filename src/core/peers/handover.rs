//! The end of a server: what its peers must have before it goes. Apart from `peers`, because a
//! server that serves can forget this file.
//!
//! What clients were answered must not go with the process. So a link is not closed before the
//! peer has all that we hold, and says so:
//!
//! ```text
//!   we leave                              the peer stays
//!   PING 1 ──────────────────────────▶
//!        ◀── (its part of a comparison that is under way) PONG 1
//!     …                                   four times: a comparison needs no more
//!   AT … AT … ───────────────────────▶    all that the comparison, or a full outbox, has left over
//!   BYE ─────────────────────────────▶
//!        ◀────────────────────────── KEPT, and it closes
//! ```
//!
//! A link keeps its order, so who answers `KEPT` has read all that was said before. A peer that
//! leaves as well does not answer it: what it would keep, it could not pass on. A peer that hangs
//! up without the word, or is too slow for the drain, was not handed over to; if no other was
//! either, an operator is told.

use super::link::Link;
use super::table::State;
use crate::Server;
use crate::border::{Output, Outputs};
use crate::clock::Now;
use crate::counters::{KEEPS_ALL, SAID_BYE};
use crate::names::{ConnId, PeerId};

/// A comparison goes down three levels of the digest, and may just have been asked for.
const ROUNDS: u8 = 4;

/// How far a server is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Serving,
    /// Its doors are closed, and clients hear their last answers. No peer is dialled again: who
    /// has taken this server's place may have been there first.
    Draining,
    /// No client is left.
    Leaving,
}

/// How far a link is from its orderly end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// It has none coming.
    None,
    /// A comparison may be under way; so many rounds have shown that it is further.
    Settling { rounds: u8 },
    /// What is missing is known, and on its way.
    Sending,
    /// `BYE` was said.
    Said,
}

/// Whether a peer would have our reports if we were gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Heir {
    /// It was never joined, or has said good-bye since.
    #[default]
    None,
    /// It was joined, and has not said that it keeps everything.
    Owed,
    Kept,
}

/// What has become of the reports of a server that leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandOver {
    /// Peers that keep everything.
    pub kept_by: usize,
    /// Peers that were joined and did not say so, and how many clients' reports they were still
    /// to be sent.
    pub owed: Vec<(PeerId, usize)>,
    /// Clients known.
    pub clients: usize,
}

impl HandOver {
    /// Whether reports may be lost with this server that a peer should have kept.
    pub fn has_failed(&self) -> bool {
        self.kept_by == 0 && !self.owed.is_empty() && self.clients > 0
    }

    /// The message for an operator, if it has failed.
    pub fn warning(&self) -> String {
        let owed = self.owed.iter().map(|(_, reports)| *reports).max().unwrap_or(0);
        let at_least = match owed {
            0 => String::new(),
            _ => format!(", and {owed} of them were still to be sent"),
        };
        format!(
            "no peer has confirmed that it keeps the reports of this server's {} clients\
             {at_least}: some may be lost; start a peer first, or give `drain` more time",
            self.clients,
        )
    }
}

impl Server {
    /// What has become of the reports, of a server that was told `Input::Leaving`.
    pub fn hand_over(&self) -> HandOver {
        let mut hand_over = HandOver { clients: self.store.len(), ..HandOver::default() };
        for peer in self.peers.ids() {
            match self.peers.heir(peer) {
                (Heir::None, _) => {}
                (Heir::Kept, _) => hand_over.kept_by += 1,
                (Heir::Owed, link) => {
                    let owed = link.map_or(0, |link| self.owed_reports(link));
                    hand_over.owed.push((peer, owed));
                }
            }
        }
        hand_over
    }

    fn owed_reports(&self, link: &Link) -> usize {
        let spans = link.sending.into_iter().chain(link.missed.spans());
        spans.map(|span| self.store.len_within(span)).sum()
    }

    pub(crate) fn drain(&mut self, out: &mut Outputs) {
        self.stage = Stage::Draining;
        while let Some(stranger) = self.peers.strangers.pop_front() {
            out.push(Output::HangUp { conn: stranger.conn });
        }
        for peer in self.peers.ids() {
            match self.peers.at(peer).state {
                State::Up { .. } | State::Plain(_) | State::Engine(_) | State::Removed => continue,
                State::Greeting { conn, .. } => out.push(Output::HangUp { conn }),
                _ => {}
            }
            self.peers.at(peer).state = State::Down;
        }
    }

    pub(crate) fn leave(&mut self, now: Now, out: &mut Outputs) {
        if self.stage < Stage::Draining {
            self.drain(out);
        }
        self.stage = Stage::Leaving;
        for peer in self.peers.ids() {
            let State::Up { link, .. } = &mut self.peers.at(peer).state else { continue };
            link.farewell = Farewell::Settling { rounds: 0 };
            link.ping(now, out);
            self.say_bye(peer, out);
        }
        self.begin_to_leave_engine(now, out);
    }

    /// A round of a link that is to end is over.
    pub(crate) fn pong_heard(&mut self, now: Now, peer: PeerId, out: &mut Outputs) {
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        let Farewell::Settling { rounds } = link.farewell else { return };
        if rounds + 1 < ROUNDS {
            link.farewell = Farewell::Settling { rounds: rounds + 1 };
            return link.ping(now, out);
        }
        link.farewell = Farewell::Sending;
        self.say_bye(peer, out);
    }

    /// Says good-bye to a peer that is owed nothing any more but what is already on its way.
    pub(crate) fn say_bye(&mut self, peer: PeerId, out: &mut Outputs) {
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        if link.farewell == Farewell::Sending && !link.is_behind() {
            link.farewell = Farewell::Said;
            link.say(out, |text| text.extend_from_slice(b"BYE"));
        }
    }

    /// The peer leaves, and all that it had to say was said.
    pub(crate) fn bye_heard(&mut self, now: Now, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        match self.stage {
            Stage::Serving => link.say(out, |text| text.extend_from_slice(b"KEPT")),
            // It is to know that we leave, too.
            _ if link.farewell != Farewell::Said => {
                link.say(out, |text| text.extend_from_slice(b"BYE"));
            }
            _ => {}
        }
        self.peers.at(peer).heir = Heir::None;
        out.push(Output::Close { conn });
        self.link_lost(now, conn, SAID_BYE, out);
    }

    /// The peer has everything.
    pub(crate) fn kept_heard(&mut self, now: Now, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        self.peers.at(peer).heir = Heir::Kept;
        out.push(Output::Close { conn });
        self.link_lost(now, conn, KEEPS_ALL, out);
    }
}
