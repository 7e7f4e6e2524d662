//! One server of a simulated herd: the core and the sessions that ship, with pipes for sockets. The
//! time, the bytes and the losses come from the world, and what a host cannot do alone, it leaves
//! there as an `Act`.
//!
//! The law of the border is kept as the reactor keeps it: outputs are carried out before the next
//! input. The bounds are smaller than the reactor's, so that small herds reach them.

mod checks;
mod clock;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::invariants::{Invariant, Violation};
pub use super::settings::settings;
use clock::Clock;
pub use clock::{EPOCH, NANOS};
use herd_core::border::{Input, Note, Output, Outputs, Timer};
use herd_core::line::LineLimits;
use herd_core::names::{ConnId, ConnKind, PeerId, Ticket};
use herd_core::session::{BufferPool, Expiry, Farewell, Moment, Phase, Session, Timeouts};
use herd_core::timer_wheel::TimerWheel;
use herd_core::whatsat::Question;
use herd_core::wire::Report;
use herd_core::{Server, Settings};

/// Lines taken from one connection before another input may come.
const LINES_MAX: usize = 8;
/// Bytes read from a pipe at a time.
const READ_MAX: usize = 64 * 1024;
/// Answers queued for a client above which its lines wait.
const HIGH_WATER: usize = 4 * 1024;
pub const LIMITS: LineLimits = LineLimits { line_bytes_max: 2_000, endless_bytes_max: 20_000 };
/// Longer than any stall of the world's, so that only an end that is gone or idle is given up.
const TIMEOUTS: Timeouts = Timeouts {
    idle: Duration::from_secs(6),
    first_byte: Duration::from_secs(8),
    partial_line: Duration::from_secs(8),
    write_stall: Duration::from_secs(8),
    dial: Duration::from_secs(8),
    linger: Duration::from_secs(2),
};
/// What comes at once of one input: something for each connection, and not for ever.
const DEFERRED_MAX: usize = 10_000;

/// What the world must do or know.
#[derive(Clone, Debug)]
pub enum Act {
    Dial {
        peer: PeerId,
    },
    Ask {
        conn: ConnId,
        ticket: Ticket,
        question: Question,
    },
    /// Nothing will follow what was sent on this connection.
    Finish {
        conn: ConnId,
    },
    /// The connection was hung up on.
    Reset {
        conn: ConnId,
    },
    /// The connection is over at this end.
    Over {
        conn: ConnId,
    },
    Noted(Note),
    /// The core asked for something that no reactor could do.
    Broken(Violation),
}

/// What stands in for a socket: what has come and was not read.
struct Pipe {
    session: Session,
    arrived: Vec<u8>,
    /// Nothing will follow that.
    has_ended: bool,
}

impl Pipe {
    /// As much as is read at a time, if anything is to be read.
    fn read(&mut self, now: Moment) -> Vec<u8> {
        let count = self.arrived.len().min(READ_MAX);
        if !self.session.wants_bytes() {
            return Vec::new();
        }
        match count {
            0 if self.has_ended => self.session.received_end(),
            0 => self.session.received_nothing(),
            _ => self.session.received(count, count == READ_MAX, now),
        }
        let rest = self.arrived.split_off(count);
        std::mem::replace(&mut self.arrived, rest)
    }
}

pub struct Host {
    pub server: Server,
    clock: Clock,
    wheel: TimerWheel<Timer>,
    deferred: VecDeque<Deferred>,
    out: Outputs,
    pipes: BTreeMap<ConnId, Pipe>,
    /// When a session's deadline may have passed: not later than the first does.
    scan_at: Option<Moment>,
    buffers: BufferPool,
    peer_owed_max: usize,
    expire_after: Option<Duration>,
    acts: Vec<Act>,
    /// When client reports were received, on its own clock.
    stamps: Vec<i128>,
    timers_fired: u64,
    /// Reports that the server has walked by so far.
    walked: u64,
    peers: usize,
}

enum Deferred {
    Closed { conn: ConnId },
    Taken { conn: ConnId, bytes: usize },
    Drained { conn: ConnId },
}

