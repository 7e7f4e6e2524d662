//! The two clocks, and the arithmetic of exact time. Apart because nothing here knows a message
//! or a connection; it reads no clock either: the reactor does, once a turn (`reactor::Clocks`).
//!
//! A client's time is POSIX seconds with a decimal fraction. An `f64` cannot hold one: at
//! 1.5·10⁹ seconds its steps are 238 ns wide, so two reports of one client could tie. Everything
//! here is integers.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use super::digits;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// What both clocks said when this turn began.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Since the process started. Never goes back: deadlines are measured on it.
    pub monotonic: Duration,
    /// The time of day. An operator may set it back: only stamps are taken from it.
    pub posix: PosixTime,
}

/// A moment in POSIX time, exact to the nanosecond.
///
/// Bounds: as many seconds as 38 digits can say, which is longer than the universe will last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PosixTime {
    /// The upper half of the seconds. Apart from the lower one because it is nearly always 0, and
    /// half as wide a number is compared and added with half as many instructions.
    eons: u64,
    seconds: u64,
    nanos: u32,
}

impl PosixTime {
    /// Integer digits that count: more do not fit a `u128`. Leading zeros are free.
    const SECONDS_DIGITS_MAX: usize = 38;
    pub(super) const FRACTION_DIGITS: usize = 9;
    /// The digits before the point of all times between 2001 and 2286.
    const USUAL_POINT: usize = 10;
    /// The length of nearly all times: those digits, the point, and nanoseconds.
    pub const USUAL_BYTES: usize = Self::USUAL_POINT + 1 + Self::FRACTION_DIGITS;

    /// A moment of whole seconds since 1970 and nanoseconds beyond; panics from 10⁹ of those on.
    pub fn new(seconds: u64, nanos: u32) -> PosixTime {
        assert!(nanos < NANOS_PER_SECOND, "a second has 10⁹ nanoseconds");
        PosixTime { eons: 0, seconds, nanos }
    }

    fn of(seconds: u128, nanos: u32) -> PosixTime {
        PosixTime { eons: (seconds >> 64) as u64, seconds: seconds as u64, nanos }
    }

    /// Seconds since 1970 began, without their fraction; of a clock, always all of them.
    pub fn whole_seconds(self) -> u64 {
        self.seconds
    }

    /// What it has beyond the whole seconds.
    pub fn nanos(self) -> u32 {
        self.nanos
    }

    fn all_seconds(self) -> u128 {
        u128::from(self.eons) << 64 | u128::from(self.seconds)
    }

    /// Reads `digits[.digits]`, and nothing else: no sign, no exponent, no `nan` (PROTOCOL 2.6).
    /// The tenth and later digits of a fraction are left to `PosixTime::beyond_nanos`.
    pub fn parse(text: &[u8]) -> Option<PosixTime> {
        if let Some(time) = text.try_into().ok().and_then(Self::parse_usual) {
            return Some(time);
        }
        let (seconds, integer) = digits::leading(text);
        let seconds = match integer {
            0 => return None,
            // Nineteen digits always fit, and nearly every time has ten.
            1..=19 => seconds.into(),
            _ => Self::parse_wide(&text[..integer])?,
        };
        let fraction = match &text[integer..] {
            [] => return Some(PosixTime::of(seconds, 0)),
            [b'.', fraction @ ..] if !fraction.is_empty() => fraction,
            _ => return None,
        };
        let (nine, beyond) = fraction.split_at(fraction.len().min(Self::FRACTION_DIGITS));
        let (mut nanos, count) = digits::leading(nine);
        let all_digits = count == nine.len() && (beyond.is_empty() || digits::are_all(beyond));
        for _ in nine.len()..Self::FRACTION_DIGITS {
            nanos *= 10;
        }
        all_digits.then_some(PosixTime::of(seconds, nanos as u32))
    }

    /// The digits of a time's fraction that are finer than a nanosecond, as spelled.
    pub fn beyond_nanos(text: &[u8]) -> &[u8] {
        let fraction = memchr::memchr(b'.', text).map_or(text.len(), |dot| dot + 1);
        text.get(fraction + Self::FRACTION_DIGITS..).unwrap_or_default()
    }

