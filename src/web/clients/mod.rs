//! Everybody that a server holds, for those who ask who is near and those who follow: what the two
//! have in common is kept once.
//!
//! ```text
//!   key ──▶ table ──▶ number ──▶ register   14 bytes: the key, and where the client is
//!                        ├─────▶ grid        4 bytes and some air: numbers by their cells
//!                        ├─────▶ list       14 bytes: numbers by their last changes
//!                        └─────▶ noted      a bit: it has changed, and was not read since
//! ```
//!
//! A number is a client's as long as it is held, and then another's. The grid is kept from the
//! first question on and the list from the first follower on; each is read from the store then,
//! while changes go on.
//!
//! Two clients of one key, which is a matter of one in 2^48, are one here: the first that the store
//! names stands for both.
//!
//! invariant: who is in the grid or in the list is in the register

mod noted;
mod pages;
mod recency;
mod register;
mod table;

use herd_core::store::Key;

use crate::nearby::{Grid, Point};
pub use noted::BLOCK as NOTED_BLOCK;
use noted::Noted;
pub use recency::{Gone, Recency};
pub(crate) use register::Register;

/// The number of a client. That of one who is gone is given to another.
pub type Who = u32;

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub who: Who,
    /// Where the client was before, unless it is new; it may have been nowhere on the globe.
    pub from: Option<Option<Point>>,
}

/// Everybody.
pub struct Clients {
    register: Register,
    grid: Option<Grid>,
    /// Everybody with a place is in the grid: only then is who stays in a cell known to be there.
    grid_is_whole: bool,
    list: Option<Recency>,
    /// Those whose last changes were not read yet.
    noted: Noted,
}

impl Default for Clients {
    fn default() -> Clients {
        Clients {
            register: Register::new(),
            grid: None,
            grid_is_whole: false,
            list: None,
            noted: Noted::default(),
        }
    }
}

impl Clients {
    /// From now on, who is where is known. Those who were there before are put there by `place`;
    /// then `grid_is_read`.
    pub fn keep_grid(&mut self) {
        self.grid.get_or_insert_with(Grid::new);
    }

    /// Everybody has been placed.
    pub fn grid_is_read(&mut self) {
        self.grid_is_whole = true;
    }

    /// From now on, changes are listed. Those who were there before come into it by `put`.
    pub fn keep_list(&mut self) {
        self.list.get_or_insert_default();
    }

    /// Who is near whom, if that is known.
    pub fn grid(&self) -> Option<Places<'_>> {
        let grid = self.grid.as_ref()?;
        Some(Places { grid, register: &self.register })
    }

    /// Clients in the order of their last changes, if that is known.
    pub fn list(&self) -> Option<&Recency> {
        self.list.as_ref()
    }

    /// Whether a client is in the list.
    pub fn is_listed(&self, key: Key) -> bool {
        let who = self.find(key);
        who.is_some_and(|who| self.list.as_ref().is_some_and(|list| list.has(who)))
    }

    /// Clients that are known.
    pub fn len(&self) -> usize {
        self.register.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All numbers that are given, and perhaps some more, are below.
    pub fn end(&self) -> Who {
        self.register.end()
    }

    /// Memory that all of it takes.
    pub fn bytes(&self) -> usize {
        let grid = self.grid.as_ref().map_or(0, Grid::bytes);
        let list = self.list.as_ref().map_or(0, Recency::bytes);
        self.register.bytes() + grid + list + self.noted.bytes()
    }

    /// The number of a client.
    pub fn find(&self, key: Key) -> Option<Who> {
        self.register.find(key)
    }

    /// The client of a number that is given.
    pub fn key(&self, who: Who) -> Key {
        self.register.key(who)
    }

    /// Where a client is, if that is on the globe.
    pub fn at(&self, who: Who) -> Option<Point> {
        self.register.at(who)
    }

    /// A client has changed, and is read later. Says whether that was noted: one that has no number
    /// yet has to be put.
    #[inline]
    pub fn note(&mut self, key: Key) -> bool {
        let who = self.find(key);
        who.is_some_and(|who| {
            self.noted.add(who);
            true
        })
    }

    /// Whether somebody is noted.
    pub fn has_noted(&self) -> bool {
        !self.noted.is_empty()
    }

    /// Some of those who are noted, who are not any more then; `None` if that was all. Bound: so
    /// many as stand in a block of bits.
    pub fn take_noted(&mut self) -> Option<Vec<Key>> {
        let some = self.noted.take_some()?;
        Some(some.into_iter().map(|who| self.key(who)).collect())
    }

    /// A client has changed, and is there now, or nowhere on the globe. `None` if there are too
    /// many for it to have a number.
    pub fn put(&mut self, key: Key, at: Option<Point>) -> Option<Moved> {
        self.put_found(key, self.find(key), at)
    }

    /// `put` for one whose number was looked up before, if it had one then. It has it still.
    pub fn put_found(&mut self, key: Key, who: Option<Who>, at: Option<Point>) -> Option<Moved> {
        let moved = self.place_found(key, who, at)?;
        if let Some(list) = &mut self.list {
            list.touch(moved.who);
        }
        Some(moved)
    }

    /// `put` for a client that has not changed: it is not listed.
    pub fn place(&mut self, key: Key, at: Option<Point>) -> Option<Moved> {
        self.place_found(key, self.find(key), at)
    }

    fn place_found(&mut self, key: Key, who: Option<Who>, at: Option<Point>) -> Option<Moved> {
        let (who, from) = match who.or_else(|| self.find(key)) {
            Some(who) => (who, Some(self.register.at(who))),
            None => (self.register.add(key)?, None),
        };
        match &mut self.grid {
            Some(grid) => grid.put(&mut self.register, who, at, self.grid_is_whole),
            None => self.register.set(who, at),
        }
        Some(Moved { who, from })
    }

    /// A client is gone. Says where it was, unless it was not listed.
    pub fn remove(&mut self, key: Key, client: &[u8], is_erased: bool) -> Option<Moved> {
        let who = self.register.find(key)?;
        let from = self.register.at(who);
        if let Some(grid) = &mut self.grid {
            grid.put(&mut self.register, who, None, self.grid_is_whole);
        }
        self.register.remove(who);
        self.noted.forget(who);
        let list = self.list.as_mut()?;
        list.forget(who, client, is_erased).then_some(Moved { who, from: Some(from) })
    }

    /// What must be true between any two calls; for tests and the simulator.
    pub fn check_invariants(&self) {
        let all = || (0..self.end()).filter(|who| self.find(self.key(*who)) == Some(*who));
        if let Some(list) = &self.list {
            list.check_invariants();
            let listed = (0..self.end()).filter(|who| list.seq_of(*who) > 0);
            listed.for_each(|who| assert_eq!(self.find(self.key(who)), Some(who)));
        }
        if let Some(grid) = &self.grid {
            grid.check_invariants(&self.register);
            let placed = all().filter(|who| self.at(*who).is_some()).count();
            assert!(grid.len() == placed || !self.grid_is_whole, "who is somewhere is on the grid");
        }
    }
}

