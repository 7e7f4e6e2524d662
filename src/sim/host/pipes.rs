//! The reactor's part of a driver, with pipes for sockets. The bounds are smaller than the
//! reactor's, so that small herds reach them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Act, Host};
use crate::invariants::lines_of;
use herd_core::border::{Input, Note, Timer};
use herd_core::driver::{Deferred, Driver, Parts, Sessions, TurnBounds};
use herd_core::names::{ConnId, ConnKind, PeerId, Ticket};
use herd_core::session::{CloseReason, Moment, Phase, Session, Timeouts};
use herd_core::whatsat::Question;
use herd_core::wire::line_buffer::{LineLimits, Lines};

/// Lines taken from one connection before another input may come.
pub const LINES_MAX: usize = 8;
/// Bytes read from a pipe at a time.
const READ_MAX: usize = 64 * 1024;
/// Answers queued for a client above which its lines wait.
pub const HIGH_WATER: usize = 4 * 1024;
pub const LIMITS: LineLimits = LineLimits { line_bytes_max: 2_000, endless_bytes_max: 20_000 };
const BOUNDS: TurnBounds =
    TurnBounds { line: LIMITS, lines_max: LINES_MAX, newcomers_max: usize::MAX };
/// Longer than any stall of the world's, so that only an end that is gone or idle is given up.
const TIMEOUTS: Timeouts = Timeouts {
    idle: Duration::from_secs(6),
    first_byte: Duration::from_secs(8),
    partial_line: Duration::from_secs(8),
    write_stall: Duration::from_secs(8),
    dial: Duration::from_secs(8),
    linger: Duration::from_secs(2),
};

/// What stands in for a socket: what has come and was not read.
pub struct Pipe {
    pub session: Session,
    pub arrived: Vec<u8>,
    /// Nothing will follow that.
    pub has_ended: bool,
    /// The line of an answer that has left in part.
    pub leaving: Vec<u8>,
    /// When something has come or left for the last time, on the server's clock.
    pub quiet_since: Duration,
}

impl Pipe {
    fn read(&mut self, now: Moment) -> Vec<u8> {
        let count = self.arrived.len().min(READ_MAX);
        match count {
            0 if self.has_ended => self.session.received_end(),
            0 => self.session.received_nothing(),
            _ => self.session.received(count, count == READ_MAX, now),
        }
        let rest = self.arrived.split_off(count);
        std::mem::replace(&mut self.arrived, rest)
    }
}

#[derive(Default)]
pub struct Pipes(pub BTreeMap<ConnId, Pipe>);

impl Sessions for Pipes {
    fn session(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.0.get_mut(&conn).map(|pipe| &mut pipe.session)
    }
}

impl Driver for Host {
    type Sessions = Pipes;

    fn parts(&mut self) -> Parts<'_, Pipes> {
        Parts {
            now: self.clock.now,
            out: &mut self.out,
            deferred: &mut self.deferred,
            is_catching_up: &mut self.is_catching_up,
            sessions: &mut self.pipes,
            buffers: &mut self.buffers,
            scan: &mut self.scan,
            timeouts: &TIMEOUTS,
            high_water_bytes: HIGH_WATER,
        }
    }

    fn handle(&mut self, input: Input<'_, '_>) {
        self.server.handle(self.clock.now, input, &mut self.out);
        self.append_news();
        self.tell_follower();
        self.count_work();
        self.carry_out();
    }

    fn handle_lines(&mut self, conn: ConnId, lines: &mut Lines<'_>, _is_first: bool) {
        self.inputs = 0;
        let stamp = self.clock.posix_nanos();
        if conn.kind() == ConnKind::Client && self.stamps.last() != Some(&stamp) {
            self.stamps.push(stamp);
        }
        let before = self.iamats_taken();
        self.server.handle(self.clock.now, Input::Lines { conn, lines }, &mut self.out);
        self.append_news();
        self.tell_follower();
        self.count_work();
        self.check_answered(conn, lines, before);
        self.carry_out_lines(conn, lines);
    }

    fn send(&mut self, conn: ConnId, text: &[u8]) {
        let now = self.moment();
        let Some(session) = self.pipes.session(conn) else { return };
        let is_open = session.phase() == Phase::Open;
        session.queue(text, &mut self.buffers, now);
        let queued = session.queued_bytes();
        self.check_sent(conn, text, is_open, queued);
        self.note_farewell(conn, text);
        self.flush_later(conn);
    }

    fn shut_down(&mut self, conn: ConnId) -> bool {
        self.acts.push(Act::Finish { conn });
        true
    }

    fn close_now(&mut self, conn: ConnId, reason: CloseReason) {
        if self.bury(conn) {
            self.acts.push(Act::Closed { conn, reason });
        }
    }

    fn dial(&mut self, peer: PeerId) {
        self.acts.push(Act::Dial { peer });
    }

    fn start_timer(&mut self, timer: Timer, after: Duration) {
        self.wheel.start(self.clock.now.monotonic + after, timer);
    }

    fn ask_places(&mut self, conn: ConnId, ticket: Ticket, question: Question, timeout: Duration) {
        self.start_timer(Timer::Answer { ticket }, timeout);
        self.acts.push(Act::Ask { conn, ticket, question });
    }

    fn note(&mut self, note: Note) {
        if let Note::PeerUp { peer, conn } = note {
            let held = lines_of(self.server.store());
            self.acts.push(Act::Joined { peer, conn, held });
        }
        self.acts.push(Act::Noted(note));
    }

    fn take_turn(&mut self, conn: ConnId) {
        let now = self.moment();
        let Some(pipe) = self.pipes.0.get_mut(&conn) else { return };
        if pipe.session.begin_turn(HIGH_WATER) && !self.puts_off(conn) {
            let Some(pipe) = self.pipes.0.get_mut(&conn) else { return };
            let wants_bytes = pipe.session.wants_bytes();
            let read = if wants_bytes { pipe.read(now) } else { Vec::new() };
            self.serve(conn, &read, BOUNDS);
            self.tell_deferred();
        }
    }

    fn queue_turn(&mut self, conn: ConnId) {
        self.unfinished.push_back(conn);
    }

    /// The world asks what is owed; if nothing is, the server can be told so at once.
    fn queue_flush(&mut self, conn: ConnId) {
        if let Some(session) = self.pipes.session(conn) {
            session.flags.to_flush = false;
        }
        self.tell_if_drained(conn);
    }
}

impl Host {
    /// Bound: each turn takes a line, or reads what has come, or is the last.
    pub(super) fn serve_unfinished(&mut self) {
        while let Some(conn) = self.unfinished.pop_front() {
            self.take_turn(conn);
        }
    }

    /// Says whether it was there.
    pub(super) fn bury(&mut self, conn: ConnId) -> bool {
        let was_there = self.pipes.0.remove(&conn).is_some();
        if was_there {
            self.deferred.push_back(Deferred::Closed { conn });
        }
        was_there
    }
}
