//! The lines of one turn. Apart from the session because the inbox is out of it meanwhile: what the
//! lines bring about may reach the very session that they come from.

use super::timeouts::Moment;
use super::{BufferPool, Reading, Received, Session};
use crate::names::ConnKind;
use crate::wire::line_buffer::{LineBuffer, LineLimits, Lines, Outcome};

/// The inbox of a session, and what there is room for. `Session::settle` takes it back.
pub struct Batch {
    inbox: LineBuffer,
    was_partial: bool,
    /// The end of what has come stands for a newline.
    is_last: bool,
    room_bytes: usize,
}

impl Batch {
    /// The lines of what was kept and of what was just read, at most so many.
    #[inline]
    pub fn lines<'a>(
        &'a mut self,
        read: &'a [u8],
        limits: LineLimits,
        lines_max: usize,
    ) -> Lines<'a> {
        let lines = self.inbox.lines(read, limits).bounded(lines_max, self.room_bytes);
        if self.is_last { lines.ended() } else { lines }
    }
}

impl Session {
    /// Takes the inbox out, to take lines from it and from what was just read; `None` if there is
    /// nothing in either. Answers may fill the outbox up to `high_water_bytes`.
    #[inline]
    pub fn begin_batch(&mut self, read: &[u8], high_water_bytes: usize) -> Option<Batch> {
        let inbox = self.buffers.as_mut().map(|buffers| std::mem::take(&mut buffers.inbox));
        let inbox = inbox.unwrap_or_default();
        let was_partial = inbox.is_partial();
        if read.is_empty() && !was_partial {
            return None;
        }
        Some(Batch {
            inbox,
            was_partial,
            // A client's half-close stands for its last newline; a peer whose connection ends in
            // the middle of a line has not said it.
            is_last: self.reading == Reading::Ended && self.id.kind() != ConnKind::Peer,
            room_bytes: high_water_bytes.saturating_sub(self.queued_bytes()),
        })
    }

    /// Takes the inbox back, with what was not taken of it and of what was read. Says whether the
    /// line that has begun has no end.
    #[inline]
    pub fn settle(
        &mut self,
        batch: Batch,
        read: &[u8],
        outcome: Outcome,
        limits: LineLimits,
        now: Moment,
        pool: &mut BufferPool,
    ) -> bool {
        let Batch { mut inbox, was_partial, .. } = batch;
        inbox.settle(read, outcome);
        if outcome.taken > 0 {
            self.flags.received = Received::Line;
        }
        if !was_partial || outcome.taken > 0 {
            self.line_since = now;
        }
        self.flags.lines_left = outcome.lines_left;
        let is_endless = inbox.is_endless(limits);
        if inbox.is_partial() {
            self.buffers.get_or_insert_with(|| pool.lend()).inbox = inbox;
        } else if was_partial {
            self.release(pool);
        }
        is_endless
    }
}
