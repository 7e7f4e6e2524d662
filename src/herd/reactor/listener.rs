//! A listener: accepts connections until none is left or the system has no descriptor to give.
//! Accepting fails in ways of its own; what becomes of a connection after that is in `slots`.
//!
//! Under edge triggering the kernel reports a full backlog once. A listener that stops accepting
//! before it is empty, for any reason, must come back by itself: no event will bring it back. So a
//! listener that stops says why, and the loop queues it among the unfinished or starts a timer.
//!
//! asyncio: BaseSelectorEventLoop._accept_connection takes the listener off the selector for a
//! second on EMFILE.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry};

use super::slots;
use herd_core::names::ConnKind;
use herd_core::session::Moment;

pub struct Listener {
    slot: usize,
    kind: ConnKind,
    socket: Socket,
    /// What comes here comes by TLS; what comes to the peer port, perhaps.
    is_wrapped: bool,
    /// In the queue of the unfinished.
    pub queued: bool,
    /// A timer will accept again; until then nothing else does, or each arrival would start another
    /// timer.
    pub is_resting: bool,
    /// Stopped because there are too many connections; goes on when some have closed.
    pub is_full: bool,
    /// How long to wait when the system is out of descriptors; doubles each time.
    backoff: Duration,
    /// When this was last logged.
    complained: Option<Moment>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The connection that was accepted.
pub enum Arrival {
    Tcp(TcpStream, SocketAddr),
    /// By TLS.
    Wrapped(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// What came of one call of accept.
pub enum Accepted {
    Arrived(Arrival),
    /// The backlog is empty: the next arrival will be an event.
    Nobody,
    /// Try again after this time. The error is the system's (EMFILE and its like), and the
    /// first of its kind for a while.
    Exhausted {
        error: io::Error,
        wait: Duration,
        is_first: bool,
    },
}

impl Listener {
    const BACKOFF_MIN: Duration = Duration::from_millis(100);
    const BACKOFF_MAX: Duration = Duration::from_secs(1);
    const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

    pub fn tcp(slot: usize, kind: ConnKind, socket: TcpListener) -> Listener {
        Listener::new(slot, kind, Socket::Tcp(socket))
    }

    pub fn unix(slot: usize, kind: ConnKind, socket: UnixListener) -> Listener {
        Listener::new(slot, kind, Socket::Unix(socket))
    }

    fn new(slot: usize, kind: ConnKind, socket: Socket) -> Listener {
        let backoff = Self::BACKOFF_MIN;
        Listener {
            slot,
            kind,
            socket,
            is_wrapped: false,
            queued: false,
            is_resting: false,
            is_full: false,
            backoff,
            complained: None,
        }
    }

    /// The same for connections by TLS, if that is so.
    pub fn wrapped(self, is_wrapped: bool) -> Listener {
        Listener { is_wrapped, ..self }
    }

    /// What comes here from now on may come by TLS, or may not.
    pub fn wrap(&mut self, is_wrapped: bool) {
        self.is_wrapped = is_wrapped;
    }

    /// Whether who comes here must wait while many handshakes are under way. Peers never wait: they
    /// are few, and the core closes the oldest stranger's connection instead.
    pub fn waits_for_handshakes(&self) -> bool {
        self.is_wrapped && self.kind != ConnKind::Peer
    }

    pub fn kind(&self) -> ConnKind {
        self.kind
    }

    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        let token = slots::token(self.kind, self.slot);
        match &mut self.socket {
            Socket::Tcp(socket) => registry.register(socket, token, Interest::READABLE),
            Socket::Unix(socket) => registry.register(socket, token, Interest::READABLE),
        }
    }

    /// Nothing is heard of it any more, though others may hold the same socket.
    pub fn close(mut self, registry: &Registry) {
        // It fails for one that was never registered, of which nothing is heard either.
        let _ = match &mut self.socket {
            Socket::Tcp(socket) => registry.deregister(socket),
            Socket::Unix(socket) => registry.deregister(socket),
        };
    }

    pub fn accept(&mut self, now: Moment) -> Accepted {
        loop {
            let accepted = match &self.socket {
                Socket::Tcp(socket) => socket.accept().map(|(stream, from)| {
                    let arrival = if self.is_wrapped { Arrival::Wrapped } else { Arrival::Tcp };
                    arrival(stream, canonical(from))
                }),
                Socket::Unix(socket) => socket.accept().map(|(stream, _)| Arrival::Unix(stream)),
            };
            match accepted {
                Ok(arrival) => {
                    self.backoff = Self::BACKOFF_MIN;
                    return Accepted::Arrived(arrival);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Accepted::Nobody,
                    // A client came and left before we accepted it (accept(2)).
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => return self.exhausted(error, now),
                },
            }
        }
    }

    fn exhausted(&mut self, error: io::Error, now: Moment) -> Accepted {
        let is_first = self.complained.is_none_or(|last| last + Self::COMPLAIN_EVERY < now);
        if is_first {
            self.complained = Some(now);
        }
        self.is_resting = true;
        let wait = self.backoff;
        self.backoff = (wait * 2).min(Self::BACKOFF_MAX);
        Accepted::Exhausted { error, wait, is_first }
    }
}

/// An IPv4 address in its own form, even where it came through a socket of IPv6.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
