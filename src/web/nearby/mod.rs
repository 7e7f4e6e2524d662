//! Who is where: a grid of clients that move. Pure; it knows numbers of clients, not their names.
//!
//! ```text
//!   coarse cell ──▶ fine cell ──▶ fine cell          a list of the cells in which somebody is
//!                      │
//!                      ▼
//!                   client ⇄ client ⇄ client         16 bytes each: a point and two links
//! ```
//!
//! A move within a cell writes two numbers; one into another cell takes the client out of one list
//! and puts it at the head of another. Nothing is allocated unless there are more clients or more
//! cells than ever before.
//!
//! A question looks at the fine cells that its area meets; if those are many, at the coarse ones,
//! and at the fine ones that are in their lists. The lists of several cells are walked side by
//! side: each step waits for memory, and several at once wait hardly longer than one. If there are
//! more clients in those cells than an answer may look at, it is given in pages.
//!
//! Trees are worse at this: those that find what is to be moved quickly must be built anew after
//! some moves, and many points in one place are their worst case. Parked cars are many.
//!
//! invariant: a client is in the list of the cell that its point lies in, and in no other

mod clients;
mod globe;
mod occupied;
mod table;

use arrayvec::ArrayVec;

pub use clients::Clients;
pub use globe::{Area, Point};
use globe::{Cell, Cells};
use occupied::Occupied;
use table::NONE;

/// Fine cells that are looked up one by one; if an area meets more, their coarse ones are.
const FINE_MAX: u32 = 64;
/// Coarse cells in which clients are counted by fine ones.
const COUNTED_FINELY_MAX: usize = 16;
/// Lists that are walked side by side.
const LISTS: usize = 16;
/// What stands for the links of a client that is nowhere.
const ABSENT: u32 = u32::MAX;

/// Clients that an answer may look at.
pub const LOOKS_MAX: usize = 16_384;

/// A client on the grid.
#[derive(Clone, Copy)]
struct Entry {
    at: Point,
    /// The links of its cell's list, counted from one.
    next: u32,
    previous: u32,
}

impl Entry {
    const ABSENT: Entry = Entry { at: Point::ZERO, next: ABSENT, previous: ABSENT };
}

/// Where each client is.
pub struct Grid {
    cells: Cells,
    occupied: Occupied,
    /// By the number of the client.
    entries: Vec<Entry>,
    clients: usize,
}

/// Somebody who was found, and how far away.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    pub metres: f64,
    pub who: u32,
}

/// There are more clients around than a question may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// How many clients are in a part of an area.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Count {
    /// The middle of them, roughly.
    pub at: Point,
    pub clients: u32,
}

impl Grid {
    /// Nobody is anywhere. The numbers are secret and key the hashes.
    pub fn new(secret: (u64, u64)) -> Grid {
        let cells = Cells::new();
        let occupied = Occupied::new(&cells, secret);
        Grid { cells, occupied, entries: Vec::new(), clients: 0 }
    }

    /// A client is there now, wherever it was. Numbers are to be dense: their highest is paid for.
    pub fn put(&mut self, who: u32, at: Point) {
        let index = who as usize;
        if index >= self.entries.len() {
            if index >= self.entries.capacity() {
                // Twice as much would be more memory than the rest of the grid.
                self.entries.reserve_exact(index + 1 - self.entries.len() + index / 8 + 64);
            }
            self.entries.resize(index + 1, Entry::ABSENT);
        }
        let cell = self.cells.of(at);
        if self.is_here(who) {
            let before = self.cells.of(self.entries[index].at);
            if before == cell {
                self.entries[index].at = at;
                return;
            }
            self.take_out(who, before);
        } else {
            self.clients += 1;
        }
        let next = self.occupied.enter(cell, who + 1);
        if next != NONE {
            self.entries[next as usize - 1].previous = who + 1;
        }
        self.entries[index] = Entry { at, next, previous: NONE };
    }

    /// A client is nowhere any more. Says whether it was anywhere.
    pub fn remove(&mut self, who: u32) -> bool {
        if !self.is_here(who) {
            return false;
        }
        let cell = self.cells.of(self.entries[who as usize].at);
        self.take_out(who, cell);
        self.entries[who as usize] = Entry::ABSENT;
        self.clients -= 1;
        true
    }

    /// Where a client is.
    pub fn find(&self, who: u32) -> Option<Point> {
        self.is_here(who).then(|| self.entries[who as usize].at)
    }

    /// Clients on the grid.
    pub fn len(&self) -> usize {
        self.clients
    }

    pub fn is_empty(&self) -> bool {
        self.clients == 0
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        let entries = self.entries.capacity() * size_of::<Entry>();
        entries + self.occupied.bytes() + self.cells.bytes()
    }

    /// Finds all within a circle, the nearest first; those as far away as each other by number.
    ///
    /// # Errors
    /// If it would have to look at more than [`LOOKS_MAX`].
    pub fn near(&self, centre: Point, radius_m: f64, found: &mut Vec<Near>) -> Result<(), TooMany> {
        found.clear();
        let area = Area::around(centre, radius_m);
        if !self.is_looked_over(&area, LOOKS_MAX) {
            return Err(TooMany);
        }
        self.look_over(&area, |who, at| {
            let metres = centre.metres_to(at);
            if metres <= radius_m {
                found.push(Near { metres, who });
            }
        });
        found.sort_unstable_by(|a, b| a.metres.total_cmp(&b.metres).then(a.who.cmp(&b.who)));
        Ok(())
    }

