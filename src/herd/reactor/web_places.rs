//! Answers by HTTP that take longer than a turn, among them places for those who ask. Until an
//! answer is there, nothing more of its connection is read, so the answers are in the order of the
//! questions; other connections do not wait.

use std::collections::{BTreeMap, BTreeSet};

use super::asking::{bad, unknown};
use super::{Due, Reactor};
use herd_core::driver::Driver;
use herd_core::names::{ConnId, Ticket};
use herd_core::whatsat::{Question, TOO_LATE};
use herd_core::wire;
use herd_web::access::Caller;
use herd_web::ask::read_places;
use herd_web::http::{Answer, Request};

/// Tickets from here on are given here; the core counts its own from zero.
const FIRST_TICKET: u64 = 1 << 63;

/// Who waits for an answer.
#[derive(Default)]
pub(super) struct Askers {
    /// For places.
    waiting: BTreeMap<Ticket, Asker>,
    /// Connections of all who wait, for whatever it is.
    held: BTreeSet<ConnId>,
    given: u64,
}

/// Somebody who waits for an answer.
pub(super) struct Asker {
    conn: ConnId,
    is_head: bool,
    keeps_open: bool,
}

impl Reactor {
    /// Asks what is near a client; an answer if there is nothing to wait for.
    pub(super) fn ask_web_places(
        &mut self,
        conn: ConnId,
        id: &[u8],
        request: &Request<'_>,
        caller: &Caller,
    ) -> Option<Answer> {
        let Some(report) = self.seen(id, caller) else { return Some(unknown()) };
        let Some(at) = wire::position(report.position) else {
            return Some(bad("this client is nowhere on the globe"));
        };
        let (radius_km, bound) = match read_places(request.query) {
            Ok(wanted) => wanted,
            Err(why) => return Some(bad(&why)),
        };
        let ticket = Ticket(FIRST_TICKET + self.web.askers.given);
        self.web.askers.given += 1;
        let asker = self.hold(conn, request)?;
        self.web.askers.waiting.insert(ticket, asker);
        self.ask(conn, ticket, Question { at, radius_km, bound }, self.config.places.deadline);
        None
    }

    /// Has a connection wait for its answer; `None` if it has ended.
    pub(super) fn hold(&mut self, conn: ConnId, request: &Request<'_>) -> Option<Asker> {
        self.slots.session(conn)?.flags.paused = true;
        self.web.askers.held.insert(conn);
        Some(Asker { conn, is_head: request.is_head(), keeps_open: request.keeps_open })
    }

    /// Gives somebody the answer that was waited for, and goes on with the connection.
    pub(super) fn answer_asker(&mut self, asker: &Asker, answer: Answer) {
        let &Asker { conn, is_head, keeps_open } = asker;
        self.web.askers.held.remove(&conn);
        if self.slots.session(conn).is_none() {
            return;
        }
        let posix_s = self.now.posix.whole_seconds();
        self.send(conn, &answer.into_bytes(posix_s, is_head, keeps_open));
        if !keeps_open {
            self.close_when_sent(conn);
        }
        self.resume(conn);
    }

    /// Whether a connection waits for an answer, so that nothing more of it may be taken.
    pub(super) fn awaits_answer(&self, conn: ConnId) -> bool {
        self.web.askers.held.contains(&conn)
    }

    /// When the answer to this ticket is overdue.
    pub(super) fn answer_timer(ticket: Ticket) -> Due {
        if is_of_web(ticket) {
            Due::WebAnswer { ticket }
        } else {
            Due::Core(herd_core::border::Timer::Answer { ticket })
        }
    }

    /// It was not answered in time, if it was not answered before.
    pub(super) fn web_answer_due(&mut self, ticket: Ticket) {
        self.answer_web_places(ticket, TOO_LATE);
    }

    /// Passes an answer on, if somebody still waits for it here.
    pub(super) fn answer_web_places(&mut self, ticket: Ticket, body: &[u8]) {
        let Some(asker) = self.web.askers.waiting.remove(&ticket) else { return };
        self.answer_asker(&asker, Answer::json([body, b"\n"].concat()));
    }
}

/// Whether a ticket was given here.
pub(super) fn is_of_web(ticket: Ticket) -> bool {
    ticket.0 >= FIRST_TICKET
}
