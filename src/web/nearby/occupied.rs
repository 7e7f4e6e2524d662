//! The cells in which somebody is, by their number and by the coarse cell they lie in. Apart from
//! the grid because it knows no client but the first of each cell.
//!
//! invariant: a cell is held if and only if somebody is in it

use super::globe::{Cell, Cells};
use super::table::{NONE, Table};

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
    /// Where in `held` a cell is.
    table: Table,
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
            table: Table::new(),
            held: Vec::new(),
            free: NONE,
            first_of: vec![0; cells.coarse()],
            clients_of: vec![0; cells.coarse()],
            secret,
        }
    }

    pub fn find(&self, cell: Cell) -> Option<&Held> {
        let link = self.search(cell)?;
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
            Some(link) => link,
            None => self.hold(cell),
        };
        self.clients_of[cell.coarse()] += 1;
        let held = &mut self.held[link as usize - 1];
        held.clients += 1;
        std::mem::replace(&mut held.first, who)
    }

    /// Somebody leaves a cell; `first`, if it was the first one there, is the next one.
    pub fn leave(&mut self, cell: Cell, first: Option<u32>) {
        let link = self.search(cell).expect("a cell with somebody in it is held");
        self.clients_of[cell.coarse()] -= 1;
        let held = &mut self.held[link as usize - 1];
        held.clients -= 1;
        if let Some(first) = first {
            held.first = first;
        }
        if held.clients == 0 {
            let (held, secret) = (&self.held, self.secret);
            let hash_of = |link: u32| hash(held[link as usize - 1].cell, secret);
            self.table.remove(hash(cell, secret), link, hash_of);
            self.let_go(link);
        }
    }

    pub fn bytes(&self) -> usize {
        let coarse = (self.first_of.len() + self.clients_of.len()) * size_of::<u32>();
        self.table.bytes() + coarse + self.held.capacity() * size_of::<Held>()
    }

    fn search(&self, cell: Cell) -> Option<u32> {
        let is_meant = |link: u32| self.held[link as usize - 1].cell == cell;
        self.table.find(hash(cell, self.secret), is_meant)
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
        let (held, secret) = (&self.held, self.secret);
        let hash_of = |link: u32| hash(held[link as usize - 1].cell, secret);
        self.table.add(hash(cell, secret), link, hash_of);
        link
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

/// Keyed: strangers choose the cells, and must not choose where those collide.
fn hash(cell: Cell, (key, odd): (u64, u64)) -> u64 {
    let mixed = (u64::from(cell.number()) ^ key).wrapping_mul(odd | 1);
    (mixed ^ mixed >> 32).wrapping_mul(odd | 1)
}
