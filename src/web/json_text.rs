//! Texts and numbers as JSON has them, put together by hand: the standard formatter and the copies
//! that it needs would take two thirds of an answer's time. Apart from `seen`, which knows what is
//! shown.

use std::borrow::Cow;
use std::io::Write;

use time::OffsetDateTime;

/// Decimals of a degree in most reports: more is finer than a centimetre.
const DEGREE_DECIMALS: usize = 7;
const DEGREE: u64 = 10_u64.pow(DEGREE_DECIMALS as u32);
/// What is farther away is not on this globe.
const DEGREES_MAX: f64 = 360.0;
/// Most digits of a whole number.
const DIGITS_MAX: usize = 20;
/// Most bytes of a coordinate without its sign of which each digit counts: a float has 15 digits.
const COORDINATE_BYTES_MAX: usize = 15;
/// Digits of whole degrees; more may mean degrees and minutes.
const WHOLE_DEGREES_MAX: usize = 3;

/// Appends a text in quotation marks. What is not Unicode is shown by its bytes, as in a URL.
pub fn push_text(text: &[u8], out: &mut Vec<u8>) {
    let (mut needs_none, mut all) = (true, 0);
    for &byte in text {
        needs_none &= byte >= b' ' && byte != b'"' && byte != b'\\';
        all |= byte;
    }
    if needs_none && (all.is_ascii() || str::from_utf8(text).is_ok()) {
        out.push(b'"');
        out.extend_from_slice(text);
        out.push(b'"');
    } else {
        let text = serde_json::Value::from(shown(text));
        // Writing to memory cannot fail.
        let _ = write!(out, "{text}");
    }
}

/// What is no text of Unicode is shown by its bytes, as in a URL.
pub fn shown(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    Cow::Owned(text)
}

