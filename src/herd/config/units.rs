//! Durations, sizes and distances as people write them: a number and its unit.
//!
//! Flags, variables and herd.toml share it, and so does what shows a value again.

use std::ops::RangeInclusive;
use std::time::Duration;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;

/// The longest duration that a timer may have: beyond a day it is a slip of the pen.
pub const TIMER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest time that may lie between the readings of two clocks. No timer waits so long; ten
/// years of nanoseconds fit into 64 bits.
pub const SPAN_MAX: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// Units of time in milliseconds, the longest first.
const TIMES: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];

/// Units of size in bytes. The binary ones stand first, because a size that both can spell was
/// meant so.
const SIZES: [(&str, u64); 7] = [
    ("GiB", GIB as u64),
    ("MiB", MIB as u64),
    ("KiB", KIB as u64),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Units of distance in metres.
const DISTANCES: [(&str, u64); 2] = [("km", 1_000), ("m", 1)];

/// A duration: `300 s`, `100 ms` or `5 min`.
///
/// # Errors
/// A message if it is zero, longer than `max`, or no duration at all.
pub fn parse_duration(text: &str, max: Duration) -> Result<Duration, String> {
    let found = split(text, &TIMES).map(Duration::from_millis);
    found.filter(|found| !found.is_zero() && *found <= max).ok_or_else(|| {
        format!(
            "`{text}` is no duration: write a number above 0 with its unit, as in \"100 ms\", \
             \"30 s\", \"5 min\", \"12 h\" or \"1 d\", at most {}",
            show_duration(max)
        )
    })
}

/// A size in bytes: `64 KiB`, `1 GB`, or a number alone.
///
/// # Errors
/// A message if it is no size. Its bounds are the caller's affair.
pub fn parse_size(text: &str) -> Result<u64, String> {
    text.parse().ok().or_else(|| split(text, &SIZES)).ok_or_else(|| {
        format!("`{text}` is no size: write bytes, as in 8192 or \"8 KiB\", \"1 MiB\", \"1 GB\"")
    })
}

/// A distance in metres: `500 m` or `2 km`.
///
/// # Errors
/// A message if it is none, or is not within the bounds.
pub fn parse_distance(text: &str, bounds: RangeInclusive<u32>) -> Result<u32, String> {
    let found = split(text, &DISTANCES).and_then(|metres| u32::try_from(metres).ok());
    found.filter(|metres| bounds.contains(metres)).ok_or_else(|| {
        let [least, most] = [bounds.start(), bounds.end()].map(|it| show((*it).into(), &DISTANCES));
        format!(
            "`{text}` is no distance: write a number with its unit, as in \"500 m\" or \"2 km\", \
             {least} to {most}"
        )
    })
}

/// In the largest unit that leaves no fraction, none at all in seconds.
pub fn show_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0 s".to_owned();
    }
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &TIMES)
}

/// In the largest unit that leaves no fraction.
pub fn show_size(bytes: usize) -> String {
    show(bytes as u64, &SIZES)
}

/// A number with commas: `1,000,000`.
pub fn show_number(number: usize) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (position, digit) in digits.char_indices() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

fn split(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start_matches(' ');
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(number: u64, units: &[(&str, u64)]) -> String {
    let fits = |unit: &&(&str, u64)| number > 0 && number.is_multiple_of(unit.1);
    match units.iter().find(fits) {
        Some((name, factor)) => format!("{} {name}", number / factor),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let check = |text: &str, ms: Option<u64>| {
            let found = parse_duration(text, TIMER_MAX).ok();
            assert_eq!(found, ms.map(Duration::from_millis), "{text:?}");
        };
        check("100 ms", Some(100));
        check("5s", Some(5000));
        check("1440 min", Some(86_400_000));
        check("24 h", Some(86_400_000));
        check("1 d", Some(86_400_000));
        for bad in ["", "5", "s", "0 s", "-1 s", "1.5 s", "1 w", "1441 min", "2 d", "off"] {
            check(bad, None);
        }
        check("99999999999999999 s", None);
        assert!(parse_duration("3650 d", SPAN_MAX).is_ok());
        let message = parse_duration("3651 d", SPAN_MAX).unwrap_err();
        assert!(message.ends_with("at most 3650 d"), "{message}");
    }

    #[test]
    fn sizes_may_have_units() {
        let check = |text: &str, bytes: Option<u64>| {
            assert_eq!(parse_size(text).ok(), bytes, "{text:?}");
        };
        check("0", Some(0));
        check("8192", Some(8192));
        check("8 KiB", Some(8192));
        check("1GB", Some(1_000_000_000));
        check("2 MiB", Some(2 << 20));
        for bad in ["", "-1", "8 kib", "8 K", "1.5 MiB", "KiB", "99999999999 GiB"] {
            check(bad, None);
        }
    }

    #[test]
    fn distances_have_units() {
        for (text, metres) in [
            ("500 m", Some(500)),
            ("1km", Some(1_000)),
            ("100km", Some(100_000)),
            ("99 m", None),
            ("101 km", None),
            ("1.5 km", None),
            ("1000", None),
            ("5000000 km", None),
        ] {
            assert_eq!(parse_distance(text, 100..=100_000).ok(), metres, "{text}");
        }
        let message = parse_distance("kiwi", 100..=100_000).unwrap_err();
        assert!(message.ends_with("100 m to 100 km"), "{message}");
    }

    #[test]
    fn values_are_shown_as_they_are_written() {
        for (bytes, shown) in [
            (8192, "8 KiB"),
            (8193, "8193 B"),
            (1_000_000_000, "1 GB"),
            (1 << 30, "1 GiB"),
            (32 << 30, "32 GiB"),
            (65_535, "65535 B"),
        ] {
            assert_eq!(show_size(bytes), shown);
            assert_eq!(parse_size(shown), Ok(bytes as u64));
        }
        for (ms, shown) in [(100, "100 ms"), (90_000, "90 s"), (3_600_000, "1 h")] {
            assert_eq!(show_duration(Duration::from_millis(ms)), shown);
            assert_eq!(parse_duration(shown, TIMER_MAX), Ok(Duration::from_millis(ms)));
        }
        assert_eq!(show_duration(Duration::ZERO), "0 s");
        let numbers = [0, 999, 1_000, 1_000_000].map(show_number);
        assert_eq!(numbers, ["0", "999", "1,000", "1,000,000"]);
    }
}