impl Host {
    pub fn new(settings: Settings, born: Duration, ahead_ms: i64) -> Host {
        Host {
            peers: settings.peers.len(),
            peer_owed_max: settings.limits.peer_outbox_bytes_max,
            expire_after: settings.limits.expire_after,
            server: Server::new(settings),
            clock: Clock::new(born, ahead_ms),
            wheel: TimerWheel::new(),
            deferred: VecDeque::new(),
            out: Outputs::default(),
            pipes: BTreeMap::new(),
            scan_at: None,
            buffers: BufferPool::default(),
            acts: Vec::new(),
            stamps: Vec::new(),
            timers_fired: 0,
            walked: 0,
        }
    }

    // ---- what the world tells ----

    /// The world's time, before anything else is said.
    pub fn set_time(&mut self, now: Duration) {
        self.clock.set(now);
    }

    /// The clock of the day is set.
    pub fn step_clock(&mut self, by_ms: i64) {
        self.clock.step(by_ms);
    }

    pub fn start(&mut self) {
        self.tell(Input::Started);
    }

    /// No more commands are taken: clients get the answers that they wait for, and are let go.
    pub fn dismiss_clients(&mut self) {
        self.tell(Input::Draining);
        let conns: Vec<ConnId> = self.pipes.keys().copied().collect();
        for conn in conns.into_iter().filter(|conn| conn.kind() == ConnKind::Client) {
            if let Some(pipe) = self.pipes.get_mut(&conn)
                && pipe.session.phase() == Phase::Open
            {
                pipe.session.stop_reading();
                self.take_turns(conn);
            }
        }
    }

    pub fn leave(&mut self) {
        self.tell(Input::Leaving);
    }

    /// Loses every connection that is left.
    pub fn lose_all(&mut self) {
        while let Some((&conn, _)) = self.pipes.first_key_value() {
            self.lose(conn);
        }
    }

    pub fn accept(&mut self, conn: ConnId) {
        self.admit(conn);
        self.tell(Input::Accepted { conn });
    }

    pub fn connected(&mut self, peer: PeerId, conn: ConnId) {
        self.admit(conn);
        self.tell(Input::Connected { peer, conn });
    }

    pub fn dial_failed(&mut self, peer: PeerId) {
        self.tell(Input::DialFailed { peer });
    }

    /// A question was answered.
    pub fn answer(&mut self, ticket: Ticket, body: &[u8]) {
        self.tell(Input::PlacesArrived { ticket, body });
    }

    /// Bytes have come.
    pub fn arrive(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        pipe.arrived.extend_from_slice(bytes);
        pipe.session.flags.readable |= !bytes.is_empty();
        self.take_turns(conn);
    }

