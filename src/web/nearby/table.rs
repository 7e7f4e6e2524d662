//! A hash table of links: it says which of the things that are kept elsewhere is meant. The hashes
//! must be keyed, for strangers choose what is hashed.
//!
//! It is cut into many parts, which grow one by one: a growing one never holds up a turn.

/// Links are counted from one: this one leads nowhere.
pub const NONE: u32 = 0;

const PARTS: usize = 256;
/// Places of the smallest part.
const PLACES_MIN: usize = 8;

pub struct Table {
    /// A link is at the place that its hash says or behind it, without a gap before it.
    parts: Box<[Vec<u32>]>,
    used: Box<[u32]>,
}

impl Table {
    pub fn new() -> Table {
        Table { parts: vec![Vec::new(); PARTS].into(), used: vec![0; PARTS].into() }
    }

    pub fn bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| part.capacity() * size_of::<u32>()).sum();
        parts + size_of_val(&*self.parts) + size_of_val(&*self.used)
    }

    /// The link of this hash that is meant.
    pub fn find(&self, hash: u64, is_meant: impl Fn(u32) -> bool) -> Option<u32> {
        self.search(hash, is_meant).map(|(_, link)| link)
    }

    /// Adds a link that is not there; `hash_of` knows the hashes of all.
    pub fn add(&mut self, hash: u64, link: u32, hash_of: impl Fn(u32) -> u64) {
        let part = part_of(hash);
        if (self.used[part] as usize + 1) * 4 > self.parts[part].len() * 3 {
            let places = (self.parts[part].len() * 2).max(PLACES_MIN);
            let old = std::mem::replace(&mut self.parts[part], vec![NONE; places]);
            for link in old.into_iter().filter(|&link| link != NONE) {
                put(&mut self.parts[part], hash_of(link), link);
            }
        }
        self.used[part] += 1;
        put(&mut self.parts[part], hash, link);
    }

    /// Takes a link out, and moves what a search would not find behind it any more.
    pub fn remove(&mut self, hash: u64, link: u32, hash_of: impl Fn(u32) -> u64) {
        let Some((mut gap, _)) = self.search(hash, |other| other == link) else { return };
        self.used[part_of(hash)] -= 1;
        let places = &mut self.parts[part_of(hash)];
        let mask = places.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let link = places[at];
            if link == NONE {
                break;
            }
            let home = home_of(hash_of(link));
            let from_home = |place: usize| place.wrapping_sub(home) & mask;
            if from_home(gap) < from_home(at) {
                places[gap] = link;
                gap = at;
            }
        }
        places[gap] = NONE;
    }

    fn search(&self, hash: u64, is_meant: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let places = &self.parts[part_of(hash)];
        let mask = places.len().wrapping_sub(1);
        let mut at = home_of(hash) & mask;
        // A part is never full: the search ends at a place that is empty.
        while let Some(&link) = places.get(at).filter(|&&link| link != NONE) {
            if is_meant(link) {
                return Some((at, link));
            }
            at = (at + 1) & mask;
        }
        None
    }
}

fn part_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

/// Where a search begins, of as many bits as a part has places.
fn home_of(hash: u64) -> usize {
    (hash >> 16) as usize
}

fn put(places: &mut [u32], hash: u64, link: u32) {
    let mask = places.len() - 1;
    let mut at = home_of(hash) & mask;
    while places[at] != NONE {
        at = (at + 1) & mask;
    }
    places[at] = link;
}
