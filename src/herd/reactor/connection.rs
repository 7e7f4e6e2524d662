//! A session and its socket. What has come, what is to be sent and for how long it may wait is the
//! session's (`herd_core::session`); here bytes go between it and the kernel, and the kernel learns
//! what we wait for.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};

use super::listener::canonical;
use super::slots;
use herd_core::names::ConnId;
use herd_core::session::{Moment, Phase, Session};

/// Bytes written for one connection in one turn; the rest waits for the next.
pub const WRITE_BUDGET: usize = 256 * 1024;

/// News of input, urgent data among it where the kernel tells.
#[cfg(any(target_os = "linux", target_os = "android"))]
const INPUT: Interest = Interest::READABLE.add(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const INPUT: Interest = Interest::READABLE;

/// A session that has a socket.
pub struct Connection {
    pub session: Session,
    socket: Socket,
}

/// The interest last registered with the kernel stands beside the socket, where there is room for
/// it.
enum Socket {
    Tcp(TcpStream, Interest),
    Unix(UnixStream, Interest),
}

/// Reads and writes are rustix's: those of `std` are points at which a thread may be cancelled
/// (pthreads(7)), and to say so to the C library takes longer than all else before the system call.
impl Socket {
    fn read(&self, scratch: &mut [u8]) -> Result<usize, Errno> {
        Ok(net::recv(self, scratch, RecvFlags::empty())?.0)
    }

    /// A far end that has gone is an error, not a signal: Rust's runtime ignores SIGPIPE.
    fn write(&self, piece: &[u8]) -> Result<usize, Errno> {
        net::send(self, piece, SendFlags::empty())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(stream, _) => stream.as_fd(),
            Socket::Unix(stream, _) => stream.as_fd(),
        }
    }
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
    /// Nothing is left to be sent.
    All,
    /// The kernel takes no more for now, or the turn's budget is used up.
    Partly,
    Broken(io::Error),
}

impl Connection {
    pub fn tcp(id: ConnId, stream: TcpStream, phase: Phase, now: Moment) -> Connection {
        Connection { session: Session::new(id, phase, now), socket: Socket::Tcp(stream, INPUT) }
    }

    pub fn unix(id: ConnId, stream: UnixStream, now: Moment) -> Connection {
        let session = Session::new(id, Phase::Open, now);
        Connection { session, socket: Socket::Unix(stream, INPUT) }
    }

    pub fn id(&self) -> ConnId {
        self.session.id()
    }

    /// Whether it is alive and of this name: its slot may have had others.
    #[inline]
    pub fn is_named(&self, id: ConnId) -> bool {
        !self.session.is_dead() && self.id() == id
    }

    /// What we ask the kernel to tell us: a pure function of the session. News of input is always
    /// welcome; it is remembered, not acted upon, while reading is held back. Room for output
    /// matters only while a dial is under way or the kernel has refused to take more.
    fn interest(&self) -> Interest {
        let waits_for_room = self.session.flags.write_blocked && self.session.queued_bytes() > 0;
        match self.session.phase() {
            Phase::Connecting { .. } => INPUT | Interest::WRITABLE,
            _ if waits_for_room => INPUT | Interest::WRITABLE,
            _ => INPUT,
        }
    }

