//! How long a connection may take, and the rounds in which all are looked at. Apart because a
//! connection only notes when it last moved; who compares that with the clock, and when, is
//! decided here.
//!
//! No connection has a timer. Now and then a round goes along the slab: whoever has passed a
//! deadline is hung up on, and the earliest of the others' deadlines is when the next round
//! begins, but not sooner than `Patience::pause` and not later than `Patience::look_every`. A byte
//! that arrives costs a store to a field, a connection that waits costs nothing but its place, and
//! a server without connections has no rounds and sleeps.
//!
//! ```text
//!    round                  round                       round
//!   ───┼──────────────────────┼───────────────────────────┼─────────▶
//!      │ a, b, c have time;   │ b is hung up on;          │ …
//!      └ b's ends the first ──┘ now a's ends the first ───┘
//! ```
//!
//! A deadline is kept late by a pause and a round's length at most, and never early. One that
//! begins behind the round's back cannot end before the next: it is longer than the time between
//! two rounds, or whoever begins it says so (`Reactor::look`).
//!
//! asyncio: `call_later` and `cancel` at every change; its heap then fills with the cancelled.

use std::ops::{Add, Range};
use std::time::Duration;

use log::info;

use super::connection::{Hearing, Phase, UNFINISHED_LINE};
use super::slots::Slot;
use super::{EVENTS_MAX, Reactor};
use crate::config::Limits;
use crate::trace::Note;
use herd_core::names::ConnId;

/// A moment on the monotonic clock, in tenths of a second: four bytes last for 13 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u32);

impl Moment {
    pub fn at(monotonic: Duration) -> Moment {
        Moment((monotonic.as_secs() * 10) as u32 + monotonic.subsec_millis() / 100)
    }

    pub fn as_duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0) * 100)
    }
}

/// Rounded up, and one more for the part of a tenth that `Moment::at` cut off: a deadline may come
/// late, never early.
impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, wait: Duration) -> Moment {
        let tenths = wait.as_secs() * 10 + u64::from(wait.subsec_millis().div_ceil(100)) + 1;
        Moment(self.0.saturating_add(tenths.try_into().unwrap_or(u32::MAX)))
    }
}

/// How long a connection may do nothing of what is expected of it.
pub struct Patience {
    pub idle: Duration,
    pub first_byte: Duration,
    pub partial_line: Duration,
    pub write_stall: Duration,
    pub dial: Duration,
    pub linger: Duration,
}

impl Patience {
    /// How long we go on reading after our last word (RFC 9112 section 9.6 has the reason).
    const LINGER: Duration = Duration::from_secs(2);
    const PAUSE_MAX: Duration = Duration::from_millis(500);

    pub fn new(limits: &Limits) -> Patience {
        Patience {
            idle: limits.idle,
            first_byte: limits.first_byte,
            partial_line: limits.partial_line,
            write_stall: limits.write_stall,
            dial: limits.dial,
            linger: Self::LINGER,
        }
    }

    /// From the beginning of one round to that of the next, at least. A look takes some 15 ns: if
    /// of 100,000 connections one is always about to pass its deadline, 0.3 % of the time goes
    /// into rounds. For who waits for shorter deadlines it is as much shorter.
    fn pause(&self) -> Duration {
        Self::PAUSE_MAX.min(self.look_every() / 4)
    }

    /// How often a connection is looked at: none of its deadlines can begin and pass between two
    /// looks, save those of a dial and of lingering.
    fn look_every(&self) -> Duration {
        let shortest = [self.idle, self.first_byte, self.partial_line, self.write_stall];
        shortest.into_iter().min().unwrap_or(self.idle)
    }
}

/// Where the round is, and when the next one begins.
#[derive(Default)]
pub struct Round {
    /// Slots that it has still to look at.
    rest: Range<usize>,
    began: Moment,
    /// None if nobody is there to be looked at.
    next: Option<Moment>,
    /// Turns in a row in which nobody was judged.
    full_batches: usize,
}

impl Round {
    /// Looks in one turn of the loop: some 60 µs.
    const LOOKS_MAX: usize = 4096;

