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
//! invariant: each client in the list is in the table once, and no other

use std::collections::VecDeque;

use hashbrown::HashTable;
use herd_core::store::Key;

/// Where in the list a client is. The place of a client that is gone is given to another.
pub type Slot = u32;

/// None of them.
const NONE: Slot = u32::MAX;
/// Clients that are remembered for having gone.
const GONE_MAX: usize = 65_536;

/// A client, in 24 bytes: there may be millions.
#[derive(Clone, Copy)]
struct Entry {
    /// In the lower bits the key of the store; in the upper 16 the cell.
    key_and_cell: u64,
    seq: u64,
    before: Slot,
    /// Of a free entry, the next one.
    after: Slot,
}

const _: () = assert!(size_of::<Entry>() == 24 && Key::BITS == 48);

/// A part of the globe, whose meaning is `area`'s.
pub type Cell = u16;

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    pub slot: Slot,
    /// Where the client was, unless it is new.
    pub left: Option<Cell>,
}

/// A client that is not there any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    pub seq: u64,
    /// Where in the list it was.
    pub slot: Slot,
    pub client: Box<[u8]>,
    /// Somebody wanted that, and it has not just expired.
    pub is_erased: bool,
}

/// The list.
pub struct Recency {
    entries: Vec<Entry>,
    free: Slot,
    first: Slot,
    last: Slot,
    table: HashTable<Slot>,
    /// The number given last.
    seq: u64,
    gone: VecDeque<Gone>,
    /// The number of the last one that was dropped from the ring.
    forgotten: u64,
}

impl Default for Recency {
    fn default() -> Recency {
        Recency {
            entries: Vec::new(),
            free: NONE,
            first: NONE,
            last: NONE,
            table: HashTable::new(),
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
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether all that has changed since is still known.
    pub fn remembers(&self, cursor: u64) -> bool {
        (self.forgotten..=self.seq).contains(&cursor)
    }

    /// The memory that it takes, without the ring.
    pub fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.table.allocation_size()
    }

    /// A client has changed, and is in this cell now.
    pub fn touch(&mut self, key: Key, cell: Cell) -> Touched {
        self.seq += 1;
        let key_and_cell = key.to_number() | u64::from(cell) << Key::BITS;
        let (slot, left) = match self.find(key) {
            Some(slot) => {
                let left = self.cell(slot);
                self.unlink(slot);
                (slot, Some(left))
            }
            None => {
                let slot = self.take_free();
                let entries = &self.entries;
                let hash = |slot: &Slot| hash(number(entries[*slot as usize]));
                self.table.insert_unique(self::hash(key.to_number()), slot, hash);
                (slot, None)
            }
        };
        let entry = Entry { key_and_cell, seq: self.seq, before: self.last, after: NONE };
        self.entries[slot as usize] = entry;
        match self.last {
            NONE => self.first = slot,
            last => self.entries[last as usize].after = slot,
        }
        self.last = slot;
        Touched { slot, left }
    }

    /// A client is gone. Says where it was, unless it was not in the list.
    pub fn forget(&mut self, key: Key, client: &[u8], is_erased: bool) -> Option<Touched> {
        let slot = self.find(key)?;
        let left = Some(self.cell(slot));
        let entries = &self.entries;
        let is_it = |other: &Slot| number(entries[*other as usize]) == key.to_number();
        if let Ok(found) = self.table.find_entry(hash(key.to_number()), is_it) {
            found.remove();
        }
        self.unlink(slot);
        self.entries[slot as usize].after = self.free;
        self.entries[slot as usize].seq = 0;
        self.free = slot;
        self.seq += 1;
        if self.gone.len() == GONE_MAX {
            self.forgotten = self.gone.pop_front().map_or(self.forgotten, |gone| gone.seq);
        }
        self.gone.push_back(Gone { seq: self.seq, slot, client: client.into(), is_erased });
        Some(Touched { slot, left })
    }

    /// Where a client is in the list.
    pub fn find(&self, key: Key) -> Option<Slot> {
        let entries = &self.entries;
        let is_it = |slot: &Slot| number(entries[*slot as usize]) == key.to_number();
        self.table.find(hash(key.to_number()), is_it).copied()
    }

    /// The number of a client's last change; 0 for a place that is free.
    pub fn seq_of(&self, slot: Slot) -> u64 {
        self.entries[slot as usize].seq
    }

    /// Which client is there.
    pub fn key(&self, slot: Slot) -> Key {
        Key::from_number(number(self.entries[slot as usize]))
    }

    /// Where that client is.
    pub fn cell(&self, slot: Slot) -> Cell {
        (self.entries[slot as usize].key_and_cell >> Key::BITS) as Cell
    }

    /// All clients, in no order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        let entries = self.entries.iter().enumerate();
        entries.filter(|(_, entry)| entry.seq > 0).map(|(at, _)| at as Slot)
    }

    /// The first client that has changed since. `hint` is the one that had changed last then: if it
    /// has not changed again, nothing is searched; else the list is walked back from its end.
    pub fn since(&self, cursor: u64, hint: Option<Slot>) -> Option<Slot> {
        if cursor == 0 {
            return some(self.first);
        }
        if let Some(hint) = hint
            && self.entries.get(hint as usize).is_some_and(|entry| entry.seq == cursor)
        {
            return self.after(hint);
        }
        let (mut found, mut at) = (None, self.last);
        while at != NONE && self.seq_of(at) > cursor {
            found = Some(at);
            at = self.entries[at as usize].before;
        }
        found
    }

