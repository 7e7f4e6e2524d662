//! Connections that a proxy opens for somebody: before the client's first byte, the proxy says who
//! that is (`crate::proxy_head`). Until it has, the socket has a place in the slab and is no
//! connection yet; then it is admitted like any other, with another address.
//!
//! ```text
//!   accepted ──▶ from a proxy? ── no ──────────────────────────────▶ admitted
//!                    │ yes                                             ▲
//!                    ▼                 right: its bytes are taken      │
//!                 Arriving ── head ──────────────────────────────────▶─┘
//!                    └─────── wrong, late or missing ──▶ closed, counted
//! ```
//!
//! The head is looked at where it lies, in the kernel, and taken only when it is whole: so nothing
//! has to be kept for a connection that may never be one, and no byte of the client is read early.

use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::lame_duck::DrainPhase;
use super::listener::{Arrival, canonical};
use super::metrics::{DOORS, TLS};
use super::{Due, Reactor, slots};
use crate::logging::events::Event;
use crate::proxy_head::{self, BYTES_MAX, Head};
use herd_core::driver::Driver;
use herd_core::names::{ConnId, ConnKind};

/// How long a head may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a refusal is logged.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// A socket that a proxy has opened, and has not said for which client.
pub struct Arriving {
    /// Of the socket; the connection gets one of its own.
    pub id: ConnId,
    stream: TcpStream,
    from: SocketAddr,
    is_wrapped: bool,
}

/// Why a head has not come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum NoHead {
    Wrong,
    Late,
    /// The proxy has closed, or the connection has broken.
    Gone,
}

impl NoHead {
    /// All of them, each at its place: `ALL[reason as usize]`.
    pub const ALL: [NoHead; 3] = [NoHead::Wrong, NoHead::Late, NoHead::Gone];

    /// The word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            NoHead::Wrong => "proxy_head_wrong",
            NoHead::Late => "proxy_head_late",
            NoHead::Gone => "proxy_head_missing",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            NoHead::Wrong => "it is in proxy_from and begins with no head of the PROXY protocol",
            NoHead::Late => "it is in proxy_from and sends no whole head of the PROXY protocol",
            NoHead::Gone => "it is in proxy_from and has gone before its head was whole",
        }
    }
}

/// What is counted of heads.
#[derive(Default)]
pub struct Heads {
    /// Sockets that wait for theirs, by the kind of connection that they may become.
    waiting: [usize; ConnKind::ALL.len()],
    /// Refused ones, by their door and reason.
    pub refused: [[u64; NoHead::ALL.len()]; DOORS],
    complained: Option<Duration>,
}

impl Heads {
    pub fn waiting(&self, kind: ConnKind) -> usize {
        self.waiting[kind as usize]
    }
}

impl Arriving {
    /// What has come, without taking it.
    fn peek(&self, room: &mut [u8]) -> Result<usize, Errno> {
        retrying(|| Ok(recv(&self.stream, &mut *room, RecvFlags::PEEK)?.0))
    }

    /// Takes so many bytes, which have come.
    fn take(&self, room: &mut [u8]) -> Result<(), Errno> {
        let mut taken = 0;
        while taken < room.len() {
            match retrying(|| Ok(recv(&self.stream, &mut room[taken..], RecvFlags::empty())?.0))? {
                0 => return Err(Errno::CONNRESET),
                count => taken += count,
            }
        }
        Ok(())
    }

    /// Reads the head, if it is whole.
    fn read(&self, room: &mut [u8]) -> Result<Option<SocketAddr>, NoHead> {
        let count = match self.peek(room) {
            Ok(0) => return Err(NoHead::Gone),
            Ok(count) => count,
            Err(Errno::AGAIN) => return Ok(None),
            Err(_) => return Err(NoHead::Gone),
        };
        match proxy_head::read(&room[..count]) {
            Head::Partial => Ok(None),
            Head::Wrong => Err(NoHead::Wrong),
            Head::Whole { bytes, client } => {
                self.take(&mut room[..bytes]).map_err(|_| NoHead::Gone)?;
                Ok(Some(client.map_or(self.from, canonical)))
            }
        }
    }

    fn register(&mut self, registry: &Registry) -> bool {
        let token = slots::token(self.id.kind(), self.id.slot());
        registry.register(&mut self.stream, token, Interest::READABLE).is_ok()
    }
}

fn retrying<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

impl Reactor {
    /// Gives an arrival back, unless it must say first which client it speaks for.
    pub(super) fn unless_proxied(&mut self, kind: ConnKind, arrival: Arrival) -> Option<Arrival> {
        let (stream, from, is_wrapped) = match arrival {
            Arrival::Tcp(stream, from) => (stream, from, false),
            Arrival::Wrapped(stream, from) => (stream, from, true),
            Arrival::Unix(_) => return Some(arrival),
        };
        if !kind.is_client() || !self.config.proxy_from.hold(from.ip()) {
            let make = if is_wrapped { Arrival::Wrapped } else { Arrival::Tcp };
            return Some(make(stream, from));
        }
        let make = |id| Arriving { id, stream, from, is_wrapped };
        let id = self.slots.let_arrive(kind, make)?;
        self.heads.waiting[kind as usize] += 1;
        self.wheel.start(self.now.monotonic + PATIENCE, Due::Head { id });
        let registry = self.poll.registry();
        if !self.slots.arriving(id).is_some_and(|arriving| arriving.register(registry)) {
            self.refuse_head(id, NoHead::Gone);
        }
        None
    }

    /// Something has come from a proxy.
    pub(super) fn on_head(&mut self, id: ConnId, is_closed: bool) {
        let Some(arriving) = self.slots.arriving(id) else { return };
        match arriving.read(&mut self.scratch[..BYTES_MAX]) {
            Err(why) => self.refuse_head(id, why),
            Ok(None) if is_closed => self.refuse_head(id, NoHead::Gone),
            Ok(None) => {}
            Ok(Some(client)) => self.admit_proxied(id, client),
        }
    }

    /// A head has had all the time that it may take.
    pub(super) fn head_due(&mut self, id: ConnId) {
        if self.slots.arriving(id).is_some() {
            self.refuse_head(id, NoHead::Late);
        }
    }

    /// It is a connection like others from now on.
    fn admit_proxied(&mut self, id: ConnId, client: SocketAddr) {
        let Some(Arriving { mut stream, is_wrapped, .. }) = self.leave(id) else { return };
        if self.poll.registry().deregister(&mut stream).is_err() {
            return;
        }
        let arrival = if is_wrapped { Arrival::Wrapped } else { Arrival::Tcp };
        let Some(conn) = self.admit(id.kind(), arrival(stream, client)) else { return };
        self.slots.stand_for(conn, client);
        if self.drain_phase() >= Some(DrainPhase::Draining) {
            self.dismiss(conn);
        }
    }

    fn refuse_head(&mut self, id: ConnId, why: NoHead) {
        let Some(arriving) = self.leave(id) else { return };
        let door = if arriving.is_wrapped { TLS } else { id.kind() as usize };
        self.heads.refused[door][why as usize] += 1;
        let now = self.now.monotonic;
        // A check of whether anybody listens comes and goes without a word.
        let is_news = self.heads.complained.is_none_or(|last| last + COMPLAIN_EVERY < now);
        if why != NoHead::Gone && is_news {
            self.heads.complained = Some(now);
            Event::Refused { conn: id, reason: why.sentence() }.log();
        }
    }

    fn leave(&mut self, id: ConnId) -> Option<Arriving> {
        let arriving = self.slots.leave(id)?;
        self.heads.waiting[id.kind() as usize] -= 1;
        Some(arriving)
    }
}