    /// The far end will send no more.
    pub fn end(&mut self, conn: ConnId) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        pipe.has_ended = true;
        (pipe.session.flags.readable, pipe.session.flags.read_on) = (true, true);
        self.take_turns(conn);
    }

    /// The connection is gone.
    pub fn lose(&mut self, conn: ConnId) {
        self.bury(conn);
        self.tell_deferred();
    }

    /// Does what is due: timers of the core, then deadlines of sessions.
    pub fn expire(&mut self) {
        let mut fired = Vec::new();
        self.wheel.expire(self.clock.now.monotonic, &mut fired);
        self.timers_fired += fired.len() as u64;
        for timer in fired {
            self.tell(Input::TimerFired { timer });
        }
        let expired = if self.scan_at.is_some_and(|at| at <= self.moment()) {
            self.scan_deadlines()
        } else {
            Vec::new()
        };
        for (conn, expiry) in expired {
            let Some(pipe) = self.pipes.get_mut(&conn) else { continue };
            if expiry == Expiry::PartialLine {
                pipe.session.end_partial_line();
                self.take_turns(conn);
            } else if self.bury(conn) {
                self.acts.push(if conn.kind() == ConnKind::Peer {
                    Act::Reset { conn }
                } else {
                    Act::Over { conn }
                });
            }
        }
        self.tell_deferred();
    }

    /// In the world's time.
    pub fn next_deadline(&self) -> Option<Duration> {
        let deadlines = [self.wheel.next_deadline(), self.scan_at.map(Moment::as_duration)];
        deadlines.into_iter().flatten().min().map(|deadline| self.clock.in_world(deadline))
    }

    /// Gives up to `room` bytes of a connection's outbox to the kernel.
    pub fn flush(&mut self, conn: ConnId, room: usize) -> Vec<u8> {
        let now = self.moment();
        let Some(pipe) = self.pipes.get_mut(&conn) else { return Vec::new() };
        let sent = pipe.session.to_send(room).to_vec();
        pipe.session.sent(sent.len(), now);
        pipe.session.end_writing(pipe.session.queued_bytes() > 0);
        if conn.kind() == ConnKind::Peer && !sent.is_empty() {
            self.deferred.push_back(Deferred::Taken { conn, bytes: sent.len() });
        }
        pipe.session.release(&mut self.buffers);
        self.close_if_sent(conn);
        self.tell_if_drained(conn);
        self.tell_deferred();
        self.take_turns(conn);
        sent
    }

    // ---- what the world asks ----

    /// Connections that something is to be sent to.
    pub fn owing(&self) -> Vec<ConnId> {
        let owing = self.pipes.iter().filter(|(_, pipe)| pipe.session.queued_bytes() > 0);
        owing.map(|(&conn, _)| conn).collect()
    }

    /// Bytes in a connection's outbox.
    pub fn owed(&self, conn: ConnId) -> usize {
        self.pipes.get(&conn).map_or(0, |pipe| pipe.session.queued_bytes())
    }

    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    pub fn timers_fired(&self) -> u64 {
        self.timers_fired
    }

    /// When client reports were received since the last call, on its own clock, in nanoseconds.
    pub fn take_stamps(&mut self) -> Vec<i128> {
        std::mem::take(&mut self.stamps)
    }

    /// The clock was seen to be behind what it had shown, by seconds.
    pub fn was_set_back(&self) -> bool {
        self.clock.was_set_back
    }

    /// For how long a report has been over on this server's clock, in nanoseconds; less than
    /// nothing if it is not over, `None` if none ever is.
    pub fn over_for(&self, report: &Report<'_>) -> Option<i128> {
        self.expire_after.map(|after| self.clock.over_for(report, after))
    }

    // ---- what a reactor does ----

    fn moment(&self) -> Moment {
        Moment::at(self.clock.now.monotonic)
    }

    fn admit(&mut self, conn: ConnId) {
        let session = Session::new(conn, Phase::Open, self.moment());
        self.pipes.insert(conn, Pipe { session, arrived: Vec::new(), has_ended: false });
        self.note_deadline(conn);
    }

    /// The sessions whose deadline has passed; the earliest of the others' is when to look again.
    fn scan_deadlines(&mut self) -> Vec<(ConnId, Expiry)> {
        let now = self.moment();
        self.scan_at = None;
        let mut expired = Vec::new();
        for (&conn, pipe) in &self.pipes {
            match pipe.session.deadline(&TIMEOUTS) {
                Some((deadline, expiry)) if deadline <= now => expired.push((conn, expiry)),
                Some((deadline, _)) => self.scan_at = earliest(self.scan_at, deadline),
                None => {}
            }
        }
        expired
    }

    fn note_deadline(&mut self, conn: ConnId) {
        let deadline = self.pipes.get(&conn).and_then(|pipe| pipe.session.deadline(&TIMEOUTS));
        if let Some((deadline, _)) = deadline {
            self.scan_at = earliest(self.scan_at, deadline);
        }
    }

    /// Bound: each turn takes a line, or reads what has come, or is the last.
    fn take_turns(&mut self, conn: ConnId) {
        let now = self.moment();
        while let Some(pipe) = self.pipes.get_mut(&conn)
            && pipe.session.wants_turn(HIGH_WATER)
        {
            let read = pipe.read(now);
            if pipe.session.phase() == Phase::Open {
                self.take_lines(conn, &read);
                self.tell_end(conn);
            } else if pipe.session.linger(read.len()) || pipe.session.flags.end_seen {
                self.over(conn);
                self.tell_deferred();
            }
        }
        self.note_deadline(conn);
    }

    fn take_lines(&mut self, conn: ConnId, read: &[u8]) {
        let now = self.moment();
        if conn.kind() == ConnKind::Client && self.stamps.last() != Some(&self.clock.posix_nanos())
        {
            self.stamps.push(self.clock.posix_nanos());
        }
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        let Some(mut batch) = pipe.session.begin_batch(read, HIGH_WATER) else { return };
        let mut lines = batch.lines(read, LIMITS, LINES_MAX);
        self.server.handle(self.clock.now, Input::Lines { conn, lines: &mut lines }, &mut self.out);
        if lines.is_held() {
            pipe.session.flags.held = true;
        }
        self.carry_out();
        self.tell_deferred();
        let outcome = lines.outcome();
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        if pipe.session.settle(batch, read, outcome, LIMITS, now, &mut self.buffers) {
            self.hang_up(conn);
            self.tell_deferred();
        }
    }

    fn tell_end(&mut self, conn: ConnId) {
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        if pipe.session.take_end(&mut self.buffers) {
            self.tell(Input::Ended { conn });
        }
    }

    fn tell(&mut self, input: Input<'_, '_>) {
        self.server.handle(self.clock.now, input, &mut self.out);
        self.carry_out();
        self.tell_deferred();
    }

    fn tell_deferred(&mut self) {
        for _ in 0..DEFERRED_MAX {
            let Some(deferred) = self.deferred.pop_front() else { return };
            let input = match deferred {
                Deferred::Closed { conn } => Input::Closed { conn },
                Deferred::Taken { conn, bytes } => Input::Taken { conn, bytes },
                Deferred::Drained { conn } => Input::Drained { conn },
            };
            self.server.handle(self.clock.now, input, &mut self.out);
            self.carry_out();
        }
        let broken = Invariant::Endless.broken("what comes of one input has no end");
        self.acts.push(Act::Broken(broken));
    }

    fn carry_out(&mut self) {
        self.count_work();
        let mut out = std::mem::take(&mut self.out);
        let now = self.clock.now.monotonic;
        for output in out.list.drain(..) {
            match output {
                Output::Send { conn, text } => self.send(conn, &out.text[text]),
                Output::Close { conn } => {
                    if let Some(pipe) = self.pipes.get_mut(&conn) {
                        pipe.session.close_when_sent();
                        self.close_if_sent(conn);
                    }
                }
                Output::HangUp { conn } => self.hang_up(conn),
                Output::Dial { peer } => self.acts.push(Act::Dial { peer }),
                Output::StartTimer { timer, after } => self.wheel.start(now + after, timer),
                Output::AskPlaces { conn, ticket, question, timeout } => {
                    self.wheel.start(now + timeout, Timer::Answer { ticket });
                    self.acts.push(Act::Ask { conn, ticket, question });
                }
                Output::ResumeReading { conn } => {
                    if let Some(pipe) = self.pipes.get_mut(&conn) {
                        pipe.session.flags.held = false;
                    }
                }
                Output::TellDrained { conn } => {
                    if let Some(pipe) = self.pipes.get_mut(&conn) {
                        pipe.session.flags.tell_drained = true;
                        self.tell_if_drained(conn);
                    }
                }
                Output::Note(note) => self.acts.push(Act::Noted(note)),
            }
        }
        out.clear();
        self.out = out;
    }

    fn send(&mut self, conn: ConnId, text: &[u8]) {
        let now = self.moment();
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        let is_open = pipe.session.phase() == Phase::Open;
        pipe.session.queue(text, &mut self.buffers, now);
        let queued = pipe.session.queued_bytes();
        self.check_sent(conn, text, is_open, queued);
        self.note_deadline(conn);
    }

    fn tell_if_drained(&mut self, conn: ConnId) {
        if self.pipes.get_mut(&conn).is_some_and(|pipe| pipe.session.take_drained()) {
            self.deferred.push_back(Deferred::Drained { conn });
        }
    }

    fn close_if_sent(&mut self, conn: ConnId) {
        let now = self.moment();
        let Some(pipe) = self.pipes.get_mut(&conn) else { return };
        let Some(farewell) = pipe.session.take_farewell(&mut self.buffers, now) else { return };
        self.acts.push(Act::Finish { conn });
        self.note_deadline(conn);
        if farewell == Farewell::Close {
            self.over(conn);
        }
    }

    fn hang_up(&mut self, conn: ConnId) {
        if self.bury(conn) {
            self.acts.push(Act::Reset { conn });
        }
    }

    fn over(&mut self, conn: ConnId) {
        if self.bury(conn) {
            self.acts.push(Act::Over { conn });
        }
    }

    /// Says whether it was there.
    fn bury(&mut self, conn: ConnId) -> bool {
        let was_there = self.pipes.remove(&conn).is_some();
        if was_there {
            self.deferred.push_back(Deferred::Closed { conn });
        }
        was_there
    }
}

fn earliest(one: Option<Moment>, other: Moment) -> Option<Moment> {
    Some(one.map_or(other, |one| one.min(other)))
}
