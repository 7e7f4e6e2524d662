//! Where the records lie: pages of memory, each cut into places of one size. Apart from the store
//! because it knows only sizes and places, neither clients nor ages.
//!
//! In use, a client's next report is nearly always as long as its last, give or take a few
//! digits, so most updates overwrite their record in place. One that does not fit moves to the
//! pages of its size, and the last record of the size that it leaves fills the gap. So all pages
//! of a size are full but the last, and memory is what the records need and one page a size,
//! whatever sizes they have had before. A heap allocation per client would cost sixteen bytes
//! more each and a cache miss to find its length.
//!
//! ```text
//!   a page     ┌────────┬────────┬────────┬────────┬─ ─ ─
//!   of one     │ record │ record │ record │ record │
//!   size       └────────┴────────┴────────┴────────┴─ ─ ─
//!                            ▲                │
//!                removed ────┘ ◀── the last ──┘
//! ```
//!
//! invariant: of each size, all pages but the last are full, and none is empty

use std::hint::black_box;
use std::num::NonZeroU32;

use super::record::Record;

/// One step: sizes of places are its multiples.
const STEP: usize = 2;
/// The place of the longest record; the end of a page that is too short for another place is
/// nothing for the usual ones.
const PAGE_BYTES: usize = 68 * 1024;
const _: () = assert!(steps(Record::BYTES_MAX) * STEP <= PAGE_BYTES);
/// Places in a page at most: the shortest report that there is takes fourteen steps.
const PLACES_MAX: u32 = 1 << 12;
/// Empty pages that are kept for the next that is needed.
const SPARE_MAX: usize = 16;
/// Sizes of places: up to `FINE` steps each is one, above it half as many for each power of two.
const SIZES: usize = FINE + 1 + FINE / 2 * 10;
const FINE: usize = 64;

/// A place in the arena: its page and its number there, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordRef(NonZeroU32);

impl RecordRef {
    fn new(page: usize, place: usize) -> RecordRef {
        let number = page as u64 * u64::from(PLACES_MAX) + place as u64;
        let number = u32::try_from(number).expect("64 GiB of reports are more than a server holds");
        RecordRef::numbered(number)
    }

    pub(crate) fn numbered(number: u32) -> RecordRef {
        RecordRef(NonZeroU32::MIN.saturating_add(number))
    }

    pub(crate) fn number(self) -> u32 {
        self.0.get() - 1
    }

    fn page(self) -> usize {
        (self.number() / PLACES_MAX) as usize
    }

    fn place(self) -> usize {
        (self.number() % PLACES_MAX) as usize
    }
}

/// A record that was moved to fill a gap: what refers to it must refer to its new place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub from: RecordRef,
    pub to: RecordRef,
}

pub struct Arena {
    pages: Vec<Page>,
    sizes: Vec<Size>,
    /// Numbers of pages that are not in use.
    vacant: Vec<usize>,
    spare: Vec<Box<[u8]>>,
}

/// The places of a page lie side by side.
struct Page {
    /// Nothing, if the page is not in use.
    bytes: Box<[u8]>,
    place_bytes: usize,
}

/// All places of one size.
#[derive(Clone, Default)]
struct Size {
    /// Numbers of its pages.
    pages: Vec<usize>,
    records: usize,
}

impl Arena {
    pub fn new() -> Arena {
        let sizes = vec![Size::default(); SIZES];
        Arena { pages: Vec::new(), sizes, vacant: Vec::new(), spare: Vec::new() }
    }

    /// Keeps a record.
    pub fn add(&mut self, record: Record<'_>) -> RecordRef {
        let at = self.allocate(steps(record.bytes()));
        self.overwrite(at, record);
        at
    }

    /// Puts another record in the place of an old one that is as long.
    #[inline(always)]
    pub fn overwrite(&mut self, old: RecordRef, record: Record<'_>) {
        let page = &mut self.pages[old.page()];
        record.write(&mut page.bytes[old.place() * page.place_bytes..]);
    }

    /// Puts another record in the place of an old one, or in a new place if it is of another size.
    pub fn replace(&mut self, old: RecordRef, record: Record<'_>) -> (RecordRef, Option<Moved>) {
        if self.place_bytes(old) == steps(record.bytes()) * STEP {
            self.overwrite(old, record);
            return (old, None);
        }
        // The new place first: nothing of its size has moved when the old one is given back.
        let new = self.add(record);
        (new, self.remove(old))
    }

