//! What leaves: texts are queued first and written when the turn ends, one write a socket; a close
//! waits for the last of them. Everything here begins with an output of the core, not with an
//! event: it is the reactor's part of what a driver does (`herd_core::driver`).

use std::fmt::Display;
use std::io;
use std::time::Duration;

use super::connection::Flushed;
use super::slots::Slots;
use super::turn_steps::Step;
use super::{Due, FLUSH_EARLY, Reactor, Unfinished, traced};
use crate::logging::events::Event;
use herd_core::border::{Input, Note, Timer};
use herd_core::driver::{Deferred, Driver, Parts};
use herd_core::names::{ConnId, ConnKind, PeerId, Ticket};
use herd_core::session::{CloseReason, Phase};
use herd_core::whatsat::Question;
use herd_core::wire::line_buffer::Lines;

/// What is written at the end of a turn, however much is written to others: a report's answer, or a
/// question's.
const LITTLE_BYTES: usize = 8 * 1024;

impl Driver for Reactor {
    type Sessions = Slots;

    #[inline(always)]
    fn parts(&mut self) -> Parts<'_, Slots> {
        Parts {
            now: self.now,
            out: &mut self.out,
            deferred: &mut self.deferred,
            is_catching_up: &mut self.is_catching_up,
            sessions: &mut self.slots,
            buffers: &mut self.buffers,
            scan: &mut self.scan,
            timeouts: &self.config.limits.timeouts,
            high_water_bytes: self.config.limits.high_water_bytes,
        }
    }

    fn handle(&mut self, input: Input<'_, '_>) {
        let span = self.trace.begin_tell(&input);
        self.server.handle(self.now, input, &mut self.out);
        self.append_news();
        let outputs = self.out.list.len();
        self.carry_out();
        self.trace.end_tell(span, outputs);
    }

    #[inline(always)]
    fn handle_lines(&mut self, conn: ConnId, lines: &mut Lines<'_>, is_first: bool) {
        self.dispatch(conn, lines, is_first);
    }

    fn served(&mut self, conn: ConnId, bytes: usize, lines: usize) {
        self.work.heard(conn.kind(), bytes, lines);
    }

    /// The text leaves when the turn ends, or earlier if it is much.
    fn send(&mut self, conn: ConnId, text: &[u8]) {
        let now = self.moment();
        let Some(connection) = self.slots.connection(conn) else { return };
        self.log.said(conn, text);
        self.trace.hop(conn, text, || connection.ports());
        let session = &mut connection.session;
        session.queue(text, &mut self.buffers, now);
        let mut queued = session.queued_bytes();
        if queued > FLUSH_EARLY {
            self.write(conn);
            self.tell_if_drained_early(conn);
            queued = self.slots.session(conn).map_or(0, |session| session.queued_bytes());
        } else if session.join_flush() {
            self.to_flush.push_back(conn);
        }
        // A peer is never closed for the size of its outbox: the core bounds that
        // (`herd_core::peers::link`).
        if queued > self.config.limits.outbox_bytes_max && !conn.kind().is_bounded_by_core() {
            self.close_now(conn, CloseReason::OutboxFull);
        }
    }

    fn shut_down(&mut self, conn: ConnId) -> bool {
        match self.slots.plain(conn) {
            Some(connection) => connection.shut_down(),
            None => self.shut_down_wrapped(conn),
        }
    }

    fn close_now(&mut self, conn: ConnId, reason: CloseReason) {
        match self.slots.session(conn).map(|session| session.phase()) {
            Some(Phase::Connecting { peer }) => self.dial_over(conn, peer, "no answer in time"),
            _ => self.end_connection(conn, reason, None),
        }
    }

    fn line_expired(&mut self, conn: ConnId) {
        Event::LineTimeout { conn }.log();
    }

    fn dial(&mut self, peer: PeerId) {
        self.step(Step::Dial(peer));
    }

    fn start_timer(&mut self, timer: Timer, after: Duration) {
        self.wheel.start(self.now.monotonic + after, Due::Core(timer));
    }

    fn ask_places(&mut self, conn: ConnId, ticket: Ticket, question: Question, timeout: Duration) {
        self.ask(conn, ticket, question, timeout);
    }

    fn note(&mut self, note: Note) {
        self.log_note(note);
    }

    fn take_turn(&mut self, conn: ConnId) {
        Reactor::take_turn(self, conn);
    }

    fn queue_turn(&mut self, conn: ConnId) {
        match conn.kind() {
            ConnKind::Peer => self.unfinished_peers.push_back(conn),
            _ => self.unfinished.push_back(Unfinished::Connection(conn)),
        }
    }

    fn queue_flush(&mut self, conn: ConnId) {
        self.to_flush.push_back(conn);
    }
}

