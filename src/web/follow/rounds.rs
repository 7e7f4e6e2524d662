//! Whose turn it is: followers of one pace have their turns together, so that what has changed is
//! put together once for all of them. The first change after a pause is told at once.

use std::time::Duration;

use super::Seat;

/// The paces, in milliseconds: what is asked for is rounded up to one of them.
const PACES_MS: [u64; 9] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000];

/// The followers of one pace.
#[derive(Default)]
struct Round {
    /// Told at every round.
    broad: Vec<Seat>,
    /// Told at the next.
    woken: Vec<Seat>,
    /// If one is coming.
    due: Option<Duration>,
    /// The next one comes not before.
    not_before: Duration,
}

impl Round {
    fn call(&mut self, now: Duration) {
        self.due.get_or_insert(self.not_before.max(now));
    }
}

/// All rounds.
#[derive(Default)]
pub struct Rounds([Round; PACES_MS.len()]);

impl Rounds {
    /// The pace that a wish gets.
    pub fn every(&self, wished: Duration) -> Duration {
        Duration::from_millis(PACES_MS[place(wished)])
    }

    pub fn join_broad(&mut self, seat: Seat, every: Duration) {
        self.0[place(every)].broad.push(seat);
    }

    pub fn leave(&mut self, seat: Seat, every: Duration) {
        let round = &mut self.0[place(every)];
        round.broad.retain(|other| *other != seat);
        round.woken.retain(|other| *other != seat);
    }

    /// Something has changed that those may have to be told who look at everything.
    pub fn wake_broad(&mut self, now: Duration) {
        let rounds = self.0.iter_mut().filter(|round| !round.broad.is_empty());
        rounds.for_each(|round| round.call(now));
    }

    /// Something has changed that concerns this one.
    pub fn wake(&mut self, seat: Seat, every: Duration, now: Duration) {
        let round = &mut self.0[place(every)];
        round.woken.push(seat);
        round.call(now);
    }

    /// When the next round comes, if one does.
    pub fn due(&self) -> Option<Duration> {
        self.0.iter().filter_map(|round| round.due).min()
    }

    /// Adds those whose round has come.
    pub fn take_due(&mut self, now: Duration, to: &mut Vec<Seat>) {
        for (round, every) in self.0.iter_mut().zip(PACES_MS) {
            if round.due.is_some_and(|due| due <= now) {
                (round.due, round.not_before) = (None, now + Duration::from_millis(every));
                to.extend(&round.broad);
                to.append(&mut round.woken);
            }
        }
    }
}

fn place(every: Duration) -> usize {
    let is_enough = |pace: &u64| Duration::from_millis(*pace) >= every;
    PACES_MS.iter().position(is_enough).unwrap_or(PACES_MS.len() - 1)
}
