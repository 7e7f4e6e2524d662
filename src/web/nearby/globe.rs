//! Points and areas of the globe, and the cells that it is cut into.
//!
//! ```text
//!   a band is half a degree of latitude high, and is cut into as many coarse cells as keep them
//!   roughly square; a coarse cell is cut into 64 times 64 fine ones, of at most 0.87 km
//!
//!    ┌──────────────┬──────────────┐  near a pole: 3 coarse cells around the globe
//!    ├────┬────┬────┼────┬────┬────┤
//!    ├──┬─┴┬──┬┴─┬──┼──┬─┴┬──┬┴─┬──┤  at the equator: 720
//!    └──┴──┴──┴──┴──┴──┴──┴──┴──┴──┘
//!  -180             0             180, which is -180
//! ```

use std::ops::RangeInclusive;

use herd_core::{digits, wire};

/// Units of a degree: a centimetre, as in the reports of phones.
const DEGREE: i32 = 10_000_000;
const POLE: i32 = 90 * DEGREE;
/// Once around the globe.
const AROUND: u32 = 3_600_000_000;
/// The mean radius of the earth, as for places.
const EARTH_RADIUS_M: f64 = 6_371_008.8;
/// Rows of fine cells of a degree.
const ROWS_A_DEGREE: u64 = 128;
const ROWS: u32 = 180 * ROWS_A_DEGREE as u32;
/// Fine cells of a coarse one, in a row and in a column.
pub const SIDE: u32 = 64;
const BANDS: usize = (ROWS / SIDE) as usize;

/// A point in units of 1/10,000,000 degree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    latitude: i32,
    longitude: i32,
}

impl Point {
    /// No point of the globe, for those who keep many.
    pub(crate) const NOWHERE: Point = Point { latitude: i32::MIN, longitude: 0 };

    /// `None` for what is not on the globe.
    pub fn new(latitude: f64, longitude: f64) -> Option<Point> {
        // A number that is not one is in no range.
        let is_here = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        is_here.then(|| Point { latitude: units(latitude), longitude: units(longitude) })
    }

    /// Where a checked position of the wire is; `None` if that is nowhere on the globe.
    pub fn spelled(position: &[u8]) -> Option<Point> {
        Point::usual(position).or_else(|| {
            let at = wire::position(position)?;
            Point::new(at.latitude, at.longitude)
        })
    }

    /// Degrees of at most seven decimals, which are units as they stand. Nearly every position is
    /// spelled so, and a float of each number would cost as much as the rest of a move.
    fn usual(position: &[u8]) -> Option<Point> {
        let (latitude, rest) = coordinate(position)?;
        let (longitude, rest) = coordinate(rest)?;
        let is_here = latitude.abs() <= POLE && longitude.abs() <= 2 * POLE && rest.is_empty();
        is_here.then_some(Point { latitude, longitude })
    }

    /// Latitude and longitude in degrees.
    pub fn degrees(self) -> (f64, f64) {
        (
            f64::from(self.latitude) / f64::from(DEGREE),
            f64::from(self.longitude) / f64::from(DEGREE),
        )
    }

    /// Metres along the surface.
    pub fn metres_to(self, other: Point) -> f64 {
        Centre::new(self).metres_to(other)
    }

    /// How far east of 180 degrees west.
    fn east(self) -> u32 {
        east_of(-180 * DEGREE, self.longitude)
    }

    fn row(self) -> u32 {
        let north = (i64::from(self.latitude) + i64::from(POLE)) as u64;
        // The north pole is in the last row.
        ((north * ROWS_A_DEGREE / DEGREE as u64) as u32).min(ROWS - 1)
    }
}

/// A number with its sign that has at most three digits before the point and seven behind it, in
/// units, and what comes behind it. More digits are rounded elsewhere, or mean minutes.
fn coordinate(text: &[u8]) -> Option<(i32, &[u8])> {
    const OF_DECIMALS: [u32; 8] = [10_000_000, 1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];
    let (sign, text) = text.split_first()?;
    let (whole, count) = digits::leading(text);
    if count == 0 || whole > 180 || count > 3 {
        return None;
    }
    let (mut units, mut rest) = (whole as u32 * OF_DECIMALS[0], &text[count..]);
    if let [b'.', decimals @ ..] = rest {
        let (value, count) = digits::leading(decimals);
        units += value as u32 * OF_DECIMALS.get(count)?;
        rest = &decimals[count..];
    }
    Some((if *sign == b'-' { -(units as i32) } else { units as i32 }, rest))
}

fn units(degrees: f64) -> i32 {
    (degrees * f64::from(DEGREE)).round() as i32
}

/// How far one must go east from one longitude to another.
fn east_of(from: i32, to: i32) -> u32 {
    (i64::from(to) - i64::from(from)).rem_euclid(i64::from(AROUND)) as u32
}

