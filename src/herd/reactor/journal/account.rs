//! What is reported about the journal, and what an operator asks of it.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Durability, Reactor};
use crate::config::settings::show_when_broken;
use crate::config::units::show_duration;
use crate::status::{JournalState, JournalStatus, Outcome};
use herd_core::journal::appender::{Appender, Keep};
use herd_core::journal::breaker::WhenBroken;

/// How exactly it is known since when something is not on the disk.
const NOTE_EVERY: Duration = Duration::from_millis(100);
/// While the disk takes nothing, it is known less exactly.
const NOTES_MAX: usize = 1024;

/// What is remembered only to be told.
pub struct Account {
    /// What had been appended at some times, as far as it is not on the disk.
    unsynced: VecDeque<(u64, Duration)>,
    sync_every: Duration,
}

impl Account {
    pub fn new(sync_every: Duration) -> Account {
        Account { unsynced: VecDeque::new(), sync_every }
    }

    /// A turn is over.
    pub fn note(&mut self, appender: &Appender, now: Duration) {
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
}

impl Durability {
    /// `refused` is how many reports were, because it is broken.
    pub fn status(&self, now: Duration, refused: u64) -> JournalStatus {
        let appender = &self.journal.appender;
        let progress = self.journal.progress();
        let trouble = self.journal.complaint();
        let since = self.account.unsynced.front().map(|(_, at)| now.saturating_sub(*at));
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
            sync_every_ms: self.account.sync_every.as_millis() as u64,
            unsynced_ms: since.unwrap_or_default().as_millis() as u64,
            file_bytes: progress.bytes + progress.spare_bytes,
            held_ms: self
                .held_until
                .map_or(0, |until| until.saturating_sub(now).as_millis() as u64),
            answers_wait: appender.is_holding(),
            broken: self.gate.is_broken(),
            when_broken: show_when_broken(self.gate.when_broken()),
            refused,
            unkept: self.gate.unkept(),
            trouble,
        }
    }

    /// Whether reports of clients are taken, and what becomes of them.
    pub fn readiness(&self) -> (bool, &'static str) {
        match (self.gate.is_broken(), self.gate.when_broken()) {
            (false, _) => (true, "answers are kept"),
            (true, WhenBroken::Serve) => (true, "it is broken: answers are not kept"),
            (true, WhenBroken::Refuse) => (false, "it is broken: reports are refused"),
        }
    }
}

impl Reactor {
    /// An operator wants everything written anew.
    pub(in super::super) fn compact_journal(&mut self) -> Outcome {
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

    /// An operator wants no file removed for so long, or files removed again.
    pub(in super::super) fn hold_journal(&mut self, time: Option<Duration>) -> Outcome {
        let name = &self.config.name;
        let Some(durability) = &mut self.durability else { return no_journal(name) };
        durability.hold(self.now.monotonic, time);
        Outcome::Done(match time.map(show_duration) {
            Some(time) => format!("{name} removes no file of its journal for {time}"),
            None => format!("{name} removes old files of its journal again"),
        })
    }
}

fn no_journal(name: &str) -> Outcome {
    Outcome::Refused(format!("{name} has no journal: restart it with --keep written or synced"))
}