    /// Ten digits, a point and nine digits, as nearly all times are. `None`: not recognised, so it
    /// has to be parsed.
    #[inline(always)]
    pub(super) fn parse_usual(text: &[u8; Self::USUAL_BYTES]) -> Option<PosixTime> {
        let (ten, nine) = (text.first_chunk()?, text.last_chunk()?);
        if text[Self::USUAL_POINT] != b'.' {
            return None;
        }
        let seconds = digits::all_of::<10>(ten)?;
        let nanos = digits::all_of::<9>(nine)? as u32;
        Some(PosixTime { eons: 0, seconds, nanos })
    }

    fn parse_wide(digits: &[u8]) -> Option<u128> {
        let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
        if digits.len() - zeros > Self::SECONDS_DIGITS_MAX {
            return None;
        }
        let mut seconds = 0u128;
        for &byte in digits {
            seconds = seconds * 10 + u128::from(byte - b'0');
        }
        Some(seconds)
    }

    /// One nanosecond later.
    #[inline]
    pub fn next(self) -> PosixTime {
        if self.nanos + 1 < NANOS_PER_SECOND {
            return PosixTime { nanos: self.nanos + 1, ..self };
        }
        self.plus(Duration::from_nanos(1))
    }

    /// The moment this much later, exact to the nanosecond.
    pub fn plus(self, after: Duration) -> PosixTime {
        let nanos = self.nanos + after.subsec_nanos();
        let carry = u64::from(nanos >= NANOS_PER_SECOND);
        // A duration has room for the carry: at the clock's end, nothing would be right anyway.
        let more = after.as_secs().saturating_add(carry);
        let (seconds, is_eon) = self.seconds.overflowing_add(more);
        let nanos = nanos - carry as u32 * NANOS_PER_SECOND;
        PosixTime { eons: self.eons + u64::from(is_eon), seconds, nanos }
    }

    /// The seconds and nanoseconds from an earlier time to this one; `None` if it is a later time.
    #[inline]
    fn since(self, earlier: PosixTime) -> Option<(u128, u32)> {
        let borrow = self.nanos < earlier.nanos;
        let seconds = if self.eons == earlier.eons {
            let seconds = self.seconds.checked_sub(earlier.seconds)?;
            seconds.checked_sub(borrow.into())?.into()
        } else {
            let seconds = self.all_seconds().checked_sub(earlier.all_seconds())?;
            seconds.checked_sub(borrow.into())?
        };
        Some((seconds, self.nanos + u32::from(borrow) * NANOS_PER_SECOND - earlier.nanos))
    }

    /// How long after an earlier time it is, as far as a `Duration` can say; `None` if that is a
    /// later one.
    pub fn time_since(self, earlier: PosixTime) -> Option<Duration> {
        let (seconds, nanos) = self.since(earlier)?;
        Some(Duration::new(u64::try_from(seconds).unwrap_or(u64::MAX), nanos))
    }

    /// Whole seconds since 1970. A value of 38 digits fits an `i128`.
    pub fn seconds(self) -> i128 {
        self.all_seconds().try_into().unwrap_or(i128::MAX)
    }

    /// Whether it is at least so many seconds after another time.
    pub fn is_seconds_after(self, other: PosixTime, seconds: u128) -> bool {
        self.all_seconds() >= other.all_seconds() + seconds
    }

    /// When a report was heard, if its skew is spelled as we spell it.
    pub fn heard_at(stamp: PosixTime, skew: &[u8]) -> Option<PosixTime> {
        let (sign, size) = skew.split_first()?;
        let size = PosixTime::parse(size)?;
        let is_later = *sign == b'+';
        let borrow = !is_later && stamp.nanos < size.nanos;
        let nanos = if is_later {
            stamp.nanos + size.nanos
        } else {
            stamp.nanos + u32::from(borrow) * NANOS_PER_SECOND - size.nanos
        };
        let seconds = if is_later {
            stamp.all_seconds().checked_add(size.all_seconds())?
        } else {
            stamp.all_seconds().checked_sub(size.all_seconds())?.checked_sub(borrow.into())?
        };
        let carry = u128::from(nanos / NANOS_PER_SECOND);
        Some(PosixTime::of(seconds + carry, nanos % NANOS_PER_SECOND))
    }

