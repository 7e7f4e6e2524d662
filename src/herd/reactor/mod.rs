//! The loop: sockets, readiness, time. The impure half of a server, and the only folder that
//! names mio; the pure half, which decides what everything means, is the crate `herd_core`.
//!
//! One turn. The drawing and `Reactor::turn` stand in the same order:
//!
//! ```text
//! ┌───────────────────────────────────────────────┐
//! │ sleep       poll(events, timeout)             │◀─┐
//! ├───────────────────────────────────────────────┤  │
//! │ clocks      read both, once                   │  │
//! │ events      signals · worker · operators first│  │  each step: tell(Input),
//! │ unfinished  those whose budget ran out        │  │  then carry out every Output
//! │ questions   answers from memory               │  │
//! │ timers      everything due                    │  │
//! │ deadlines   a look at some, if a scan is due  │  │
//! │ journal     news goes there, answers may leave│  │
//! │ flush       what is to be sent, one write each│  │
//! │ deferred    inputs that came of outputs       │  │
//! │ caught up   a look, until this server has     │  │
//! │ bury        free the slots of the dead        │  │
//! │ drain       the next phase of the end, if due │──┘
//! └───────────────────────────────────────────────┘
//! ```
//!
//! Deadlines come after all reading: input that has arrived in time is read before a connection is
//! compared with the clock.
//!
//! Reading order: this file, `inbound` (a connection's turn), `accepting`, `outbound`, `slots`,
//! `connection`, `listener`, `deadlines`, then `questions`, `worker_threads` and `dialing` for what
//! takes longer than a turn, `drain` and `lame_duck` for the end, `start` for the beginning and
//! `reload` for what may change between them. What needs no socket is in the core: a session
//! (`herd_core::session`), and how it meets the server
//! (`herd_core::driver`). `traced` keeps a record of the steps, for those who want one.

mod accepting;
mod access;
mod admin;
mod asking;
mod blurred;
mod catching_up;
mod clocks;
mod connection;
mod connections;
mod deadlines;
mod descriptors;
mod dialing;
mod drain;
mod engine;
mod erasing;
mod follower_places;
mod following;
mod handshakes;
mod http;
mod inbound;
mod invariants;
mod journal;
mod lame_duck;
mod listener;
mod log_level;
mod metrics;
mod mqtt;
mod nearby;
mod newcomers;
mod notes;
mod operators;
mod other_protocols;
mod outbound;
mod passed;
mod proxied;
mod question_queue;
mod questions;
mod reload;
mod routes;
mod slots;
mod start;
mod traced;
mod turn_budget;
mod turn_steps;
mod turn_times;
mod unwrapping;
mod web;
mod web_places;
mod worker_threads;
mod wrapped;
mod wrapped_links;

use std::collections::VecDeque;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};
use signal_hook_mio::v1_0::Signals;

use crate::config::Config;
use crate::config::limits::Limits;
use crate::logging::LogHandle;
use crate::trace::Recorder;
use catching_up::CaughtUp;
use clocks::Clocks;
use deadlines::Backlog;
use descriptors::Shares;
use drain::Drain;
use herd_core::Server;
use herd_core::border::{Input, Outputs, Timer};
use herd_core::clock::Now;
use herd_core::driver::{Deferred, Driver};
use herd_core::names::{ConnId, ConnKind, Ticket};
use herd_core::session::{BufferPool, DeadlineScan, Moment};
use herd_core::timer_wheel::TimerWheel;
use journal::Durability;
use log_level::LentLevel;
use metrics::Counts;
use newcomers::Newcomers;
use proxied::Heads;
use question_queue::Asked;
use questions::Places;
use reload::Reload;
use routes::Routes;
use slots::{FIRST, Slot, Slots};
use traced::TraceFile;
use turn_budget::Work;
use turn_steps::Step;
use turn_times::TurnTimes;
use unwrapping::Wrapping;
use web::Web;
use worker_threads::{CompletionSender, Completions};

pub use drain::Ended;
pub use lame_duck::DrainPhase;
pub use passed::Passed;
pub use reload::Rereading;
pub use start::{StartError, outlive_full_files};

/// Events of one turn; the kernel keeps the rest for the next.
const EVENTS_MAX: usize = 1024;
/// Tokens that no slot of the slab can have. Both are served first (`slots::FIRST`).
const WAKER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
/// Bytes read from one connection in one turn.
const READ_BUDGET: usize = 64 * 1024;
/// An outbox that has grown so far within a turn is flushed before the turn's end: for a peer to
/// which fifty clients' reports go at once, memory is dearer than a second write.
const FLUSH_EARLY: usize = 64 * 1024;

