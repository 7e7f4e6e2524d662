//! What peers have told lately that was news, in the order in which they told it. Apart from the
//! store because it is only a guess at what comes next, and a wrong one costs nothing but time.
//!
//! A flood brings most reports more than once, and each link brings them in about the order in
//! which they came by another. So each link has a place in this list: if the line that comes is,
//! byte for byte, what is held of the client of that place, it is a copy, and need be neither read
//! nor hashed. If it is not, it is read, and the link goes on behind the place of its client.
//!
//! ```text
//!   told as news     … kiwi   lime   plum   fig   pear │
//!                              ▲                       ▲
//!                  Bert is here: a copy of lime?       Anna is here, and tells news
//! ```

use super::{Key, Store};
use crate::wire::Report;

/// So many reports are remembered: what is heard in some milliseconds.
const SIZE: usize = 4_096;

/// The clients of which peers have told news, the last `SIZE` of them.
pub(crate) struct Heard {
    keys: Box<[Key; SIZE]>,
    /// By a part of the key, where in the list a client is, if it is there.
    places: Box<[u64; SIZE]>,
    /// Behind the last; places are counted from the start, and never come again.
    next: u64,
}

impl Heard {
    pub fn new() -> Heard {
        Heard { keys: Box::new([Key::default(); SIZE]), places: Box::new([0; SIZE]), next: 0 }
    }

    /// News of a client has come.
    #[inline]
    pub fn push(&mut self, key: Key) {
        self.keys[slot(self.next)] = key;
        self.places[slot(key.tag.into())] = self.next;
        self.next += 1;
    }

    /// The place behind all.
    pub fn end(&self) -> u64 {
        self.next
    }

    /// The client of which news came last.
    pub fn last(&self) -> Option<Key> {
        self.at(self.next.checked_sub(1)?)
    }

    /// The client of a place, or of a later one if so many were told since; `None` behind all.
    #[inline]
    pub fn at(&self, place: u64) -> Option<Key> {
        (place < self.next).then(|| self.keys[slot(place)])
    }

    /// The clients of some places from this one on.
    pub fn from(&self, place: u64, most: u64) -> impl Iterator<Item = Key> + Clone {
        let end = self.next.min(place + most);
        (place.min(end)..end).map(|place| self.keys[slot(place)])
    }

    /// The place behind a client's last one, or behind all.
    #[inline]
    pub fn behind(&self, key: Key) -> u64 {
        let place = self.places[slot(key.tag.into())];
        if self.keys[slot(place)] == key { place + 1 } else { self.next }
    }
}

fn slot(number: u64) -> usize {
    number as usize % SIZE
}

impl Store {
    /// What is behind the fields of an AT line, in a text that begins with those of the report held
    /// there, byte for byte; `None` if it begins with others.
    #[inline(always)]
    pub(crate) fn behind_held<'a>(&self, key: Key, text: &'a [u8]) -> Option<&'a [u8]> {
        let mut records = self.buckets[usize::from(key.leaf)].of(key.tag);
        records.find_map(|(_, at)| self.arena.record(at).behind(text))
    }
}

impl Store {
    /// The report of a client that is held.
    pub(crate) fn newest_of(&self, key: Key) -> Option<Report<'_>> {
        self.reports_of(key).next()
    }

    /// The reports that are held of the clients of a key: nearly always of one.
    pub fn reports_of(&self, key: Key) -> impl Iterator<Item = Report<'_>> {
        let records = self.buckets[usize::from(key.leaf)].of(key.tag);
        records.map(|(_, at)| self.arena.record(at).report())
    }

    /// Where the client of a key is, as spelled; `None` if it is erased or not known. Of two
    /// clients with one key, the first that is somewhere stands for both.
    pub fn place_of(&self, key: Key) -> Option<&[u8]> {
        let mut records = self.buckets[usize::from(key.leaf)].of(key.tag);
        records.find_map(|(_, at)| self.arena.record(at).place())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_found_where_it_was_told_last() {
        let key = |number: u64| Key { leaf: 7, tag: number as u32 };
        let mut heard = Heard::new();
        assert_eq!((heard.at(0), heard.behind(key(1))), (None, 0));
        (0..10_000).for_each(|number| heard.push(key(number)));
        heard.push(key(9_000));
        let behind = |number| heard.behind(key(number));
        assert_eq!([behind(8_999), behind(9_999), behind(9_000)], [9_000, 10_000, 10_001]);
        assert_eq!([behind(100), behind(20_000)], [10_001; 2], "forgotten, or never told");
        assert_eq!(heard.behind(Key { leaf: 8, tag: 9_001 }), 10_001);
        assert_eq!(
            [9_999, 10_000, 10_001].map(|place| heard.at(place)),
            [Some(key(9_999)), Some(key(9_000)), None,]
        );
    }
}
