//! Runs of decimal digits, eight at a time. Apart because it is a tool of those who read numbers
//! (`wire`, `clock`), and because its arithmetic wants to be looked at alone.
//!
//! In use, every line has three numbers in it, and reading them byte by byte was a quarter of
//! what a line costs. So eight bytes are one word, the first of them the lowest, and one addition
//! or multiplication does something to all of them at once:
//!
//! ```text
//!   "34.06893"   minus '0' in each byte      3  4  *  0  6  8  9  3     * is above 9
//!                plus 0x76 in each byte      .  .  #  .  .  .  .  .     # has its highest bit set
//!                count zero bits from below  two digits
//! ```

/// Bytes that are read together.
const LANES: usize = 8;
const POWERS_OF_TEN: [u64; LANES + 1] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The value of the first digits, and how many those are. Too many are a very large number.
#[inline]
pub fn leading(text: &[u8]) -> (u64, usize) {
    let Some(word) = text.first_chunk() else { return go_on(0, text, 0) };
    match first(lanes(word)) {
        (value, LANES) => go_on(value, text, LANES),
        less => less,
    }
}

/// Which bytes are no digits: a bit for each, the lowest for the first.
#[inline]
pub fn gaps(text: &[u8; 3 * LANES]) -> u32 {
    // Each lane's mark goes to a place of its own in the highest byte.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut gaps = 0;
    for (at, word) in text.as_chunks().0.iter().enumerate() {
        let lanes = lanes(word);
        let marks = (((lanes & every(0x7f)) + every(0x76)) | lanes) & every(0x80);
        gaps |= (((marks >> 7).wrapping_mul(GATHER) >> 56) as u32) << (at * LANES);
    }
    gaps
}

/// `leading`, when the first of the digits have been read.
fn go_on(mut value: u64, text: &[u8], mut count: usize) -> (u64, usize) {
    while let Some(word) = text[count..].first_chunk() {
        let (next, digits) = first(lanes(word));
        value = value.wrapping_mul(POWERS_OF_TEN[digits]).wrapping_add(next);
        count += digits;
        if digits < LANES {
            return (certain(value, &text[..count]), count);
        }
    }
    for &byte in &text[count..] {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(digit.into());
        count += 1;
    }
    (certain(value, &text[..count]), count)
}

/// How many of the first bytes are digits.
#[inline]
pub fn count(text: &[u8]) -> usize {
    let mut count = 0;
    while let Some(word) = text[count..].first_chunk() {
        let digits = run(lanes(word));
        count += digits;
        if digits < LANES {
            return count;
        }
    }
    count + text[count..].iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Whether there is a byte, and each is a digit.
pub fn are_all(text: &[u8]) -> bool {
    !text.is_empty() && count(text) == text.len()
}

/// The value of so many digits, if that is what they are: from a whole word to nineteen.
#[inline(always)]
pub fn all_of<const COUNT: usize>(text: &[u8; COUNT]) -> Option<u64> {
    let (word, rest) = text.split_first_chunk()?;
    let lanes = lanes(word);
    let mut all_digits = marks(lanes) == 0;
    let mut value = value_of(lanes);
    for &byte in rest {
        let digit = byte.wrapping_sub(b'0');
        all_digits &= digit <= 9;
        value = value.wrapping_mul(10).wrapping_add(digit.into());
    }
    all_digits.then_some(value)
}

/// Nineteen digits always fit. More may all the same, if the first are zeros.
#[inline]
fn certain(value: u64, digits: &[u8]) -> u64 {
    if digits.len() <= 19 { value } else { one_by_one(digits) }
}

#[cold]
fn one_by_one(digits: &[u8]) -> u64 {
    let add =
        |value: u64, digit: &u8| value.saturating_mul(10).saturating_add((digit - b'0').into());
    digits.iter().fold(0, add)
}

/// What each byte is more than a zero digit.
#[inline]
fn lanes(word: &[u8; LANES]) -> u64 {
    u64::from_le_bytes(*word) ^ every(b'0')
}

/// How many of the first lanes are digits.
#[inline]
fn run(lanes: u64) -> usize {
    marks(lanes).trailing_zeros() as usize / 8
}

/// Marks the first lane that is no digit, and perhaps others behind it.
#[inline]
fn marks(lanes: u64) -> u64 {
    // A lane above 0x89 carries into the next one, but is marked itself: nobody looks behind it.
    (lanes.wrapping_add(every(0x76)) | lanes) & every(0x80)
}

/// The value of the first digits of a word, and how many those are.
#[inline]
fn first(lanes: u64) -> (u64, usize) {
    match run(lanes) {
        0 => (0, 0),
        // What is no digit goes, and zeros come before the digits instead.
        digits => (value_of(lanes << (8 * (LANES - digits))), digits),
    }
}

/// Neighbours become one number, three times: ones to tens, to thousands, to all eight digits.
#[inline]
fn value_of(lanes: u64) -> u64 {
    let pairs = (lanes.wrapping_mul(10).wrapping_add(lanes >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs.wrapping_mul(100).wrapping_add(pairs >> 16)) & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000).wrapping_add(fours >> 32)) & 0xffff_ffff
}

