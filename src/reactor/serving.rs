//! A connection's turn: admit, read, owe, write, close. Apart from the loop because the loop asks
//! only whose turn it is; apart from `connection` because here the connection meets the core.
//!
//! Each turn of a connection is bounded: one read, so many lines, one write of so many bytes. A
//! client that pipelines a gigabyte gets its share of each turn, and so does everyone else.
//!
//! asyncio has no such budget: `_read_ready` takes 256 KiB and the coroutine handles all of it.

use log::{debug, info, warn};
use mio::event::Event;

use super::connection::{Connection, Filled, Flushed, Hearing, Phase};
use super::listener::{Accepted, Arrival};
use super::{Due, FLUSH_EARLY, Mail, Reactor, Slot, admin, traffic};
use crate::core::border::{Input, Note};
use crate::core::line::{LineLimits, Lines};
use crate::core::names::{ConnId, Door};

/// Connections accepted at one door in one turn.
const ACCEPTS_MAX: usize = 32;
/// Lines taken from one connection in one turn.
const LINES_MAX: usize = 256;

impl Reactor {
    pub(super) fn on_ready(&mut self, slot: usize, event: &Event) {
        let conn = match self.slots.at(slot) {
            Some(Slot::Listener(_)) => return self.take_turn(slot),
            Some(Slot::Connection(connection)) => {
                connection.flags.read_closed |= event.is_read_closed() || event.is_error();
                connection.flags.readable |= event.is_readable() || connection.flags.read_closed;
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
        self.take_turn(slot);
    }

    /// Gives whoever lives at this place a turn.
    pub(super) fn take_turn(&mut self, slot: usize) {
        let high_water = self.config.limits.high_water_bytes;
        match self.slots.at(slot) {
            Some(Slot::Listener(listener)) => {
                listener.queued = false;
                self.accept(slot);
            }
            Some(Slot::Connection(connection)) => {
                connection.flags.queued = false;
                if !connection.wants_turn(high_water) {
                    return;
                }
                let (conn, phase) = (connection.id(), connection.phase());
                match phase {
                    Phase::Open => self.hear(conn),
                    _ => self.linger(conn),
                }
                self.queue_if_unfinished(conn);
            }
            None => {}
        }
    }

    /// Remembers a connection with work left, because no event will.
    pub(super) fn queue_if_unfinished(&mut self, conn: ConnId) {
        let high_water = self.config.limits.high_water_bytes;
        let Some(connection) = self.slots.connection(conn) else { return };
        if connection.wants_turn(high_water) && !connection.flags.queued {
            connection.flags.queued = true;
            self.unfinished.push_back(conn.slot());
        }
    }

    fn accept(&mut self, slot: usize) {
        let now = self.moment();
        for _ in 0..ACCEPTS_MAX {
            let full = self.is_full();
            let Some(Slot::Listener(listener)) = self.slots.at(slot) else { return };
            let door = listener.door();
            listener.is_full = full && door == Door::Client;
            if listener.is_full {
                return;
            }
            match listener.accept(now) {
                Accepted::Arrived(arrival) => self.admit(door, arrival),
                Accepted::Nobody => return,
                Accepted::Exhausted { error, wait, is_first } => {
                    if is_first {
                        warn!("cannot accept: {error}; whoever comes waits, and is accepted later");
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
            self.unfinished.push_back(slot);
        }
    }

    /// At the cap, whoever comes waits in the kernel's backlog.
    fn is_full(&self) -> bool {
        self.slots.alive(Door::Client) >= self.connections_max
    }

    /// Accepts again at doors that were full, once a tenth of the places is free. Nobody would
    /// tell us that people are waiting there.
    pub(super) fn open_doors_again(&mut self) {
        if self.slots.alive(Door::Client) > self.connections_max * 9 / 10 {
            return;
        }
        let door = self.doors.client;
        if let Some(Slot::Listener(listener)) = self.slots.at(door)
            && listener.is_full
            && !listener.queued
        {
            listener.is_full = false;
            listener.queued = true;
            self.unfinished.push_back(door);
        }
    }

    fn admit(&mut self, door: Door, arrival: Arrival) {
        let now = self.moment();
        let (admitted, from) = match arrival {
            Arrival::Tcp(stream, from) => {
                let make = |id| Connection::tcp(id, stream, Phase::Open, now);
                (self.slots.admit(door, make), Some(from))
            }
            Arrival::Unix(stream) => {
                (self.slots.admit(door, |id| Connection::unix(id, stream, now)), None)
            }
        };
        let Some(conn) = admitted.filter(|&conn| self.register(conn)) else { return };
        match from {
            Some(from) => info!("{conn} has come from {from}"),
            None => debug!("{conn} has come"),
        }
        self.tell(Input::Accepted { conn });
    }

    /// Makes a new connection known to the kernel and to the wheel. Says whether that worked.
    pub(super) fn register(&mut self, conn: ConnId) -> bool {
        let Some(connection) = self.slots.connection(conn) else { return false };
        if let Err(error) = connection.register(self.poll.registry()) {
            warn!("{conn} cannot be watched: {error}");
            self.kill(conn);
            return false;
        }
        self.look(conn);
        true
    }

    /// Ends a connection whose patience has ended, else looks again later.
    pub(super) fn look(&mut self, conn: ConnId) {
        let moment = self.moment();
        let latest = self.now.monotonic + self.patience.look_every();
        let Some(connection) = self.slots.connection(conn) else { return };
        let due = match connection.deadline(&self.patience) {
            Some((deadline, why)) if deadline <= moment => {
                info!("{conn} {why}");
                return self.give_up(conn);
            }
            Some((deadline, _)) => deadline.as_duration().min(latest),
            None => latest,
        };
        self.wheel.start(due, Due::Look(conn));
    }

    fn give_up(&mut self, conn: ConnId) {
        let Some(connection) = self.slots.connection(conn) else { return };
        match connection.phase() {
            Phase::Connecting { peer } => self.dial_over(conn, peer, "no answer in time"),
            _ => self.kill(conn),
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
            match connection.fill(&mut scratch, now) {
                Filled::Bytes(bytes) => count = bytes,
                Filled::Nothing => {}
                Filled::End => connection.hearing = Hearing::Ended,
                Filled::Broken(error) => {
                    debug!("{conn} broke: {error}");
                    self.kill(conn);
                }
            }
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
        let was_partial = connection.inbox.is_partial();
        let room = high_water.saturating_sub(connection.owed());
        if read.is_empty() && !was_partial {
            return;
        }
        // The buffer is borrowed from the connection while the core may want it closed.
        let mut inbox = std::mem::take(&mut connection.inbox);
        let mut lines = inbox.lines(read, limits).bounded(LINES_MAX, room);
        if has_ended {
            lines = lines.ended();
        }
        match conn.door() {
            Door::Admin => self.answer_admin(conn, &mut lines),
            _ => self.tell_lines(conn, &mut lines),
        }
        let outcome = lines.outcome();
        inbox.settle(read, outcome);

        let Some(connection) = self.slots.connection(conn) else { return };
        connection.mark_line(was_partial && outcome.taken == 0, now);
        connection.flags.lines_left = outcome.lines_left;
        connection.flags.held |= outcome.held;
        let is_endless = inbox.is_endless(limits);
        connection.inbox = inbox;
        if is_endless {
            info!("{conn} sends a line without an end");
            self.kill(conn);
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
        connection.inbox = Default::default();
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

    /// Puts a text into a connection's outbox. It leaves when the turn ends.
    pub(super) fn owe(&mut self, conn: ConnId, text: &[u8]) {
        let now = self.moment();
        let owed_max = match conn.door() {
            Door::Peer => 2 * self.config.limits.peer_outbox_bytes_max,
            _ => self.config.limits.outbox_bytes_max,
        };
        let Some(connection) = self.slots.connection(conn) else { return };
        if traffic::is_logged() && conn.door() != Door::Admin {
            traffic::log_out(conn, text);
        }
        connection.owe(text, &mut self.spare, now);
        let owed = connection.owed();
        self.mark_owing(conn);
        if owed > FLUSH_EARLY {
            self.write(conn);
        }
        if self.slots.connection(conn).is_some_and(|connection| connection.owed() > owed_max) {
            warn!("{conn} is owed more than {owed_max} bytes and does not read");
            self.kill(conn);
        }
    }

    fn mark_owing(&mut self, conn: ConnId) {
        let Some(connection) = self.slots.connection(conn) else { return };
        if connection.owed() > 0 && !connection.flags.owing && !connection.flags.write_blocked {
            connection.flags.owing = true;
            self.owing.push_back(conn);
        }
    }

    /// Writes what a connection is owed, and does what had to wait for that.
    pub(super) fn flush(&mut self, conn: ConnId) {
        if let Some(connection) = self.slots.connection(conn) {
            connection.flags.owing = false;
        }
        self.write(conn);
        self.mark_owing(conn);
        self.queue_if_unfinished(conn);
        self.empty_mailbox();
    }

    fn write(&mut self, conn: ConnId) {
        let now = self.moment();
        let Some(connection) = self.slots.connection(conn) else { return };
        if connection.owed() == 0 {
            return;
        }
        match connection.flush(now) {
            Flushed::All => {
                connection.recycle(&mut self.spare);
                if std::mem::take(&mut connection.flags.tell_drained) {
                    self.mailbox.push_back(Mail::Drained { conn });
                }
                self.update_interest(conn);
                self.close_if_sent(conn);
            }
            Flushed::Partly => self.update_interest(conn),
            Flushed::Broken(error) => {
                debug!("{conn} broke: {error}");
                self.kill(conn);
            }
        }
    }

    fn update_interest(&mut self, conn: ConnId) {
        let Some(connection) = self.slots.connection(conn) else { return };
        if let Err(error) = connection.reregister(self.poll.registry()) {
            warn!("{conn} cannot be watched: {error}");
            self.kill(conn);
        }
    }

    pub(super) fn resume(&mut self, conn: ConnId) {
        if let Some(connection) = self.slots.connection(conn) {
            connection.flags.held = false;
        }
        self.queue_if_unfinished(conn);
    }

    pub(super) fn tell_when_drained(&mut self, conn: ConnId) {
        let Some(connection) = self.slots.connection(conn) else { return };
        match connection.owed() {
            0 => self.mailbox.push_back(Mail::Drained { conn }),
            _ => connection.flags.tell_drained = true,
        }
    }

    pub(super) fn close_when_sent(&mut self, conn: ConnId) {
        let Some(connection) = self.slots.connection(conn) else { return };
        connection.close_when_sent();
        self.close_if_sent(conn);
    }

    fn close_if_sent(&mut self, conn: ConnId) {
        let now = self.moment();
        let Some(connection) = self.slots.connection(conn) else { return };
        if connection.phase() != Phase::Closing || connection.owed() > 0 {
            return;
        }
        if connection.say_last_word(now) {
            return self.kill(conn);
        }
        // What was read before and what comes from now on is thrown away.
        connection.inbox = Default::default();
        if let Some((deadline, _)) = connection.deadline(&self.patience) {
            self.wheel.start(deadline.as_duration(), Due::Look(conn));
        }
        self.queue_if_unfinished(conn);
    }

    /// Reads what nobody wants any more, so that the close does not turn into a reset.
    fn linger(&mut self, conn: ConnId) {
        let now = self.moment();
        let mut scratch = std::mem::take(&mut self.scratch);
        if let Some(connection) = self.slots.connection(conn) {
            let is_over = match connection.fill(&mut scratch, now) {
                Filled::Bytes(count) => connection.linger(count),
                Filled::Nothing => false,
                // Still owed something, and the far end may well be reading.
                Filled::End => connection.phase() == Phase::Lingering,
                Filled::Broken(_) => true,
            };
            if is_over {
                self.kill(conn);
            }
        }
        self.scratch = scratch;
    }

    /// Ends a connection now. The core hears of it; its slot is freed when the turn ends.
    pub(super) fn kill(&mut self, conn: ConnId) {
        if !self.slots.kill(conn) {
            return;
        }
        match conn.door() {
            Door::Admin => debug!("{conn} has gone"),
            _ => info!("{conn} has gone"),
        }
        self.mailbox.push_back(Mail::Closed { conn });
    }

    pub(super) fn log_note(&self, note: Note) {
        let name = |peer: crate::core::names::PeerId| &self.config.peers[usize::from(peer.0)].name;
        match note {
            Note::PeerUp { peer, conn } => info!("peer {} has joined on {conn}", name(peer)),
            Note::PeerDown { peer, conn, why } => {
                warn!("peer {} has left {conn}: {why}", name(peer));
            }
            Note::PeerUnreachable { peer } => {
                warn!("peer {} cannot be reached; dialling on", name(peer));
            }
            Note::Refused { conn, why } => warn!("{conn} is refused: {why}"),
            Note::PeerBehind { peer } => {
                warn!("peer {} reads slowly; what it misses is sent later", name(peer));
            }
            Note::PlainOverflow { peer } => {
                warn!("peer {} was away for too long and will miss reports", name(peer));
            }
        }
    }
}
