//! One socket's life, and what it waits for. Apart because everything here is about a single
//! connection; which of them has its turn is the loop's business, what its lines mean is the
//! core's, and where its bytes wait is in `buffers`.
//!
//! ```text
//!               refused                                  all sent
//!   Connecting ─────────▶ dead        Open ──▶ Closing ──────────▶ Lingering ──▶ dead
//!       └───────────────────────────▶  │                               ▲
//!                connected             └── far end has closed, all sent ┴──────▶ dead
//! ```
//!
//! Reading and writing end independently. A client may half-close and still wait for its
//! answers (`Hearing::Ended`); we may have sent our last word and still read, because a socket
//! that is closed with unread input resets the connection and takes the answer with it
//! (`Phase::Lingering`).

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use super::buffers::{Buffers, Spare};
use super::deadlines::{Moment, Patience};
use herd_core::line::LineBuffer;
use herd_core::names::{ConnId, Door, PeerId};

/// Bytes written for one connection in one turn; the rest waits for the next.
const WRITE_BUDGET: usize = 256 * 1024;

/// Why a line is taken that has no end: somebody waits for its answer who sends no newline.
pub const UNFINISHED_LINE: &str = "began a line and did not end it";

/// News of input, urgent data among it where the kernel tells.
#[cfg(any(target_os = "linux", target_os = "android"))]
const INPUT: Interest = Interest::READABLE.add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const INPUT: Interest = Interest::READABLE;

/// A hundred thousand of these may lie idle, so what they need only when they do not is elsewhere
/// (`slots` has the figure).
pub struct Connection {
    id: ConnId,
    socket: Socket,
    /// Lent for as long as a line has begun, or something is owed.
    buffers: Option<Box<Buffers>>,
    phase: Phase,
    pub hearing: Hearing,
    pub flags: Flags,
    /// When anything last moved: bytes in or out, or the phase.
    active: Moment,
    /// When the line in the inbox began; for a connection that has said nothing, when it came.
    line_since: Moment,
    registered: Interest,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Dialled, and not yet known to have succeeded.
    Connecting {
        peer: PeerId,
    },
    Open,
    /// To be closed once all is sent.
    Closing,
    /// We have said our last word; what comes is thrown away until the far end closes too, or
    /// has sent more than can be counted here, which is 64 KiB.
    Lingering {
        bytes: u16,
    },
    Dead,
}

/// Whether more lines can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    Open,
    /// The far end has said that it will send no more, or has left a line unfinished for too long.
    Ended,
    /// We have stopped listening, at the end of a line.
    Stopped,
    /// The core knows.
    Told,
}

/// What the loop must remember of a connection between two turns.
///
/// mio tells news, not state: a socket that was readable and has not been read empty will not
/// be reported again. `readable` is that memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    pub readable: bool,
    /// A short read says nothing: read until there is nothing. The far end has closed its half, and
    /// that is seen behind the data only; or it has sent urgent data, where each read stops.
    pub read_on: bool,
    /// The kernel took no more; its next word will come as a writable event.
    pub write_blocked: bool,
    /// Whole lines lie in the inbox.
    pub lines_left: bool,
    /// The core takes no lines for now.
    pub held: bool,
    /// In the queue of the unfinished.
    pub queued: bool,
    /// In the list of those who are owed something.
    pub owing: bool,
    /// The core wants to know when nothing is owed.
    pub tell_drained: bool,
    pub heard: Heard,
    /// The far end's last byte has been read.
    pub end_seen: bool,
}

/// What was ever received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heard {
    #[default]
    Nothing,
    /// The first line is not over.
    Bytes,
    Line,
}

/// What came of a read.
pub enum Filled {
    /// So many bytes.
    Bytes(usize),
    Nothing,
    /// The far end will send no more.
    End,
    Broken(io::Error),
}

/// What came of a write.
pub enum Flushed {
    /// Nothing is owed any more.
    All,
    /// The kernel takes no more for now, or the turn's budget is used up.
    Partly,
    Broken(io::Error),
}

