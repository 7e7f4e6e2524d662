//! The nearest of many positions, in microseconds.
//!
//! Every source that holds its own places uses it. It knows nothing of their text: it speaks of
//! rows, numbered from 0 in the order they were given. The tree is kiddo's, over unit vectors (see
//! `globe`); what this file adds is an order that is the same on every machine and does not depend
//! on the tree's inside. It is built once and never changed.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use kiddo::{ImmutableKdTree, QueryResultItem, SquaredEuclidean};

use super::globe;
use herd_core::whatsat::Position;

/// How much farther than another, squared, a position may seem and still be looked at as just as
/// far: well above what rounding makes of one distance, and 25 micrometres at 50 km.
const TIE: f64 = 1.0 + 1e-9;

/// Different points that are looked at for one question beyond those it wants. Only points on a
/// circle around the asker can be more that are equally far; of them, any may come first.
const TIED_MAX: usize = 256;

/// Positions that can be searched for the nearest.
///
/// Bound: 36 bytes a position, and a little for the inner nodes of the tree.
pub struct Index {
    /// Of the points, which are all different: a crowd on one spot is one of them.
    tree: ImmutableKdTree<f64, 3>,
    /// The first row at each point.
    first: Vec<u32>,
    /// The other rows, each with its point; by point, then by row.
    more: Vec<(u32, u32)>,
}

/// A point and the squared chord from where the question was asked.
type Found = QueryResultItem<(), u32, f64>;

impl Index {
    /// Indexes the positions; the row of each is its place in `vectors`, which come from
    /// `globe::unit_vector`.
    ///
    /// `None` if there are more of them than a `u32` counts.
    pub fn new(vectors: &[[f64; 3]]) -> Option<Index> {
        let rows = u32::try_from(vectors.len()).ok()?;
        let mut known = HashMap::with_capacity(vectors.len());
        let mut points = Vec::with_capacity(vectors.len());
        let (mut first, mut more) = (Vec::with_capacity(vectors.len()), Vec::new());
        for (row, vector) in (0..rows).zip(vectors) {
            let point = points.len() as u32;
            let known = *known.entry(vector.map(f64::to_bits)).or_insert(point);
            if known == point {
                points.push(*vector);
                first.push(row);
            } else {
                more.push((known, row));
            }
        }
        first.shrink_to_fit();
        more.shrink_to_fit();
        more.sort_unstable();
        let tree = ImmutableKdTree::new_from_slice(&points).ok()?;
        Some(Index { tree, first, more })
    }

    /// At most `bound` rows within `radius_km` (inclusive) of `at`, nearest first; if some are
    /// equally far, the one with the lower number first.
    ///
    /// Bound: it looks at `bound` rows, and at 257 points more at most.
    pub fn nearest(&self, at: Position, radius_km: f64, bound: NonZeroUsize) -> Vec<u32> {
        self.find(at, radius_km, bound).0
    }

    /// The same, and how many points and rows it has looked at.
    fn find(&self, at: Position, radius_km: f64, bound: NonZeroUsize) -> (Vec<u32>, usize) {
        let from = globe::unit_vector(at);
        let reach = globe::chord_squared_of(radius_km);
        // One more than is wanted: it shows whether the cut falls between two equally far.
        let query = |points: usize| {
            let points = NonZeroUsize::new(points).unwrap_or(NonZeroUsize::MIN);
            let query = self.tree.query(&from).nearest_n::<SquaredEuclidean<f64>>(points);
            query.within(reach).execute()
        };
        let mut found: Vec<Found> = query(bound.get() + 1);
        if let [.., last, beyond] = found[..]
            && found.len() > bound.get()
            && beyond.distance <= last.distance * TIE
        {
            found = query(bound.get() + 1 + TIED_MAX);
        }
        let mut looked_at = found.len();
        let mut rows: Vec<(f64, u32)> = Vec::with_capacity(bound.get());
        found.sort_by(|a, b| a.distance.total_cmp(&b.distance));
        // Points at the same distance bring their rows together, which are then put in order.
        for tied in found.chunk_by(|a, b| a.distance == b.distance) {
            if rows.len() >= bound.get() {
                break;
            }
            for point in tied {
                let rows_here = self.rows_at(point.item).take(bound.get());
                let before = rows.len();
                rows.extend(rows_here.map(|row| (point.distance, row)));
                looked_at += rows.len() - before;
            }
        }
        rows.sort_by(nearer);
        rows.truncate(bound.get());
        (rows.into_iter().map(|(_, row)| row).collect(), looked_at)
    }

    /// The rows at a point, in order.
    fn rows_at(&self, point: u32) -> impl Iterator<Item = u32> {
        let begin = self.more.partition_point(|(other, _)| *other < point);
        let more = self.more[begin..].iter().take_while(move |(other, _)| *other == point);
        std::iter::once(self.first[point as usize]).chain(more.map(|(_, row)| *row))
    }
}

