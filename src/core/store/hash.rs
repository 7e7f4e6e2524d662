//! A hash with a key, for texts that strangers choose: client ids, and reports. Apart because it
//! is a tool: its arithmetic wants to be looked at alone, and it knows nothing of what it hashes.
//!
//! A text is cut into blocks of sixteen bytes, two numbers each. To each number a part of the key
//! is added, and the two are multiplied; the products are added up, which is NH, the inner hash of
//! UMAC. What is left over at the end is the last sixteen bytes of the text, some of them once
//! more: together with the length, they say as much. The sum is a coefficient of a polynomial, as
//! the length is, and its value is mixed.
//!
//! ```text
//!   Hill +0.263873386 kiwi.cs.ucla.edu +34…      sum = (a+k₀)·(b+k₁) + (c+k₂)·(d+k₃) + …  mod 2¹²⁸
//!   └──a───┴───b────┘└──c───┴───d────┘           length·r + sum  mod 2⁶¹−1  ──▶ mixed, 64 bits
//! ```
//!
//! Two texts, whichever they are, have the same hash with one of 2⁵⁷ keys, or with one more for
//! each 128 bytes: that much is proven, for keys that nobody knows. It is not proven that no four
//! or more hashes cancel each other out; the mixing, which is not linear, is there against that.
//! A reader of hashes can find the key: none is ever shown (`line_mac`).

/// Two numbers.
const BLOCK: usize = 16;
/// Blocks that have keys of their own. Nearly every report is shorter than so many; a longer one
/// is several groups of them, each a coefficient.
const BLOCKS: usize = 8;
const GROUP: usize = BLOCK * BLOCKS;
/// The prime that sums are reduced by: dividing by it is a shift and an addition.
const PRIME: u64 = (1 << 61) - 1;

type Key = [u64; 2];

pub struct Hasher {
    blocks: [Key; BLOCKS],
    /// For the last sixteen bytes.
    last: Key,
    /// What the upper half of a sum is multiplied with, and where the polynomial is evaluated.
    /// Both are below 2⁵⁹, so that nothing overflows.
    upper: u64,
    at: u64,
}

impl Hasher {
    pub fn new((one, other): (u64, u64)) -> Hasher {
        // The golden ratio: numbers that are far apart, to be mixed.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut at = 0u64;
        let mut next = || {
            at = at.wrapping_add(STEP);
            mix(one.wrapping_add(at)) ^ mix(mix(other ^ at))
        };
        let mut key = || [next(), next()];
        let (blocks, last) = ([(); BLOCKS].map(|()| key()), key());
        Hasher { blocks, last, upper: next() >> 5, at: next() >> 5 }
    }

    /// Inlined wherever it is called: to hand over a text costs a third of hashing a short one.
    #[inline(always)]
    pub fn hash(&self, text: &[u8]) -> u64 {
        match text.last_chunk() {
            Some(last) if text.len() < GROUP => self.finish(text.len() as u64, text, last),
            _ => self.hash_unusual(text),
        }
    }

    /// The hashes with two keys. Side by side, so that the text is read once for both.
    #[inline(always)]
    pub fn hash_both(&self, other: &Hasher, text: &[u8]) -> (u64, u64) {
        let Some(last) = text.last_chunk().filter(|_| text.len() < GROUP) else {
            return (self.hash_unusual(text), other.hash_unusual(text));
        };
        let (mut one_sum, mut other_sum) = (product(last, &self.last), product(last, &other.last));
        for ((block, one), other) in text.as_chunks().0.iter().zip(&self.blocks).zip(&other.blocks)
        {
            one_sum = one_sum.wrapping_add(product(block, one));
            other_sum = other_sum.wrapping_add(product(block, other));
        }
        let length = text.len() as u64;
        (mix(self.evaluate(length, one_sum)), mix(other.evaluate(length, other_sum)))
    }

    /// The hash of any text. Most are neither shorter than a block nor longer than a group.
    #[inline(never)]
    fn hash_unusual(&self, text: &[u8]) -> u64 {
        let mut padded = [0; BLOCK];
        let last = text.last_chunk().unwrap_or_else(|| {
            padded[..text.len()].copy_from_slice(text);
            &padded
        });
        let (mut value, mut rest) = (text.len() as u64, text);
        while let Some((group, behind)) = rest.split_at_checked(GROUP) {
            value = self.evaluate(value, self.sum(group));
            rest = behind;
        }
        self.finish(value, rest, last)
    }

    #[inline(always)]
    fn finish(&self, value: u64, rest: &[u8], last: &[u8; BLOCK]) -> u64 {
        mix(self.evaluate(value, self.sum(rest).wrapping_add(product(last, &self.last))))
    }

    /// The products of whole blocks, one group at most.
    #[inline(always)]
    fn sum(&self, text: &[u8]) -> u128 {
        let (blocks, _) = text.as_chunks();
        let mut sum = 0u128;
        for (block, key) in blocks.iter().zip(&self.blocks) {
            sum = sum.wrapping_add(product(block, key));
        }
        sum
    }

    /// The polynomial's value with one coefficient more, by the prime; of hardly more than 61 bits.
    #[inline]
    fn evaluate(&self, value: u64, sum: u128) -> u64 {
        let value =
            wide(value, self.at) + wide((sum >> 64) as u64, self.upper) + (sum as u64) as u128;
        (value as u64 & PRIME) + (value >> 61) as u64
    }
}