    /// Gives back the place of a record that is not needed any more; the last of its size fills
    /// the gap.
    pub fn remove(&mut self, record: RecordRef) -> Option<Moved> {
        let place_bytes = self.place_bytes(record);
        let size = &mut self.sizes[size_of_steps(place_bytes / STEP)];
        size.records -= 1;
        let places = PAGE_BYTES / place_bytes;
        let (page, place) = (size.records / places, size.records % places);
        let last = RecordRef::new(size.pages[page], place);
        let last_page = (place == 0).then(|| size.pages.pop().expect("it has the last record"));
        let moved = (last != record).then(|| {
            if last.page() == record.page() {
                let at = place * place_bytes;
                let bytes = &mut self.pages[last.page()].bytes;
                bytes.copy_within(at..at + place_bytes, record.place() * place_bytes);
            } else {
                let [from, to] = self
                    .pages
                    .get_disjoint_mut([last.page(), record.page()])
                    .expect("two pages that exist");
                let to = &mut to.bytes[record.place() * place_bytes..][..place_bytes];
                to.copy_from_slice(&from.bytes[place * place_bytes..][..place_bytes]);
            }
            Moved { from: last, to: record }
        });
        if let Some(page) = last_page {
            let bytes = std::mem::take(&mut self.pages[page].bytes);
            self.vacant.push(page);
            if self.spare.len() < SPARE_MAX {
                self.spare.push(bytes);
            }
        }
        moved
    }

    /// The same, and nothing of the record is left: if no other fills its place, zeros do.
    pub fn wipe(&mut self, record: RecordRef) -> Option<Moved> {
        let page = &mut self.pages[record.page()];
        let at = record.place() * page.place_bytes;
        // The last of its size overwrites it, unless it is that one itself.
        page.bytes[at..at + page.place_bytes].fill(0);
        self.remove(record)
    }

    /// Whether these bytes lie anywhere in it.
    #[cfg(test)]
    pub fn has(&self, bytes: &[u8]) -> bool {
        let pages = self.pages.iter().map(|page| &page.bytes);
        pages.chain(&self.spare).any(|page| memchr::memmem::find(page, bytes).is_some())
    }

    /// Has most of a record brought into the cache: two lines of it. The processor brings their
    /// neighbours by itself; to ask for a third has gained nothing.
    pub fn fetch_ahead(&self, record: RecordRef) {
        const CACHE_LINE: usize = 64;
        let bytes = self.at(record);
        black_box(bytes[0] ^ bytes.get(CACHE_LINE).copied().unwrap_or_default());
    }

    /// The record that lies there.
    #[inline(always)]
    pub fn record(&self, at: RecordRef) -> Record<'_> {
        Record::read(self.at(at))
    }

    /// What the pages take of the memory.
    pub fn bytes(&self) -> usize {
        (self.pages.len() - self.vacant.len() + self.spare.len()) * PAGE_BYTES
    }

    /// Whether a record fits into the place of another one.
    pub fn fits(&self, place: RecordRef, record: Record<'_>) -> bool {
        record.bytes() <= self.place_bytes(place)
    }

    fn place_bytes(&self, record: RecordRef) -> usize {
        self.pages[record.page()].place_bytes
    }

    #[inline]
    fn at(&self, record: RecordRef) -> &[u8] {
        let page = &self.pages[record.page()];
        &page.bytes[record.place() * page.place_bytes..]
    }

    fn allocate(&mut self, steps: usize) -> RecordRef {
        let places = PAGE_BYTES / (steps * STEP);
        let size = size_of_steps(steps);
        let (page, place) = (self.sizes[size].records / places, self.sizes[size].records % places);
        if place == 0 {
            let page = self.take_page(steps * STEP);
            self.sizes[size].pages.push(page);
        }
        self.sizes[size].records += 1;
        RecordRef::new(self.sizes[size].pages[page], place)
    }

    fn take_page(&mut self, place_bytes: usize) -> usize {
        let bytes = self.spare.pop().unwrap_or_else(|| vec![0; PAGE_BYTES].into());
        let page = Page { bytes, place_bytes };
        match self.vacant.pop() {
            Some(number) => {
                self.pages[number] = page;
                number
            }
            None => {
                self.pages.push(page);
                self.pages.len() - 1
            }
        }
    }

    /// `used` are all records, and all pages but the last of each size are full of them.
    pub fn check_invariants(&self, mut used: Vec<RecordRef>) {
        let mut expected = Vec::new();
        for (number, size) in self.sizes.iter().enumerate() {
            let mut left = size.records;
            for &page in &size.pages {
                let place_bytes = self.pages[page].place_bytes;
                assert_eq!(size_of_steps(place_bytes / STEP), number, "pages have one size");
                let places = left.min(PAGE_BYTES / place_bytes);
                assert!(places > 0, "no page is empty");
                expected.extend((0..places).map(|place| RecordRef::new(page, place)));
                left -= places;
            }
            assert_eq!(left, 0, "every record has a page");
        }
        used.sort_unstable();
        expected.sort_unstable();
        assert!(used == expected, "every place is some record's, and no place is two records'");
        for &record in &used {
            let needs = steps(self.record(record).bytes()) * STEP;
            assert_eq!(self.pages[record.page()].place_bytes, needs, "a place of its size");
        }
    }
}

