//! Many connections in one small loop: it opens them, keeps them asking and reads the answers.
//!
//! It measures the server's reactor, and so must not share it. It may do what no server may: it
//! trusts the far end not to drown it, and it spins. A server that answers a client asleep pays for
//! waking it, and the faster the server, the larger the share: at pipeline 128 that takes a quarter
//! off what the fastest do.
//!
//! ```text
//!              ┌──────────── answered ────────────┐
//!   dial ─▶ opening ─▶ loading: say ─▶ wait ──────┤─▶ closed loop: say the next pipeline
//!           (one IAMAT                            ├─▶ fixed rate:  wait until one is due
//!            each)                                └─▶ reconnect:   be free until all others have
//!                                                                  had their turn; dial, say one
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;

use super::caller::{Asked, Caller};
use super::chatter::Chatter;
use super::pipe::{self, Pipe};
use super::schedule::Schedule;
use super::sources::Sources;
use super::tally::Tally;
use super::{Pace, Plan};
use crate::LoadError;

/// Connections that may be opening at a time: less than the shortest queue that a listener has (100
/// in asyncio), because a client that finds it full tries again after a whole second.
const OPENING_MAX: usize = 64;
/// How long the next answer may take when nothing is asked any more.
const LATE_MAX: Duration = Duration::from_secs(5);
/// The longest sleep: while the end of a phase is awaited, the clock is read this often.
const NAP_MAX: Duration = Duration::from_millis(20);
const EVENTS_MAX: usize = 1024;
const READ_BYTES: usize = 256 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Opening,
    Loading,
    Ending,
}

pub struct Crowd<'a> {
    plan: &'a Plan,
    poll: Poll,
    events: Events,
    sources: Sources,
    tls: Option<Arc<ClientConfig>>,
    callers: Vec<Caller>,
    chatter: Chatter,
    pub tally: Tally,
    phase: Phase,
    began: Instant,
    /// Requests made so far: the next one's number.
    said: u64,
    lines: Vec<u8>,
    scratch: Vec<u8>,
    /// Callers that have room for another request, those first that have waited longest.
    free: VecDeque<usize>,
    /// How many requests are still to be sent in a closed loop.
    to_ask: u64,
    /// When callers come anew: how many are not answered yet.
    under_way: usize,
    schedule: Schedule,
    /// How long it has looked for answers and found none, without sleeping.
    pub spun: Duration,
    /// Why the first connection was lost.
    loss: Option<io::ErrorKind>,
}

impl<'a> Crowd<'a> {
    pub fn new(plan: &'a Plan, chatter: Chatter) -> Result<Crowd<'a>, LoadError> {
        Ok(Crowd {
            poll: Poll::new().map_err(|error| system("the event queue cannot be made", &error))?,
            events: Events::with_capacity(EVENTS_MAX),
            sources: Sources::new(plan.address, !plan.pace.is_anew()),
            tls: plan.is_tls.then(pipe::full_handshakes),
            callers: Vec::new(),
            chatter,
            tally: Tally::new(),
            phase: Phase::Opening,
            began: Instant::now(),
            said: 0,
            lines: Vec::new(),
            scratch: vec![0; READ_BYTES],
            free: VecDeque::new(),
            to_ask: 0,
            under_way: 0,
            schedule: Schedule::default(),
            spun: Duration::ZERO,
            loss: None,
            plan,
        })
    }

    pub fn open_connections(&self) -> usize {
        self.callers.iter().filter(|caller| caller.pipe.is_some()).count()
    }

    fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    // ---- opening ----

    /// Opens so many connections, each of which introduces itself by a report. All have been
    /// answered when it returns, so none is left in a listener's queue.
    ///
    /// # Errors
    /// No server listens, or it is silent, hangs up or speaks another protocol.
    pub fn open(&mut self, connections: usize) -> Result<(), LoadError> {
        let (mut answered, mut heard_at) = (0, Instant::now());
        while answered < connections as u64 {
            while self.callers.len() < connections.min(answered as usize + OPENING_MAX) {
                self.introduce(self.callers.len()).map_err(|error| self.unreachable(&error))?;
            }
            self.turn(NAP_MAX)?;
            if self.tally.errors.total() > 0 {
                return Err(self.stranger());
            }
            if self.tally.answered > answered {
                (answered, heard_at) = (self.tally.answered, Instant::now());
            }
            if heard_at.elapsed() > self.plan.silence_max() {
                return Err(unreachable(format!(
                    "{} has answered {answered} of {connections} connections and then nothing for \
                     {:?}",
                    self.plan.address,
                    self.plan.silence_max()
                )));
            }
        }
        Ok(())
    }

    /// Lets caller `place` connect and say one report.
    fn introduce(&mut self, place: usize) -> io::Result<()> {
        let since_ns = self.now_ns();
        self.dial(place)?;
        self.lines.clear();
        self.lines.extend_from_slice(self.chatter.greeting(place).as_bytes());
        self.chatter.speak_for(place);
        self.chatter.write_report(self.said, &mut self.lines);
        self.callers[place].known = self.said;
        self.expect(place, 1, since_ns);
        self.callers[place].send(&self.lines)
    }

    /// Caller `place` gets a new connection, and its old one is closed.
    fn dial(&mut self, place: usize) -> io::Result<()> {
        let mut stream = self.sources.dial()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(place), interest)?;
        let caller = Caller::new(Pipe::new(stream, self.tls.as_ref())?);
        match self.callers.get_mut(place) {
            Some(before) => *before = caller,
            None => self.callers.push(caller),
        }
        Ok(())
    }

