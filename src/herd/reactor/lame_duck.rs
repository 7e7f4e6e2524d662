//! Before the drain, where an operator wants it: clients are let go of one after the other, so that
//! a load balancer can notice first, and the servers that take them in are not overrun.
//!
//! ```text
//!   TERM, USR2, `herd drain` ──▶ told ───────────────▶ closed ──▶ leaving ──────▶ draining ──▶ …
//!                                │ lame_duck_grace     └──── lame_duck, or ───────┘
//!                                │                           nobody is left
//!   INT ─────────────────────────┴─────────────────────────────────────────────▶
//! ```
//!
//! Nothing else of the loop knows of it: a timer fires, and some connections have a turn after
//! which no more of them is read. Peers are served as ever.

use std::fmt;

use super::drain::Drain;
use super::slots::Slot;
use super::{Due, Reactor};
use crate::config::units::show_duration;
use crate::logging::events::Event;
use crate::status::Outcome;
use herd_core::driver::Driver;
use herd_core::session::Leavers;

/// How often the client door is asked for those that wait there before it is shut: thirty-two come
/// in at a time, and the backlog has room for 4,096.
const LAST_CALLS: usize = 128;

/// How far a server that was told to stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainPhase {
    Told,
    Closed,
    Leaving,
    Draining,
    HandingOver,
    /// The loop ends.
    Over,
}

impl DrainPhase {
    /// Those that can be seen from outside.
    pub const ALL: [DrainPhase; 5] = [
        DrainPhase::Told,
        DrainPhase::Closed,
        DrainPhase::Leaving,
        DrainPhase::Draining,
        DrainPhase::HandingOver,
    ];

    /// The word for it in the log, in metrics and in `herd status`.
    pub fn name(self) -> &'static str {
        match self {
            DrainPhase::Told => "told",
            DrainPhase::Closed => "closed",
            DrainPhase::Leaving => "leaving",
            DrainPhase::Draining => "draining",
            DrainPhase::HandingOver => "handing_over",
            DrainPhase::Over => "over",
        }
    }
}

impl fmt::Display for DrainPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DrainPhase::Told => "told to stop, clients are still taken",
            DrainPhase::Closed => "the client port is closed, connections are served",
            DrainPhase::Leaving => "connections are closed one after the other",
            DrainPhase::Draining => "the last answers are sent",
            DrainPhase::HandingOver => "peers are sent what they have missed",
            DrainPhase::Over => "it ends",
        })
    }
}

impl Reactor {
    /// Begins to stop. `was_signalled` says that another SIGTERM ends it at once.
    pub(super) fn begin_to_stop(&mut self, was_signalled: bool) {
        let limits = &self.config.limits;
        let (grace, lame_duck, drain) = (limits.lame_duck_grace, limits.lame_duck, limits.drain);
        Event::Stopping { grace, lame_duck, drain }.log();
        self.drain = Some(Drain { phase: DrainPhase::Told, was_signalled, leavers: None });
        self.enter(DrainPhase::Told);
        if grace.is_zero() {
            self.shut_client_doors();
        } else {
            self.wheel.start(self.now.monotonic + grace, Due::LameDuck);
        }
    }

    /// An operator wants it to stop.
    pub(super) fn drain_by_order(&mut self) -> Outcome {
        let name = self.config.name.clone();
        if let Some(phase) = self.drain_phase() {
            return Outcome::Done(format!("{name} drains already, phase {}", phase.name()));
        }
        self.begin_to_stop(false);
        let most = show_duration(self.config.limits.stop_max());
        Outcome::Done(format!(
            "{name} drains, and has ended in {most} at most; `herd status {name}` says how far"
        ))
    }

    /// The grace is over, or it is some clients' turn to leave.
    pub(super) fn step_lame_duck(&mut self) {
        match self.drain.as_ref().map(|drain| drain.phase) {
            Some(DrainPhase::Told) => self.shut_client_doors(),
            Some(DrainPhase::Closed | DrainPhase::Leaving) => self.let_some_leave(),
            // It was told to be quick meanwhile.
            _ => {}
        }
    }

    fn shut_client_doors(&mut self) {
        let (now, within) = (self.now.monotonic, self.config.limits.lame_duck);
        if within.is_zero() {
            return self.begin_drain();
        }
        self.let_last_clients_in();
        self.close_client_doors();
        let mut clients = self.slots.names();
        clients.retain(|conn| conn.kind().is_client());
        let leavers = Leavers::new(now, within, clients, &mut fastrand::Rng::new());
        self.wheel.start(leavers.next_turn(now), Due::LameDuck);
        if let Some(drain) = &mut self.drain {
            drain.leavers = Some(leavers);
        }
        self.enter(DrainPhase::Closed);
    }

