//! Places for those who ask by HTTP: an answer may take longer than a turn. Until it is there,
//! nothing more of its connection is read, so the answers are in the order of the questions; other
//! connections do not wait.

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

/// Who waits for places.
#[derive(Default)]
pub(super) struct Askers {
    waiting: BTreeMap<Ticket, Asker>,
    /// Whose connections.
    held: BTreeSet<ConnId>,
    given: u64,
}

struct Asker {
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
        let asker = Asker { conn, is_head: request.is_head(), keeps_open: request.keeps_open };
        self.web.askers.waiting.insert(ticket, asker);
        self.web.askers.held.insert(conn);
        self.slots.session(conn)?.flags.paused = true;
        self.ask(conn, ticket, Question { at, radius_km, bound }, self.config.places.deadline);
        None
    }

    /// Whether a connection waits for places, so that nothing more of it may be taken.
    pub(super) fn awaits_places(&self, conn: ConnId) -> bool {
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
        let Asker { conn, is_head, keeps_open } = asker;
        self.web.askers.held.remove(&conn);
        if self.slots.session(conn).is_none() {
            return;
        }
        let answer = Answer::json([body, b"\n"].concat());
        let posix_s = self.now.posix.whole_seconds();
        self.send(conn, &answer.into_bytes(posix_s, is_head, keeps_open));
        if !keeps_open {
            self.close_when_sent(conn);
        }
        self.resume(conn);
    }
}

/// Whether a ticket was given here.
pub(super) fn is_of_web(ticket: Ticket) -> bool {
    ticket.0 >= FIRST_TICKET
}
