//! Answers wait until what they rest on is kept. The loop's end of the journal, which is only
//! there if the operator wants one: news goes into it once a turn, and an answer that was queued
//! since stays in its outbox until the journal says that it may leave. The loop itself never waits.

use std::collections::VecDeque;
use std::time::Duration;

use super::Reactor;
use super::connection::Connection;
use crate::journal::Journal;
use crate::status::{JournalState, JournalStatus};
use herd_core::driver::Driver;
use herd_core::journal::keeper::Keep;
use herd_core::names::{ConnId, ConnKind};

/// While everything is written anew and there is no news, so often some of it is written.
const WALK_EVERY: Duration = Duration::from_millis(50);
/// And so much a second.
const WALK_BYTES_PER_S: f64 = 1_048_576.0;
/// How exactly it is known since when something is not on the disk.
const NOTE_EVERY: Duration = Duration::from_millis(100);
/// While the disk takes nothing, it is known less exactly.
const NOTES_MAX: usize = 1024;

/// The journal, and what the loop remembers for it.
pub struct Keeping {
    journal: Journal,
    /// Connections that are not read while too much waits to be written.
    waiting: Vec<ConnId>,
    /// When a walk last earned by the clock.
    earned_at: Duration,
    /// What had been laid at some times, as far as it is not on the disk.
    unsynced: VecDeque<(u64, Duration)>,
}

impl Keeping {
    pub fn new(journal: Journal) -> Keeping {
        let (earned_at, unsynced) = (Duration::ZERO, VecDeque::new());
        Keeping { journal, waiting: Vec::new(), earned_at, unsynced }
    }

    /// Holds what was queued for a client since the last news, unless all of that is kept.
    pub fn hold_answers(&mut self, connection: &mut Connection) {
        let session = &mut connection.session;
        if session.id().kind() != ConnKind::Client {
            return;
        }
        if self.journal.keeper.is_all_kept() {
            return session.free_answers();
        }
        let bytes = session.hold_answers();
        if bytes > 0 {
            self.journal.keeper.hold(session.id(), bytes);
        }
    }

    /// Whether a client must not be read now: it will be once there is room.
    pub fn puts_off(&mut self, connection: &mut Connection) -> bool {
        let conn = connection.id();
        let is_put_off = conn.kind() == ConnKind::Client && self.journal.keeper.is_congested();
        if is_put_off {
            connection.session.flags.unfinished = true;
            self.waiting.push(conn);
        }
        is_put_off
    }

    /// Whether any answer waits.
    pub fn is_holding(&self) -> bool {
        self.journal.keeper.is_holding()
    }

    /// Connections that are not read for now.
    pub fn waiting(&self) -> &[ConnId] {
        &self.waiting
    }

    /// How long the loop may sleep, if it could sleep so long without a journal.
    pub fn timeout(&self, sleep: Option<Duration>) -> Option<Duration> {
        let keeper = &self.journal.keeper;
        if !keeper.is_walking() {
            return sleep;
        }
        let pause = if keeper.missed_bytes() > 0 { Duration::ZERO } else { WALK_EVERY };
        Some(sleep.map_or(pause, |sleep| sleep.min(pause)))
    }

    fn note_unsynced(&mut self, now: Duration) {
        let keeper = &self.journal.keeper;
        while self.unsynced.front().is_some_and(|(laid, _)| *laid <= keeper.synced()) {
            self.unsynced.pop_front();
        }
        let is_news = self.unsynced.back().is_none_or(|(laid, at)| {
            keeper.laid() > *laid && now.saturating_sub(*at) >= NOTE_EVERY
        });
        let has_room = self.unsynced.len() < NOTES_MAX;
        if is_news && has_room && keeper.laid() > keeper.synced() {
            self.unsynced.push_back((keeper.laid(), now));
        }
    }

    pub fn status(&self, now: Duration) -> JournalStatus {
        let keeper = &self.journal.keeper;
        let progress = self.journal.progress();
        let trouble = self.journal.complaint();
        let since = self.unsynced.front().map(|(_, at)| now.saturating_sub(*at));
        JournalStatus {
            keep: match keeper.keep() {
                Keep::Written => "written",
                Keep::Synced => "synced",
            }
            .to_owned(),
            state: match trouble {
                Some(_) => JournalState::Refused,
                None if keeper.is_doubtful() => JournalState::StartingOver,
                None if keeper.is_walking() => JournalState::Compacting,
                None => JournalState::Well,
            },
            laid_bytes: keeper.laid(),
            written_bytes: progress.written,
            synced_bytes: keeper.synced(),
            unsynced_ms: since.unwrap_or_default().as_millis() as u64,
            file_bytes: progress.bytes,
            answers_wait: keeper.is_holding(),
            trouble,
        }
    }

    /// Writes and syncs what is left. Says whether all is kept.
    pub fn close(self, patience: Duration) -> bool {
        self.journal.close(patience)
    }
}

impl Reactor {
    /// Takes the news among what the core wants done.
    #[inline]
    pub(super) fn lay_news(&mut self) {
        if let Some(keeping) = &mut self.keeping {
            keeping.journal.keeper.lay(&self.out.text, &self.out.news);
        }
    }

    /// Has the news of this turn written, and lets answers leave that wait for nothing any more.
    pub(super) fn keep_news(&mut self) {
        let Some(mut keeping) = self.keeping.take() else { return };
        self.give_missed(&mut keeping);
        let journal = &mut keeping.journal;
        journal.hand_over();
        if let Some(oldest) = journal.keeper.end_walk() {
            journal.outdate(oldest);
        }
        keeping.note_unsynced(self.now.monotonic);
        let journal = &mut keeping.journal;
        let now = self.moment();
        while let Some((conn, bytes)) = journal.keeper.release() {
            if let Some(session) = self.slots.session(conn) {
                session.free_held(bytes, now);
                self.flush_later(conn);
            }
        }
        if !journal.keeper.is_congested() {
            for conn in std::mem::take(&mut keeping.waiting) {
                self.queue_turn(conn);
            }
        }
        self.keeping = Some(keeping);
    }

    /// Gives the journal what it has missed, as far as there is room.
    fn give_missed(&mut self, keeping: &mut Keeping) {
        let now = self.now;
        let Keeping { journal, earned_at, .. } = keeping;
        journal.update();
        let has_lost = journal.take_loss();
        let keeper = &mut journal.keeper;
        if keeper.is_walking() {
            let since = now.monotonic.saturating_sub(*earned_at).min(WALK_EVERY);
            keeper.earn_by_clock((since.as_secs_f64() * WALK_BYTES_PER_S) as u64);
            *earned_at = now.monotonic;
        }
        self.server.feed_journal(keeper, has_lost, &mut self.out);
    }
}