/// The grid, and the points of those who are on it.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    pub(crate) grid: &'a Grid,
    pub(crate) register: &'a Register,
}

impl Places<'_> {
    /// The client of a number that is given.
    pub fn key(&self, who: Who) -> Key {
        self.register.key(who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(count: usize) -> Vec<Key> {
        let mut random = fastrand::Rng::with_seed(1);
        Vec::from_iter((0..count).map(|_| Key::from_number(random.u64(..1 << Key::BITS))))
    }

    /// Goal: after clients have come, moved and gone, each is where it was put last, under its own
    /// key, and numbers are given again.
    #[test]
    fn clients_come_and_go() {
        let mut clients = Clients::default();
        clients.keep_grid();
        clients.grid_is_read();
        clients.keep_list();
        let keys = keys(100_000);
        let place = |n: usize| Point::new(60.0 + (n % 40) as f64 / 1e3, n as f64 / 1e6);
        for (n, key) in keys.iter().enumerate() {
            clients.put(*key, place(n));
        }
        for round in 1..4 {
            keys.iter().step_by(3).for_each(|key| _ = clients.remove(*key, b"x", false));
            for (n, key) in keys.iter().enumerate() {
                clients.put(*key, place(n + round));
            }
        }
        clients.put(keys[7], None);
        assert!(clients.remove(keys[9], b"x", true).is_some());
        assert_eq!(clients.remove(keys[9], b"x", true), None, "it is gone");
        assert_eq!((clients.len(), clients.end(), clients.find(keys[9])), (99_999, 100_000, None));
        clients.check_invariants();
        for (n, key) in keys.iter().enumerate().skip(10) {
            let who = clients.find(*key).unwrap();
            assert_eq!((clients.key(who), clients.at(who)), (*key, place(n + 3)));
        }
    }

    /// Goal: who is near whom, who changed last and who has changed since cost 40 bytes a client
    /// together, counted by the allocator. Method: 100,000 in few towns, so that what a server pays
    /// for none of them, which is 660 kB of the grid, is counted apart.
    #[test]
    fn a_client_costs_less_than_forty_bytes() {
        const CLIENTS: usize = 100_000;
        let keys = keys(CLIENTS);
        let mut random = fastrand::Rng::with_seed(2);
        let towns = Vec::from_iter((0..50).map(|_| (random.f64() * 120.0, random.f64() * 300.0)));
        let mut near = |town: (f64, f64)| {
            let mut aside = || (random.f64() + random.f64() - 1.0) * 0.1;
            Point::new(town.0 - 60.0 + aside(), town.1 - 150.0 + aside())
        };
        let places = Vec::from_iter((0..CLIENTS).map(|n| near(towns[n * 7 % 50])));
        let mut clients = Clients::default();
        clients.keep_grid();
        clients.grid_is_read();
        clients.keep_list();
        let fixed = clients.bytes();
        let counted = allocation_counter::measure(|| {
            for (key, at) in keys.iter().zip(&places) {
                clients.put(*key, *at);
                assert!(clients.note(*key));
            }
        });
        let each = |bytes: usize| bytes as f64 / CLIENTS as f64;
        let by_allocator = each(counted.bytes_current as usize);
        assert!((30.0..40.0).contains(&by_allocator), "{by_allocator} bytes");
        let by_itself = each(clients.bytes() - fixed);
        assert!((by_itself - by_allocator).abs() < 0.5, "{by_itself} and {by_allocator} bytes");
    }
}
