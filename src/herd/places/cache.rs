//! Answers that may be given again for a while.
//!
//! Whether answers may be kept depends on a source's terms: data of OpenStreetMap may be kept,
//! Google's may not. It keeps what it is given, under a bound and an age, and knows nothing of what
//! the bytes mean.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::call_gate::Key;
use herd_core::whatsat::Question;

/// The newest answers, each for one question.
///
/// Bound: `answers_max` of them; each has twenty results at most, which is about 6 kB.
pub struct Cache {
    answers: Mutex<HashMap<Key, Kept>>,
    answers_max: usize,
    age_max: Duration,
}

struct Kept {
    body: Vec<u8>,
    since: Instant,
}

impl Cache {
    /// Keeps at most `answers_max` answers, none longer than `age_max`.
    pub fn new(answers_max: usize, age_max: Duration) -> Cache {
        Cache { answers: Mutex::default(), answers_max, age_max }
    }

    /// Appends the answer to `question`, if there is one that is not too old.
    pub fn recall(&self, question: &Question, now: Instant, out: &mut Vec<u8>) -> bool {
        // A poisoned lock still guards whole answers.
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match answers.get(&Key::of(question)) {
            Some(kept) if now.duration_since(kept.since) < self.age_max => {
                out.extend_from_slice(&kept.body);
                true
            }
            _ => false,
        }
    }

    /// Keeps an answer. If there are too many, the oldest goes.
    pub fn keep(&self, question: &Question, now: Instant, body: &[u8]) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(Key::of(question), Kept { body: body.to_vec(), since: now });
        if answers.len() > self.answers_max {
            // One look at each is nothing beside the call that was just made.
            let oldest = answers.iter().min_by_key(|(_, kept)| kept.since).map(|(key, _)| *key);
            oldest.map(|key| answers.remove(&key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_core::whatsat::Position;

    fn question(latitude: f64, bound: u8) -> Question {
        Question { at: Position { latitude, longitude: 0.0 }, radius_km: 1.0, bound }
    }

    #[test]
    fn answers_are_kept_under_a_bound_and_an_age() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let memory = Cache::new(2, Duration::from_secs(10));
        let recall = |latitude: f64, bound: u8, seconds: u64| {
            let mut out = Vec::new();
            memory.recall(&question(latitude, bound), at(seconds), &mut out).then_some(out)
        };
        assert_eq!(recall(1.0, 5, 0), None);
        memory.keep(&question(1.0, 5), at(0), b"one");
        assert_eq!(recall(1.0, 5, 9).as_deref(), Some(&b"one"[..]));
        assert_eq!(recall(1.0, 6, 9), None, "another bound is another question");
        let farther = Question { radius_km: 2.0, ..question(1.0, 5) };
        assert!(!memory.recall(&farther, at(9), &mut Vec::new()), "and so is another radius");
        assert_eq!(recall(1.0, 5, 10), None, "too old");

        memory.keep(&question(1.0, 5), at(11), b"new");
        memory.keep(&question(2.0, 5), at(12), b"two");
        memory.keep(&question(3.0, 5), at(13), b"three");
        assert_eq!(recall(1.0, 5, 14), None, "the oldest goes");
        assert_eq!(recall(2.0, 5, 14).as_deref(), Some(&b"two"[..]));
        assert_eq!(recall(3.0, 5, 14).as_deref(), Some(&b"three"[..]));
    }
}