    /// When a report was heard, in whole seconds, a second more or less: the client's stamp and
    /// the server's skew together. It is calculated from the texts alone, and so the same
    /// everywhere.
    ///
    /// A skew may be one that another program spelled, with an exponent; then it is a float, and
    /// too large a one is all the time there is.
    pub fn heard(stamp: PosixTime, skew: &[u8]) -> i128 {
        let text = std::str::from_utf8(skew).unwrap_or_default();
        let whole = text.split('.').next().and_then(|whole| whole.parse::<i128>().ok());
        let is_plain = !text.contains(['e', 'E']);
        let skew = whole.filter(|_| is_plain);
        // The cast of a float is bounded by what the integer holds.
        let skew = skew.unwrap_or_else(|| text.parse::<f64>().unwrap_or_default() as i128);
        stamp.seconds().saturating_add(skew)
    }
}

/// A time that is spelled as usual, in one number: the seconds, and in the last 30 bits the
/// nanoseconds. The later time is the greater number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UsualTime(u64);

impl UsualTime {
    const NANOS_BITS: u32 = 30;
    const EIGHT_DIGITS: u64 = 100_000_000;

    /// The time at the end of a text that was checked, which means `stamp`; `None` if it is not
    /// spelled as usual: ten digits, a point and nine digits, behind a space.
    #[inline(always)]
    pub fn behind_space(
        text: &[u8; 1 + PosixTime::USUAL_BYTES],
        stamp: PosixTime,
    ) -> Option<UsualTime> {
        let is_usual = text[0] == b' ' && text[1 + PosixTime::USUAL_POINT] == b'.';
        let number = stamp.seconds << Self::NANOS_BITS | u64::from(stamp.nanos);
        is_usual.then_some(UsualTime(number))
    }

    /// The time that a text spells, behind a space, if it is a usual one.
    #[inline(always)]
    pub fn read(text: &[u8; 1 + PosixTime::USUAL_BYTES]) -> Option<UsualTime> {
        UsualTime::behind_space(text, PosixTime::parse_usual(text.last_chunk()?)?)
    }

    /// What it means.
    pub fn stamp(self) -> PosixTime {
        let (seconds, nanos) = (self.0 >> Self::NANOS_BITS, self.0 & ((1 << Self::NANOS_BITS) - 1));
        PosixTime { eons: 0, seconds, nanos: nanos as u32 }
    }

    /// The text that it was made of.
    pub fn spell(self) -> [u8; PosixTime::USUAL_BYTES] {
        let PosixTime { seconds, nanos, .. } = self.stamp();
        let mut text = [b'.'; PosixTime::USUAL_BYTES];
        let mut write = |at: usize, digits: &[u8]| {
            text[at..at + digits.len()].copy_from_slice(digits);
        };
        let tens = seconds / Self::EIGHT_DIGITS;
        write(0, &[b'0' + (tens / 10) as u8, b'0' + (tens % 10) as u8]);
        write(2, &digits::eight_of((seconds % Self::EIGHT_DIGITS) as u32));
        write(1 + PosixTime::USUAL_POINT, &digits::nine_of(nanos));
        text
    }

    /// The number, the lowest byte first.
    #[inline]
    pub fn to_le_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// What `to_le_bytes` has given.
    #[inline]
    pub fn from_le_bytes(bytes: [u8; 8]) -> UsualTime {
        UsualTime(u64::from_le_bytes(bytes))
    }
}

/// A time as it is spelled: in a text, or a usual one by itself.
#[derive(Clone, Copy, Debug)]
pub enum SpelledTime<'a> {
    /// A part of a line, or of what is kept of one.
    InText(&'a [u8]),
    /// Ten digits, a point and nine digits.
    Usual([u8; PosixTime::USUAL_BYTES]),
}

/// With nine decimals: `1520023934.918963997`.
impl fmt::Display for PosixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.all_seconds(), self.nanos)
    }
}

impl Deref for SpelledTime<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            SpelledTime::InText(text) => text,
            SpelledTime::Usual(text) => text,
        }
    }
}

/// The server's clock minus a client's stamp. It is spelled as an AT line spells it: with a sign,
/// also for zero, and exactly nine decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Skew {
    /// The client's clock is ahead.
    is_negative: bool,
    seconds: u128,
    nanos: u32,
}

impl Skew {
    pub(super) const FRACTION_DIGITS: usize = PosixTime::FRACTION_DIGITS;

    /// How far the server's clock is ahead of the client's; negative if it is behind.
    #[inline]
    pub fn between(server: PosixTime, client: PosixTime) -> Skew {
        let (size, is_negative) = match server.since(client) {
            Some(size) => (size, false),
            None => (client.since(server).unwrap_or_default(), true),
        };
        Skew { is_negative, seconds: size.0, nanos: size.1 }
    }