    /// Whether deadlines may be judged in this turn: all that came before it is read by now. A full
    /// batch of events leaves others in the kernel. After as many turns as there are batches of
    /// connections, all have been read once, however many come meanwhile.
    pub fn may_judge(&mut self, events: usize, connections: usize) -> bool {
        let waits = events == EVENTS_MAX && self.full_batches < connections / EVENTS_MAX;
        self.full_batches = if waits { self.full_batches + 1 } else { 0 };
        !waits
    }

    /// When there will be somebody to look at.
    pub fn next_deadline(&self) -> Option<Duration> {
        match self.rest.is_empty() {
            true => self.next.map(Moment::as_duration),
            false => Some(self.began.as_duration()),
        }
    }

    /// Somebody must be looked at then.
    fn note(&mut self, deadline: Moment, pause: Duration) {
        let next = deadline.max(self.began + pause);
        self.next = Some(self.next.map_or(next, |other| other.min(next)));
    }

    /// The slots to look at in this turn, of so many places.
    fn advance(&mut self, now: Moment, places: usize) -> Range<usize> {
        if self.rest.is_empty() && self.next.is_some_and(|next| next <= now) {
            *self = Round { rest: 0..places, began: now, next: None, ..Round::default() };
        }
        let start = self.rest.start;
        self.rest.start = self.rest.end.min(start + Self::LOOKS_MAX);
        start..self.rest.start
    }
}

impl Reactor {
    /// Looks at some of the connections, if a round is due or under way.
    pub(super) fn go_round(&mut self) {
        let slots = self.round.advance(self.moment(), self.slots.places());
        if slots.is_empty() {
            return;
        }
        let span = self.trace.begin();
        for slot in slots {
            if let Some(Slot::Connection(connection)) = self.slots.at(slot) {
                let conn = connection.id();
                self.look(conn);
            }
        }
        self.trace.end(span, || Note::Round);
    }