/// The last eight digits of a number, zeros and all: the three steps of `value_of`, backwards. To
/// divide by a hundred and by ten is a multiplication and a shift, for all at once.
#[inline]
pub fn eight_of(number: u32) -> [u8; LANES] {
    let number = u64::from(number);
    let fours = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((fours * 5_243) >> 19) & 0x0000_007f_0000_007f;
    let pairs = hundreds | ((fours - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    (tens | ((pairs - tens * 10) << 8) | every(b'0')).to_le_bytes()
}

/// All nine digits of a number that has no more, likewise.
#[inline]
pub fn nine_of(number: u32) -> [u8; LANES + 1] {
    const EIGHT_DIGITS: u32 = POWERS_OF_TEN[LANES] as u32;
    let [a, b, c, d, e, f, g, h] = eight_of(number % EIGHT_DIGITS);
    [b'0' + (number / EIGHT_DIGITS) as u8, a, b, c, d, e, f, g, h]
}

/// A word of which each byte is this one.
pub const fn every(byte: u8) -> u64 {
    u64::from_le_bytes([byte; LANES])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(text: &[u8]) -> (u64, usize) {
        let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        (one_by_one(&text[..count]), count)
    }

    fn check(text: &[u8]) {
        assert_eq!(leading(text), expected(text), "{text:?}");
        assert_eq!(count(text), expected(text).1, "{text:?}");
        if let Ok(ten) = <&[u8; 10]>::try_from(text) {
            let (value, digits) = expected(text);
            assert_eq!(all_of(ten), (digits == 10).then_some(value), "{text:?}");
        }
    }

    #[test]
    fn every_byte_ends_a_run_unless_it_is_a_digit() {
        for length in 0..20 {
            for byte in 0..=u8::MAX {
                for at in 0..length {
                    let mut text = b"98765432109876543210"[..length].to_vec();
                    text[at] = byte;
                    check(&text);
                }
            }
        }
    }

    #[test]
    fn too_many_are_a_very_large_number() {
        let check = |text: &str, value: u64| {
            assert_eq!(leading(text.as_bytes()), (value, text.len()), "{text}");
        };
        check("18446744073709551615", u64::MAX);
        check("18446744073709551616", u64::MAX);
        check(&("0".repeat(40) + "90"), 90);
        check(&"9".repeat(40), u64::MAX);
    }

    /// Method: the same random words, byte by byte.
    #[test]
    fn gaps_are_what_is_no_digit() {
        let mut random = fastrand::Rng::with_seed(8);
        for _ in 0..100_000 {
            let text = [(); 24].map(|()| match random.u8(..4) {
                0 => random.u8(..),
                1 => b"/:+-. \0\xff\xb0\x7f"[random.usize(..10)],
                _ => random.u8(b'0'..=b'9'),
            });
            let gap = |(at, byte): (usize, &u8)| u32::from(!byte.is_ascii_digit()) << at;
            assert_eq!(gaps(&text), text.iter().enumerate().map(gap).sum(), "{text:?}");
        }
    }

    #[test]
    fn eight_digits_are_spelled_as_they_are_read() {
        let mut random = fastrand::Rng::with_seed(6);
        let limits = [0, 1, 9, 10, 99, 100, 9_999, 10_000, 10_001, 99_999_999];
        let any = std::iter::repeat_with(|| random.u32(..100_000_000)).take(100_000);
        for number in limits.into_iter().chain(0..20_000).chain(any) {
            assert_eq!(eight_of(number), format!("{number:08}").as_bytes());
        }
    }

    /// Method: words of random bytes, half of them digits, so that carries meet every neighbour.
    #[test]
    fn agrees_with_one_by_one() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..100_000 {
            let length = random.usize(0..24);
            let byte = |random: &mut fastrand::Rng| {
                if random.bool() { random.u8(b'0'..=b'9') } else { random.u8(..) }
            };
            let text: Vec<u8> = (0..length).map(|_| byte(&mut random)).collect();
            check(&text);
        }
    }
}
