//! The steps of a turn: all that it can do, one after the other. All of them pass one seam, at
//! which a trace is kept.

use mio::event::Event;

use super::listener::Arrival;
use super::{Due, Reactor, Unfinished};
use crate::trace::SpanKind;
use herd_core::border::Input;
use herd_core::driver::Driver;
use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::session::Flags;

/// Something that a turn does.
pub enum Step {
    /// A slot's socket has something to tell.
    Ready(usize, Readiness),
    /// Workers have finished something.
    Completions,
    Signals,
    /// Work that was left from the turn before.
    Unfinished(Unfinished),
    Timer(Due),
    /// A part of the deadline scan, if one is due.
    Deadlines,
    /// What is to be kept is written, and answers leave that are.
    Keep,
    Flush(ConnId),
    Bury,
    /// A connection was accepted.
    Admit(ConnKind, Arrival),
    Dial(PeerId),
}

/// What the kernel has reported of a socket.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// The far end has closed its half, or the connection has broken.
    pub closed: bool,
    /// Urgent data has come, where each read stops.
    pub urgent: bool,
}

impl Readiness {
    pub const READABLE: Readiness =
        Readiness { readable: true, writable: false, closed: false, urgent: false };

    /// Has a session remember it.
    #[inline(always)]
    pub fn note(&self, flags: &mut Flags) {
        flags.read_on |= self.closed || self.urgent;
        flags.readable |= self.readable || flags.read_on;
        flags.write_blocked &= !self.writable;
    }
}

impl From<&Event> for Readiness {
    fn from(event: &Event) -> Readiness {
        Readiness {
            readable: event.is_readable(),
            writable: event.is_writable(),
            closed: event.is_read_closed() || event.is_error(),
            urgent: event.is_priority(),
        }
    }
}

impl Reactor {
    /// Inlined wherever it is called: there it is known which step it is, so that only this one is
    /// there, and what a trace would note of it is put together only for a trace.
    #[inline(always)]
    pub(super) fn step(&mut self, step: Step) {
        let span = self.trace.begin();
        let done = self.perform(step);
        self.trace.end_if(span, done);
    }

    /// Does it, and says what was done if that is worth a place in the trace.
    #[inline(always)]
    fn perform(&mut self, step: Step) -> Option<SpanKind> {
        Some(match step {
            Step::Ready(slot, readiness) => {
                let conn = self.on_ready(slot, readiness);
                self.trace.is_on().then(|| {
                    let Readiness { readable, writable, closed, .. } = readiness;
                    SpanKind::Ready { token: slot as u32, conn, readable, writable, closed }
                })?
            }
            Step::Completions => SpanKind::Waker { results: self.pick_up_completions() },
            Step::Signals => {
                self.handle_signals();
                SpanKind::Signals
            }
            Step::Unfinished(Unfinished::Connection(conn)) => {
                self.take_turn(conn);
                SpanKind::Unfinished { conn: Some(conn) }
            }
            Step::Unfinished(Unfinished::Listener(slot)) => {
                self.accept(slot);
                SpanKind::Unfinished { conn: None }
            }
            Step::Unfinished(Unfinished::Followers) => {
                self.serve_followers();
                SpanKind::Unfinished { conn: None }
            }
            Step::Timer(due) => SpanKind::Timer { due: self.on_due(due) },
            Step::Deadlines => self.scan_deadlines().then_some(SpanKind::Round)?,
            Step::Keep => self.keep_news()?,
            Step::Flush(conn) => {
                self.flush(conn);
                self.trace.is_on().then_some(SpanKind::Flush { conn })?
            }
            Step::Bury => match self.slots.bury() {
                0 => return None,
                slots => SpanKind::Bury { slots: slots as u32 },
            },
            Step::Admit(kind, arrival) => SpanKind::Accept { conn: self.admit(kind, arrival)? },
            Step::Dial(peer) => {
                self.dial(peer);
                SpanKind::Dial { peer }
            }
        })
    }

    fn on_due(&mut self, due: Due) -> crate::trace::Due {
        let kind = super::traced::due(&due);
        match due {
            Due::Core(timer) => self.tell(Input::TimerFired { timer }),
            Due::Accept { slot } => self.accept_after_rest(slot),
            Due::WebAnswer { ticket } => self.web_answer_due(ticket),
            Due::LameDuck => self.step_lame_duck(),
            Due::DrainOver => self.cut_drain_short(),
            Due::Handshake { conn } => self.handshake_due(conn),
            Due::Head { id } => self.head_due(id),
            Due::LogLevel => self.take_log_level_back(),
            Due::Followers => self.serve_followers(),
            Due::Index => self.read_on(),
            Due::Unwatch => self.unwatch_clients(),
            Due::Mqtt => self.look_after_mqtt(),
            Due::Pulse { every, tell } => self.when_alive(every, tell),
        }
        kind
    }
}
