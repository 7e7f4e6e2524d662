//! IAMATs as nearly all are spelled: single spaces between the fields, decimal degrees, a newline.
//! Apart from `wire`, which says what any line means: this reads one kind of line in one pass, in
//! which each field ends where the next begins, and nothing is looked for twice.
//!
//! ```text
//!   IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997\n
//!         word ──────────▶│degrees ─▶│degrees ─▶ │time ─────────────▶│ the line's end is found
//! ```
//!
//! In use, four of five instructions that reading a line took were spent on finding out again
//! where its parts are. A line that is not recognised here says nothing: `wire` reads it.

use super::clock::PosixTime;
use super::digits;
use super::wire::{Command, word_length};

const WORD: &[u8] = b"IAMAT ";

/// An IAMAT at the front of these bytes, as a line without its terminator, and how many bytes it
/// is with it. `None` says nothing.
pub fn iamat(bytes: &[u8]) -> Option<(&[u8], Command<'_>, usize)> {
    let operands = bytes.strip_prefix(WORD)?;
    let (client, rest) = operands.split_at(word_length(operands));
    let rest = rest.strip_prefix(b" ").filter(|_| !client.is_empty())?;
    let latitude = degrees_length(rest, 90)?;
    let position_bytes = latitude + degrees_length(rest.get(latitude..)?, 180)?;
    let (position, rest) = rest.split_at_checked(position_bytes)?;
    let (time, stamp) = time(rest.strip_prefix(b" ")?)?;

    let told = &operands[..client.len() + 1 + position.len() + 1 + time.len()];
    let line = &bytes[..WORD.len() + told.len()];
    let terminator = match &bytes[line.len()..] {
        [b'\n', ..] => 1,
        [b'\r', b'\n', ..] => 2,
        _ => return None,
    };
    let command = Command::Iamat { client, position, time, stamp, told: Some(told) };
    Some((line, command, line.len() + terminator))
}

/// The bytes of a sign, fewer degrees than `degrees_max` and one to seven decimals. The bound
/// itself, and more decimals, are `wire`'s.
#[inline]
fn degrees_length(text: &[u8], degrees_max: u64) -> Option<usize> {
    let (b'+' | b'-', unsigned) = text.split_first()? else { return None };
    let (degrees, whole) = digits::few(unsigned)?;
    let (b'.', fraction) = unsigned.get(whole..)?.split_first()? else { return None };
    let (_, decimals) = digits::few(fraction)?;
    (degrees < degrees_max).then_some(1 + whole + 1 + decimals)
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
