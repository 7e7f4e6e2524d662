//! A connection's turn: what came is read, and its lines are told to the core. Apart from the loop
//! because the loop asks only whose turn it is; apart from `connection` because here the connection
//! meets the core. How it came is in `admitting`, what it is owed in `owing`.
//!
//! Each turn of a connection is bounded: one read, so many lines, so many bytes of answers. A
//! client that pipelines a gigabyte gets its share of each turn, and so does everyone else.
//!
//! asyncio has no such budget: `_read_ready` takes 256 KiB and the coroutine handles all of it.

use log::{debug, info, warn};
use mio::event::Event;

use super::connection::{Filled, Heard, Hearing, Phase};
use super::{READ_BUDGET, Reactor, Slot, Unfinished, admin, foreign};
use crate::trace::Note;
use herd_core::border::Input;
use herd_core::line::{LineLimits, Lines};
use herd_core::names::{ConnId, Door};

/// Lines taken from one client in one turn.
const LINES_MAX: usize = 256;
/// Lines taken from a peer at a time: about as many as are read at a time.
const PEER_LINES_MAX: usize = 1024;

fn lines_alone(door: Door) -> usize {
    if door == Door::Peer { PEER_LINES_MAX } else { LINES_MAX }
}

impl Reactor {
    pub(super) fn on_ready(&mut self, slot: usize, event: &Event) {
        let conn = match self.slots.at(slot) {
            Some(Slot::Listener(_)) => return self.offer_accept(slot),
            Some(Slot::Connection(connection)) => {
                let read_on = event.is_read_closed() || event.is_error() || event.is_priority();
                connection.flags.read_on |= read_on;
                connection.flags.readable |= event.is_readable() || connection.flags.read_on;
                connection.flags.write_blocked &= !event.is_writable();
                connection.id()
            }
            // It died earlier in this batch, and its slot is not anybody else's yet.
            None => return,
        };
        if !self.is_dialled(conn) {
            return;
        }
        if event.is_writable() {
            self.mark_owing(conn);
        }
        self.offer_turn(conn);
    }

    /// Gives a connection a turn, unless one is coming with the unfinished: an event must not
    /// bring a second.
    fn offer_turn(&mut self, conn: ConnId) {
        if self.slots.connection(conn).is_some_and(|connection| !connection.flags.queued) {
            self.take_turn(conn);
        }
    }

    /// Gives a connection a turn, if it is alive and wants one.
    pub(super) fn take_turn(&mut self, conn: ConnId) {
        let high_water = self.config.limits.high_water_bytes;
        let Some(connection) = self.slots.connection(conn) else { return };
        connection.flags.queued = false;
        if !connection.wants_turn(high_water) {
            return;
        }
        match connection.phase() {
            Phase::Open => self.hear(conn),
            _ => self.linger(conn),
        }
        self.queue_if_unfinished(conn);
    }

    /// Remembers a connection with work left, because no event will.
    pub(super) fn queue_if_unfinished(&mut self, conn: ConnId) {
        let high_water = self.config.limits.high_water_bytes;
        let Some(connection) = self.slots.connection(conn) else { return };
        if connection.wants_turn(high_water) && !connection.flags.queued {
            connection.flags.queued = true;
            match conn.door() {
                Door::Peer => self.unfinished_peers.push_back(conn),
                _ => self.unfinished.push_back(Unfinished::Connection(conn)),
            }
        }
    }

    fn limits_of(&self, door: Door) -> LineLimits {
        let limits = &self.config.limits;
        match door {
            Door::Client | Door::Plain => LineLimits {
                line_bytes_max: limits.line_bytes_max,
                endless_bytes_max: limits.endless_bytes_max,
            },
            Door::Peer => LineLimits {
                line_bytes_max: limits.peer_line_bytes_max,
                endless_bytes_max: limits.peer_line_bytes_max,
            },
            Door::Admin => LineLimits { line_bytes_max: 256, endless_bytes_max: 256 },
        }
    }

    /// Reads once and tells the core the lines, as many as may be taken now. Lines that were left
    /// from before come first, and then nothing is read.
    fn hear(&mut self, conn: ConnId) {
        let now = self.moment();
        let limits = self.limits_of(conn.door());
        let Some(connection) = self.slots.connection(conn) else { return };
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut count = 0;
        if !connection.flags.lines_left && connection.hearing == Hearing::Open {
            let read_max = self.work.read_max(conn.door(), READ_BUDGET);
            match connection.fill(&mut scratch[..read_max], now) {
                Filled::Bytes(bytes) => count = bytes,
                Filled::Nothing => {}
                Filled::End => connection.hearing = Hearing::Ended,
                Filled::Broken(error) => {
                    debug!("{conn} broke: {error}");
                    self.kill(conn);
                }
            }
            self.trace.done(|| Note::Fill { conn, bytes: count as u32 });
        }
        self.hear_lines(conn, &scratch[..count], limits);
        self.scratch = scratch;
        self.tell_end(conn);
    }

