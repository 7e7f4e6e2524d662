//! What stands between sessions and the server, whatever the sockets are: when lines are taken and
//! told, what becomes of each output, when a connection is closed and when it has waited for too
//! long. The reactor is a driver with sockets, the simulator's host is one with pipes.
//!
//! ```text
//!   bytes ──▶ serve ──▶ take_lines ──▶ Server::handle ──▶ carry_out ──▶ send ──▶ outbox
//!                                            ▲                │
//!                                            └── Deferred ◀───┘  what came of an output at once
//! ```
//!
//! A driver says what it has (`Parts`) and how it sends, closes, dials and asks; everything else
//! is the same for all, and is here.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;
use std::vec::Drain;

use super::border::{Input, Note, Output, Outputs, Timer};
use super::clock::Now;
use super::names::{ConnId, ConnKind, PeerId, Ticket};
use super::session::{
    AfterTurn, AfterWrite, BufferPool, CloseReason, DeadlineScan, Expiry, Farewell, Moment, Phase,
    Received, Session, Timeouts,
};
use super::whatsat::Question;
use super::wire::line_buffer::{LineLimits, Lines};

/// An input that must wait until the outputs of the one before are carried out.
#[expect(missing_docs, reason = "they are the inputs of the same names")]
pub enum Deferred {
    Connected { peer: PeerId, conn: ConnId },
    DialFailed { peer: PeerId },
    Closed { conn: ConnId },
    Taken { conn: ConnId, bytes: usize },
    Flushed { conn: ConnId },
    Answered { ticket: Ticket, body: Rc<[u8]> },
}

/// The sessions of a driver, by their names.
pub trait Sessions {
    /// The session of this name, if it is alive.
    fn session(&mut self, conn: ConnId) -> Option<&mut Session>;
}

/// What every driver has. Each part is lent on its own, so that one can change another.
pub struct Parts<'a, S> {
    /// Both clocks, read once for all that happens together.
    pub now: Now,
    /// Its memory is used again for each input.
    pub out: &'a mut Outputs,
    /// The server's next inputs.
    pub deferred: &'a mut VecDeque<Deferred>,
    /// What is being carried out comes of `Deferred::Flushed`.
    pub is_catching_up: &'a mut bool,
    /// All connections.
    pub sessions: &'a mut S,
    /// Lent to sessions.
    pub buffers: &'a mut BufferPool,
    /// When sessions are compared with their deadlines.
    pub scan: &'a mut DeadlineScan,
    /// How long a session may wait.
    pub timeouts: &'a Timeouts,
    /// Bytes to be sent to a client above which its lines wait.
    pub high_water_bytes: usize,
}

impl<S> Parts<'_, S> {
    fn moment(&self) -> Moment {
        Moment::at(self.now.monotonic)
    }
}

/// What one turn of a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct TurnBounds {
    /// Of each line.
    pub line: LineLimits,
    /// Lines.
    pub lines_max: usize,
    /// Clients that may become known.
    pub newcomers_max: usize,
}

/// Drives sessions and a server.
pub trait Driver: Sized {
    /// Where its sessions are.
    type Sessions: Sessions;

    /// What it has.
    fn parts(&mut self) -> Parts<'_, Self::Sessions>;

    // ---- what it does in its own way ----

    /// Gives the server one input, and carries out what it wants: `Driver::carry_out`.
    fn handle(&mut self, input: Input<'_, '_>);

