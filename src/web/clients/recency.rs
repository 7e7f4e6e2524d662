//! Every client in the order of its last change: the one structure that conflates, bounds what a
//! slow reader costs, and lets one go on where it was.
//!
//! ```text
//!   first                                      last
//!   fig 3 ◀──▶ kiwi 7 ◀──▶ plum 8 ◀──▶ lime 12      a change moves a client to the end
//!                ▲
//!                └ a follower that has been told all up to 7 goes on here
//! ```
//!
//! A client stands in it once, so who has been told nothing for an hour hears the newest of each
//! and nothing else. What a follower costs is the number that it has come to. Clients that are gone
//! are in a ring of bounded length: who is older than that begins anew.
//!
//! invariant: sequence numbers rise along the list, and none is given twice

use std::collections::VecDeque;

use super::Who;
use super::pages::Pages;

/// None of them.
const NONE: Who = u32::MAX;
/// Clients that are remembered for having gone.
const GONE_MAX: usize = 65_536;

/// A client's place, in 14 bytes: there may be millions. Of one that is not in the list, anything
/// but its number, which is 0.
#[derive(Clone, Copy)]
#[repr(Rust, packed(2))]
struct Entry {
    before: Who,
    after: Who,
    /// The number of its last change, which takes 48 bits: nine years of a million a second.
    seq_low: u32,
    seq_high: u16,
}

const _: () = assert!(size_of::<Entry>() == 14);
const ABSENT: Entry = Entry { before: NONE, after: NONE, seq_low: 0, seq_high: 0 };

/// A client that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    pub seq: u64,
    /// Its number, which may be another's now.
    pub who: Who,
    pub client: Box<[u8]>,
    /// Somebody wanted that, and it has not just expired.
    pub is_erased: bool,
}

/// The list.
pub struct Recency {
    entries: Pages<Entry>,
    len: usize,
    first: Who,
    last: Who,
    /// The number given last.
    seq: u64,
    gone: VecDeque<Gone>,
    /// The number of the last one that was dropped from the ring.
    forgotten: u64,
}

impl Default for Recency {
    fn default() -> Recency {
        Recency {
            entries: Pages::new(),
            len: 0,
            first: NONE,
            last: NONE,
            seq: 0,
            gone: VecDeque::new(),
            forgotten: 0,
        }
    }
}

impl Recency {
    /// The number of the last change.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// Clients in the list.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether all that has changed since is still known.
    pub fn remembers(&self, cursor: u64) -> bool {
        (self.forgotten..=self.seq).contains(&cursor)
    }

    /// The memory that it takes, without the ring.
    pub fn bytes(&self) -> usize {
        self.entries.bytes()
    }

    /// A client has changed.
    pub fn touch(&mut self, who: Who) {
        self.seq += 1;
        while self.entries.len() <= who as usize {
            self.entries.push(ABSENT);
        }
        if self.has(who) {
            self.unlink(who);
        } else {
            self.len += 1;
        }
        let (seq_low, seq_high) = (self.seq as u32, (self.seq >> 32) as u16);
        *self.entries.at_mut(who) = Entry { before: self.last, after: NONE, seq_low, seq_high };
        match self.last {
            NONE => self.first = who,
            last => self.entries.at_mut(last).after = who,
        }
        self.last = who;
    }

    /// A client is gone. Says whether it was in the list.
    pub fn forget(&mut self, who: Who, client: &[u8], is_erased: bool) -> bool {
        if !self.has(who) {
            return false;
        }
        self.unlink(who);
        *self.entries.at_mut(who) = ABSENT;
        self.len -= 1;
        self.seq += 1;
        if self.gone.len() == GONE_MAX {
            self.forgotten = self.gone.pop_front().map_or(self.forgotten, |gone| gone.seq);
        }
        self.gone.push_back(Gone { seq: self.seq, who, client: client.into(), is_erased });
        true
    }

    /// Whether a client is in the list.
    pub fn has(&self, who: Who) -> bool {
        self.seq_of(who) > 0
    }

    /// The number of a client's last change; 0 for one that is not in the list.
    pub fn seq_of(&self, who: Who) -> u64 {
        if who as usize >= self.entries.len() {
            return 0;
        }
        let entry = self.entries.at(who);
        u64::from(entry.seq_high) << 32 | u64::from(entry.seq_low)
    }

    /// All clients, in no order.
    pub fn all(&self) -> impl Iterator<Item = Who> {
        (0..self.entries.len() as Who).filter(|who| self.has(*who))
    }

