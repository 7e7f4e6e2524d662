//! The slab of everything that has a socket, and who may enter it. Only this file knows how a name
//! (`ConnId`), a slot and mio's token belong together.
//!
//! mio tells us which token is ready, and a token is a place in the slab. A place outlives its
//! tenant: if a handler closes a connection and a newcomer moves in while mio's batch of events is
//! still being read, an event meant for the dead would be taken for one of the living. So no slot
//! is given away before the batch is through: the dead lie in the graveyard until the turn ends.
//!
//! asyncio: `call_soon(self._call_connection_lost)`, the same burial one iteration later.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mio::Token;
use slab::Slab;

use super::connection::Connection;
use super::listener::Listener;
use super::proxied::Arriving;
use super::wrapped::Wrapped;
use herd_core::driver::Sessions;
use herd_core::names::{ConnId, ConnKind};
use herd_core::session::Session;

/// Added to the slot of a socket whose events are served before all others of their turn.
pub const FIRST: usize = 1 << (usize::BITS - 1);

/// The token of a socket.
pub fn token(kind: ConnKind, slot: usize) -> Token {
    let is_first = matches!(kind, ConnKind::Operator | ConnKind::Admin);
    Token(if is_first { FIRST + slot } else { slot })
}

/// Everything that has a socket.
pub enum Slot {
    /// Boxed, so that the few large entries do not set the size of the many small ones.
    Listener(Box<Listener>),
    Connection(Connection),
    /// One that is not what it seems to be to the kernel; few servers have any.
    Wrapped(Box<Wrapped>),
    /// One that is none yet: a proxy has not said whose it is.
    Arriving(Box<Arriving>),
    /// Nobody, and nobody moves in before the turn ends.
    Left,
}

impl Slot {
    /// The connection in it, if there is one.
    fn tenant(&self) -> Option<&Connection> {
        match self {
            Slot::Connection(connection) => Some(connection),
            Slot::Wrapped(wrapped) => Some(&wrapped.connection),
            Slot::Listener(_) | Slot::Arriving(_) | Slot::Left => None,
        }
    }

    /// The connection in it, if that is wrapped. Apart, because it hardly ever is.
    #[cold]
    fn wrapped_connection(&mut self) -> Option<&mut Connection> {
        match self {
            Slot::Wrapped(wrapped) => Some(&mut wrapped.connection),
            _ => None,
        }
    }
}

/// What an idle connection costs this process: its place in the slab and nothing elsewhere. The
/// slab's entries have this shape; mio's sockets are larger where debug assertions are on.
const _: () = assert!(cfg!(debug_assertions) || size_of::<Result<Slot, usize>>() <= 48);

/// invariant: a slot in the graveyard holds a dead connection or nobody, and only there
pub struct Slots {
    slab: Slab<Slot>,
    graveyard: Vec<usize>,
    /// Number of places that ever had a tenant; each slot is below it.
    places: usize,
    next_serial: u64,
    /// Connections alive, by their kind.
    alive: [usize; ConnKind::ALL.len()],
    /// Connections since the start, by their kind.
    admitted: [u64; ConnKind::ALL.len()],
    /// The clients that proxies speak for, by the connection.
    clients: BTreeMap<ConnId, SocketAddr>,
}

impl Slots {
    pub fn new() -> Slots {
        Slots {
            slab: Slab::new(),
            graveyard: Vec::new(),
            places: 0,
            next_serial: 1,
            alive: [0; ConnKind::ALL.len()],
            admitted: [0; ConnKind::ALL.len()],
            clients: BTreeMap::new(),
        }
    }

    pub fn add_listener(&mut self, make: impl FnOnce(usize) -> Listener) -> usize {
        let entry = self.slab.vacant_entry();
        let slot = entry.key();
        self.places = self.places.max(slot + 1);
        entry.insert(Slot::Listener(Box::new(make(slot))));
        slot
    }

    /// Admits a connection: gives it a slot and a name. `None` when no name can carry the slot.
    pub fn admit(
        &mut self,
        kind: ConnKind,
        make: impl FnOnce(ConnId) -> Connection,
    ) -> Option<ConnId> {
        self.enter(kind, |id| Slot::Connection(make(id)))
    }

    /// The same for one that is wrapped.
    pub fn admit_wrapped(
        &mut self,
        kind: ConnKind,
        make: impl FnOnce(ConnId) -> Wrapped,
    ) -> Option<ConnId> {
        self.enter(kind, |id| Slot::Wrapped(Box::new(make(id))))
    }

