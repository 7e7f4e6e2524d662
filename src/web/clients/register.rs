//! A number for each client, for those who keep something of many: its key and where it is.
//!
//! A client costs 14 bytes and a place in a table; its name stays in the store.

use herd_core::store::Key;

use super::pages::Pages;
use super::table::{LINK_MAX, NONE, Table};
use crate::nearby::Point;

/// A client, or a number that is free. Packed: there may be millions.
#[derive(Clone, Copy)]
#[repr(Rust, packed(2))]
struct Entry {
    key_low: u32,
    key_high: u16,
    /// Of one that is nowhere on the globe, or free, not a point of it.
    at: Point,
}

const _: () = assert!(size_of::<Entry>() == 14 && Key::BITS == 48);

pub struct Register {
    table: Table,
    entries: Pages<Entry>,
    /// The link of a number that is free; its key is the link of the next one.
    free: u32,
    len: usize,
}

impl Register {
    pub fn new() -> Register {
        Register { table: Table::new(), entries: Pages::new(), free: NONE, len: 0 }
    }

    /// Clients that have a number.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All numbers are below.
    pub fn end(&self) -> u32 {
        self.entries.len() as u32
    }

    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.entries.bytes()
    }

    /// The number of a client.
    pub fn find(&self, key: Key) -> Option<u32> {
        let number = key.to_number();
        let is_meant = |link: u32| number_of(self.entries.at(link - 1)) == number;
        self.table.find(hash(number), is_meant).map(|link| link - 1)
    }

    /// Gives a client that has none a number; `None` if there are too many.
    pub fn add(&mut self, key: Key) -> Option<u32> {
        let number = key.to_number();
        let entry =
            Entry { key_low: number as u32, key_high: (number >> 32) as u16, at: Point::NOWHERE };
        let link = match self.free {
            NONE if self.end() == LINK_MAX => return None,
            NONE => {
                self.entries.push(entry);
                self.end()
            }
            link => {
                self.free = self.entries.at(link - 1).key_low;
                *self.entries.at_mut(link - 1) = entry;
                link
            }
        };
        self.len += 1;
        let entries = &self.entries;
        self.table.add(hash(number), link, |link| hash(number_of(entries.at(link - 1))));
        Some(link - 1)
    }

    /// Frees a number.
    pub fn remove(&mut self, who: u32) {
        let entries = &self.entries;
        let number = number_of(entries.at(who));
        let hash_of = |link: u32| hash(number_of(entries.at(link - 1)));
        self.table.remove(hash(number), who + 1, hash_of);
        let free = Entry { key_low: self.free, key_high: 0, at: Point::NOWHERE };
        *self.entries.at_mut(who) = free;
        self.free = who + 1;
        self.len -= 1;
    }

    /// Whose number it is.
    pub fn key(&self, who: u32) -> Key {
        Key::from_number(number_of(self.entries.at(who)))
    }

    /// Where a client is, if that is on the globe.
    pub fn at(&self, who: u32) -> Option<Point> {
        let at = self.entries.at(who).at;
        (at != Point::NOWHERE).then_some(at)
    }

    pub fn set(&mut self, who: u32, at: Option<Point>) {
        self.entries.at_mut(who).at = at.unwrap_or(Point::NOWHERE);
    }
}

fn number_of(entry: Entry) -> u64 {
    u64::from(entry.key_high) << 32 | u64::from(entry.key_low)
}

/// A key is two hashes already, one of them under a key of this process.
fn hash(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
