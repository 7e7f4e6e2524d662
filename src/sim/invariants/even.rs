//! The check behind I15: who says that it holds all that a peer holds must hold what the peer held
//! when their link came up. Apart from `invariants`, which follows servers one by one: this looks
//! at both ends of a link.

use std::collections::BTreeMap;
use std::time::Duration;

use super::tables::holds;
use super::{Invariant, Invariants, Violation};
use crate::host::Host;
use crate::wire::At;
use herd_core::names::PeerId;

/// What was seen of the links of a herd.
#[derive(Default)]
pub struct Evenness {
    /// What the server at each end of a link held when the link came up there.
    held: BTreeMap<(usize, usize), Vec<String>>,
    /// For each server and peer: the link that came up last.
    links: BTreeMap<(usize, PeerId), At>,
    /// What the server at each end of a link held when it said good-bye.
    farewells: BTreeMap<(usize, usize), Vec<String>>,
    /// And when it last said that it held all that the peer held.
    even: BTreeMap<(usize, PeerId), Duration>,
}

impl Evenness {
    /// Another run of this server begins.
    pub(super) fn forget(&mut self, server: usize) {
        self.links.retain(|(other, _), _| *other != server);
        self.even.retain(|(other, _), _| *other != server);
    }

    /// The link that `server`, for the first time since the last look, says to be even on.
    fn newly_even(&mut self, server: usize, body: &Host, peer: PeerId) -> Option<Option<At>> {
        let even_at = body.server.peer(peer).even_at?;
        let is_news = self.even.insert((server, peer), even_at) != Some(even_at);
        is_news.then(|| self.links.get(&(server, peer)).copied())
    }
}

impl Invariants {
    /// A link has come up at this end, which is the server's, and this is what the server held.
    pub fn joined(&mut self, server: usize, peer: PeerId, at: At, held: Vec<String>) {
        self.evenness.held.insert((at.wire, at.end), held);
        self.evenness.links.insert((server, peer), at);
    }

    /// Good-bye was said at this end, and this is what the server held.
    pub fn said_bye(&mut self, at: At, held: Vec<String>) {
        self.evenness.farewells.insert((at.wire, at.end), held);
    }

    /// A peer is told at this end that what it holds is kept.
    ///
    /// # Errors
    /// I19.
    pub fn said_kept(&self, at: At, body: &Host) -> Result<(), Violation> {
        let far = at.far();
        let Some(held) = self.evenness.farewells.get(&(far.wire, far.end)) else {
            let why = "it keeps what somebody holds who has not said good-bye".to_owned();
            return Err(Invariant::LameDuck.broken(why));
        };
        let missing = held.iter().find(|line| !holds(body.server.store(), line));
        Invariant::LameDuck.demand(missing.is_none(), || {
            format!("it says that it keeps all that a peer held that leaves, and not {missing:?}")
        })
    }

    /// Looks whether a server that had an input says that it holds all that a peer holds. Not for
    /// herds that forget: the peer may have forgotten first.
    ///
    /// # Errors
    /// I15.
    pub fn look_at_peers(
        &mut self,
        (server, body): (usize, &Host),
        peers: usize,
    ) -> Result<(), Violation> {
        for peer in (0..peers).map(|peer| PeerId(peer as u16)) {
            let Some(link) = self.evenness.newly_even(server, body, peer) else { continue };
            let far = link.map(At::far);
            let held = far.and_then(|far| self.evenness.held.get(&(far.wire, far.end)));
            let Some(held) = held else {
                let why = "it holds all that somebody holds who is not joined with it".to_owned();
                return Err(Invariant::CaughtUp.broken(why));
            };
            let missing = held.iter().find(|line| !holds(body.server.store(), line));
            Invariant::CaughtUp.demand(missing.is_none(), || {
                format!("it says that it holds all that a peer held, and not {missing:?}")
            })?;
        }
        Ok(())
    }
}
