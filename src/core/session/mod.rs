//! One connection without its socket: the lines that have begun, the bytes to be sent, how far each
//! direction has come, and how long it may wait. Pure, like the rest of this crate: the reactor
//! drives a session with a socket, the simulator with a pipe, a test with a slice.
//!
//! ```text
//!   read  ──▶ received ──▶ inbox ──▶ Batch::lines ──▶ Input::Lines
//!   write ◀── to_send  ◀── outbox ◀── queue       ◀── Output::Send
//! ```
//!
//! ```text
//!               refused                                  all sent
//!   Connecting ─────────▶ dead        Open ──▶ Closing ──────────▶ Lingering ──▶ dead
//!       └───────────────────────────▶  │                               ▲
//!                connected             └── far end has closed, all sent ┴──────▶ dead
//! ```
//!
//! Reading and writing end independently. A client may half-close and still wait for its answers
//! (`Reading::Ended`); we may have sent our last word and still read, because a socket that is
//! closed with unread input resets the connection and takes the answer with it
//! (`Phase::Lingering`).
//!
//! A session decides nothing about lines and owns no queue: a driver asks `wants_turn` after
//! whatever it has told it, reads if it `wants_bytes`, hands the lines of a `Batch` to the server,
//! and writes what is `to_send`. Whose turn it is is the driver's business.

mod batch;
mod buffers;
mod close_reason;
mod deadline_scan;
mod leavers;
mod timeouts;
mod what_next;

pub use batch::Batch;
pub use buffers::BufferPool;
pub use close_reason::CloseReason;
pub use deadline_scan::DeadlineScan;
pub use leavers::Leavers;
pub use timeouts::{Expiry, Moment, Timeouts};
pub use what_next::{AfterTurn, AfterWrite, Farewell};

use crate::names::{ConnId, ConnKind, PeerId};
use crate::wire::line_buffer::LineBuffer;
use buffers::{Buffers, Outbox};

/// A hundred thousand of these may lie idle, so what they need only when they do not is elsewhere
/// (`buffers`).
pub struct Session {
    id: ConnId,
    /// Lent for as long as a line has begun, or something is to be sent.
    buffers: Option<Box<Buffers>>,
    phase: Phase,
    /// Whether more lines can come. A driver only looks; the methods change it.
    pub reading: Reading,
    /// What the driver notes for its next turn.
    pub flags: Flags,
    /// When anything last moved: bytes in or out, or the phase.
    active: Moment,
    /// When the line in the inbox began; for a connection that has said nothing, when it came.
    line_since: Moment,
}

const _: () = assert!(size_of::<Session>() == 40);

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Dialled, and not yet known to have succeeded.
    Connecting {
        /// The peer that we have dialled.
        peer: PeerId,
    },
    /// Lines are taken, and answers are sent.
    Open,
    /// To be closed once all is sent.
    Closing,
    /// Our last byte is sent; what comes is thrown away until the far end closes too, or has sent
    /// more than can be counted here, which is 64 KiB.
    Lingering {
        /// How many have come and were thrown away.
        bytes: u16,
    },
    /// Over: nothing is read or sent any more.
    Dead,
}

/// Whether more lines can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The far end may send more.
    Open,
    /// The far end will send no more, or has left a line unfinished for too long.
    Ended,
    /// We read no more, at the end of a line.
    Stopped,
    /// The server has been told.
    Reported,
}

/// What must be remembered of a connection between two turns.
///
/// Readiness is edge-triggered: a socket that was readable and has not been read empty will not be
/// reported again. `readable` is that memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// The socket may have bytes that were not read.
    pub readable: bool,
    /// A short read says nothing: read until there is nothing. The far end has closed its half, and
    /// that is seen behind the data only; or it has sent urgent data, where each read stops.
    pub read_on: bool,
    /// The kernel took no more; its next word will come as a writable event.
    pub write_blocked: bool,
    /// Whole lines lie in the inbox.
    pub lines_left: bool,
    /// The server takes no lines for now.
    pub paused: bool,
    /// In the driver's queue of those with work left.
    pub unfinished: bool,
    /// In the driver's queue of those with something to be sent.
    pub to_flush: bool,
    /// The server wants to know when all is sent.
    pub tell_flushed: bool,
    /// Decides how long we wait for more.
    pub received: Received,
    /// The far end's last byte has been read.
    pub end_seen: bool,
}

/// What was ever received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Received {
    /// Not one byte since the connection.
    #[default]
    Nothing,
    /// The first line is not over.
    Bytes,
    /// At least one line was taken.
    Line,
}

