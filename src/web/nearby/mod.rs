//! Who is where: a grid of clients that move. Pure; it knows numbers of clients, not their names.
//!
//! ```text
//!   cells      … 811    812    812    812    815 …      in the order of their numbers: those of a
//!   clients    …  17      3     40     41      9 …      row lie side by side, and so do all of a
//!                                                       coarse cell
//! ```
//!
//! A cell is nowhere written down: a client's is calculated from its point. A move within a cell
//! changes nothing here; one into another cell takes the client out of the order and puts it in
//! elsewhere. Nothing is allocated unless there are more clients than ever before, or the blocks of
//! the order are cut anew.
//!
//! A question looks at the fine cells that its area meets; if those are many, at the coarse ones.
//! If there are more clients in those cells than an answer may look at, it is given in pages.
//!
//! Trees are worse at this: those that find what is to be moved quickly must be built anew after
//! some moves, and many points in one place are their worst case. Parked cars are many.
//!
//! invariant: a client is in the order by the cell of its point, if it has one

mod globe;
mod order;

use arrayvec::ArrayVec;

use crate::clients::{Places, Register};
pub use globe::{Area, Point};
use globe::{Cell, Cells, Centre, SIDE};
use order::{Order, Range};

/// Fine cells that are looked up one by one; if an area meets more, their coarse ones are.
const FINE_MAX: u32 = 64;
/// Coarse cells in which clients are counted by fine ones.
const COUNTED_FINELY_MAX: usize = 8;
/// Fine cells of a coarse one, whose numbers follow each other.
const FINE_A_COARSE: u32 = SIDE * SIDE;

/// Points that are brought to the processor together: they lie anywhere in memory.
const POINTS_AHEAD: usize = 32;

/// Clients that an answer may look at.
pub const LOOKS_MAX: usize = 16_384;

/// Which clients are in which cell.
pub struct Grid {
    cells: Cells,
    order: Order,
    /// By coarse cell. Memory of those where nobody ever was is not touched.
    clients_of: Vec<u32>,
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
    /// Nobody is anywhere.
    pub(crate) fn new() -> Grid {
        let cells = Cells::new();
        let clients_of = vec![0; cells.coarse()];
        Grid { cells, order: Order::default(), clients_of }
    }

    /// A client is there now, or nowhere, wherever it was. Who stays in a cell is known to be on
    /// the grid if everybody is.
    pub(crate) fn put(
        &mut self,
        register: &mut Register,
        who: u32,
        at: Option<Point>,
        is_whole: bool,
    ) {
        let before = register.at(who);
        if before == at && is_whole {
            return;
        }
        let cell = |at: Option<Point>| at.map(|at| self.cells.of(at));
        let (from, to) = (cell(before), cell(at));
        if from == to && is_whole {
            return register.set(who, at);
        }
        if let Some(from) = from {
            let rank_of = |who| rank(&self.cells, register, who);
            if self.order.remove(rank_in(from, who), rank_of) {
                self.clients_of[from.coarse()] -= 1;
            }
        }
        register.set(who, at);
        if let Some(to) = to {
            let rank_of = |who| rank(&self.cells, register, who);
            if self.order.add(rank_in(to, who), who, rank_of) {
                self.clients_of[to.coarse()] += 1;
            }
        }
    }

    /// Clients on the grid.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        let coarse = self.clients_of.capacity() * size_of::<u32>();
        self.order.bytes() + coarse + self.cells.bytes()
    }

    /// What must be true between any two calls; for tests and the simulator.
    pub(crate) fn check_invariants(&self, register: &Register) {
        self.order.check_invariants(|who| rank(&self.cells, register, who));
        let whole = [ranks(0, self.cells.coarse() as u32 * FINE_A_COARSE)];
        let mut clients_of = vec![0; self.cells.coarse()];
        let all = self.order.between(&whole, |who| rank(&self.cells, register, who));
        for who in all.flatten() {
            let at = register.at(*who).expect("who is on the grid is somewhere");
            clients_of[self.cells.of(at).coarse()] += 1;
        }
        assert_eq!(clients_of, self.clients_of);
    }
}

