//! The cells in which somebody is, by their number and by the coarse cell they lie in. Apart from
//! the grid because it knows no client but the first of each cell.
//!
//! The hash is keyed: strangers choose the cells, and must not choose where those collide. Its
//! table is cut into many, which grow one by one: a growing one never holds up a turn.
//!
//! invariant: a cell is held if and only if somebody is in it

use super::globe::{Cell, Cells};

/// Parts of the table.
const PARTS: usize = 256;
const PART_BYTES_MIN: usize = 8;

/// Links are counted from one: this one leads nowhere.
pub const NONE: u32 = 0;

/// A cell in which somebody is.
#[derive(Clone, Copy, Default)]
pub struct Held {
    pub cell: Cell,
    /// The client whose entry is the first in its list.
    pub first: u32,
    pub clients: u32,
    /// Others of the same coarse cell; `next` also links those that are free.
    next: u32,
    previous: u32,
}

pub struct Occupied {
    /// Where in `held` a cell is, at a place that its hash says or behind it.
    parts: Box<[Vec<u32>]>,
    used: Box<[u32]>,
    held: Vec<Held>,
    free: u32,
    /// The first cell of each coarse one. Memory of those where nobody ever was is not touched.
    first_of: Vec<u32>,
    clients_of: Vec<u32>,
    secret: (u64, u64),
}

impl Occupied {
    pub fn new(cells: &Cells, secret: (u64, u64)) -> Occupied {
        Occupied {
            parts: vec![Vec::new(); PARTS].into(),
            used: vec![0; PARTS].into(),
            held: Vec::new(),
            free: NONE,
            first_of: vec![0; cells.coarse()],
            clients_of: vec![0; cells.coarse()],
            secret,
        }
    }

    pub fn find(&self, cell: Cell) -> Option<&Held> {
        let (_, _, link) = self.search(cell)?;
        Some(&self.held[link as usize - 1])
    }

    /// The cells of a coarse one.
    pub fn of_coarse(&self, coarse: usize) -> impl Iterator<Item = &Held> {
        let held = |link: u32| (link != NONE).then(|| &self.held[link as usize - 1]);
        std::iter::successors(held(self.first_of[coarse]), move |it| held(it.next))
    }

    /// Clients of a coarse cell.
    pub fn clients_of(&self, coarse: usize) -> u32 {
        self.clients_of[coarse]
    }

    /// Somebody comes to a cell, and is its first from now on. Says who was.
    pub fn enter(&mut self, cell: Cell, who: u32) -> u32 {
        let link = match self.search(cell) {
            Some((_, _, link)) => link,
            None => self.hold(cell),
        };
        self.clients_of[cell.coarse()] += 1;
        let held = &mut self.held[link as usize - 1];
        held.clients += 1;
        std::mem::replace(&mut held.first, who)
    }

    /// Somebody leaves a cell; `first`, if it was the first one there, is the next one.
    pub fn leave(&mut self, cell: Cell, first: Option<u32>) {
        let (part, slot, link) = self.search(cell).expect("a cell with somebody in it is held");
        self.clients_of[cell.coarse()] -= 1;
        let held = &mut self.held[link as usize - 1];
        held.clients -= 1;
        if let Some(first) = first {
            held.first = first;
        }
        if held.clients == 0 {
            self.close_gap(part, slot);
            self.let_go(link);
        }
    }

    pub fn bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| part.capacity() * size_of::<u32>()).sum();
        let fixed = size_of_val(&*self.parts) + size_of_val(&*self.used);
        let coarse = (self.first_of.len() + self.clients_of.len()) * size_of::<u32>();
        parts + fixed + coarse + self.held.capacity() * size_of::<Held>()
    }

    /// The part of a cell, and where its search begins if that has so many places.
    fn home(&self, cell: Cell) -> (usize, u64) {
        let (key, odd) = self.secret;
        let mixed = (u64::from(cell.number()) ^ key).wrapping_mul(odd | 1);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(odd | 1);
        ((mixed >> 56) as usize, mixed >> 20)
    }

    /// The part, the place in it and the link of a cell.
    fn search(&self, cell: Cell) -> Option<(usize, usize, u32)> {
        let (part, home) = self.home(cell);
        let places = &self.parts[part];
        let mask = places.len().wrapping_sub(1);
        let mut at = home as usize & mask;
        // A part is never full: the search ends at a place that is empty.
        while let Some(&link) = places.get(at).filter(|&&link| link != NONE) {
            if self.held[link as usize - 1].cell == cell {
                return Some((part, at, link));
            }
            at = (at + 1) & mask;
        }
        None
    }

    fn hold(&mut self, cell: Cell) -> u32 {
        let link = match self.free {
            NONE => {
                if self.held.len() == self.held.capacity() {
                    self.held.reserve_exact(self.held.len() / 8 + 64);
                }
                self.held.push(Held::default());
                self.held.len() as u32
            }
            link => {
                self.free = self.held[link as usize - 1].next;
                link
            }
        };
        let next = std::mem::replace(&mut self.first_of[cell.coarse()], link);
        if next != NONE {
            self.held[next as usize - 1].previous = link;
        }
        self.held[link as usize - 1] = Held { cell, next, ..Held::default() };
        let (part, _) = self.home(cell);
        if (self.used[part] as usize + 1) * 4 > self.parts[part].len() * 3 {
            self.grow(part);
        }
        self.used[part] += 1;
        self.put(part, link);
        link
    }

    fn put(&mut self, part: usize, link: u32) {
        let (_, home) = self.home(self.held[link as usize - 1].cell);
        let places = &mut self.parts[part];
        let mask = places.len() - 1;
        let mut at = home as usize & mask;
        while places[at] != NONE {
            at = (at + 1) & mask;
        }
        places[at] = link;
    }

    fn grow(&mut self, part: usize) {
        let places = (self.parts[part].len() * 2).max(PART_BYTES_MIN);
        let old = std::mem::replace(&mut self.parts[part], vec![NONE; places]);
        old.into_iter().filter(|&link| link != NONE).for_each(|link| self.put(part, link));
    }

    /// Empties a place, and moves what a search would not find behind it any more.
    fn close_gap(&mut self, part: usize, mut gap: usize) {
        self.used[part] -= 1;
        let mask = self.parts[part].len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let link = self.parts[part][at];
            if link == NONE {
                break;
            }
            let (_, home) = self.home(self.held[link as usize - 1].cell);
            let from_home = |place: usize| place.wrapping_sub(home as usize) & mask;
            if from_home(gap) < from_home(at) {
                self.parts[part][gap] = link;
                gap = at;
            }
        }
        self.parts[part][gap] = NONE;
    }

    /// Takes a cell out of the list of its coarse one.
    fn let_go(&mut self, link: u32) {
        let Held { cell, next, previous, .. } = self.held[link as usize - 1];
        match previous {
            NONE => self.first_of[cell.coarse()] = next,
            _ => self.held[previous as usize - 1].next = next,
        }
        if next != NONE {
            self.held[next as usize - 1].previous = previous;
        }
        self.held[link as usize - 1] = Held { next: self.free, ..Held::default() };
        self.free = link;
    }
}