    /// Finds those in an area whose numbers are at least `from`, in their order, and gives them to
    /// `take` until that says no. Says where to go on, if that is not all: who stays in the area is
    /// met once, whatever moves meanwhile.
    ///
    /// Bound: it looks at [`LOOKS_MAX`] or, in an area of more, at so many numbers.
    pub fn inside(&self, area: &Area, from: u32, mut take: impl FnMut(u32) -> bool) -> Option<u32> {
        let is_small = self.entries.len() <= LOOKS_MAX;
        if !is_small && self.is_looked_over(area, LOOKS_MAX) {
            let mut found = Vec::new();
            self.look_over(area, |who, _| found.extend((who >= from).then_some(who)));
            found.sort_unstable();
            return found.into_iter().find(|&who| !take(who));
        }
        let end = self.entries.len().min(from as usize + LOOKS_MAX);
        let entries = self.entries.get(from as usize..end)?;
        for (who, entry) in (from..).zip(entries) {
            if entry.next != ABSENT && area.contains(entry.at) && !take(who) {
                return Some(who);
            }
        }
        (end < self.entries.len()).then_some(end as u32)
    }

    /// Whether so many are in the cells that an area meets, at most.
    pub fn is_looked_over(&self, area: &Area, most: usize) -> bool {
        let mut left = most;
        let mut fits = |count: u32| {
            let fits = count as usize <= left;
            left = left.saturating_sub(count as usize);
            fits
        };
        match self.cells.fine_of(*area, FINE_MAX) {
            Some(mut cells) => {
                cells.all(|cell| fits(self.occupied.find(cell).map_or(0, |held| held.clients)))
            }
            None => {
                self.cells.coarse_of(*area).all(|coarse| fits(self.occupied.clients_of(coarse)))
            }
        }
    }

    /// How many are where in an area that is cut into so many rows and columns. It counts by cells:
    /// those on the border are in it or not.
    ///
    /// Bound: it looks at no client but the first of a cell, and at the fine cells of a few coarse
    /// ones only.
    pub fn counts(&self, area: &Area, (rows, columns): (usize, usize)) -> Vec<Count> {
        let (south, west, height, width) = area.degrees();
        let mut sums = vec![(0, 0.0, 0.0); rows * columns];
        let mut add = |at: Point, clients: u32| {
            if !area.contains(at) {
                return;
            }
            let (north, east) = (at.degrees().0 - south, area.degrees_east(at));
            let part = |of: f64, all: f64, parts: usize| {
                ((of / all * parts as f64) as usize).min(parts - 1)
            };
            let sum = &mut sums[part(north, height, rows) * columns + part(east, width, columns)];
            sum.0 += clients;
            sum.1 += north * f64::from(clients);
            sum.2 += east * f64::from(clients);
        };
        let is_small = self.cells.coarse_of(*area).nth(COUNTED_FINELY_MAX).is_none();
        for coarse in self.cells.coarse_of(*area) {
            match self.occupied.clients_of(coarse) {
                0 => {}
                _ if is_small => self.occupied.of_coarse(coarse).for_each(|held| {
                    add(self.entries[held.first as usize - 1].at, held.clients);
                }),
                clients => add(self.cells.centre(coarse), clients),
            }
        }
        let counted = sums.into_iter().filter(|&(clients, ..)| clients > 0);
        let counts = counted.filter_map(|(clients, north, east)| {
            let (north, east) = (north / f64::from(clients), east / f64::from(clients));
            let longitude = (west + east + 180.0).rem_euclid(360.0) - 180.0;
            Some(Count { at: Point::new(south + north, longitude)?, clients })
        });
        counts.collect()
    }

    /// Shows all that are in an area.
    fn look_over(&self, area: &Area, mut show: impl FnMut(u32, Point)) {
        let mut walk = Walk { entries: &self.entries, lists: ArrayVec::new() };
        let mut show = |who, at| {
            if area.contains(at) {
                show(who, at);
            }
        };
        match self.cells.fine_of(*area, FINE_MAX) {
            Some(cells) => {
                let held = cells.filter_map(|cell| self.occupied.find(cell));
                held.for_each(|held| walk.add(held.first, &mut show));
            }
            None => {
                for coarse in self.cells.coarse_of(*area) {
                    let held = self.occupied.of_coarse(coarse);
                    held.for_each(|held| walk.add(held.first, &mut show));
                }
            }
        }
        walk.finish(&mut show);
    }

    fn is_here(&self, who: u32) -> bool {
        self.entries.get(who as usize).is_some_and(|entry| entry.next != ABSENT)
    }

    /// Takes a client out of the list of a cell.
    fn take_out(&mut self, who: u32, cell: Cell) {
        let Entry { next, previous, .. } = self.entries[who as usize];
        if next != NONE {
            self.entries[next as usize - 1].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize - 1].next = next;
        }
        self.occupied.leave(cell, (previous == NONE).then_some(next));
    }
}

/// Lists that are walked side by side.
struct Walk<'a> {
    entries: &'a [Entry],
    lists: ArrayVec<u32, LISTS>,
}

impl Walk<'_> {
    /// One more list is to be walked.
    fn add(&mut self, first: u32, show: &mut impl FnMut(u32, Point)) {
        while self.lists.is_full() {
            self.step(show);
        }
        self.lists.push(first);
    }

    fn finish(mut self, show: &mut impl FnMut(u32, Point)) {
        while !self.lists.is_empty() {
            self.step(show);
        }
    }

    /// One client of each list.
    fn step(&mut self, show: &mut impl FnMut(u32, Point)) {
        let mut at = 0;
        while let Some(link) = self.lists.get_mut(at) {
            let who = *link - 1;
            let entry = &self.entries[who as usize];
            show(who, entry.at);
            if entry.next == NONE {
                self.lists.swap_remove(at);
            } else {
                *link = entry.next;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
