//! How long a connection may take, in a currency small enough to be kept for each. Apart because
//! connections keep moments and the loop compares them; the timers themselves are in the wheel.
//!
//! Each connection has one timer in the wheel. It does not follow the connection's every move:
//! when it fires, it asks what the deadline is by now, and starts again. So a byte that arrives
//! costs a store to a field, not a change to the wheel.
//!
//! asyncio: `call_later` and `cancel` at every change; its heap then fills with the cancelled.

use std::ops::Add;
use std::time::Duration;

use crate::config::Limits;

/// A moment on the monotonic clock, in tenths of a second: four bytes last for 13 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u32);

impl Moment {
    pub fn at(monotonic: Duration) -> Moment {
        Moment((monotonic.as_millis() / 100) as u32)
    }

    pub fn as_duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0) * 100)
    }
}

/// Rounded up, and one more for the part of a tenth that `Moment::at` cut off: a deadline may come
/// late, never early.
impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, wait: Duration) -> Moment {
        Moment(self.0.saturating_add(wait.as_millis().div_ceil(100) as u32 + 1))
    }
}

/// How long a connection may do nothing of what is expected of it.
pub struct Patience {
    pub idle: Duration,
    pub first_byte: Duration,
    pub partial_line: Duration,
    pub write_stall: Duration,
    pub dial: Duration,
    pub linger: Duration,
}

impl Patience {
    /// How long we go on reading after our last word (RFC 9112 section 9.6 has the reason).
    const LINGER: Duration = Duration::from_secs(2);

    pub fn new(limits: &Limits) -> Patience {
        Patience {
            idle: limits.idle,
            first_byte: limits.first_byte,
            partial_line: limits.partial_line,
            write_stall: limits.write_stall,
            dial: limits.dial,
            linger: Self::LINGER,
        }
    }

    /// How often a connection is looked at: none of its deadlines can begin and pass between two
    /// looks.
    pub fn look_every(&self) -> Duration {
        let shortest = [self.idle, self.first_byte, self.partial_line, self.write_stall];
        shortest.into_iter().min().unwrap_or(self.idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_never_early() {
        for start_ms in [0, 1, 99, 100, 12_345] {
            for wait_ms in [100, 250, 1_000, 10_000] {
                let [start, wait] = [start_ms, wait_ms].map(Duration::from_millis);
                let due = (Moment::at(start) + wait).as_duration();
                assert!(due >= start + wait && due <= start + wait + Duration::from_millis(200));
            }
        }
    }
}
