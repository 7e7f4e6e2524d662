//! Answers wait until what they rest on is kept. The loop's end of the journal, which is only
//! there if the operator wants one: news goes into it once a turn, and an answer that was queued
//! since stays in its outbox until the journal says that it may leave. The loop itself never waits.
//!
//! If the disk takes nothing for too long, no answer waits for it any more (`WhenBroken`), but
//! those that do already, and what must leave behind them.

use std::collections::VecDeque;
use std::time::Duration;

use super::Reactor;
use super::connection::Connection;
use crate::config;
use crate::config::settings::show_when_broken;
use crate::config::units::show_duration;
use crate::journal::Journal;
use crate::logging::events::Event;
use crate::status::{JournalState, JournalStatus, Outcome};
use crate::trace::SpanKind;
use herd_core::driver::Driver;
use herd_core::journal::appender::Keep;
use herd_core::journal::breaker::{Breaker, WhenBroken};
use herd_core::names::ConnId;

/// While everything is written anew and there is no news, so often some of it is written.
const COMPACT_EVERY: Duration = Duration::from_millis(50);
/// And so much a second.
const COMPACTION_BYTES_PER_S: f64 = 1_048_576.0;
/// How exactly it is known since when something is not on the disk.
const NOTE_EVERY: Duration = Duration::from_millis(100);
/// While the disk takes nothing, it is known less exactly.
const NOTES_MAX: usize = 1024;

/// The journal, and what the loop remembers for it.
pub struct Durability {
    journal: Journal,
    /// Connections that are not read while too much waits to be written.
    waiting: Vec<ConnId>,
    /// When a compaction last earned by the clock.
    earned_at: Duration,
    /// What had been appended at some times, as far as it is not on the disk.
    unsynced: VecDeque<(u64, Duration)>,
    breaker: Breaker,
    when_broken: WhenBroken,
    /// For those who ask.
    sync_every: Duration,
    /// Until then no file is removed.
    held_until: Option<Duration>,
    /// Answers that have left though what they rest on was not kept.
    unkept: u64,
}

impl Durability {
    pub fn new(journal: Journal, settings: &config::Journal) -> Durability {
        Durability {
            journal,
            waiting: Vec::new(),
            earned_at: Duration::ZERO,
            unsynced: VecDeque::new(),
            breaker: Breaker::default(),
            when_broken: settings.when_broken,
            sync_every: settings.sync_every,
            held_until: None,
            unkept: 0,
        }
    }

    /// Holds what was queued for a client since the last news, unless all of that is kept.
    pub fn hold_answers(&mut self, connection: &mut Connection) {
        let session = &mut connection.session;
        if !session.id().kind().is_client() {
            return;
        }
        let has_held = session.free_bytes() < session.queued_bytes();
        if self.journal.appender.is_all_kept() || (self.breaker.is_broken() && !has_held) {
            self.unkept += self.count_unkept(session.unsettled());
            return session.free_answers();
        }
        let bytes = session.hold_answers();
        if bytes > 0 {
            self.journal.appender.hold(session.id(), bytes);
        }
    }

    /// How many answers there are in a text that leaves unkept.
    fn count_unkept(&self, text: &[u8]) -> u64 {
        if self.serves_unkept() && !self.journal.appender.is_all_kept() { answers(text) } else { 0 }
    }

    fn serves_unkept(&self) -> bool {
        self.breaker.is_broken() && self.when_broken == WhenBroken::Serve
    }

    /// Whether so much waits to be written that clients are not read. While the journal is broken,
    /// they are: what they say finds no room, or is refused.
    fn is_congested(&self) -> bool {
        self.journal.appender.is_congested() && !self.breaker.is_broken()
    }

    /// Whether a client must not be read now: it will be once there is room.
    pub fn puts_off(&mut self, connection: &mut Connection) -> bool {
        let conn = connection.id();
        let is_put_off = conn.kind().is_client() && self.is_congested();
        if is_put_off {
            connection.session.flags.unfinished = true;
            self.waiting.push(conn);
        }
        is_put_off
    }

    /// Whether any answer waits.
    pub fn is_holding(&self) -> bool {
        self.journal.appender.is_holding()
    }

    /// Connections that are not read for now.
    pub fn waiting(&self) -> &[ConnId] {
        &self.waiting
    }

