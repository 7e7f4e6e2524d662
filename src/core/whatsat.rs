//! Questions in flight, and the order of answers. It alone knows that an answer may take longer
//! than a turn; it asks no service and knows no places.
//!
//! Commands of one connection take effect in the order sent and are answered in that order. Most
//! are answered as they are handled, and such a connection has nothing here. A WHATSAT opens a
//! slot for its answer; while it is open, everything answered later waits behind it:
//!
//! ```text
//!    WHATSAT   IAMAT    WHATSAT   IAMAT
//!   ┌────────┬────────┬─────────┬────────┐
//!   │ open 7 │ ready  │ open 8  │ ready  │   8 is answered: nothing leaves
//!   └────────┴────────┴─────────┴────────┘   7 is answered: all four leave
//! ```
//!
//! The effects do not wait: the second IAMAT has been stored and flooded, and the second WHATSAT
//! has taken the client's position, before the first question is answered.
//!
//! asyncio: a coroutine that awaits its answer holds back every line behind it; one that spawns
//! a task for each lets answers overtake. The queue is what both lack.

use std::collections::{BTreeMap, VecDeque};

use super::names::{ConnId, Ticket};

/// A point on the globe, in decimal degrees.
///
/// Bounds: latitude in [-90, 90], longitude in [-180, 180]; both are finite. `core::wire` is what
/// makes one from text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// North of the equator; negative in the south.
    pub latitude: f64,
    /// East of Greenwich; negative in the west.
    pub longitude: f64,
}

/// What a WHATSAT wants to know of a source of places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    /// Where the client was when the WHATSAT was read.
    pub at: Position,
    /// Radius in kilometres, in [0, 50]. Google's services want metres.
    pub radius_km: f64,
    /// How many results the client wants at most, in [0, 20].
    pub bound: u8,
}

/// What stands in the place of an answer that did not come in time.
pub const TOO_LATE: &[u8] = br#"{
   "html_attributions" : [],
   "results" : [],
   "status" : "UNKNOWN_ERROR",
   "error_message" : "the source of places did not answer in time"
}"#;

/// The answers that wait, of all connections.
pub(super) struct Waits {
    queues: BTreeMap<ConnId, Queue>,
    open: BTreeMap<Ticket, ConnId>,
    next_ticket: u64,
    /// Answers that may wait on one connection.
    waits_max: usize,
}

/// The answers of one connection, oldest first. The first is always open: what is ready and has
/// nothing before it has left.
#[derive(Default)]
struct Queue {
    slots: VecDeque<Slot>,
    /// The client will send no more: after the last answer, the connection is closed.
    ended: bool,
    /// The queue was full and the client's next lines are held back.
    paused: bool,
}

enum Slot {
    Open { ticket: Ticket, at_line: Vec<u8> },
    Ready(Vec<u8>),
}

/// What came of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Release {
    pub conn: ConnId,
    /// Commands that were answered; 0 if an earlier one is still open.
    pub answers: usize,
    /// The client has said its last and heard its last.
    pub finished: bool,
    /// Its lines were held back, and need not be any more.
    pub resume: bool,
}

impl Waits {
    pub fn new(waits_max: usize) -> Waits {
        assert!(waits_max > 0, "a WHATSAT must be able to wait");
        Waits { queues: BTreeMap::new(), open: BTreeMap::new(), next_ticket: 0, waits_max }
    }

    /// From now on, so many may wait on one connection.
    pub fn bound(&mut self, waits_max: usize) {
        assert!(waits_max > 0, "a WHATSAT must be able to wait");
        self.waits_max = waits_max;
    }

    /// Whether this connection's answers have to wait.
    pub fn is_waiting(&self, conn: ConnId) -> bool {
        !self.queues.is_empty() && self.queues.contains_key(&conn)
    }

    /// Questions that are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whose answer this is, if it is still waited for.
    pub fn connection(&self, ticket: Ticket) -> Option<ConnId> {
        self.open.get(&ticket).copied()
    }

    /// The answer begins with this line, which was not known when its slot was opened.
    pub fn begin(&mut self, ticket: Ticket, line: Vec<u8>) {
        let queue = self.open.get(&ticket).and_then(|conn| self.queues.get_mut(conn));
        if let Some(at_line) = queue.and_then(|queue| queue.at_line(ticket)) {
            *at_line = line;
        }
    }

    /// Opens a slot for an answer that begins with `at_line`.
    pub fn open(&mut self, conn: ConnId, at_line: Vec<u8>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.open.insert(ticket, conn);
        self.queues.entry(conn).or_default().slots.push_back(Slot::Open { ticket, at_line });
        ticket
    }

    /// Puts an answer behind those that wait.
    pub fn queue(&mut self, conn: ConnId, answer: &[u8]) {
        let queue = self.queues.get_mut(&conn).expect("only answers of waiting connections wait");
        queue.slots.push_back(Slot::Ready(answer.to_vec()));
    }

    /// Whether no more may wait on this connection; if so, remembers that it is held back.
    pub fn hold_if_full(&mut self, conn: ConnId) -> bool {
        if self.queues.is_empty() {
            return false;
        }
        let Some(queue) = self.queues.get_mut(&conn) else { return false };
        queue.paused = queue.slots.len() >= self.waits_max;
        queue.paused
    }

    /// The client will send no more. Says whether something is still owed to it.
    pub fn end(&mut self, conn: ConnId) -> bool {
        match self.queues.get_mut(&conn) {
            Some(queue) => {
                queue.ended = true;
                true
            }
            None => false,
        }
    }

