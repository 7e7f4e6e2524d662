//! A connection's turn: its input is read, and its lines go to the core. The loop decides which
//! connection has a turn; what is done with the bytes, `herd_core::driver` does for simulated herds
//! as well. How a connection is accepted is in `accepting`, what is sent to it in `outbound`.
//!
//! Each turn of a connection is bounded: one read, so many lines, so many bytes of answers. A
//! client that pipelines a gigabyte gets its share of each turn, and so does everyone else.
//!
//! asyncio has no such budget: `_read_ready` takes 256 KiB and the coroutine handles all of it.

use std::io;

use super::connection::Filled;
use super::turn_steps::Readiness;
use super::{READ_BUDGET, Reactor, Slot, operators, other_protocols, web};
use crate::logging::events::Event;
use herd_core::border::Input;
use herd_core::driver::{Driver, TurnBounds};
use herd_core::names::{ConnId, ConnKind};
use herd_core::session::{CloseReason, Phase};
use herd_core::wire::line_buffer::{LineLimits, Lines};
use herd_web::mqtt::PACKET_BYTES_MAX;

/// Lines taken from one client in one turn.
const LINES_MAX: usize = 256;
/// Lines taken from a peer at a time: about as many as are read at a time.
const PEER_LINES_MAX: usize = 1024;
/// Longest line of `herd status`.
const ADMIN_LINE_BYTES_MAX: usize = 256;

