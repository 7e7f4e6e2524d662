//! Positions: two numbers in degrees become what IAMAT takes.

use crate::json_text::push_whole;
use crate::report::Unusable;

const DECIMALS: usize = 7;
const UNITS: f64 = 10_000_000.0;

/// Seven decimals of a degree: a centimetre.
///
/// # Errors
/// Numbers that are none or not on the globe. Exactly 0, 0 is what a receiver without a fix says,
/// far more often than somebody who is in the Gulf of Guinea.
pub fn spell(latitude: &str, longitude: &str) -> Result<String, Unusable> {
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| Unusable::BadPosition);
    let (latitude, longitude) = (number(latitude)?, number(longitude)?);
    // A number that is not one is in no range.
    if !(-90.0..=90.0).contains(&latitude) || !(-180.0..=180.0).contains(&longitude) {
        return Err(Unusable::BadPosition);
    }
    if latitude == 0.0 && longitude == 0.0 {
        return Err(Unusable::NoFix);
    }
    let mut spelled = Vec::with_capacity(23);
    for (degrees, whole_digits) in [(latitude, 2), (longitude, 3)] {
        // A formatter rounds at the last bit, and takes twenty times as long.
        let units = (degrees.abs() * UNITS).round() as u64;
        spelled.push(if degrees.is_sign_negative() { b'-' } else { b'+' });
        push_whole(units / UNITS as u64, whole_digits, &mut spelled);
        spelled.push(b'.');
        push_whole(units % UNITS as u64, DECIMALS, &mut spelled);
    }
    Ok(String::from_utf8(spelled).expect("digits are text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_spelled_as_the_wire_wants_them() {
        for (latitude, longitude, spelled) in [
            ("60.1699", "24.9384", "+60.1699000+024.9384000"),
            ("-33.8688", "151.2093", "-33.8688000+151.2093000"),
            (" 5 ", "-0.5", "+05.0000000-000.5000000"),
            ("1.0E-4", "1e2", "+00.0001000+100.0000000"),
            ("90", "-180", "+90.0000000-180.0000000"),
            ("0", "-0.00000001", "+00.0000000-000.0000000"),
        ] {
            assert_eq!(spell(latitude, longitude).unwrap(), spelled);
        }
        for (latitude, longitude) in
            [("90.1", "0"), ("0", "180.5"), ("NaN", "1"), ("1", "inf"), ("", "1"), ("1", "1,5")]
        {
            assert_eq!(spell(latitude, longitude), Err(Unusable::BadPosition));
        }
        assert_eq!(spell("0", "0.0"), Err(Unusable::NoFix));
    }
}
