//! The globe as points in space.
//!
//! Every source orders by distance, and all must mean the same by it. A position becomes a unit
//! vector, and two positions are compared by the square of the straight line between them, the
//! chord. A longer way round the globe has a longer chord, so the order is exactly that of
//! great-circle distances; and where latitude and longitude have poles and a date line, vectors
//! have no seam. It knows no ellipsoid: on the sphere a distance is wrong by up to 0.6 %, which a
//! bigger system would mend with geodesics.

use herd_core::whatsat::Position;

/// Mean radius of the Earth in kilometres: (2a + b) / 3 of WGS 84.
pub const EARTH_RADIUS_KM: f64 = 6_371.008_8;

/// The position on a sphere of radius 1: x towards 0° N 0° E, y towards 0° N 90° E, z north.
///
/// Equal points have equal vectors, however they are spelled: a pole has every longitude, and the
/// meridian of 180° two.
pub fn unit_vector(at: Position) -> [f64; 3] {
    if at.latitude.abs() == 90.0 {
        return [0.0, 0.0, at.latitude.signum()];
    }
    let longitude = if at.longitude == -180.0 { 180.0 } else { at.longitude };
    let (sin_latitude, cos_latitude) = at.latitude.to_radians().sin_cos();
    let (sin_longitude, cos_longitude) = longitude.to_radians().sin_cos();
    let vector = [cos_latitude * cos_longitude, cos_latitude * sin_longitude, sin_latitude];
    // The zero of -0° becomes that of 0°.
    vector.map(|coordinate| coordinate + 0.0)
}

/// The squared chord between two unit vectors, in [0, 4].
pub fn chord_squared(a: [f64; 3], b: [f64; 3]) -> f64 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2) + (a[2] - b[2]).powi(2)
}

/// The squared chord that spans a way of `km` kilometres over the globe.
///
/// From half the globe's girth (20,015 km) on nothing is farther: the answer is 4.
pub fn chord_squared_of(km: f64) -> f64 {
    let half_angle = (km / EARTH_RADIUS_KM / 2.0).min(std::f64::consts::FRAC_PI_2);
    (2.0 * half_angle.sin()).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Great-circle kilometres by the other road: haversines.
    fn haversine_km(a: Position, b: Position) -> f64 {
        let half_sine = |x: f64| (x.to_radians() / 2.0).sin().powi(2);
        let h = half_sine(b.latitude - a.latitude)
            + a.latitude.to_radians().cos()
                * b.latitude.to_radians().cos()
                * half_sine(b.longitude - a.longitude);
        2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin()
    }

    fn check(from: (f64, f64), to: (f64, f64), km: f64) {
        let [a, b] = [from, to].map(|(latitude, longitude)| Position { latitude, longitude });
        let chord = chord_squared(unit_vector(a), unit_vector(b));
        assert!((haversine_km(a, b) - km).abs() < 0.5, "{from:?} {to:?}: {}", haversine_km(a, b));
        assert!((chord - chord_squared_of(haversine_km(a, b))).abs() < 1e-9, "{from:?} {to:?}");
    }

    #[test]
    fn chords_agree_with_haversines() {
        check((60.17, 24.94), (60.17, 24.94), 0.0);
        check((60.1699, 24.9384), (59.437, 24.7536), 82.1);
        check((0.0, 179.9), (0.0, -179.9), 22.2);
        check((0.0, 180.0), (0.0, -180.0), 0.0);
        check((89.9, 0.0), (89.9, 180.0), 22.2);
        check((90.0, 17.0), (90.0, -100.0), 0.0);
        check((-90.0, 0.0), (90.0, 0.0), 20_015.1);
        check((34.06893, -118.445127), (-33.8671, 151.2073), 12_058.2);
    }

    #[test]
    fn equal_points_have_equal_vectors() {
        fn check(one: (f64, f64), other: (f64, f64)) {
            let [one, other] = [one, other].map(|(latitude, longitude)| {
                unit_vector(Position { latitude, longitude }).map(f64::to_bits)
            });
            assert_eq!(one, other);
        }
        check((12.5, 180.0), (12.5, -180.0));
        check((90.0, 17.0), (90.0, -100.0));
        check((-90.0, 180.0), (-90.0, 0.0));
        check((-0.0, -0.0), (0.0, 0.0));
        check((-0.0, 180.0), (0.0, -180.0));
        check((-5.0, -0.0), (-5.0, 0.0));
    }

    #[test]
    fn the_whole_globe_is_within_any_longer_way() {
        assert_eq!(chord_squared_of(0.0), 0.0);
        assert_eq!(chord_squared_of(20_016.0), 4.0);
        assert_eq!(chord_squared_of(1e9), 4.0);
    }
}
