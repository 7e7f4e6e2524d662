//! How long a connection may do nothing of what is expected of it. A session only remembers when it
//! last moved; its driver compares that with the clock.

use std::ops::Add;
use std::time::Duration;

/// A moment on the monotonic clock, in tenths of a second: four bytes last for 13 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u32);

impl Moment {
    /// Of a time since the clock's start, cut off to tenths of a second.
    pub fn at(monotonic: Duration) -> Moment {
        Moment((monotonic.as_secs() * 10) as u32 + monotonic.subsec_millis() / 100)
    }

    /// The time since the clock's start, as far as it was kept.
    pub fn as_duration(self) -> Duration {
        Duration::new((self.0 / 10).into(), self.0 % 10 * 100_000_000)
    }
}

/// Rounded up, and one more for the part of a tenth that `Moment::at` cut off: a deadline may come
/// late, never early.
impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, wait: Duration) -> Moment {
        let tenths = wait.as_secs() * 10 + u64::from(wait.subsec_millis().div_ceil(100)) + 1;
        Moment(self.0.saturating_add(tenths.try_into().unwrap_or(u32::MAX)))
    }
}

/// How long each thing may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the last byte in or out to the next.
    pub idle: Duration,
    /// From the connection to its first byte.
    pub first_byte: Duration,
    /// From a line's first byte to its last.
    pub partial_line: Duration,
    /// From a byte that the far end takes of what is to be sent to the next.
    pub write_stall: Duration,
    /// From a dial to the connection.
    pub dial: Duration,
    /// How long we go on reading after our last word (RFC 9112 section 9.6 has the reason).
    pub linger: Duration,
}

impl Timeouts {
    /// The longest pause between two scans.
    const PAUSE_MAX: Duration = Duration::from_millis(500);

    /// From the beginning of one deadline scan to that of the next, at least. A look takes some
    /// 15 ns: if of 100,000 connections one is always about to pass its deadline, 0.3 % of the time
    /// goes into scans. Shorter timeouts make it as much shorter.
    pub fn pause(&self) -> Duration {
        Self::PAUSE_MAX.min(self.scan_every() / 4)
    }

    /// How often a session is looked at: none of its deadlines can begin and pass between two
    /// scans, save those of a dial and of lingering.
    pub fn scan_every(&self) -> Duration {
        self.idle.min(self.first_byte).min(self.partial_line).min(self.write_stall)
    }
}

/// No time for anything but lingering, which no operator sets: two seconds.
impl Default for Timeouts {
    fn default() -> Timeouts {
        let [idle, first_byte, partial_line, write_stall, dial] = [Duration::ZERO; 5];
        let linger = Duration::from_secs(2);
        Timeouts { idle, first_byte, partial_line, write_stall, dial, linger }
    }
}

/// What a connection has waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// For the success of our dial.
    Dial,
    /// For anything at all, since the connection.
    FirstByte,
    /// The line is taken for whole, as at a half-close, and answered before the close.
    PartialLine,
    /// For the next byte, in or out.
    Idle,
    /// For the far end to take some of what is to be sent.
    WriteStall,
    /// For the far end's close, after our last word.
    Linger,
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