    /// The client that changed next.
    pub fn after(&self, slot: Slot) -> Option<Slot> {
        some(self.entries[slot as usize].after)
    }

    /// The clients that are gone since, as far as they are remembered.
    pub fn gone_since(&self, cursor: u64) -> impl Iterator<Item = &Gone> {
        let from = self.gone.partition_point(|gone| gone.seq <= cursor);
        self.gone.range(from..)
    }

    fn take_free(&mut self) -> Slot {
        match some(self.free) {
            Some(slot) => {
                self.free = self.entries[slot as usize].after;
                slot
            }
            None => {
                let none = Entry { key_and_cell: 0, seq: 0, before: NONE, after: NONE };
                if self.entries.len() == self.entries.capacity() {
                    // Twice as many would be more memory than the table beside them.
                    self.entries.reserve_exact(self.entries.len() / 8 + 64);
                }
                self.entries.push(none);
                (self.entries.len() - 1) as Slot
            }
        }
    }

    fn unlink(&mut self, slot: Slot) {
        let Entry { before, after, .. } = self.entries[slot as usize];
        match before {
            NONE => self.first = after,
            before => self.entries[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            after => self.entries[after as usize].before = before,
        }
    }

    /// What must be true between any two calls; for tests and the simulator.
    pub fn check_invariants(&self) {
        let (mut at, mut before, mut seq, mut count) = (self.first, NONE, 0, 0);
        while at != NONE {
            let entry = self.entries[at as usize];
            assert!(entry.seq > seq && entry.before == before, "numbers rise along the list");
            assert_eq!(self.find(self.key(at)), Some(at), "each is in the table");
            (seq, before, at, count) = (entry.seq, at, entry.after, count + 1);
        }
        assert!(self.last == before && seq <= self.seq);
        assert_eq!((count, self.slots().count()), (self.len(), self.len()), "and no other");
    }
}

fn number(entry: Entry) -> u64 {
    entry.key_and_cell & ((1 << Key::BITS) - 1)
}

/// A key is two hashes already, one of them under a key of this process.
fn hash(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn some(slot: Slot) -> Option<Slot> {
    (slot != NONE).then_some(slot)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// All clients that have changed since, by their numbers.
    fn told(list: &Recency, cursor: u64, hint: Option<Slot>) -> Vec<(u64, u64)> {
        let first = list.since(cursor, hint);
        let slots = std::iter::successors(first, |slot| list.after(*slot));
        slots.map(|slot| (list.seq_of(slot), list.key(slot).to_number())).collect()
    }

    proptest! {
        /// Goal: whatever happens, a follower that asks now and then hears, of each client, the
        /// last change since it asked, once, and of all that are gone.
        #[test]
        fn the_list_is_the_last_change_of_each(
            acts in prop::collection::vec((0u64..12, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let mut list = Recency::default();
            // What there is, by client and by number; and what a follower has been told.
            let mut model = BTreeMap::new();
            let (mut cursor, mut hint, mut held) = (0, None, BTreeMap::new());
            for (client, goes, asks) in acts {
                // Keys with all their bits.
                let number = client << 44 | client;
                let key = Key::from_number(number);
                if goes {
                    let was_there = model.remove(&number).is_some();
                    prop_assert_eq!(list.forget(key, b"x", false).is_some(), was_there);
                } else {
                    let is_new = list.touch(key, client as Cell).left.is_none();
                    prop_assert_eq!(model.insert(number, list.seq()).is_none(), is_new);
                }
                list.check_invariants();
                if !asks {
                    continue;
                }
                for gone in list.gone_since(cursor) {
                    let slot = gone.slot;
                    held.retain(|_, (other, seq)| *other != slot || *seq > gone.seq);
                }
                let mut last = cursor;
                for (seq, number) in told(&list, cursor, hint) {
                    prop_assert!(seq > last, "in order, and each once");
                    last = seq;
                    hint = list.find(Key::from_number(number));
                    held.insert(number, (hint.unwrap(), seq));
                }
                cursor = list.seq();
                let held = held.iter().map(|(number, (_, seq))| (*number, *seq));
                prop_assert!(held.eq(model.iter().map(|(number, seq)| (*number, *seq))));
            }
        }
    }

    /// Goal: what a client costs has a bound, and so has what is remembered of those that are gone.
    #[test]
    fn a_client_costs_less_than_forty_bytes() {
        let mut list = Recency::default();
        let key = |number: u64| Key::from_number(number * 0x1_0001);
        // Right behind a doubling of the table, where it is emptiest.
        (0..115_000).for_each(|number| _ = list.touch(key(number), 7));
        let each = list.bytes() as f64 / list.len() as f64;
        assert!((24.0..40.0).contains(&each), "{each} bytes");
        assert!(list.remembers(0) && list.remembers(list.seq()) && !list.remembers(1 << 40));
        (0..70_000).for_each(|number| _ = list.forget(key(number), b"x", false));
        assert_eq!((list.gone.len(), list.len()), (GONE_MAX, 45_000));
        assert!(!list.remembers(115_000) && list.remembers(list.seq() - 65_536));
        // Their places are given again.
        (0..70_000).for_each(|number| _ = list.touch(key(1 << 24 | number), 7));
        assert_eq!(list.entries.len(), 115_000);
    }
}
