//! A server reads its configuration again. The host only does what the reactor does, and looks who
//! is still there afterwards.

use super::{Act, Host};
use crate::invariants::Invariant;
use herd_core::border::Input;
use herd_core::driver::Driver;
use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::{LinkState, PeerSettings, Settings};

impl Host {
    /// Bounds and keys are others from now on.
    pub fn reload(&mut self, settings: &Settings) {
        let before = self.lasting();
        self.tell(Input::Changed { settings });
        self.expect(&before);
    }

    /// A link is gone; that of this peer.
    pub fn remove_link(&mut self, peer: PeerId) {
        let of_peer = self.server.peer(peer).conn;
        let mut before = self.lasting();
        before.retain(|conn| Some(*conn) != of_peer);
        self.tell(Input::PeerRemoved { peer });
        self.expect(&before);
    }

    /// And is there again.
    pub fn configure_link(&mut self, peer: PeerId, settings: &PeerSettings) {
        let before = self.lasting();
        self.tell(Input::PeerConfigured { peer, settings });
        self.expect(&before);
    }

    /// Whether somebody is a peer.
    pub fn is_linked(&self, peer: PeerId) -> bool {
        self.server.peer(peer).state != LinkState::Removed
    }

    /// Connections that a reload has no reason to end: those of clients, and links that are up.
    fn lasting(&self) -> Vec<ConnId> {
        let peers = (0..self.peers).map(|peer| self.server.peer(PeerId(peer as u16)));
        let links = peers.filter_map(|view| view.conn);
        let clients = self.conns().into_iter().filter(|conn| conn.kind() == ConnKind::Client);
        links.chain(clients).collect()
    }

    fn expect(&mut self, before: &[ConnId]) {
        let now = self.lasting();
        if let Some(lost) = before.iter().find(|conn| !now.contains(conn)) {
            let broken = Invariant::Reload.broken(format!("a reload has ended {lost}"));
            self.acts.push(Act::Broken(broken));
        }
    }
}
