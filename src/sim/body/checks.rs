//! What is demanded of one simulated server by itself: bounded work while it serves, and nothing
//! left when it has gone. Apart from `body`, which only does what the reactor does.

use super::{Act, Body, LIMITS, LINES_MAX, PIECE_BYTES};
use crate::watch::{Invariant, Violation};
use herd_core::LinkState;
use herd_core::names::PeerId;

/// Reports that are walked by for one input: those of a piece, or of a sweep.
const WALK_MAX: u64 = 8_192;
/// Deadlines of a server that has left, and not for ever.
const TIMERS_LEFT_MAX: usize = 1_000;

impl Body {
    /// One input costs no more than a piece of the store, whatever is held.
    pub(super) fn count_work(&mut self) {
        let walked = self.server.counters().walked;
        let walk = walked - std::mem::replace(&mut self.walked, walked);
        let said_max = PIECE_BYTES + (self.peers + 2) * LINES_MAX * 2 * LIMITS.line_bytes_max;
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
            self.now.monotonic = self.now.monotonic.max(deadline);
            self.expire();
        }
    }

    /// What is left of a server that has left, had all its time and lost its last connection.
    ///
    /// # Errors
    /// I10.
    pub fn has_left(&self, peers: usize) -> Result<(), Violation> {
        let is_down = |peer| self.server.peer(PeerId(peer as u16)).state == LinkState::Down;
        let demand = |is_so: bool, what: &str| {
            Invariant::Leaving.demand(is_so, || format!("who has left still has {what}"))
        };
        demand(self.sockets.is_empty(), "a connection")?;
        demand(self.wheel.is_empty(), "a timer")?;
        demand(self.server.questions_waiting() == 0, "a question")?;
        demand((0..peers).all(is_down), "a link")
    }
}
