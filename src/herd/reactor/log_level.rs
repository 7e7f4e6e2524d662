//! How much is logged, which an operator changes while the server runs: for good or for a while,
//! for what is left at a high level fills a disk.

use std::time::Duration;

use log::LevelFilter;

use super::{Due, Reactor};
use crate::config::log_settings::show_level;
use crate::config::units::show_duration;
use crate::logging::events::Event;
use crate::status::Outcome;

/// A level that holds for a while.
pub struct LentLevel {
    /// What comes back after it.
    usual: LevelFilter,
    /// When that is, by the monotonic clock.
    until: Duration,
}

impl Reactor {
    /// Logs so much from now on: for `time`, or until it is told otherwise.
    pub(super) fn change_log_level(
        &mut self,
        level: LevelFilter,
        time: Option<Duration>,
    ) -> Outcome {
        let name = &self.config.name;
        let before = self.lent_level.as_ref().map_or(self.log.level(), |lent| lent.usual);
        if !self.log.set_level(level) {
            return Outcome::Refused(format!(
                "{name} was started without a log: restart it with --log-level error or more"
            ));
        }
        let shown = show_level(level);
        Event::LogLevel { level: &shown, time }.log();
        self.lent_level = None;
        let Some(time) = time else {
            return Outcome::Done(format!(
                "{name} logs at level {shown} until it is told otherwise"
            ));
        };
        let until = self.now.monotonic + time;
        self.lent_level = Some(LentLevel { usual: before, until });
        self.wheel.start(until, Due::LogLevel);
        let (time, before) = (show_duration(time), show_level(before));
        Outcome::Done(format!(
            "{name} logs at level {shown} for {time}, and then at {before} again"
        ))
    }

    /// The configuration says that so much is to be logged; while a level is lent, afterwards.
    pub(super) fn reload_log_level(&mut self, level: LevelFilter) {
        match &mut self.lent_level {
            Some(lent) => lent.usual = level,
            None => drop(self.log.set_level(level)),
        }
    }

    /// The usual level comes back, unless another one was lent for longer meanwhile.
    pub(super) fn take_log_level_back(&mut self) {
        let now = self.now.monotonic;
        if let Some(lent) = self.lent_level.take_if(|lent| lent.until <= now) {
            self.log.set_level(lent.usual);
            Event::LogLevel { level: &show_level(lent.usual), time: None }.log();
        }
    }
}