impl Reactor {
    /// Writes what is to be sent to a connection at the end of a turn, and does what had to wait
    /// for that. Little is always written; much may have to wait for another turn.
    #[inline(always)]
    pub(super) fn flush(&mut self, conn: ConnId) {
        let Some(session) = self.slots.session(conn) else { return };
        if session.queued_bytes() > LITTLE_BYTES && !self.work.may_write_much() {
            self.to_flush.push_back(conn);
            return;
        }
        session.flags.to_flush = false;
        let tells = session.flags.tell_flushed;
        if session.queued_bytes() > 0 {
            self.write(conn);
        }
        if tells {
            self.tell_if_drained(conn);
        }
        self.tell_deferred();
    }

    pub(super) fn write(&mut self, conn: ConnId) {
        let now = self.moment();
        let Some(connection) = self.slots.plain(conn) else { return self.write_wrapped(conn) };
        if let Some(durability) = &mut self.durability {
            durability.settle(connection);
        }
        let (bytes, flushed) = connection.flush(now);
        self.counts.sent[conn.kind() as usize] += bytes as u64;
        self.work.written += bytes;
        self.trace.done(|| traced::write(connection, bytes));
        let registered = match flushed {
            Flushed::Broken(error) => Err(error),
            Flushed::All | Flushed::Partly => connection.reregister(self.poll.registry()),
        };
        let high_water = self.config.limits.high_water_bytes;
        let next = connection.session.after_write(&mut self.buffers, high_water);
        self.written(conn, bytes, next);
        match registered {
            Ok(()) if conn.kind() == ConnKind::Admin => self.go_on_dumping(conn),
            Ok(()) => self.asked.call(conn),
            Err(error) => self.kill_broken(conn, &error),
        }
    }

    /// After a flush within a turn, the core is told at once that the outbox is empty: else it
    /// would take the peer for slow, and send what comes next later, by whole leaves of the digest.
    /// What the core sends in response does not lead here again: a peer that catches up and reads
    /// fast would get the whole store in one turn.
    fn tell_if_drained_early(&mut self, conn: ConnId) {
        if !self.is_catching_up {
            self.tell_if_drained(conn);
        }
    }

    /// Ends a connection now, because the system reports an error.
    pub(super) fn kill_broken(&mut self, conn: ConnId, error: &io::Error) {
        self.end_connection(conn, CloseReason::Broken, Some(error));
    }

    /// The core learns of it; the slot is freed when the turn ends.
    fn end_connection(&mut self, conn: ConnId, reason: CloseReason, error: Option<&io::Error>) {
        self.part(conn);
        if self.slots.kill(conn) {
            let error = error.map(|error| error as &dyn Display);
            Event::Closed { conn, reason, error }.log();
            self.counts.closed[reason.index()] += 1;
            self.asked.forget(conn);
            if conn.kind() == ConnKind::Mqtt {
                self.mqtt_closed(conn);
            }
            self.deferred.push_back(Deferred::Closed { conn });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, SocketAddr, TcpStream};
    use std::time::{Duration, Instant};

    use mio::Events;

    use super::*;
    use crate::reactor::tests::reactor;
    use crate::reactor::turn_budget::Work;
    use herd_core::wire::line_buffer::{LineLimits, Lines};

    /// Turns until a connection has come through this door, and gives both ends.
    fn come(
        reactor: &mut Reactor,
        events: &mut Events,
        kind: ConnKind,
        at: SocketAddr,
    ) -> (TcpStream, ConnId) {
        let far_end = TcpStream::connect(at).unwrap();
        while reactor.slots.alive(kind) == 0 {
            reactor.turn(events).unwrap();
        }
        (far_end, reactor.slots.names()[0])
    }

    fn greet(reactor: &Reactor, peer: &mut TcpStream) {
        let (herd, nonce) = (&reactor.config.herd, "0".repeat(32));
        writeln!(peer, "HERD/1 Bona Bailey {herd} {nonce} -").unwrap();
    }

    /// Queues more and more until the kernel takes nothing, and after a while still does not: its
    /// buffers grow while they are used.
    fn block(reactor: &mut Reactor, conn: ConnId, owed_min: usize) {
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_millis(200) {
            let before = reactor.slots.session(conn).unwrap().queued_bytes();
            reactor.work = Work::default();
            reactor.flush(conn);
            let owed = reactor.slots.session(conn).unwrap().queued_bytes();
            if owed <= owed_min {
                reactor.send(conn, &[b'x'; 32 * 1024]);
            }
            if owed <= owed_min || owed < before {
                since = Instant::now();
            }
        }
        reactor.to_flush.clear();
    }

    /// Reads until nothing has come for a while.
    fn hear(far_end: &mut TcpStream, timeout: Duration) -> usize {
        far_end.set_read_timeout(Some(timeout)).unwrap();
        let (mut heard, mut piece) = (0, [0; 64 * 1024]);
        loop {
            match far_end.read(&mut piece) {
                Ok(0) => return heard,
                Ok(count) => heard += count,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    return heard;
                }
            }
        }
    }