    fn hear_lines(&mut self, conn: ConnId, read: &[u8], limits: LineLimits) {
        let now = self.moment();
        let high_water = self.config.limits.high_water_bytes;
        let Some(connection) = self.slots.connection(conn) else { return };
        let has_ended = connection.hearing == Hearing::Ended;
        let room = high_water.saturating_sub(connection.owed());
        let newcomers_max = self.newcomers_max(conn);
        let Some(connection) = self.slots.connection(conn) else { return };
        // The buffer is borrowed from the connection while the core may want it closed.
        let mut inbox = connection.take_inbox();
        let was_partial = inbox.is_partial();
        if read.is_empty() && !was_partial {
            return;
        }
        let lines_max = self.work.lines_max(conn.door(), lines_alone(conn.door()));
        let mut lines =
            inbox.lines(read, limits).bounded(lines_max, room).introducing(newcomers_max);
        // A client's half-close stands for its last newline; a peer whose connection ends in the
        // middle of a line has not said it.
        if has_ended && conn.door() != Door::Peer {
            lines = lines.ended();
        }
        if connection.flags.heard != Heard::Line
            && conn.door() == Door::Client
            && let Some(other) = foreign::language(lines.bytes(), limits.line_bytes_max)
        {
            warn!("{conn} speaks {other} on the port for clients; nothing of it is taken");
            return self.kill(conn);
        }
        match conn.door() {
            Door::Admin => self.answer_admin(conn, &mut lines),
            _ => self.tell_lines(conn, &mut lines),
        }
        let outcome = lines.outcome();
        inbox.settle(read, outcome);
        self.work.heard(conn.door(), read.len(), outcome.taken);

        let Some(connection) = self.slots.connection(conn) else { return };
        connection.mark_line(was_partial, outcome.taken, now);
        connection.flags.lines_left = outcome.lines_left;
        let is_endless = inbox.is_endless(limits);
        connection.keep_inbox(inbox, &mut self.spare);
        connection.release(&mut self.spare);
        if is_endless {
            info!("{conn} sends a line without an end");
            self.kill(conn);
        }
    }

    /// How many clients may become known by a connection's lines. From where it has come is asked
    /// of the kernel, and only if it matters: an address kept for each would cost more memory.
    fn newcomers_max(&mut self, conn: ConnId) -> usize {
        let now = self.now.monotonic;
        if !self.newcomers.anybody_is_short(now) || conn.door() != Door::Client {
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
        let Some(connection) = self.slots.connection(conn) else { return };
        let over = matches!(connection.hearing, Hearing::Ended | Hearing::Stopped);
        if !over || connection.flags.lines_left {
            return;
        }
        connection.hearing = Hearing::Told;
        connection.take_inbox();
        connection.release(&mut self.spare);
        match conn.door() {
            Door::Admin => self.close_when_sent(conn),
            _ => self.tell(Input::Ended { conn }),
        }
    }

    fn answer_admin(&mut self, conn: ConnId, lines: &mut Lines<'_>) {
        if lines.take().is_none() {
            return;
        }
        lines.hold();
        let answer = admin::status_line(self);
        self.owe(conn, &answer);
        self.close_when_sent(conn);
    }

    pub(super) fn hold(&mut self, conn: ConnId) {
        if let Some(connection) = self.slots.connection(conn) {
            connection.flags.held = true;
        }
    }

    pub(super) fn resume(&mut self, conn: ConnId) {
        if let Some(connection) = self.slots.connection(conn) {
            connection.flags.held = false;
        }
        self.queue_if_unfinished(conn);
    }

    /// Reads what nobody wants any more, so that the close does not turn into a reset.
    fn linger(&mut self, conn: ConnId) {
        let now = self.moment();
        let mut scratch = std::mem::take(&mut self.scratch);
        if let Some(connection) = self.slots.connection(conn) {
            let (bytes, is_over) = match connection.fill(&mut scratch, now) {
                Filled::Bytes(count) => (count, connection.linger(count)),
                Filled::Nothing => (0, false),
                Filled::End | Filled::Broken(_) => (0, true),
            };
            self.trace.done(|| Note::Fill { conn, bytes: bytes as u32 });
            if is_over {
                self.kill(conn);
            }
        }
        self.scratch = scratch;
    }
}
