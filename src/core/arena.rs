//! Where the records lie: a few large chunks of memory, cut into steps of four bytes. Apart
//! from the store because it knows only sizes and texts, not hashes or ages.
//!
//! In use, a client's next report is nearly always as long as its last, give or take a few
//! digits, so most updates overwrite their record in place. One that does not fit moves, and its
//! place goes to a list of free places of that size. A heap allocation per client would cost
//! sixteen bytes more each and a cache miss to find its length.
//!
//! ```text
//!   a record                                 a free place
//!   ┌────────┬────────┬────────┬──────────┐  ┌────────┬───────────
//!   │ length │ client │ client │ text …   │  │ next free of this
//!   │  u16   │ at u16 │ len u16│ (length) │  │ size  u32
//!   └────────┴────────┴────────┴──────────┘  └────────┴───────────
//! ```
//!
//! invariant: no record crosses the end of its chunk

use std::hint::black_box;
use std::num::NonZeroU32;
use std::ops::Range;

/// One step: places begin and end at its multiples.
const STEP: usize = 4;
/// Large enough that the unused end of a chunk is nothing, small enough to be had at once.
const CHUNK_BYTES: usize = 1 << 20;
const HEADER_BYTES: usize = 6;

/// A place in the arena: its number of steps from the start, counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecordRef(NonZeroU32);

pub struct Arena {
    chunks: Vec<Box<[u8]>>,
    /// Bytes of the last chunk that were ever given out.
    used: usize,
    /// The first free place of each size, in steps.
    free: Vec<Option<RecordRef>>,
}

impl Arena {
    /// Texts beyond this do not fit; the limits on lines keep below it.
    pub const TEXT_BYTES_MAX: usize = u16::MAX as usize;

    pub fn new() -> Arena {
        Arena { chunks: Vec::new(), used: CHUNK_BYTES, free: Vec::new() }
    }

    /// Keeps what `Report::write_fields` has put together; in it, `client` is the client's id.
    pub fn add(&mut self, text: &[u8], client: Range<usize>) -> RecordRef {
        let place = self.allocate(steps(text.len()));
        self.write(place, text, client);
        place
    }

    /// Puts another text in the place of an old one, or in a new place if it is of another size.
    pub fn replace(&mut self, old: RecordRef, text: &[u8], client: Range<usize>) -> RecordRef {
        let (had, needs) = (steps(self.text(old).len()), steps(text.len()));
        let place = if had == needs {
            old
        } else {
            self.release(old, had);
            self.allocate(needs)
        };
        self.write(place, text, client);
        place
    }

    /// Gives back the place of a record that nobody needs any more.
    pub fn remove(&mut self, record: RecordRef) {
        self.release(record, steps(self.text(record).len()));
    }

    /// Has most of a record brought into the cache: two lines of it. The processor brings their
    /// neighbours by itself; to ask for a third has gained nothing.
    pub fn fetch_ahead(&self, record: RecordRef) {
        const CACHE_LINE: usize = 64;
        let bytes = self.at(record);
        black_box((bytes[0], bytes.get(CACHE_LINE)));
    }

    /// The five fields of the report, as `Report::write_fields` spells them.
    pub fn text(&self, record: RecordRef) -> &[u8] {
        self.parts(record).0
    }

    /// The client's id, without a look at the other fields.
    pub fn client(&self, record: RecordRef) -> &[u8] {
        let (text, client) = self.parts(record);
        &text[client]
    }

    /// The five fields, and where the client's id is in them.
    pub fn parts(&self, record: RecordRef) -> (&[u8], Range<usize>) {
        let bytes = self.at(record);
        let start = number(bytes, 2);
        (&bytes[HEADER_BYTES..][..number(bytes, 0)], start..start + number(bytes, 4))
    }

    fn at(&self, place: RecordRef) -> &[u8] {
        let (chunk, offset) = locate(place);
        &self.chunks[chunk][offset..]
    }

    fn at_mut(&mut self, place: RecordRef) -> &mut [u8] {
        let (chunk, offset) = locate(place);
        &mut self.chunks[chunk][offset..]
    }

    fn write(&mut self, place: RecordRef, text: &[u8], client: Range<usize>) {
        let header = [text.len(), client.start, client.len()].map(|number| {
            u16::try_from(number).expect("limits keep lines below TEXT_BYTES_MAX").to_le_bytes()
        });
        let (header_place, rest) = self.at_mut(place).split_at_mut(HEADER_BYTES);
        header_place.copy_from_slice(header.as_flattened());
        rest[..text.len()].copy_from_slice(text);
    }

    fn allocate(&mut self, steps: usize) -> RecordRef {
        if let Some(place) = self.free.get(steps).copied().flatten() {
            self.free[steps] = next_free(self.at(place));
            return place;
        }
        let bytes = steps * STEP;
        if self.used + bytes > CHUNK_BYTES {
            self.chunks.push(vec![0; CHUNK_BYTES].into_boxed_slice());
            self.used = 0;
        }
        let start = (self.chunks.len() - 1) * CHUNK_BYTES + self.used;
        self.used += bytes;
        let number = u32::try_from(start / STEP + 1).expect("clients_max keeps the arena small");
        RecordRef(NonZeroU32::new(number).expect("one was added"))
    }

    fn release(&mut self, place: RecordRef, steps: usize) {
        if self.free.len() <= steps {
            self.free.resize(steps + 1, None);
        }
        let next = self.free[steps].replace(place).map_or(0, |next| next.0.get());
        self.at_mut(place)[..4].copy_from_slice(&next.to_le_bytes());
    }

    /// What the chunks take of the memory.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.chunks.len() * CHUNK_BYTES
    }

    /// Every place is either one of `used` or free, and no two overlap.
    pub fn check_invariants(&self, used: &[RecordRef]) {
        let mut places: Vec<(RecordRef, usize)> =
            used.iter().map(|&record| (record, steps(self.text(record).len()))).collect();
        for (steps, &head) in self.free.iter().enumerate() {
            let mut next = head;
            while let Some(place) = next {
                places.push((place, steps));
                next = next_free(self.at(place));
            }
        }
        places.sort();
        for pair in places.windows(2) {
            let end = pair[0].0.0.get() + pair[0].1 as u32;
            let chunk_steps = (CHUNK_BYTES / STEP) as u32;
            let same_chunk = (end - 2) / chunk_steps == (pair[1].0.0.get() - 1) / chunk_steps;
            assert!(end <= pair[1].0.0.get(), "places do not overlap");
            assert!(!same_chunk || end == pair[1].0.0.get(), "no place is lost");
        }
    }
}

/// The size of the place for a text. Above 32 steps, only every so many are a size: at most a
/// sixteenth of the place is unused, and whoever makes its reports ever longer leaves behind places
/// of a few sizes, not of a thousand.
fn steps(text_bytes: usize) -> usize {
    let steps = (HEADER_BYTES + text_bytes).div_ceil(STEP);
    steps.next_multiple_of((steps.next_power_of_two() / 32).max(1))
}

fn locate(place: RecordRef) -> (usize, usize) {
    let start = (place.0.get() as usize - 1) * STEP;
    (start / CHUNK_BYTES, start % CHUNK_BYTES)
}

fn number(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes([bytes[at], bytes[at + 1]]).into()
}

fn next_free(bytes: &[u8]) -> Option<RecordRef> {
    NonZeroU32::new(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).map(RecordRef)
}
