//! A hash table of links: it says which of the things that are kept elsewhere is meant. The hashes
//! must be keyed, for strangers choose what is hashed.
//!
//! It is nearly full, so a place holds five bits of the hash beside its link: of those that a
//! search passes, hardly one must be looked at elsewhere, which is a wait for memory. It is cut
//! into many parts, which grow one by one: a growing one never holds up a turn.

/// Links are counted from one: this one leads nowhere.
pub const NONE: u32 = 0;

const PARTS: usize = 256;
/// Places of the smallest part.
const PLACES_MIN: usize = 8;
/// The bits of a link; above them in a place are those of the hash.
const LINK_BITS: u32 = 27;
/// Links are not greater.
pub const LINK_MAX: u32 = (1 << LINK_BITS) - 1;

pub struct Table {
    /// A link is at the place that its hash says or behind it, without a gap before it.
    parts: Box<[Box<[u32]>]>,
    used: Box<[u32]>,
}

impl Table {
    pub fn new() -> Table {
        Table { parts: (0..PARTS).map(|_| Box::default()).collect(), used: vec![0; PARTS].into() }
    }

    pub fn bytes(&self) -> usize {
        let parts: usize = self.parts.iter().map(|part| size_of_val(&**part)).sum();
        parts + size_of_val(&*self.parts) + size_of_val(&*self.used)
    }

    /// The link of this hash that is meant.
    pub fn find(&self, hash: u64, is_meant: impl Fn(u32) -> bool) -> Option<u32> {
        self.search(hash, is_meant).map(|(_, link)| link)
    }

    /// Adds a link that is not there, at most [`LINK_MAX`]; `hash_of` knows the hashes of all.
    pub fn add(&mut self, hash: u64, link: u32, hash_of: impl Fn(u32) -> u64) {
        let part = part_of(hash);
        let places = self.parts[part].len();
        // Seven places of eight have a link at most.
        if (self.used[part] as usize + 1) * 8 > places * 7 {
            let grown = vec![NONE; places + (places / 8).max(PLACES_MIN)];
            let old = std::mem::replace(&mut self.parts[part], grown.into());
            for link in old.into_iter().map(link_of).filter(|&link| link != NONE) {
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
        let count = places.len();
        let mut at = gap;
        loop {
            at = next(at, count);
            let place = places[at];
            if place == NONE {
                break;
            }
            let home = home_of(hash_of(link_of(place)), count);
            let from_home = |at: usize| if at >= home { at - home } else { at + count - home };
            if from_home(gap) < from_home(at) {
                places[gap] = place;
                gap = at;
            }
        }
        places[gap] = NONE;
    }

    fn search(&self, hash: u64, is_meant: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let places = &self.parts[part_of(hash)];
        let mark = mark_of(hash);
        let home = home_of(hash, places.len());
        let (front, back) = places.split_at(home);
        // A part is never full: the search ends at a place that is empty.
        for (places, first) in [(back, home), (front, 0)] {
            for (at, &place) in places.iter().enumerate() {
                if place == NONE {
                    return None;
                }
                if place & !LINK_MAX == mark && is_meant(link_of(place)) {
                    return Some((first + at, link_of(place)));
                }
            }
        }
        None
    }
}

fn part_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

/// Where a search begins, in a part of so many places.
fn home_of(hash: u64, places: usize) -> usize {
    ((u64::from((hash >> 24) as u32) * places as u64) >> 32) as usize
}

/// The bits of a hash that stand above a link: hardly any part is so large that they say where.
fn mark_of(hash: u64) -> u32 {
    hash as u32 & !LINK_MAX
}

fn link_of(place: u32) -> u32 {
    place & LINK_MAX
}

fn next(at: usize, places: usize) -> usize {
    if at + 1 == places { 0 } else { at + 1 }
}

fn put(places: &mut [u32], hash: u64, link: u32) {
    let mut at = home_of(hash, places.len());
    while places[at] != NONE {
        at = next(at, places.len());
    }
    places[at] = mark_of(hash) | link;
}
