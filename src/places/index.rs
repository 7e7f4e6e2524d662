//! The nearest of many positions, in microseconds.
//!
//! It is apart from `atlas` because any source that holds its own places needs it and none of
//! their text: it speaks of rows, numbered from 0 in the order they were given. The tree is
//! kiddo's, over unit vectors (see `globe`); what this file adds is an order that is the same on
//! every machine, whatever the tree looks like inside. It is built once and never changed.

use std::num::NonZeroUsize;

use kiddo::{ImmutableKdTree, QueryResultItem, SquaredEuclidean};

use super::globe;
use crate::core::whatsat::Position;

/// How much farther than another, squared, a position may seem and still be looked at as just as
/// far: well above what rounding makes of one distance, and 25 micrometres at 50 km.
const TIE: f64 = 1.0 + 1e-9;

/// Positions that can be asked who is near.
///
/// Bound: 32 bytes a position, and a little for the inner nodes of the tree.
pub struct Index {
    tree: ImmutableKdTree<f64, 3>,
}

/// A row and the squared chord from where the question was asked.
type Found = QueryResultItem<(), u32, f64>;

impl Index {
    /// Indexes the positions; the row of each is its place in `vectors`, which come from
    /// `globe::unit_vector`.
    ///
    /// `None` if there are more of them than a `u32` counts.
    pub fn new(vectors: &[[f64; 3]]) -> Option<Index> {
        ImmutableKdTree::new_from_slice(vectors).ok().map(|tree| Index { tree })
    }

    /// At most `bound` rows within `radius_km` (inclusive) of `at`, nearest first; of rows that
    /// are equally far, the one with the lower number first.
    pub fn nearest(&self, at: Position, radius_km: f64, bound: NonZeroUsize) -> Vec<u32> {
        let from = globe::unit_vector(at);
        let reach = globe::chord_squared_of(radius_km);
        // One more than is wanted: it tells whether the cut falls between two equally far.
        let mut found = self
            .tree
            .query(&from)
            .nearest_n::<SquaredEuclidean<f64>>(bound.saturating_add(1))
            .within(reach)
            .execute();
        if let [.., last, beyond] = found[..]
            && found.len() > bound.get()
            && beyond.distance <= last.distance * TIE
        {
            let tied = (last.distance * TIE).min(reach);
            found = self.tree.query(&from).within::<SquaredEuclidean<f64>>(tied).execute();
        }
        found.sort_by(nearer);
        found.truncate(bound.get());
        found.into_iter().map(|found| found.item).collect()
    }
}

fn nearer(a: &Found, b: &Found) -> std::cmp::Ordering {
    a.distance.total_cmp(&b.distance).then(a.item.cmp(&b.item))
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