    /// Gives the server lines, and carries out what it wants: `Driver::carry_out_lines`. `is_first`
    /// says that none was taken of this connection before.
    fn handle_lines(&mut self, conn: ConnId, lines: &mut Lines<'_>, is_first: bool);

    /// A connection has had a turn, in which so many bytes of it were read and so many lines taken.
    fn served(&mut self, _conn: ConnId, _bytes: usize, _lines: usize) {}

    /// Puts a text into a session's outbox and sees to it that it leaves.
    fn send(&mut self, conn: ConnId, text: &[u8]);

    /// Says to the far end that no more will come. Whether that could be said.
    fn shut_down(&mut self, conn: ConnId) -> bool;

    /// Ends a connection now, and defers `Closed`; a dial that has expired fails instead.
    fn close_now(&mut self, conn: ConnId, reason: CloseReason);

    /// The line that a client has begun is taken for whole: it has no end for too long.
    fn line_expired(&mut self, _conn: ConnId) {}

    /// Dials a peer, and sooner or later defers what comes of it.
    fn dial(&mut self, peer: PeerId);

    /// Hands the server this timer after so long.
    fn start_timer(&mut self, timer: Timer, after: Duration);

    /// Asks the source of places, and starts `Timer::Answer` unless the answer is there.
    fn ask_places(&mut self, conn: ConnId, ticket: Ticket, question: Question, timeout: Duration);

    /// The server has something to say to its operator.
    fn note(&mut self, note: Note);

    /// Gives a connection a turn now, if it is alive and wants one: reads and serves it.
    fn take_turn(&mut self, conn: ConnId);

    /// Gives a connection a turn later; it is in no queue for that yet.
    fn queue_turn(&mut self, conn: ConnId);

    /// Writes what is to be sent to a connection later; it is in no queue for that yet.
    fn queue_flush(&mut self, conn: ConnId);

    // ---- inputs and outputs ----

    /// Tells the server one thing, does everything it wants, and tells it what came of that, until
    /// nothing is left. This is the law of the border: never two inputs without the outputs of the
    /// first carried out.
    fn tell(&mut self, input: Input<'_, '_>) {
        self.handle(input);
        self.tell_deferred();
    }

    /// Bound: each deferred input comes of one output, and the server answers it with less than it
    /// was: a dial that failed with a timer, a connection that closed with nothing.
    #[inline(always)]
    fn tell_deferred(&mut self) {
        if !self.parts().deferred.is_empty() {
            self.tell_all_deferred();
        }
    }

    /// Tells the inputs that had to wait, and those that come of them.
    fn tell_all_deferred(&mut self) {
        while let Some(deferred) = self.parts().deferred.pop_front() {
            *self.parts().is_catching_up = matches!(deferred, Deferred::Flushed { .. });
            self.tell_one_deferred(deferred);
            *self.parts().is_catching_up = false;
        }
    }

    /// Gives the server one input that had to wait.
    fn tell_one_deferred(&mut self, deferred: Deferred) {
        match deferred {
            Deferred::Connected { peer, conn } => self.handle(Input::Connected { peer, conn }),
            Deferred::DialFailed { peer } => self.handle(Input::DialFailed { peer }),
            Deferred::Closed { conn } => self.handle(Input::Closed { conn }),
            Deferred::Taken { conn, bytes } => self.handle(Input::Taken { conn, bytes }),
            Deferred::Flushed { conn } => self.handle(Input::Flushed { conn }),
            Deferred::Answered { ticket, body } => {
                self.handle(Input::PlacesArrived { ticket, body: &body });
            }
        }
    }

    /// Does what the server wants, in its order.
    #[inline(always)]
    fn carry_out(&mut self) {
        let (mut list, texts) = self.parts().out.lend();
        let mut done = 0;
        // Nearly all are texts, and to move an output takes as long as to see what it is.
        while let Some(Output::Send { conn, text }) = list.get(done) {
            self.send(*conn, &texts[text.clone()]);
            done += 1;
        }
        if done < list.len() {
            self.carry_out_rest(list.drain(done..), &texts);
        }
        self.parts().out.take_back(list, texts);
    }

    /// Does what the server wants from something on that is no text.
    #[inline(never)]
    fn carry_out_rest(&mut self, rest: Drain<'_, Output>, texts: &[u8]) {
        rest.for_each(|output| self.carry_out_one(output, texts));
    }

    /// Does one thing that the server wants.
    fn carry_out_one(&mut self, output: Output, texts: &[u8]) {
        match output {
            Output::Send { conn, text } => self.send(conn, &texts[text]),
            Output::Close { conn } => self.close_when_sent(conn),
            Output::HangUp { conn } => self.close_now(conn, CloseReason::HungUp),
            Output::Dial { peer } => self.dial(peer),
            Output::StartTimer { timer, after } => self.start_timer(timer, after),
            Output::AskPlaces { conn, ticket, question, timeout } => {
                self.ask_places(conn, ticket, question, timeout);
            }
            Output::ResumeReading { conn } => self.resume(conn),
            Output::TellFlushed { conn } => self.tell_when_drained(conn),
            Output::Note(note) => self.note(note),
        }
    }

    /// The same for what came of lines. The answer that lets more of them be taken again may be
    /// among the outputs, so the hold comes first.
    #[inline(always)]
    fn carry_out_lines(&mut self, conn: ConnId, lines: &Lines<'_>) {
        if lines.is_paused()
            && let Some(session) = self.parts().sessions.session(conn)
        {
            session.flags.paused = true;
        }
        self.carry_out();
    }

    // ---- a connection's turn ----

    /// Does what a turn does once a connection is read (`Session::begin_turn`): the server is told
    /// the lines, those that were kept and those of what was read, as many as may be taken now, and
    /// then the end of them. What comes after our last word is counted and dropped.
    #[inline(always)]
    fn serve(&mut self, conn: ConnId, read: &[u8], bounds: TurnBounds) {
        let Parts { sessions, buffers, high_water_bytes, .. } = self.parts();
        let Some(session) = sessions.session(conn) else { return };
        if session.phase() != Phase::Open {
            return self.linger(conn, read.len());
        }
        let is_first = session.flags.received != Received::Line;
        let next = if let Some(mut batch) = session.begin_batch(read, high_water_bytes) {
            let lines = batch.lines(read, bounds.line, bounds.lines_max);
            let mut lines = lines.introducing(bounds.newcomers_max);
            self.handle_lines(conn, &mut lines, is_first);
            self.tell_deferred();
            let outcome = lines.outcome();
            self.served(conn, read.len(), outcome.taken);
            let parts = self.parts();
            let now = parts.moment();
            let Some(session) = parts.sessions.session(conn) else { return };
            if session.settle(batch, read, outcome, bounds.line, now, parts.buffers) {
                return self.close_now(conn, CloseReason::EndlessLine);
            }
            session.end_turn(parts.buffers, high_water_bytes)
        } else {
            session.end_turn(buffers, high_water_bytes)
        };
        match next {
            AfterTurn::TellEnd => self.tell_end(conn),
            AfterTurn::TakeTurn => self.queue_turn(conn),
            AfterTurn::Wait => {}
        }
    }

    /// So many bytes have come after our last word, so that the close does not turn into a reset.
    fn linger(&mut self, conn: ConnId, bytes: usize) {
        let Some(session) = self.parts().sessions.session(conn) else { return };
        if session.linger(bytes) || session.flags.end_seen {
            self.close_now(conn, CloseReason::Done);
        }
        self.queue_if_unfinished(conn);
    }

    /// Tells the server that no more lines will come: it has taken the last.
    fn tell_end(&mut self, conn: ConnId) {
        match conn.kind() {
            ConnKind::Admin | ConnKind::Operator | ConnKind::Web | ConnKind::Mqtt => {
                self.close_when_sent(conn);
            }
            _ => self.tell(Input::Ended { conn }),
        }
        self.queue_if_unfinished(conn);
    }

    /// Remembers a connection with work left, because no event will.
    fn queue_if_unfinished(&mut self, conn: ConnId) {
        let Parts { sessions, high_water_bytes, .. } = self.parts();
        let Some(session) = sessions.session(conn) else { return };
        if session.join_unfinished(high_water_bytes) {
            self.queue_turn(conn);
        }
    }

    /// The server takes lines of this connection again.
    fn resume(&mut self, conn: ConnId) {
        if let Some(session) = self.parts().sessions.session(conn) {
            session.flags.paused = false;
        }
        self.queue_if_unfinished(conn);
    }

    /// Takes no more commands of a client than have come whole: the process is about to end.
    fn dismiss(&mut self, conn: ConnId) {
        let Some(session) = self.parts().sessions.session(conn) else { return };
        if conn.kind().is_client() && session.phase() == Phase::Open {
            session.stop_reading();
            self.queue_if_unfinished(conn);
        }
    }

    /// Takes no more lines of a client and closes its connection behind the last answer, if it is
    /// between two lines. Says whether nothing is left to be done.
    fn let_leave(&mut self, conn: ConnId) -> bool {
        // No event has announced what has come since the turn began: it is taken as well.
        match self.parts().sessions.session(conn) {
            None => return true,
            Some(session) if session.flags.unfinished => return false,
            Some(session) => session.flags.readable = true,
        }
        self.take_turn(conn);
        let Some(session) = self.parts().sessions.session(conn) else { return true };
        if session.flags.unfinished || !session.is_between_lines() {
            return false;
        }
        session.stop_reading();
        // Now and not in the next turn: what came until then would be read by nobody.
        self.take_turn(conn);
        true
    }

    // ---- what leaves ----

    /// Queues a connection to be written to, unless the far end must make room first.
    fn flush_later(&mut self, conn: ConnId) {
        let Some(session) = self.parts().sessions.session(conn) else { return };
        if session.join_flush() {
            self.queue_flush(conn);
        }
    }

    /// So many bytes of a session's outbox have left; what comes after that, it has said
    /// (`Session::after_write`).
    #[inline(always)]
    fn written(&mut self, conn: ConnId, bytes: usize, next: AfterWrite) {
        if conn.kind() == ConnKind::Peer && bytes > 0 {
            self.parts().deferred.push_back(Deferred::Taken { conn, bytes });
        }
        if next.must_flush {
            self.queue_flush(conn);
        }
        if next.must_serve {
            self.queue_turn(conn);
        }
        if next.may_be_over {
            self.close_if_sent(conn);
        }
    }

    /// The server learns of it when the outbox is written.
    fn tell_when_drained(&mut self, conn: ConnId) {
        let Some(session) = self.parts().sessions.session(conn) else { return };
        session.flags.tell_flushed = true;
        self.flush_later(conn);
    }

    /// Defers `Flushed` if the server waits for that, and all is sent.
    fn tell_if_drained(&mut self, conn: ConnId) {
        let Parts { sessions, deferred, .. } = self.parts();
        if sessions.session(conn).is_some_and(Session::take_drained) {
            deferred.push_back(Deferred::Flushed { conn });
        }
    }

    // ---- ends ----

    /// Closes a connection once all is sent.
    fn close_when_sent(&mut self, conn: ConnId) {
        let Some(session) = self.parts().sessions.session(conn) else { return };
        session.close_when_sent();
        self.close_if_sent(conn);
    }

    /// Our last byte is sent, or some is still to be sent. Then nothing happens yet.
    fn close_if_sent(&mut self, conn: ConnId) {
        let parts = self.parts();
        let now = parts.moment();
        let Some(session) = parts.sessions.session(conn) else { return };
        match session.take_farewell(parts.buffers, now) {
            None => {}
            Some(Farewell::Linger) if self.shut_down(conn) => {
                self.check_deadline(conn);
                self.queue_if_unfinished(conn);
            }
            Some(_) => self.close_now(conn, CloseReason::Done),
        }
    }

    /// Ends a connection that has waited for too long, else sees to it that a scan comes in time.
    fn check_deadline(&mut self, conn: ConnId) {
        let parts = self.parts();
        let now = parts.moment();
        let Some(session) = parts.sessions.session(conn) else { return };
        match session.deadline(parts.timeouts) {
            Some((at, Expiry::PartialLine)) if at <= now => {
                session.end_partial_line();
                parts.scan.note(None, now, parts.timeouts);
                self.line_expired(conn);
                self.queue_if_unfinished(conn);
            }
            Some((at, expiry)) if at <= now => self.close_now(conn, CloseReason::Expired(expiry)),
            deadline => parts.scan.note(deadline.map(|(at, _)| at), now, parts.timeouts),
        }
    }
}
