//! The two clocks, and the arithmetic of exact time. Apart because nothing here knows a message
//! or a connection; it reads no clock either: the reactor does, once a turn (`reactor::Clocks`).
//!
//! A client's time is POSIX seconds with a decimal fraction. An `f64` cannot hold one: at
//! 1.5·10⁹ seconds its steps are 238 ns wide, so two reports of one client could tie. Everything
//! here is integers.

use std::cmp::Ordering;
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
    const FRACTION_DIGITS: usize = 9;
    /// The digits before the point of all times between 2001 and 2286.
    const USUAL_POINT: usize = 10;
    /// The length of nearly all times: those digits, the point, and nanoseconds.
    pub(super) const USUAL_BYTES: usize = Self::USUAL_POINT + 1 + Self::FRACTION_DIGITS;

    /// A moment of whole seconds since 1970 and nanoseconds beyond; panics from 10⁹ of those on.
    pub fn new(seconds: u64, nanos: u32) -> PosixTime {
        assert!(nanos < NANOS_PER_SECOND, "a second has 10⁹ nanoseconds");
        PosixTime { eons: 0, seconds, nanos }
    }

    fn of(seconds: u128, nanos: u32) -> PosixTime {
        PosixTime { eons: (seconds >> 64) as u64, seconds: seconds as u64, nanos }
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

    /// Which of two times that were checked is the later, where their spelling alone says so: both
    /// have as many digits before the point as usual, and equally many behind.
    #[inline(always)]
    pub fn order_as_spelled(one: &[u8], other: &[u8]) -> Option<Ordering> {
        let has_point = |text: &[u8]| text.get(Self::USUAL_POINT) == Some(&b'.');
        if one.len() != other.len() || !has_point(one) || !has_point(other) {
            return None;
        }
        let order = match (one.try_into(), other.try_into()) {
            (Ok(one), Ok(other)) => Self::as_numbers(one).cmp(&Self::as_numbers(other)),
            _ => one.cmp(other),
        };
        Some(order).filter(|order| order.is_ne())
    }

    /// The bytes of a usual time as numbers, which are compared as the bytes are: all but the last
    /// four, and the last eight.
    #[inline(always)]
    fn as_numbers(text: &[u8; Self::USUAL_BYTES]) -> [u64; 3] {
        let ([first, second], _) = text.as_chunks() else { unreachable!("there are twenty bytes") };
        let last = text.last_chunk().expect("there are twenty bytes");
        [first, second, last].map(|number| u64::from_be_bytes(*number))
    }

    /// The digits of a time's fraction that are finer than a nanosecond, as spelled.
    pub fn beyond_nanos(text: &[u8]) -> &[u8] {
        let fraction = memchr::memchr(b'.', text).map_or(text.len(), |dot| dot + 1);
        text.get(fraction + Self::FRACTION_DIGITS..).unwrap_or_default()
    }

    /// Ten digits, a point and nine digits, as nearly all times are. `None` says nothing.
    #[inline]
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
    pub fn next(self) -> PosixTime {
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
        let is_negative = server < client;
        let (later, earlier) = if is_negative { (client, server) } else { (server, client) };
        let borrow = later.nanos < earlier.nanos;
        let nanos = later.nanos + u32::from(borrow) * NANOS_PER_SECOND - earlier.nanos;
        let seconds = if later.eons == earlier.eons {
            (later.seconds - earlier.seconds - u64::from(borrow)).into()
        } else {
            later.all_seconds() - earlier.all_seconds() - u128::from(borrow)
        };
        Skew { is_negative, seconds, nanos }
    }

    /// Whether the two are spelled alike as far as the point.
    #[inline]
    pub fn has_seconds_of(self, other: Skew) -> bool {
        self.seconds == other.seconds && self.is_negative == other.is_negative
    }

    /// The digits behind the point.
    #[inline]
    pub fn fraction(self) -> [u8; Skew::FRACTION_DIGITS] {
        const EIGHT_DIGITS: u32 = NANOS_PER_SECOND / 10;
        let [a, b, c, d, e, f, g, h] = digits::eight_of(self.nanos % EIGHT_DIGITS);
        [b'0' + (self.nanos / EIGHT_DIGITS) as u8, a, b, c, d, e, f, g, h]
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
    fn spelling_decides_only_what_it_can() {
        let check = |one: &str, other: &str, expected: Option<Ordering>| {
            let ordered = PosixTime::order_as_spelled(one.as_bytes(), other.as_bytes());
            assert_eq!(ordered, expected, "{one} {other}");
            let time = |text: &str| PosixTime::parse(text.as_bytes()).unwrap();
            if let Some(order) = ordered {
                assert!(time(one).cmp(&time(other)) != order.reverse());
            }
        };
        check("1520023934.9", "1520023935.1", Some(Ordering::Less));
        check("1520023934.0000000002", "1520023934.0000000001", Some(Ordering::Greater));
        for (one, other) in [
            ("1520023934.9", "1520023934.9"),
            ("1520023934.5", "1520023934.50"),
            ("1520023934.5", "152002393.45"),
            ("152002393.45", "152002393.46"),
            ("1520023934", "1520023935"),
            ("9", "10"),
        ] {
            check(one, other, None);
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