    /// Whether the client's clock is ahead.
    #[inline]
    pub fn is_negative(self) -> bool {
        self.is_negative
    }

    /// Whether the two are spelled alike as far as the point.
    #[inline]
    pub fn has_seconds_of(self, other: Skew) -> bool {
        self.seconds == other.seconds && self.is_negative == other.is_negative
    }

    /// The digits behind the point.
    #[inline]
    pub fn fraction(self) -> [u8; Skew::FRACTION_DIGITS] {
        digits::nine_of(self.nanos)
    }

    /// Spells all of it.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        out.push(if self.is_negative { b'-' } else { b'+' });
        out.extend_from_slice(match u64::try_from(self.seconds) {
            Ok(seconds) => digits.format(seconds).as_bytes(),
            Err(_) => digits.format(self.seconds).as_bytes(),
        });
        out.push(b'.');
        out.extend_from_slice(&self.fraction());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_exactly_or_not_at_all() {
        let check = |text: &str, expected: Option<(u128, u32)>| {
            let parsed =
                PosixTime::parse(text.as_bytes()).map(|time| (time.all_seconds(), time.nanos));
            assert_eq!(parsed, expected, "{text}");
        };
        check("1520023934.918963997", Some((1520023934, 918963997)));
        check("0", Some((0, 0)));
        check("007.5", Some((7, 500_000_000)));
        check("1.0000000019", Some((1, 1)));
        check("99999999999999999999", Some((99999999999999999999, 0)));
        check(&"9".repeat(38), Some(("9".repeat(38).parse().unwrap(), 0)));
        check(&("0".repeat(60) + "1"), Some((1, 0)));
        check(&"9".repeat(39), None);
        for bad in ["", ".", "1.", ".5", "+1", "-1", "1e3", "nan", "inf", "1_0", "1.2.3", "1,5"] {
            check(bad, None);
        }
        for bad in ["1.0000000000x", "1.-1", "1.0e1", "x", "1 "] {
            check(bad, None);
        }
    }

    #[test]
    fn a_usual_time_is_a_number_and_can_be_spelled_again() {
        let times = [
            "0000000000.000000000",
            "0000000000.000000001",
            "0000000009.999999999",
            "1000000000.100000000",
            "1520023934.918963997",
            "9999999999.999999999",
        ];
        let numbers = times.map(|text| {
            let stamp = PosixTime::parse(text.as_bytes()).unwrap();
            let spaced = format!(" {text}");
            let time = UsualTime::behind_space(spaced.as_bytes().try_into().unwrap(), stamp);
            let time = time.unwrap_or_else(|| panic!("{text}"));
            assert_eq!((time.stamp(), &time.spell()[..]), (stamp, text.as_bytes()));
            assert_eq!(UsualTime::from_le_bytes(time.to_le_bytes()), time);
            time
        });
        assert!(numbers.is_sorted());
        for other in ["-1520023934.918963997", " 152002393.4918963997", " 152002393491896399.7"] {
            let time = PosixTime::default();
            assert_eq!(UsualTime::behind_space(other.as_bytes().try_into().unwrap(), time), None);
        }
    }

    #[test]
    fn skews_have_a_sign_and_nine_decimals() {
        let check = |server: (u64, u32), client: &str, expected: &str| {
            let server = PosixTime::new(server.0, server.1);
            let client = PosixTime::parse(client.as_bytes()).unwrap();
            let skew = Skew::between(server, client);
            let mut text = Vec::new();
            skew.write(&mut text);
            assert_eq!(std::str::from_utf8(&text).unwrap(), expected);
        };
        check((1621464827, 959498503), "1621464827.959498503", "+0.000000000");
        check((1621464828, 223371876), "1621464827.959498503", "+0.263873373");
        check((1621464827, 0), "1621464827.000000001", "-0.000000001");
        check((5, 0), "7.25", "-2.250000000");
        check((1796567144, 1), "1520023934.918963997", "+276543209.081036004");
        check((1, 0), "99999999999999999999.5", "-99999999999999999998.500000000");
    }

    #[test]
    fn digits_finer_than_a_nanosecond_are_kept_apart() {
        assert_eq!(PosixTime::beyond_nanos(b"1.123456789"), b"");
        assert_eq!(PosixTime::beyond_nanos(b"1.12345678901"), b"01");
        assert_eq!(PosixTime::beyond_nanos(b"1"), b"");
        assert_eq!(PosixTime::beyond_nanos(b"123456789012"), b"");
    }
}
