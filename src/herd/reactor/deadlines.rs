//! Deadlines in a turn: when they may be checked, and which connections have their look now. What a
//! deadline is, a session knows (`herd_core::session::Session::deadline`); when the next scan is
//! due, `herd_core::session::DeadlineScan`.

use super::slots::Slot;
use super::{EVENTS_MAX, Reactor};
use herd_core::driver::Driver;

/// How far reading is behind what has come.
#[derive(Default)]
pub struct Backlog {
    /// Turns in a row that left events in the kernel.
    full_batches: usize,
}

impl Backlog {
    /// Whether deadlines may be checked in this turn: all that came before it is read by now. A
    /// full batch of events leaves others in the kernel. After as many turns as there are batches
    /// of connections, all have been read once, however many come meanwhile.
    pub fn may_judge(&mut self, events: usize, connections: usize) -> bool {
        let waits = events == EVENTS_MAX && self.full_batches < connections / EVENTS_MAX;
        self.full_batches = if waits { self.full_batches + 1 } else { 0 };
        !waits
    }
}

impl Reactor {
    /// Looks at some of the connections, if a scan is due or under way. Says whether one was.
    pub(super) fn scan_deadlines(&mut self) -> bool {
        let slots = self.scan.advance(self.moment(), self.slots.places());
        let is_due = !slots.is_empty();
        for slot in slots {
            let conn = match self.slots.at(slot) {
                Some(Slot::Connection(connection)) => connection.id(),
                Some(Slot::Wrapped(wrapped)) => wrapped.connection.id(),
                _ => continue,
            };
            self.check_deadline(conn);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;
    use std::time::Duration;

    use mio::Events;

    use super::*;
    use crate::reactor::Unfinished;
    use crate::reactor::slots::Slots;
    use crate::reactor::tests::reactor;
    use herd_core::LinkState;
    use herd_core::names::{ConnKind, PeerId};
    use herd_core::session::{CloseReason, Expiry, Reading, Received};

    /// How many have said something.
    fn spoken(slots: &mut Slots) -> usize {
        let mut names = slots.names();
        names.retain(|&conn| {
            slots
                .connection(conn)
                .is_some_and(|conn| conn.session.flags.received != Received::Nothing)
        });
        names.len()
    }

    /// Goal: each deadline is kept, not early and hardly late, by few scans, and by none when no
    /// connection is left. Method: real connections, a made-up clock.
    #[test]
    fn a_scan_comes_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, _]) = reactor(dir.path());
        let mut events = Events::with_capacity(16);
        let timeouts = &reactor.config.limits.timeouts;
        let waits = [timeouts.first_byte, timeouts.partial_line, timeouts.idle];
        let mut clients = waits.map(|_| TcpStream::connect(address).unwrap());
        for (client, text) in clients.iter_mut().zip(["", "IAMAT", "NOPE\n"]) {
            client.write_all(text.as_bytes()).unwrap();
        }
        while reactor.slots.alive(ConnKind::Client) < 3 || spoken(&mut reactor.slots) < 2 {
            reactor.turn(&mut events).unwrap();
        }

