//! How much is done in one turn. This is an account only: what is done, and for which connection,
//! is decided elsewhere.
//!
//! A turn is bounded in work, not in connections: however many have much to do, the loop is back at
//! the kernel after some milliseconds, and there finds the connections that have little to do. They
//! are served at once; the others wait in their queues for the next turn. So one command takes a
//! turn or two, however busy the other connections are.
//!
//! asyncio: `_run_once` runs each handle that is ready, and each runs for as long as it likes.

use herd_core::names::ConnKind;

/// What one turn has done so far.
#[derive(Default)]
pub struct Work {
    /// Lines of clients, and of peers.
    pub lines: usize,
    pub peer_lines: usize,
    pub read: usize,
    pub answers: usize,
    pub answer_bytes: usize,
    pub written: usize,
}

impl Work {
    /// Lines of all clients, after which those with work left wait: some two milliseconds. Peers
    /// have a share of their own, as great: each speaks for many clients.
    const LINES_MAX: usize = 4096;
    /// Lines that the turn of one connection counts for at least: a system call.
    const LINES_A_TURN: usize = 16;
    /// Bytes that they have sent, likewise; and the bytes read from each connection that comes
    /// after that.
    const READ_MAX: usize = 4 << 20;
    const READ_A_TURN: usize = 4 * 1024;
    /// Answers from memory, and their bytes: some three milliseconds. One is always given.
    const ANSWERS_MAX: usize = 64;
    const ANSWER_BYTES_MAX: usize = 1 << 20;
    /// Bytes written to connections with much to flush.
    const WRITTEN_MAX: usize = 4 << 20;

    /// All of it, as the log tells it.
    pub fn describe(&self) -> String {
        let Work { lines, peer_lines, read, answers, answer_bytes, written } = self;
        format!(
            "lines={lines} peer_lines={peer_lines} read={read} answers={answers} \
             answer_bytes={answer_bytes} written={written}"
        )
    }

    /// A connection has had a turn, in which so many bytes of it were read and so many lines taken.
    pub fn heard(&mut self, kind: ConnKind, bytes: usize, lines: usize) {
        let lines = lines.max(Self::LINES_A_TURN);
        match kind {
            ConnKind::Peer => self.peer_lines += lines,
            _ => (self.read, self.lines) = (self.read + bytes, self.lines + lines),
        }
    }

    /// An answer of so many bytes was given.
    pub fn answered(&mut self, bytes: usize) {
        self.answers += 1;
        self.answer_bytes += bytes;
    }

    /// Whether connections with work left must wait for the next turn.
    pub fn is_enough(&self, kind: ConnKind) -> bool {
        match kind {
            ConnKind::Peer => self.peer_lines >= Self::LINES_MAX,
            _ => self.lines >= Self::LINES_MAX || self.read >= Self::READ_MAX,
        }
    }

    /// How many lines of one connection may be taken, which could have so many in a turn if it were
    /// alone.
    pub fn lines_max(&self, kind: ConnKind, alone: usize) -> usize {
        if self.is_enough(kind) { Self::LINES_A_TURN } else { alone }
    }

    /// How many bytes of one connection may be read, likewise.
    pub fn read_max(&self, kind: ConnKind, alone: usize) -> usize {
        if self.is_enough(kind) { Self::READ_A_TURN } else { alone }
    }

    pub fn may_answer(&self) -> bool {
        self.answers < Self::ANSWERS_MAX && self.answer_bytes < Self::ANSWER_BYTES_MAX
    }

