//! Questions for places in memory that have not been answered yet, and which connection is next. An
//! answer takes as long as fifty reports, so there are a few in each turn of the loop, and the
//! connections that ask get them in turn, however much each has asked.
//!
//! ```text
//!   turns   a ─ b ─ c ─▶     some of a's are answered; if more are left, a goes behind c
//!           │   │   └ 1      b's outbox is full: it steps out, and is called when it has read
//!           │   └ 2
//!           └ 30 questions
//! ```

use std::collections::{BTreeMap, VecDeque};

use herd_core::names::{ConnId, Ticket};
use herd_core::whatsat::Question;

/// invariant: no queue is empty; `turns` has a connection once if its queue says so, else never
#[derive(Default)]
pub struct Asked {
    queues: BTreeMap<ConnId, Queue>,
    turns: VecDeque<ConnId>,
}

/// The questions of one connection, the oldest first.
#[derive(Default)]
struct Queue {
    questions: VecDeque<(Ticket, Question)>,
    has_turn: bool,
}

impl Asked {
    pub fn push(&mut self, conn: ConnId, ticket: Ticket, question: Question) {
        self.queues.entry(conn).or_default().questions.push_back((ticket, question));
        self.call(conn);
    }

    /// Whether any connection waits for its turn.
    pub fn is_waiting(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Whose turn it is. Its next comes with `call`.
    pub fn next(&mut self) -> Option<ConnId> {
        let conn = self.turns.pop_front()?;
        if let Some(queue) = self.queues.get_mut(&conn) {
            queue.has_turn = false;
        }
        Some(conn)
    }

    /// The oldest question of a connection.
    pub fn take(&mut self, conn: ConnId) -> Option<(Ticket, Question)> {
        let questions = &mut self.queues.get_mut(&conn)?.questions;
        let oldest = questions.pop_front();
        if questions.is_empty() {
            self.queues.remove(&conn);
        }
        oldest
    }

    /// Gives a connection a turn, if it has asked anything and has none.
    pub fn call(&mut self, conn: ConnId) {
        if let Some(queue) = self.queues.get_mut(&conn)
            && !queue.has_turn
        {
            queue.has_turn = true;
            self.turns.push_back(conn);
        }
    }

    /// Whether a connection has asked and its turn will not come by itself.
    pub fn is_passed_over(&self, conn: ConnId) -> bool {
        self.queues.get(&conn).is_some_and(|queue| !queue.has_turn)
    }

    /// Takes all questions of all connections.
    pub fn take_all(&mut self) -> Vec<(ConnId, Ticket, Question)> {
        self.turns.clear();
        let queues = std::mem::take(&mut self.queues).into_iter();
        let all = queues.flat_map(|(conn, queue)| {
            queue.questions.into_iter().map(move |(ticket, question)| (conn, ticket, question))
        });
        all.collect()
    }

    /// Forgets a connection that has gone. Its turn, if it has one, comes in vain.
    pub fn forget(&mut self, conn: ConnId) {
        self.queues.remove(&conn);
    }
}