impl Places<'_> {
    /// Finds all within a circle, the nearest first; those as far away as each other by number.
    ///
    /// # Errors
    /// If it would have to look at more than [`LOOKS_MAX`].
    pub fn near(&self, centre: Point, radius_m: f64, found: &mut Vec<Near>) -> Result<(), TooMany> {
        found.clear();
        let (area, from) = (Area::around(centre, radius_m), Centre::new(centre));
        let is_all = self.look_over(&area, LOOKS_MAX, |who, at| {
            let metres = from.metres_to(at);
            if metres <= radius_m {
                found.push(Near { metres, who });
            }
        });
        if !is_all {
            return Err(TooMany);
        }
        // No distance is below zero, so their bits are in their order.
        found.sort_unstable_by_key(|near| (near.metres.to_bits(), near.who));
        Ok(())
    }

    /// Finds those in an area whose numbers are at least `from`, in their order, and gives them to
    /// `take` until that says no. Says where to go on, if that is not all: who stays in the area is
    /// met once, whatever moves meanwhile.
    ///
    /// Bound: it looks at [`LOOKS_MAX`] or, in an area of more, at so many numbers.
    pub fn inside(&self, area: &Area, from: u32, mut take: impl FnMut(u32) -> bool) -> Option<u32> {
        let is_small = self.register.end() as usize <= LOOKS_MAX;
        if !is_small && self.is_looked_over(area, LOOKS_MAX) {
            let mut found = Vec::new();
            self.look_over(area, usize::MAX, |who, _| found.extend((who >= from).then_some(who)));
            found.sort_unstable();
            return found.into_iter().find(|&who| !take(who));
        }
        let end = self.register.end().min(from.saturating_add(LOOKS_MAX as u32));
        for who in from..end {
            if self.register.at(who).is_some_and(|at| area.contains(at)) && !take(who) {
                return Some(who);
            }
        }
        (end < self.register.end()).then_some(end)
    }

    /// Whether so many are in the cells that an area meets, at most.
    pub fn is_looked_over(&self, area: &Area, most: usize) -> bool {
        let mut left = most;
        self.numbers(&self.cells_of(area)).all(|numbers| {
            let fits = numbers.len() <= left;
            left = left.saturating_sub(numbers.len());
            fits
        })
    }

    /// How many are where in an area that is cut into so many rows and columns. It counts by cells:
    /// those on the border are in it or not.
    ///
    /// Bound: of the clients it looks at the first of each cell and at few more, and at the fine
    /// cells of a few coarse ones only.
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
        let cells = &self.grid.cells;
        let is_small = cells.coarse_of(*area).nth(COUNTED_FINELY_MAX).is_none();
        for coarse in cells.coarse_of(*area) {
            match self.grid.clients_of[coarse] {
                0 => {}
                _ if is_small => self.count_cells(coarse, &mut add),
                clients => add(cells.centre(coarse), clients),
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

    /// Shows each cell of a coarse one in which somebody is: where its first client is, and how
    /// many there are.
    fn count_cells(&self, coarse: usize, show: &mut impl FnMut(Point, u32)) {
        for mut numbers in self.numbers(&[of_coarse(coarse)]) {
            while let Some(&first) = numbers.first() {
                let end = self.rank(first) | u64::from(u32::MAX);
                // Most cells have few: those behind the first are looked at in longer and longer
                // steps, and then those of the last one.
                let mut reach = 1;
                while numbers.get(reach).is_some_and(|who| self.rank(*who) <= end) {
                    reach *= 2;
                }
                let few = &numbers[..reach.min(numbers.len())];
                let count = few.partition_point(|who| self.rank(*who) <= end);
                let at = self.register.at(first).expect("who is on the grid is somewhere");
                show(at, count as u32);
                numbers = &numbers[count..];
            }
        }
    }

    /// Shows all that are in an area, unless there are more than so many in its cells; says so.
    fn look_over(&self, area: &Area, most: usize, mut show: impl FnMut(u32, Point)) -> bool {
        let mut left = most;
        for numbers in self.numbers(&self.cells_of(area)) {
            if numbers.len() > left {
                return false;
            }
            left -= numbers.len();
            for some in numbers.chunks(POINTS_AHEAD) {
                // All are read before the first is looked at: none waits for another.
                let points = some.iter().map(|&who| self.register.at(who));
                let points = ArrayVec::<_, POINTS_AHEAD>::from_iter(points);
                for (&who, at) in some.iter().zip(points) {
                    if let Some(at) = at.filter(|at| area.contains(*at)) {
                        show(who, at);
                    }
                }
            }
        }
        true
    }

    /// The ranks of the cells that an area meets, and perhaps of more.
    fn cells_of(&self, area: &Area) -> Vec<Range> {
        let cells = &self.grid.cells;
        match cells.fine_of(*area, FINE_MAX) {
            Some(fine) => joined(fine.map(|cell| ranks(cell.number(), 1))),
            None => joined(cells.coarse_of(*area).map(of_coarse)),
        }
    }

    /// Those who are of such ranks.
    fn numbers<'b>(&'b self, ranges: &'b [Range]) -> impl Iterator<Item = &'b [u32]> {
        self.grid.order.between(ranges, |who| self.rank(who))
    }

    fn rank(&self, who: u32) -> u64 {
        rank(&self.grid.cells, self.register, who)
    }
}

/// By what clients are in order: by cell, and by number in each.
fn rank(cells: &Cells, register: &Register, who: u32) -> u64 {
    register.at(who).map_or(u64::MAX, |at| rank_in(cells.of(at), who))
}

fn rank_in(cell: Cell, who: u32) -> u64 {
    u64::from(cell.number()) << 32 | u64::from(who)
}

/// The ranks of so many cells from this one on.
fn ranks(cell: u32, count: u32) -> Range {
    (u64::from(cell) << 32, u64::from(cell + count) << 32)
}

/// Those of the fine cells of a coarse one.
fn of_coarse(coarse: usize) -> Range {
    ranks(coarse as u32 * FINE_A_COARSE, FINE_A_COARSE)
}

/// The same ranks: those that follow each other are of one range.
fn joined(ranges: impl Iterator<Item = Range>) -> Vec<Range> {
    let mut joined: Vec<Range> = Vec::new();
    for (from, to) in ranges {
        match joined.last_mut() {
            Some(last) if last.1 == from => last.1 = to,
            _ => joined.push((from, to)),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
