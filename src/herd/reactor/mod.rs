//! The loop: sockets, readiness, time. The impure half of a server, and the only folder that
//! names mio; the pure half, which decides what everything means, is `core`.
//!
//! One turn. The drawing and `Reactor::turn` stand in the same order:
//!
//! ```text
//! ┌───────────────────────────────────────────────┐
//! │ sleep       poll(events, patience)            │◀─┐
//! ├───────────────────────────────────────────────┤  │
//! │ clocks      read both, once                   │  │
//! │ events      signals · worker · doors · sockets│  │  each step: tell(Input),
//! │ unfinished  those whose budget ran out        │  │  then carry out every Output
//! │ questions   answers from memory               │  │
//! │ timers      everything due                    │  │
//! │ round       a look at some, if one is due     │  │
//! │ flush       what is owed, one write a socket  │  │
//! │ bury        free the slots of the dead        │──┘
//! └───────────────────────────────────────────────┘
//! ```
//!
//! Deadlines come after all reading: what has arrived in time is heard before anybody is judged by
//! the clock.
//!
//! Reading order: this file, `serving` (a connection's turn), `admitting`, `owing`, `slots`,
//! `connection`, `buffers`, `listener`, `deadlines`, then `asking`, `worker` and `dialer` for what
//! takes longer than a turn, `drain` for the end and `start` for the beginning. The lines with
//! `self.trace` in them note what was done (`trace`); to understand the loop, pass over them.

mod admin;
mod admitting;
mod asked;
mod asking;
mod buffers;
mod clocks;
mod connection;
mod deadlines;
mod descriptors;
mod dialer;
mod drain;
mod foreign;
mod invariants;
mod listener;
mod newcomers;
mod owing;
mod serving;
mod slots;
mod start;
mod traced;
mod traffic;
mod work;
mod worker;

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use signal_hook_mio::v1_0::Signals;

use crate::config::Config;
use crate::logging::LogHandle;
use crate::trace::{Note, Recorder, Told};
use asked::Asked;
use asking::Places;
use buffers::Spare;
use clocks::Clocks;
use deadlines::{Moment, Patience, Round};
use descriptors::Shares;
use dialer::Routes;
use drain::Drain;
use herd_core::border::{Input, Output, Outputs, Timer};
use herd_core::clock::Now;
use herd_core::line::Lines;
use herd_core::names::{ConnId, Door, PeerId, Ticket};
use herd_core::timer_wheel::TimerWheel;
use herd_core::{HandOver, Server};
use newcomers::Newcomers;
use slots::{Slot, Slots};
use traced::TraceFile;
use work::Work;
use worker::{Postbox, Results};

pub use start::{StartError, outlive_full_files};

/// Events of one turn; the kernel keeps the rest for the next.
const EVENTS_MAX: usize = 1024;
/// The socket of a name at the far end of the slab, where no slot ever is.
const WAKER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
/// Bytes read from one connection in one turn.
const READ_BUDGET: usize = 64 * 1024;
/// An outbox that has grown so far within a turn is flushed before the turn's end: for a peer
/// that hears fifty clients at once, memory is dearer than a second write.
const FLUSH_EARLY: usize = 64 * 1024;

pub struct Reactor {
    poll: Poll,
    slots: Slots,
    server: Server,
    config: Config,
    log: LogHandle,
    clocks: Clocks,
    now: Now,
    wheel: TimerWheel<Due>,
    patience: Patience,
    round: Round,
    /// What has been done in this turn.
    work: Work,
    newcomers: Newcomers,
    /// What the core wants done; its memory is used again for each input.
    out: Outputs,
    /// What the core must be told next, once everything it wanted is done.
    mailbox: VecDeque<Mail>,
    /// What is being carried out comes of `Drained`.
    is_catching_up: bool,
    unfinished: VecDeque<Unfinished>,
    unfinished_peers: VecDeque<ConnId>,
    /// Questions for places in memory.
    asked: Asked,
    /// Connections that are owed something, in the order in which they came to be.
    owing: VecDeque<ConnId>,
    spare: Spare,
    /// Every read lands here first.
    scratch: Box<[u8]>,
    fired: Vec<Due>,
    signals: Signals,
    postbox: Postbox,
    results: Results,
    places: Places,
    routes: Routes,
    doors: start::Doors,
    shares: Shares,
    drain: Option<Drain>,
    give_up_name: Option<Box<dyn FnOnce()>>,
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
    /// The drain has taken as long as it may.
    DrainOver,
}