    /// Whether more than a little may be written.
    pub fn may_write_much(&self) -> bool {
        self.written < Self::WRITTEN_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    use mio::Events;

    use super::*;
    use crate::reactor::tests::reactor;
    use crate::reactor::{EVENTS_MAX, Reactor};
    use herd_core::driver::Driver;

    /// What a connection may have beyond a bound that was reached: one read, and a few answers.
    const LINES_BEYOND: usize = 256;
    const ANSWERS_BEYOND: usize = 8;
    /// What a hog has to say.
    const REPORTS: usize = 2_000;

    fn come(address: SocketAddr, text: &str) -> TcpStream {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(text.as_bytes()).unwrap();
        client
    }

    /// Turns until this holds. Looks after each turn whether it was bounded.
    fn turn_until(
        reactor: &mut Reactor,
        events: &mut Events,
        mut holds: impl FnMut(&mut Reactor) -> bool,
    ) -> usize {
        let mut turns = 0;
        while !holds(reactor) {
            reactor.turn(events).unwrap();
            turns += 1;
            let work = &reactor.work;
            // A new connection is always read a little.
            let fresh = events.iter().count() * Work::LINES_A_TURN;
            assert!(work.lines <= Work::LINES_MAX + LINES_BEYOND + fresh, "{} lines", work.lines);
            assert!(work.answers <= Work::ANSWERS_MAX + ANSWERS_BEYOND, "{} answers", work.answers);
        }
        turns
    }

    fn reports_of(hog: usize) -> String {
        (0..REPORTS).map(|time| format!("IAMAT hog-{hog} +1-1 {time}\n")).collect()
    }

    /// How many reports of a hog were taken.
    fn taken(reactor: &Reactor, hog: usize) -> usize {
        let held = reactor.server.store().find(format!("hog-{hog}").as_bytes());
        held.map_or(0, |held| {
            1 + std::str::from_utf8(&held.time).unwrap().parse::<usize>().unwrap()
        })
    }

    /// Goal: connections with much to say get equal shares, and all of them together get no more
    /// than a turn may take; a connection with one command is answered at once.
    #[test]
    fn reports_of_many_are_taken_in_turn() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, _]) = reactor(dir.path());
        let mut events = Events::with_capacity(EVENTS_MAX);
        let hogs = 40;
        let _clients = Vec::from_iter((0..hogs).map(|hog| come(address, &reports_of(hog))));
        turn_until(&mut reactor, &mut events, |reactor| taken(reactor, hogs - 1) > 0);

        let lone = come(address, "IAMAT lone +1-1 7\n");
        // One to accept it and one to read it, if its line did not arrive in time for the first.
        let turns = turn_until(&mut reactor, &mut events, |reactor| {
            reactor.server.store().find(b"lone").is_some()
        });
        assert!(turns <= 3, "{turns} turns");

        let all = |reactor: &Reactor| Vec::from_iter((0..hogs).map(|hog| taken(reactor, hog)));
        turn_until(&mut reactor, &mut events, |reactor| {
            let taken = all(reactor);
            let (least, most) = (taken.iter().min().unwrap(), taken.iter().max().unwrap());
            assert!(most - least <= 3 * LINES_BEYOND, "{taken:?}");
            *least == REPORTS
        });
        drop(lone);
    }

    /// Goal: clients that ask for much and read nothing delay no one: each turn gives a few
    /// answers, and no connection has more to flush than the high water and one answer.
    #[test]
    fn questions_of_many_are_answered_in_turn() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, _]) = reactor(dir.path());
        let mut events = Events::with_capacity(EVENTS_MAX);
        turn_until(&mut reactor, &mut events, |reactor| reactor.places.can_answer());
        let mut first = come(address, "IAMAT kiwi +60.1699+24.9384 7\nWHATSAT kiwi 50 20\n");
        turn_until(&mut reactor, &mut events, |reactor| reactor.work.answers > 0);
        let mut answers = Vec::new();
        while !answers.ends_with(b"\n\n") {
            let mut piece = [0; 16 * 1024];
            let count = first.read(&mut piece).unwrap();
            answers.extend_from_slice(&piece[..count]);
        }
        let answer_bytes = answers.len();

        let askers = 5;
        let questions = "WHATSAT kiwi 50 20\n".repeat(2_000);
        let _askers = Vec::from_iter((0..askers).map(|_| come(address, &questions)));
        let high_water = reactor.config.limits.high_water_bytes;
        let owed = |reactor: &mut Reactor| {
            let names = reactor.slots.names();
            let owed =
                names.iter().map(|&conn| reactor.slots.session(conn).unwrap().queued_bytes());
            let owed = Vec::from_iter(owed.filter(|&owed| owed > 0));
            assert!(owed.iter().all(|&owed| owed <= high_water + answer_bytes), "{owed:?}");
            owed
        };
        // Until the kernel takes no more for any of them. They then ask for as much as before.
        turn_until(&mut reactor, &mut events, |reactor| {
            let owed = owed(reactor);
            owed.len() == askers && owed.iter().all(|&owed| owed > high_water)
        });
        let lone = come(address, "IAMAT lone +1-1 7\n");
        let turns = turn_until(&mut reactor, &mut events, |reactor| {
            owed(reactor);
            reactor.server.store().find(b"lone").is_some()
        });
        assert!(turns <= 3, "{turns} turns");
        assert_eq!(reactor.slots.alive(ConnKind::Client), askers + 2);
        drop(lone);
    }

    /// Goal: an answer of a few bytes leaves in its turn, however much others have to flush, and
    /// what was too much for one turn leaves in the next.
    #[test]
    fn little_is_written_first() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, _]) = reactor(dir.path());
        let mut events = Events::with_capacity(16);
        let _clients = [0; 2].map(|_| come(address, "\n"));
        turn_until(&mut reactor, &mut events, |reactor| reactor.slots.alive(ConnKind::Client) == 2);
        let [much, little] = reactor.slots.names()[..] else { panic!("two have come") };
        reactor.work.written = Work::WRITTEN_MAX;
        reactor.send(much, &[b'x'; 60_000]);
        reactor.send(little, &[b'x'; 200]);
        for conn in [much, little] {
            reactor.to_flush.pop_front();
            reactor.flush(conn);
        }
        let mut owed = |conn| reactor.slots.session(conn).unwrap().queued_bytes();
        assert_eq!([much, little].map(&mut owed), [60_000, 0]);
        reactor.turn(&mut events).unwrap();
        assert_eq!(reactor.slots.session(much).unwrap().queued_bytes(), 0);
    }
}