    fn enter(&mut self, kind: ConnKind, make: impl FnOnce(ConnId) -> Slot) -> Option<ConnId> {
        let id = self.settle(kind, make)?;
        self.alive[kind as usize] += 1;
        self.admitted[kind as usize] += 1;
        Some(id)
    }

    /// Gives a slot to a socket of which a proxy has not said whose it is. `None` as above.
    pub fn let_arrive(
        &mut self,
        kind: ConnKind,
        make: impl FnOnce(ConnId) -> Arriving,
    ) -> Option<ConnId> {
        self.settle(kind, |id| Slot::Arriving(Box::new(make(id))))
    }

    fn settle(&mut self, kind: ConnKind, make: impl FnOnce(ConnId) -> Slot) -> Option<ConnId> {
        let entry = self.slab.vacant_entry();
        if entry.key() >= ConnId::SLOTS_MAX {
            return None;
        }
        let id = ConnId::new(kind, self.next_serial, entry.key());
        self.next_serial += 1;
        self.places = self.places.max(id.slot() + 1);
        entry.insert(make(id));
        Some(id)
    }

    /// The tenant of this place now. The dead are not there any more.
    pub fn at(&mut self, slot: usize) -> Option<&mut Slot> {
        match self.slab.get_mut(slot) {
            Some(Slot::Connection(connection)) if connection.session.is_dead() => None,
            Some(Slot::Wrapped(wrapped)) if wrapped.connection.session.is_dead() => None,
            Some(Slot::Left) => None,
            other => other,
        }
    }

    /// The connection in this place now, if it is alive and its bytes are lines as they come.
    #[inline]
    pub fn plain_at(&mut self, slot: usize) -> Option<&mut Connection> {
        match self.slab.get_mut(slot) {
            Some(Slot::Connection(connection)) if !connection.session.is_dead() => Some(connection),
            _ => None,
        }
    }

    pub fn places(&self) -> usize {
        self.places
    }

    /// The connection of this name, if it is alive.
    #[inline]
    pub fn connection(&mut self, id: ConnId) -> Option<&mut Connection> {
        let connection = match self.slab.get_mut(id.slot())? {
            Slot::Connection(connection) => connection,
            other => other.wrapped_connection()?,
        };
        connection.is_named(id).then_some(connection)
    }

    /// The connection of this name, if it is alive and its bytes are lines as they come.
    pub fn plain(&mut self, id: ConnId) -> Option<&mut Connection> {
        match self.slab.get_mut(id.slot()) {
            Some(Slot::Connection(connection)) if connection.is_named(id) => Some(connection),
            _ => None,
        }
    }

    /// The connection of this name, if it is alive and wrapped.
    pub fn wrapped(&mut self, id: ConnId) -> Option<&mut Wrapped> {
        match self.slab.get_mut(id.slot()) {
            Some(Slot::Wrapped(wrapped)) if wrapped.connection.is_named(id) => Some(wrapped),
            _ => None,
        }
    }

    /// The socket of this name, if nobody has said yet whose it is.
    pub fn arriving(&mut self, id: ConnId) -> Option<&mut Arriving> {
        match self.slab.get_mut(id.slot()) {
            Some(Slot::Arriving(arriving)) if arriving.id == id => Some(arriving),
            _ => None,
        }
    }

    /// The same, which leaves its slot.
    pub fn leave(&mut self, id: ConnId) -> Option<Arriving> {
        self.arriving(id)?;
        self.graveyard.push(id.slot());
        match std::mem::replace(self.slab.get_mut(id.slot())?, Slot::Left) {
            Slot::Arriving(arriving) => Some(*arriving),
            _ => None,
        }
    }

    /// A proxy speaks for this client.
    pub fn stand_for(&mut self, id: ConnId, client: SocketAddr) {
        self.clients.insert(id, client);
    }

    /// Where it comes from, as a proxy says or the kernel; `None` for a Unix socket. The kernel is
    /// asked each time: an address kept for each connection would cost more memory.
    pub fn address(&self, id: ConnId) -> Option<SocketAddr> {
        if let Some(client) = self.clients.get(&id) {
            return Some(*client);
        }
        self.tenant(id.slot()).filter(|connection| connection.id() == id)?.peer_address()
    }

