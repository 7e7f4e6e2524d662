//! A report as it is kept: how its parts lie in a piece of memory. Apart from `arena`, which knows
//! only pieces and their sizes, and from `store`, which knows which report is to be kept.
//!
//! In use, nearly every time is spelled alike: ten digits, a point and nine digits. Such a time is
//! kept as one number, in 8 bytes instead of 21, and two of them are compared at once. Every other
//! report is kept with its whole text. Either way the AT line comes out as it came in. The digest's
//! share is kept as well: to take it out by hashing the old text would cost every report as much as
//! to put the new one in.
//!
//! ```text
//!   usual   ┌────────┬───────────┬────────────┬──────────────┬──────┬────────────────────────────┐
//!           │ length │ client at │ client len │ hash         │ time │ Hill +0.2 kiwi +34-118     │
//!           └────────┴───────────┴────────────┴──────────────┴──────┴────────────────────────────┘
//!             u8       u8          u8           u64            u64
//!   other   ┌───┬────────┬───────────┬────────────┬──────┬───────────────────────────────────────┐
//!           │ 0 │ length │ client at │ client len │ hash │ Hill +0.2 kiwi +34-118 1520023934.9   │
//!           └───┴────────┴───────────┴────────────┴──────┴───────────────────────────────────────┘
//!                 u16      u16         u16          u64
//! ```

use std::ops::Range;

use super::digest::Hash;
use crate::clock::{PosixTime, SpelledTime, UsualTime};
use crate::wire::Report;

const USUAL_HEADER_BYTES: usize = 3 + size_of::<Hash>() + size_of::<UsualTime>();
/// The first byte says that it is no usual record: no text is empty.
const OTHER_HEADER_BYTES: usize = 7 + size_of::<Hash>();

/// The parts of a report that is kept, or is to be. Given by value, so that they stay in registers
/// until something rare needs all of them.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    /// What `Report::write_fields` writes, without the time and the space before it if that is
    /// usual.
    text: &'a [u8],
    client_at: u16,
    client_bytes: u16,
    time: Option<UsualTime>,
    /// What it adds to the digest.
    pub hash: Hash,
}

impl<'a> Record<'a> {
    /// A report that `Report::write_fields` has written there. Its hash is zero.
    pub fn of(report: &Report<'_>, text: &'a [u8]) -> Record<'a> {
        let client_at = report.client_at();
        Record::new(text, client_at..client_at + report.client.len(), report.stamp)
    }

    /// Longest text that can be kept, as `Report::write_fields` writes it.
    pub const TEXT_BYTES_MAX: usize = u16::MAX as usize;
    /// The most that a record takes.
    pub const BYTES_MAX: usize = OTHER_HEADER_BYTES + Self::TEXT_BYTES_MAX;

    /// A report whose fields are spelled here, with its client's id at `client` and the time that
    /// means `stamp`. Its hash is zero.
    #[inline(always)]
    pub fn new(text: &'a [u8], client: Range<usize>, stamp: PosixTime) -> Record<'a> {
        let (text, time) = match text.split_last_chunk() {
            // The space is not the one behind the client's id, and there is only one more.
            Some((rest, tail)) if rest.len() > client.end && rest.len() <= u8::MAX.into() => {
                let time = UsualTime::behind_space(tail, stamp);
                (if time.is_some() { rest } else { text }, time)
            }
            _ => (text, None),
        };
        // Limits keep lines below `TEXT_BYTES_MAX`.
        let (client_at, client_bytes) = (client.start as u16, client.len() as u16);
        Record { text, client_at, client_bytes, time, hash: 0 }
    }

    /// What `write` has written.
    #[inline(always)]
    pub fn read(place: &'a [u8]) -> Record<'a> {
        let is_usual = place.first().is_some_and(|&length| length > 0);
        let record = if is_usual { Self::read_usual(place) } else { Self::read_other(place) };
        record.expect("a place has a whole record")
    }

    #[inline(always)]
    fn read_usual(place: &'a [u8]) -> Option<Record<'a>> {
        let (header, rest) = place.split_first_chunk::<USUAL_HEADER_BYTES>()?;
        let (&[length, client_at, client_bytes], numbers) = header.split_first_chunk()?;
        let (&hash, time) = numbers.split_first_chunk()?;
        let &time = time.first_chunk()?;
        Some(Record {
            text: rest.get(..length.into())?,
            client_at: client_at.into(),
            client_bytes: client_bytes.into(),
            time: Some(UsualTime::from_le_bytes(time)),
            hash: Hash::from_le_bytes(hash),
        })
    }

    #[cold]
    fn read_other(place: &'a [u8]) -> Option<Record<'a>> {
        let (header, rest) = place.split_first_chunk::<OTHER_HEADER_BYTES>()?;
        let (&[_, a, b, c, d, e, f], hash) = header.split_first_chunk()?;
        let [length, client_at, client_bytes] = [[a, b], [c, d], [e, f]].map(u16::from_le_bytes);
        let hash = Hash::from_le_bytes(*hash.first_chunk()?);
        let text = rest.get(..length.into())?;
        Some(Record { text, client_at, client_bytes, time: None, hash })
    }

    /// The bytes that it takes.
    #[inline]
    pub fn bytes(self) -> usize {
        let header = if self.time.is_some() { USUAL_HEADER_BYTES } else { OTHER_HEADER_BYTES };
        header + self.text.len()
    }

    /// Writes it to the front of a place that is long enough.
    #[inline(always)]
    pub fn write(self, place: &mut [u8]) {
        let numbers = [self.text.len() as u16, self.client_at, self.client_bytes];
        let hash = self.hash.to_le_bytes();
        let rest = match self.time {
            Some(time) => {
                // `new` has made sure that they fit.
                let rest = put(place, numbers.map(|number| number as u8));
                put(put(rest, hash), time.to_le_bytes())
            }
            None => {
                let [[a, b], [c, d], [e, f]] = numbers.map(u16::to_le_bytes);
                put(put(place, [0, a, b, c, d, e, f]), hash)
            }
        };
        rest[..self.text.len()].copy_from_slice(self.text);
    }

    /// The client's id.
    #[inline(always)]
    pub fn client(self) -> &'a [u8] {
        &self.text[self.client_at.into()..][..self.client_bytes.into()]
    }

    /// Where the client is, as spelled, unless it is erased. Nothing else is taken apart.
    pub fn place(self) -> Option<&'a [u8]> {
        let behind = usize::from(self.client_at + self.client_bytes) + 1;
        let rest = &self.text[behind..];
        let position = if self.time.is_some() { rest } else { &rest[..space_in(rest)] };
        // An erasure has no decimals, and next to no report has none.
        let may_be_erasure = memchr::memchr(b'.', position).is_none();
        (!may_be_erasure || !self.report().is_erasure()).then_some(position)
    }

    /// When it was so, if that is spelled as usual.
    #[inline(always)]
    pub fn time(self) -> Option<UsualTime> {
        self.time
    }

    /// What is behind the report in a text that begins with it, as it came.
    #[inline(always)]
    pub fn behind(self, text: &[u8]) -> Option<&[u8]> {
        let rest = text.strip_prefix(self.text)?;
        let Some(time) = self.time else { return Some(rest) };
        let (spelled, behind) = rest.split_first_chunk()?;
        (UsualTime::read(spelled)? == time).then_some(behind)
    }

    /// Whether the two say the same, byte for byte.
    #[inline]
    pub fn is_spelled_like(self, other: Record<'_>) -> bool {
        self.time == other.time && self.text == other.text
    }

    /// What `Report::write_line` writes, without taking the report apart.
    pub fn write_line(self, out: &mut Vec<u8>) {
        out.reserve(b"AT ".len() + self.text.len() + 1 + PosixTime::USUAL_BYTES + 1);
        out.extend_from_slice(b"AT ");
        out.extend_from_slice(self.text);
        if let Some(time) = self.time {
            out.push(b' ');
            out.extend_from_slice(&time.spell());
        }
        out.push(b'\n');
    }

    /// The report that it was made of.
    pub fn report(self) -> Report<'a> {
        let (teller, rest) = self.text.split_at(self.client_at.into());
        let (client, rest) = rest.split_at(self.client_bytes.into());
        let (teller, rest) = (&teller[..teller.len() - 1], &rest[1..]);
        let (server, skew) = teller.split_at(space_in(teller));
        let (position, time, stamp) = match self.time {
            Some(time) => (rest, SpelledTime::Usual(time.spell()), time.stamp()),
            None => {
                let (position, time) = rest.split_at(space_in(rest));
                let stamp = PosixTime::parse(&time[1..]).expect("only checked times are kept");
                (position, SpelledTime::InText(&time[1..]), stamp)
            }
        };
        Report { server, skew: &skew[1..], client, position, time, stamp }
    }
}

