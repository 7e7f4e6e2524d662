//! The turns of wrapped connections: the same as those of others (`inbound`, `outbound`), with what
//! TLS adds. Where a plain connection is looked for and none is found, one of these may be, so the
//! others pay nothing for it.

use std::time::Instant;

use mio::net::TcpStream;

use super::connection::{Connection, Filled, Flushed};
use super::handshakes::{Handshakes, Outcome};
use super::turn_steps::Readiness;
use super::wrapped::{Failed, Stage, Wrapped};
use super::wrapped_links::peer_terms;
use super::{Due, READ_BUDGET, Reactor, StartError, Unfinished, traced};
use crate::config::{Config, WebTls};
use crate::logging::events::Event;
use crate::tls::{PARTIAL_BYTES_MAX, PeerTerms, Session, Terms};
use herd_core::border::Input;
use herd_core::driver::Driver;
use herd_core::names::{ConnId, ConnKind};
use herd_core::session::{CloseReason, Expiry, Phase};

const _: () = assert!(READ_BUDGET > PARTIAL_BYTES_MAX + 4096);

/// What is said of a peer that comes without TLS and must not.
const PLAIN_PEER: &str = "this is no TLS, and [tls] of herd.toml requires it of peers";

/// What is said of somebody who comes so to the web port.
const PLAIN_WEB: &str = "this is no TLS, and [tls] of herd.toml requires it of the web";

/// What all connections by TLS share.
#[derive(Default)]
pub struct Wrapping {
    /// What new ones rest on; `None` if their door is closed.
    pub terms: Option<Terms>,
    /// What links rest on; `None` if none may be by TLS.
    pub peers: Option<PeerTerms>,
    pub handshakes: Handshakes,
    /// How many clients are open or on their way to it, and how many have come since the start.
    pub alive: usize,
    pub admitted: u64,
    /// What a read says, once it is unwrapped.
    plain: Vec<u8>,
    /// What a write says, once it is sealed.
    sealed: Vec<u8>,
}

impl Wrapping {
    /// # Errors
    /// The certificate or its key cannot be read, or they are not each other's.
    pub fn open(config: &Config) -> Result<Wrapping, StartError> {
        let terms = config.tls.as_ref().map(|door| Terms::read(&door.files, None)).transpose();
        Ok(Wrapping::new(terms.map_err(StartError::Tls)?, peer_terms(config)))
    }

    pub fn new(terms: Option<Terms>, peers: Option<PeerTerms>) -> Wrapping {
        Wrapping { terms, peers, ..Wrapping::default() }
    }
}

impl Reactor {
    /// Gives a place to a connection by TLS, of which nothing has come yet.
    pub(super) fn admit_wrapped(&mut self, kind: ConnKind, stream: TcpStream) -> Option<ConnId> {
        if kind == ConnKind::Peer {
            return self.admit_link(kind, stream);
        }
        let session = Session::new(self.wrapping.terms.as_ref()?)?;
        let patience = self.config.tls.as_ref()?.handshake;
        let (now, open_by) = (self.moment(), self.now.monotonic + patience);
        let conn = self.slots.admit_wrapped(kind, |id| {
            Wrapped::new(Connection::tcp(id, stream, Phase::Open, now), session, open_by)
        })?;
        self.wrapping.handshakes.pending += 1;
        if kind == ConnKind::Client {
            self.wrapping.alive += 1;
            self.wrapping.admitted += 1;
        }
        self.wheel.start(open_by, Due::Handshake { conn });
        Some(conn)
    }

    /// A wrapped connection's socket has something to tell.
    pub(super) fn on_wrapped_ready(&mut self, conn: ConnId, readiness: Readiness) {
        let Some(wrapped) = self.slots.wrapped(conn) else { return };
        if let Phase::Connecting { peer } = wrapped.connection.session.phase() {
            return self.on_dialled_ready(conn, peer, readiness);
        }
        let has_unsent = wrapped.has_unsent();
        readiness.note(&mut wrapped.connection.session.flags);
        if readiness.writable && has_unsent {
            self.write(conn);
        } else if readiness.writable {
            self.flush_later(conn);
        }
        // It may have been queued by the write, too.
        if self.slots.session(conn).is_some_and(|session| !session.flags.unfinished) {
            self.take_turn(conn);
        }
    }