    /// Its session.
    pub fn session(&mut self, id: ConnId) -> Option<&mut Session> {
        self.connection(id).map(|connection| &mut connection.session)
    }

    /// Declares a connection dead. Says whether it was alive until now.
    pub fn kill(&mut self, id: ConnId) -> bool {
        let Some(connection) = self.connection(id) else { return false };
        connection.session.die();
        self.alive[id.kind() as usize] -= 1;
        self.clients.remove(&id);
        self.graveyard.push(id.slot());
        true
    }

    /// Frees the slots of the dead; their sockets close with them, and epoll forgets a socket
    /// that closes. Only at the end of a turn.
    ///
    /// Returns how many there were.
    pub fn bury(&mut self) -> usize {
        if self.graveyard.is_empty() {
            return 0;
        }
        let dead = self.graveyard.len();
        for slot in self.graveyard.drain(..) {
            self.slab.remove(slot);
        }
        dead
    }

    /// Connections that have ended and are not buried.
    pub fn dead(&self) -> usize {
        self.graveyard.len()
    }

    pub fn remove_listener(&mut self, slot: usize) -> Option<Listener> {
        match self.slab.try_remove(slot) {
            Some(Slot::Listener(listener)) => Some(*listener),
            _ => None,
        }
    }

    /// Connections alive of this kind.
    pub fn alive(&self, kind: ConnKind) -> usize {
        self.alive[kind as usize]
    }

    /// Connections alive.
    pub fn open(&self) -> usize {
        self.alive.iter().sum()
    }

    /// The tenant of this place, even if it has died in this turn.
    pub fn tenant(&self, slot: usize) -> Option<&Connection> {
        self.slab.get(slot).and_then(Slot::tenant)
    }

    /// The far end of a wrapped connection speaks plain lines, and may: it is like any other now.
    pub fn unwrap(&mut self, id: ConnId) {
        if self.wrapped(id).is_none() {
            return;
        }
        if let Slot::Wrapped(wrapped) = self.slab.remove(id.slot()) {
            let entry = self.slab.vacant_entry();
            // A slab fills that place first which was freed last.
            assert_eq!(entry.key(), id.slot(), "a connection keeps its place");
            entry.insert(Slot::Connection(wrapped.connection));
        }
    }

    /// Whether it has come by TLS; it may have left in this turn.
    pub fn is_wrapped(&self, conn: ConnId) -> bool {
        matches!(self.slab.get(conn.slot()), Some(Slot::Wrapped(it)) if it.connection.id() == conn)
    }

    /// The names of all connections alive, in the order of their slots.
    pub fn names(&self) -> Vec<ConnId> {
        self.living().map(Connection::id).collect()
    }

    /// All connections alive, in the order of their slots.
    pub fn living(&self) -> impl Iterator<Item = &Connection> {
        let tenants = self.slab.iter().filter_map(|(_, slot)| slot.tenant());
        tenants.filter(|connection| !connection.session.is_dead())
    }

    /// Connections of this kind since the start.
    pub fn admitted(&self, kind: ConnKind) -> u64 {
        self.admitted[kind as usize]
    }
}

impl Sessions for Slots {
    fn session(&mut self, conn: ConnId) -> Option<&mut Session> {
        Slots::session(self, conn)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use herd_core::session::{Moment, Phase};

    /// Goal: an event that was meant for the dead reaches no connection, even if another one comes
    /// in the same turn.
    #[test]
    fn nobody_moves_in_before_the_dead_are_buried() {
        let kind = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut slots = Slots::new();
        let come = |slots: &mut Slots| {
            let stream = TcpStream::connect(kind.local_addr().unwrap()).unwrap();
            stream.set_nonblocking(true).unwrap();
            let stream = mio::net::TcpStream::from_std(stream);
            let make = |id| Connection::tcp(id, stream, Phase::Open, Moment::default());
            slots.admit(ConnKind::Client, make).unwrap()
        };
        let dead = come(&mut slots);
        assert!(slots.kill(dead) && !slots.kill(dead), "it dies once");
        let heir = come(&mut slots);
        assert_ne!(heir.slot(), dead.slot());
        assert!(slots.at(dead.slot()).is_none(), "the dead are not there");
        assert_eq!(slots.bury(), 1);
        assert_eq!(come(&mut slots).slot(), dead.slot(), "the place is free again");
    }
}
