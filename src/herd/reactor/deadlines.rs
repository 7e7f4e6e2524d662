//! The deadline scan: now and then all connections are compared with the clock. A session only
//! remembers when it last moved (`herd_core::session::Session::deadline`).
//!
//! No connection has a timer. A scan goes along the slab: a connection that has passed a deadline
//! is closed, and the earliest of the others' deadlines is when the next scan begins, but not
//! sooner than `pause` and not later than `scan_every`. A byte that arrives costs a store to a
//! field, a connection that waits costs only its place, and a server without connections has no
//! scans and sleeps.
//!
//! ```text
//!    scan                   scan                        scan
//!   ───┼──────────────────────┼───────────────────────────┼─────────▶
//!      │ a, b, c have time;   │ b is closed;              │ …
//!      └ b's ends the first ──┘ now a's ends the first ───┘
//! ```
//!
//! A deadline is kept late by a pause and a scan's length at most, and never early. One that begins
//! between two scans cannot end before the next: it is longer than the time between them, or it is
//! announced where it begins (`Reactor::check_deadline`).
//!
//! asyncio: `call_later` and `cancel` at every change; its heap then fills with the cancelled.

use std::ops::Range;
use std::time::Duration;

use super::slots::Slot;
use super::{EVENTS_MAX, Reactor};
use crate::config::Limits;
use crate::logging::events::{CloseReason, Event};
use herd_core::names::ConnId;
use herd_core::session::{Expiry, Moment, Phase, Timeouts};

/// How long we go on reading after our last byte.
const LINGER: Duration = Duration::from_secs(2);
/// The longest pause between two scans.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The timeouts of connections, as configured.
pub fn timeouts(limits: &Limits) -> Timeouts {
    Timeouts {
        idle: limits.idle,
        first_byte: limits.first_byte,
        partial_line: limits.partial_line,
        write_stall: limits.write_stall,
        dial: limits.dial,
        linger: LINGER,
    }
}

/// From the beginning of one scan to that of the next, at least. A look takes some 15 ns: if of
/// 100,000 connections one is always about to pass its deadline, 0.3 % of the time goes into scans.
/// Shorter timeouts make it as much shorter.
fn pause(timeouts: &Timeouts) -> Duration {
    PAUSE_MAX.min(scan_every(timeouts) / 4)
}

/// How often a connection is looked at: none of its deadlines can begin and pass between two scans,
/// save those of a dial and of lingering.
fn scan_every(timeouts: &Timeouts) -> Duration {
    let shortest =
        [timeouts.idle, timeouts.first_byte, timeouts.partial_line, timeouts.write_stall];
    shortest.into_iter().min().unwrap_or(timeouts.idle)
}

/// Where the scan is, and when the next one begins.
#[derive(Default)]
pub struct DeadlineScan {
    /// Slots that it has still to look at.
    rest: Range<usize>,
    began: Moment,
    /// `None` if there is no connection to look at.
    next: Option<Moment>,
    /// Turns in a row in which no deadline was checked.
    full_batches: usize,
}

impl DeadlineScan {
    /// Looks in one turn of the loop: some 60 µs.
    const LOOKS_MAX: usize = 4096;

    /// Whether deadlines may be checked in this turn: all that came before it is read by now. A
    /// full batch of events leaves others in the kernel. After as many turns as there are batches
    /// of connections, all have been read once, however many come meanwhile.
    pub fn may_judge(&mut self, events: usize, connections: usize) -> bool {
        let waits = events == EVENTS_MAX && self.full_batches < connections / EVENTS_MAX;
        self.full_batches = if waits { self.full_batches + 1 } else { 0 };
        !waits
    }

    /// When the next connection must be looked at.
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.rest.is_empty() {
            self.next.map(Moment::as_duration)
        } else {
            Some(self.began.as_duration())
        }
    }

    /// Notes that a connection must be looked at then.
    fn note(&mut self, deadline: Moment, pause: Duration) {
        let next = deadline.max(self.began + pause);
        self.next = Some(self.next.map_or(next, |other| other.min(next)));
    }

    /// The slots to look at in this turn, of so many places.
    fn advance(&mut self, now: Moment, places: usize) -> Range<usize> {
        if self.rest.is_empty() && self.next.is_some_and(|next| next <= now) {
            *self = DeadlineScan { rest: 0..places, began: now, ..DeadlineScan::default() };
        }
        let start = self.rest.start;
        self.rest.start = self.rest.end.min(start + Self::LOOKS_MAX);
        start..self.rest.start
    }
}