    fn token(&self) -> Token {
        slots::token(self.id().kind(), self.id().slot())
    }

    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        let (token, interest) = (self.token(), self.interest());
        let (source, registered) = self.source();
        *registered = interest;
        registry.register(source, token, interest)
    }

    /// Tells the kernel if what we wait for has changed. Nearly always it has not, and there is no
    /// system call.
    #[inline]
    pub fn reregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.wait_for(self.interest(), registry)
    }

    /// The same for a connection for which the kernel has refused bytes that its session does not
    /// know.
    pub fn reregister_owing(&mut self, registry: &Registry) -> io::Result<()> {
        self.wait_for(INPUT | Interest::WRITABLE, registry)
    }

    #[inline]
    fn wait_for(&mut self, interest: Interest, registry: &Registry) -> io::Result<()> {
        let token = self.token();
        let (source, registered) = self.source();
        if interest == *registered {
            return Ok(());
        }
        *registered = interest;
        registry.reregister(source, token, interest)
    }

    fn source(&mut self) -> (&mut dyn Source, &mut Interest) {
        match &mut self.socket {
            Socket::Tcp(stream, registered) => (stream, registered),
            Socket::Unix(stream, registered) => (stream, registered),
        }
    }

    /// Reads once. A short read empties the socket as surely as one that finds nothing (epoll(7),
    /// "edge-triggered"), and saves that second call. But an end behind the data is seen only by
    /// reading again, and urgent data ends a read before the data does (tcp(7)); so when an event
    /// has announced one of them, we do (`Flags::read_on`).
    ///
    /// asyncio: _SelectorSocketTransport._read_ready__data_received, one `recv` of 256 KiB.
    #[inline]
    pub fn fill(&mut self, scratch: &mut [u8], now: Moment) -> Filled {
        loop {
            match self.socket.read(scratch) {
                Ok(0) => {
                    self.session.received_end();
                    return Filled::End;
                }
                Ok(count) => {
                    self.session.received(count, count == scratch.len(), now);
                    return Filled::Bytes(count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.session.received_nothing();
                    return Filled::Nothing;
                }
                Err(error) => return Filled::Broken(error.into()),
            }
        }
    }

    /// One read, of which the session learns nothing.
    pub fn read(&self, room: &mut [u8]) -> Result<usize, Errno> {
        loop {
            match self.socket.read(room) {
                Err(Errno::INTR) => {}
                read => return read,
            }
        }
    }

    /// One write, of which the session learns nothing.
    pub fn write(&self, piece: &[u8]) -> Result<usize, Errno> {
        loop {
            match self.socket.write(piece) {
                Err(Errno::INTR) => {}
                written => return written,
            }
        }
    }

    /// Writes what is to be sent, as far as the kernel takes it. Says how many bytes that were, and
    /// what came of it.
    ///
    /// asyncio: _SelectorSocketTransport._write_ready.
    pub fn flush(&mut self, now: Moment) -> (usize, Flushed) {
        let mut budget = WRITE_BUDGET;
        loop {
            let piece = self.session.to_send(budget);
            if piece.is_empty() {
                break;
            }
            match self.socket.write(piece) {
                Ok(count) => {
                    let is_over = count == piece.len();
                    self.session.sent(count, now);
                    budget -= count;
                    if is_over {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.session.end_writing(true);
                    return (WRITE_BUDGET - budget, Flushed::Partly);
                }
                Err(error) => return (WRITE_BUDGET - budget, Flushed::Broken(error.into())),
            }
        }
        self.session.end_writing(false);
        let is_all = self.session.queued_bytes() == 0;
        (WRITE_BUDGET - budget, if is_all { Flushed::All } else { Flushed::Partly })
    }

    /// The address of the far end, one of IPv4 in its own form; `None` for a Unix socket.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(stream, _) => stream.peer_addr().ok().map(canonical),
            Socket::Unix(..) => None,
        }
    }

    pub fn peer_ip(&self) -> Option<IpAddr> {
        self.peer_address().map(|address| address.ip())
    }

    /// The ports of the two ends, ours first; none for a Unix socket.
    pub fn ports(&self) -> Option<[u16; 2]> {
        let Socket::Tcp(stream, _) = &self.socket else { return None };
        Some([stream.local_addr().ok()?.port(), stream.peer_addr().ok()?.port()])
    }

    /// Whether a dial has connected to itself. If no process listens on a port from which the
    /// system lets connections go out, it may choose that very port (RFC 9293, simultaneous open).
    pub fn is_its_own_peer(&self) -> bool {
        let Socket::Tcp(stream, _) = &self.socket else { return false };
        matches!((stream.local_addr(), stream.peer_addr()), (Ok(one), Ok(other)) if one == other)
    }

    /// Ends in a reset, so that the port is free at once.
    pub fn reset_when_dropped(&self) {
        if let Socket::Tcp(stream, _) = &self.socket {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Is the dial through? The three questions of a non-blocking connect: is there an error, is
    /// there a far end, and if neither, ask again at the next event.
    pub fn dialled(&mut self) -> io::Result<bool> {
        let Socket::Tcp(stream, _) = &self.socket else { return Ok(true) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Says that no more will come. Whether that could be said.
    pub fn shut_down(&self) -> bool {
        let shut = match &self.socket {
            Socket::Tcp(stream, _) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream, _) => stream.shutdown(Shutdown::Write),
        };
        shut.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use herd_core::names::ConnKind;
    use herd_core::session::BufferPool;

    /// Goal: the kernel is asked for room while it has refused bytes, and at no other time.
    #[test]
    fn room_is_waited_for_where_it_was_missing() {
        let kind = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(kind.local_addr().unwrap()).unwrap();
        let (id, now) = (ConnId::new(ConnKind::Client, 1, 0), Moment::default());
        let mut connection = Connection::tcp(id, TcpStream::from_std(stream), Phase::Open, now);
        let check = |connection: &Connection, expected: bool| {
            assert!(connection.interest().is_readable(), "news of input is always welcome");
            assert_eq!(connection.interest().is_writable(), expected);
        };
        check(&connection, false);
        connection.session.queue(b"answer", &mut BufferPool::default(), now);
        check(&connection, false);
        connection.session.sent(2, now);
        connection.session.end_writing(true);
        check(&connection, true);
        connection.session.sent(4, now);
        connection.session.end_writing(false);
        check(&connection, false);
    }
}