/// The size of the place for a record. Above `FINE` steps only every so many are a size: at most a
/// part in 32 of the place is unused, and there are not many sizes.
const fn steps(record_bytes: usize) -> usize {
    let steps = record_bytes.div_ceil(STEP);
    steps.next_multiple_of(steps.next_power_of_two().div_ceil(FINE))
}

/// The number of a size.
fn size_of_steps(steps: usize) -> usize {
    if steps <= FINE {
        return steps;
    }
    let doublings = ((steps - 1) / FINE).ilog2() as usize;
    let unit = 2 << doublings;
    FINE + FINE / 2 * doublings + steps / unit - FINE / 2
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::clock::PosixTime;

    #[test]
    fn every_length_has_a_size_of_its_own_or_of_its_neighbours() {
        let mut sizes = BTreeMap::new();
        for record_bytes in 1..=Record::BYTES_MAX {
            let steps = steps(record_bytes);
            assert!(steps * STEP >= record_bytes && steps * STEP <= PAGE_BYTES);
            let size = size_of_steps(steps);
            assert_eq!(*sizes.entry(size).or_insert(steps), steps);
        }
        assert!(sizes.keys().all(|&size| size < SIZES), "{:?}", sizes.last_key_value());
        assert!(sizes.values().collect::<BTreeSet<_>>().len() == sizes.len());
        let shortest = Record::new(b"A 0 x +1+1 1", 4..5, PosixTime::default());
        assert!(PAGE_BYTES / (steps(shortest.bytes()) * STEP) <= PLACES_MAX as usize);
    }

    /// Method: an arena and a map, the same random steps; what moved is known by its new place.
    #[test]
    fn agrees_with_a_map() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut arena, mut map) = (Arena::new(), BTreeMap::<RecordRef, Vec<u8>>::new());
        let follow = |map: &mut BTreeMap<_, _>, moved: Option<Moved>| {
            if let Some(Moved { from, to }) = moved {
                let text = map.remove(&from).expect("what moves is there");
                assert!(map.insert(to, text).is_none());
            }
        };
        for _ in 0..20_000 {
            let text = vec![random.u8(..); random.usize(8..200) << random.usize(0..6)];
            let record = Record::new(&text, 0..1, PosixTime::default());
            let any = map.keys().nth(random.usize(0..=map.len())).copied();
            match any {
                Some(at) if random.bool() => {
                    let (new, moved) = arena.replace(at, record);
                    map.remove(&at);
                    follow(&mut map, moved.filter(|moved| moved.from != new));
                    map.insert(new, text);
                }
                Some(at) if map.len() > 300 => {
                    map.remove(&at);
                    follow(&mut map, arena.remove(at));
                }
                _ => {
                    map.insert(arena.add(record), text);
                }
            }
        }
        arena.check_invariants(map.keys().copied().collect());
        assert!(map.iter().all(|(&at, text)| {
            let record = Record::new(text, 0..1, PosixTime::default());
            arena.record(at).is_spelled_like(record)
        }));
        let text_bytes: usize = map.values().map(Vec::len).sum();
        assert!(arena.bytes() <= text_bytes * 5 / 4 + (SIZES + SPARE_MAX) * PAGE_BYTES);
    }
}