/// Appends a whole number, with zeros before it if it has fewer digits than `least`.
pub fn push_whole(mut number: u64, least: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut at = DIGITS_MAX;
    while number > 0 || at + least > DIGITS_MAX {
        at -= 1;
        digits[at] += (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends so many digits of a fraction, and the point before them, without the zeros behind them.
pub fn push_fraction(fraction: u64, decimals: usize, out: &mut Vec<u8>) {
    if fraction > 0 {
        out.push(b'.');
        push_whole(fraction, decimals, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Appends degrees by the fewest digits that are read as the same number.
pub fn push_degrees(degrees: f64, out: &mut Vec<u8>) {
    let units = (degrees.abs() * DEGREE as f64).round();
    // No two numbers of so few digits are read alike, so these are the ones, without their zeros.
    let is_exact = degrees.abs() <= DEGREES_MAX && units / DEGREE as f64 == degrees.abs();
    if !is_exact {
        let _ = write!(out, "{degrees}");
        return;
    }
    if degrees.is_sign_negative() {
        out.push(b'-');
    }
    push_whole(units as u64 / DEGREE, 1, out);
    push_fraction(units as u64 % DEGREE, DEGREE_DECIMALS, out);
}

/// Appends the longitude and the latitude of a checked position, with a comma between: the same as
/// `push_degrees` of each, without a float, for the digits are there already. Says whether it
/// could: nearly every position is spelled so.
pub fn push_spelled(position: &[u8], out: &mut Vec<u8>) -> bool {
    let is_sign = |byte: &u8| matches!(byte, b'+' | b'-');
    let second = position.iter().skip(1).position(is_sign);
    let Some((latitude, longitude)) = second.and_then(|at| position.split_at_checked(at + 1))
    else {
        return false;
    };
    let Some((latitude, longitude)) = shortest(latitude).zip(shortest(longitude)) else {
        return false;
    };
    for ((sign, digits), end) in [(longitude, &b","[..]), (latitude, b"")] {
        if sign == b'-' {
            out.push(b'-');
        }
        out.extend_from_slice(digits);
        out.extend_from_slice(end);
    }
    true
}

/// The sign of a coordinate, and its digits without those zeros that say nothing; `None` if they
/// may mean minutes, or if there are more than a float has.
fn shortest(coordinate: &[u8]) -> Option<(u8, &[u8])> {
    let (&sign, mut digits) = coordinate.split_first()?;
    let point = digits.iter().position(|&byte| byte == b'.');
    let whole = point.unwrap_or(digits.len());
    if whole > WHOLE_DEGREES_MAX || digits.len() > COORDINATE_BYTES_MAX {
        return None;
    }
    if point.is_some() {
        while let [rest @ .., b'0'] = digits {
            digits = rest;
        }
        digits = digits.strip_suffix(b".").unwrap_or(digits);
    }
    while let [b'0', rest @ ..] = digits
        && rest.first().is_some_and(u8::is_ascii_digit)
    {
        digits = rest;
    }
    Some((sign, digits))
}

/// Appends a distance, at least 0, to the centimetre.
pub fn push_metres(metres: f64, out: &mut Vec<u8>) {
    let centimetres = (metres * 100.0).round() as u64;
    push_whole(centimetres / 100, 1, out);
    out.push(b'.');
    push_whole(centimetres % 100, 2, out);
}

/// Appends a time of RFC 3339, in seconds; of one that no calendar has, nothing.
pub fn push_date(posix_s: u64, out: &mut Vec<u8>) {
    let seconds = i64::try_from(posix_s).ok();
    let Some(time) = seconds.and_then(|it| OffsetDateTime::from_unix_timestamp(it).ok()) else {
        return;
    };
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let century = (year.unsigned_abs() / 100) as u8;
    let mut text = *b"0000-00-00T00:00:00Z";
    let parts =
        [century, (year.unsigned_abs() % 100) as u8, month.into(), day, hour, minute, second];
    for (at, part) in [0, 2, 5, 8, 11, 14, 17].into_iter().zip(parts) {
        text[at] += part / 10;
        text[at + 1] += part % 10;
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use herd_core::wire;

    use super::*;

    fn pushed(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"x".to_vec();
        push(&mut out);
        String::from_utf8(out.split_off(1)).unwrap()
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

    /// Goal: what is spelled in a report becomes the same digits, whether or not a float lies
    /// between.
    #[test]
    fn digits_of_reports_are_those_of_floats() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut number = |most: u32| {
            let sign = ["+", "-"][random.usize(..2)];
            let zeros = ["", "0", "00"][random.usize(..3)];
            let decimals = [0, 1, 6, 7, 9, 11, 13][random.usize(..7)];
            let digits = (0..decimals).map(|_| random.digit(10)).collect::<String>();
            let nought = ["", "0", "000"][random.usize(..3)];
            let point = if decimals > 0 { "." } else { "" };
            let nought = if decimals > 0 { nought } else { "" };
            format!("{sign}{zeros}{}{point}{digits}{nought}", random.u32(..most))
        };
        let (mut spelled, mut all) = (0, 0);
        for _ in 0..50_000 {
            let position = number(90) + &number(180);
            let Some(at) = wire::position(position.as_bytes()) else { continue };
            let mut digits = Vec::new();
            all += 1;
            if push_spelled(position.as_bytes(), &mut digits) {
                let expected = format!("{},{}", at.longitude, at.latitude);
                assert_eq!(String::from_utf8(digits).unwrap(), expected, "{position}");
                spelled += 1;
            }
        }
        assert!(spelled > 10_000 && all > spelled + 1_000, "{spelled} of {all}");
        for elsewhere in ["", "+", "+1", "+0012.5-00015.5", "+1.00000000000000-1"] {
            assert!(!push_spelled(elsewhere.as_bytes(), &mut Vec::new()), "{elsewhere}");
        }
        let shortest =
            |position: &str| pushed(|out| assert!(push_spelled(position.as_bytes(), out)));
        assert_eq!(shortest("-00.0000000+000.0"), "0,-0");
        assert_eq!(shortest("+60.1699000-024.9384000"), "-24.9384,60.1699");
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
            let spelled = pushed(|out| push_text(text.as_bytes(), out));
            assert_eq!(serde_json::from_str::<String>(&spelled).unwrap(), text);
        }
    }
}
