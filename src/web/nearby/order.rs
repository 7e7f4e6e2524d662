//! Numbers in the order of their cells, in blocks: who is in some cells that follow each other lies
//! side by side. Apart from the grid because it knows neither cells nor points, only a rank of each
//! number, which the caller can calculate.
//!
//! ```text
//!   from rank   ┌─────┬─────┬─────┐
//!               │   0 │ 412 │ 977 │      searched first
//!               └──┬──┴──┬──┴──┬──┘
//!                  ▼     ▼     ▼
//!               ┌─────┐┌─────┐┌─────┐
//!               │ 3 8 ││ 6 1 ││ 2 9 │    up to 255 numbers; a full block becomes two, and two
//!               │ 5   ││     ││ 7 4 │    that have few become one
//!               └─────┘└─────┘└─────┘
//! ```
//!
//! invariant: ranks rise along a block and from block to block, and none is below what its block
//! begins from

use arrayvec::ArrayVec;

const BLOCK: usize = 255;
/// Two neighbours that have no more than this become one.
const MERGED_MAX: usize = 160;
/// Ranges whose ends are searched together: more cache misses than these searches have cannot be
/// under way at a time.
const SEARCHED_TOGETHER: usize = 8;
/// Blocks that are looked at for the end of a range before it is searched among all.
const NEXT_BLOCKS: usize = 4;
/// Empty blocks that are kept for the next that is needed.
const SPARE_MAX: usize = 64;

type Numbers = ArrayVec<u32, BLOCK>;

struct Block {
    from: u64,
    numbers: Box<Numbers>,
}

/// Where a rank is or would be: its block and its place there.
type Place = (usize, usize);

/// From one rank to below another.
pub type Range = (u64, u64);

/// A search in a block: what is left of it, and how many numbers are before that.
struct Search<'a> {
    rank: u64,
    at: usize,
    first: usize,
    numbers: &'a [u32],
}

#[derive(Default)]
pub struct Order {
    blocks: Vec<Block>,
    // Boxed as in a block, where it goes.
    #[allow(clippy::vec_box)]
    spare: Vec<Box<Numbers>>,
    len: usize,
}

impl Order {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> usize {
        let blocks = self.blocks.capacity() * size_of::<Block>();
        let spare = self.spare.capacity() * size_of::<Box<Numbers>>();
        blocks + spare + (self.blocks.len() + self.spare.len()) * size_of::<Numbers>()
    }

    /// Adds a number of this rank, which no other has. Says whether it was not there.
    pub fn add(&mut self, rank: u64, number: u32, rank_of: impl Fn(u32) -> u64) -> bool {
        let (mut at, mut place) = self.place(rank, &rank_of);
        if self.has(rank, (at, place), &rank_of) {
            return false;
        }
        if self.blocks.is_empty() {
            let numbers = self.take_spare();
            self.blocks.push(Block { from: rank, numbers });
        } else if self.blocks[at].numbers.is_full() {
            // One behind all is a sign of more to come in order: what lies before stays full.
            let cut = if place == BLOCK { BLOCK } else { BLOCK / 2 };
            let mut numbers = self.take_spare();
            numbers.extend(self.blocks[at].numbers.drain(cut..));
            let from = numbers.first().map_or(rank, |first| rank_of(*first));
            self.blocks.insert(at + 1, Block { from, numbers });
            if place > cut || place == BLOCK {
                (at, place) = (at + 1, place - cut);
            }
        }
        let block = &mut self.blocks[at];
        block.from = block.from.min(rank);
        block.numbers.insert(place, number);
        self.len += 1;
        true
    }

    /// Takes the number of a rank out. Says whether it was there.
    pub fn remove(&mut self, rank: u64, rank_of: impl Fn(u32) -> u64) -> bool {
        let (at, place) = self.place(rank, &rank_of);
        if !self.has(rank, (at, place), &rank_of) {
            return false;
        }
        self.blocks[at].numbers.remove(place);
        self.len -= 1;
        if !self.merge(at) && at > 0 {
            self.merge(at - 1);
        }
        true
    }