impl Reactor {
    /// Looks at some of the connections, if a scan is due or under way. Says whether one was.
    pub(super) fn scan_deadlines(&mut self) -> bool {
        let slots = self.scan.advance(self.moment(), self.slots.places());
        let is_due = !slots.is_empty();
        for slot in slots {
            if let Some(Slot::Connection(connection)) = self.slots.at(slot) {
                let conn = connection.id();
                self.check_deadline(conn);
            }
        }
        is_due
    }

    /// Ends a connection that has waited for too long, else sees to it that a scan comes in time.
    pub(super) fn check_deadline(&mut self, conn: ConnId) {
        let now = self.moment();
        let latest = now + scan_every(&self.timeouts);
        let Some(session) = self.slots.session(conn) else { return };
        let next = match session.deadline(&self.timeouts) {
            Some((deadline, expiry)) if deadline <= now => {
                let phase = session.phase();
                let reason = match expiry {
                    Expiry::PartialLine => {
                        session.end_partial_line();
                        Event::LineTimeout { conn }.log();
                        self.queue_if_unfinished(conn);
                        return self.scan.note(latest, pause(&self.timeouts));
                    }
                    Expiry::Dial => {
                        let Phase::Connecting { peer } = phase else { return };
                        return self.dial_over(conn, peer, "no answer in time");
                    }
                    Expiry::FirstByte => CloseReason::FirstByteTimeout,
                    Expiry::Idle => CloseReason::IdleTimeout,
                    Expiry::WriteStall => CloseReason::WriteTimeout,
                    Expiry::Linger => CloseReason::LingerTimeout,
                };
                return self.kill(conn, reason);
            }
            Some((deadline, _)) => deadline.min(latest),
            None => latest,
        };
        self.scan.note(next, pause(&self.timeouts));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use mio::Events;

    use super::*;
    use crate::reactor::Unfinished;
    use crate::reactor::slots::Slots;
    use crate::reactor::tests::reactor;
    use herd_core::LinkState;
    use herd_core::names::{ConnKind, PeerId};
    use herd_core::session::{Reading, Received};

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
        let limits = &reactor.config.limits;
        let waits = [limits.first_byte, limits.partial_line, limits.idle];
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
            scans += u32::from(reactor.scan.began == reactor.moment());
            for (conn, gone) in names.iter().zip(&mut gone) {
                let connection = reactor.slots.connection(*conn);
                if gone.is_none()
                    && connection.is_none_or(|conn| conn.session.reading != Reading::Open)
                {
                    *gone = Some(elapsed);
                    // An unfinished line would be taken first, in a turn.
                    reactor.kill(*conn, CloseReason::IdleTimeout);
                }
            }
        }
        let late_max = PAUSE_MAX + Duration::from_millis(500);
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
        reactor.timeouts.partial_line = Duration::from_millis(300);
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
        let mut scan = DeadlineScan::default();
        let mut judged = |events, crowd| scan.may_judge(events, crowd);
        assert!(judged(EVENTS_MAX - 1, 5_000) && judged(EVENTS_MAX, 1_000));
        // Five batches are all of them, however many come meanwhile.
        let crowd = 4 * EVENTS_MAX + 1;
        let turns: Vec<_> = (0..10).map(|_| judged(EVENTS_MAX, crowd)).collect();
        let once = [false, false, false, false, true];
        assert_eq!(turns, [once, once].concat());
        assert!(!judged(EVENTS_MAX, crowd) && judged(7, crowd));
    }

    /// Goal: a crowd is looked at in parts, each connection once, and the loop does not sleep
    /// meanwhile.
    #[test]
    fn a_scan_takes_several_turns() {
        let mut scan = DeadlineScan::default();
        let [before, now] = [9, 10].map(|time| Moment::at(Duration::from_secs(time)));
        scan.note(now, Duration::from_millis(500));
        assert_eq!(scan.advance(before, 10_000), 0..0);
        let (mut seen, mut turns) = (0, 0);
        while seen < 10_000 {
            assert!(scan.next_deadline() <= Some(now.as_duration()));
            let part = scan.advance(now, 10_000);
            assert!(part.start == seen && !part.is_empty());
            (seen, turns) = (part.end, turns + 1);
        }
        assert!((2..10).contains(&turns), "{turns} turns");
        assert_eq!((scan.advance(now, 10_000), scan.next_deadline()), (10_000..10_000, None));
    }
}
