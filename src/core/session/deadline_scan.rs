//! The deadline scan: now and then all sessions are compared with the clock. It knows only places
//! and times; which session is in a place is its driver's business.
//!
//! No session has a timer. A scan goes along the places: a session that has passed a deadline is
//! ended, and the earliest of the others' deadlines is when the next scan begins, but not sooner
//! than `Timeouts::pause` and not later than `Timeouts::scan_every`. A byte that arrives costs a
//! store to a field, a session that waits costs only its place, and a driver without sessions has
//! no scans and sleeps.
//!
//! ```text
//!    scan                   scan                        scan
//!   ───┼──────────────────────┼───────────────────────────┼─────────▶
//!      │ a, b, c have time;   │ b is ended;               │ …
//!      └ b's ends the first ──┘ now a's ends the first ───┘
//! ```
//!
//! A deadline is kept late by a pause and a scan's length at most, and never early. One that begins
//! between two scans cannot end before the next: it is longer than the time between them, or it is
//! noted where it begins (`Driver::check_deadline`).
//!
//! asyncio: `call_later` and `cancel` at every change; its heap then fills with the cancelled.

use std::ops::Range;
use std::time::Duration;

use super::{Moment, Timeouts};

/// Where the scan is, and when the next one begins.
#[derive(Default)]
pub struct DeadlineScan {
    /// Places that it has still to look at.
    rest: Range<usize>,
    began: Moment,
    /// `None` if there is no session to look at.
    next: Option<Moment>,
    /// When the next session must be looked at.
    due: Option<Duration>,
}

impl DeadlineScan {
    /// Looks at a time: some 60 µs.
    const LOOKS_MAX: usize = 4096;

    /// When the next session must be looked at.
    #[inline]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.due
    }

    /// When the scan began that is under way, or else the one before.
    pub fn began(&self) -> Moment {
        self.began
    }

    /// Notes a session that has time until then; `None` for one that has no deadline now.
    pub fn note(&mut self, deadline: Option<Moment>, now: Moment, timeouts: &Timeouts) {
        let latest = now + timeouts.scan_every();
        let due = deadline.map_or(latest, |deadline| deadline.min(latest));
        let next = due.max(self.began + timeouts.pause());
        self.next = Some(self.next.map_or(next, |other| other.min(next)));
        self.find_due();
    }

    /// The places to look at now, of so many; none if no scan is due or under way.
    pub fn advance(&mut self, now: Moment, places: usize) -> Range<usize> {
        if self.rest.is_empty() && self.next.is_some_and(|next| next <= now) {
            *self = DeadlineScan { rest: 0..places, began: now, next: None, due: None };
        }
        let start = self.rest.start;
        self.rest.start = self.rest.end.min(start + Self::LOOKS_MAX);
        self.find_due();
        start..self.rest.start
    }

    /// Found out when it changes: each turn asks.
    fn find_due(&mut self) {
        let is_under_way = !self.rest.is_empty();
        let due = if is_under_way { Some(self.began) } else { self.next };
        self.due = due.map(Moment::as_duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a crowd is looked at in parts, each connection once, and the loop does not sleep
    /// meanwhile.
    #[test]
    fn a_scan_takes_several_turns() {
        let mut scan = DeadlineScan::default();
        let [before, now] = [9, 10].map(|time| Moment::at(Duration::from_secs(time)));
        let [idle, first_byte, partial_line, write_stall] = [Duration::from_secs(60); 4];
        let timeouts =
            Timeouts { idle, first_byte, partial_line, write_stall, ..Timeouts::default() };
        scan.note(Some(now), before, &timeouts);
        assert_eq!(scan.advance(before, 10_000), 0..0);
        let (mut seen, mut turns) = (0, 0);
        while seen < 10_000 {
            assert!(scan.next_deadline() <= Some(now.as_duration()));
            let part = scan.advance(now, 10_000);
            assert!(part.start == seen && !part.is_empty());
            (seen, turns) = (part.end, turns + 1);
        }
        assert!((2..10).contains(&turns), "{turns} turns");
        assert_eq!((scan.advance(now, 10_000), scan.next_deadline()), (10_000..10_000, None));
    }
}