impl Session {
    /// A connection that was accepted, or one that was dialled (`Phase::Connecting`).
    pub fn new(id: ConnId, phase: Phase, now: Moment) -> Session {
        Session {
            id,
            buffers: None,
            phase,
            reading: Reading::Open,
            flags: Flags::default(),
            active: now,
            line_since: now,
        }
    }

    /// Its name, which also says what kind of connection it is.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// When anything last moved: bytes in or out, or the phase.
    pub fn last_active(&self) -> Moment {
        self.active
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it is over: nothing is read or sent any more.
    pub fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    /// Whether there is anything left to be taken from this connection: lines, bytes, or the news
    /// that no more will come. If not, only an event brings it a turn.
    fn has_input(&self) -> bool {
        let can_read = self.flags.readable && self.reading == Reading::Open;
        self.flags.lines_left || can_read || self.is_end_unreported()
    }

    /// Whether a turn would bring this connection further: lines wait to be taken, or bytes to be
    /// read, and neither the server nor a full outbox holds them back.
    #[inline]
    pub fn wants_turn(&self, high_water_bytes: usize) -> bool {
        if self.phase != Phase::Open {
            return self.is_lingering() && self.flags.readable;
        }
        // Peers are read whatever is to be sent to them: two that owe each other much would wait
        // for each other. What they are owed has a bound of its own (`link`).
        let has_room =
            || self.queued_bytes() <= high_water_bytes || self.id.kind().is_bounded_by_core();
        self.has_input() && !self.flags.paused && has_room()
    }

    /// Whether the connection must now join the driver's queue of those with work left: it wants
    /// a turn, and no event will bring one.
    #[inline]
    pub fn join_unfinished(&mut self, high_water_bytes: usize) -> bool {
        let joins = !self.flags.unfinished && self.wants_turn(high_water_bytes);
        self.flags.unfinished |= joins;
        joins
    }

    /// Begins a turn, if there is reason for one.
    #[inline]
    pub fn begin_turn(&mut self, high_water_bytes: usize) -> bool {
        self.flags.unfinished = false;
        self.wants_turn(high_water_bytes)
    }

    /// What comes after a turn in which lines were taken. A session that is to have another
    /// turn counts as queued from now on.
    #[inline(always)]
    pub fn end_turn(&mut self, pool: &mut BufferPool, high_water_bytes: usize) -> AfterTurn {
        if !self.has_input() {
            AfterTurn::Wait
        } else if self.take_end(pool) {
            AfterTurn::TellEnd
        } else if self.join_unfinished(high_water_bytes) {
            AfterTurn::TakeTurn
        } else {
            AfterTurn::Wait
        }
    }

    // ---- bytes come ----

    /// Whether this turn begins with a read. Lines that were left from before come first.
    pub fn wants_bytes(&self) -> bool {
        let is_open = self.phase == Phase::Open && self.reading == Reading::Open;
        is_open && !self.flags.lines_left || self.is_lingering()
    }

    fn is_lingering(&self) -> bool {
        matches!(self.phase, Phase::Lingering { .. })
    }

    /// So many bytes were read, and perhaps there are more.
    pub fn received(&mut self, count: usize, is_full: bool, now: Moment) {
        self.flags.readable = is_full || self.flags.read_on;
        if self.phase == Phase::Open {
            // After our last word, dripping buys no time.
            self.active = now;
        }
        if self.flags.received == Received::Nothing && count > 0 {
            self.flags.received = Received::Bytes;
        }
    }

    /// There was nothing to be read.
    pub fn received_nothing(&mut self) {
        self.flags.readable = false;
    }

    /// The far end will send no more.
    pub fn received_end(&mut self) {
        self.flags.readable = false;
        self.flags.end_seen = true;
        if self.reading == Reading::Open {
            self.reading = Reading::Ended;
        }
    }

    /// A line that was begun and not ended is taken for whole, as at a half-close.
    pub fn end_partial_line(&mut self) {
        self.reading = Reading::Ended;
    }

    /// No more lines are taken than have come whole.
    pub fn stop_reading(&mut self) {
        if self.reading == Reading::Open {
            self.reading = Reading::Stopped;
        }
    }

    /// Whether the server must now be told that no more lines will come: they have, and all were
    /// taken. True once.
    #[inline]
    pub fn take_end(&mut self, pool: &mut BufferPool) -> bool {
        let is_due = self.is_end_unreported() && !self.flags.lines_left;
        if is_due {
            self.reading = Reading::Reported;
            self.drop_inbox();
            self.release(pool);
        }
        is_due
    }

    fn is_end_unreported(&self) -> bool {
        matches!(self.reading, Reading::Ended | Reading::Stopped)
    }

    /// Counts bytes that came after our last word. Says whether there were too many.
    pub fn linger(&mut self, count: usize) -> bool {
        let Phase::Lingering { bytes } = &mut self.phase else { return false };
        let sum = u16::try_from(count).ok().and_then(|count| bytes.checked_add(count));
        sum.map(|sum| *bytes = sum).is_none()
    }

    /// Whether something has begun to come and is not whole.
    pub fn has_begun_line(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.inbox.is_partial())
    }

