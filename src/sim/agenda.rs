//! What will happen, in the order of time. It keeps values and their times and knows nothing of
//! what they mean.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

pub struct Agenda<E> {
    entries: BinaryHeap<Reverse<Entry<E>>>,
    planned: u64,
}

/// The number keeps those of the same time in the order in which they were planned.
struct Entry<E> {
    at: Duration,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    pub fn new() -> Agenda<E> {
        Agenda { entries: BinaryHeap::new(), planned: 0 }
    }

    pub fn plan(&mut self, at: Duration, event: E) {
        self.planned += 1;
        self.entries.push(Reverse(Entry { at, number: self.planned, event }));
    }

    pub fn next(&mut self) -> Option<(Duration, E)> {
        self.entries.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Entry<E>) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Entry<E>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Entry<E>) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_comes_first_and_then_the_first_planned() {
        let mut agenda = Agenda::new();
        for (at, event) in [(2, "c"), (1, "a"), (2, "d"), (1, "b")] {
            agenda.plan(Duration::from_secs(at), event);
        }
        let events: Vec<_> = std::iter::from_fn(|| agenda.next()).map(|(_, event)| event).collect();
        assert_eq!(events, ["a", "b", "c", "d"]);
    }
}
