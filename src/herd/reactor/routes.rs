//! Where a peer is to be dialled. An address may be a name, a name takes time to resolve, and it
//! may stand for several addresses of which only one answers.
//!
//! The loop never resolves: a name goes to the workers, and the dial waits. Each dial tries the
//! next address of the answer; when all have failed, the name is resolved again, because a server
//! that has moved is the usual reason.
//!
//! asyncio: `open_connection`, which resolves in its executor and tries the addresses in turn.

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
    /// Addresses not yet tried, the next one last.
    untried: Vec<SocketAddr>,
}

impl Routes {
    pub fn new(addresses: impl IntoIterator<Item = Address>) -> Routes {
        let entry = |address| Entry { address, untried: Vec::new() };
        Routes { peers: addresses.into_iter().map(entry).collect() }
    }

    pub fn next(&mut self, peer: PeerId) -> Route {
        let entry = &mut self.peers[usize::from(peer.0)];
        if let Some(address) = entry.untried.pop() {
            return Route::Connect(address);
        }
        match entry.address.host.parse::<IpAddr>() {
            Ok(ip) => Route::Connect(SocketAddr::new(ip, entry.address.port)),
            Err(_) => Route::Resolve(entry.address.clone()),
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
}
