//! Clients that move about a city (`herd demo`): where each is at each second. Pure, and the same
//! in every run: a client's place follows from its number and the time alone.

use fastrand::Rng;

use super::streets::{Kind, WAYS, Way};

/// Metres of a degree of latitude.
const DEGREE_M: f64 = 111_195.0;
/// Of so many clients, one has stopped and is not heard any more.
const STOPPED_EVERY: u32 = 20;
/// How long ago the first of those was heard last, in seconds; each next one so many times longer.
const STOPPED_S: f64 = 150.0;
const STOPPED_GROWS: f64 = 4.5;
/// After so many the ages begin anew: the oldest has not moved for 17 hours.
const STOPPED_AGES: i32 = 5;

/// A client that goes there and back on its way, for ever; or that has stopped.
#[derive(Clone, Debug)]
pub struct Stroll {
    pub name: String,
    way: &'static Way,
    metres_per_s: f64,
    /// How far along it was when time began, in metres.
    ahead_m: f64,
    /// How far it keeps to the right of the middle, in metres.
    aside_m: f64,
    /// It was heard last so many seconds before it is reported.
    pub stopped_s: Option<u64>,
}

impl Stroll {
    /// The client of this number.
    pub fn new(number: u32) -> Stroll {
        let mut rng = Rng::with_seed(u64::from(number));
        let (ways, round) = (WAYS.len() as u32, number / WAYS.len() as u32);
        let way = &WAYS[(ways - 1 - number % ways) as usize];
        let kind = way.kinds[round as usize % way.kinds.len()];
        let (word, metres_per_s, aside_m) = match kind {
            Kind::Walker => ("walker", 1.4, 9.0),
            Kind::Bike => ("bike", 5.0, 6.0),
            Kind::Tram => ("tram", 8.0, 2.0),
            Kind::Car => ("car", 11.0, 4.0),
            Kind::Ferry => ("ferry", 6.0, 20.0),
        };
        let stopped = number / STOPPED_EVERY;
        let has_stopped = number % STOPPED_EVERY == STOPPED_EVERY - 1;
        let times = STOPPED_GROWS.powi(stopped as i32 % STOPPED_AGES);
        Stroll {
            name: format!("demo/{word}-{number}"),
            way,
            metres_per_s: metres_per_s * (0.8 + 0.4 * rng.f64()),
            ahead_m: rng.f64() * 2.0 * length_m(way),
            aside_m: aside_m * (0.5 + rng.f64()),
            stopped_s: has_stopped.then_some((STOPPED_S * times) as u64),
        }
    }

    /// Where it is, so many seconds after time began: latitude and longitude.
    pub fn at(&self, seconds: f64) -> (f64, f64) {
        let seconds = if self.stopped_s.is_some() { 0.0 } else { seconds };
        let length = length_m(self.way);
        let gone = (self.ahead_m + seconds * self.metres_per_s) % (2.0 * length);
        let is_back = gone > length;
        let mut left = if is_back { 2.0 * length - gone } else { gone };
        let mut legs = self.way.points.windows(2).map(|leg| (leg[0], metres(leg[0], leg[1])));
        let last = legs.clone().next_back().expect("invariant: a way has two points");
        let (from, (north, east)) = legs
            .find(|(_, (north, east))| {
                let leg = north.hypot(*east);
                let is_here = left <= leg;
                left -= if is_here { 0.0 } else { leg };
                is_here
            })
            .unwrap_or(last);
        let leg = north.hypot(east);
        let (north, east) = (north / leg, east / leg);
        let aside = if is_back { -self.aside_m } else { self.aside_m };
        moved(from, (north * left - east * aside, east * left + north * aside))
    }

    /// What it says at this time: seconds since 1970, as an IAMAT line.
    pub fn line(&self, posix_s: f64) -> String {
        let (latitude, longitude) = self.at(posix_s);
        let stamp = posix_s - self.stopped_s.unwrap_or(0) as f64;
        format!("IAMAT {} {latitude:+011.7}{longitude:+012.7} {stamp:.3}\n", self.name)
    }
}

/// How far north and east one point is of another.
fn metres(from: (f64, f64), to: (f64, f64)) -> (f64, f64) {
    ((to.0 - from.0) * DEGREE_M, (to.1 - from.1) * DEGREE_M * from.0.to_radians().cos())
}

fn moved(from: (f64, f64), (north, east): (f64, f64)) -> (f64, f64) {
    (from.0 + north / DEGREE_M, from.1 + east / DEGREE_M / from.0.to_radians().cos())
}

fn length_m(way: &Way) -> f64 {
    way.points.windows(2).map(|leg| metres(leg[0], leg[1])).map(|(n, e)| n.hypot(e)).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOW: f64 = 1_795_910_184.0;

    /// Goal: clients go along their ways, at a speed of their kind, and nowhere else.
    #[test]
    fn nobody_jumps_or_strays() {
        for number in 0..75 {
            let stroll = Stroll::new(number);
            let mut gone_m = 0.0;
            for second in 0..2_000 {
                let (here, next) = (stroll.at(f64::from(second)), stroll.at(f64::from(second + 1)));
                let (north, east) = metres(here, next);
                // A corner is cut or rounded, and at an end it changes sides.
                let step_m = north.hypot(east);
                let most = stroll.metres_per_s + 4.0 * stroll.aside_m;
                assert!(step_m <= most, "{}: {step_m} m in a second", stroll.name);
                gone_m += step_m;
                let near = stroll.way.points.windows(2).any(|leg| {
                    let (to, along) = (metres(leg[0], here), metres(leg[0], leg[1]));
                    let length = along.0.hypot(along.1);
                    let done = (to.0 * along.0 + to.1 * along.1) / length;
                    let aside = (to.1 * along.0 - to.0 * along.1) / length;
                    aside.abs() < 31.0 && (-1.0..=length + 1.0).contains(&done)
                });
                assert!(near, "{} is beside its way", stroll.name);
            }
            let moves = stroll.stopped_s.is_none();
            assert_eq!(gone_m > 2_000.0 * stroll.metres_per_s * 0.9, moves, "{}", stroll.name);
        }
    }

    /// Goal: two runs show the same, and each client is somebody.
    #[test]
    fn a_client_is_where_its_number_and_the_time_say() {
        let names = BTreeSet::from_iter((0..1_000).map(|number| Stroll::new(number).name));
        assert_eq!(names.len(), 1_000);
        for number in [0, 1, 19, 99] {
            assert_eq!(Stroll::new(number).line(NOW), Stroll::new(number).line(NOW));
        }
        let first = Stroll::new(0).line(NOW);
        assert!(first.starts_with("IAMAT demo/ferry-0 +60.1"), "{first}");
        assert!(first.ends_with(" 1795910184.000\n"), "{first}");
    }

    /// Goal: what has stopped is of all ages, from minutes to a day.
    #[test]
    fn some_have_stopped() {
        let of_a_hundred = (0..100).filter_map(|number| Stroll::new(number).stopped_s);
        assert_eq!(Vec::from_iter(of_a_hundred), [150, 675, 3_037, 13_668, 61_509]);
        let stopped = Stroll::new(19);
        assert_eq!(stopped.at(0.0), stopped.at(1_000.0));
        assert!(stopped.line(NOW).ends_with(" 1795910034.000\n"));
    }
}
