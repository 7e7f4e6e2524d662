//! A simulated server's two clocks: one that only goes forward, and the time of day, which is set
//! right and wrong.

use std::time::Duration;

use crate::invariants::nanos;
use herd_core::clock::{Now, PosixTime};
use herd_core::wire::Report;

/// The Unix time at which the simulated world begins.
pub const EPOCH: u64 = 1_800_000_000;
pub const NANOS: u64 = 1_000_000_000;

pub struct Clock {
    pub now: Now,
    pub was_set_back: bool,
    started: Duration,
    /// How far it is ahead of the world's.
    ahead_ms: i64,
    /// The time of day, in nanoseconds.
    posix_nanos: u64,
    /// The latest that was ever shown.
    latest_nanos: u64,
}

impl Clock {
    pub fn new(started: Duration, ahead_ms: i64) -> Clock {
        Clock {
            now: Now { monotonic: Duration::ZERO, posix: PosixTime::new(0, 0) },
            was_set_back: false,
            started,
            ahead_ms,
            posix_nanos: 0,
            latest_nanos: 0,
        }
    }

    pub fn set(&mut self, now: Duration) {
        let since = EPOCH * NANOS + now.as_nanos() as u64;
        self.posix_nanos = since.saturating_add_signed(self.ahead_ms * 1_000_000);
        self.latest_nanos = self.latest_nanos.max(self.posix_nanos);
        self.was_set_back |= self.posix_nanos + NANOS < self.latest_nanos;
        self.now = Now {
            monotonic: now - self.started,
            posix: PosixTime::new(self.posix_nanos / NANOS, (self.posix_nanos % NANOS) as u32),
        };
    }

    pub fn step(&mut self, by_ms: i64) {
        self.ahead_ms += by_ms;
    }

    pub fn posix_nanos(&self) -> i128 {
        self.posix_nanos.into()
    }

    /// A moment of the monotonic clock, in the world's time.
    pub fn in_world(&self, monotonic: Duration) -> Duration {
        self.started + monotonic
    }

    pub fn over_for(&self, report: &Report<'_>, expire_after: Duration) -> i128 {
        let heard = nanos(&report.time) + nanos(report.skew);
        self.posix_nanos() - heard - expire_after.as_nanos() as i128
    }
}