impl Reactor {
    /// Says which connection it was, if it was one.
    #[inline(always)]
    pub(super) fn on_ready(&mut self, slot: usize, readiness: Readiness) -> Option<ConnId> {
        let Some(connection) = self.slots.plain_at(slot) else {
            return self.on_other_ready(slot, readiness);
        };
        let session = &mut connection.session;
        readiness.note(&mut session.flags);
        let (conn, phase, is_queued) = (session.id(), session.phase(), session.flags.unfinished);
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

    /// The same of a slot in which no plain connection is.
    #[inline(never)]
    fn on_other_ready(&mut self, slot: usize, readiness: Readiness) -> Option<ConnId> {
        match self.slots.at(slot)? {
            Slot::Listener(_) => self.offer_accept(slot),
            Slot::Wrapped(wrapped) => {
                let conn = wrapped.connection.id();
                self.on_wrapped_ready(conn, readiness);
                return Some(conn);
            }
            Slot::Arriving(arriving) => {
                let id = arriving.id;
                self.on_head(id, readiness.closed);
            }
            // It died earlier in this batch, and its slot belongs to no other yet.
            Slot::Connection(_) | Slot::Left => {}
        }
        None
    }

    /// Gives a connection a turn, if it is alive and wants one: reads once, as much as there may be
    /// in this turn, and serves what has come.
    pub(super) fn take_turn(&mut self, conn: ConnId) {
        let now = self.moment();
        let Some(connection) = self.slots.plain(conn) else { return self.take_wrapped_turn(conn) };
        if !connection.session.begin_turn(self.config.limits.high_water_bytes) {
            return;
        }
        if self.durability.as_mut().is_some_and(|durability| durability.puts_off(connection)) {
            return;
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut count = 0;
        if connection.session.wants_bytes() {
            let read_max = self.work.read_max(conn.kind(), READ_BUDGET);
            let filled = connection.fill(&mut scratch[..read_max], now);
            self.trace_fill(conn, &filled);
            match filled {
                Filled::Bytes(bytes) => {
                    count = bytes;
                    self.counts.received[conn.kind() as usize] += bytes as u64;
                }
                Filled::Nothing | Filled::End => {}
                Filled::Broken(error) => self.read_failed(conn, &error),
            }
        }
        let bounds = self.bounds(conn);
        self.serve(conn, &scratch[..count], bounds);
        self.scratch = scratch;
    }

    /// After our last word, a reset is as good as a close.
    pub(super) fn read_failed(&mut self, conn: ConnId, error: &io::Error) {
        match self.slots.session(conn).map(|session| session.phase()) {
            Some(Phase::Lingering { .. }) => self.close_now(conn, CloseReason::Done),
            _ => self.kill_broken(conn, error),
        }
    }

    pub(super) fn bounds(&mut self, conn: ConnId) -> TurnBounds {
        let limits = &self.config.limits;
        let (line, alone) = match conn.kind() {
            ConnKind::Client | ConnKind::Course => {
                let (line_bytes_max, endless_bytes_max) =
                    (limits.line_bytes_max, limits.endless_bytes_max);
                (LineLimits { line_bytes_max, endless_bytes_max }, LINES_MAX)
            }
            ConnKind::Peer | ConnKind::Engine => {
                (LineLimits::equal(limits.peer_line_bytes_max), PEER_LINES_MAX)
            }
            ConnKind::Admin => (LineLimits::equal(ADMIN_LINE_BYTES_MAX), LINES_MAX),
            ConnKind::Operator => {
                (LineLimits::equal(operators::LIMITS.request_bytes_max()), LINES_MAX)
            }
            ConnKind::Web => (LineLimits::equal(web::LIMITS.request_bytes_max()), LINES_MAX),
            ConnKind::Mqtt => (LineLimits::equal(PACKET_BYTES_MAX), LINES_MAX),
        };
        let lines_max = self.work.lines_max(conn.kind(), alone);
        TurnBounds { line, lines_max, newcomers_max: self.newcomers_max(conn) }
    }

    /// Gives lines to the one they are for. The first of a client show whether it speaks our
    /// language.
    #[inline(always)]
    pub(super) fn dispatch(&mut self, conn: ConnId, lines: &mut Lines<'_>, is_first: bool) {
        match conn.kind() {
            ConnKind::Client if is_first && self.is_foreign(conn, lines) => {}
            ConnKind::Client | ConnKind::Peer | ConnKind::Course => self.tell_lines(conn, lines),
            _ => self.answer(conn, lines),
        }
    }

    /// Whether a client speaks another protocol: then it is hung up on.
    #[inline(never)]
    fn is_foreign(&mut self, conn: ConnId, lines: &Lines<'_>) -> bool {
        let line_bytes_max = self.config.limits.line_bytes_max;
        let language = other_protocols::language(lines.bytes(), line_bytes_max);
        if let Some(protocol) = language {
            Event::OtherProtocol { conn, protocol }.log();
            self.close_now(conn, CloseReason::OtherProtocol);
        }
        language.is_some()
    }

    /// Answers what is not a line.
    #[inline(never)]
    fn answer(&mut self, conn: ConnId, lines: &mut Lines<'_>) {
        match conn.kind() {
            ConnKind::Admin => self.answer_admin(conn, lines),
            ConnKind::Operator => self.answer_operator(conn, lines),
            ConnKind::Mqtt => self.answer_mqtt(conn, lines),
            // The core's, and not one that a request must be spared a look for.
            ConnKind::Engine => self.tell_lines(conn, lines),
            _ => self.answer_web(conn, lines),
        }
    }

    /// Gives the core the lines of one read.
    #[inline(always)]
    pub(super) fn tell_lines(&mut self, conn: ConnId, lines: &mut Lines<'_>) {
        let span = self.trace.begin();
        let known = self.server.store().len();
        self.server.handle(self.now, Input::Lines { conn, lines }, &mut self.out);
        self.append_news();
        let outputs = self.out.list.len();
        if conn.kind() == ConnKind::Client && self.server.store().len() > known {
            self.charge_newcomers(conn, self.server.store().len() - known);
        }
        self.log.heard(conn, lines.consumed());
        self.carry_out_lines(conn, lines);
        self.trace_lines(span, conn, lines.consumed(), outputs);
    }

    /// How many clients may become known by a connection's lines. Its address is looked
    /// up only if it matters.
    #[inline]
    pub(super) fn newcomers_max(&mut self, conn: ConnId) -> usize {
        if self.newcomers.any_is_short(self.now.monotonic) && conn.kind().is_client() {
            self.newcomers_left(conn)
        } else {
            usize::MAX
        }
    }

    #[cold]
    fn newcomers_left(&mut self, conn: ConnId) -> usize {
        let from = self.slots.address(conn);
        from.map_or(usize::MAX, |from| self.newcomers.left(self.now.monotonic, from.ip()))
    }

    /// Charges an address for clients that it has made known.
    pub(super) fn charge_newcomers(&mut self, conn: ConnId, count: usize) {
        if !self.newcomers.has_no_limit(conn)
            && let Some(from) = self.slots.address(conn)
        {
            self.newcomers.spend_by(self.now.monotonic, (conn, from.ip()), count);
        }
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