/// A point from which distances to many are measured.
pub(super) struct Centre {
    /// In degrees.
    latitude: f64,
    longitude: f64,
    /// Of the latitude.
    sine: f64,
    cosine: f64,
}

impl Centre {
    pub fn new(point: Point) -> Centre {
        let (latitude, longitude) = point.degrees();
        let (sine, cosine) = latitude.to_radians().sin_cos();
        Centre { latitude, longitude, sine, cosine }
    }

    /// Metres along the surface. The haversine formula is exact for points close together.
    pub fn metres_to(&self, point: Point) -> f64 {
        let (latitude, longitude) = point.degrees();
        let half = |from: f64, to: f64| (to - from).to_radians() / 2.0;
        let (north, east) = (half(self.latitude, latitude), half(self.longitude, longitude));
        let is_close = north.abs() < CLOSE && east.abs() < CLOSE;
        let (north, east, cosine) = if is_close {
            // Of twice `north`, by its sine and cosine.
            let (sine, cosine) = (small_sine(2.0 * north), 1.0 - 2.0 * north * north);
            let cosine = cosine + 2.0 / 3.0 * (north * north) * (north * north);
            (small_sine(north), small_sine(east), self.cosine * cosine - self.sine * sine)
        } else {
            (north.sin(), east.sin(), latitude.to_radians().cos())
        };
        let half_chord = (north * north + self.cosine * cosine * east * east).sqrt();
        let half_angle = if is_close {
            let squared = half_chord * half_chord;
            half_chord * (1.0 + squared * (1.0 / 6.0 + squared * (3.0 / 40.0)))
        } else {
            half_chord.min(1.0).asin()
        };
        2.0 * EARTH_RADIUS_M * half_angle
    }
}

/// Half an angle, in radians, up to which the first terms of a series are exact to the last bit but
/// one: some 12 km. The library's functions would be most of what a point nearby costs.
const CLOSE: f64 = 1e-3;

fn small_sine(angle: f64) -> f64 {
    let squared = angle * angle;
    angle * (1.0 - squared * (1.0 / 6.0 - squared * (1.0 / 120.0)))
}

/// What lies between two latitudes and two longitudes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    south: i32,
    north: i32,
    west: i32,
    /// How far it goes east from there.
    width: u32,
}

impl Area {
    /// From one corner to the other: one whose west is east of its east crosses 180 degrees.
    /// `None` if its south is north of its north.
    pub fn between(southwest: Point, northeast: Point) -> Option<Area> {
        let (Point { latitude: south, longitude: west }, north) = (southwest, northeast.latitude);
        let is_whole = i64::from(northeast.longitude) - i64::from(west) == i64::from(AROUND);
        let width = if is_whole { AROUND } else { east_of(west, northeast.longitude) };
        (south <= north).then_some(Area { south, north, west, width })
    }

    /// The smallest that has all points of a circle.
    pub fn around(centre: Point, radius_m: f64) -> Area {
        let angle = radius_m / EARTH_RADIUS_M;
        // One unit more than is needed, for what rounding takes away.
        let reach = |angle: f64| (angle.to_degrees() * f64::from(DEGREE)).ceil() as i64 + 1;
        let (latitude, pole) = (i64::from(centre.latitude), i64::from(POLE));
        let (south, north) = (latitude - reach(angle), latitude + reach(angle));
        let mut area = Area {
            south: south.max(-pole) as i32,
            north: north.min(pole) as i32,
            west: -180 * DEGREE,
            width: AROUND,
        };
        // The circles of longitude that touch the circle; one that has a pole meets all of them.
        let sine = angle.sin() / centre.degrees().0.to_radians().cos();
        if south > -pole && north < pole && sine < 1.0 {
            let reach = reach(sine.asin());
            if 2 * reach < i64::from(AROUND) {
                let west = i64::from(centre.longitude) - reach;
                let half = i64::from(AROUND) / 2;
                area.west = ((west + half).rem_euclid(i64::from(AROUND)) - half) as i32;
                area.width = (2 * reach) as u32;
            }
        }
        area
    }

    pub fn contains(&self, point: Point) -> bool {
        (self.south..=self.north).contains(&point.latitude)
            && (self.width == AROUND || east_of(self.west, point.longitude) <= self.width)
    }

    /// Its rows of fine cells.
    pub(super) fn rows(&self) -> RangeInclusive<u32> {
        let row = |latitude| Point { latitude, longitude: 0 }.row();
        row(self.south)..=row(self.north)
    }

    /// Its southwest corner, its height and its width, in degrees.
    pub fn degrees(&self) -> (f64, f64, f64, f64) {
        let degrees = |units: i64| units as f64 / f64::from(DEGREE);
        let height = i64::from(self.north) - i64::from(self.south);
        let (south, west) = (degrees(self.south.into()), degrees(self.west.into()));
        (south, west, degrees(height), degrees(self.width.into()))
    }

