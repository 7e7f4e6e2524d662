//! Dials: a peer's address is found, a connection is begun, and the kernel says later what came of
//! it. When to dial again, the core decides
//! (`herd_core`, `peers/redial.rs`).

use std::net::SocketAddr;

use mio::net::TcpStream;

use super::Reactor;
use super::connection::Connection;
use super::routes::Route;
use crate::config::LinkKind;
use crate::logging::events::Event;
use herd_core::driver::{Deferred, Driver};
use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::session::Phase;

impl Reactor {
    /// Dials a peer, or has its name resolved first.
    pub(super) fn dial(&mut self, peer: PeerId) {
        match self.routes.next(peer) {
            Route::Connect(address) => self.connect(peer, address),
            Route::Resolve(address) => {
                if let Err(error) = self.completion_sender.resolve(peer, address) {
                    self.routes.is_awaited(peer);
                    self.dial_failed(peer, &error.to_string());
                }
            }
        }
    }

    pub(super) fn connect(&mut self, peer: PeerId, address: SocketAddr) {
        let kind = match self.config.peers[usize::from(peer.0)].kind {
            LinkKind::Herd => ConnKind::Peer,
            LinkKind::Plain => ConnKind::Course,
            LinkKind::Engine => ConnKind::Engine,
        };
        let stream = match TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) => return self.dial_failed(peer, &error.to_string()),
        };
        // Reports are small and must not wait for each other (tcp(7), TCP_NODELAY).
        let _ = stream.set_nodelay(true);
        let phase = Phase::Connecting { peer };
        let now = self.moment();
        let admitted = match self.session_to_dial(kind) {
            Some(session) => {
                self.admit_dial(kind, session, |id| Connection::tcp(id, stream, phase, now))
            }
            None => self.slots.admit(kind, |id| Connection::tcp(id, stream, phase, now)),
        };
        match admitted {
            Some(conn) if self.register(conn) => Event::Dialing { conn, address }.log(),
            _ => self.dial_failed(peer, "this server has no place left"),
        }
    }

    /// Something has happened to a dial: it may be through, or have failed. Says whether it is a
    /// connection now.
    pub(super) fn finish_dial(&mut self, conn: ConnId, peer: PeerId) -> bool {
        let now = self.moment();
        let Some(connection) = self.slots.connection(conn) else { return false };
        match connection.dialled() {
            Ok(true) if connection.is_its_own_peer() => {
                connection.reset_when_dropped();
                self.dial_over(conn, peer, "nobody listens there: the dial came back to itself");
                false
            }
            Ok(true) => {
                connection.session.open(now);
                self.check_deadline(conn);
                self.deferred.push_back(Deferred::Connected { peer, conn });
                self.tell_deferred();
                true
            }
            Ok(false) => false,
            Err(error) => {
                self.dial_over(conn, peer, &error.to_string());
                false
            }
        }
    }

    /// A dial under way has come to nothing.
    pub(super) fn dial_over(&mut self, conn: ConnId, peer: PeerId, why: &str) {
        self.slots.kill(conn);
        self.dial_failed(peer, why);
        self.tell_deferred();
    }

    pub(super) fn dial_failed(&mut self, peer: PeerId, why: &str) {
        let address = self.routes.address(peer);
        let name = &self.config.peers[usize::from(peer.0)].name;
        Event::DialFailed { peer: name, address, reason: why }.log();
        self.deferred.push_back(Deferred::DialFailed { peer });
    }
}
