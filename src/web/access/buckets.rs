//! How often somebody may do something: a token bucket each, in a table that is bounded.

use std::collections::BTreeMap;
use std::time::Duration;

/// What each of many has used up of the same budget, which refills at a fixed rate.
///
/// invariant: who is not in the table has all that there is to have
pub struct Buckets<K> {
    per_second: f64,
    at_once: f64,
    used: BTreeMap<K, Used>,
    /// When those who have all again were last looked for.
    looked_at: Duration,
}

struct Used {
    count: f64,
    /// When that was so.
    at: Duration,
}

/// If so many have used up something, others get nothing.
const ENTRIES_MAX: usize = 16 * 1024;
/// So often, those who have all again are forgotten to make room.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl<K: Ord + Clone> Buckets<K> {
    pub fn new(per_second: f64, at_once: f64) -> Buckets<K> {
        Buckets { per_second, at_once, used: BTreeMap::new(), looked_at: Duration::ZERO }
    }

    /// Uses up one; says whether there was one.
    pub fn take(&mut self, now: Duration, whose: &K) -> bool {
        if !self.used.contains_key(whose) && self.used.len() >= ENTRIES_MAX {
            self.forget_settled(now);
            if self.used.len() >= ENTRIES_MAX {
                return false;
            }
        }
        let per_second = self.per_second;
        let used = self.used.entry(whose.clone()).or_insert(Used { count: 0.0, at: now });
        let count = left_of(used, now, per_second);
        let has_one = count + 1.0 <= self.at_once;
        *used = Used { count: if has_one { count + 1.0 } else { count }, at: now };
        has_one
    }
}

impl<K: Ord> Buckets<K> {
    fn forget_settled(&mut self, now: Duration) {
        if now >= self.looked_at + LOOK_EVERY {
            let per_second = self.per_second;
            self.used.retain(|_, used| left_of(used, now, per_second) > 0.0);
            self.looked_at = now;
        }
    }
}

/// What is used up now.
fn left_of(used: &Used, now: Duration, per_second: f64) -> f64 {
    let back = now.saturating_sub(used.at).as_secs_f64() * per_second;
    (used.count - back).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_so_many_a_second() {
        let mut buckets = Buckets::new(2.0, 3.0);
        let at = Duration::from_secs;
        let taken =
            |buckets: &mut Buckets<u8>, now| (0..10).filter(|_| buckets.take(now, &1)).count();
        assert_eq!(taken(&mut buckets, at(10)), 3);
        assert_eq!(taken(&mut buckets, at(10)), 0);
        assert_eq!(taken(&mut buckets, at(11)), 2);
        assert!(buckets.take(at(11), &2), "each has its own");
        assert_eq!(taken(&mut buckets, at(100)), 3);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut buckets = Buckets::new(1.0, 3.0);
        let now = Duration::from_secs(10);
        for whose in 0..2 * ENTRIES_MAX {
            assert_eq!(buckets.take(now, &whose), whose < ENTRIES_MAX);
        }
        assert!(buckets.take(now + Duration::from_secs(2), &usize::MAX));
        assert_eq!(buckets.used.len(), 1, "what is settled is forgotten");
    }
}