fn space_in(text: &[u8]) -> usize {
    memchr::memchr(b' ', text).expect("there are five fields, with a space between each")
}

/// Writes some bytes to the front of a place, and gives what is behind them.
#[inline(always)]
fn put<const COUNT: usize>(place: &mut [u8], bytes: [u8; COUNT]) -> &mut [u8] {
    let (front, rest) = place.split_first_chunk_mut().expect("a place is as long as its record");
    *front = bytes;
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what comes out is what came in, whichever way it is kept.
    #[test]
    fn a_report_comes_out_as_it_came_in() {
        let check = |line: &str, is_usual: bool| {
            let report = Report::of_line(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            let mut text = Vec::new();
            report.write_fields(&mut text);
            let mut record = Record::of(&report, &text);
            record.hash = 0x0123_4567_89ab_cdef;
            let mut place = vec![0xff; record.bytes() + 3];
            record.write(&mut place);
            assert!(place.ends_with(&[0xff; 3]) && record.bytes() <= Record::BYTES_MAX);
            let kept = Record::read(&place);
            assert!(kept.is_spelled_like(record) && kept.bytes() == record.bytes());
            assert_eq!((kept.client(), kept.hash), (report.client, record.hash));
            let place = Some(report.position).filter(|_| !report.is_erasure());
            assert_eq!(kept.place(), place);
            assert_eq!(kept.time().is_some(), is_usual, "{line}");
            let mut again = b"AT ".to_vec();
            kept.report().write_fields(&mut again);
            assert_eq!(again, line.as_bytes());
            again.clear();
            kept.write_line(&mut again);
            assert_eq!(again, [line.as_bytes(), b"\n"].concat());
            assert_eq!(kept.report().stamp, report.stamp);
        };
        check(
            "AT Hill +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997",
            true,
        );
        check("AT A +0 x +1-1 0000000000.000000000", true);
        check("AT A +0 x +1-1 9999999999.999999999", true);
        check("AT A +0e0 x +0+0 1520023934.918963997", true);
        let long = "x".repeat(300);
        for other in [
            "AT A +0 x +1-1 0",
            "AT A +0 x +1-1 1520023934.91896399",
            "AT A +0 x +1-1 1520023934.9189639971",
            "AT A +0 x +1-1 152002393.4918963997",
            "AT A +0 x +1-1 152002393491896399700",
            "AT A +0 x +1.000000-1.00000001 5",
            "AT A +0e0 x +0+0 5",
            &format!("AT A +0 {long} +1-1 1520023934.918963997"),
        ] {
            check(other, false);
        }
    }
}
