//! Durations as people write them: a number and its unit. Apart from `limits`, which has many of
//! them and says how long each may be.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::limits::{SECONDS_A_DAY, SPAN_DAYS_MAX, TIMER_DAYS_MAX};

/// A duration as people write it: `"300 s"`, `"100 ms"` or `"5 min"`.
///
/// # Errors
/// Serde's, and a sentence if it is zero, longer than a day, or no duration at all.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(deserializer)?, TIMER_DAYS_MAX).map_err(de::Error::custom)
}

/// What `--partial-line` takes.
///
/// # Errors
/// As [`duration`]'s.
pub fn parse_wait(text: &str) -> Result<Duration, String> {
    parse_duration(text, TIMER_DAYS_MAX)
}

/// As [`duration`], or `"off"`.
///
/// # Errors
/// As [`duration`]'s.
pub(super) fn duration_or_off<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    parse_or_off(&String::deserialize(deserializer)?, TIMER_DAYS_MAX).map_err(de::Error::custom)
}

/// A time between two clocks' readings, or `"off"`.
///
/// # Errors
/// As [`duration`]'s, but for the longest.
pub(super) fn span_or_off<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    parse_or_off(&String::deserialize(deserializer)?, SPAN_DAYS_MAX).map_err(de::Error::custom)
}

fn parse_or_off(text: &str, days_max: u64) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    parse_duration(text, days_max).map(Some).map_err(|why| format!("{why}, or \"off\""))
}

fn parse_duration(text: &str, days_max: u64) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms = match unit.trim_start_matches(' ') {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 1000 * SECONDS_A_DAY,
        _ => 0,
    };
    let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_ms));
    match ms {
        Some(ms @ 1..) if ms <= days_max * 1000 * SECONDS_A_DAY => Ok(Duration::from_millis(ms)),
        _ => Err(format!(
            "`{text}` is no duration: write a number above 0 with its unit, \
             as in \"100 ms\", \"30 s\", \"5 min\", \"12 h\" or \"1 d\", at most {days_max} d"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let check = |text: &str, ms: Option<u64>| {
            assert_eq!(parse_duration(text, 1).ok(), ms.map(Duration::from_millis), "{text:?}");
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
    }

    #[test]
    fn some_durations_can_be_off() {
        let check = |text: &str, expected: Option<Option<u64>>| {
            let expected = expected.map(|seconds| seconds.map(Duration::from_secs));
            assert_eq!(parse_or_off(text, SPAN_DAYS_MAX).ok(), expected, "{text:?}");
        };
        check("off", Some(None));
        check("3650 d", Some(Some(3650 * SECONDS_A_DAY)));
        for bad in ["3651 d", "0 s", "0", "Off", ""] {
            check(bad, None);
        }
        let sentence = parse_or_off("0 s", SPAN_DAYS_MAX).unwrap_err();
        assert!(sentence.ends_with("at most 3650 d, or \"off\""), "{sentence}");
    }
}
