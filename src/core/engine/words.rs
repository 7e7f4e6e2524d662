//! What servers of a herd whose clients are divided say to each other beside what peers say: which
//! part is how far. It is a tool, bytes in and numbers out; what is done about it is in `divided`.
//!
//! ```text
//!   TOLD <part> <number> …       the number of our last batch to each of these
//!   OWN? <part> …                send me what you have of these: a batch of yours did not come
//!   PARTS? <part> <hash>[+] …    the digests of what we both hold; tell me yours
//!   PARTS <part> <hash>[+] …     these are ours; `+`: all has come that others have told
//!   HOLDS <part> …               we hold these, whatever your file says
//!   TAKE? <part> …               so do we still, and you are to have them: say when you do
//!   TAKEN                        nothing is missing of what you hold of them
//!   AGAIN <number>               instead of EVEN: not all that was found has found room
//! ```
//!
//! The last is said in every herd on an engine.

use crate::parts::Part;
use crate::store::digest::Hash;
use crate::wire::peer_command::{from_hex, write_hex};

/// One of these lines. What follows its first word is read later, as far as it is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    Told(Operands<'a>),
    OwnAsked(Operands<'a>),
    DigestsAsked(Operands<'a>),
    Digests(Operands<'a>),
    Holds(Operands<'a>),
    TakeAsked(Operands<'a>),
    Taken,
}

/// The words behind the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operands<'a>(&'a [u8]);

/// The digest of a part, and whether its sender has all of it that was told.
pub(super) type PartDigest = (Part, Hash, bool);

impl<'a> Word<'a> {
    pub fn parse(line: &'a [u8]) -> Option<Word<'a>> {
        let end = memchr::memchr(b' ', line).unwrap_or(line.len());
        let operands = Operands(&line[end..]);
        match &line[..end] {
            b"TOLD" => Some(Word::Told(operands)),
            b"OWN?" => Some(Word::OwnAsked(operands)),
            b"PARTS?" => Some(Word::DigestsAsked(operands)),
            b"PARTS" => Some(Word::Digests(operands)),
            b"HOLDS" => Some(Word::Holds(operands)),
            b"TAKE?" => Some(Word::TakeAsked(operands)),
            b"TAKEN" => Some(Word::Taken),
            _ => None,
        }
    }
}

impl<'a> Operands<'a> {
    fn words(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
    }

    pub fn parts(self) -> impl Iterator<Item = Part> + use<'a> {
        self.words().map_while(|word| number(word)?.try_into().ok())
    }

    /// Parts and the numbers of batches.
    pub fn numbers(self) -> impl Iterator<Item = (Part, u64)> + use<'a> {
        let mut words = self.words();
        std::iter::from_fn(move || {
            Some((number(words.next()?)?.try_into().ok()?, number(words.next()?)?))
        })
    }

    pub fn digests(self) -> impl Iterator<Item = PartDigest> + use<'a> {
        let mut words = self.words();
        std::iter::from_fn(move || {
            let (part, hash) = (number(words.next()?)?.try_into().ok()?, words.next()?);
            let (hash, is_complete) = match hash.strip_suffix(b"+") {
                Some(hash) => (hash, true),
                None => (hash, false),
            };
            Some((part, Hash::from_be_bytes(from_hex(hash)?), is_complete))
        })
    }
}

/// The number of a question of which the answer has found no room.
pub(super) fn parse_again(line: &[u8]) -> Option<u64> {
    number(line.strip_prefix(b"AGAIN ")?)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Writes one of the lines that have numbers only, without a newline.
pub(super) fn write_numbers(first: &[u8], numbers: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(first);
    for number in numbers {
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// Writes `PARTS?` or `PARTS`, without a newline.
pub(super) fn write_digests(
    first: &[u8],
    digests: impl Iterator<Item = PartDigest>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(first);
    for (part, hash, is_complete) in digests {
        write_numbers(b"", [u64::from(part)].into_iter(), out);
        out.push(b' ');
        write_hex(&hash.to_be_bytes(), out);
        if is_complete {
            out.push(b'+');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROTOCOL 15.9, 15.10.
    #[test]
    fn lines_are_read_as_they_are_written() {
        let mut line = Vec::new();
        write_numbers(b"TOLD", [3, 17, 1_023, u64::MAX].into_iter(), &mut line);
        assert_eq!(line, b"TOLD 3 17 1023 18446744073709551615");
        let Some(Word::Told(told)) = Word::parse(&line) else { panic!("{line:?}") };
        assert_eq!(Vec::from_iter(told.numbers()), [(3, 17), (1_023, u64::MAX)]);
        let digests = [(3, 0xabcd, true), (31, u64::MAX, false)];
        for (first, is_question) in [(&b"PARTS?"[..], true), (b"PARTS", false)] {
            line.clear();
            write_digests(first, digests.into_iter(), &mut line);
            let heard = match Word::parse(&line) {
                Some(Word::DigestsAsked(heard)) if is_question => heard,
                Some(Word::Digests(heard)) if !is_question => heard,
                other => panic!("{other:?}"),
            };
            assert_eq!(Vec::from_iter(heard.digests()), digests);
        }
        assert_eq!(line, b"PARTS 3 000000000000abcd+ 31 ffffffffffffffff");
    }

    #[test]
    fn what_is_wrong_is_not_read() {
        for line in ["", "TOLDS 1 2", "AT A +1 c +1-1 1", "EVEN? 1", "parts 1"] {
            assert_eq!(Word::parse(line.as_bytes()), None, "{line}");
        }
        let operands = |text| Operands(text);
        assert_eq!(Vec::from_iter(operands(b" 1 2 3").numbers()), [(1, 2)]);
        assert_eq!(Vec::from_iter(operands(b" 1 -2 3 4").numbers()), []);
        assert_eq!(Vec::from_iter(operands(b" 1 70000 2").parts()), [1]);
        assert_eq!(Vec::from_iter(operands(b" 1 00ff+ 2").digests()), []);
        assert_eq!(operands(b"").parts().count(), 0);
    }
}
