//! How connections come in: accepting at the doors, and the cap on connections. `inbound` begins
//! where a connection has its name and its first deadline.

use super::connection::Connection;
use super::listener::{Accepted, Arrival};
use super::slots::Slot;
use super::turn_steps::{Readiness, Step};
use super::{Due, Reactor, Unfinished, descriptors};
use crate::logging::events::Event;
use herd_core::border::Input;
use herd_core::driver::Driver;
use herd_core::names::{ConnId, ConnKind};
use herd_core::session::Phase;

/// Connections accepted by one listener in one turn.
const ACCEPTS_MAX: usize = 32;

impl Reactor {
    /// Accepts the connections that wait, a bounded number of them; the rest has another turn.
    pub(super) fn accept(&mut self, slot: usize) {
        let now = self.moment();
        if let Some(Slot::Listener(listener)) = self.slots.at(slot) {
            listener.queued = false;
            if listener.is_resting {
                return;
            }
        }
        for _ in 0..ACCEPTS_MAX {
            if self.slots.dead() >= descriptors::DEAD_MAX {
                break;
            }
            let Some(Slot::Listener(listener)) = self.slots.at(slot) else { return };
            let (kind, waits) = (listener.kind(), listener.waits_for_handshakes());
            let may_shake = !waits || self.wrapping.handshakes.has_room();
            let is_full = self.room(kind) == 0 || !may_shake;
            let Some(Slot::Listener(listener)) = self.slots.at(slot) else { return };
            listener.is_full = is_full;
            if is_full {
                return;
            }
            match listener.accept(now) {
                Accepted::Arrived(arrival) => {
                    if let Some(arrival) = self.unless_proxied(kind, arrival) {
                        self.step(Step::Admit(kind, arrival));
                    }
                }
                Accepted::Nobody => return,
                Accepted::Exhausted { error, wait, is_first } => {
                    self.counts.accept_failures += 1;
                    if is_first {
                        Event::AcceptFailed { error: &error }.log();
                    }
                    self.wheel.start(self.now.monotonic + wait, Due::Accept { slot });
                    return;
                }
            }
        }
        if let Some(Slot::Listener(listener)) = self.slots.at(slot)
            && !listener.queued
        {
            listener.queued = true;
            self.unfinished.push_back(Unfinished::Listener(slot));
        }
    }

    /// Accepts, unless that is coming with the unfinished.
    pub(super) fn offer_accept(&mut self, slot: usize) {
        if let Some(Slot::Listener(listener)) = self.slots.at(slot)
            && !listener.queued
        {
            self.accept(slot);
        }
    }

    /// The pause of a listener that found the system exhausted is over.
    pub(super) fn accept_after_rest(&mut self, slot: usize) {
        if let Some(Slot::Listener(listener)) = self.slots.at(slot) {
            listener.is_resting = false;
        }
        self.offer_accept(slot);
    }

    /// How many connections of a kind there is room for. While there is none, a new one waits in
    /// the kernel's backlog. On the peer port there always is room, because the next connection
    /// could be a peer's: the core closes the oldest stranger's.
    fn room(&self, kind: ConnKind) -> usize {
        let most = match kind {
            ConnKind::Client => self.shares.clients,
            ConnKind::Admin => self.shares.admins,
            ConnKind::Operator => self.shares.operators,
            ConnKind::Web => self.shares.web,
            ConnKind::Mqtt => self.shares.mqtt,
            ConnKind::Peer | ConnKind::Course | ConnKind::Engine => usize::MAX,
        };
        most.saturating_sub(self.slots.alive(kind) + self.heads.waiting(kind))
    }

    /// Accepts again at doors that were full, once a tenth of the places is free. No event would
    /// tell us that clients are waiting there.
    pub(super) fn open_doors_again(&mut self) {
        let doors = [
            (self.doors.client, ConnKind::Client, self.shares.clients),
            (self.doors.tls, ConnKind::Client, self.shares.clients),
            (Some(self.doors.admin), ConnKind::Admin, self.shares.admins),
            (self.doors.operators, ConnKind::Operator, self.shares.operators),
            (self.doors.web, ConnKind::Web, self.shares.web),
            (self.doors.mqtt, ConnKind::Mqtt, self.shares.mqtt),
        ];
        for (slot, kind, most) in doors {
            let Some(slot) = slot else { continue };
            let has_room = self.room(kind) >= most.div_ceil(10);
            let may_shake = self.wrapping.handshakes.has_much_room();
            if let Some(Slot::Listener(listener)) = self.slots.at(slot)
                && (may_shake || !listener.waits_for_handshakes())
                && listener.is_full
                && has_room
                && !listener.queued
            {
                listener.is_full = false;
                listener.queued = true;
                self.unfinished.push_back(Unfinished::Listener(slot));
            }
        }
    }

    /// Gives it a name, unless there is no place for it or the kernel will not watch it.
    pub(super) fn admit(&mut self, kind: ConnKind, arrival: Arrival) -> Option<ConnId> {
        let now = self.moment();
        let (admitted, from) = match arrival {
            Arrival::Tcp(stream, from) => {
                let make = |id| Connection::tcp(id, stream, Phase::Open, now);
                (self.slots.admit(kind, make), Some(from))
            }
            Arrival::Wrapped(stream, from) => (self.admit_wrapped(kind, stream), Some(from)),
            Arrival::Unix(stream) => {
                (self.slots.admit(kind, |id| Connection::unix(id, stream, now)), None)
            }
        };
        let conn = admitted.filter(|&conn| self.register(conn))?;
        Event::Connected { conn, from }.log();
        if kind == ConnKind::Operator {
            self.make_room_for_operators(conn);
        }
        self.tell(Input::Accepted { conn });
        if kind == ConnKind::Operator {
            // A probe has asked before it is accepted, and waits for no other turn.
            self.on_ready(conn.slot(), Readiness::READABLE);
        }
        Some(conn)
    }

    /// Makes a new connection known to the kernel and to the wheel. Says whether that worked.
    pub(super) fn register(&mut self, conn: ConnId) -> bool {
        let Some(connection) = self.slots.connection(conn) else { return false };
        if let Err(error) = connection.register(self.poll.registry()) {
            self.kill_broken(conn, &error);
            return false;
        }
        self.check_deadline(conn);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;
    use crate::reactor::tests::House;

    /// Goal: a door that was full is opened again when a connection has ended.
    #[test]
    fn a_full_door_is_opened_when_there_is_room() {
        let mut house = House::new();
        house.reactor.shares.clients = 1;
        let kind = house.reactor.doors.client.unwrap();
        let is_full = |reactor: &mut Reactor| match reactor.slots.at(kind) {
            Some(Slot::Listener(listener)) => listener.is_full,
            _ => panic!("there is no listener"),
        };
        let (_first, conn) = house.come(ConnKind::Client);
        let _second = TcpStream::connect(house.clients).unwrap();
        house.turn_until(is_full);
        house.turn();
        assert!(is_full(&mut house.reactor), "nobody has left");
        house.reactor.close_now(conn, herd_core::session::CloseReason::Done);
        house.turn();
        assert!(!is_full(&mut house.reactor));
        house.turn();
        assert_eq!(house.reactor.slots.alive(ConnKind::Client), 1);
    }
}
