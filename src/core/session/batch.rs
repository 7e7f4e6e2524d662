//! The lines of one turn. Apart from the session because the inbox is out of it meanwhile: what the
//! lines bring about may reach the very session that they come from.

use super::timeouts::Moment;
use super::{BufferPool, Reading, Received, Session};
use crate::wire::line_buffer::{LineBuffer, LineLimits, Lines, Outcome};

/// The inbox of a session, and what there is room for. `Session::settle` takes it back.
pub struct Batch {
    /// If a line had begun.
    inbox: Option<LineBuffer>,
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
        let lines = match &mut self.inbox {
            Some(inbox) => inbox.lines(read, limits),
            None => Lines::new(read, limits),
        };
        let lines = lines.bounded(lines_max, self.room_bytes);
        if self.is_last { lines.ended() } else { lines }
    }
}

impl Session {
    /// Takes the inbox out, to take lines from it and from what was just read; `None` if there is
    /// nothing in either. Answers may fill the outbox up to `high_water_bytes`.
    #[inline]
    pub fn begin_batch(&mut self, read: &[u8], high_water_bytes: usize) -> Option<Batch> {
        let begun = self.buffers.as_mut().filter(|buffers| buffers.inbox.is_partial());
        let inbox = begun.map(|buffers| std::mem::take(&mut buffers.inbox));
        if read.is_empty() && inbox.is_none() {
            return None;
        }
        Some(Batch {
            inbox,
            // A client's half-close stands for its last newline; a peer whose connection ends in
            // the middle of a line has not said it.
            is_last: self.reading == Reading::Ended && !self.id.kind().is_bounded_by_core(),
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
        let had_begun = batch.inbox.is_some();
        if outcome.taken > 0 {
            self.flags.received = Received::Line;
        }
        if !had_begun || outcome.taken > 0 {
            self.line_since = now;
        }
        self.flags.lines_left = outcome.lines_left;
        // Nearly always, no line had begun and none has now.
        (had_begun || !outcome.is_all()) && self.keep(batch, read, outcome, limits, pool)
    }

    #[inline(never)]
    fn keep(
        &mut self,
        batch: Batch,
        read: &[u8],
        outcome: Outcome,
        limits: LineLimits,
        pool: &mut BufferPool,
    ) -> bool {
        let mut inbox = batch.inbox.unwrap_or_default();
        inbox.settle(read, outcome);
        let is_endless = inbox.is_endless(limits);
        if inbox.is_partial() {
            self.buffers.get_or_insert_with(|| pool.lend()).inbox = inbox;
        } else {
            self.release(pool);
        }
        is_endless
    }
}