    /// The system resets connections that wait in a backlog when its door is shut.
    fn let_last_clients_in(&mut self) {
        let super::start::Doors { client, tls, web, mqtt, .. } = self.doors;
        for door in [client, tls, web, mqtt].into_iter().flatten() {
            for _ in 0..LAST_CALLS {
                self.accept(door);
                let Some(Slot::Listener(listener)) = self.slots.at(door) else { break };
                if !listener.queued {
                    break;
                }
            }
        }
    }

    fn let_some_leave(&mut self) {
        let now = self.now.monotonic;
        let Some(mut leavers) = self.drain.as_mut().and_then(|drain| drain.leavers.take()) else {
            return;
        };
        if self.drain_phase() == Some(DrainPhase::Closed) {
            self.enter(DrainPhase::Leaving);
        }
        for conn in leavers.take_due(now) {
            if !self.end_stream(conn) && !self.let_leave(conn) {
                leavers.put_off(conn);
            }
        }
        if leavers.is_over(now) {
            return self.begin_drain();
        }
        self.wheel.start(leavers.next_turn(now), Due::LameDuck);
        if let Some(drain) = &mut self.drain {
            drain.leavers = Some(leavers);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::reactor::tests::House;
    use herd_core::names::{ConnId, ConnKind};
    use herd_core::session::Reading;

    /// A server with these times, in seconds.
    fn house(grace: u64, lame_duck: u64) -> House {
        let mut house = House::new();
        let limits = &mut house.reactor.config.limits;
        limits.lame_duck_grace = Duration::from_secs(grace);
        limits.lame_duck = Duration::from_secs(lame_duck);
        house
    }

    fn phase(house: &House) -> Option<DrainPhase> {
        house.reactor.drain_phase()
    }

    /// What a client hears until its connection is closed.
    fn rest(client: &mut TcpStream) -> String {
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).expect("it is closed in good order");
        heard
    }

    /// It takes no more lines of this connection.
    fn is_dismissed(reactor: &mut Reactor, conn: ConnId) -> bool {
        reactor.slots.session(conn).is_none_or(|session| session.reading != Reading::Open)
    }

    /// Goal: each phase comes when it is due. Clients are let go of one after the other between two
    /// lines, and one that is in the middle of a line when it has ended that. PROTOCOL 4.6.
    #[test]
    fn clients_are_let_go_of_between_two_lines() {
        let mut house = house(2, 20);
        let mut clients: Vec<_> = (0..3).map(|_| house.come(ConnKind::Client)).collect();
        house.reactor.begin_to_stop(true);
        clients.push(house.come(ConnKind::Client));
        let (mut half, half_conn) = house.come(ConnKind::Client);
        house.pass(Duration::from_millis(1_500));
        assert_eq!(phase(&house), Some(DrainPhase::Told), "new clients were taken");
        half.write_all(b"IAMAT half +1-1 ").unwrap();
        house.turn_until(|reactor| reactor.slots.session(half_conn).unwrap().has_begun_line());
        // It waits in the backlog when the door is shut.
        let mut waiting = TcpStream::connect(house.clients).unwrap();
        let due = house.reactor.now.monotonic + Duration::from_secs(1);
        house.reactor.now.monotonic = due;
        house.reactor.step_lame_duck();
        assert_eq!(phase(&house), Some(DrainPhase::Closed));
        assert_eq!(house.reactor.slots.alive(ConnKind::Client), 6, "who waited was let in");
        let refused = TcpStream::connect(house.clients).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));