    /// The numbers of the ranks from the first of each pair to below its second, block by block.
    pub fn between<'a>(
        &'a self,
        ranges: &'a [Range],
        rank_of: impl Fn(u32) -> u64 + Copy + 'a,
    ) -> impl Iterator<Item = &'a [u32]> {
        ranges.chunks(SEARCHED_TOGETHER).flat_map(move |ranges| {
            let places = self.places(ranges, rank_of);
            places.into_iter().flat_map(|(first, last)| self.numbers_of(first, last))
        })
    }

    /// The numbers from one place to below another, block by block.
    fn numbers_of(&self, first: Place, last: Place) -> impl Iterator<Item = &[u32]> {
        let blocks = self.blocks.iter().enumerate().take(last.0 + 1).skip(first.0);
        let slices = blocks.map(move |(at, block)| {
            let start = if at == first.0 { first.1 } else { 0 };
            let end = if at == last.0 { last.1 } else { block.numbers.len() };
            &block.numbers[start..end.max(start)]
        });
        slices.filter(|slice| !slice.is_empty())
    }

    /// The place of the first number whose rank is not below this one.
    fn place(&self, rank: u64, rank_of: impl Fn(u32) -> u64) -> Place {
        let at = self.blocks.partition_point(|block| block.from <= rank).saturating_sub(1);
        let Some(block) = self.blocks.get(at) else { return (0, 0) };
        (at, block.numbers.partition_point(|number| rank_of(*number) < rank))
    }

    /// The places of both ends of some ranges. Each step of a search waits for memory, and all of
    /// them wait together.
    fn places(
        &self,
        ranges: &[Range],
        rank_of: impl Fn(u32) -> u64,
    ) -> ArrayVec<(Place, Place), SEARCHED_TOGETHER> {
        let mut searches = ArrayVec::<[Search<'_>; 2], SEARCHED_TOGETHER>::new();
        for &(from, to) in ranges {
            let first = self.blocks.partition_point(|block| block.from <= from).saturating_sub(1);
            // The end of most is in the same block, or in the next.
            let behind = self.blocks.get(first + 1..).unwrap_or_default();
            let near = behind.iter().take(NEXT_BLOCKS).take_while(|block| block.from <= to).count();
            let last = match near {
                NEXT_BLOCKS => first + behind.partition_point(|block| block.from <= to),
                near => first + near,
            };
            searches.push([(from, first), (to, last)].map(|(rank, at)| {
                let numbers = self.blocks.get(at).map_or(&[][..], |block| &block.numbers);
                Search { rank, at, first: 0, numbers }
            }));
        }
        for _ in 0..=BLOCK.ilog2() {
            // All are read before the first is decided on.
            let ranks = searches.as_flattened().iter().map(|search| {
                let middle = search.numbers.get(search.numbers.len() / 2);
                middle.map(|number| rank_of(*number))
            });
            let ranks = ArrayVec::<_, { 2 * SEARCHED_TOGETHER }>::from_iter(ranks);
            for (search, rank) in searches.as_flattened_mut().iter_mut().zip(ranks) {
                let Some(rank) = rank else { continue };
                let middle = search.numbers.len() / 2;
                if rank < search.rank {
                    search.first += middle + 1;
                    search.numbers = &search.numbers[middle + 1..];
                } else {
                    search.numbers = &search.numbers[..middle];
                }
            }
        }
        let places = searches.into_iter().map(|both| both.map(|it| (it.at, it.first)).into());
        places.collect()
    }

    fn has(&self, rank: u64, (at, place): Place, rank_of: impl Fn(u32) -> u64) -> bool {
        let number = self.blocks.get(at).and_then(|block| block.numbers.get(place));
        number.is_some_and(|number| rank_of(*number) == rank)
    }

    /// Puts a block and the next one together, if they have few.
    fn merge(&mut self, at: usize) -> bool {
        let [block, next] = match self.blocks.get_mut(at..at + 2) {
            Some([block, next]) => [block, next],
            _ => return false,
        };
        if block.numbers.len() + next.numbers.len() > MERGED_MAX {
            return false;
        }
        block.numbers.extend(next.numbers.drain(..));
        let Block { numbers, .. } = self.blocks.remove(at + 1);
        if self.spare.len() < SPARE_MAX {
            self.spare.push(numbers);
        }
        true
    }

    fn take_spare(&mut self) -> Box<Numbers> {
        self.spare.pop().unwrap_or_default()
    }

    /// What must be true between any two calls; for tests.
    pub fn check_invariants(&self, rank_of: impl Fn(u32) -> u64) {
        let (mut before, mut len) = (None, 0);
        for block in &self.blocks {
            for number in &*block.numbers {
                let rank = rank_of(*number);
                assert!(before < Some(rank) && rank >= block.from, "ranks rise");
                (before, len) = (Some(rank), len + 1);
            }
        }
        assert_eq!(len, self.len);
    }
}
