//! The loop's end of the journal, which is only there if the operator wants one: news goes into it
//! once a turn, and an answer that was queued since stays in its outbox until the journal says that
//! it may leave (`herd_core::journal::gate`). The loop itself never waits. What is reported about
//! it, and what an operator wants of it, is in `account`.

mod account;

use std::time::Duration;

use super::Reactor;
use super::connection::Connection;
use crate::config;
use crate::journal::Journal;
use crate::logging::events::Event;
use crate::trace::SpanKind;
use account::Account;
use herd_core::driver::Driver;
use herd_core::journal::breaker::WhenBroken;
use herd_core::journal::gate::Gate;
use herd_core::names::ConnId;

/// While everything is written anew and there is no news, so often some of it is written.
const COMPACT_EVERY: Duration = Duration::from_millis(50);
/// And so much a second.
const COMPACTION_BYTES_PER_S: f64 = 1_048_576.0;

/// The journal, and what the loop remembers for it.
pub struct Durability {
    journal: Journal,
    gate: Gate,
    account: Account,
    /// When a compaction last earned by the clock.
    earned_at: Duration,
    /// Until then no file is removed.
    held_until: Option<Duration>,
}

impl Durability {
    pub fn new(journal: Journal, settings: &config::Journal) -> Durability {
        Durability {
            journal,
            gate: Gate::new(settings.when_broken),
            account: Account::new(settings.sync_every),
            earned_at: Duration::ZERO,
            held_until: None,
        }
    }

    /// A connection is about to be written to: what was queued for it may leave, or waits.
    pub fn settle(&mut self, connection: &mut Connection) {
        self.gate.settle(&mut self.journal.appender, &mut connection.session);
    }

    /// Whether a client must not be read now: it will be once there is room.
    pub fn puts_off(&mut self, connection: &mut Connection) -> bool {
        self.gate.puts_off(&self.journal.appender, &mut connection.session)
    }

    /// Whether any answer waits.
    pub fn is_holding(&self) -> bool {
        self.journal.appender.is_holding()
    }

    /// Connections that are not read for now.
    pub fn waiting(&self) -> &[ConnId] {
        self.gate.waiting()
    }

    /// How long the loop may sleep from now on, if it could sleep so long without a journal.
    pub fn timeout(&self, now: Duration, mut sleep: Option<Duration>) -> Option<Duration> {
        let appender = &self.journal.appender;
        for due in [self.gate.due(), self.held_until].into_iter().flatten() {
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

impl Reactor {
    /// Takes the news among what the core wants done, if anything here wants to know it.
    #[inline(always)]
    pub(super) fn append_news(&mut self) {
        if self.web.followers.is_some() || self.durability.is_some() {
            self.hand_on_news();
        }
    }

    /// Gives it to those who follow or ask, and to the journal.
    #[inline(never)]
    fn hand_on_news(&mut self) {
        if self.web.followers.is_some() {
            self.note_changes();
        }
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
        durability.account.note(&durability.journal.appender, self.now.monotonic);
        if durability.held_until.is_some_and(|until| until <= self.now.monotonic) {
            durability.hold(self.now.monotonic, None);
        }
        let released = self.release_kept(&mut durability);
        let Durability { journal, gate, .. } = &mut *durability;
        if gate.look(self.now.monotonic, journal.is_in_trouble(), &journal.appender) {
            self.turn_over(&mut durability);
        }
        let wait = durability.journal.appender.holds();
        for conn in durability.gate.take_waiting(&durability.journal.appender) {
            self.queue_turn(conn);
        }
        self.durability = Some(durability);
        (bytes + released + wait > 0).then_some(SpanKind::Keep {
            bytes: bytes as u32,
            released: released as u32,
            wait: wait as u32,
        })
    }

    /// Lets answers leave whose reports are kept. Says how many were waiting.
    fn release_kept(&mut self, durability: &mut Durability) -> usize {
        let (now, appender) = (self.moment(), &mut durability.journal.appender);
        let mut released = 0;
        while let Some(conn) = Gate::release(appender, &mut self.slots, now) {
            self.flush_later(conn);
            released += 1;
        }
        released
    }

    /// The journal breaks, or is mended.
    #[cold]
    fn turn_over(&mut self, Durability { journal, gate, .. }: &mut Durability) {
        let (is_broken, when_broken) = (gate.is_broken(), gate.when_broken());
        self.server.break_journal(is_broken.then_some(when_broken));
        if !is_broken {
            return Event::JournalMended.log();
        }
        for conn in self.slots.names() {
            if let Some(session) = self.slots.session(conn) {
                Gate::hold_queued(&mut journal.appender, session);
            }
        }
        let then = match when_broken {
            WhenBroken::Refuse => {
                "reports of clients are refused, and answers that wait go on waiting"
            }
            WhenBroken::Serve => "answers leave though nothing is kept",
        };
        Event::JournalBroken { then }.log();
        if when_broken == WhenBroken::Serve {
            let now = self.moment();
            let appender = &mut journal.appender;
            while let Some(conn) = gate.release_unkept(appender, &mut self.slots, now) {
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