impl Connection {
    pub fn tcp(id: ConnId, stream: TcpStream, phase: Phase, now: Moment) -> Connection {
        Connection::new(id, Socket::Tcp(stream), phase, now)
    }

    pub fn unix(id: ConnId, stream: UnixStream, now: Moment) -> Connection {
        Connection::new(id, Socket::Unix(stream), Phase::Open, now)
    }

    fn new(id: ConnId, socket: Socket, phase: Phase, now: Moment) -> Connection {
        Connection {
            id,
            socket,
            buffers: None,
            phase,
            hearing: Hearing::Open,
            flags: Flags::default(),
            active: now,
            line_since: now,
            registered: INPUT,
        }
    }

    pub fn id(&self) -> ConnId {
        self.id
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    pub fn owed(&self) -> usize {
        self.buffers.as_ref().map_or(0, |buffers| buffers.outbox.owed())
    }

    /// Whether a turn would bring this connection further: lines wait to be taken, or bytes to
    /// be read, and neither the core nor a full outbox holds them back.
    pub fn wants_turn(&self, high_water: usize) -> bool {
        match self.phase {
            Phase::Open => {
                let end_untold = matches!(self.hearing, Hearing::Ended | Hearing::Stopped);
                let can_hear = self.flags.readable && self.hearing == Hearing::Open;
                // Peers are heard whatever they are owed: two that owe each other much would wait
                // for each other. What they are owed has a bound of its own (`core::link`).
                let has_room = self.id.door() == Door::Peer || self.owed() <= high_water;
                let is_free = !self.flags.held && has_room;
                is_free && (self.flags.lines_left || can_hear || end_untold)
            }
            Phase::Lingering { .. } => self.flags.readable,
            Phase::Connecting { .. } | Phase::Closing | Phase::Dead => false,
        }
    }

    /// What we ask the kernel to tell us: a pure function of the connection. News of input is
    /// always welcome; it is remembered, not acted upon, while reading is held back. Room for
    /// output matters only while a dial is under way or the kernel has refused to take more.
    fn interest(&self) -> Interest {
        let waits_for_room = self.flags.write_blocked && self.owed() > 0;
        match self.phase {
            Phase::Connecting { .. } => INPUT | Interest::WRITABLE,
            _ if waits_for_room => INPUT | Interest::WRITABLE,
            _ => INPUT,
        }
    }

    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        let (token, interest) = (Token(self.id.slot()), self.interest());
        self.registered = interest;
        registry.register(self.source(), token, interest)
    }

    /// Tells the kernel if what we wait for has changed. Nearly always it has not, and there is
    /// no system call.
    pub fn reregister(&mut self, registry: &Registry) -> io::Result<()> {
        let (token, interest) = (Token(self.id.slot()), self.interest());
        if interest == self.registered {
            return Ok(());
        }
        self.registered = interest;
        registry.reregister(self.source(), token, interest)
    }

    fn source(&mut self) -> &mut dyn Source {
        match &mut self.socket {
            Socket::Tcp(stream) => stream,
            Socket::Unix(stream) => stream,
        }
    }

