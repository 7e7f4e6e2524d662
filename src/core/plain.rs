//! Course servers as peers: they know nothing of greetings or links that stay open, only the AT
//! line, one connection for each. Apart because none of `peers`' states fit them, and because a
//! herd that has none can forget this file.
//!
//! In use, a report is news, and a connection is opened to tell it; while it is opened, more news
//! may come. What waits are the names of clients, not lines: when a connection is there, it gets
//! the newest report of the next client, and a client that moved ten times meanwhile is told
//! once.

use std::collections::{BTreeSet, VecDeque};

use super::Server;
use super::border::{Note, Output, Outputs, Timer};
use super::names::{ConnId, PeerId};

/// Connections to one course server at a time.
const CONNECTIONS_MAX: usize = 8;
/// Clients whose news may wait for a course server that cannot be reached. The course does not
/// ask that it hears what it missed; this is enough for a restart.
const WAITING_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct PlainPeer {
    /// Clients with news for this peer, in the order of the first.
    waiting: VecDeque<Box<[u8]>>,
    /// The same names, to find them.
    names: BTreeSet<Box<[u8]>>,
    dials: usize,
    connections: Vec<ConnId>,
    /// Failed dials in a row; while it is not 0, a timer will dial again.
    failures: u32,
    overflowed: bool,
}

impl PlainPeer {
    pub fn add(&mut self, peer: PeerId, client: &[u8], out: &mut Outputs) {
        if self.names.contains(client) {
            return;
        }
        if self.waiting.len() == WAITING_MAX {
            if !self.overflowed {
                out.note(Note::PlainOverflow { peer });
            }
            self.overflowed = true;
            return;
        }
        self.names.insert(client.into());
        self.waiting.push_back(client.into());
        if self.failures == 0 {
            self.dial_more(peer, out);
        }
    }

    fn dial_more(&mut self, peer: PeerId, out: &mut Outputs) {
        let in_use = |plain: &PlainPeer| plain.dials + plain.connections.len();
        while in_use(self) < CONNECTIONS_MAX && self.dials < self.waiting.len() {
            self.dials += 1;
            out.push(Output::Dial { peer });
        }
    }

    fn next_client(&mut self) -> Option<Box<[u8]>> {
        let client = self.waiting.pop_front()?;
        self.names.remove(&client);
        Some(client)
    }
}

impl Server {
    pub(super) fn plain_connected(&mut self, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        let Some(plain) = self.peers.plain(peer) else { return };
        plain.dials -= 1;
        plain.failures = 0;
        plain.overflowed = false;
        plain.connections.push(conn);
        let client = plain.next_client();
        if let Some(report) = client.and_then(|client| self.store.find(&client)) {
            out.say(conn, |text| report.write_line(text));
        }
        out.push(Output::Close { conn });
    }

    pub(super) fn plain_closed(&mut self, conn: ConnId, out: &mut Outputs) {
        for peer in self.peers.ids() {
            let Some(plain) = self.peers.plain(peer) else { continue };
            let before = plain.connections.len();
            plain.connections.retain(|&open| open != conn);
            if plain.connections.len() < before && plain.failures == 0 {
                plain.dial_more(peer, out);
            }
        }
    }

    pub(super) fn plain_dial_failed(&mut self, peer: PeerId, out: &mut Outputs) {
        let Some(plain) = self.peers.plain(peer) else { return };
        plain.dials -= 1;
        if plain.dials > 0 {
            // The last of those under way speaks for all.
            return;
        }
        if plain.failures == 0 {
            out.note(Note::PeerUnreachable { peer });
        }
        plain.failures += 1;
        let attempt = plain.failures;
        let after = self.backoff(attempt);
        out.push(Output::StartTimer { timer: Timer::Redial { peer, attempt }, after });
    }

    pub(super) fn plain_redial(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        let Some(plain) = self.peers.plain(peer) else { return };
        if plain.failures == attempt && plain.dials == 0 {
            // One dial finds out; the others follow when it succeeds.
            plain.dials = 1;
            out.push(Output::Dial { peer });
        }
    }
}