    /// How long the loop may sleep from now on, if it could sleep so long without a journal.
    pub fn timeout(&self, now: Duration, mut sleep: Option<Duration>) -> Option<Duration> {
        let appender = &self.journal.appender;
        for due in [self.breaker.due(), self.held_until].into_iter().flatten() {
            let until = due.saturating_sub(now);
            sleep = Some(sleep.map_or(until, |sleep| sleep.min(until)));
        }
        // What waits for a sync is not waited for: its end wakes the loop.
        if !appender.is_giving() {
            return sleep;
        }
        let pause = if appender.missed_bytes() > 0 { Duration::ZERO } else { COMPACT_EVERY };
        Some(sleep.map_or(pause, |sleep| sleep.min(pause)))
    }

    fn note_unsynced(&mut self, now: Duration) {
        let appender = &self.journal.appender;
        while self.unsynced.front().is_some_and(|(appended, _)| *appended <= appender.synced()) {
            self.unsynced.pop_front();
        }
        let is_news = self.unsynced.back().is_none_or(|(appended, at)| {
            appender.appended() > *appended && now.saturating_sub(*at) >= NOTE_EVERY
        });
        let has_room = self.unsynced.len() < NOTES_MAX;
        if is_news && has_room && appender.appended() > appender.synced() {
            self.unsynced.push_back((appender.appended(), now));
        }
    }

    /// `refused` is how many reports were, because it is broken.
    pub fn status(&self, now: Duration, refused: u64) -> JournalStatus {
        let appender = &self.journal.appender;
        let progress = self.journal.progress();
        let trouble = self.journal.complaint();
        let since = self.unsynced.front().map(|(_, at)| now.saturating_sub(*at));
        JournalStatus {
            keep: match appender.keep() {
                Keep::Written => "written",
                Keep::Synced => "synced",
            }
            .to_owned(),
            state: match trouble {
                Some(_) => JournalState::Refused,
                None if appender.needs_rewrite() => JournalState::StartingOver,
                None if appender.is_compacting() => JournalState::Compacting,
                None => JournalState::Well,
            },
            appended_bytes: appender.appended(),
            written_bytes: progress.written,
            synced_bytes: appender.synced(),
            sync_every_ms: self.sync_every.as_millis() as u64,
            unsynced_ms: since.unwrap_or_default().as_millis() as u64,
            file_bytes: progress.bytes,
            held_ms: self
                .held_until
                .map_or(0, |until| until.saturating_sub(now).as_millis() as u64),
            answers_wait: appender.is_holding(),
            broken: self.breaker.is_broken(),
            when_broken: show_when_broken(self.when_broken),
            refused,
            unkept: self.unkept,
            trouble,
        }
    }

    /// Whether reports of clients are taken, and what becomes of them.
    pub fn readiness(&self) -> (bool, &'static str) {
        match (self.breaker.is_broken(), self.when_broken) {
            (false, _) => (true, "answers are kept"),
            (true, WhenBroken::Serve) => (true, "it is broken: answers are not kept"),
            (true, WhenBroken::Refuse) => (false, "it is broken: reports are refused"),
        }
    }

    /// Removes no file for so long, or removes files again.
    fn hold(&mut self, now: Duration, time: Option<Duration>) {
        if self.held_until.is_some() || time.is_some() {
            Event::JournalHeld { time }.log();
        }
        self.held_until = time.map(|time| now + time);
        self.journal.keep_files(time.is_some());
    }

    /// Writes and syncs what is left. Says whether all is kept.
    pub fn close(self, patience: Duration) -> bool {
        self.journal.close(patience)
    }
}

/// How many answers there are in a text: each has one AT line, at its beginning.
fn answers(text: &[u8]) -> u64 {
    let lines = text.split(|&byte| byte == b'\n');
    lines.filter(|line| line.starts_with(b"AT ")).count() as u64
}

impl Reactor {
    /// Takes the news among what the core wants done.
    #[inline]
    pub(super) fn append_news(&mut self) {
        if let Some(durability) = &mut self.durability {
            durability.journal.appender.append(&self.out.text, &self.out.news);
        }
    }