fn nearer(a: &(f64, u32), b: &(f64, u32)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(positions: &[Position]) -> (Index, Vec<[f64; 3]>) {
        let vectors: Vec<_> = positions.iter().map(|&at| globe::unit_vector(at)).collect();
        (Index::new(&vectors).unwrap(), vectors)
    }

    /// What `nearest` must give, found by looking at every row.
    fn by_force(vectors: &[[f64; 3]], at: Position, km: f64, bound: usize) -> Vec<(f64, u32)> {
        let from = globe::unit_vector(at);
        let mut all: Vec<_> =
            (0..).zip(vectors).map(|(row, &v)| (globe::chord_squared(from, v), row)).collect();
        all.retain(|&(chord, _)| chord <= globe::chord_squared_of(km));
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.truncate(bound);
        all
    }

    fn check(positions: &[Position], at: Position, km: f64, bound: usize) {
        let (index, vectors) = index(positions);
        let expected: Vec<_> =
            by_force(&vectors, at, km, bound).into_iter().map(|(_, row)| row).collect();
        assert_eq!(index.nearest(at, km, NonZeroUsize::new(bound).unwrap()), expected);
    }

    const fn at(latitude: f64, longitude: f64) -> Position {
        Position { latitude, longitude }
    }

    /// Anywhere, but mostly where things go wrong: poles, the date line, a crowd.
    fn anywhere() -> impl Strategy<Value = Position> {
        let jitter = || -0.3..0.3f64;
        prop_oneof![
            (-90.0..=90.0f64, -180.0..=180.0f64).prop_map(|(a, b)| at(a, b)),
            (0.0..0.3f64, -180.0..=180.0f64).prop_map(|(a, b)| at(90.0 - a, b)),
            (0.0..0.3f64, -180.0..=180.0f64).prop_map(|(a, b)| at(a - 90.0, b)),
            (jitter(), jitter())
                .prop_map(|(a, b)| at(a, if b < 0.0 { -180.0 - b } else { 180.0 - b })),
            (jitter(), jitter()).prop_map(|(a, b)| at(60.17 + a, 24.94 + b)),
            Just(at(60.17, 24.94)),
            Just(at(90.0, 0.0)),
        ]
    }

    proptest! {
        #[test]
        fn nearest_is_what_looking_at_all_finds(
            positions in prop::collection::vec(anywhere(), 0..400),
            from in anywhere(),
            km in prop_oneof![0.0..50.0f64, 0.0..20_100.0f64],
            bound in 1..=20usize,
        ) {
            check(&positions, from, km, bound);
        }
    }

    #[test]
    fn equally_far_rows_come_in_order() {
        let crowd = [at(10.0, 10.0); 1_000];
        check(&crowd, at(10.0, 10.0), 0.0, 20);
        check(&crowd, at(10.1, 10.0), 50.0, 20);
        check(&crowd, at(-10.0, 10.0), 50.0, 20);
        check(&[], at(0.0, 0.0), 50.0, 20);
    }

    /// Goal: with any file, a question costs what it asks for. Method: count the points and rows
    /// that are looked at, in a crowd on one spot, in a crowd on a circle, and on both.
    #[test]
    fn a_crowd_costs_no_more_than_the_bound() {
        let spot = vec![at(60.0, 25.0); 200_000];
        let circle: Vec<_> = (0..200_000).map(|i| at(89.7, f64::from(i) / 1_000.0)).collect();
        let both: Vec<_> = (0..200_000).map(|i| at(89.7, f64::from(i % 1_000) / 3.0)).collect();
        let check = |crowd: &[Position], froms: &[Position], is_spot: bool| {
            let (index, _) = index(crowd);
            for (from, (bound, km)) in froms.iter().flat_map(|from| {
                [(1, 50.0), (20, 50.0), (20, 0.0), (20, 20_000.0)].map(|asked| (*from, asked))
            }) {
                let (rows, looked_at) = index.find(from, km, NonZeroUsize::new(bound).unwrap());
                assert!(rows.len() <= bound);
                let points = bound + 1 + TIED_MAX;
                assert!(looked_at <= points + points * bound, "{bound} {km}: {looked_at}");
                if is_spot && !rows.is_empty() {
                    assert!(rows.iter().copied().eq(0..bound as u32), "in the order of the file");
                    assert_eq!(looked_at, 1 + bound);
                }
            }
        };
        check(&spot, &[at(60.0, 25.0), at(60.1, 25.0)], true);
        check(&circle, &[at(90.0, 0.0)], false);
        check(&both, &[at(90.0, 0.0), at(89.0, 0.0)], false);
    }

    #[test]
    fn radius_zero_finds_equal_points_however_they_are_spelled() {
        let equal = |points: &[Position]| {
            for from in points {
                check(points, *from, 0.0, 20);
                let (index, _) = index(points);
                let found = index.nearest(*from, 0.0, NonZeroUsize::new(20).unwrap());
                assert_eq!(found.len(), points.len());
            }
        };
        equal(&[at(12.5, 180.0), at(12.5, -180.0)]);
        equal(&[at(90.0, 0.0), at(90.0, -17.25), at(90.0, 180.0)]);
        equal(&[at(-90.0, 0.0), at(-90.0, 33.0)]);
        equal(&[at(0.0, -0.0), at(-0.0, 0.0)]);
    }

    #[test]
    fn the_radius_is_inclusive() {
        let equator: Vec<_> = (0..50).map(|i| at(0.0, f64::from(i) / 10.0)).collect();
        let km = |degrees: f64| degrees.to_radians() * globe::EARTH_RADIUS_KM;
        let (index, _) = index(&equator);
        let bound = NonZeroUsize::new(100).unwrap();
        assert_eq!(index.nearest(at(0.0, 0.0), km(1.0) * 0.999_999, bound).len(), 10);
        assert_eq!(index.nearest(at(0.0, 0.0), km(1.0) * 1.000_001, bound).len(), 11);
        assert_eq!(index.nearest(at(0.0, 0.2), 0.0, bound), [2]);
    }
}
