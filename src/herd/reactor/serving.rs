//! A connection's turn: its input is read, and its lines go to the core. The loop decides which
//! connection has a turn; here the session meets the core. How a connection is accepted is in
//! `admitting`, what is sent to it in `sending`.
//!
//! Each turn of a connection is bounded: one read, so many lines, so many bytes of answers. A
//! client that pipelines a gigabyte gets its share of each turn, and so does everyone else.
//!
//! asyncio has no such budget: `_read_ready` takes 256 KiB and the coroutine handles all of it.

use super::connection::Filled;
use super::step::Readiness;
use super::{READ_BUDGET, Reactor, Slot, Unfinished, admin, foreign};
use crate::logging::events::{CloseReason, Event};
use herd_core::border::Input;
use herd_core::line::{LineLimits, Lines};
use herd_core::names::{ConnId, ConnKind};
use herd_core::session::{Phase, Received};

/// Lines taken from one client in one turn.
const LINES_MAX: usize = 256;
/// Lines taken from a peer at a time: about as many as are read at a time.
const PEER_LINES_MAX: usize = 1024;

fn lines_alone(kind: ConnKind) -> usize {
    if kind == ConnKind::Peer { PEER_LINES_MAX } else { LINES_MAX }
}

impl Reactor {
    /// Says which connection it was, if it was one.
    pub(super) fn on_ready(&mut self, slot: usize, readiness: Readiness) -> Option<ConnId> {
        let (conn, phase, is_queued) = match self.slots.at(slot) {
            Some(Slot::Listener(_)) => {
                self.offer_accept(slot);
                return None;
            }
            Some(Slot::Connection(connection)) => {
                let session = &mut connection.session;
                session.flags.read_on |= readiness.closed || readiness.urgent;
                session.flags.readable |= readiness.readable || session.flags.read_on;
                session.flags.write_blocked &= !readiness.writable;
                (session.id(), session.phase(), session.flags.unfinished)
            }
            // It died earlier in this batch, and its slot belongs to no other yet.
            None => return None,
        };
        if let Phase::Connecting { peer } = phase
            && !self.finish_dial(conn, peer)
        {
            return Some(conn);
        }
        if readiness.writable {
            self.flush_later(conn);
        }
        // A turn that is coming with the unfinished is enough: an event must not bring a second.
        if !is_queued {
            self.take_turn(conn);
        }
        Some(conn)
    }

    /// Gives a connection a turn, if it is alive and wants one.
    pub(super) fn take_turn(&mut self, conn: ConnId) {
        let high_water = self.config.limits.high_water_bytes;
        let Some(session) = self.slots.session(conn) else { return };
        session.flags.unfinished = false;
        if !session.wants_turn(high_water) {
            return;
        }
        if session.phase() == Phase::Open {
            self.serve(conn);
        } else {
            self.linger(conn);
        }
        self.queue_if_unfinished(conn);
    }

    /// Remembers a connection with work left, because no event will.
    pub(super) fn queue_if_unfinished(&mut self, conn: ConnId) {
        let high_water = self.config.limits.high_water_bytes;
        let Some(session) = self.slots.session(conn) else { return };
        if session.join_unfinished(high_water) {
            self.queue_turn(conn);
        }
    }

    pub(super) fn queue_turn(&mut self, conn: ConnId) {
        match conn.kind() {
            ConnKind::Peer => self.unfinished_peers.push_back(conn),
            _ => self.unfinished.push_back(Unfinished::Connection(conn)),
        }
    }

    fn limits_of(&self, kind: ConnKind) -> LineLimits {
        let limits = &self.config.limits;
        match kind {
            ConnKind::Client | ConnKind::Course => LineLimits {
                line_bytes_max: limits.line_bytes_max,
                endless_bytes_max: limits.endless_bytes_max,
            },
            ConnKind::Peer => LineLimits {
                line_bytes_max: limits.peer_line_bytes_max,
                endless_bytes_max: limits.peer_line_bytes_max,
            },
            ConnKind::Admin => LineLimits { line_bytes_max: 256, endless_bytes_max: 256 },
        }
    }

    /// Reads once and tells the core the lines, as many as may be taken now.
    fn serve(&mut self, conn: ConnId) {
        let now = self.moment();
        let Some(connection) = self.slots.connection(conn) else { return };
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut count = 0;
        if connection.session.wants_bytes() {
            let read_max = self.work.read_max(conn.kind(), READ_BUDGET);
            let filled = connection.fill(&mut scratch[..read_max], now);
            self.trace_fill(conn, &filled);
            match filled {
                Filled::Bytes(bytes) => count = bytes,
                Filled::Nothing | Filled::End => {}
                Filled::Broken(error) => self.kill_broken(conn, &error),
            }
        }
        self.take_lines(conn, &scratch[..count]);
        self.scratch = scratch;
        self.tell_end(conn);
    }

