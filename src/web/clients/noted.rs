//! Clients that have changed since somebody looked, a bit for each: what is where is read when it
//! is wanted. A client that reports ten times between two questions is read once, and one that
//! nobody asks about is not read at all.
//!
//! ```text
//!   who ──▶ block 0   0100 0000 0010 …   ┐
//!           block 1   0000 0000 0000 …   ├ 2,048 clients each
//!           block 2   1111 0111 1111 …   ┘
//!           filled    0, 2               blocks that have somebody: no others are looked at
//! ```
//!
//! A million clients take 125 kB, so a note stays in a processor's own cache. They are taken a
//! block at a time: who reads all of a million need not do so in one turn.

use super::Who;

/// Clients of a block.
pub const BLOCK: usize = 2_048;
const WORD: usize = u64::BITS as usize;

#[derive(Clone)]
struct Block {
    words: [u64; BLOCK / WORD],
    /// It is among those that are filled.
    is_filled: bool,
}

const EMPTY: Block = Block { words: [0; BLOCK / WORD], is_filled: false };

#[derive(Default)]
pub struct Noted {
    blocks: Vec<Block>,
    filled: Vec<u32>,
}

impl Noted {
    pub fn is_empty(&self) -> bool {
        self.filled.is_empty()
    }

    /// Memory that it takes.
    pub fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>() + self.filled.capacity() * size_of::<u32>()
    }

    /// Notes a client.
    #[inline]
    pub fn add(&mut self, who: Who) {
        let (at, bit) = (who as usize / BLOCK, who as usize % BLOCK);
        if at >= self.blocks.len() {
            self.blocks.resize(at + 1, EMPTY);
        }
        let block = &mut self.blocks[at];
        block.words[bit / WORD] |= 1 << (bit % WORD);
        if !block.is_filled {
            block.is_filled = true;
            self.filled.push(at as u32);
        }
    }

    /// A client is gone, and its number may become another's.
    pub fn forget(&mut self, who: Who) {
        let bit = who as usize % BLOCK;
        if let Some(block) = self.blocks.get_mut(who as usize / BLOCK) {
            block.words[bit / WORD] &= !(1 << (bit % WORD));
        }
    }

    /// Those of one block, who are not noted any more then: [`BLOCK`] at most. `None` if that was
    /// all.
    pub fn take_some(&mut self) -> Option<Vec<Who>> {
        let at = self.filled.pop()?;
        let block = &mut self.blocks[at as usize];
        block.is_filled = false;
        let count: u32 = block.words.iter().map(|word| word.count_ones()).sum();
        let mut some = Vec::with_capacity(count as usize);
        for (word, first) in block.words.iter_mut().zip((at * BLOCK as u32..).step_by(WORD)) {
            while *word > 0 {
                some.push(first + word.trailing_zeros());
                *word &= *word - 1;
            }
        }
        Some(some)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Goal: each that is noted is given once, and who is gone or was not noted is not. Method: few
    /// and many clients, beside a set.
    #[test]
    fn who_is_noted_is_given_back() {
        let mut random = fastrand::Rng::with_seed(5);
        for clients in [1, 1_000, 20_000] {
            let (mut noted, mut model) = (Noted::default(), BTreeSet::new());
            for step in 0..100_000 {
                let who = random.u32(..clients);
                if step % 5 == 0 {
                    noted.forget(who);
                    model.remove(&who);
                } else {
                    noted.add(who);
                    model.insert(who);
                }
                if step % 1_000 == 0 {
                    let some = noted.take_some().unwrap_or_default();
                    assert!(some.len() <= BLOCK && some.iter().all(|who| model.remove(who)));
                }
            }
            let mut rest = Vec::from_iter(std::iter::from_fn(|| noted.take_some()).flatten());
            rest.sort_unstable();
            assert_eq!(rest, Vec::from_iter(model));
            assert!(noted.is_empty() && noted.take_some().is_none());
        }
    }
}