    /// Has the news of this turn written, and lets answers leave that wait for nothing any more.
    /// Says what was done, if anything.
    pub(super) fn keep_news(&mut self) -> Option<SpanKind> {
        let mut durability = self.durability.take()?;
        self.trace_journal(&durability.journal);
        self.give_missed(&mut durability);
        let journal = &mut durability.journal;
        let bytes = journal.hand_over();
        if journal.appender.take_sync_wish() {
            journal.sync_soon();
        }
        if let Some(oldest) = journal.appender.end_compaction() {
            journal.outdate(oldest);
        }
        durability.note_unsynced(self.now.monotonic);
        if durability.held_until.is_some_and(|until| until <= self.now.monotonic) {
            durability.hold(self.now.monotonic, None);
        }
        let (journal, mut breaker) = (&durability.journal, durability.breaker);
        let (is_trouble, is_holding) = (journal.is_in_trouble(), journal.appender.is_holding());
        if breaker.look(self.now.monotonic, is_trouble, is_holding) {
            self.turn_over(&mut durability, breaker);
        }
        durability.breaker = breaker;
        let journal = &mut durability.journal;
        let now = self.moment();
        let mut released = 0;
        while let Some((conn, bytes)) = journal.appender.release() {
            if let Some(session) = self.slots.session(conn) {
                session.free_held(bytes, now);
                self.flush_later(conn);
            }
            released += 1;
        }
        let wait = journal.appender.holds();
        if !durability.is_congested() {
            for conn in std::mem::take(&mut durability.waiting) {
                self.queue_turn(conn);
            }
        }
        self.durability = Some(durability);
        (bytes + released + wait > 0).then_some(SpanKind::Keep {
            bytes: bytes as u32,
            released: released as u32,
            wait: wait as u32,
        })
    }

    /// Does what an operator says.
    pub(super) fn compact_journal(&mut self) -> Outcome {
        let name = &self.config.name;
        let Some(durability) = &mut self.durability else { return no_journal(name) };
        let appender = &mut durability.journal.appender;
        if appender.is_compacting() {
            return Outcome::Done(format!("{name} is writing all that it knows anew already"));
        }
        appender.want_compaction();
        Outcome::Done(format!(
            "{name} writes all that it knows anew, and then removes older files; `herd status` \
             says `compacting` until then"
        ))
    }

    pub(super) fn hold_journal(&mut self, time: Option<Duration>) -> Outcome {
        let name = &self.config.name;
        let Some(durability) = &mut self.durability else { return no_journal(name) };
        durability.hold(self.now.monotonic, time);
        Outcome::Done(match time.map(show_duration) {
            Some(time) => format!("{name} removes no file of its journal for {time}"),
            None => format!("{name} removes old files of its journal again"),
        })
    }

    /// The journal breaks, or is mended.
    #[cold]
    fn turn_over(&mut self, durability: &mut Durability, breaker: Breaker) {
        if breaker.is_broken() {
            // What was queued before must wait, unlike what comes from now on.
            for conn in self.slots.names() {
                if let Some(connection) = self.slots.connection(conn) {
                    durability.hold_answers(connection);
                }
            }
        }
        durability.breaker = breaker;
        self.server.break_journal(breaker.is_broken().then_some(durability.when_broken));
        match (breaker.is_broken(), durability.when_broken) {
            (false, _) => Event::JournalMended.log(),
            (true, WhenBroken::Refuse) => Event::JournalBroken {
                then: "reports of clients are refused, and answers that wait go on waiting",
            }
            .log(),
            (true, WhenBroken::Serve) => {
                Event::JournalBroken { then: "answers leave though nothing is kept" }.log();
                self.release_unkept(durability);
            }
        }
    }

    /// Lets all answers leave that wait.
    fn release_unkept(&mut self, durability: &mut Durability) {
        let now = self.moment();
        while let Some((conn, bytes)) = durability.journal.appender.release_unkept() {
            if let Some(session) = self.slots.session(conn) {
                durability.unkept += answers(session.free_held(bytes, now));
                self.flush_later(conn);
            }
        }
    }

    /// Gives the journal what it has missed, as far as there is room.
    fn give_missed(&mut self, durability: &mut Durability) {
        let now = self.now;
        let Durability { journal, earned_at, .. } = durability;
        journal.update();
        let has_lost = journal.take_loss();
        let appender = &mut journal.appender;
        if appender.is_compacting() {
            let since = now.monotonic.saturating_sub(*earned_at).min(COMPACT_EVERY);
            appender.earn_by_clock((since.as_secs_f64() * COMPACTION_BYTES_PER_S) as u64);
            *earned_at = now.monotonic;
        }
        self.server.feed_journal(appender, has_lost, &mut self.out);
    }
}

fn no_journal(name: &str) -> Outcome {
    Outcome::Refused(format!("{name} has no journal: restart it with --keep written or synced"))
}
