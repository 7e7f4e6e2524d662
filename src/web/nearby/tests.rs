//! The grid against a scan of all clients.

use std::collections::BTreeMap;

use herd_core::store::Key;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::clients::Clients;

fn point(latitude: f64, longitude: f64) -> Point {
    Point::new(latitude, longitude).unwrap()
}

/// The grid and what it should hold, by the numbers of clients.
struct Twin {
    clients: Clients,
    all: BTreeMap<u32, Point>,
}

impl Twin {
    fn new() -> Twin {
        let mut clients = Clients::default();
        clients.keep_grid();
        clients.grid_is_read();
        Twin { clients, all: BTreeMap::new() }
    }

    fn put(&mut self, client: u32, at: Point) {
        let moved = self.clients.put(key(client), Some(at)).unwrap();
        self.all.insert(moved.who, at);
    }

    fn remove(&mut self, client: u32) {
        if let Some(who) = self.clients.find(key(client)) {
            assert!(self.all.remove(&who).is_some());
            self.clients.remove(key(client), b"x", false);
        }
    }

    fn grid(&self) -> Places<'_> {
        self.clients.grid().unwrap()
    }

    fn check_near(&self, centre: Point, radius_m: f64) {
        let mut expected: Vec<Near> = Vec::new();
        for (&who, &at) in &self.all {
            let metres = centre.metres_to(at);
            if metres <= radius_m {
                expected.push(Near { metres, who });
            }
        }
        expected.sort_by(|a, b| (a.metres, a.who).partial_cmp(&(b.metres, b.who)).unwrap());
        let mut found = Vec::new();
        self.grid().near(centre, radius_m, &mut found).unwrap();
        assert_eq!(found, expected, "{centre:?} {radius_m}");
    }

    fn check_inside(&self, area: &Area, limit: usize) {
        let expected = self.all.iter().filter(|(_, at)| area.contains(**at));
        let expected = Vec::from_iter(expected.map(|(&who, _)| who));
        let (mut found, mut from) = (Vec::new(), Some(0));
        while let Some(first) = from {
            let before = found.len();
            from = self.grid().inside(area, first, |who| {
                let has_room = found.len() - before < limit;
                found.extend(has_room.then_some(who));
                has_room
            });
        }
        assert_eq!(found, expected, "{area:?}");
        let counted: u32 = self.grid().counts(area, (4, 8)).iter().map(|count| count.clients).sum();
        assert!(counted as usize <= self.all.len());
    }
}

fn key(client: u32) -> Key {
    Key::from_number(u64::from(client) * 0x1_0001)
}

/// Mostly where grids go wrong: at poles, at 180 degrees, at the borders of cells, at one place.
fn points() -> impl Strategy<Value = Point> {
    let latitude = prop_oneof![
        2 => -90.0..=90.0,
        1 => prop_oneof![Just(90.0), Just(-90.0), Just(0.0), Just(0.5), Just(60.1699)],
        1 => (89.0..=90.0_f64, any::<bool>()).prop_map(|(it, south)| if south { -it } else { it }),
        2 => (0..=40_i32).prop_map(|it| f64::from(it - 20) / 128.0),
    ];
    let longitude = prop_oneof![
        2 => -180.0..=180.0,
        1 => prop_oneof![Just(180.0), Just(-180.0), Just(0.0), Just(24.9384)],
        2 => (179.9..=180.0_f64, any::<bool>()).prop_map(|(it, west)| if west { -it } else { it }),
        2 => (0..=40_i32).prop_map(|it| f64::from(it - 20) / 128.0),
    ];
    (latitude, longitude).prop_map(|(latitude, longitude)| point(latitude, longitude))
}

/// Now and then, somebody goes away.
fn whereabouts() -> impl Strategy<Value = Option<Point>> {
    proptest::option::weighted(0.9, points())
}

fn radius() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..3_000.0, 0.0..300_000.0, 0.0..21_000_000.0]
}

proptest! {
    // The same cases each time: a change is judged by what it changes.
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    /// Goal: whatever has moved and gone, a circle and an area have those that a scan finds, in the
    /// same order; pages miss nobody and name nobody twice.
    #[test]
    fn the_grid_finds_what_a_scan_finds(
        moves in proptest::collection::vec((0..60_u32, whereabouts()), 0..300),
        circles in proptest::collection::vec((points(), radius()), 8),
        corners in proptest::collection::vec((points(), points()), 8),
        limit in 1..20_usize,
    ) {
        let mut twin = Twin::new();
        for (who, at) in moves {
            match at {
                Some(at) => twin.put(who, at),
                None => twin.remove(who),
            }
        }
        twin.clients.check_invariants();
        prop_assert_eq!(twin.clients.len(), twin.all.len());
        for (centre, radius) in circles {
            twin.check_near(centre, radius);
        }
        for (southwest, northeast) in corners {
            if let Some(area) = Area::between(southwest, northeast) {
                twin.check_inside(&area, limit);
            }
        }
    }
}

