//! Who writes to a file: the loop itself, while that is quick, or a thread, which costs every group
//! of answers two wake-ups. Apart from `journal` because it is arithmetic of times alone.
//!
//! A write is slow because the disk is, or because another thread had the processor in the middle
//! of it: on a busy machine that is usual, and a thread that writes would only take more of it. No
//! clock tells one from the other, but how much of all time is lost does: of what others take from
//! the loop, its writes lose no more than they have of the loop's time, which is little.

use std::time::{Duration, Instant};

/// A write is quick that takes no longer, and for each byte so much more, which is twice what
/// copying it takes.
const QUICK: Duration = Duration::from_micros(200);
const QUICK_NS_PER_BYTE: u64 = 4;
/// Slow writes may take one part in so many of all time,
const SHARE: u32 = 4;
/// and so much at once.
const CREDIT_MAX: Duration = Duration::from_millis(100);
/// What takes more, the disk has taken. Then a thread writes for so many times as long as the last
/// write has: a disk that stalls stops the loop for a hundredth of its time.
const SLOW_TIMES: u32 = 100;

/// How quick writes were.
pub struct Pace {
    /// Time that slow writes might take, at a moment.
    credit: Duration,
    at: Option<Instant>,
    /// Before this, the loop does not write itself: the disk is slow.
    slow_until: Option<Instant>,
}

impl Pace {
    /// Nothing is known of the disk.
    pub fn new() -> Pace {
        Pace { credit: CREDIT_MAX, at: None, slow_until: None }
    }

    /// Whether the loop may write itself.
    pub fn is_quick(&self, now: Instant) -> bool {
        self.slow_until.is_none_or(|until| now >= until)
    }

    /// The loop has written so many bytes.
    pub fn note(&mut self, began: Instant, took: Duration, bytes: usize) {
        if took > QUICK + Duration::from_nanos(QUICK_NS_PER_BYTE * bytes as u64) {
            self.note_slow(began, took);
        }
    }

    #[cold]
    fn note_slow(&mut self, began: Instant, took: Duration) {
        let earned =
            self.at.map_or(Duration::ZERO, |at| began.saturating_duration_since(at) / SHARE);
        let credit = CREDIT_MAX.min(self.credit + earned);
        let ended = began + took;
        (self.credit, self.at) = match credit.checked_sub(took) {
            Some(rest) => (rest, Some(ended)),
            None => {
                let until = ended + took * SLOW_TIMES;
                self.slow_until = Some(until);
                // The next one that is slow will be the disk again.
                (Duration::ZERO, Some(until))
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// For how long the loop does not write behind writes of 1 KB that each take so long, one after
    /// another with a pause between, and how many have gone before.
    fn stopped_after(took: Duration, pause: Duration, writes: u32) -> Option<(u32, Duration)> {
        let (mut pace, mut now) = (Pace::new(), Instant::now());
        for count in 1..=writes {
            pace.note(now, took, 1_000);
            now += took;
            if !pace.is_quick(now) {
                return pace.slow_until.map(|until| (count, until - now));
            }
            now += pause;
        }
        None
    }

    /// Goal: a disk that is slow stops the loop a few times, and a loop that others keep from the
    /// processor is not taken for a slow disk.
    #[test]
    fn the_loop_writes_while_the_disk_is_quick() {
        assert_eq!(stopped_after(MS / 10, MS / 10, 10_000), None);
        // Each tenth write is stopped, as the loop is outside of writes.
        assert_eq!(stopped_after(3 * MS, 30 * MS, 10_000), None);
        assert_eq!(stopped_after(3_000 * MS, MS, 1), Some((1, 300_000 * MS)));
        let (count, pause) = stopped_after(3 * MS, MS, 100).unwrap();
        assert!((20..50).contains(&count) && pause == 300 * MS, "{count} {pause:?}");
    }

    /// Goal: what has been slow is not tried for long.
    #[test]
    fn a_disk_that_was_slow_stops_the_loop_once() {
        let (mut pace, start) = (Pace::new(), Instant::now());
        pace.note(start, 200 * MS, 1_000);
        let until = start + 20_200 * MS;
        assert!(!pace.is_quick(until - MS) && pace.is_quick(until));
        pace.note(until, 3 * MS, 1_000);
        assert!(!pace.is_quick(until + 302 * MS) && pace.is_quick(until + 303 * MS));
    }

    /// Goal: much takes longer than little.
    #[test]
    fn a_long_write_may_take_long() {
        let (mut pace, now) = (Pace::new(), Instant::now());
        for _ in 0..100 {
            pace.note(now, 4 * MS, 1 << 20);
        }
        assert!(pace.is_quick(now + 4 * MS));
    }
}