    /// Caller `place` is about to send the next `count` requests.
    fn expect(&mut self, place: usize, count: u64, since_ns: u64) {
        self.callers[place].expect(Asked { first: self.said, count, since_ns });
        self.said += count;
        self.tally.asked += count;
    }

    // ---- loading ----

    /// All callers begin to ask, so often together if it is in a closed loop.
    pub fn begin(&mut self, requests: u64) {
        self.phase = Phase::Loading;
        self.chatter.ask_for_places(self.plan.whatsat_percent);
        self.to_ask = requests;
        if let Pace::PerSecond(per_second) = self.plan.pace {
            self.schedule = Schedule { per_second, began_ns: self.now_ns(), sent: 0 };
        }
        (0..self.callers.len()).for_each(|place| self.free_if_possible(place));
        self.ask_next();
    }

    /// Goes on until `end`.
    ///
    /// # Errors
    /// The server has closed all connections, or is silent.
    pub fn load_until(&mut self, end: Instant) -> Result<(), LoadError> {
        let mut now = Instant::now();
        let (mut answered, mut heard_at) = (self.tally.answered, now);
        while now < end {
            self.say_what_is_due();
            let mut nap = self.nap(end - now);
            if let Some(every) = self.plan.looks_every {
                thread::sleep(every.min(end - now));
                nap = Duration::ZERO;
            }
            let found = self.turn(nap)?;
            let began = std::mem::replace(&mut now, Instant::now());
            if found == 0 && self.plan.is_awake {
                self.spun += now - began;
            }
            if self.tally.answered > answered {
                (answered, heard_at) = (self.tally.answered, now);
            }
            let address = self.plan.address;
            if self.open_connections_are_none() {
                return Err(unreachable(format!("{address} has hung up on every connection")));
            }
            if now - heard_at > self.plan.silence_max() && self.tally.answered < self.tally.asked {
                return Err(self.silent());
            }
        }
        Ok(())
    }

    /// Goes on until all that `begin` wanted is answered.
    ///
    /// # Errors
    /// As `load_until`, or an answer was wrong.
    pub fn load_until_answered(&mut self) -> Result<(), LoadError> {
        let mut heard_at = Instant::now();
        while self.to_ask > 0 || self.tally.answered < self.tally.asked {
            let answered = self.tally.answered;
            self.turn(self.nap(NAP_MAX))?;
            if self.tally.answered > answered {
                heard_at = Instant::now();
            }
            if self.tally.errors.total() > 0 {
                return Err(self.stranger());
            }
            if heard_at.elapsed() > self.plan.silence_max() {
                return Err(self.silent());
            }
        }
        Ok(())
    }

    /// Looked for only when a caller was lost, for it is a walk past all callers.
    fn open_connections_are_none(&self) -> bool {
        self.tally.errors.lost >= self.callers.len() as u64
            && !self.callers.is_empty()
            && self.open_connections() == 0
    }

