//! Clients that are to leave one after the other, so that those who take them in are not overrun:
//! who leaves when, in virtual time. Whether one may be closed now, its session says.

use std::time::Duration;

use fastrand::Rng;

use super::{Phase, Reading, Session};
use crate::names::ConnId;

/// However few there are, one leaves in this time.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Who was in the middle of a line when its turn came is looked at again after so long.
const RETRY: Duration = Duration::from_millis(50);
/// One part in so many of the time is left over at its end, for what a busy machine delays.
const SPARE: u32 = 8;
/// Turns that have passed unused for longer are not made up for: those who take the clients in
/// would get them all at once.
const CATCH_UP_MAX: Duration = Duration::from_millis(25);

/// Clients that leave evenly, in random order.
///
/// invariant: a client is in at most one of the two lists, and is in neither when it was taken and
/// not put off
pub struct Leavers {
    /// When all must have had their turn.
    end: Duration,
    /// Between two of them.
    pause: Duration,
    /// When it is the next one's turn.
    next: Duration,
    /// Those whose turn has not come, the next one last.
    waiting: Vec<ConnId>,
    /// Those whose turn has come at a bad moment.
    late: Vec<ConnId>,
}

impl Leavers {
    /// These clients leave from `now` on, within this time.
    pub fn new(
        now: Duration,
        within: Duration,
        mut clients: Vec<ConnId>,
        random: &mut Rng,
    ) -> Self {
        random.shuffle(&mut clients);
        let number = u32::try_from(clients.len()).unwrap_or(u32::MAX).max(1);
        let pause = ((within - within / SPARE) / number).min(PAUSE_MAX);
        Leavers { end: now + within, pause, next: now + pause, waiting: clients, late: Vec::new() }
    }

    /// Those whose turn has come by now, and those that were put off.
    pub fn take_due(&mut self, now: Duration) -> Vec<ConnId> {
        let mut due = std::mem::take(&mut self.late);
        self.next = self.next.max(now.saturating_sub(CATCH_UP_MAX));
        while self.next <= now
            && let Some(conn) = self.waiting.pop()
        {
            self.next += self.pause;
            due.push(conn);
        }
        due
    }

    /// Puts off one that was just taken.
    pub fn put_off(&mut self, conn: ConnId) {
        self.late.push(conn);
    }

    /// When somebody is due next, and the end at the latest.
    pub fn next_turn(&self, now: Duration) -> Duration {
        let retry = (!self.late.is_empty()).then(|| now + RETRY);
        let turn = (!self.waiting.is_empty()).then_some(self.next);
        let next = retry.into_iter().chain(turn).min();
        next.map_or(self.end, |next| next.min(self.end))
    }

    /// All have had time enough.
    pub fn is_over(&self, now: Duration) -> bool {
        now >= self.end
    }
}

impl Session {
    /// Whether nothing would be lost if no more were read: no line has begun, and nothing that is
    /// known to have come waits to be read or taken. An answer may still be on its way.
    pub fn is_between_lines(&self) -> bool {
        self.phase == Phase::Open
            && self.reading == Reading::Open
            && !self.flags.readable
            && !self.flags.lines_left
            && !self.has_begun_line()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ConnKind;

    fn clients(number: u64) -> Vec<ConnId> {
        (0..number).map(|at| ConnId::new(ConnKind::Client, at, at as usize)).collect()
    }

    /// Lets time pass until nobody is left. Gives who left when, in milliseconds.
    fn play(leavers: &mut Leavers, mut now: Duration) -> Vec<(u128, ConnId)> {
        let mut left = Vec::new();
        while !leavers.is_over(now) && leavers.waiting.len() + leavers.late.len() > 0 {
            let next = leavers.next_turn(now);
            assert!(next > now, "time passes");
            now = next;
            left.extend(leavers.take_due(now).into_iter().map(|conn| (now.as_millis(), conn)));
        }
        left
    }

    /// Goal: in no part of the time do more leave than in another, and all have left before its
    /// end.
    #[test]
    fn all_leave_evenly() {
        let (began, within) = (Duration::from_secs(100), Duration::from_secs(32));
        for number in [100, 1_000, 7_919] {
            let mut random = Rng::with_seed(number);
            let mut leavers = Leavers::new(began, within, clients(number), &mut random);
            let left = play(&mut leavers, began);
            assert_eq!(left.len() as u64, number);
            for second in 100..128_u128 {
                let of_second =
                    |when: u128| (second * 1000 + 1..=second * 1000 + 1000).contains(&when);
                let count = left.iter().filter(|(when, _)| of_second(*when)).count() as u64;
                let even = number / 28;
                assert!((even - 1..=even + 2).contains(&count), "{count} of {number} in a second");
            }
            let mut order: Vec<_> = left.iter().map(|(_, conn)| conn.serial()).collect();
            assert!(!order.is_sorted() && !order.iter().rev().is_sorted(), "the order is random");
            order.sort_unstable();
            assert!(order.into_iter().eq(0..number), "each has one turn");
        }
    }

    /// Goal: a server that was kept from its work does not make up for that at once: in no second
    /// do more leave than 1.2 times as many as if all left evenly.
    #[test]
    fn a_delay_is_not_made_up_for_at_once() {
        let (within, number) = (Duration::from_secs(10), 1_000);
        let mut random = Rng::with_seed(5);
        let mut leavers = Leavers::new(Duration::ZERO, within, clients(number), &mut random);
        let (mut now, mut left) = (Duration::ZERO, Vec::new());
        for turn in 1.. {
            let delay = if turn % 200 == 0 { 200 } else { random.u64(..4) };
            now = leavers.next_turn(now) + Duration::from_millis(delay);
            left.extend(leavers.take_due(now).into_iter().map(|_| now));
            if leavers.is_over(now) || leavers.waiting.is_empty() {
                break;
            }
        }
        assert_eq!(left.len() as u64, number, "all have left when {now:?} have passed");
        for first in &left {
            let second = *first..*first + Duration::from_secs(1);
            let count = left.iter().filter(|when| second.contains(when)).count();
            assert!(count <= 120, "{count} in the second from {first:?} on");
        }
    }

    /// Goal: a few leave soon, and the same seed gives the same order.
    #[test]
    fn one_a_second_leaves_at_least() {
        let [one, same, other] = [1, 1, 2].map(|seed| {
            let mut random = Rng::with_seed(seed);
            let within = Duration::from_secs(3_600);
            let mut leavers = Leavers::new(Duration::ZERO, within, clients(9), &mut random);
            play(&mut leavers, Duration::ZERO)
        });
        let times = one.iter().map(|(when, _)| *when);
        assert!(times.eq((1..=9).map(|second| second * 1_000)));
        assert_eq!(one, same);
        assert_ne!(one, other, "another seed gives another order");
    }

    /// Goal: one that is always in the middle of a line does not hold up the others, is looked at
    /// again, and not for ever.
    #[test]
    fn a_bad_moment_is_put_off() {
        let within = Duration::from_secs(2);
        let mut random = Rng::with_seed(3);
        let mut leavers = Leavers::new(Duration::ZERO, within, clients(2), &mut random);
        let busy = *leavers.waiting.last().unwrap();
        let (mut now, mut looks, mut others) = (Duration::ZERO, 0, 0);
        while !leavers.is_over(now) {
            now = leavers.next_turn(now);
            for conn in leavers.take_due(now) {
                if conn == busy {
                    looks += 1;
                    leavers.put_off(conn);
                } else {
                    others += 1;
                }
            }
        }
        assert_eq!((now, looks, others), (within, 24, 1));
    }
}
