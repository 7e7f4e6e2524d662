//! IAMATs and AT lines as nearly all are spelled: single spaces between fields, decimal degrees.
//! Apart from `command`, which says what any line means: this reads one kind of line in one pass,
//! in which each field ends where the next begins, and nothing is looked for twice.
//!
//! ```text
//!   IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997\n
//!         word ──────────▶│degrees ─▶│degrees ─▶ │time ─────────────▶│ the line's end is found
//! ```
//!
//! In use, four of five instructions that reading a line took were spent on finding out again
//! where its parts are. A line that is not recognised here says nothing: `command` reads it.

use super::command::{Iamat, Report, Spelled, word_length};
use crate::clock::{PosixTime, SpelledTime};
use crate::digits;

const WORD: &[u8] = b"IAMAT ";
/// The bytes from a position on that are looked at: it, and some of the time behind it.
const LOOKED_AT: usize = 24;

/// An IAMAT at the front of these bytes, as a line without its terminator, and how many bytes it
/// is with it. `None`: not recognised, so the line has to be parsed.
///
/// Inlined where the lines of a batch are taken, or each would be copied on its way there.
#[inline(always)]
pub fn iamat(bytes: &[u8]) -> Option<(&[u8], Iamat<'_>, usize)> {
    let operands = bytes.strip_prefix(WORD)?;
    let (client, rest) = word(operands)?;
    let (position, rest) = rest.split_at_checked(position_length(rest)?)?;
    let (time, stamp) = time(rest.get(1..)?)?;

    let operands = &operands[..client.len() + 1 + position.len() + 1 + time.len()];
    let line = &bytes[..WORD.len() + operands.len()];
    let terminator = match &bytes[line.len()..] {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => return None,
    };
    let iamat = Iamat { client, stamp, spelled: Spelled::InOnePiece(operands) };
    Some((line, iamat, line.len() + terminator))
}

/// The report of an AT line, given without its terminator, as servers spell it: single spaces
/// between the fields, a skew with nine decimals, a usual time. What stands behind the first word
/// is then what `Report::write_fields` would write. `None`: not recognised, so the line has to be
/// parsed.
pub fn at(line: &[u8]) -> Option<Report<'_>> {
    let (report, behind) = at_front(line)?;
    behind.is_empty().then_some(report)
}

/// The same of an AT line at the front of these bytes, and what is behind it: where the line has to
/// end.
#[inline(always)]
pub fn at_front(bytes: &[u8]) -> Option<(Report<'_>, &[u8])> {
    let (server, rest) = word(bytes.strip_prefix(b"AT ")?)?;
    let (skew, rest) = word(rest)?;
    let (client, rest) = word(rest)?;
    let (position, rest) = rest.split_at_checked(position_length(rest)?)?;
    let (time, behind) = rest.get(1..)?.split_first_chunk()?;
    let stamp = PosixTime::parse_usual(time)?;
    let time = SpelledTime::InText(time);
    let report = Report { server, skew, client, position, time, stamp };
    is_skew(skew).then_some((report, behind))
}

/// The word at the front of a text, and what is behind the space that ends it.
#[inline(always)]
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    match text.split_at(word_length(text)) {
        (word @ [_, ..], [b' ', rest @ ..]) => Some((word, rest)),
        _ => None,
    }
}

/// Whether a text is a sign, digits, a point and nine digits.
#[inline(always)]
fn is_skew(text: &[u8]) -> bool {
    const FRACTION: usize = PosixTime::FRACTION_DIGITS;
    let Some((whole, fraction)) = text.split_last_chunk::<FRACTION>() else { return false };
    match whole {
        [b'+' | b'-', seconds @ .., b'.'] => {
            is_number(seconds) && digits::all_of(fraction).is_some()
        }
        _ => false,
    }
}

/// Whether there are digits, few of them as a rule, and nothing else.
#[inline(always)]
fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// The bytes of a position in degrees with decimals, and a space behind it, if it is not close to
/// a bound: fewer than 90 degrees, and fewer than 180. Others, and those so long or so short that
/// the bytes looked at do not hold them or are not there, are `command`'s.
#[inline(always)]
fn position_length(text: &[u8]) -> Option<usize> {
    let text = text.first_chunk::<LOOKED_AT>()?;
    let mut gaps = digits::gaps(text);
    let mut next = || {
        let at = (gaps.trailing_zeros() as usize).min(LOOKED_AT - 1);
        gaps &= gaps.wrapping_sub(1);
        at
    };
    // Where there is none any more, the last byte is taken for one, and that is a digit then.
    let [north, point, east, other_point, space] = [next(), next(), next(), next(), next()];
    let is_sign = |at: usize| matches!(text[at], b'+' | b'-');
    let is_spelled = north == 0
        && (text[point], text[other_point], text[space]) == (b'.', b'.', b' ')
        && is_sign(north)
        && is_sign(east)
        && (east - point > 1 && space - other_point > 1);
    if !is_spelled {
        return None;
    }
    // One digit or two, or three from 100 on: a zero before them is not usual.
    let is_north = point == 2 || point == 3 && text[1] < b'9';
    let is_east = match other_point - east {
        2 | 3 => true,
        4 => text[east + 1] == b'1' && text[east + 2] < b'8',
        _ => false,
    };
    (is_north && is_east).then_some(space)
}

/// The time at the front of a text, which ends at white space.
#[inline]
fn time(text: &[u8]) -> Option<(&[u8], PosixTime)> {
    const USUAL: usize = PosixTime::USUAL_BYTES;
    if let Some((usual, [b'\n', ..])) = text.split_first_chunk::<USUAL>()
        && let Some(stamp) = PosixTime::parse_usual(usual)
    {
        return Some((usual, stamp));
    }
    let time = &text[..word_length(text)];
    Some((time, PosixTime::parse(time)?))
}
