//! How far a peer's clock is from ours, and how long a line takes there and back. A clock that is
//! wrong makes skews wrong, and has reports expire too early or too late; nobody corrects it here,
//! but an operator is shown it.
//!
//! ```text
//!   PING 7 ──────────────▶        at our time t, and a round trip of r later is heard
//!     ◀───── PONG 7 <their time>  which was said in the middle of that, if both ways take as long
//! ```
//!
//! So the clock's distance is their time less t + r/2, and wrong by r/2 at most.

use std::time::Duration;

use crate::clock::Now;

/// A peer that is never silent is asked as often.
const MEASURED_EVERY: Duration = Duration::from_secs(30);

/// What was measured of a peer's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerClock {
    /// How far it is ahead of ours, in nanoseconds; below 0 if it is behind. Wrong by half of the
    /// round trip at most.
    pub ahead_ns: i64,
    /// From the question to its answer, with what either loop needed for it.
    pub round_trip: Duration,
}

/// The account of it.
#[derive(Debug, Default)]
pub(crate) struct Measuring {
    /// When a sign of life was last asked for.
    asked: Option<Now>,
    /// It has not come.
    is_open: bool,
    pub last: Option<PeerClock>,
}

impl Measuring {
    pub fn begin(&mut self, now: Now) {
        (self.asked, self.is_open) = (Some(now), true);
    }

    pub fn is_due(&self, now: Now) -> bool {
        let since = |asked: Now| now.monotonic.saturating_sub(asked.monotonic);
        self.asked.is_none_or(|asked| since(asked) >= MEASURED_EVERY)
    }

    /// The latest question is answered, by a peer whose clock showed so many nanoseconds.
    pub fn end(&mut self, now: Now, theirs_ns: u64) {
        let Some(asked) = self.asked.filter(|_| std::mem::take(&mut self.is_open)) else { return };
        let round_trip = now.monotonic.saturating_sub(asked.monotonic);
        let middle_ns = i128::from(nanos(asked)) + round_trip.as_nanos() as i128 / 2;
        let ahead_ns = i128::from(theirs_ns) - middle_ns;
        let ahead_ns = ahead_ns.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        self.last = Some(PeerClock { ahead_ns, round_trip });
    }
}

/// The time of day in nanoseconds since 1970, as a `PONG` carries it.
pub(crate) fn nanos(now: Now) -> u64 {
    let whole = now.posix.whole_seconds().saturating_mul(1_000_000_000);
    whole.saturating_add(now.posix.nanos().into())
}
