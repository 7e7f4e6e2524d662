//! Texts and numbers as JSON has them, put together by hand: the standard formatter and the copies
//! that it needs would take two thirds of an answer's time. Apart from `seen`, which knows what is
//! shown.

use std::fmt::Write;

use time::OffsetDateTime;

/// Decimals of a degree in most reports: more is finer than a centimetre.
const DEGREE_DECIMALS: usize = 7;
const DEGREE: u64 = 10_u64.pow(DEGREE_DECIMALS as u32);
/// What is farther away is not on this globe.
const DEGREES_MAX: f64 = 360.0;
/// Most digits of a whole number.
const DIGITS_MAX: usize = 20;

/// Appends a text in quotation marks.
pub fn push_text(text: &str, out: &mut String) {
    let is_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    if text.bytes().any(is_escaped) {
        out.push_str(&serde_json::Value::from(text).to_string());
        return;
    }
    out.push('"');
    out.push_str(text);
    out.push('"');
}

/// Appends a whole number, with zeros before it if it has fewer digits than `least`.
pub fn push_whole(mut number: u64, least: usize, out: &mut String) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    while number > 0 || at + least > DIGITS_MAX {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.push_str(std::str::from_utf8(&digits[at..]).expect("digits are text"));
}

/// Appends degrees by the fewest digits that are read as the same number.
pub fn push_degrees(degrees: f64, out: &mut String) {
    let units = (degrees.abs() * DEGREE as f64).round();
    // No two numbers of so few digits are read alike, so these are the ones, without their zeros.
    let is_exact = degrees.abs() <= DEGREES_MAX && units / DEGREE as f64 == degrees.abs();
    if !is_exact {
        // Writing to a String cannot fail.
        let _ = write!(out, "{degrees}");
        return;
    }
    if degrees.is_sign_negative() {
        out.push('-');
    }
    let (whole, fraction) = (units as u64 / DEGREE, units as u64 % DEGREE);
    push_whole(whole, 1, out);
    if fraction > 0 {
        out.push('.');
        push_whole(fraction, DEGREE_DECIMALS, out);
        out.truncate(out.trim_end_matches('0').len());
    }
}

/// Appends a distance, at least 0, to the centimetre.
pub fn push_metres(metres: f64, out: &mut String) {
    let centimetres = (metres * 100.0).round() as u64;
    push_whole(centimetres / 100, 1, out);
    out.push('.');
    push_whole(centimetres % 100, 2, out);
}

/// Appends a time of RFC 3339, in seconds; of one that no calendar has, nothing.
pub fn push_date(posix_s: u64, out: &mut String) {
    let seconds = i64::try_from(posix_s).ok();
    let Some(time) = seconds.and_then(|it| OffsetDateTime::from_unix_timestamp(it).ok()) else {
        return;
    };
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    push_whole(u64::from(year.unsigned_abs()), 4, out);
    let parts = [('-', u8::from(month)), ('-', day), ('T', hour), (':', minute), (':', second)];
    for (before, part) in parts {
        out.push(before);
        push_whole(part.into(), 2, out);
    }
    out.push('Z');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(push: impl FnOnce(&mut String)) -> String {
        let mut out = "x".to_owned();
        push(&mut out);
        out.split_off(1)
    }

    /// Goal: what is written is what the standard formatter would write, for numbers of as many
    /// decimals as reports have and of more.
    #[test]
    fn degrees_are_the_shortest_that_are_read_the_same() {
        let check = |degrees: f64| {
            assert_eq!(pushed(|out| push_degrees(degrees, out)), degrees.to_string());
        };
        for degrees in [0.0, -0.0, 180.0, -90.0, 0.1, -0.000_000_1, 100.5, 1e-9, 1e300, f64::MIN] {
            check(degrees);
        }
        let mut random = fastrand::Rng::with_seed(1);
        for decimals in 0..12 {
            let unit = 10_f64.powi(decimals);
            for _ in 0..1_000 {
                check(((random.f64() * 360.0 - 180.0) * unit).round() / unit);
            }
        }
    }

    #[test]
    fn whole_numbers_have_their_zeros() {
        let check = |number, least, expected: &str| {
            assert_eq!(pushed(|out| push_whole(number, least, out)), expected);
        };
        check(0, 1, "0");
        check(7, 2, "07");
        check(1_795_910_184, 1, "1795910184");
        check(u64::MAX, 4, "18446744073709551615");
    }

    #[test]
    fn distances_and_dates_are_spelled() {
        let metres = |metres| pushed(|out| push_metres(metres, out));
        assert_eq!([0.0, 12.345, 999.999].map(metres), ["0.00", "12.35", "1000.00"]);
        let date = |posix_s| pushed(|out| push_date(posix_s, out));
        let expected = ["1970-01-01T00:00:00Z", "2026-11-28T23:56:24Z", ""];
        assert_eq!([0, 1_795_910_184, u64::MAX].map(date), expected);
    }

    #[test]
    fn texts_are_what_a_reader_of_json_reads() {
        for text in ["", "kiwi", "é", "a\"b", "a\\b", "a\nb", "\u{7f}", "\u{0}<script>"] {
            let spelled = pushed(|out| push_text(text, out));
            assert_eq!(serde_json::from_str::<String>(&spelled).unwrap(), text);
        }
    }
}