#[inline]
fn wide(one: u64, other: u64) -> u128 {
    u128::from(one) * u128::from(other)
}

#[inline]
fn product(block: &[u8; BLOCK], key: &Key) -> u128 {
    let halves = u128::from_le_bytes(*block);
    let (one, other) = (halves as u64, (halves >> 64) as u64);
    wide(one.wrapping_add(key[0]), other.wrapping_add(key[1]))
}

/// Every bit of a number has its part in every bit of what comes of it, and none is lost.
#[inline]
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LENGTHS: [usize; 17] =
        [0, 1, 7, 8, 15, 16, 17, 31, 32, 94, 127, 128, 129, 144, 255, 256, 1_000];

    #[test]
    fn every_bit_and_the_length_matter() {
        let hasher = Hasher::new((1, 2));
        let mut seen = BTreeSet::new();
        let mut texts = 0;
        for length in LENGTHS {
            let mut text = vec![0; length];
            for bit in 0..8 * length {
                text[bit / 8] ^= 1 << (bit % 8);
                seen.insert(hasher.hash(&text));
                text[bit / 8] ^= 1 << (bit % 8);
            }
            seen.insert(hasher.hash(&text));
            texts += 8 * length + 1;
        }
        assert_eq!(seen.len(), texts);
    }

    #[test]
    fn usual_texts_are_hashed_like_others() {
        let (hasher, other) = (Hasher::new((3, 4)), Hasher::new((4, 3)));
        let text: Vec<u8> = (0..600).map(|at| (at * 7 + at / 256) as u8).collect();
        for length in 0..text.len() {
            let text = &text[..length];
            let expected = (hasher.hash_unusual(text), other.hash_unusual(text));
            assert_eq!((hasher.hash(text), other.hash(text)), expected);
            assert_eq!(hasher.hash_both(&other, text), expected);
        }
    }

    /// Goal: servers on machines of any kind come to the same digests. PROTOCOL 10.10.
    #[test]
    fn hashes_are_the_same_everywhere() {
        let hash = |seed, text: &str| Hasher::new(seed).hash(text.as_bytes());
        assert_eq!(hash((1, 2), ""), 0x8bb0_6f9f_4d55_994a);
        assert_eq!(hash((1, 2), "Hill"), 0x18da_3993_e0f7_bd23);
        assert_eq!(hash((1, 2), "Hill +0 x +1-1 0"), 0x26e5_c224_b063_c0a5);
        assert_eq!(hash((3, 2), "Hill +0 x +1-1 0"), 0x2735_d4ee_ce05_19bd);
        assert_eq!(hash((1, 2), &"x".repeat(300)), 0xc431_697c_24c6_4747);
    }

    /// Method: the rule as it is written down, step by step.
    #[test]
    fn a_value_is_the_polynomial_by_the_prime() {
        let prime = u128::from(PRIME);
        let times = |one: u128, other: u64| one % prime * (u128::from(other) % prime) % prime;
        let mut random = fastrand::Rng::with_seed(9);
        let hasher = Hasher::new((5, 6));
        let largest = hasher.evaluate(u64::MAX, u128::MAX);
        for (value, sum) in
            (0..10_000).map(|_| (random.u64(..=largest), random.u128(..) >> random.u32(0..128)))
        {
            let found = u128::from(hasher.evaluate(value, sum)) % prime;
            let coefficient = times(sum >> 64, hasher.upper) + (sum & u128::from(u64::MAX));
            let expected = (times(value.into(), hasher.at) + coefficient) % prime;
            assert_eq!(found, expected, "{value} {sum}");
        }
    }

    /// Goal: clients spread evenly over leaves, and nothing is left of a pattern in their ids.
    #[test]
    fn neighbours_are_spread_like_strangers() {
        const BINS: usize = 1 << 14;
        let hasher = Hasher::new((7, 8));
        for spell in [|n: u32| format!("client-{n:06}.example.org"), |n: u32| n.to_string()] {
            let mut bins = [vec![0u32; BINS], vec![0; BINS]];
            for number in 0..32 * BINS as u32 {
                let hash = hasher.hash(spell(number).as_bytes());
                bins[0][(hash >> 50) as usize] += 1;
                bins[1][(hash % BINS as u64) as usize] += 1;
            }
            for bins in bins {
                let distance = |&bin: &u32| (f64::from(bin) - 32.0).powi(2) / 32.0;
                let chi_square: f64 = bins.iter().map(distance).sum();
                // Its mean is the number of bins, and its deviation 181.
                assert!((chi_square - BINS as f64).abs() < 6.0 * 181.0, "{chi_square}");
            }
        }
    }

    /// Goal: no four reports that differ in two places cancel each other out.
    #[test]
    fn corners_of_a_square_do_not_cancel_out() {
        let hasher = Hasher::new((9, 10));
        for at in 0..10_000 {
            let [a, b, c, d] = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(one, other)| {
                let text = format!("Hill +0.{one} client-{at} +1.{other}-1 1520023934.918963997");
                hasher.hash(text.as_bytes())
            });
            assert_ne!(a ^ b ^ c ^ d, 0);
        }
    }
}