    /// The first client that has changed since. `hint` is the one that had changed last then: if it
    /// has not changed again, nothing is searched; else the list is walked back from its end.
    pub fn since(&self, cursor: u64, hint: Option<Who>) -> Option<Who> {
        if cursor == 0 {
            return some(self.first);
        }
        if let Some(hint) = hint.filter(|hint| self.seq_of(*hint) == cursor) {
            return self.after(hint);
        }
        let (mut found, mut at) = (None, self.last);
        while at != NONE && self.seq_of(at) > cursor {
            found = Some(at);
            at = self.entries.at(at).before;
        }
        found
    }

    /// The client that changed next.
    pub fn after(&self, who: Who) -> Option<Who> {
        some(self.entries.at(who).after)
    }

    /// The clients that are gone since, as far as they are remembered.
    pub fn gone_since(&self, cursor: u64) -> impl Iterator<Item = &Gone> {
        let from = self.gone.partition_point(|gone| gone.seq <= cursor);
        self.gone.range(from..)
    }

    fn unlink(&mut self, who: Who) {
        let Entry { before, after, .. } = self.entries.at(who);
        match before {
            NONE => self.first = after,
            before => self.entries.at_mut(before).after = after,
        }
        match after {
            NONE => self.last = before,
            after => self.entries.at_mut(after).before = before,
        }
    }

    /// What must be true between any two calls; for tests and the simulator.
    pub fn check_invariants(&self) {
        let (mut at, mut before, mut seq, mut count) = (self.first, NONE, 0, 0);
        while at != NONE {
            let Entry { before: link, after, .. } = self.entries.at(at);
            assert!(self.seq_of(at) > seq && link == before, "numbers rise along the list");
            (seq, before, at, count) = (self.seq_of(at), at, after, count + 1);
        }
        assert!(self.last == before && seq <= self.seq);
        assert_eq!((count, self.all().count()), (self.len(), self.len()), "and no other");
    }
}

fn some(who: Who) -> Option<Who> {
    (who != NONE).then_some(who)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// All clients that have changed since.
    fn told(list: &Recency, cursor: u64, hint: Option<Who>) -> Vec<(u64, Who)> {
        let first = list.since(cursor, hint);
        let all = std::iter::successors(first, |who| list.after(*who));
        all.map(|who| (list.seq_of(who), who)).collect()
    }

    proptest! {
        // The same cases each time: a change is judged by what it changes.
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            rng_seed: RngSeed::Fixed(1),
            ..ProptestConfig::default()
        })]

        /// Goal: whatever happens, a follower that asks now and then hears, of each client, the
        /// last change since it asked, once, and of all that are gone.
        #[test]
        fn the_list_is_the_last_change_of_each(
            acts in prop::collection::vec((0u32..12, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let mut list = Recency::default();
            // What there is, by client; and what a follower has been told.
            let mut model = BTreeMap::new();
            let (mut cursor, mut hint, mut held) = (0, None, BTreeMap::new());
            for (who, goes, asks) in acts {
                if goes {
                    let was_there = model.remove(&who).is_some();
                    prop_assert_eq!(list.forget(who, b"x", false), was_there);
                } else {
                    list.touch(who);
                    model.insert(who, list.seq());
                }
                list.check_invariants();
                if !asks {
                    continue;
                }
                for gone in list.gone_since(cursor) {
                    held.retain(|other, seq| *other != gone.who || *seq > gone.seq);
                }
                let mut last = cursor;
                for (seq, who) in told(&list, cursor, hint) {
                    prop_assert!(seq > last, "in order, and each once");
                    (last, hint) = (seq, Some(who));
                    held.insert(who, seq);
                }
                cursor = list.seq();
                prop_assert_eq!(&held, &model);
            }
        }
    }

    /// Goal: what is remembered of those that are gone has a bound.
    #[test]
    fn those_that_are_gone_are_remembered_for_a_while() {
        let mut list = Recency::default();
        (0..115_000).for_each(|who| list.touch(who));
        assert!(list.remembers(0) && list.remembers(list.seq()) && !list.remembers(1 << 40));
        (0..70_000).for_each(|who| _ = list.forget(who, b"x", false));
        assert_eq!((list.gone.len(), list.len()), (GONE_MAX, 45_000));
        assert!(!list.remembers(115_000) && list.remembers(list.seq() - 65_536));
        // Their numbers are given again.
        (0..70_000).for_each(|who| list.touch(who));
        assert_eq!(list.entries.len(), 115_000);
        list.check_invariants();
    }

    /// Goal: numbers of changes go on where 32 bits end.
    #[test]
    fn numbers_are_long() {
        let mut list = Recency { seq: u64::from(u32::MAX) - 2, ..Recency::default() };
        (0..6).for_each(|who| list.touch(who));
        list.check_invariants();
        let found = told(&list, u64::from(u32::MAX), None);
        assert_eq!(found.first(), Some(&(1 << 32, 2)));
        assert_eq!(found.len(), 4);
    }
}