    fn drop_inbox(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.inbox = LineBuffer::default();
        }
    }

    // ---- bytes leave ----

    /// Bytes that are to be sent.
    pub fn queued_bytes(&self) -> usize {
        self.outbox().map_or(0, Outbox::len)
    }

    /// Puts a text behind what is already to be sent.
    #[inline]
    pub fn queue(&mut self, text: &[u8], pool: &mut BufferPool, now: Moment) {
        let outbox = &mut self.buffers.get_or_insert_with(|| pool.lend()).outbox;
        if outbox.len() == 0 {
            outbox.moved = now;
        }
        outbox.push(text);
    }

    /// Bytes that may leave now: the others wait until what they rest on is kept.
    pub fn free_bytes(&self) -> usize {
        self.outbox().map_or(0, Outbox::sendable_len)
    }

    /// Holds what was queued since this was last asked. Says how many bytes that are.
    pub fn hold_answers(&mut self) -> usize {
        self.buffers.as_mut().map_or(0, |buffers| buffers.outbox.hold_new())
    }

    /// What is queued may leave, as far as it goes by now.
    pub fn free_answers(&mut self) {
        if let Some(buffers) = &mut self.buffers {
            buffers.outbox.release_all();
        }
    }

    /// What was queued since it was last settled whether it is held.
    pub fn unsettled(&self) -> &[u8] {
        self.outbox().map_or(&[], Outbox::unsettled)
    }

    /// So many of the held bytes may leave. Gives them.
    pub fn free_held(&mut self, count: usize, now: Moment) -> &[u8] {
        let Some(buffers) = &mut self.buffers else { return &[] };
        if buffers.outbox.sendable_len() == 0 {
            buffers.outbox.moved = now;
        }
        buffers.outbox.release(count)
    }

    /// What is to be sent next, at most so many bytes of it.
    pub fn to_send(&self, bytes_max: usize) -> &[u8] {
        self.outbox().map_or(&[], |outbox| outbox.next(bytes_max))
    }

    /// The far end, or the kernel, has taken so many bytes.
    pub fn sent(&mut self, count: usize, now: Moment) {
        if let Some(buffers) = &mut self.buffers {
            buffers.outbox.advance(count);
            buffers.outbox.moved = now;
            self.active = now;
        }
    }

    /// A pass of writing is over, because all is sent, the pass was long enough, or no more was
    /// taken.
    pub fn end_writing(&mut self, is_blocked: bool) {
        self.flags.write_blocked = is_blocked;
        if let Some(buffers) = &mut self.buffers {
            buffers.outbox.compact(|| self.id.kind().is_bounded_by_core());
        }
    }

    /// What comes after a pass of writing. Perhaps there is room again, and no one has said so yet:
    /// then nothing else brings back the rest, or the lines that waited for it to shrink.
    #[inline(always)]
    pub fn after_write(&mut self, pool: &mut BufferPool, high_water_bytes: usize) -> AfterWrite {
        self.release(pool);
        AfterWrite {
            must_flush: self.join_flush(),
            must_serve: self.join_unfinished(high_water_bytes),
            may_be_over: self.phase == Phase::Closing,
        }
    }

    /// Whether the connection must now join the driver's queue of those to be flushed: something is
    /// to be sent, or the server to be told that all is, and nobody else will bring it back.
    #[inline]
    pub fn join_flush(&mut self) -> bool {
        let has_work = self.free_bytes() > 0 || self.flags.tell_flushed;
        let joins = has_work && !self.flags.to_flush && !self.flags.write_blocked;
        self.flags.to_flush |= joins;
        joins
    }

    /// Whether the server must now be told that all is sent. True once.
    pub fn take_drained(&mut self) -> bool {
        self.queued_bytes() == 0 && std::mem::take(&mut self.flags.tell_flushed)
    }

    /// Gives the buffers back if nothing is in them, unless they are a peer's or an engine's.
    #[inline(always)]
    pub fn release(&mut self, pool: &mut BufferPool) {
        if !self.id.kind().is_bounded_by_core()
            && let Some(buffers) = self.buffers.take_if(|buffers| buffers.are_empty())
        {
            pool.take_back(buffers);
        }
    }

    /// The invariant of `Buffers`: if any are lent to it, there is something in them or it keeps
    /// them.
    pub fn owns_no_empty_buffers(&self) -> bool {
        let keeps = self.id.kind().is_bounded_by_core();
        self.buffers.as_ref().is_none_or(|buffers| keeps || !buffers.are_empty())
    }

    fn outbox(&self) -> Option<&Outbox> {
        self.buffers.as_ref().map(|buffers| &buffers.outbox)
    }

    // ---- beginning and end ----

    /// The dial is through.
    pub fn open(&mut self, now: Moment) {
        self.phase = Phase::Open;
        self.active = now;
        self.line_since = now;
    }

    /// Begins to close an open connection: what is queued is still sent.
    pub fn close_when_sent(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
    }

    /// What is to be done once all is sent of a connection that is to be closed; `None` while it is
    /// not, or something is still to be sent. What was read before and what comes from now on is
    /// thrown away.
    pub fn take_farewell(&mut self, pool: &mut BufferPool, now: Moment) -> Option<Farewell> {
        if self.phase != Phase::Closing || self.queued_bytes() > 0 {
            return None;
        }
        if self.flags.end_seen {
            return Some(Farewell::Close);
        }
        self.phase = Phase::Lingering { bytes: 0 };
        self.active = now;
        self.drop_inbox();
        self.release(pool);
        Some(Farewell::Linger)
    }

    /// Ends it at once, whatever is still to be sent.
    pub fn die(&mut self) {
        self.phase = Phase::Dead;
    }

    /// When this connection has waited for too long, and for what; `None` while it may wait as long
    /// as it likes.
    pub fn deadline(&self, timeouts: &Timeouts) -> Option<(Moment, Expiry)> {
        match self.phase {
            Phase::Connecting { .. } => Some((self.active + timeouts.dial, Expiry::Dial)),
            Phase::Lingering { .. } => Some((self.active + timeouts.linger, Expiry::Linger)),
            Phase::Dead => None,
            // Where nothing is to be sent, the last answer is still being looked for: that has a
            // deadline of its own.
            Phase::Closing => self.writing_deadline(timeouts),
            // What the far end says does not excuse what it does not take, nor the reverse.
            Phase::Open => {
                let both = [self.writing_deadline(timeouts), self.reading_deadline(timeouts)];
                both.into_iter().flatten().min_by_key(|(at, _)| *at)
            }
        }
    }

    fn writing_deadline(&self, timeouts: &Timeouts) -> Option<(Moment, Expiry)> {
        let outbox = self.outbox().filter(|outbox| outbox.sendable_len() > 0)?;
        Some((outbox.moved + timeouts.write_stall, Expiry::WriteStall))
    }

    fn reading_deadline(&self, timeouts: &Timeouts) -> Option<(Moment, Expiry)> {
        match self.id.kind() {
            // Links are looked after by the server: greetings, pings.
            ConnKind::Peer | ConnKind::Engine => None,
            ConnKind::Course if self.queued_bytes() > 0 => None,
            ConnKind::Course => Some((self.active + timeouts.linger, Expiry::Linger)),
            _ if self.reading != Reading::Open || self.flags.paused => None,
            // More has come than was read, or an answer is held: it waits for us.
            _ if self.flags.unfinished || self.flags.readable => None,
            _ if self.free_bytes() < self.queued_bytes() => None,
            _ if self.flags.received == Received::Nothing => {
                Some((self.line_since + timeouts.first_byte, Expiry::FirstByte))
            }
            _ if self.has_begun_line() && !self.flags.lines_left => {
                Some((self.line_since + timeouts.partial_line, Expiry::PartialLine))
            }
            // It says itself how long it may be silent; its driver sees to that.
            ConnKind::Mqtt => None,
            // What has come may have waited for us for longer: it is idle since we took that.
            _ => Some((self.active.max(self.line_since) + timeouts.idle, Expiry::Idle)),
        }
    }
}

#[cfg(test)]
mod tests;