    /// How long to sleep at most, if `left` are left.
    fn nap(&self, left: Duration) -> Duration {
        let left = if self.plan.is_awake { Duration::ZERO } else { left.min(NAP_MAX) };
        if left.is_zero() || self.schedule.per_second == 0 || self.free.is_empty() {
            return left;
        }
        let next_ns = self.schedule.intended_ns(self.schedule.sent);
        let wait = Duration::from_nanos(next_ns.saturating_sub(self.now_ns()));
        left.min(wait)
    }

    /// At a fixed rate: hands what should have been sent by now to callers that have room. If none
    /// has room, the request waits and grows old: its latency counts from when it was due, or a
    /// slow server would be asked less and so look fast.
    fn say_what_is_due(&mut self) {
        if self.schedule.per_second == 0 {
            return;
        }
        let due = self.schedule.due(self.now_ns());
        while self.schedule.sent < due {
            let Some(place) = self.free.pop_front() else { return };
            self.callers[place].is_free = false;
            if self.callers[place].pipe.is_none() {
                continue;
            }
            let backlog = (due - self.schedule.sent).div_ceil(self.free.len() as u64 + 1);
            let room = self.plan.pipeline - self.callers[place].unanswered();
            self.lines.clear();
            self.chatter.speak_for(place);
            for _ in 0..backlog.min(room) {
                let since_ns = self.schedule.intended_ns(self.schedule.sent);
                self.schedule.sent += 1;
                self.ask(place, since_ns);
            }
            self.send(place);
            self.free_if_possible(place);
        }
    }

    /// In a closed loop: lets those ask that are free.
    fn ask_next(&mut self) {
        let under_way_max = match self.plan.pace {
            Pace::PerSecond(_) => return,
            pace if pace.is_anew() => OPENING_MAX,
            _ => usize::MAX,
        };
        while self.to_ask > 0 && self.under_way < under_way_max {
            let Some(place) = self.free.pop_front() else { return };
            self.callers[place].is_free = false;
            self.under_way += 1;
            let begun = match self.plan.pace {
                Pace::Reconnect => self.introduce(place),
                Pace::Connect => self.leave(place),
                _ => self.say_pipeline(place),
            };
            self.to_ask -= self.callers[place].unanswered();
            if let Err(error) = begun {
                self.lose(place, &error);
            }
        }
    }

    /// Caller `place` closes its half, and is answered when the server has closed the other.
    fn leave(&mut self, place: usize) -> io::Result<()> {
        self.expect(place, 1, self.now_ns());
        self.callers[place].leave()
    }

    /// As many requests as may be unanswered.
    fn say_pipeline(&mut self, place: usize) -> io::Result<()> {
        let since_ns = self.now_ns();
        let count = self.plan.pipeline.min(self.to_ask);
        self.lines.clear();
        self.chatter.speak_for(place);
        for number in self.said..self.said + count {
            self.chatter.write(number, self.callers[place].known, &mut self.lines);
        }
        self.expect(place, count, since_ns);
        self.callers[place].send(&self.lines)
    }

    /// Adds one request to those that are sent next.
    fn ask(&mut self, place: usize, since_ns: u64) {
        self.chatter.write(self.said, self.callers[place].known, &mut self.lines);
        self.expect(place, 1, since_ns);
    }

    fn send(&mut self, place: usize) {
        if let Err(error) = self.callers[place].send(&self.lines) {
            self.lose(place, &error);
        }
    }

    fn free_if_possible(&mut self, place: usize) {
        let caller = &mut self.callers[place];
        let has_room = caller.pipe.is_some() && caller.unanswered() < self.plan.pipeline;
        if has_room && !caller.is_free {
            self.free.push_back(place);
        }
        caller.is_free = has_room;
    }

    // ---- ending ----

    /// Asks nothing more, and waits until everything is answered or the next answer is too late.
    /// What is not answered then is missing.
    ///
    /// # Errors
    /// The event queue fails.
    pub fn end(&mut self) -> Result<(), LoadError> {
        self.phase = Phase::Ending;
        let mut deadline = Instant::now() + LATE_MAX;
        let waits = |caller: &Caller| caller.pipe.is_some() && caller.unanswered() > 0;
        while Instant::now() < deadline && self.callers.iter().any(waits) {
            let answered = self.tally.answered;
            self.turn(NAP_MAX)?;
            if self.tally.answered > answered {
                deadline = Instant::now() + LATE_MAX;
            }
        }
        self.tally.errors.missing = self.tally.asked - self.tally.answered;
        Ok(())
    }

