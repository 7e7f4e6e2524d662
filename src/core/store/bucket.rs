//! The clients of one leaf of the digest: a sorted list with gaps. Apart from the store because it
//! knows tags and places of records, and neither clients nor reports.
//!
//! It is an open-addressed hash table with linear probing, kept in the order of its tags (Robin
//! Hood hashing): a search begins where its tag would be if all were spread evenly, and ends at a
//! gap or at a larger tag. A tag is a hash with a key of this process, so no one else can choose
//! where a client comes to lie, and the order in which clients come does not matter. There is no
//! wrapping around at the end: some slots behind the last home take what is pushed over it.
//!
//! ```text
//!   tags         12   15        40 41 42      77            the spare slots
//!   slots      ┌────┬────┬────┬──┬──┬──┬────┬────┬────╥────┐
//!              │ 12 │ 15 │    │40│41│42│    │ 77 │    ║    │   42 was pushed one slot on
//!              └────┴────┴────┴──┴──┴──┴────┴────┴────╨────┘
//! ```
//!
//! Because the order is that of the tags whatever the size, a walk may stop at any tag and go on
//! from there later, however much has changed meanwhile.
//!
//! invariant: tags never fall from one slot to the next
//! invariant: no slot is empty between the home of a record and its slot
//! invariant: no record is `PROBE_MAX` slots behind its home

use super::arena::RecordRef;

/// Half of a client's hash, with a key of this process.
pub type Tag = u32;

/// A list grows before a search would be longer. At seven records in eight slots, one in a
/// million is longer than 53.
pub const PROBE_MAX: usize = 64;

/// The record of a client, and enough of the hash to pass others by.
#[derive(Clone, Copy)]
struct Slot {
    tag: Tag,
    record: Option<RecordRef>,
}

const EMPTY: Slot = Slot { tag: 0, record: None };

#[derive(Default)]
pub struct Bucket {
    slots: Box<[Slot]>,
    /// Slots at which a search may begin.
    homes: u32,
    used: u32,
}

/// Goes through the records of one tag. By itself, and not put together of the library's parts, so
/// that a search is compiled into those that search.
pub struct OfTag<'a> {
    slots: &'a [Slot],
    at: usize,
    tag: Tag,
}

impl Iterator for OfTag<'_> {
    type Item = (usize, RecordRef);

    #[inline(always)]
    fn next(&mut self) -> Option<(usize, RecordRef)> {
        loop {
            let at = self.at;
            let Slot { tag, record } = self.slots.get(at)?;
            let record = record.filter(|_| *tag <= self.tag)?;
            self.at += 1;
            if *tag == self.tag {
                return Some((at, record));
            }
        }
    }
}

impl Bucket {
    const SLOTS_MIN: usize = 4;

    fn with_slots(slots: usize) -> Bucket {
        let spare = (slots / 8).clamp(1, PROBE_MAX);
        Bucket { slots: vec![EMPTY; slots].into(), homes: (slots - spare) as u32, used: 0 }
    }

    pub fn len(&self) -> usize {
        self.used as usize
    }

    /// Bytes that the slots take.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    /// The record of this tag for which `is_it`, and its slot.
    pub fn find(&self, tag: Tag, is_it: impl Fn(RecordRef) -> bool) -> Option<(usize, RecordRef)> {
        self.of(tag).find(|(_, record)| is_it(*record))
    }

