//! Times: seconds, milliseconds or a date, as apps spell them, exact to the nanosecond.

use herd_core::clock::PosixTime;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

/// A number below this is in seconds: until the year 5138.
const SECONDS_MAX: u64 = 100_000_000_000;
/// A number below this is in milliseconds.
const MILLIS_MAX: u64 = SECONDS_MAX * 1_000;

/// Reads a time: seconds or milliseconds since 1970 began, with or without a fraction, or a date as
/// RFC 3339 has it. `None` if it is neither.
pub fn parse(text: &str) -> Option<PosixTime> {
    let text = text.trim();
    if text.contains(['e', 'E']) {
        // A language that writes large numbers so has lost its digits before.
        let number: f64 = text.parse().ok()?;
        return (0.0..MILLIS_MAX as f64)
            .contains(&number)
            .then(|| parse_number(&number.to_string()))?;
    }
    parse_number(text).or_else(|| parse_date(text))
}

fn parse_number(text: &str) -> Option<PosixTime> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let digits = |count: usize| -> u32 {
        let padded = fraction.bytes().chain(std::iter::repeat(b'0')).take(count);
        padded.fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    match whole {
        0..SECONDS_MAX => Some(PosixTime::new(whole, digits(9))),
        SECONDS_MAX..MILLIS_MAX => {
            let nanos = (whole % 1_000) as u32 * 1_000_000 + digits(6);
            Some(PosixTime::new(whole / 1_000, nanos))
        }
        _ => None,
    }
}

/// `2026-11-28T23:56:24.5Z`: the zone may be `±hh:mm`, `±hhmm`, or not there at all, which is UTC.
fn parse_date(text: &str) -> Option<PosixTime> {
    let (date, rest) = text.split_at_checked(10)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let (fraction, zone) = match rest.strip_prefix(['.', ',']) {
        Some(rest) => {
            rest.split_at(rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len()))
        }
        None => ("", rest),
    };
    let [year, month, day] = parts(date, '-')?;
    let [hour, minute, second] = parts(clock, ':')?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(year.into(), month, u8::try_from(day).ok()?).ok()?;
    let part = |number: u16| u8::try_from(number).ok();
    // A leap second is the last of its minute, as POSIX has it.
    let second = second.min(59 + u16::from(second > 60));
    let time = Time::from_hms(part(hour)?, part(minute)?, part(second)?).ok()?;
    let moment = PrimitiveDateTime::new(date, time).assume_offset(offset(zone)?);
    let seconds = u64::try_from(moment.unix_timestamp()).ok()?;
    parse_number(&format!("{seconds}.{fraction}"))
}

fn parts(text: &str, separator: char) -> Option<[u16; 3]> {
    let mut numbers = text.split(separator).map(|part| {
        let are_digits = part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| are_digits)
    });
    let three = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(three)
}

/// In a URL, a `+` that was not encoded has become a space.
fn offset(zone: &str) -> Option<UtcOffset> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(UtcOffset::UTC);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let digits = zone.strip_prefix(['+', '-', ' '])?.replace(':', "");
    let (hours, minutes) = digits.split_at_checked(2).filter(|_| digits.len() == 4)?;
    let number = |text: &str| text.parse::<i8>().ok().filter(|number| *number >= 0);
    UtcOffset::from_hms(sign * number(hours)?, sign * number(minutes)?, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_each_spelling() {
        for (text, seconds, nanos) in [
            ("1795910184", 1_795_910_184, 0),
            ("1795910184.000000001", 1_795_910_184, 1),
            ("1795910184.5", 1_795_910_184, 500_000_000),
            ("1795910184123", 1_795_910_184, 123_000_000),
            ("1795910184123.25", 1_795_910_184, 123_250_000),
            ("1.795910184E9", 1_795_910_184, 0),
            ("1.795910184123e12", 1_795_910_184, 123_000_000),
            ("0", 0, 0),
            ("99999999999", 99_999_999_999, 0),
            ("100000000000", 100_000_000, 0),
            ("2026-11-28T23:56:24Z", 1_795_910_184, 0),
            ("2026-11-28T23:56:24.123Z", 1_795_910_184, 123_000_000),
            ("2026-11-28 23:56:24", 1_795_910_184, 0),
            ("2026-11-29T01:56:24+02:00", 1_795_910_184, 0),
            ("2026-11-29T01:56:24 02:00", 1_795_910_184, 0),
            ("2026-11-28T16:56:24-0700", 1_795_910_184, 0),
            ("2016-12-31T23:59:60Z", 1_483_228_799, 0),
        ] {
            assert_eq!(parse(text), Some(PosixTime::new(seconds, nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "-5",
            "+5",
            "now",
            "NaN",
            "1e99",
            "-1e3",
            "100000000000000",
            "99999999999999999999",
            "1.2.3",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-11-28",
            "2026-11-28T24:56:24Z",
            "2026-11-28T23:56:62Z",
            "1969-12-31T23:59:59Z",
            "2026-11-28T23:56:24+2",
            "2026-11-28T23:56:24+-1:00",
            "2026-11-28T23:56:24€",
            "2026-11-2€T23:56:24",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
