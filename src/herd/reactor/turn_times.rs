//! How long turns take, without their sleep. A turn that is long keeps all others waiting, so it is
//! logged, with what ran in it: as the slow log of a database, for the one thread that matters.

use std::time::Duration;

use super::Reactor;
use crate::logging::events::Event;
use crate::openmetrics::Buckets;

/// Nanoseconds up to which turns are counted apart.
const BOUNDS: [u64; 11] = [
    10_000,
    30_000,
    100_000,
    300_000,
    1_000_000,
    3_000_000,
    10_000_000,
    30_000_000,
    100_000_000,
    300_000_000,
    1_000_000_000,
];

/// One slow turn is logged in so long, with how many others there were.
const NOTED_EVERY: Duration = Duration::from_secs(10);

/// The turns since the start.
#[derive(Default)]
pub struct TurnTimes {
    /// How many belong to each bound, and, the last, above all.
    counts: [u64; BOUNDS.len() + 1],
    pub busy_nanos: u64,
    /// Above `limits.slow_turn`.
    pub slow: u64,
    /// Those that were not logged since the last that was.
    others: u64,
    next_note: Duration,
}

impl TurnTimes {
    #[inline]
    fn add(&mut self, nanos: u64) {
        let bucket = BOUNDS.iter().position(|bound| nanos <= *bound);
        self.counts[bucket.unwrap_or(BOUNDS.len())] += 1;
        self.busy_nanos += nanos;
    }

    pub fn buckets(&self) -> Buckets {
        let bounds = BOUNDS.map(|nanos| nanos as f64 / 1e9);
        Buckets::new(&bounds, &self.counts, self.busy_nanos as f64 / 1e9)
    }
}

impl Reactor {
    /// A turn is over, in which so many sockets were ready.
    #[inline]
    pub(super) fn time_turn(&mut self, ready: usize) {
        let busy = self.clocks.nanos_since_read();
        self.turn_times.add(busy);
        if self.config.limits.slow_turn.is_some_and(|slow| busy > slow.as_nanos() as u64) {
            self.note_slow_turn(Duration::from_nanos(busy), ready);
        }
    }

    #[cold]
    fn note_slow_turn(&mut self, took: Duration, ready: usize) {
        let times = &mut self.turn_times;
        times.slow += 1;
        if self.now.monotonic < times.next_note {
            times.others += 1;
            return;
        }
        times.next_note = self.now.monotonic + NOTED_EVERY;
        let others = std::mem::take(&mut times.others);
        Event::SlowTurn { took, others, ready, work: &self.work.describe() }.log();
    }
}

#[cfg(test)]
mod tests {
    use mio::Events;

    use super::*;
    use crate::reactor::EVENTS_MAX;
    use crate::reactor::tests::reactor;

    #[test]
    fn turns_are_sorted_into_buckets() {
        let mut times = TurnTimes::default();
        for nanos in [1, 10_000, 10_001, 1_000_000_000, 5_000_000_000] {
            times.add(nanos);
        }
        assert_eq!(
            (times.counts[..3].to_vec(), times.counts[10..].to_vec()),
            (vec![2, 1, 0], vec![1, 1])
        );
        assert_eq!(times.busy_nanos, 6_000_020_002);
    }

    /// Goal: each turn is in one bucket, and what is slow is counted and told now and then.
    #[test]
    fn a_turn_is_timed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, _) = reactor(dir.path());
        let mut events = Events::with_capacity(EVENTS_MAX);
        reactor.config.limits.slow_turn = Some(Duration::from_nanos(1));
        for _ in 0..3 {
            // A turn that does not sleep: somebody has something to send.
            reactor.completion_sender.wake()();
            reactor.turn(&mut events).unwrap();
        }
        let times = &reactor.turn_times;
        assert_eq!((times.counts.iter().sum::<u64>(), times.slow, times.others), (3, 3, 2));
        assert!(times.busy_nanos > 0);
        reactor.config.limits.slow_turn = None;
        reactor.completion_sender.wake()();
        reactor.turn(&mut events).unwrap();
        assert_eq!(reactor.turn_times.slow, 3);
    }
}