pub struct Reactor {
    poll: Poll,
    slots: Slots,
    server: Server,
    config: Config,
    log: LogHandle,
    /// If more or less is logged for a while.
    lent_level: Option<LentLevel>,
    clocks: Clocks,
    now: Now,
    wheel: TimerWheel<Due>,
    scan: DeadlineScan,
    backlog: Backlog,
    counts: Counts,
    turn_times: TurnTimes,
    /// How it has caught up with the herd, once it has.
    caught_up: Option<CaughtUp>,
    /// When that is looked at next.
    catching_up_look: Duration,
    /// When a link was last seen to be up, until then.
    linked_at: Duration,
    /// What has been done in this turn.
    work: Work,
    newcomers: Newcomers,
    heads: Heads,
    /// What the core wants done; its memory is used again for each input.
    out: Outputs,
    /// The core's next inputs, once everything it wanted is done.
    deferred: VecDeque<Deferred>,
    /// What is being carried out comes of `Flushed`.
    is_catching_up: bool,
    unfinished: VecDeque<Unfinished>,
    unfinished_peers: VecDeque<ConnId>,
    /// Questions for places in memory.
    asked: Asked,
    /// Connections that something is to be sent to, in the order in which they joined.
    to_flush: VecDeque<ConnId>,
    buffers: BufferPool,
    /// Every read lands here first.
    scratch: Box<[u8]>,
    fired: Vec<Due>,
    signals: Signals,
    completion_sender: CompletionSender,
    completions: Completions,
    places: Places,
    wrapping: Wrapping,
    routes: Routes,
    doors: start::Doors,
    shares: Shares,
    drain: Option<Drain>,
    /// Those who are sent all that is known.
    dumps: Vec<admin::Dump>,
    /// Connections of operators, in the order in which they came, and some that have ended.
    operators: Vec<ConnId>,
    /// The journal, if there is one: answers wait until what they rest on is kept.
    durability: Option<Box<Durability>>,
    web: Web,
    /// Hears about each phase of the end.
    when_stopping: Option<Box<dyn FnMut(DrainPhase)>>,
    /// If the configuration can be read again.
    reload: Option<Box<Reload>>,
    trace: Recorder,
    trace_file: TraceFile,
}

/// What waits in the wheel.
enum Due {
    Core(Timer),
    /// The system had no descriptor to give: accept again.
    Accept {
        slot: usize,
    },
    /// A handshake has taken as long as it may.
    Handshake {
        conn: ConnId,
    },
    /// A proxy has had all the time to say which client it speaks for.
    Head {
        id: ConnId,
    },
    /// An answer by HTTP has taken as long as it may.
    WebAnswer {
        ticket: Ticket,
    },
    /// Clients are to be let go of, before the drain.
    LameDuck,
    /// The drain has taken as long as it may.
    DrainOver,
    /// A level of the log may have been lent for long enough.
    LogLevel,
    /// A follower is to be told something.
    Followers,
    /// The index of where clients are lacks some that are held.
    Index,
    /// Perhaps nobody wants to know where clients are any more.
    Unwatch,
    Mqtt,
    /// The service manager's watchdog is to hear that the loop turns.
    Pulse {
        every: Duration,
        tell: fn(),
    },
}

/// What has work left for another turn; each is in the queue at most once.
enum Unfinished {
    Connection(ConnId),
    /// The slot of a listener: doors live as long as the loop.
    Listener(usize),
    /// A follower has room for more.
    Followers,
}