        let (names, start) = (reactor.slots.names(), reactor.now.monotonic);
        let (mut gone, mut scans) = ([None; 3], 0);
        for tenth in 0..3_100 {
            let elapsed = Duration::from_millis(100) * tenth;
            reactor.now.monotonic = start + elapsed;
            reactor.scan_deadlines();
            scans += u32::from(reactor.scan.began() == reactor.moment());
            for (conn, gone) in names.iter().zip(&mut gone) {
                let connection = reactor.slots.connection(*conn);
                if gone.is_none()
                    && connection.is_none_or(|conn| conn.session.reading != Reading::Open)
                {
                    *gone = Some(elapsed);
                    // An unfinished line would be taken first, in a turn.
                    reactor.close_now(*conn, CloseReason::Expired(Expiry::Idle));
                }
            }
        }
        let late_max = Duration::from_secs(1);
        for (gone, wait) in gone.into_iter().zip(waits) {
            let gone = gone.expect("everybody is hung up on");
            // They came before the clock was ours, by less than the test takes.
            let came = Duration::from_secs(5);
            assert!(gone + came >= wait && gone <= wait + late_max, "{wait:?} was {gone:?}");
        }
        assert!((30..40).contains(&scans), "{scans} scans in five minutes");
        assert_eq!(reactor.scan.next_deadline(), None);
    }

    /// Writes an empty line to the server and has it turn, until this holds.
    fn turn_until(
        reactor: &mut Reactor,
        events: &mut Events,
        chatter: &mut TcpStream,
        mut holds: impl FnMut(&mut Reactor) -> bool,
    ) {
        while !holds(reactor) {
            chatter.write_all(b"\n").unwrap();
            reactor.turn(events).unwrap();
        }
    }

    /// Goal: when the process was stopped, no connection is ended by the time that has passed, be
    /// it by a deadline of the reactor's or by one of the core's, and time goes on from there.
    /// Method: a clock that jumps, far ends that do nothing.
    #[test]
    fn a_pause_of_ours_is_nobodys_silence() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, peer_address]) = reactor(dir.path());
        let mut events = Events::with_capacity(16);
        let [mut chatter, silent, mut partial, mut idle] =
            [0; 4].map(|_| TcpStream::connect(address).unwrap());
        let [mut peer, stranger] = [0; 2].map(|_| TcpStream::connect(peer_address).unwrap());
        partial.write_all(b"IAMAT").unwrap();
        idle.write_all(b"NOPE\n").unwrap();
        let (herd, nonce) = (&reactor.config.herd, "0".repeat(32));
        writeln!(peer, "HERD/1 Bona Bailey {herd} {nonce} -").unwrap();
        let ups = |reactor: &Reactor| {
            let peers = 0..reactor.config.peers.len();
            peers
                .filter(|&at| reactor.server.peer(PeerId(at as u16)).state == LinkState::Up)
                .count()
        };
        turn_until(&mut reactor, &mut events, &mut chatter, |reactor| {
            ups(reactor) == 1 && reactor.server.counters().lines_in > 2
        });

        let alive =
            |reactor: &Reactor| [ConnKind::Client, ConnKind::Peer].map(|d| reactor.slots.alive(d));
        let before = alive(&reactor);
        assert_eq!((before[0], before[1] >= 2), (4, true));
        for pause in [12, 60, 3600] {
            reactor.clocks.skip(Duration::from_secs(pause));
            let mut turns = 0..5;
            turn_until(&mut reactor, &mut events, &mut chatter, |_| turns.next().is_none());
            assert_eq!((alive(&reactor), ups(&reactor)), (before, 1), "after {pause} s");
        }

        // What passes while it turns does count.
        let start = reactor.now.monotonic;
        for second in 0..=310 {
            reactor.now.monotonic = start + Duration::from_secs(second);
            reactor.fire_timers();
            reactor.scan_deadlines();
            let unfinished = std::mem::take(&mut reactor.unfinished);
            for next in unfinished {
                let Unfinished::Connection(conn) = next else { continue };
                reactor.take_turn(conn);
            }
            reactor.tell_deferred();
        }
        assert_eq!(alive(&reactor), [0, 0]);
        drop((silent, stranger));
    }

    /// Goal: a connection that kept a deadline is not ended because the loop came late. Method: the
    /// end of a line lies in the kernel when the deadline has passed.
    #[test]
    fn deadlines_are_judged_after_reading() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, _]) = reactor(dir.path());
        reactor.config.limits.timeouts.partial_line = Duration::from_millis(300);
        let mut events = Events::with_capacity(16);
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"IAMAT kiwi +1-1 ").unwrap();
        while spoken(&mut reactor.slots) == 0 {
            reactor.turn(&mut events).unwrap();
        }
        client.write_all(b"7\n").unwrap();
        reactor.clocks.skip(Duration::from_millis(900));
        let late = reactor.clocks.elapsed();
        while reactor.server.store().is_empty() {
            assert_eq!(reactor.slots.alive(ConnKind::Client), 1, "its line had come");
            reactor.turn(&mut events).unwrap();
        }
        assert!(reactor.now.monotonic >= late, "so short a pause is none");
    }

    #[test]
    fn a_crowd_is_read_before_it_is_judged() {
        let mut backlog = Backlog::default();
        let mut judged = |events, crowd| backlog.may_judge(events, crowd);
        assert!(judged(EVENTS_MAX - 1, 5_000) && judged(EVENTS_MAX, 1_000));
        // Five batches are all of them, however many come meanwhile.
        let crowd = 4 * EVENTS_MAX + 1;
        let turns: Vec<_> = (0..10).map(|_| judged(EVENTS_MAX, crowd)).collect();
        let once = [false, false, false, false, true];
        assert_eq!(turns, [once, once].concat());
        assert!(!judged(EVENTS_MAX, crowd) && judged(7, crowd));
    }
}
