//! How long a connection may do nothing of what is expected of it. A session only remembers when it
//! last moved; its driver compares that with the clock.

use std::fmt;
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
        Duration::from_millis(u64::from(self.0) * 100)
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
#[derive(Clone, Copy, Debug)]
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

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expiry::Dial => "did not answer in time",
            Expiry::FirstByte => "said nothing",
            Expiry::PartialLine => "began a line and did not end it",
            Expiry::Idle => "was idle",
            Expiry::WriteStall => "takes nothing of what it is owed",
            Expiry::Linger => "closed",
        })
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