    /// How far a longitude is east of its west, in degrees.
    pub fn degrees_east(&self, point: Point) -> f64 {
        f64::from(east_of(self.west, point.longitude)) / f64::from(DEGREE)
    }

    /// Which of the columns it meets, if so many are around the globe: the first one and how many.
    fn columns(&self, around: u32) -> Columns {
        let column = |east: u64| east * u64::from(around) / u64::from(AROUND);
        let west = u64::from(Point { latitude: 0, longitude: self.west }.east());
        let first = column(west);
        let count = column(west + u64::from(self.width)) - first + 1;
        Columns { first: first as u32, count: (count as u32).min(around), around }
    }
}

/// Columns that follow each other, around the globe if need be.
#[derive(Clone, Copy)]
pub(super) struct Columns {
    first: u32,
    pub count: u32,
    around: u32,
}

impl Columns {
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (self.first..self.first + self.count).map(move |column| column % self.around)
    }
}

/// A fine cell: the coarse one it is of, and its number there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell(u32);

impl Cell {
    pub fn number(self) -> u32 {
        self.0
    }

    pub fn coarse(self) -> usize {
        (self.0 / (SIDE * SIDE)) as usize
    }
}

/// How the globe is cut.
pub struct Cells {
    /// Coarse cells south of each band, and all of them.
    before: Box<[u32]>,
}

impl Cells {
    pub fn new() -> Cells {
        let mut before = vec![0];
        for band in 0..BANDS {
            let latitude = (band as f64 + 0.5) * 0.5 - 90.0;
            let count = (720.0 * latitude.to_radians().cos()).round() as u32;
            before.push(before[band] + count.max(1));
        }
        Cells { before: before.into() }
    }

    /// Coarse cells.
    pub fn coarse(&self) -> usize {
        self.before[BANDS] as usize
    }

    pub fn bytes(&self) -> usize {
        size_of_val(&*self.before)
    }

    pub fn of(&self, point: Point) -> Cell {
        let row = point.row();
        let (band, around) = self.band(row);
        let column = u64::from(point.east()) * u64::from(around * SIDE) / u64::from(AROUND);
        self.at(band, row, column as u32)
    }

    /// Its fine cells, row by row, if they are no more than so many.
    pub fn fine_of(&self, area: Area, most: u32) -> Option<impl Iterator<Item = Cell>> {
        let of_row = move |row| {
            let (band, around) = self.band(row);
            (band, row, area.columns(around * SIDE))
        };
        let mut left = most;
        for row in area.rows() {
            left = left.checked_sub(of_row(row).2.count)?;
        }
        let cells = area.rows().flat_map(move |row| {
            let (band, row, columns) = of_row(row);
            columns.iter().map(move |column| self.at(band, row, column))
        });
        Some(cells)
    }

    /// Its coarse cells.
    pub fn coarse_of(&self, area: Area) -> impl Iterator<Item = usize> {
        let (south, north) = (*area.rows().start() / SIDE, *area.rows().end() / SIDE);
        (south..=north).flat_map(move |band| {
            let (band, around) = self.band(band * SIDE);
            area.columns(around).iter().map(move |column| (self.before[band] + column) as usize)
        })
    }

    /// The centre of a coarse cell.
    pub fn centre(&self, coarse: usize) -> Point {
        let band = self.before.partition_point(|&before| before as usize <= coarse) - 1;
        let (_, around) = self.band(band as u32 * SIDE);
        let column = coarse as u32 - self.before[band];
        let latitude = (band as f64 + 0.5) * 0.5 - 90.0;
        let longitude = (f64::from(column) + 0.5) * 360.0 / f64::from(around) - 180.0;
        Point { latitude: units(latitude), longitude: units(longitude) }
    }

    /// The band of a row, and its coarse cells around the globe.
    fn band(&self, row: u32) -> (usize, u32) {
        let band = (row / SIDE) as usize;
        (band, self.before[band + 1] - self.before[band])
    }