    fn take_lines(&mut self, conn: ConnId, read: &[u8]) {
        let (now, limits) = (self.moment(), self.limits_of(conn.kind()));
        let high_water = self.config.limits.high_water_bytes;
        let newcomers_max = self.newcomers_max(conn);
        let lines_max = self.work.lines_max(conn.kind(), lines_alone(conn.kind()));
        let Some(session) = self.slots.session(conn) else { return };
        let is_first = session.flags.received != Received::Line && conn.kind() == ConnKind::Client;
        let Some(mut batch) = session.begin_batch(read, high_water) else { return };
        let mut lines = batch.lines(read, limits, lines_max).introducing(newcomers_max);
        if is_first && let Some(other) = foreign::language(lines.bytes(), limits.line_bytes_max) {
            Event::OtherProtocol { conn, protocol: other }.log();
            return self.kill(conn, CloseReason::OtherProtocol);
        }
        match conn.kind() {
            ConnKind::Admin => self.answer_admin(conn, &mut lines),
            _ => self.tell_lines(conn, &mut lines),
        }
        let outcome = lines.outcome();
        self.work.heard(conn.kind(), read.len(), outcome.taken);
        let Some(session) = self.slots.session(conn) else { return };
        if session.settle(batch, read, outcome, limits, now, &mut self.buffers) {
            self.kill(conn, CloseReason::EndlessLine);
        }
    }

    /// How many clients may become known by a connection's lines. Its address is asked of the
    /// kernel, and only if it matters: keeping an address for each would cost more memory.
    fn newcomers_max(&mut self, conn: ConnId) -> usize {
        let now = self.now.monotonic;
        if !self.newcomers.anybody_is_short(now) || conn.kind() != ConnKind::Client {
            return usize::MAX;
        }
        let from = self.slots.connection(conn).and_then(|connection| connection.peer_ip());
        from.map_or(usize::MAX, |from| self.newcomers.left(now, from))
    }

    /// Charges an address for clients that it has made known.
    pub(super) fn charge_newcomers(&mut self, conn: ConnId, count: usize) {
        let from = self.slots.connection(conn).and_then(|connection| connection.peer_ip());
        if let Some(from) = from {
            self.newcomers.spend(self.now.monotonic, from, count);
        }
    }

    /// Tells the core that no more lines will come, once it has taken the last.
    fn tell_end(&mut self, conn: ConnId) {
        let Some(session) = self.slots.session(conn) else { return };
        if session.take_end(&mut self.buffers) {
            match conn.kind() {
                ConnKind::Admin => self.close_when_sent(conn),
                _ => self.tell(Input::Ended { conn }),
            }
        }
    }

    fn answer_admin(&mut self, conn: ConnId, lines: &mut Lines<'_>) {
        if lines.take().is_none() {
            return;
        }
        lines.hold();
        let answer = admin::status_line(self);
        self.send(conn, &answer);
        self.close_when_sent(conn);
    }

    pub(super) fn hold(&mut self, conn: ConnId) {
        if let Some(session) = self.slots.session(conn) {
            session.flags.held = true;
        }
    }

    pub(super) fn resume(&mut self, conn: ConnId) {
        if let Some(session) = self.slots.session(conn) {
            session.flags.held = false;
        }
        self.queue_if_unfinished(conn);
    }

    /// Reads and drops what is no longer wanted, so that the close does not turn into a reset.
    fn linger(&mut self, conn: ConnId) {
        let now = self.moment();
        let mut scratch = std::mem::take(&mut self.scratch);
        if let Some(connection) = self.slots.connection(conn) {
            let filled = connection.fill(&mut scratch, now);
            let is_over = match filled {
                Filled::Bytes(count) => connection.session.linger(count),
                Filled::Nothing => false,
                Filled::End | Filled::Broken(_) => true,
            };
            self.trace_fill(conn, &filled);
            if is_over {
                self.kill(conn, CloseReason::Done);
            }
        }
        self.scratch = scratch;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::reactor::tests::House;

    /// Goal: lines that a turn has no room for are taken in the next, though no event will say so.
    #[test]
    fn lines_that_are_left_bring_another_turn() {
        let mut house = House::new();
        let (mut client, _) = house.come(ConnKind::Client);
        client.write_all(&b"\n".repeat(600)).unwrap();
        house.turn_until(|reactor| reactor.server.counters().lines_in > 0);
        for (lines, unfinished) in [(256, 1), (512, 1), (600, 0)] {
            let reactor = &house.reactor;
            assert_eq!(
                (reactor.server.counters().lines_in, reactor.unfinished.len()),
                (lines, unfinished)
            );
            house.turn();
        }
    }

    /// Goal: a client that was held back for its questions is read again when they are answered.
    #[test]
    fn who_was_held_back_has_another_turn() {
        let mut house = House::new();
        let (mut client, _) = house.come(ConnKind::Client);
        client.write_all(b"IAMAT kiwi +60.17+24.94 7\n").unwrap();
        client.write_all(&b"WHATSAT kiwi 1 1\n".repeat(100)).unwrap();
        house.turn_until(|reactor| reactor.server.questions_waiting() == 64);
        house.turn_until(|reactor| reactor.server.questions_waiting() == 0);
        house.turn();
        assert_eq!(house.reactor.server.counters().lines_in, 101);
    }
}
