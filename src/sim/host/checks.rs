//! What is demanded of one simulated server by itself: bounded work while it serves, and nothing
//! left when it has gone. The host only does what the reactor does.

use super::pipes::{HIGH_WATER, LIMITS, LINES_MAX};
use super::{Act, Host};
use crate::engine::{OWED_MAX as ENGINE_OWED_MAX, PAYLOAD_MAX};
use crate::invariants::{Invariant, Violation};
use herd_core::LinkState;
use herd_core::border::Output;
use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::wire::line_buffer::Lines;

/// How much of the store a peer is sent at a time, if its outbox may hold as much; without the last
/// line.
const PIECE_BYTES: usize = 64 * 1024;
/// Greetings and signs of life, beside the reports.
const WORDS_BYTES: usize = 512;
/// Reports that are walked by for one input: those of a piece, or of a sweep.
const WALK_MAX: u64 = 8_192;
/// Inputs that come of one: something for each connection, and not for ever.
const INPUTS_MAX: usize = 10_000;
/// Deadlines of a server that has left, and not for ever.
const TIMERS_LEFT_MAX: usize = 1_000;

impl Host {
    /// One input costs no more than a piece of the store, however much is held.
    pub(super) fn count_work(&mut self) {
        let walked = self.server.counters().walked;
        let walk = walked - std::mem::replace(&mut self.walked, walked);
        let said_max = PIECE_BYTES + (self.peers + 2) * LINES_MAX * 2 * LIMITS.line_bytes_max;
        self.inputs += 1;
        if self.inputs > INPUTS_MAX {
            // Nothing more comes of it, so that this ends.
            self.deferred.clear();
            self.out.clear();
            let broken = Invariant::Endless.broken("what comes of one input has no end");
            self.acts.push(Act::Broken(broken));
        }
        let is_bounded = self.out.text.len() <= said_max
            && walk <= WALK_MAX
            && self.out.list.len() <= PIECE_BYTES / 16;
        if !is_bounded {
            let (said, wants) = (self.out.text.len(), self.out.list.len());
            self.acts.push(Act::Broken(Invariant::Bounded.broken(format!(
                "one input: {said} bytes said, {walk} reports walked, {wants} outputs"
            ))));
        }
    }

    /// IAMATs of clients that were taken, if no question of anybody waits for the places.
    pub(super) fn iamats_taken(&self) -> Option<u64> {
        let counters = self.server.counters();
        let others = counters.peer_lines + counters.whatsats + counters.other_lines;
        (self.server.questions_waiting() == 0).then(|| counters.lines_in - others)
    }

    /// A client's lines were taken: each IAMAT has its answer, and the others are taken next.
    pub(super) fn check_answered(&mut self, conn: ConnId, lines: &Lines<'_>, before: Option<u64>) {
        let (Some(before), Some(after)) = (before, self.iamats_taken()) else { return };
        if conn.kind() != ConnKind::Client {
            return;
        }
        let answers = self.out.list.iter().map(|output| match output {
            Output::Send { conn: to, text } if *to == conn => {
                memchr::memchr_iter(b'\n', &self.out.text[text.clone()]).count() as u64
            }
            _ => 0,
        });
        let (answers, taken) = (answers.sum::<u64>(), after - before);
        if answers < taken || lines.is_paused() {
            let broken = format!("{conn} waits: {taken} IAMATs were taken, {answers} answered");
            self.acts.push(Act::Broken(Invariant::Unhindered.broken(broken)));
        }
    }

    /// A text was appended to the outbox of a connection, which was open or not.
    pub(super) fn check_sent(&mut self, conn: ConnId, text: &[u8], is_open: bool, queued: usize) {
        let piece_bytes = PIECE_BYTES.min(self.peer_owed_max) + LIMITS.line_bytes_max;
        let queued_max = match conn.kind() {
            ConnKind::Peer => self.peer_owed_max + piece_bytes + WORDS_BYTES,
            // The last batch may go beyond the bound, and an answer beside it.
            ConnKind::Engine => ENGINE_OWED_MAX + 2 * PAYLOAD_MAX,
            // All answers that waited leave at once; they are as long as their commands.
            _ => HIGH_WATER + LINES_MAX * 2 * LIMITS.line_bytes_max,
        };
        let broken = if text.is_empty() || !is_open {
            Invariant::Assertion.broken(format!("{conn} is sent nothing, or after its last word"))
        } else if queued > queued_max {
            Invariant::Bounds.broken(format!("{conn} is owed more than {queued_max} bytes"))
        } else {
            return;
        };
        self.acts.push(Act::Broken(broken));
    }

    /// The first promise that was broken by what was asked of the world since the last call.
    pub fn first_violation(&mut self) -> Option<Violation> {
        self.take_acts().into_iter().find_map(|act| match act {
            Act::Broken(violation) => Some(violation),
            _ => None,
        })
    }

    /// The timers of a server that has left fire in vain: none of them starts another one.
    pub fn outlive_timers(&mut self) {
        for _ in 0..TIMERS_LEFT_MAX {
            let Some(deadline) = self.wheel.next_deadline() else { return };
            self.clock.now.monotonic = self.clock.now.monotonic.max(deadline);
            self.expire();
        }
    }

    /// What is left of a server that has left, had all its time and lost its last connection.
    ///
    /// # Errors
    /// I10.
    pub fn has_left(&self, peers: usize) -> Result<(), Violation> {
        let state = |peer| self.server.peer(PeerId(peer as u16)).state;
        let is_down = |peer| matches!(state(peer), LinkState::Down | LinkState::Removed);
        let demand = |is_so: bool, what: &str| {
            Invariant::Leaving.demand(is_so, || format!("who has left still has {what}"))
        };
        demand(self.pipes.0.is_empty(), "a connection")?;
        demand(self.wheel.is_empty(), "a timer")?;
        demand(self.server.questions_waiting() == 0, "a question")?;
        demand((0..peers).all(is_down), "a link")
    }
}