/// Some clients in a few towns, and some anywhere; the same each time.
fn crowd(count: u32, mut spread: impl FnMut(u32, Point)) {
    let mut random = fastrand::Rng::with_seed(7);
    let towns: Vec<_> =
        (0..50).map(|_| (random.f64() * 160.0 - 80.0, random.f64() * 360.0 - 180.0)).collect();
    for who in 0..count {
        let (latitude, longitude) = towns[random.usize(..towns.len())];
        let mut near = || (random.f64() + random.f64() - 1.0) * 0.1;
        let at = point(latitude + near(), (longitude + near() + 180.0).rem_euclid(360.0) - 180.0);
        spread(who, at);
    }
}

/// Goal: an area with more clients than an answer may look at is met in pages, each of them once.
#[test]
fn much_is_met_in_pages() {
    let mut twin = Twin::new();
    crowd(3 * LOOKS_MAX as u32, |who, at| twin.put(who, at));
    (0..100).for_each(|who| twin.remove(who * 7));
    let world = Area::between(point(-90.0, -180.0), point(90.0, 180.0)).unwrap();
    twin.check_inside(&world, usize::MAX);
    twin.check_inside(&world, 1_000);
    let counts = twin.grid().counts(&world, (16, 32));
    assert!(counts.len() <= 16 * 32 && counts.iter().all(|count| world.contains(count.at)));
    let counted: u32 = counts.iter().map(|count| count.clients).sum();
    assert_eq!(counted as usize, twin.clients.len(), "the world has all");
    let mut found = Vec::new();
    assert_eq!(twin.grid().near(point(0.0, 0.0), 2.1e7, &mut found), Err(TooMany));
    twin.check_near(twin.all[&1], 2_000.0);
}

/// Goal: a million moves leave nobody behind, and hardly one of them allocates; alone in the
/// country, a client costs no more than in a town.
#[test]
fn moves_cost_no_memory() {
    const CLIENTS: u32 = 100_000;
    let mut twin = Twin::new();
    let fixed = twin.clients.bytes();
    crowd(CLIENTS, |who, at| twin.put(who, at));
    let a_client = |clients: &Clients| (clients.bytes() - fixed) as f64 / f64::from(CLIENTS);
    assert!(a_client(&twin.clients) < 26.0, "{} bytes in a town", a_client(&twin.clients));
    let mut lone = Twin::new();
    (0..CLIENTS).for_each(|who| {
        lone.put(who, point(f64::from(who % 300) / 4.0, f64::from(who / 300) / 2.0))
    });
    assert!(a_client(&lone.clients) < 28.0, "{} bytes in the country", a_client(&lone.clients));

    let mut random = fastrand::Rng::with_seed(3);
    let mut moves = Vec::new();
    for step in 0..1_000_000_u32 {
        let who = random.u32(..CLIENTS);
        let (latitude, longitude) = twin.clients.at(who).unwrap().degrees();
        let mut far = |reach: f64| (random.f64() - 0.5) * reach;
        let reach = if step % 10 == 0 { 0.1 } else { 0.001 };
        let (latitude, longitude) = (latitude + far(reach), longitude + far(reach));
        let at = point(latitude, (longitude + 180.0).rem_euclid(360.0) - 180.0);
        moves.push((who, at));
    }
    let counted = allocation_counter::measure(|| {
        for &(who, at) in &moves {
            twin.clients.put(key(who), Some(at));
        }
    });
    assert!(counted.count_total > 0, "the counter counts");
    assert!(counted.count_total < 10_000, "{} allocations", counted.count_total);
    twin.all.extend(moves);
    twin.clients.check_invariants();
    for who in [0, 5_000, 77_777] {
        twin.check_near(twin.all[&who], 3_000.0);
    }
}

/// Goal: however many are parked in one place, each is found, moved and removed.
#[test]
fn many_may_be_in_one_place() {
    let mut twin = Twin::new();
    let here = point(60.1699, 24.9384);
    (0..10_000).for_each(|who| twin.put(who, here));
    twin.check_near(here, 0.0);
    (0..10_000).step_by(2).for_each(|who| twin.remove(who));
    (1..10_000).step_by(4).for_each(|who| twin.put(who, point(60.17, 24.9384)));
    twin.clients.check_invariants();
    twin.check_near(here, 5.0);
    twin.check_near(here, 100.0);
}
