//! What changes while a server runs, because its operator has changed the configuration. A server
//! that nobody reloads can forget this file.
//!
//! A peer's name (`PeerId`) is given once. A link that is removed leaves a tombstone, for timers,
//! dials and connections of it may still be under way; a link that is added gets the next name, or
//! its own again.

use super::handover::{Heir, Stage};
use super::table::{PeerSettings, State};
use crate::Server;
use crate::border::{Note, Output, Outputs};
use crate::clock::Now;
use crate::counters::REMOVED;
use crate::names::PeerId;
use crate::settings::{Limits, Settings};

impl Server {
    /// Takes over what may change.
    pub(crate) fn change(&mut self, now: Now, new: &Settings, out: &mut Outputs) {
        let ours = &mut self.settings;
        ours.plain_names.clone_from(&new.plain_names);
        ours.stale_reply_stored = new.stale_reply_stored;
        ours.close_after_reply = new.close_after_reply;
        ours.answer_timeout = new.answer_timeout;
        ours.strangers_max = new.strangers_max;
        // What is held is keyed with it, and peers must agree.
        let expire_after = ours.limits.expire_after;
        let limits = Limits { expire_after, ..new.limits.clone() };
        let old = std::mem::replace(&mut ours.limits, limits);
        self.waits.bound(self.settings.limits.waits_max);
        self.change_links(now, &old, out);
        self.change_engine(now, new, out);
        if !self.keyring.has(&new.keys) {
            self.keyring.change(&new.keys);
            self.change_engine_keys(&new.keys);
            self.greet_again(out);
        }
    }

    /// Links that are up keep to the new bounds, and their timers are set anew where a time has
    /// changed.
    fn change_links(&mut self, now: Now, old: &Limits, out: &mut Outputs) {
        let limits = self.settings.limits.clone();
        let (ping_after, silence_max) = (limits.ping_after, limits.silence_max);
        let pings = (ping_after, silence_max) != (old.ping_after, old.silence_max);
        for peer in self.peers.ids() {
            let State::Up { link, .. } = &mut self.peers.at(peer).state else { continue };
            link.owed_max = limits.peer_outbox_bytes_max;
            let (conn, compares) = (link.conn, link.begins && link.shares_digest);
            if pings {
                self.ping_later(now, conn, ping_after.min(silence_max), out);
            }
            if compares && limits.compare_every != old.compare_every {
                self.compare_later(now, conn, out);
            }
        }
    }

    /// Begins greetings anew that we have begun with other keys.
    fn greet_again(&mut self, out: &mut Outputs) {
        for peer in self.peers.ids() {
            if let State::Greeting { conn, attempt, .. } = self.peers.at(peer).state {
                out.push(Output::HangUp { conn });
                self.dial(peer, attempt, out);
            }
        }
    }

    /// Dials a peer that is new, as all are dialled at the start; or has a link dialled by its
    /// other end from now on.
    pub(crate) fn configure_peer(
        &mut self,
        peer: PeerId,
        settings: &PeerSettings,
        out: &mut Outputs,
    ) {
        let is_serving = self.stage == Stage::Serving;
        if !self.peers.is_known(peer) {
            self.peers.add(peer, settings);
            if is_serving && settings.plain.is_none() {
                self.dial(peer, 0, out);
            }
            return;
        }
        let entry = self.peers.at(peer);
        entry.dials = settings.dials && settings.plain.is_none();
        match entry.state {
            State::Down if entry.dials && is_serving => self.dial(peer, 0, out),
            State::Waiting { .. } if !entry.dials => entry.state = State::Down,
            _ => {}
        }
    }

    /// Hangs up on a peer for good: there is no reason for its link any more.
    pub(crate) fn remove_peer(&mut self, peer: PeerId, out: &mut Outputs) {
        let is_theirs = |stranger: &super::table::Stranger| {
            stranger.claims.as_ref().is_some_and(|claims| claims.peer == peer)
        };
        for stranger in self.peers.strangers.iter().filter(|stranger| is_theirs(stranger)) {
            out.push(Output::HangUp { conn: stranger.conn });
        }
        self.peers.strangers.retain(|stranger| !is_theirs(stranger));
        let entry = self.peers.at(peer);
        (entry.trouble, entry.heir) = (None, Heir::None);
        match std::mem::replace(&mut entry.state, State::Removed) {
            State::Up { link, .. } => {
                let conn = link.conn;
                out.note(Note::PeerDown { peer, conn, why: REMOVED });
                out.push(Output::HangUp { conn });
            }
            State::Greeting { conn, .. } => out.push(Output::HangUp { conn }),
            _ => {}
        }
    }
}