    fn at(&self, band: usize, row: u32, column: u32) -> Cell {
        let coarse = self.before[band] + column / SIDE;
        Cell((coarse * SIDE + row % SIDE) * SIDE + column % SIDE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(latitude: f64, longitude: f64) -> Point {
        Point::new(latitude, longitude).unwrap()
    }

    #[test]
    fn distances_are_along_the_surface() {
        let quarter = std::f64::consts::FRAC_PI_2 * EARTH_RADIUS_M;
        for (a, b, metres) in [
            (point(0.0, 0.0), point(0.0, 90.0), quarter),
            (point(90.0, 7.0), point(-90.0, -120.0), 2.0 * quarter),
            (point(0.0, 179.5), point(0.0, -179.5), quarter / 90.0),
            (point(60.1, 24.9), point(60.1, 24.9), 0.0),
        ] {
            assert!((a.metres_to(b) - metres).abs() < 0.01, "{a:?} {b:?}");
        }
    }

    /// Goal: the short way to a distance ends where the long one does. Method: the library's
    /// functions, at all latitudes, for points closer and farther than the short way goes.
    #[test]
    fn close_points_are_as_far_as_they_are() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..20_000 {
            let from = (random.f64() * 180.0 - 90.0, random.f64() * 360.0 - 180.0);
            let reach = [1e-6, 1e-3, 0.1, 0.2, 10.0][random.usize(..5)];
            let mut aside = || (random.f64() * 2.0 - 1.0) * reach;
            let to =
                ((from.0 + aside()).clamp(-90.0, 90.0), (from.1 + aside()).clamp(-180.0, 180.0));
            let (from, to) = (point(from.0, from.1), point(to.0, to.1));
            let [a, b] = [from, to].map(|it| it.degrees().0.to_radians());
            let half = |from: f64, to: f64| ((to - from) / 2.0).sin().powi(2);
            let [west, east] = [from, to].map(|it| it.degrees().1.to_radians());
            let squared = half(a, b) + a.cos() * b.cos() * half(west, east);
            let metres = 2.0 * EARTH_RADIUS_M * squared.sqrt().min(1.0).asin();
            let off = (from.metres_to(to) - metres).abs();
            assert!(off <= 1e-6 + metres * 1e-9, "{from:?} {to:?}: {off} of {metres}");
        }
    }

    /// Goal: the short way to a point ends where the long one does.
    #[test]
    fn positions_are_points() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut number = |most: f64| {
            let degrees = (random.f64() * 2.0 - 1.0) * most;
            match random.u8(..12) {
                decimals @ 0..9 => format!("{degrees:+.*}", usize::from(decimals)),
                9 => format!("{:+04}", degrees.round()),
                10 => format!("{:+05}", degrees.round()),
                _ => format!("{:+}", most.copysign(degrees)),
            }
        };
        let check = |text: &str| {
            let at = wire::position(text.as_bytes());
            let expected = at.and_then(|at| Point::new(at.latitude, at.longitude));
            assert_eq!(Point::spelled(text.as_bytes()), expected, "{text}");
        };
        (0..20_000).for_each(|_| check(&(number(90.0) + &number(180.0))));
        for text in ["-0-0", "+90.0000000-180.0000000", "+0012.5-00015.5", "-0060+00175", "+1+1"] {
            check(text);
        }
        assert_eq!(Point::spelled(b"+34.068930-118.445127"), Point::new(34.06893, -118.445127));
        assert_eq!(Point::spelled(b"+99+200"), None, "not that a checked position could");
    }

    #[test]
    fn cells_are_roughly_square_and_none_is_another() {
        let cells = Cells::new();
        assert!((164_000..166_000).contains(&cells.coarse()), "{}", cells.coarse());
        assert!(u32::try_from(cells.coarse() * 4096).is_ok());
        assert_eq!(cells.of(point(0.0, 180.0)), cells.of(point(0.0, -180.0)));
        assert_ne!(cells.of(point(0.0, 179.999)), cells.of(point(0.0, -180.0)));
        let around = |row: u32| cells.band(row).1;
        assert_eq!((around(0), around(ROWS / 2), around(ROWS - 1)), (3, 720, 3));
        assert_eq!(point(90.0, 0.0).row(), ROWS - 1);
        for coarse in (0..cells.coarse()).step_by(97) {
            assert_eq!(cells.of(cells.centre(coarse)).coarse(), coarse);
        }
    }

    #[test]
    fn areas_cross_the_date_line() {
        let across = Area::between(point(-1.0, 179.0), point(1.0, -179.0)).unwrap();
        for (longitude, is_in) in [(179.5, true), (-180.0, true), (180.0, true), (0.0, false)] {
            assert_eq!(across.contains(point(0.0, longitude)), is_in, "{longitude}");
        }
        let world = Area::between(point(-90.0, -180.0), point(90.0, 180.0)).unwrap();
        assert!(world.contains(point(90.0, 180.0)) && world.contains(point(0.0, 0.0)));
        assert_eq!(world.columns(720).count, 720);
        assert_eq!(Area::between(point(1.0, 0.0), point(0.0, 0.0)), None);
        let pole = Area::around(point(89.9, 0.0), 20_000.0);
        assert!(pole.contains(point(89.95, 180.0)) && !pole.contains(point(-89.95, 180.0)));
        assert!(Area::around(point(0.0, 0.0), 30_000_000.0).contains(point(-45.0, 180.0)));
    }
}