        let mut others = house.reactor.slots.names();
        others.retain(|conn| conn.kind() == ConnKind::Client && *conn != half_conn);
        let mut left = 0;
        for second in 1..=6 {
            house.pass(Duration::from_secs(1));
            assert_eq!(phase(&house), Some(DrainPhase::Leaving));
            left = others.iter().filter(|conn| is_dismissed(&mut house.reactor, **conn)).count();
            // The one that is put off has its turn as well.
            assert!(left == second || left + 1 == second, "{left} after {second} s");
        }
        assert_eq!((left, is_dismissed(&mut house.reactor, half_conn)), (5, false));
        for (client, _) in &mut clients {
            assert_eq!(rest(client), "");
        }
        assert_eq!(rest(&mut waiting), "");
        half.write_all(b"7\n").unwrap();
        house.turn_until(|reactor| {
            reactor.clocks.skip(Duration::from_millis(10));
            is_dismissed(reactor, half_conn)
        });
        house.turn();
        let answer = rest(&mut half);
        assert!(answer.starts_with("AT Bailey ") && answer.ends_with(" half +1-1 7\n"), "{answer}");
        drop(half);
        house.turn_until(|reactor| reactor.is_over());
    }

    /// Goal: a client that never ends a line holds nothing up beyond its time.
    #[test]
    fn a_lame_duck_has_its_bound() {
        let mut house = house(0, 3);
        house.reactor.config.limits.timeouts.partial_line = Duration::from_secs(60);
        let (mut half, conn) = house.come(ConnKind::Client);
        half.write_all(b"IAMAT half").unwrap();
        house.turn_until(|reactor| reactor.slots.session(conn).unwrap().has_begun_line());
        house.reactor.begin_to_stop(true);
        assert_eq!(phase(&house), Some(DrainPhase::Closed));
        house.pass(Duration::from_millis(2_500));
        assert_eq!(phase(&house), Some(DrainPhase::Leaving));
        house.pass(Duration::from_secs(1));
        assert_eq!(phase(&house), Some(DrainPhase::Draining));
    }

    /// Goal: peers are heard and told while clients are let go of, and hear good-bye at the end.
    #[test]
    fn peers_are_served_until_the_end() {
        let mut house = house(1, 20);
        let (mut bona, _) = house.come_as_bona();
        let (mut client, conn) = house.come(ConnKind::Client);
        house.reactor.begin_to_stop(false);
        house.pass(Duration::from_millis(1_250));
        assert_eq!(phase(&house), Some(DrainPhase::Closed));
        bona.write_all(b"AT Bona +0.5 plum +1-1 7\n").unwrap();
        client.write_all(b"IAMAT kiwi +1-1 7\n").unwrap();
        house.turn_until(|reactor| reactor.server.store().len() == 2);
        house.turn_until(|reactor| {
            reactor.clocks.skip(Duration::from_millis(10));
            is_dismissed(reactor, conn)
        });
        house.turn();
        assert!(rest(&mut client).ends_with(" kiwi +1-1 7\n"));
        drop(client);
        house.turn_until(|reactor| reactor.drain_phase() == Some(DrainPhase::HandingOver));
        let mut said = String::new();
        bona.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut lines = BufReader::new(bona.try_clone().unwrap());
        while !said.ends_with("BYE\n") {
            // It asks four times whether all that was compared is there.
            let before = said.len();
            lines.read_line(&mut said).unwrap();
            if let Some(number) = said[before..].strip_prefix("PING ") {
                bona.write_all(format!("PONG {number}").as_bytes()).unwrap();
            }
            (0..3).for_each(|_| house.turn());
        }
        assert!(said.contains(" kiwi +1-1 7\n"), "{said}");
        bona.write_all(b"KEPT\n").unwrap();
        house.turn_until(|reactor| reactor.is_over());
        assert!(!house.reactor.server.hand_over().has_failed());
    }

    /// Goal: what stops a machine does not cut short what an operator has begun; a second signal
    /// does, and somebody at a terminal skips what is for load balancers.
    #[test]
    fn a_signal_counts_by_what_came_before() {
        use DrainPhase::{Draining, Over, Told};
        let check = |by_order: bool, signals: &str, expected| {
            let mut house = house(10, 10);
            let _client = house.come(ConnKind::Client);
            if by_order {
                let Outcome::Done(_) = house.reactor.drain_by_order() else { panic!("refused") };
            }
            for signal in signals.chars() {
                house.reactor.obey_signal(signal == 'I');
            }
            assert_eq!(phase(&house), expected, "{by_order} {signals}");
        };
        check(false, "", None);
        check(false, "T", Some(Told));
        check(false, "TT", Some(Over));
        check(false, "I", Some(Draining));
        check(false, "II", Some(Over));
        check(false, "IT", Some(Over));
        check(false, "TI", Some(Draining));
        check(false, "TIT", Some(Over));
        check(true, "", Some(Told));
        check(true, "T", Some(Told));
        check(true, "TT", Some(Over));
        check(true, "I", Some(Draining));
        check(true, "TI", Some(Draining));
        check(true, "II", Some(Over));
    }
}
