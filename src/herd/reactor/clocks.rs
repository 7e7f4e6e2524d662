//! What time it is. One clock here is not the system's: it leaves out time in which the process
//! itself did not run.
//!
//! A process that is stopped, by SIGSTOP, by a container's freezer or by a laptop's lid, reads
//! nothing. When it runs again, by the system's clock each deadline has passed, although the input
//! that was waited for lies in the kernel. So a sleep that lasted far longer than its timeout is
//! taken for such a pause, and no deadline comes nearer by it, neither one of a connection nor one
//! of the core.
//!
//! ```text
//!   system's   ├──── turns ────┼╌╌╌╌╌╌╌ stopped ╌╌╌╌╌╌╌┼──── turns ────▶
//!   the loop's ├──── turns ────┼──── turns ────▶
//! ```
//!
//! asyncio: `loop.time()` is `time.monotonic()`; a process that was stopped wakes to a heap of
//! timeouts.

use std::time::Duration;

use herd_core::clock::{Now, PosixTime};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The two clocks of `core::clock::Now`. Both are read every turn, so they are the system's own:
/// to subtract two `Instant`s costs about twice as much.
pub struct Clocks {
    /// When the process was born, in nanoseconds of the system's monotonic clock.
    born: i64,
    /// The time of day at that moment in seconds, for those who ask since when it runs.
    pub born_posix_s: u64,
    /// All pauses so far, in nanoseconds.
    paused: i64,
    /// What `read` last gave, in nanoseconds.
    last: i64,
}

impl Clocks {
    /// On a busy machine a process waits a tenth of a second for its turn, but hardly ever so long.
    const PAUSE_MIN: i64 = 1_000_000_000;

    pub fn new() -> Clocks {
        let (born, born_posix_s) = (monotonic_nanos(), time_of_day().seconds() as u64);
        Clocks { born, born_posix_s, paused: 0, last: 0 }
    }

    /// Reads both clocks after a sleep of at most `timeout`; `None` if it had no bound.
    #[inline(always)]
    pub fn read(&mut self, timeout: Option<Duration>) -> Now {
        let passed = monotonic_nanos() - self.born - self.paused - self.last;
        // When the pause began is not known, so the whole time counts as paused.
        if timeout.is_some_and(|timeout| passed > nanos(timeout) + Self::PAUSE_MIN) {
            self.paused += passed;
        } else {
            self.last += passed;
        }
        Now { monotonic: Duration::from_nanos(self.last as u64), posix: time_of_day() }
    }

    /// How long ago `read` was, in nanoseconds.
    pub fn nanos_since_read(&self) -> u64 {
        (monotonic_nanos() - self.born - self.paused - self.last).max(0) as u64
    }

    /// What the loop's monotonic clock shows at this moment.
    #[cfg(test)]
    pub fn elapsed(&self) -> Duration {
        since(self.born + self.paused)
    }

    /// How long the process has existed, pauses and all.
    pub fn age(&self) -> Duration {
        since(self.born)
    }

    /// Stops the loop's clock for so long, as if the process had been stopped.
    #[cfg(test)]
    pub fn skip(&mut self, pause: Duration) {
        self.born -= nanos(pause);
    }
}

fn nanos(time: Duration) -> i64 {
    time.as_nanos() as i64
}

/// The time since a moment of the system's monotonic clock.
fn since(nanos: i64) -> Duration {
    Duration::from_nanos((monotonic_nanos() - nanos).max(0) as u64)
}

/// The system's monotonic clock. It begins at about zero, and 64 bits last for 292 years.
fn monotonic_nanos() -> i64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    tv_sec * 1_000_000_000 + tv_nsec
}

/// A clock that is before 1970 was never set; it counts as 1970.
fn time_of_day() -> PosixTime {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Realtime);
    PosixTime::new(tv_sec.max(0) as u64, tv_nsec as u32)
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
