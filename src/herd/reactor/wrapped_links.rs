//! Links by TLS: what is theirs alone among wrapped connections. A link is dialled, so one end says
//! the first word; and a herd that runs changes over, so the peer port takes both kinds for a
//! while.
//!
//! There, the first byte tells them apart: a greeting begins with `H`, a handshake with 0x16, and
//! nobody says anything before the dialler. That is no guess, as it would be where clients of all
//! kinds come; a port of its own would have to be opened in every firewall for the day of the
//! change. An end that stays plain is a plain connection from then on, and costs nothing more.
//!
//! The session is open as soon as the dial is through, and its greeting waits in the outbox until
//! the handshake is over. So `greeting` in [limits] bounds both together, on both ends.

use mio::net::TcpStream;

use super::Reactor;
use super::connection::Connection;
use super::slots::Slot;
use super::turn_steps::Readiness;
use super::wrapped::{Stage, Wrapped};
use crate::config::{Config, Initiative, PeerTls};
use crate::tls::{PeerTerms, Session};
use herd_core::driver::Driver;
use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::session::{CloseReason, Phase};

/// What links by TLS rest on, if there may be any.
pub fn peer_terms(config: &Config) -> Option<PeerTerms> {
    if config.tls_peers == PeerTls::Off { None } else { PeerTerms::of(&config.keys) }
}

impl Reactor {
    /// Gives a place to a connection on the peer port, which may speak TLS.
    pub(super) fn admit_link(&mut self, kind: ConnKind, stream: TcpStream) -> Option<ConnId> {
        let session = self.wrapping.peers.as_ref()?.accept()?;
        let now = self.moment();
        let open_by = self.now.monotonic + self.config.limits.core.greeting;
        let conn = self.slots.admit_wrapped(kind, |id| {
            Wrapped::new(Connection::tcp(id, stream, Phase::Open, now), session, open_by)
        })?;
        self.wrapping.handshakes.pending += 1;
        Some(conn)
    }

    /// For a dial of a link that is to be by TLS.
    pub(super) fn session_to_dial(&self, kind: ConnKind) -> Option<Session> {
        let is_wanted = kind == ConnKind::Peer && self.config.tls_peers.dials();
        self.wrapping.peers.as_ref().filter(|_| is_wanted)?.dial()
    }

    /// Gives a place to it.
    pub(super) fn admit_dial(
        &mut self,
        kind: ConnKind,
        session: Session,
        make: impl FnOnce(ConnId) -> Connection,
    ) -> Option<ConnId> {
        self.slots.admit_wrapped(kind, |id| Wrapped::dialled(make(id), session))
    }

    /// Something has happened to a dial. When it is through, our first word leaves.
    pub(super) fn on_dialled_ready(&mut self, conn: ConnId, peer: PeerId, readiness: Readiness) {
        if let Some(session) = self.slots.session(conn) {
            readiness.note(&mut session.flags);
        }
        if !self.finish_dial(conn, peer) {
            return;
        }
        let open_by = self.now.monotonic + self.config.limits.core.greeting;
        let Some(wrapped) = self.slots.wrapped(conn) else { return };
        let begun = wrapped.begin(open_by);
        self.wrapping.handshakes.pending += 1;
        match begun {
            Ok(()) => self.write(conn),
            Err(failed) => self.unwrapping_failed(conn, failed),
        }
    }

    /// Has a connection of plain lines be one, if its far end has said that it is one. Says whether
    /// it has.
    pub(super) fn unwrap_for_good(&mut self, conn: ConnId) -> bool {
        let wrapped = self.slots.wrapped(conn);
        let is_plain = wrapped.is_some_and(|wrapped| wrapped.stage == Stage::Plain);
        if is_plain {
            self.slots.unwrap(conn);
            self.wrapping.handshakes.forget();
            self.open_doors_again();
        }
        is_plain
    }

    /// Links that come up rest on this from now on. Those that may not be as they are any more are
    /// hung up on, and come up again.
    pub(super) fn take_peer_terms(&mut self, terms: Option<PeerTerms>) {
        self.wrapping.peers = terms;
        let way = self.config.tls_peers;
        if let Some(Slot::Listener(listener)) = self.slots.at(self.doors.peer) {
            listener.wrap(way != PeerTls::Off);
        }
        let dialled = self.links_dialled();
        for conn in self.slots.names() {
            let is_tls = self.slots.is_wrapped(conn);
            let is_other = dialled.contains(&conn) && way.dials() != is_tls;
            if conn.kind() == ConnKind::Peer && (is_other || !way.takes(is_tls)) {
                self.close_now(conn, CloseReason::Done);
            }
        }
    }

    /// The connections of links that this server has dialled.
    fn links_dialled(&self) -> Vec<ConnId> {
        let peers = self.config.peers.iter().enumerate();
        let ours = peers.filter(|(_, peer)| peer.initiative == Initiative::Ours);
        ours.filter_map(|(at, _)| self.server.peer(PeerId(at as u16)).conn).collect()
    }
}
