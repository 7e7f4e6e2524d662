//! What time it is. One clock here is not the system's: it leaves out time in which the process
//! itself did not run.
//!
//! A process that is stopped, by SIGSTOP, by a container's freezer or by a laptop's lid, reads
//! nothing. When it runs again, each deadline has passed by the system's clock, and the input that
//! would have met it lies unread in the kernel. So a sleep that lasted far longer than the loop
//! wanted is taken for such a pause, and no deadline comes nearer by it, neither a connection's nor
//! one of the core's timers.
//!
//! ```text
//!   system's   ├──── turns ────┼╌╌╌╌╌╌╌ stopped ╌╌╌╌╌╌╌┼──── turns ────▶
//!   the loop's ├──── turns ────┼──── turns ────▶
//! ```
//!
//! asyncio: `loop.time()` is `time.monotonic()`; a process that was stopped wakes to a heap of
//! timeouts.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use herd_core::clock::{Now, PosixTime};

/// The two clocks of `core::clock::Now`.
pub struct Clocks {
    born: Instant,
    /// The time of day when the process was born, for those who ask since when it runs.
    pub born_posix: Duration,
    /// All pauses so far.
    paused: Duration,
    /// What `read` last gave.
    last: Duration,
}

impl Clocks {
    /// A busy machine lets a process wait for a tenth of a second, and hardly ever for so long.
    const PAUSE_MIN: Duration = Duration::from_secs(1);

    pub fn new() -> Clocks {
        let (born, born_posix) = (Instant::now(), time_of_day());
        Clocks { born, born_posix, paused: Duration::ZERO, last: Duration::ZERO }
    }

    /// Reads both clocks after a sleep that was to last so long, or as long as it liked.
    pub fn read(&mut self, timeout: Option<Duration>) -> Now {
        let at = self.elapsed();
        let passed = at.saturating_sub(self.last);
        // When a pause began cannot be known; so all of that time is the pause's.
        if timeout.is_some_and(|timeout| passed > timeout + Self::PAUSE_MIN) {
            self.paused += passed;
        } else {
            self.last = at;
        }
        let posix = time_of_day();
        Now { monotonic: self.last, posix: PosixTime::new(posix.as_secs(), posix.subsec_nanos()) }
    }

    /// What the loop's monotonic clock shows at this moment.
    pub fn elapsed(&self) -> Duration {
        self.born.elapsed().saturating_sub(self.paused)
    }

    /// How long the process has existed, pauses and all.
    pub fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// As if the process had been stopped for so long.
    #[cfg(test)]
    pub fn skip(&mut self, pause: Duration) {
        self.born -= pause;
    }
}

/// A clock before 1970 is a machine without a battery; its stamps are wrong either way.
fn time_of_day() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_we_were_stopped_does_not_pass() {
        let mut clocks = Clocks::new();
        let minute = Duration::from_secs(60);
        let before = clocks.read(None).monotonic;
        clocks.skip(minute);
        let stopped = clocks.read(Some(Duration::from_millis(5))).monotonic;
        assert_eq!(stopped, before, "the sleep was to be a short one");
        clocks.skip(minute);
        let slept = clocks.read(None).monotonic;
        assert!(slept >= before + minute, "a sleep without an end may be as long as it likes");
    }
}