impl Reactor {
    /// Turns until a signal ends it, and says what has become of the reports. An error means that
    /// the kernel's queue itself has failed.
    pub fn run(mut self) -> io::Result<Ended> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let turn = self.trace.begin();
        self.tell(Input::Started);
        self.end_turn(turn);
        while !self.is_over() {
            self.turn(&mut events)?;
        }
        Ok(self.end())
    }

    /// asyncio: BaseEventLoop._run_once.
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        let turn = self.trace.begin();
        let deadline = self.next_deadline();
        let timeout = self.sleep(events, deadline)?;

        self.now = self.clocks.read(timeout);
        self.work = Work::default();

        self.counts.turns += 1;
        let (waiting, mut ready) = (self.unfinished.len(), 0);
        for event in events.iter() {
            ready += 1;
            if event.token().0 >= FIRST {
                self.serve_first(event);
            }
        }
        for event in events.iter() {
            if let Token(slot @ ..FIRST) = event.token() {
                self.step(Step::Ready(slot, event.into()));
            }
        }

        self.serve_unfinished(waiting);
        self.answer_questions();

        let may_judge = self.backlog.may_judge(ready, self.slots.open());
        if may_judge && deadline.is_some_and(|deadline| deadline <= self.now.monotonic) {
            self.fire_timers();
            self.step(Step::Deadlines);
        }

        if self.durability.is_some() {
            self.step(Step::Keep);
        }
        for _ in 0..self.to_flush.len() {
            let Some(conn) = self.to_flush.pop_front() else { break };
            self.step(Step::Flush(conn));
        }

        self.tell_deferred();
        self.look_whether_caught_up();
        if self.slots.dead() > 0 {
            self.step(Step::Bury);
            self.open_doors_again();
        }
        self.step_drain();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
        self.end_turn(turn);
        self.time_turn(ready);
        Ok(())
    }

    /// Serves what must not wait for what clients have sent, wherever the kernel has put it among
    /// the events: signals, workers, and operators, who ask most when there is most to do.
    #[inline(never)]
    fn serve_first(&mut self, event: &Event) {
        self.step(match event.token() {
            WAKER => Step::Completions,
            SIGNALS => Step::Signals,
            Token(token) => Step::Ready(token - FIRST, event.into()),
        });
    }

    /// Sleeps until there are events or the time is over. Says how long it might have been.
    fn sleep(
        &mut self,
        events: &mut Events,
        deadline: Option<Duration>,
    ) -> io::Result<Option<Duration>> {
        let timeout = self.timeout(deadline);
        let mut left = timeout;
        let Limits { spin_us, gather_us, .. } = self.config.limits;
        if spin_us | gather_us > 0 && timeout != Some(Duration::ZERO) {
            left = self.gather(timeout);
            if let Some(spin) = self.spin(events)? {
                return Ok(Some(spin));
            }
        }
        self.wait(events, left)?;
        self.trace_sleep(timeout, events);
        Ok(timeout)
    }

    /// Lets more come before the next turn. Gives what is left of the timeout.
    #[inline(never)]
    fn gather(&self, timeout: Option<Duration>) -> Option<Duration> {
        let gather = Duration::from_micros(self.config.limits.gather_us as u64);
        let gather = timeout.map_or(gather, |timeout| timeout.min(gather));
        thread::sleep(gather);
        timeout.map(|timeout| timeout - gather)
    }

    /// Asks for events again and again. Says for how long at most, if any came.
    #[inline(never)]
    fn spin(&mut self, events: &mut Events) -> io::Result<Option<Duration>> {
        let spin = Duration::from_micros(self.config.limits.spin_us as u64);
        let began = Instant::now();
        while began.elapsed() < spin {
            self.wait(events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                return Ok(Some(spin));
            }
        }
        Ok(None)
    }

    fn wait(&mut self, events: &mut Events, mut timeout: Option<Duration>) -> io::Result<()> {
        loop {
            match self.poll.poll(events, timeout) {
                // A signal came while we slept. What it means is in the signals' own socket; and it
                // may have woken a process that was stopped, for which much has come meanwhile.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    timeout = Some(Duration::ZERO);
                }
                other => return other,
            }
        }
    }

    /// How long the loop may sleep: not at all while there is work left, else until the next timer
    /// or scan, else for ever. It is counted from the turn's clock, so it may oversleep by one turn
    /// at most: another look at the clock would cost each turn more than that is worth.
    ///
    /// asyncio: BaseEventLoop._run_once, "Compute the desired timeout".
    #[inline]
    fn timeout(&self, deadline: Option<Duration>) -> Option<Duration> {
        let asked = self.asked.is_waiting() && self.places.can_answer();
        let unfinished = !self.unfinished.is_empty() || !self.unfinished_peers.is_empty();
        if unfinished || !self.to_flush.is_empty() || asked {
            return Some(Duration::ZERO);
        }
        let sleep = deadline.map(|deadline| deadline.saturating_sub(self.now.monotonic));
        match &self.durability {
            None => sleep,
            Some(durability) => durability.timeout(self.now.monotonic, sleep),
        }
    }

    /// When a timer is due or a scan, whichever comes first. Looked up once a turn: what begins in
    /// a turn is over in none of its steps.
    fn next_deadline(&self) -> Option<Duration> {
        match (self.wheel.next_deadline(), self.scan.next_deadline()) {
            (Some(timer), Some(scan)) => Some(timer.min(scan)),
            (timer, scan) => timer.or(scan),
        }
    }

    /// Turns for those with work left: peers first, then the `waiting`, who were in the queue when
    /// the turn began. The others have had this turn.
    fn serve_unfinished(&mut self, waiting: usize) {
        // A peer may have several turns in one: it may speak for as many clients as we have.
        while !self.work.is_enough(ConnKind::Peer)
            && let Some(peer) = self.unfinished_peers.pop_front()
        {
            self.step(Step::Unfinished(Unfinished::Connection(peer)));
        }
        for at in 0..waiting {
            if at > 0 && self.work.is_enough(ConnKind::Client) {
                break;
            }
            let Some(next) = self.unfinished.pop_front() else { break };
            self.step(Step::Unfinished(next));
        }
    }

    fn fire_timers(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.expire(self.now.monotonic, &mut fired);
        fired.drain(..).for_each(|due| self.step(Step::Timer(due)));
        self.fired = fired;
    }

    fn moment(&self) -> Moment {
        Moment::at(self.now.monotonic)
    }
}

#[cfg(test)]
mod tests;