    /// Goal: what an early write leaves is written in the next turns, whether or not the kernel
    /// had refused to take more before. Method: the kernel has room again and has not said so yet.
    #[test]
    fn an_early_write_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, _]) = reactor(dir.path());
        let mut events = Events::with_capacity(16);
        let (mut slow, conn) = come(&mut reactor, &mut events, ConnKind::Client, address);
        block(&mut reactor, conn, 1 << 20);
        hear(&mut slow, Duration::from_millis(100));
        reactor.send(conn, b"x");
        let hearing = std::thread::spawn(move || hear(&mut slow, Duration::from_secs(3)));
        for _ in 0..1_000 {
            match reactor.slots.session(conn) {
                Some(session) if session.queued_bytes() > 0 => reactor.turn(&mut events).unwrap(),
                _ => break,
            }
        }
        let owed = reactor.slots.session(conn).map(|session| session.queued_bytes());
        assert_eq!(owed, Some(0), "given up on");
        assert!(hearing.join().unwrap() >= 1 << 20);
    }

    /// Goal: two servers that have much to flush to each other must not wait for each other to
    /// read.
    #[test]
    fn a_peer_is_heard_whatever_it_is_owed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [_, address]) = reactor(dir.path());
        let mut events = Events::with_capacity(16);
        let (mut peer, conn) = come(&mut reactor, &mut events, ConnKind::Peer, address);
        let high_water = reactor.config.limits.high_water_bytes;
        block(&mut reactor, conn, high_water);
        greet(&reactor, &mut peer);
        peer.write_all(b"AT Bona +0 kiwi +1-1 1\n").unwrap();
        while reactor.server.store().is_empty() {
            assert!(reactor.slots.connection(conn).is_some(), "nobody heard it");
            reactor.turn(&mut events).unwrap();
        }
    }

    /// Goal: a peer that dies in the middle of a report has not made another one.
    #[test]
    fn half_a_line_of_a_peer_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [_, address]) = reactor(dir.path());
        let mut events = Events::with_capacity(16);
        let (mut peer, _) = come(&mut reactor, &mut events, ConnKind::Peer, address);
        greet(&reactor, &mut peer);
        peer.write_all(b"AT Bona +0 whole +1-1 1\nAT Bona +0 half +1-1 15200").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        while reactor.slots.alive(ConnKind::Peer) > 0 {
            reactor.turn(&mut events).unwrap();
        }
        assert_eq!(reactor.server.store().len(), 1);
    }

    /// Goal: a peer that catches up has one piece of the store in a turn, however fast it reads.
    #[test]
    fn a_peer_that_catches_up_leaves_turns_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [_, address]) = reactor(dir.path());
        let mut events = Events::with_capacity(16);
        let limits = LineLimits { line_bytes_max: 8192, endless_bytes_max: 1 << 20 };
        let nobody = ConnId::new(ConnKind::Client, 0, 99);
        for client in 0..20_000 {
            let line = format!("IAMAT client-{client} +1.5-1.5 1520023934\n");
            reactor.tell_lines(nobody, &mut Lines::new(line.as_bytes(), limits));
            reactor.tell_deferred();
        }
        let (mut peer, conn) = come(&mut reactor, &mut events, ConnKind::Peer, address);
        greet(&reactor, &mut peer);
        let (mut heard, mut turns) = (0, 0);
        while heard < 20_000 * 50 {
            reactor.turn(&mut events).unwrap();
            assert!(reactor.slots.connection(conn).is_some());
            let piece = hear(&mut peer, Duration::from_millis(1));
            assert!(piece < 4 * FLUSH_EARLY, "{piece} bytes after turn {turns}");
            (heard, turns) = (heard + piece, turns + 1);
        }
    }

    /// Goal: those who ask in turn share one pair of buffers, owned only until the answer is sent;
    /// then nothing is allocated, from the read to the write.
    #[test]
    fn buffers_go_from_hand_to_hand() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, _]) = reactor(dir.path());
        // A turn that a busy machine keeps waiting would be logged, which allocates.
        reactor.config.limits.slow_turn = None;
        let mut events = Events::with_capacity(16);
        let mut clients = [0; 3].map(|_| TcpStream::connect(address).unwrap());
        let mut ask_all = |time: u32| {
            let mut allocations = 0;
            for client in &mut clients {
                // In one piece: half a line would have to be kept.
                let line = format!("IAMAT kiwi +34.068930-118.445127 {time}.918963997\n");
                client.write_all(line.as_bytes()).unwrap();
                let asked = reactor.server.counters().lines_in + 1;
                while reactor.server.counters().lines_in < asked {
                    let turn = || reactor.turn(&mut events).unwrap();
                    allocations += allocation_counter::measure(turn).count_total;
                }
                let count = client.read(&mut [0; 1024]).unwrap();
                assert!(count > 0 && reactor.buffers.idle() == 1);
            }
            allocations
        };
        assert!((0..10).map(|n| ask_all(1_520_000_000 + n)).sum::<u64>() > 0, "the counter counts");
        assert_eq!((0..10).map(|n| ask_all(1_520_000_010 + n)).sum::<u64>(), 0);
    }
}