    /// Reads once. A short read empties the socket as surely as one that finds nothing
    /// (epoll(7), "edge-triggered"), and saves that second call. But an end behind the data is
    /// seen only by reading again, and urgent data ends a read before the data does (tcp(7)); so
    /// when an event has announced one of them, we do.
    ///
    /// asyncio: _SelectorSocketTransport._read_ready__data_received, one `recv` of 256 KiB.
    pub fn fill(&mut self, scratch: &mut [u8], now: Moment) -> Filled {
        loop {
            let read = match &mut self.socket {
                Socket::Tcp(stream) => stream.read(scratch),
                Socket::Unix(stream) => stream.read(scratch),
            };
            match read {
                Ok(0) => {
                    self.flags.readable = false;
                    self.flags.end_seen = true;
                    return Filled::End;
                }
                Ok(count) => {
                    self.flags.readable = count == scratch.len() || self.flags.read_on;
                    if self.phase == Phase::Open {
                        // After our last word, dripping buys no time.
                        self.active = now;
                    }
                    if self.flags.heard == Heard::Nothing {
                        self.flags.heard = Heard::Bytes;
                    }
                    return Filled::Bytes(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.flags.readable = false;
                    return Filled::Nothing;
                }
                Err(error) => return Filled::Broken(error),
            }
        }
    }

    /// So many lines were taken: notes when the line that is now in the inbox began.
    pub fn mark_line(&mut self, was_partial: bool, taken: usize, now: Moment) {
        if taken > 0 {
            self.flags.heard = Heard::Line;
        }
        if !was_partial || taken > 0 {
            self.line_since = now;
        }
    }

    /// The line that has begun, to be lengthened; what is left of it comes back by `keep_inbox`.
    pub fn take_inbox(&mut self) -> LineBuffer {
        self.buffers.as_mut().map(|buffers| std::mem::take(&mut buffers.inbox)).unwrap_or_default()
    }

    pub fn keep_inbox(&mut self, inbox: LineBuffer, spare: &mut Spare) {
        if inbox.is_partial() {
            self.buffers.get_or_insert_with(|| spare.lend()).inbox = inbox;
        }
    }

    /// Puts a text behind what is already owed.
    pub fn owe(&mut self, text: &[u8], spare: &mut Spare, now: Moment) {
        let outbox = &mut self.buffers.get_or_insert_with(|| spare.lend()).outbox;
        if outbox.owed() == 0 {
            outbox.moved = now;
        }
        outbox.push(text);
    }

    /// Gives the buffers back if nothing is in them.
    pub fn release(&mut self, spare: &mut Spare) {
        if let Some(buffers) = self.buffers.take_if(|buffers| buffers.are_empty()) {
            spare.take_back(buffers);
        }
    }

    /// Writes what is owed, as far as the kernel takes it. Says how many bytes that
    /// were, and what came of it.
    ///
    /// asyncio: _SelectorSocketTransport._write_ready.
    pub fn flush(&mut self, now: Moment) -> (usize, Flushed) {
        let Some(outbox) = self.buffers.as_mut().map(|buffers| &mut buffers.outbox) else {
            return (0, Flushed::All);
        };
        let mut budget = WRITE_BUDGET;
        while outbox.owed() > 0 && budget > 0 {
            let piece = outbox.next(budget);
            let written = match &mut self.socket {
                Socket::Tcp(stream) => stream.write(piece),
                Socket::Unix(stream) => stream.write(piece),
            };
            match written {
                Ok(count) => {
                    outbox.advance(count);
                    outbox.moved = now;
                    self.active = now;
                    budget -= count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.flags.write_blocked = true;
                    outbox.compact();
                    return (WRITE_BUDGET - budget, Flushed::Partly);
                }
                Err(error) => return (WRITE_BUDGET - budget, Flushed::Broken(error)),
            }
        }
        self.flags.write_blocked = false;
        outbox.compact();
        let flushed = if outbox.owed() == 0 { Flushed::All } else { Flushed::Partly };
        (WRITE_BUDGET - budget, flushed)
    }

    /// Where the far end is, an address of IPv4 as such; nowhere for a Unix socket.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        match &self.socket {
            Socket::Tcp(stream) => {
                stream.peer_addr().ok().map(|address| address.ip().to_canonical())
            }
            Socket::Unix(_) => None,
        }
    }

    /// The ports of the two ends, ours first; none for a Unix socket.
    pub fn ports(&self) -> Option<[u16; 2]> {
        let Socket::Tcp(stream) = &self.socket else { return None };
        Some([stream.local_addr().ok()?.port(), stream.peer_addr().ok()?.port()])
    }

    /// Whether a dial has come back to itself: to a port from which the system lets connections go
    /// out, with nobody listening there, it may give that very port (RFC 9293, simultaneous open).
    pub fn is_its_own_peer(&self) -> bool {
        let Socket::Tcp(stream) = &self.socket else { return false };
        matches!((stream.local_addr(), stream.peer_addr()), (Ok(one), Ok(other)) if one == other)
    }

    /// Ends in a reset, so that the port is free at once.
    pub fn reset_when_dropped(&self) {
        if let Socket::Tcp(stream) = &self.socket {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Is the dial through? The three questions of a non-blocking connect: is there an error, is
    /// there somebody at the far end, and if neither, ask again at the next event.
    pub fn dialled(&mut self) -> io::Result<bool> {
        let Socket::Tcp(stream) = &self.socket else { return Ok(true) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The dial is through.
    pub fn open(&mut self, now: Moment) {
        self.phase = Phase::Open;
        self.active = now;
        self.line_since = now;
    }

    pub fn close_when_sent(&mut self) {
        if self.phase == Phase::Open {
            self.phase = Phase::Closing;
        }
    }

    /// All is sent and nothing more will be. Says whether the socket may be dropped at once.
    pub fn say_last_word(&mut self, now: Moment) -> bool {
        if self.flags.end_seen {
            return true;
        }
        let shut = match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
        self.phase = Phase::Lingering { bytes: 0 };
        self.active = now;
        shut.is_err()
    }

    /// Counts bytes that came after our last word. Says whether there were too many.
    pub fn linger(&mut self, count: usize) -> bool {
        let Phase::Lingering { bytes } = &mut self.phase else { return false };
        let sum = u16::try_from(count).ok().and_then(|count| bytes.checked_add(count));
        sum.map(|sum| *bytes = sum).is_none()
    }

    pub fn die(&mut self) {
        self.phase = Phase::Dead;
    }

    /// When this connection's patience ends, and with what words; `None` while it may wait as
    /// long as it likes.
    pub fn deadline(&self, patience: &Patience) -> Option<(Moment, &'static str)> {
        let since = |start: Moment, wait, why| Some((start + wait, why));
        match self.phase {
            Phase::Connecting { .. } => since(self.active, patience.dial, "did not answer in time"),
            Phase::Lingering { .. } => since(self.active, patience.linger, "closed"),
            Phase::Dead => None,
            // Where nothing is owed, the last answer is still being looked for: that has a
            // deadline of its own.
            Phase::Closing => self.writing_deadline(patience),
            // What the far end says does not excuse what it does not take, nor the reverse.
            Phase::Open => {
                let both = [self.writing_deadline(patience), self.reading_deadline(patience)];
                both.into_iter().flatten().min()
            }
        }
    }

    fn writing_deadline(&self, patience: &Patience) -> Option<(Moment, &'static str)> {
        let outbox = &self.buffers.as_ref()?.outbox;
        let wait = patience.write_stall;
        (outbox.owed() > 0).then(|| (outbox.moved + wait, "takes nothing of what it is owed"))
    }

    fn reading_deadline(&self, patience: &Patience) -> Option<(Moment, &'static str)> {
        match self.id.door() {
            // Links are looked after by the core: greetings, pings.
            Door::Peer => None,
            Door::Plain if self.owed() > 0 => None,
            Door::Plain => Some((self.active + patience.linger, "closed")),
            _ if self.hearing != Hearing::Open || self.flags.held => None,
            // More has come than was read: it waits for us.
            _ if self.flags.queued || self.flags.readable => None,
            _ if self.flags.heard == Heard::Nothing => {
                Some((self.line_since + patience.first_byte, "said nothing"))
            }
            _ if self.has_begun_line() && !self.flags.lines_left => {
                Some((self.line_since + patience.partial_line, UNFINISHED_LINE))
            }
            _ => Some((self.active + patience.idle, "was idle")),
        }
    }

    pub fn owns_no_empty_buffers(&self) -> bool {
        self.buffers.as_ref().is_none_or(|buffers| !buffers.are_empty())
    }

    fn has_begun_line(&self) -> bool {
        self.buffers.as_ref().is_some_and(|buffers| buffers.inbox.is_partial())
    }
}
