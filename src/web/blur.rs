//! Where somebody is, told so coarsely that nobody finds the door: a square of a grid that lies
//! still, and a minute.
//!
//! The same place always gives the same square, so asking often tells no more than asking once, as
//! it would if noise were added. The grids of all sizes lie in each other: a coarser square is made
//! of whole finer ones, so two links of different sizes tell together what the finer one tells.
//! What stays: who crosses the border of two squares is near that border then.

use herd_core::whatsat::Position;

use crate::follow::area::Area;

/// From pole to pole, along a meridian.
const MERIDIAN_METRES: u32 = 20_003_931;
/// Times are told in these.
const MINUTE_S: u64 = 60;

/// How coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blur {
    metres: u32,
}

/// Where and when somebody was, as far as it is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Square {
    /// `None` for a position that is none on this globe.
    pub area: Option<Area>,
    /// When a minute began, in seconds since 1970.
    pub minute_s: u64,
}

impl Blur {
    /// A house is not found in a square of 100 m, but a farm is in one of a kilometre.
    pub const METRES_MIN: u32 = 100;
    pub const METRES_MAX: u32 = 100_000;

    /// Squares that are at least so many metres high and wide, and less than twice as high and, but
    /// near a pole, about four times as wide. `None` if that is out of bounds.
    pub fn new(metres: u32) -> Option<Blur> {
        (Blur::METRES_MIN..=Blur::METRES_MAX).contains(&metres).then_some(Blur { metres })
    }

    /// As many metres as were asked for.
    pub fn metres(self) -> u32 {
        self.metres
    }

    /// Where and when somebody was, made coarse.
    pub fn square(self, at: Option<Position>, posix_s: u64) -> Square {
        let minute_s = posix_s - posix_s % MINUTE_S;
        Square { area: at.map(|at| self.area(at)), minute_s }
    }

    /// The square that a position is in.
    fn area(self, at: Position) -> Area {
        // Halving is what has the grids lie in each other.
        let rows = 1 << (MERIDIAN_METRES / self.metres).ilog2();
        let height = 180.0 / f64::from(rows);
        let row = f64::from(place(at.latitude + 90.0, height, rows));
        let (south, north) = (row * height - 90.0, (row + 1.0) * height - 90.0);
        // Where the meridians are nearest to each other, a square is as wide as it is high.
        let narrowest = south.abs().max(north.abs()).to_radians().cos();
        let columns = 1 << ((360.0 * narrowest / height) as u32).max(1).ilog2();
        let width = 360.0 / f64::from(columns);
        let column = f64::from(place(at.longitude + 180.0, width, columns));
        Area { west: column * width - 180.0, south, east: (column + 1.0) * width - 180.0, north }
    }
}

/// In which of so many parts of this length something is; the end belongs to the last.
fn place(at: f64, length: f64, parts: u32) -> u32 {
    ((at / length) as u32).min(parts - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Metres of a degree of a meridian, and of the equator.
    const DEGREE_METRES: f64 = MERIDIAN_METRES as f64 / 180.0;

    fn area(metres: u32, latitude: f64, longitude: f64) -> Area {
        Blur::new(metres).unwrap().area(Position { latitude, longitude })
    }

    #[test]
    fn a_square_is_as_it_is_described() {
        let helsinki = area(1_000, 60.1699, 24.9384);
        let expected = Area { west: 24.9169921875, south: 60.1611328125, ..helsinki };
        assert_eq!(helsinki, expected);
        assert_eq!((helsinki.east - helsinki.west) * 8192.0, 360.0);
        assert_eq!((helsinki.north - helsinki.south) * 16384.0, 180.0);
        assert_eq!(area(1_000, 60.165, 24.92), helsinki, "all of it is one");
        let pole = area(1_000, 90.0, 7.0);
        assert_eq!((pole.west, pole.east, pole.north), (-180.0, 180.0, 90.0));
        assert_eq!(area(1_000, 0.0, 180.0).east, 180.0);
        assert_eq!(
            [99, 100, 100_000, 100_001].map(|it| Blur::new(it).is_some()),
            [false, true, true, false]
        );
        let square = Blur::new(1_000).unwrap().square(None, 1_520_023_934);
        assert_eq!(square, Square { area: None, minute_s: 1_520_023_920 });
    }

    proptest! {
        /// Goal: each place is in the square that is told, which is as large as was asked
        /// for, and lies whole in that of a coarser link; and all who are in it are told alike.
        #[test]
        fn squares_hide_and_lie_in_each_other(
            (latitude, longitude) in (-90.0..=90.0, -180.0..=180.0),
            (fine, coarse) in (100_u32..=100_000, 100_u32..=100_000),
            (up, right) in (0.001..0.999, 0.001..0.999),
        ) {
            let (fine, coarse) = (fine.min(coarse), fine.max(coarse));
            let told = area(fine, latitude, longitude);
            let at = Position { latitude, longitude };
            prop_assert!(told.contains(at));
            let high = (told.north - told.south) * DEGREE_METRES;
            prop_assert!((f64::from(fine)..2.0 * f64::from(fine)).contains(&high), "{high}");
            let is_cap = told.south == -90.0 || told.north == 90.0;
            for edge in [told.south, told.north] {
                let degree = DEGREE_METRES * edge.to_radians().cos();
                let wide = (told.east - told.west) * degree;
                prop_assert!(is_cap || wide >= 0.999 * f64::from(fine), "{wide}");
            }
            let middle = (told.south + told.north) / 2.0;
            let wide = (told.east - told.west) * DEGREE_METRES * middle.to_radians().cos();
            prop_assert!(middle.abs() > 60.0 || wide < 4.2 * f64::from(fine), "{wide}");
            let outer = area(coarse, latitude, longitude);
            prop_assert!(outer.south <= told.south && told.north <= outer.north);
            prop_assert!(outer.west <= told.west && told.east <= outer.east);
            let latitude = told.south + (told.north - told.south) * up;
            let longitude = told.west + (told.east - told.west) * right;
            prop_assert_eq!(area(fine, latitude, longitude), told);
        }
    }
}