    /// As `take_turn`, which has found no plain connection of this name.
    #[cold]
    pub(super) fn take_wrapped_turn(&mut self, conn: ConnId) {
        let Some(wrapped) = self.slots.wrapped(conn) else { return };
        if !wrapped.connection.session.begin_turn(self.config.limits.high_water_bytes) {
            return;
        }
        let durability = self.durability.as_mut();
        if durability.is_some_and(|durability| durability.puts_off(&mut wrapped.connection)) {
            return;
        }
        if wrapped.stage == Stage::Shaking && self.must_wait_to_shake() {
            return self.queue_again(conn);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut plain = std::mem::take(&mut self.wrapping.plain);
        plain.clear();
        let drained = self.unwrap(conn, &mut scratch, &mut plain);
        let bounds = self.bounds(conn);
        self.serve(conn, if drained > 0 { &scratch[..drained] } else { &plain }, bounds);
        self.scratch = scratch;
        self.wrapping.plain = plain;
    }

    /// Reads once, if it may be. What that says is in `plain`. Who turns out to speak plain lines
    /// has said so many bytes of `scratch`; so has, after our last word, one that is not heard.
    fn unwrap(&mut self, conn: ConnId, scratch: &mut [u8], plain: &mut Vec<u8>) -> usize {
        let now = self.moment();
        let read_max = self.work.read_max(conn.kind(), READ_BUDGET);
        let may_be_plain = match conn.kind() {
            ConnKind::Peer => self.config.tls_peers.takes(false),
            ConnKind::Web => self.config.web_tls() == WebTls::Allow,
            _ => false,
        };
        let Some(wrapped) = self.slots.wrapped(conn) else { return 0 };
        let session = &wrapped.connection.session;
        if !session.wants_bytes() {
            return 0;
        }
        let is_drained = matches!(session.phase(), Phase::Lingering { .. });
        let was_shaking = wrapped.stage == Stage::Shaking;
        let began = was_shaking.then(Instant::now);
        let filled = if is_drained {
            Ok(wrapped.drain(&mut scratch[..read_max], now))
        } else {
            wrapped.fill(scratch, read_max, plain, now)
        };
        let is_open = wrapped.stage == Stage::Open;
        let filled = match wrapped.stage {
            Stage::Plain if !may_be_plain => Err(Failed::NoTls),
            _ => filled,
        };
        // What waited for the handshake leaves, too.
        let must_write = wrapped.has_unsent() || (was_shaking && is_open);
        let outcome = if wrapped.is_resumed() { Outcome::Resumed } else { Outcome::Full };
        if let Some(began) = began {
            self.wrapping.handshakes.spend(began.elapsed());
        }
        if was_shaking && is_open {
            self.handshake_over(outcome);
            if conn.kind() == ConnKind::Peer {
                self.tell(Input::Secret { conn });
            }
        }
        match filled {
            Err(failed) => self.unwrapping_failed(conn, failed),
            Ok(Filled::Broken(error)) => self.read_failed(conn, &error),
            Ok(filled) => {
                self.trace_fill(conn, &filled);
                let Filled::Bytes(count) = filled else { return 0 };
                let door = self.door(conn);
                self.counts.received[door] += count as u64;
                let is_plain = self.unwrap_for_good(conn);
                if must_write {
                    self.write(conn);
                }
                return if is_drained || is_plain { count } else { 0 };
            }
        }
        0
    }

    /// Whether this step of a handshake must leave the turn to others.
    fn must_wait_to_shake(&mut self) -> bool {
        let work = &self.work;
        let others_work = work.lines + work.peer_lines + work.answers > 0;
        !self.wrapping.handshakes.has_credit(self.now.monotonic) && others_work
    }

    /// Its turn has come to nothing: it has another one.
    fn queue_again(&mut self, conn: ConnId) {
        if let Some(session) = self.slots.session(conn) {
            session.flags.unfinished = true;
            // A turn serves peers until none is left: it would come back in the same turn.
            self.unfinished.push_back(Unfinished::Connection(conn));
        }
    }

    /// A handshake is over, one way or the other. Others may wait at the door for that.
    fn handshake_over(&mut self, outcome: Outcome) {
        self.wrapping.handshakes.end(outcome);
        self.open_doors_again();
    }

    pub(super) fn unwrapping_failed(&mut self, conn: ConnId, failed: Failed) {
        let Some(wrapped) = self.slots.wrapped(conn) else { return };
        let was_shaking = matches!(wrapped.stage, Stage::Shaking | Stage::Plain);
        wrapped.stage = Stage::Failed;
        let is_peer = conn.kind() == ConnKind::Peer;
        let (outcome, reason, error) = match failed {
            Failed::Gone => (Outcome::Gone, CloseReason::Done, None),
            Failed::NoTls if is_peer => {
                (Outcome::NoTls, CloseReason::Broken, Some(std::io::Error::other(PLAIN_PEER)))
            }
            Failed::NoTls => (Outcome::NoTls, CloseReason::OtherProtocol, None),
            Failed::Refused(why) => {
                (Outcome::Refused, CloseReason::Broken, Some(std::io::Error::other(why)))
            }
            Failed::Broken(error) => (Outcome::Gone, CloseReason::Broken, Some(error)),
        };
        if was_shaking {
            self.handshake_over(outcome);
            if is_peer && matches!(outcome, Outcome::Refused | Outcome::NoTls) {
                self.tell(Input::Unproven { conn });
            }
            let handshakes = &mut self.wrapping.handshakes;
            let is_gone = outcome == Outcome::Gone;
            if !is_gone && handshakes.may_complain(is_peer, self.now.monotonic) {
                let error = error.as_ref().map(ToString::to_string);
                let why = error.as_deref().unwrap_or(match conn.kind() {
                    ConnKind::Web => PLAIN_WEB,
                    _ => "this is no TLS: plain clients have a port of their own",
                });
                Event::HandshakeFailed { conn, why }.log();
            }
        }
        match error {
            Some(error) => self.kill_broken(conn, &error),
            None => self.close_now(conn, reason),
        }
    }

    /// A handshake has had all the time that it may take.
    pub(super) fn handshake_due(&mut self, conn: ConnId) {
        let now = self.now.monotonic;
        if let Some(wrapped) = self.slots.wrapped(conn)
            && wrapped.stage == Stage::Shaking
            && wrapped.open_by <= now
        {
            wrapped.stage = Stage::Failed;
            self.handshake_over(Outcome::TimedOut);
            if self.wrapping.handshakes.may_complain(false, now) {
                let why = "it has taken longer than `handshake` in [tls] of herd.toml";
                Event::HandshakeFailed { conn, why }.log();
            }
            self.close_now(conn, CloseReason::Expired(Expiry::FirstByte));
        }
    }

    /// As `write`, which has found no plain connection of this name.
    #[cold]
    pub(super) fn write_wrapped(&mut self, conn: ConnId) {
        let now = self.moment();
        let Some(wrapped) = self.slots.wrapped(conn) else { return };
        if let Some(durability) = &mut self.durability {
            durability.settle(&mut wrapped.connection);
        }
        let (left, wire, flushed) = wrapped.flush(&mut self.wrapping.sealed, now);
        self.work.written += wire;
        self.trace.done(|| traced::write(&wrapped.connection, wire));
        let registry = self.poll.registry();
        let registered = match flushed {
            Flushed::Broken(error) => Err(error),
            Flushed::Partly if wrapped.has_unsent() => {
                wrapped.connection.reregister_owing(registry)
            }
            // Room would not help.
            Flushed::Partly if wrapped.stage == Stage::Shaking => Ok(()),
            Flushed::All | Flushed::Partly => wrapped.connection.reregister(registry),
        };
        let high_water = self.config.limits.high_water_bytes;
        let next = wrapped.connection.session.after_write(&mut self.buffers, high_water);
        let door = self.door(conn);
        self.counts.sent[door] += wire as u64;
        self.written(conn, left, next);
        match registered {
            Ok(()) => self.asked.call(conn),
            Err(error) => self.kill_broken(conn, &error),
        }
    }

    /// Says to the far end of a wrapped connection that no more will come.
    pub(super) fn shut_down_wrapped(&mut self, conn: ConnId) -> bool {
        let now = self.moment();
        let Some(wrapped) = self.slots.wrapped(conn) else { return false };
        let said = wrapped.shut_down(now);
        let registry = self.poll.registry();
        said && (!wrapped.has_unsent() || wrapped.connection.reregister_owing(registry).is_ok())
    }

    /// A connection is about to end at once. If it is wrapped, its last words are said.
    pub(super) fn part(&mut self, conn: ConnId) {
        let Some(wrapped) = self.slots.wrapped(conn) else { return };
        wrapped.part();
        let is_late = wrapped.open_by <= self.now.monotonic;
        let stage = std::mem::replace(&mut wrapped.stage, Stage::Failed);
        if conn.kind() == ConnKind::Client {
            self.wrapping.alive -= 1;
        }
        if stage == Stage::Shaking {
            self.handshake_over(if is_late { Outcome::TimedOut } else { Outcome::Gone });
        }
    }

    /// New connections by TLS rest on this from now on; those that are open keep what they have.
    pub(super) fn take_terms(&mut self, terms: Terms) {
        Event::CertificateLoaded { expires: terms.expires }.log();
        self.wrapping.terms = Some(terms);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::SocketAddr;
    use std::time::Duration;

    use mio::net::TcpListener;

    use super::*;
    use crate::config::TlsDoor;
    use crate::reactor::handshakes::PENDING_MAX;
    use crate::reactor::listener::Listener;
    use crate::reactor::slots::Slot;
    use crate::reactor::tests::House;
    use crate::reactor::turn_budget::Work;
    use crate::tls::tests::make_files;

    const HANDSHAKE: Duration = Duration::from_secs(5);

    /// A house with a door for clients by TLS.
    fn house() -> (House, SocketAddr) {
        let mut house = House::new();
        let dir = tempfile::tempdir().unwrap();
        let files = make_files(dir.path(), 4000);
        let reactor = &mut house.reactor;
        reactor.wrapping = Wrapping::new(Some(Terms::read(&files, None).unwrap()), None);
        let socket = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = socket.local_addr().unwrap();
        let (handshake, web) = (HANDSHAKE, WebTls::Off);
        reactor.config.tls = Some(TlsDoor { address: Some(address), web, files, handshake });
        let make = |slot| Listener::tcp(slot, ConnKind::Client, socket).wrapped(true);
        let door = reactor.slots.add_listener(make);
        if let Some(Slot::Listener(listener)) = reactor.slots.at(door) {
            listener.register(reactor.poll.registry()).unwrap();
        }
        reactor.doors.tls = Some(door);
        (house, address)
    }

    fn come(house: &mut House, address: SocketAddr) -> (std::net::TcpStream, ConnId) {
        let before = house.reactor.slots.names();
        let stream = std::net::TcpStream::connect(address).unwrap();
        house.turn_until(|reactor| reactor.slots.names().len() > before.len());
        let mut names = house.reactor.slots.names().into_iter();
        (stream, names.find(|name| !before.contains(name)).unwrap())
    }

    /// Goal: clients that only begin keep no more places than there are, and give them back.
    #[test]
    fn handshakes_under_way_are_bounded() {
        let (mut house, address) = house();
        let all = PENDING_MAX + 40;
        // No more at once than may wait at the door.
        let mut crowd = Vec::new();
        while crowd.len() < all {
            let connect = |_| std::net::TcpStream::connect(address).unwrap();
            crowd.extend((0..8).map(connect));
            let inside = crowd.len().min(PENDING_MAX);
            house.turn_until(|reactor| reactor.wrapping.alive == inside);
        }
        let pending = |reactor: &mut Reactor| reactor.wrapping.handshakes.pending;
        house.turn_until(|reactor| pending(reactor) == PENDING_MAX);
        for _ in 0..10 {
            house.turn();
        }
        assert_eq!(house.reactor.wrapping.alive, PENDING_MAX, "the others wait in the kernel");
        let (_plain, _) = house.come(ConnKind::Client);
        house.pass(HANDSHAKE + Duration::from_secs(1));
        house.turn_until(|reactor| reactor.wrapping.admitted == all as u64);
        assert_eq!(pending(&mut house.reactor), 40);
        let ended = house.reactor.wrapping.handshakes.ended;
        assert_eq!(ended[Outcome::TimedOut as usize], PENDING_MAX as u64);
        drop(crowd);
        house.turn_until(|reactor| reactor.wrapping.alive == 0);
        assert_eq!(house.reactor.wrapping.handshakes.ended[Outcome::Gone as usize], 40);
        assert_eq!(pending(&mut house.reactor), 0);
    }

    /// Goal: a handshake leaves the turn to others when it has had its share, and never waits for
    /// nobody.
    #[test]
    fn a_handshake_waits_for_those_with_work() {
        let (mut house, address) = house();
        let (mut client, conn) = come(&mut house, address);
        // The first byte of what is no handshake ends it, so it is seen whether it was read.
        client.write_all(b"x").unwrap();
        let reactor = &mut house.reactor;
        reactor.slots.session(conn).unwrap().flags.readable = true;
        reactor.wrapping.handshakes.has_credit(reactor.now.monotonic);
        reactor.wrapping.handshakes.spend(Duration::from_secs(1));
        reactor.work = Work { lines: 16, ..Work::default() };
        for _ in 0..3 {
            reactor.unfinished.clear();
            reactor.take_turn(conn);
            assert!(reactor.slots.connection(conn).is_some(), "it has to wait");
            assert_eq!(reactor.unfinished.len(), 1, "and is not forgotten");
        }
        reactor.work = Work::default();
        house.turn_until(|reactor| reactor.slots.connection(conn).is_none());
        assert_eq!(client.read(&mut [0; 16]).unwrap(), 0);
        let ended = house.reactor.wrapping.handshakes.ended;
        assert_eq!(ended[Outcome::NoTls as usize], 1);
    }
}