    /// Forgets a connection. Answers that come later find nobody.
    pub fn forget(&mut self, conn: ConnId) {
        let Some(queue) = self.queues.remove(&conn) else { return };
        for slot in queue.slots {
            if let Slot::Open { ticket, .. } = slot {
                self.open.remove(&ticket);
            }
        }
    }

    /// Closes a slot with the body of its answer and writes whatever may leave now. `None` if
    /// nobody waits for this ticket any more.
    pub fn close(&mut self, ticket: Ticket, body: &[u8], out: &mut Vec<u8>) -> Option<Release> {
        self.fill(ticket, out, |answer| {
            answer.reserve_exact(body.len() + 2);
            answer.extend_from_slice(body);
            answer.extend_from_slice(b"\n\n");
        })
    }

    /// Closes a slot as `close` does, with nothing but the client's line behind a question mark.
    pub fn refuse(&mut self, ticket: Ticket, line: &[u8], out: &mut Vec<u8>) -> Option<Release> {
        self.fill(ticket, out, |answer| *answer = [b"? ", line, b"\n"].concat())
    }

    fn fill(
        &mut self,
        ticket: Ticket,
        out: &mut Vec<u8>,
        finish: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Release> {
        let conn = self.open.remove(&ticket)?;
        let queue = self.queues.get_mut(&conn).expect("an open ticket has its slot");
        queue.fill(ticket, finish);
        let answers = queue.release(out);
        let resume = queue.paused && queue.slots.len() <= self.waits_max / 2;
        queue.paused &= !resume;
        let (empty, ended) = (queue.slots.is_empty(), queue.ended);
        if empty {
            self.queues.remove(&conn);
        }
        Some(Release { conn, answers, finished: empty && ended, resume })
    }
}

impl Queue {
    /// The slot of a question that is open. Bound of the search: waits_max.
    fn slot(&mut self, ticket: Ticket) -> Option<&mut Slot> {
        let is_it =
            |slot: &&mut Slot| matches!(slot, Slot::Open { ticket: it, .. } if *it == ticket);
        self.slots.iter_mut().find(is_it)
    }

    fn at_line(&mut self, ticket: Ticket) -> Option<&mut Vec<u8>> {
        match self.slot(ticket)? {
            Slot::Open { at_line, .. } => Some(at_line),
            Slot::Ready(_) => None,
        }
    }

    fn fill(&mut self, ticket: Ticket, finish: impl FnOnce(&mut Vec<u8>)) {
        if let Some(slot) = self.slot(ticket)
            && let Slot::Open { at_line, .. } = slot
        {
            let mut answer = std::mem::take(at_line);
            finish(&mut answer);
            *slot = Slot::Ready(answer);
        }
    }

    fn release(&mut self, out: &mut Vec<u8>) -> usize {
        let ready = self.slots.iter().take_while(|slot| matches!(slot, Slot::Ready(_))).count();
        for slot in self.slots.drain(..ready) {
            if let Slot::Ready(answer) = slot {
                out.extend_from_slice(&answer);
            }
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ConnKind;

    fn conn(serial: u64) -> ConnId {
        ConnId::new(ConnKind::Client, serial, 0)
    }

    fn close(waits: &mut Waits, ticket: Ticket) -> (String, Option<Release>) {
        let mut out = Vec::new();
        let release = waits.close(ticket, b"{}", &mut out);
        (String::from_utf8(out).unwrap(), release)
    }

    #[test]
    fn answers_leave_in_the_order_of_commands() {
        let mut waits = Waits::new(4);
        let first = waits.open(conn(1), b"AT a\n".to_vec());
        waits.queue(conn(1), b"AT b\n");
        let second = waits.open(conn(1), b"AT c\n".to_vec());
        waits.queue(conn(1), b"AT d\n");
        assert!(waits.hold_if_full(conn(1)) && !waits.hold_if_full(conn(2)));

        let release =
            |answers, finished, resume| Some(Release { conn: conn(1), answers, finished, resume });
        assert_eq!(close(&mut waits, second), (String::new(), release(0, false, false)));
        assert!(waits.end(conn(1)));
        let all = "AT a\n{}\n\nAT b\nAT c\n{}\n\nAT d\n".to_string();
        assert_eq!(close(&mut waits, first), (all, release(4, true, true)));
        assert!(!waits.is_waiting(conn(1)) && waits.len() == 0 && !waits.end(conn(1)));
    }

    #[test]
    fn an_answer_may_begin_later_or_be_a_refusal() {
        let mut waits = Waits::new(4);
        let [first, second] = [(); 2].map(|()| waits.open(conn(1), Vec::new()));
        let mut out = Vec::new();
        assert_eq!(waits.refuse(second, b"WHATSAT b 1 1", &mut out).unwrap().answers, 0);
        assert_eq!(waits.connection(first), Some(conn(1)));
        waits.begin(first, b"AT a\n".to_vec());
        let (answers, release) = close(&mut waits, first);
        assert_eq!(answers, "AT a\n{}\n\n? WHATSAT b 1 1\n");
        assert_eq!(release.map(|release| release.answers), Some(2));
        assert_eq!(waits.connection(first), None);
        waits.begin(first, Vec::new());
    }

    #[test]
    fn an_answer_to_somebody_who_left_finds_nobody() {
        let mut waits = Waits::new(4);
        let ticket = waits.open(conn(1), b"AT a\n".to_vec());
        waits.forget(conn(1));
        assert_eq!(close(&mut waits, ticket), (String::new(), None));
        let ticket = waits.open(conn(2), b"AT a\n".to_vec());
        assert!(close(&mut waits, ticket).1.is_some());
        assert_eq!(close(&mut waits, ticket).1, None, "a ticket is answered once");
    }
}
