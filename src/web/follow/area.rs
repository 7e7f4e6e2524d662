//! Parts of the globe: the area that a follower wants to know of, and the cells by which a report
//! finds those that it may concern.

use herd_core::whatsat::Position;

use crate::nearby::Point;

/// A part of the globe, of a degree's side.
pub type Cell = u16;

/// The cell of a client whose position is not on this globe.
pub const NOWHERE: Cell = Cell::MAX;
/// An area of more cells than this is found by no cell: its followers look at every change.
const CELLS_MAX: usize = 64;
/// A degree of a meridian.
const METERS_A_DEGREE: f64 = 111_195.0;

/// A point is so far from the position that was reported, at most: half a unit of `Point`.
const ROUNDED_DEGREES: f64 = 1e-7;

/// The cell in which a point is.
pub fn cell(at: Option<Point>) -> Cell {
    let Some((latitude, longitude)) = at.map(Point::degrees) else { return NOWHERE };
    number(latitude.floor() as i32, longitude.floor() as i32)
}

fn number(latitude: i32, longitude: i32) -> Cell {
    let row = (latitude + 90).clamp(0, 179);
    (row * 360 + (longitude + 180).rem_euclid(360)) as Cell
}

/// An area between two meridians and two parallels. If it crosses the 180th meridian, its west is
/// greater than its east.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    pub west: f64,
    pub south: f64,
    pub east: f64,
    pub north: f64,
}

impl Area {
    /// `west,south,east,north` in degrees.
    pub fn parse(text: &str) -> Option<Area> {
        let mut numbers = text.split(',').map(|number| number.trim().parse::<f64>().ok());
        let mut next = || numbers.next().flatten().filter(|number| number.is_finite());
        let (west, south, east, north) = (next()?, next()?, next()?, next()?);
        let are_all = numbers.next().is_none();
        let has_meridians = [west, east].iter().all(|it| (-180.0..=180.0).contains(it));
        let has_parallels = -90.0 <= south && south <= north && north <= 90.0;
        (are_all && has_meridians && has_parallels).then_some(Area { west, south, east, north })
    }

    pub fn contains(&self, at: Position) -> bool {
        let Area { west, south, east, north } = *self;
        let is_between = if west <= east {
            (west..=east).contains(&at.longitude)
        } else {
            at.longitude >= west || at.longitude <= east
        };
        is_between && (south..=north).contains(&at.latitude)
    }

    /// The area and so many meters around it.
    pub fn grown(&self, meters: f64) -> Area {
        let degrees = meters / METERS_A_DEGREE;
        let (south, north) = ((self.south - degrees).max(-90.0), (self.north + degrees).min(90.0));
        // Where meridians are nearest to each other; near a pole they are all in.
        let narrow = south.abs().max(north.abs()).to_radians().cos();
        let aside = degrees / narrow;
        let width = (self.east - self.west).rem_euclid(360.0);
        let is_all_round = self.east - self.west >= 360.0;
        if is_all_round || !aside.is_finite() || width + 2.0 * aside >= 360.0 {
            return Area { west: -180.0, south, east: 180.0, north };
        }
        let turn = |longitude: f64| match longitude {
            it if it < -180.0 => it + 360.0,
            it if it > 180.0 => it - 360.0,
            it => it,
        };
        Area { west: turn(self.west - aside), south, east: turn(self.east + aside), north }
    }

    /// The cells that the points of its clients are in; `None` if those are too many.
    pub fn cells(&self) -> Option<Vec<Cell>> {
        // A position just inside may be a point just outside.
        let (down, up) =
            (|it: f64| (it - ROUNDED_DEGREES).floor(), |it: f64| (it + ROUNDED_DEGREES).floor());
        let rows = (down(self.south) as i32)..=(up(self.north) as i32);
        let (west, mut east) = (down(self.west) as i32, up(self.east) as i32);
        if self.west > self.east {
            east += 360;
        }
        let columns = west..=east.min(west + 359);
        let count = rows.clone().count() * columns.clone().count();
        if count > CELLS_MAX {
            return None;
        }
        let mut cells =
            Vec::from_iter(rows.flat_map(|row| columns.clone().map(move |at| number(row, at))));
        cells.sort_unstable();
        cells.dedup();
        Some(cells)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(latitude: f64, longitude: f64) -> Position {
        Position { latitude, longitude }
    }

    #[test]
    fn areas_are_read() {
        let depot = Area::parse("24.9,60.1,25,60.2").unwrap();
        assert!(depot.contains(at(60.15, 24.95)) && !depot.contains(at(24.95, 60.15)));
        let date_line = Area::parse("179,-20,-179,-10").unwrap();
        assert!(date_line.contains(at(-15.0, 179.5)) && date_line.contains(at(-15.0, -179.5)));
        assert!(!date_line.contains(at(-15.0, 0.0)));
        for text in ["", "1,2,3", "1,2,3,4,5", "1,5,2,4", "1,2,181,4", "a,2,3,4", "1,2,3,nan"] {
            assert_eq!(Area::parse(text), None, "{text}");
        }
        assert_eq!(cell(None), NOWHERE);
        assert_eq!(Area::parse("-180,-90,180,90").unwrap().cells(), None);
    }

    proptest! {
        /// Goal: a client in an area, or near it, is in one of its cells, or it has none.
        #[test]
        fn cells_cover_an_area(
            (west, width) in (-180.0..180.0, 0.0..8.0),
            (south, height) in (-90.0..90.0, 0.0..8.0),
            (right, up) in (0.0..1.0, 0.0..1.0),
            meters in 0.0..50_000.0,
        ) {
            let turn = |it: f64| if it > 180.0 { it - 360.0 } else { it };
            let north = f64::min(south + height, 90.0);
            let area = Area { west, south, east: turn(west + width), north };
            let inside = at(south + (north - south) * up, turn(west + width * right));
            prop_assume!(area.contains(inside));
            let grown = area.grown(meters);
            prop_assert!(grown.contains(inside));
            for cells in [area, grown].iter().filter_map(Area::cells) {
                prop_assert!(cells.contains(&cell(Point::new(inside.latitude, inside.longitude))));
            }
        }
    }
}
