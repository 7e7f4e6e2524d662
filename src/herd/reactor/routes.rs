//! Where a peer is to be dialled. An address may be a name, a name takes time to resolve, and it
//! may stand for several addresses of which only one answers.
//!
//! The loop never resolves: a name goes to the workers, and the dial waits. Each dial tries the
//! next address of the answer; when all have failed, the name is resolved again, because a server
//! that has moved is the usual reason.
//!
//! asyncio: `open_connection`, which resolves in its executor and tries the addresses in turn.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::config::Address;
use herd_core::names::PeerId;

/// What to do for a dial.
#[derive(Debug, PartialEq, Eq)]
pub enum Route {
    Connect(SocketAddr),
    /// Ask a worker for the addresses of this name, and pass them to `Routes::resolved`.
    Resolve(Address),
}

/// The addresses of all peers, by their `PeerId`.
pub struct Routes {
    peers: Vec<Entry>,
}

struct Entry {
    address: Address,
    /// Where else it may be dialled, in turn.
    others: VecDeque<Address>,
    /// Addresses not yet tried, the next one last.
    untried: Vec<SocketAddr>,
    /// How often the name is being resolved, for dials that still wait for it.
    awaited: usize,
}

impl Entry {
    fn new(address: Address) -> Entry {
        Entry { address, others: VecDeque::new(), untried: Vec::new(), awaited: 0 }
    }
}

impl Routes {
    pub fn new(addresses: impl IntoIterator<Item = Address>) -> Routes {
        Routes { peers: addresses.into_iter().map(Entry::new).collect() }
    }

    /// Dials a peer at all of these in turn.
    pub fn set_all(&mut self, peer: PeerId, addresses: &[Address]) {
        if let [first, others @ ..] = addresses {
            let entry = &mut self.peers[usize::from(peer.0)];
            // The first dial goes to the first.
            entry.others = others.iter().chain([first]).cloned().collect();
            entry.others.rotate_right(1);
        }
    }

    /// Dials the next peer, or one that was known, at this address from now on.
    pub fn set(&mut self, peer: PeerId, address: Address) {
        match self.peers.get_mut(usize::from(peer.0)) {
            Some(entry) if entry.address == address => {}
            Some(entry) => *entry = Entry { awaited: entry.awaited, ..Entry::new(address) },
            None => self.peers.push(Entry::new(address)),
        }
    }

    /// No dial of this peer waits for its name any more.
    pub fn forget(&mut self, peer: PeerId) {
        self.peers[usize::from(peer.0)].awaited = 0;
    }

    /// A name was resolved. Says whether a dial waits for that.
    pub fn is_awaited(&mut self, peer: PeerId) -> bool {
        let awaited = &mut self.peers[usize::from(peer.0)].awaited;
        let is_awaited = *awaited > 0;
        *awaited = awaited.saturating_sub(1);
        is_awaited
    }

    /// Names that are being resolved, for dials that still wait for them.
    pub fn awaited(&self) -> usize {
        self.peers.iter().map(|entry| entry.awaited).sum()
    }

    pub fn next(&mut self, peer: PeerId) -> Route {
        let entry = &mut self.peers[usize::from(peer.0)];
        if let Some(address) = entry.untried.pop() {
            return Route::Connect(address);
        }
        if let Some(next) = entry.others.pop_front() {
            entry.others.push_back(next.clone());
            entry.address = next;
        }
        match entry.address.host.parse::<IpAddr>() {
            Ok(ip) => Route::Connect(SocketAddr::new(ip, entry.address.port)),
            Err(_) => {
                entry.awaited += 1;
                Route::Resolve(entry.address.clone())
            }
        }
    }

    /// Gives the address to try first, if the name stands for any.
    pub fn resolved(&mut self, peer: PeerId, addresses: Vec<SocketAddr>) -> Option<SocketAddr> {
        let entry = &mut self.peers[usize::from(peer.0)];
        entry.untried = addresses;
        entry.untried.reverse();
        entry.untried.pop()
    }

    pub fn address(&self, peer: PeerId) -> &Address {
        &self.peers[usize::from(peer.0)].address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_tried_in_turn_and_then_resolved_again() {
        let named = Address { host: "example.invalid".into(), port: 7 };
        let literal = Address { host: "::1".into(), port: 8 };
        let mut routes = Routes::new([named.clone(), literal]);
        let [a, b]: [SocketAddr; 2] = ["10.0.0.1:7", "10.0.0.2:7"].map(|a| a.parse().unwrap());

        assert_eq!(routes.next(PeerId(1)), Route::Connect("[::1]:8".parse().unwrap()));
        assert_eq!(routes.next(PeerId(0)), Route::Resolve(named.clone()));
        assert_eq!(routes.resolved(PeerId(0), vec![a, b]), Some(a));
        assert_eq!(routes.next(PeerId(0)), Route::Connect(b));
        assert_eq!(routes.next(PeerId(0)), Route::Resolve(named));
        assert_eq!(routes.resolved(PeerId(0), vec![]), None);
    }

    /// Goal: what comes of the name of a peer that was removed is no dial of the one that has its
    /// `PeerId` later.
    #[test]
    fn a_name_is_awaited_by_dials_that_are_wanted() {
        let named = |host: &str| Address { host: host.into(), port: 7 };
        let (bona, mut routes) = (PeerId(0), Routes::new([named("a.invalid")]));
        assert!(!routes.is_awaited(bona));
        for _ in 0..2 {
            assert!(matches!(routes.next(bona), Route::Resolve(_)));
        }
        assert!(routes.is_awaited(bona));
        routes.forget(bona);
        routes.set(bona, named("b.invalid"));
        assert!(!routes.is_awaited(bona));
        assert_eq!(routes.next(bona), Route::Resolve(named("b.invalid")));
        routes.set(PeerId(1), named("c.invalid"));
        assert_eq!(routes.next(PeerId(1)), Route::Resolve(named("c.invalid")));
        assert!(routes.is_awaited(bona) && !routes.is_awaited(bona));
    }
}
