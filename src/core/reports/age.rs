//! How old reports are when a peer tells them: how long a report takes through the herd, by the
//! clocks of its two servers.

use std::time::Duration;

use crate::Server;
use crate::clock::{Now, PosixTime};

/// Ages up to which reports are counted apart, in nanoseconds.
const BOUNDS: [u64; Ages::BUCKETS] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// One report is looked at in so long: under load, the price of a look is spread over many.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A report that is no further ahead of our clock is none of the future. A turn reads the clock
/// once, and a machine that is busy may then keep the server from the processor before it reads
/// what comes; clocks that are right differ by less.
const AHEAD_MAX: Duration = Duration::from_secs(1);

/// What was measured since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ages {
    /// Flooded reports, up to a minute old: how many belong to each bound and not to one before.
    pub counts: [u64; Ages::BUCKETS],
    /// The sum of their ages.
    pub sum: Duration,
    /// Older ones: they were missed and repaired.
    pub repaired: u64,
    /// Reports from the future: one of two clocks is wrong.
    pub from_future: u64,
    /// When the next is looked at.
    next_look: Duration,
}

impl Ages {
    /// How many bounds there are.
    pub const BUCKETS: usize = 14;

    /// The bounds, in seconds.
    pub fn bounds() -> [f64; Ages::BUCKETS] {
        BOUNDS.map(|nanos| nanos as f64 / 1e9)
    }

    fn add(&mut self, age: Option<Duration>) {
        let Some(age) = age else {
            self.from_future += 1;
            return;
        };
        let nanos = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| nanos <= *bound);
        match bucket {
            Some(bucket) => {
                self.counts[bucket] += 1;
                self.sum += age;
            }
            None => self.repaired += 1,
        }
    }
}

impl Server {
    /// A peer has told news: looks how old the last of it is, now and then.
    #[inline]
    pub(crate) fn look_at_age(&mut self, now: Now) {
        if now.monotonic >= self.ages.next_look {
            self.measure_age(now);
        }
    }

    #[cold]
    fn measure_age(&mut self, now: Now) {
        self.ages.next_look = now.monotonic + LOOK_EVERY;
        let Some(key) = self.heard.last() else { return };
        let report = self.store.newest_of(key);
        let heard_at = report.and_then(|it| PosixTime::heard_at(it.stamp, it.skew));
        let Some(heard_at) = heard_at else { return };
        let ahead = heard_at.time_since(now.posix).filter(|ahead| *ahead <= AHEAD_MAX);
        self.ages.add(now.posix.time_since(heard_at).or(ahead.map(|_| Duration::ZERO)));
    }

    /// How old reports were when peers told them.
    pub fn report_ages(&self) -> &Ages {
        &self.ages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_sorted_into_buckets() {
        let mut ages = Ages::default();
        let ms = Duration::from_millis;
        for age in [ms(0), ms(1), ms(2), ms(60_000), ms(60_001), ms(600_000)] {
            ages.add(Some(age));
        }
        ages.add(None);
        let mut counts = [0; Ages::BUCKETS];
        for bucket in [0, 1, 2, Ages::BUCKETS - 1] {
            counts[bucket] = 1;
        }
        assert_eq!(ages.counts, counts);
        assert_eq!((ages.sum, ages.repaired, ages.from_future), (ms(60_003), 2, 1));
        assert!(Ages::bounds().is_sorted());
    }
}