    /// The records of this tag, each with its slot.
    #[inline(always)]
    pub fn of(&self, tag: Tag) -> OfTag<'_> {
        OfTag { slots: &self.slots, at: self.home(tag), tag }
    }

    /// What a search for this tag looks at first.
    pub fn first(&self, tag: Tag) -> Option<RecordRef> {
        self.slots.get(self.home(tag))?.record
    }

    /// Records from this tag on, in the order of tags.
    pub fn from(&self, tag: Tag) -> impl Iterator<Item = (Tag, RecordRef)> {
        let slots = self.slots.iter().skip(self.home(tag));
        slots.filter(move |slot| slot.tag >= tag).filter_map(|slot| Some((slot.tag, slot.record?)))
    }

    /// Puts another record into a slot that `find` has given.
    pub fn set(&mut self, at: usize, record: RecordRef) {
        self.slots[at].record = Some(record);
    }

    pub fn insert(&mut self, tag: Tag, record: RecordRef) {
        let slot = Slot { tag, record: Some(record) };
        while self.used + 1 > self.homes / 8 * 7 + self.homes % 8 || !self.put(slot) {
            let slots = self.slots.len();
            *self = self.resized(slots + (slots / 8).max(Self::SLOTS_MIN));
        }
        self.used += 1;
    }

    /// Takes the record out of a slot; those behind it that are not at home move up.
    pub fn remove(&mut self, at: usize) {
        let mut gap = at;
        while let Some(next) = self.slots.get(gap + 1).copied()
            && next.record.is_some()
            && self.home(next.tag) <= gap
        {
            self.slots[gap] = next;
            gap += 1;
        }
        self.slots[gap] = EMPTY;
        self.used -= 1;
    }

    /// The first record of this tag or a larger one that is in this slot or behind it.
    pub fn next(&self, at: usize, tag: Tag) -> Option<(usize, Tag, RecordRef)> {
        let start = at.max(self.home(tag));
        let slots = self.slots.iter().enumerate().skip(start);
        slots
            .filter(|(_, slot)| slot.tag >= tag)
            .find_map(|(at, slot)| Some((at, slot.tag, slot.record?)))
    }

    /// Gives memory back if most of it is not used any more.
    pub fn shrink(&mut self) {
        if self.used == 0 {
            *self = Bucket::default();
        } else if self.slots.len() > Self::SLOTS_MIN && self.len() < self.slots.len() / 4 {
            *self = self.resized((2 * self.len()).max(Self::SLOTS_MIN));
        }
    }

    /// The slot where a search begins: as far into the list as the tag is into all tags.
    fn home(&self, tag: Tag) -> usize {
        ((u64::from(tag) * u64::from(self.homes)) >> Tag::BITS) as usize
    }

    /// Puts a slot before the first with a larger tag, and pushes those up to the next gap one
    /// slot on. Says whether there was room: no one may be pushed too far from its home.
    fn put(&mut self, slot: Slot) -> bool {
        let mut at = self.home(slot.tag);
        while self
            .slots
            .get(at)
            .is_some_and(|other| other.record.is_some() && other.tag <= slot.tag)
        {
            at += 1;
        }
        let pushed = self.slots[at..].iter().take_while(|other| other.record.is_some()).count();
        let is_too_far =
            |(at, slot): (usize, &Slot)| !self.is_sparse() && at - self.home(slot.tag) >= PROBE_MAX;
        let places = (at + 1..).zip(&self.slots[at..at + pushed]).chain([(at, &slot)]);
        if at + pushed >= self.slots.len() || places.into_iter().any(is_too_far) {
            return false;
        }
        self.slots.copy_within(at..at + pushed, at + 1);
        self.slots[at] = slot;
        true
    }

    /// So many records of one tag that no size would part them: longer searches are the lesser
    /// evil. With 32 bits and a secret key this does not happen.
    fn is_sparse(&self) -> bool {
        self.homes as usize > 1_024 + 64 * self.len()
    }

    /// The same records in so many slots, or in more if they do not fit.
    fn resized(&self, slots: usize) -> Bucket {
        let mut resized = Bucket { used: self.used, ..Bucket::with_slots(slots) };
        for slot in self.slots.iter().filter(|slot| slot.record.is_some()) {
            if !resized.put(*slot) {
                return self.resized(slots + slots / 8 + 1);
            }
        }
        resized
    }

    /// What must be true between any two calls; for tests and the simulator.
    pub fn check_invariants(&self) {
        let mut before = None;
        let mut used = 0;
        for (at, slot) in self.slots.iter().enumerate() {
            if slot.record.is_none() {
                continue;
            }
            used += 1;
            let home = self.home(slot.tag);
            assert!(before <= Some(slot.tag), "tags are in order");
            assert!(home <= at && (at - home < PROBE_MAX || self.is_sparse()), "near its home");
            assert!(self.slots[home..at].iter().all(|slot| slot.record.is_some()), "no gap");
            before = Some(slot.tag);
        }
        assert_eq!(used, self.len(), "a slot for every record");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn record(number: u32) -> RecordRef {
        RecordRef::numbered(number)
    }

    /// Method: a list and a map, the same random steps.
    #[test]
    fn agrees_with_a_map() {
        let mut random = fastrand::Rng::with_seed(11);
        let (mut bucket, mut map) = (Bucket::default(), BTreeMap::new());
        for number in 0..20_000 {
            let tag = random.u32(0..) >> random.u32(0..3) << 20;
            if random.u32(0..3) > 0 && !map.contains_key(&tag) {
                bucket.insert(tag, record(number));
                map.insert(tag, record(number));
            }
            let from = random.u32(0..);
            let found = bucket.from(from).next();
            assert_eq!(found, map.range(from..).next().map(|(&tag, &record)| (tag, record)));
            if random.u32(0..3) == 0
                && let Some((tag, gone)) = found
            {
                let (at, found) = bucket.find(tag, |record| record == gone).unwrap();
                assert_eq!(found, gone);
                bucket.remove(at);
                bucket.shrink();
                map.remove(&tag);
                assert_eq!(bucket.find(tag, |_| true), None);
            }
            if number.is_multiple_of(500) {
                bucket.check_invariants();
            }
        }
        let all: Vec<_> = map.into_iter().collect();
        assert_eq!(bucket.from(0).collect::<Vec<_>>(), all);
    }

    /// Goal: a search is short whatever the size, and whatever the order in which records came.
    #[test]
    fn order_does_not_matter() {
        let tags: Vec<Tag> =
            (0..100_000u32).map(|number| number.wrapping_mul(0x9e37_79b1)).collect();
        let mut sorted = tags.clone();
        sorted.sort_unstable();
        let mut lists = [tags, sorted].map(|tags| {
            let mut bucket = Bucket::default();
            for (number, &tag) in tags.iter().enumerate() {
                bucket.insert(tag, record(number as u32));
            }
            bucket.check_invariants();
            bucket
        });
        assert_eq!(lists[0].bytes(), lists[1].bytes());
        assert!(lists[0].bytes() < 100_000 * 12, "{} bytes", lists[0].bytes());
        let mut at = 0;
        while let Some((slot, ..)) = lists[0].next(at, 0) {
            lists[0].remove(slot);
            at = slot;
        }
        lists[0].shrink();
        assert!(lists[0].len() == 0 && lists[0].bytes() < 100_000 * 6);
    }

    #[test]
    fn one_tag_may_have_many_records() {
        let mut bucket = Bucket::default();
        (0..200).for_each(|number| bucket.insert(7, record(number)));
        bucket.check_invariants();
        assert!(bucket.bytes() < 1 << 20);
        for number in 0..200 {
            assert!(bucket.find(7, |found| found == record(number)).is_some());
        }
    }
}