    /// At a fixed rate: requests that were due by `now` and never sent.
    pub fn unsent(&self) -> u64 {
        match self.schedule.per_second {
            0 => 0,
            _ => self.schedule.due(self.now_ns()).saturating_sub(self.schedule.sent),
        }
    }

    // ---- one turn ----

    /// Gives how many events there were.
    ///
    /// # Errors
    /// The event queue fails.
    pub fn turn(&mut self, timeout: Duration) -> Result<usize, LoadError> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(system("the event queue has failed", &error));
            }
            _ => {}
        }
        let count = events.iter().count();
        for event in &events {
            let place = event.token().0;
            if event.is_writable()
                && let Err(error) = self.callers[place].flush()
            {
                self.lose(place, &error);
            }
            if event.is_readable() {
                self.hear(place);
            }
        }
        self.events = events;
        Ok(count)
    }

    /// Reads what has come. Less than a whole buffer was all there is: a new edge announces more.
    fn hear(&mut self, place: usize) {
        loop {
            let caller = &mut self.callers[place];
            if caller.pipe.is_none() {
                return;
            }
            let count = match caller.read(&mut self.scratch) {
                Ok(Some(count)) => count,
                Ok(None) if caller.is_leaving() => return self.come_again(place),
                Ok(None) => return self.lose(place, &io::ErrorKind::UnexpectedEof.into()),
                Err(error) => return self.lose(place, &error),
            };
            let now_ns = self.began.elapsed().as_nanos() as u64;
            let bytes = &self.scratch[..count];
            let before = self.tally.answered;
            caller.hear(bytes, now_ns, &mut self.chatter, &mut self.tally);
            let may_be_more = match caller.gives_all() {
                true => count == self.scratch.len(),
                false => count > 0,
            };
            if self.tally.answered > before {
                self.go_on(place);
            }
            if !may_be_more {
                return;
            }
        }
    }

    /// The server has hung up on caller `place`, as was wished.
    fn come_again(&mut self, place: usize) {
        let now_ns = self.now_ns();
        self.callers[place].hear_end(now_ns, &mut self.tally);
        match self.dial(place) {
            Ok(()) => self.go_on(place),
            Err(error) => self.lose(place, &error),
        }
    }

    /// Caller `place` was answered.
    fn go_on(&mut self, place: usize) {
        let is_waiting = self.callers[place].unanswered() > 0;
        let is_closed_loop = !matches!(self.plan.pace, Pace::PerSecond(_));
        if self.phase != Phase::Loading || (is_closed_loop && is_waiting) {
            return;
        }
        self.under_way = self.under_way.saturating_sub(1);
        self.free_if_possible(place);
        self.ask_next();
    }

    /// The connection is gone, and it was not our wish.
    fn lose(&mut self, place: usize, error: &io::Error) {
        self.tally.errors.lost += 1;
        self.tally.keep_sample(error.to_string().as_bytes());
        if self.loss.is_none() {
            self.loss = Some(error.kind());
        }
        let _ = self.callers[place].pipe.take();
    }

    // ---- what can go wrong ----

    fn unreachable(&self, error: &io::Error) -> LoadError {
        let address = self.plan.address;
        unreachable(match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                format!("nobody listens on {address}: start a server there (herd serve NAME)")
            }
            _ => format!("{address} cannot be reached: {error}"),
        })
    }

    fn silent(&self) -> LoadError {
        let (address, time) = (self.plan.address, self.plan.silence_max());
        unreachable(format!("{address} has answered nothing for {time:?}"))
    }

    /// Something was wrong before there was any load, or where nothing may be.
    fn stranger(&self) -> LoadError {
        let address = self.plan.address;
        match self.loss {
            Some(io::ErrorKind::UnexpectedEof) => {
                unreachable(format!("{address} hangs up without an answer"))
            }
            Some(kind) => self.unreachable(&kind.into()),
            None => unreachable(format!(
                "{address} answers `{}`, which is not what a server of this protocol says",
                self.tally.sample.as_deref().unwrap_or_default()
            )),
        }
    }
}

fn unreachable(message: String) -> LoadError {
    LoadError::Unreachable(message)
}

fn system(what: &str, error: &io::Error) -> LoadError {
    LoadError::System(format!("{what}: {error}"))
}