    /// Ends a connection whose patience has ended, else sees to it that a round comes in time.
    pub(super) fn look(&mut self, conn: ConnId) {
        let now = self.moment();
        let latest = now + self.patience.look_every();
        let Some(connection) = self.slots.connection(conn) else { return };
        let phase = connection.phase();
        match connection.deadline(&self.patience) {
            Some((deadline, why)) if deadline <= now => {
                info!("{conn} {why}");
                match phase {
                    Phase::Connecting { peer } => self.dial_over(conn, peer, "no answer in time"),
                    // It is taken for whole, as at a half-close, and answered before the close.
                    Phase::Open if why == UNFINISHED_LINE => {
                        connection.hearing = Hearing::Ended;
                        self.round.note(latest, self.patience.pause());
                        self.queue_if_unfinished(conn);
                    }
                    _ => self.kill(conn),
                }
            }
            Some((deadline, _)) => self.round.note(deadline.min(latest), self.patience.pause()),
            None => self.round.note(latest, self.patience.pause()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use mio::Events;

    use super::*;
    use crate::reactor::Unfinished;
    use crate::reactor::connection::Heard;
    use crate::reactor::slots::Slots;
    use crate::reactor::tests::reactor;
    use herd_core::LinkState;
    use herd_core::names::{Door, PeerId};

    #[test]
    fn a_deadline_is_never_early() {
        for start_ms in [0, 1, 99, 100, 12_345] {
            for wait_ms in [100, 250, 1_000, 10_000] {
                let [start, wait] = [start_ms, wait_ms].map(Duration::from_millis);
                let due = (Moment::at(start) + wait).as_duration();
                assert!(due >= start + wait && due <= start + wait + Duration::from_millis(200));
            }
        }
    }

    /// How many have said something.
    fn spoken(slots: &mut Slots) -> usize {
        let mut names = slots.names();
        names.retain(|&conn| {
            slots.connection(conn).is_some_and(|conn| conn.flags.heard != Heard::Nothing)
        });
        names.len()
    }

    /// Goal: each deadline is kept, not early and hardly late, by few rounds, and by none when
    /// nobody is left. Method: real connections, a made-up clock.
    #[test]
    fn a_round_comes_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, _]) = reactor(dir.path());
        let mut events = Events::with_capacity(16);
        let limits = &reactor.config.limits;
        let waits = [limits.first_byte, limits.partial_line, limits.idle];
        let mut clients = waits.map(|_| TcpStream::connect(address).unwrap());
        for (client, text) in clients.iter_mut().zip(["", "IAMAT", "NOPE\n"]) {
            client.write_all(text.as_bytes()).unwrap();
        }
        while reactor.slots.alive(Door::Client) < 3 || spoken(&mut reactor.slots) < 2 {
            reactor.turn(&mut events).unwrap();
        }

        let (names, start) = (reactor.slots.names(), reactor.now.monotonic);
        let (mut gone, mut rounds) = ([None; 3], 0);
        for tenth in 0..3_100 {
            let elapsed = Duration::from_millis(100) * tenth;
            reactor.now.monotonic = start + elapsed;
            reactor.go_round();
            rounds += u32::from(reactor.round.began == reactor.moment());
            for (conn, gone) in names.iter().zip(&mut gone) {
                let connection = reactor.slots.connection(*conn);
                if gone.is_none() && connection.is_none_or(|conn| conn.hearing != Hearing::Open) {
                    *gone = Some(elapsed);
                    // An unfinished line would be taken first, in a turn.
                    reactor.kill(*conn);
                }
            }
        }
        let late_max = Patience::PAUSE_MAX + Duration::from_millis(500);
        for (gone, wait) in gone.into_iter().zip(waits) {
            let gone = gone.expect("everybody is hung up on");
            // They came before the clock was ours, by less than the test takes.
            let came = Duration::from_secs(5);
            assert!(gone + came >= wait && gone <= wait + late_max, "{wait:?} was {gone:?}");
        }
        assert!((30..40).contains(&rounds), "{rounds} rounds in five minutes");
        assert_eq!(reactor.round.next_deadline(), None);
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

    /// Goal: when the process was stopped, nobody is ended by the time that has passed, be it by a
    /// deadline of the reactor's or by one of the core's, and time goes on from there. Method: a
    /// clock that jumps, far ends that do nothing.
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

        let alive = |reactor: &Reactor| [Door::Client, Door::Peer].map(|d| reactor.slots.alive(d));
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
            reactor.go_round();
            let unfinished = std::mem::take(&mut reactor.unfinished);
            for next in unfinished {
                let Unfinished::Connection(conn) = next else { continue };
                reactor.take_turn(conn);
            }
            reactor.empty_mailbox();
        }
        assert_eq!(alive(&reactor), [0, 0]);
        drop((silent, stranger));
    }

    /// Goal: who kept a deadline is not ended because the loop came late. Method: the end of a line
    /// lies in the kernel when the deadline has passed.
    #[test]
    fn deadlines_are_judged_after_reading() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, _]) = reactor(dir.path());
        reactor.patience.partial_line = Duration::from_millis(300);
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
            assert_eq!(reactor.slots.alive(Door::Client), 1, "its line had come");
            reactor.turn(&mut events).unwrap();
        }
        assert!(reactor.now.monotonic >= late, "so short a pause is none");
    }

    #[test]
    fn a_crowd_is_read_before_it_is_judged() {
        let mut round = Round::default();
        let mut judged = |events, crowd| round.may_judge(events, crowd);
        assert!(judged(EVENTS_MAX - 1, 5_000) && judged(EVENTS_MAX, 1_000));
        // Five batches are all of them, whatever comes meanwhile.
        let crowd = 4 * EVENTS_MAX + 1;
        let turns: Vec<_> = (0..10).map(|_| judged(EVENTS_MAX, crowd)).collect();
        let once = [false, false, false, false, true];
        assert_eq!(turns, [once, once].concat());
        assert!(!judged(EVENTS_MAX, crowd) && judged(7, crowd));
    }

    /// Goal: a crowd is looked at in parts, everybody once, and the loop does not sleep meanwhile.
    #[test]
    fn a_round_takes_several_turns() {
        let mut round = Round::default();
        let [before, now] = [9, 10].map(|time| Moment::at(Duration::from_secs(time)));
        round.note(now, Duration::from_millis(500));
        assert_eq!(round.advance(before, 10_000), 0..0);
        let (mut seen, mut turns) = (0, 0);
        while seen < 10_000 {
            assert!(round.next_deadline() <= Some(now.as_duration()));
            let part = round.advance(now, 10_000);
            assert!(part.start == seen && !part.is_empty());
            (seen, turns) = (part.end, turns + 1);
        }
        assert!((2..10).contains(&turns), "{turns} turns");
        assert_eq!((round.advance(now, 10_000), round.next_deadline()), (10_000..10_000, None));
    }
}