/// Whoever has work left for another turn; each is in the queue at most once.
enum Unfinished {
    Connection(ConnId),
    /// The slot of a listener: doors live as long as the loop.
    Door(usize),
}

/// What has come of an output while the others were still being carried out.
enum Mail {
    Connected { peer: PeerId, conn: ConnId },
    DialFailed { peer: PeerId },
    Closed { conn: ConnId },
    Taken { conn: ConnId, bytes: usize },
    Drained { conn: ConnId },
    Answered { ticket: Ticket, body: Rc<[u8]> },
}

impl Reactor {
    /// Turns until a signal ends it, and says what has become of the reports. An error means that
    /// the kernel's queue itself has failed.
    pub fn run(mut self) -> io::Result<HandOver> {
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
        let patience = self.sleep(events)?;
        self.trace.done(|| Note::Sleep { patience, ready: events.iter().count() as u32 });

        self.now = self.clocks.read(patience);
        self.work = Work::default();

        // Only those who are in the queue now: whoever joins it in this turn has had this turn.
        let (unfinished, mut ready) = (self.unfinished.len(), 0);
        for event in events.iter() {
            ready += 1;
            match event.token() {
                WAKER => self.pick_up_results(),
                SIGNALS => self.heed_signals(),
                Token(slot) => {
                    let span = self.trace.begin();
                    self.on_ready(slot, event);
                    self.trace.end(span, || traced::ready(event, &self.slots));
                }
            }
        }

        // A peer may have several turns in one: it may have heard as many clients as we have.
        while !self.work.is_enough(Door::Peer)
            && let Some(peer) = self.unfinished_peers.pop_front()
        {
            self.go_on_with(Unfinished::Connection(peer));
        }
        for at in 0..unfinished {
            if at > 0 && self.work.is_enough(Door::Client) {
                break;
            }
            let Some(next) = self.unfinished.pop_front() else { break };
            self.go_on_with(next);
        }

        self.answer_questions();

        if self.round.may_judge(ready, self.slots.open()) {
            self.fire_timers();
            self.go_round();
        }

        for _ in 0..self.owing.len() {
            let Some(conn) = self.owing.pop_front() else { break };
            let span = self.trace.begin();
            self.flush(conn);
            self.trace.end(span, || Note::Flush { conn });
        }

        self.empty_mailbox();
        if let slots @ 1.. = self.slots.bury() {
            self.trace.done(|| Note::Bury { slots: slots as u32 });
        }
        self.open_doors_again();
        self.step_drain();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }

        if self.trace.is_on() {
            self.end_turn(turn);
        }
        Ok(())
    }

    /// Sleeps until there are events or the loop's patience is at an end. Says what it was.
    fn sleep(&mut self, events: &mut Events) -> io::Result<Option<Duration>> {
        let spin = Duration::from_micros(self.config.limits.spin_us.into());
        if !spin.is_zero() && self.patience() != Some(Duration::ZERO) {
            let began = Instant::now();
            while began.elapsed() < spin {
                self.wait(events, Some(Duration::ZERO))?;
                if !events.is_empty() {
                    return Ok(Some(spin));
                }
            }
        }
        let patience = self.patience();
        self.wait(events, patience).map(|()| patience)
    }

    fn wait(&mut self, events: &mut Events, mut patience: Option<Duration>) -> io::Result<()> {
        loop {
            match self.poll.poll(events, patience) {
                // A signal came while we slept. What it means is in the signals' own socket; and it
                // may have woken a process that was stopped, for which much has come meanwhile.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    patience = Some(Duration::ZERO);
                }
                other => return other,
            }
        }
    }

    /// How long the loop may sleep: not at all while somebody has work left, else until the next
    /// timer or round, else for ever.
    ///
    /// asyncio: BaseEventLoop._run_once, "Compute the desired timeout".
    fn patience(&self) -> Option<Duration> {
        let asked = self.asked.is_waiting() && self.places.are_here();
        let unfinished = !self.unfinished.is_empty() || !self.unfinished_peers.is_empty();
        if unfinished || !self.owing.is_empty() || asked {
            return Some(Duration::ZERO);
        }
        let deadlines = [self.wheel.next_deadline(), self.round.next_deadline()];
        let deadline = deadlines.into_iter().flatten().min()?;
        Some(deadline.saturating_sub(self.clocks.elapsed()))
    }

    fn go_on_with(&mut self, next: Unfinished) {
        let span = self.trace.begin();
        match next {
            Unfinished::Connection(conn) => self.take_turn(conn),
            Unfinished::Door(slot) => self.accept(slot),
        }
        self.trace.end(span, || traced::unfinished(&next));
    }

    fn fire_timers(&mut self) {
        let mut fired = std::mem::take(&mut self.fired);
        self.wheel.expire(self.now.monotonic, &mut fired);
        fired.drain(..).for_each(|due| self.on_due(due));
        self.fired = fired;
    }

    fn on_due(&mut self, due: Due) {
        let (span, what) = (self.trace.begin(), traced::due(&due));
        match due {
            Due::Core(timer) => self.tell(Input::TimerFired { timer }),
            Due::Accept { slot } => self.accept_after_rest(slot),
            Due::DrainOver => self.cut_drain_short(),
        }
        self.trace.end(span, || Note::Timer { due: what });
    }

    /// Tells the core one thing, does everything it wants, and tells it what came of that, until
    /// nothing is left. This is the law of the border: never two inputs without the outputs of
    /// the first carried out.
    fn tell(&mut self, input: Input<'_, '_>) {
        let (span, told) = (self.trace.begin(), Told::from(&input));
        self.server.handle(self.now, input, &mut self.out);
        let outputs = self.out.list.len() as u32;
        self.carry_out();
        self.trace.end(span, || Note::Tell { told, lines: 0, outputs });
        self.empty_mailbox();
    }

    /// Tells the core the lines of one read.
    fn tell_lines(&mut self, conn: ConnId, lines: &mut Lines<'_>) {
        let span = self.trace.begin();
        let known = self.server.store().len();
        self.server.handle(self.now, Input::Lines { conn, lines }, &mut self.out);
        if conn.door() == Door::Client && self.server.store().len() > known {
            self.charge_newcomers(conn, self.server.store().len() - known);
        }
        let outputs = self.out.list.len() as u32;
        if traffic::is_logged() {
            traffic::log_in(conn, lines.consumed());
        }
        // Before the outputs: the answer that lets lines be taken again may be among them.
        if lines.is_held() {
            self.hold(conn);
        }
        self.carry_out();
        if self.trace.is_on() {
            self.end_hearing(span, conn, lines.consumed(), outputs);
        }
        self.empty_mailbox();
    }

    /// Bound: every letter comes of one output, and the core answers a letter with less than it
    /// was: a dial that failed with a timer, a connection that closed with nothing.
    fn empty_mailbox(&mut self) {
        while let Some(mail) = self.mailbox.pop_front() {
            let input = match &mail {
                Mail::Connected { peer, conn } => Input::Connected { peer: *peer, conn: *conn },
                Mail::DialFailed { peer } => Input::DialFailed { peer: *peer },
                Mail::Closed { conn } => Input::Closed { conn: *conn },
                Mail::Taken { conn, bytes } => Input::Taken { conn: *conn, bytes: *bytes },
                Mail::Drained { conn } => Input::Drained { conn: *conn },
                Mail::Answered { ticket, body } => Input::PlacesArrived { ticket: *ticket, body },
            };
            let (span, told) = (self.trace.begin(), Told::from(&input));
            self.is_catching_up = matches!(mail, Mail::Drained { .. });
            self.server.handle(self.now, input, &mut self.out);
            let outputs = self.out.list.len() as u32;
            self.carry_out();
            self.is_catching_up = false;
            self.trace.end(span, || Note::Tell { told, lines: 0, outputs });
        }
    }

    fn carry_out(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        for output in out.list.drain(..) {
            match output {
                Output::Send { conn, text } => self.owe(conn, &out.text[text]),
                Output::Close { conn } => self.close_when_sent(conn),
                Output::HangUp { conn } => self.kill(conn),
                Output::Dial { peer } => self.dial(peer),
                Output::StartTimer { timer, after } => {
                    self.wheel.start(self.now.monotonic + after, Due::Core(timer));
                }
                Output::AskPlaces { conn, ticket, question, patience } => {
                    self.ask_places(conn, ticket, question, patience);
                }
                Output::ResumeReading { conn } => self.resume(conn),
                Output::TellDrained { conn } => self.tell_when_drained(conn),
                Output::Note(note) => self.log_note(note),
            }
        }
        out.clear();
        self.out = out;
    }

    fn moment(&self) -> Moment {
        Moment::at(self.now.monotonic)
    }
}

#[cfg(test)]
mod tests;
