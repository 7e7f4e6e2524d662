//! When a certificate expires: the one thing that is asked of its text, which is DER (X.690).
//! Whether it is right in all else, rustls sees.

use time::{Date, Month, OffsetDateTime, Time};

/// Tags of DER.
const VERSION: u8 = 0xA0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When it expires, in POSIX seconds; 0 if that was before 1970. `None` if it is no certificate.
pub fn expiry(certificate: &[u8]) -> Option<u64> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut signed, _) = element(certificate)?;
    // A serial number, an algorithm and an issuer come before; a version may come before them.
    let before = if signed.first() == Some(&VERSION) { 4 } else { 3 };
    for _ in 0..before {
        (_, _, signed) = element(signed)?;
    }
    let (_, validity, _) = element(signed)?;
    let (_, _, until) = element(validity)?;
    let (tag, text, _) = element(until)?;
    let moment = moment(tag, text)?;
    Some(moment.unix_timestamp().try_into().unwrap_or(0))
}

/// Its day (UTC), for people.
pub fn date(posix_s: u64) -> String {
    let moment = posix_s.try_into().ok().map(OffsetDateTime::from_unix_timestamp);
    moment.and_then(Result::ok).map_or("a day unknown".to_owned(), |it| it.date().to_string())
}

/// The first element: its tag and contents, and what is behind it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        // More than four bytes would be a length that no file has.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// A moment as certificates spell it (RFC 5280, section 4.1.2.5): always to the second, in UTC.
fn moment(tag: u8, text: &[u8]) -> Option<OffsetDateTime> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, text) = text.split_at_checked(if tag == UTC_TIME { 2 } else { 4 })?;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(year) || !is_number(text) || text.len() != 10 {
        return None;
    }
    let year: i32 = match (tag, year.parse().ok()?) {
        (UTC_TIME, year @ 0..50) => 2000 + year,
        (UTC_TIME, year) => 1900 + year,
        (GENERALIZED_TIME, year) => year,
        _ => return None,
    };
    let pair = |at: usize| text[2 * at..2 * at + 2].parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(pair(0)?).ok()?, pair(1)?).ok()?;
    let time = Time::from_hms(pair(2)?, pair(3)?, pair(4)?).ok()?;
    Some(date.with_time(time).assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_certificates_spell_them() {
        let check = |tag, text: &str, expected: Option<i64>| {
            let found = moment(tag, text.as_bytes()).map(|moment| moment.unix_timestamp());
            assert_eq!(found, expected, "{text}");
        };
        check(UTC_TIME, "700101000000Z", Some(0));
        check(UTC_TIME, "491231235959Z", Some(2_524_607_999));
        check(UTC_TIME, "500101000000Z", Some(-631_152_000));
        check(GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000));
        check(GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799));
        for text in ["", "Z", "700101000000", "70010100000Z", "7001010000000Z", "701301000000Z"] {
            check(UTC_TIME, text, None);
        }
        check(UTC_TIME, "70010100000éZ", None);
        check(0x16, "700101000000Z", None);
    }

    #[test]
    fn a_certificate_says_when_it_expires() {
        for (year, posix_s) in [(2031, 1_930_694_400), (2124, 4_865_529_600)] {
            let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 3, 8);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = params.self_signed(&key).unwrap();
            assert_eq!(expiry(certificate.der()), Some(posix_s));
            assert_eq!(date(posix_s), format!("{year}-03-08"));
            // Cut anywhere, it is none, and nothing panics.
            for length in 0..certificate.der().len() {
                assert_eq!(expiry(&certificate.der()[..length]), None);
            }
        }
    }

    /// Goal: whatever the bytes are, they are looked at within their bounds.
    #[test]
    fn random_bytes_are_no_certificate() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100_000 {
            let mut bytes = vec![0; random.usize(..64)];
            random.fill(&mut bytes);
            if let Some(first) = bytes.first_mut() {
                *first = 0x30;
            }
            expiry(&bytes);
        }
    }
}
