//! A server of a simulated herd reads its configuration again. Its peers learn nothing of it: a
//! link that one end has removed, the other goes on dialling.

use std::time::Duration;

use super::{Event, World};
use crate::host::{Host, settings};
use crate::invariants::{Invariant, Violation};
use herd_core::names::PeerId;
use herd_core::{PeerSettings, Settings};

/// How long a link may be removed.
const REMOVED_MAX: Duration = Duration::from_millis(1_500);

impl World {
    /// What the configuration of a server says when it is read now. A part of it is drawn.
    pub(super) fn read_settings(&mut self, server: usize) -> Settings {
        let seed = self.random.u64(..);
        let seat = &self.seats[server];
        let peers = (0..seat.peers.len()).map(|peer| self.peer_settings(server, peer));
        let mut settings = settings(&seat.name, peers.collect(), seed);
        settings.limits.peer_outbox_bytes_max = self.scenario.peer_owed_max;
        settings.keys = self.scenario.draws_keys(&mut self.random);
        // Where clients are divided, a key that follows another must not move them.
        settings.digest_key =
            (self.scenario.division.copies > 0 && !settings.keys.is_empty()).then_some([9; 32]);
        settings.nonce_key = std::array::from_fn(|_| self.random.u8(..));
        settings.limits.compare_every = self.scenario.compare_every;
        settings.limits.clients_max =
            self.scenario.clients_max.unwrap_or(settings.limits.clients_max);
        settings.limits.client_ahead_max = self.scenario.ahead_max.filter(|_| self.random.bool());
        settings.limits.expire_after = self.scenario.expire_after;
        settings.keeps_journal = self.scenario.durability.is_some();
        settings.engine = self.engine_settings(server);
        settings
    }

    fn peer_settings(&self, server: usize, peer: usize) -> PeerSettings {
        let (seat, dials) = self.seats[server].peers[peer];
        PeerSettings { name: self.seats[seat].name.as_bytes().to_vec(), dials, plain: None }
    }

    /// A server that serves reads its configuration again.
    pub(super) fn reload(&mut self, server: usize) -> Result<(), Violation> {
        if self.seats[server].body.is_none() || self.seats[server].is_leaving {
            return Ok(());
        }
        let mut settings = self.read_settings(server);
        if self.random.bool() {
            settings.limits.ping_after /= 2;
            settings.limits.compare_every = settings.limits.compare_every.map(|every| every * 2);
        }
        self.row(server, || "reads its configuration again".to_owned());
        self.tell(server, |body| body.reload(&settings))?;
        let peers = self.seats[server].peers.len();
        if peers > 0 && self.random.bool() {
            let peer = self.random.usize(0..peers);
            self.unlink(server, peer)?;
        }
        Ok(())
    }

    fn unlink(&mut self, server: usize, peer: usize) -> Result<(), Violation> {
        if !self.seats[server].removed.insert(peer) {
            return Ok(());
        }
        self.row_of_link(server, peer, "removed");
        let (run, after) = (self.seats[server].run, self.up_to(REMOVED_MAX));
        self.plan(after, Event::Relink { server, run, peer });
        self.tell(server, |body| body.remove_link(PeerId(peer as u16)))
    }

    pub(super) fn relink(&mut self, server: usize, peer: usize) -> Result<(), Violation> {
        self.seats[server].removed.remove(&peer);
        self.row_of_link(server, peer, "there again");
        let settings = self.peer_settings(server, peer);
        self.tell(server, |body| body.configure_link(PeerId(peer as u16), &settings))
    }

    fn row_of_link(&mut self, server: usize, peer: usize, what: &str) {
        let far = self.seats[self.seats[server].peers[peer].0].name.clone();
        self.row(server, || format!("the link with {far} is {what}"));
    }

    /// # Errors
    /// I17.
    pub(super) fn look_at_removed(&self, server: usize) -> Result<(), Violation> {
        let seat = &self.seats[server];
        let is_linked = |body: &Host, peer: usize| body.is_linked(PeerId(peer as u16));
        let linked = seat
            .body
            .as_ref()
            .and_then(|body| seat.removed.iter().find(|peer| is_linked(body, **peer)));
        Invariant::Reload
            .demand(linked.is_none(), || format!("{} has a link that was removed", seat.name))
    }

    /// Whether this server has refused a greeting because it has removed a link.
    pub(super) fn has_removed(&self, server: usize) -> bool {
        !self.seats[server].removed.is_empty()
    }
}
