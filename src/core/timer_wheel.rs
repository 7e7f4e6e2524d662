//! A hashed timer wheel. Apart because it is a tool: it holds values until they are due and
//! knows neither what they mean nor what time it is; the caller says both.
//!
//! Timers of a server are deadlines, and deadlines mostly pass unneeded: the answer came, the
//! line was finished, the link stayed up. So starting one must cost next to nothing, nothing is
//! ever cancelled, and a timer that fires late in its life finds the name it carries gone. Half a
//! million of them may be waiting: a heap would sift each through twenty levels, the wheel drops
//! it into a slot and forgets it until the hand comes by.
//!
//! ```text
//!             hand ──▶ tick 1027
//!     ┌──────┬──────┬──┴───┬──────┬───      ───┬──────┐
//!     │ 1024 │ 1025 │ 1026 │ 1027 │     …      │ 2047 │   slot = due tick mod SLOTS
//!     └──────┴──────┴──────┴──┬───┴───      ───┴──────┘
//!                             ├─ due 1027: fires now
//!                             └─ due 2051: not yet, the hand comes by again
//! ```
//!
//! Hashed and hierarchical timing wheels: Varghese and Lauck, 1987, scheme 6.
//!
//! invariant: an entry lies in the slot of its due tick, or in the hand's if that has passed
//! invariant: a slot's `earliest` is at most the due tick of each of its entries
//! invariant: `armed` is the number of entries on all slots' chains

use std::time::Duration;

/// One tick. The kernel's sleep is exact to about a millisecond, and no deadline here needs more
/// than ten of them.
pub const TICK: Duration = Duration::from_millis(5);
/// A revolution is 1,024 ticks, about five seconds: most deadlines fire on their first.
const SLOTS: usize = 1024;
const NOBODY: u32 = u32::MAX;

/// Values that wait for their deadlines; most are started and fired at constant cost.
pub struct TimerWheel<T> {
    slots: Box<[Slot]>,
    entries: Vec<Entry<T>>,
    /// Head of the chain of entries that have fired and may be used again.
    free: u32,
    /// The first tick that has not been swept.
    hand: u64,
    /// No entry is due before this tick; `u64::MAX` when there is none.
    earliest: u64,
    /// The same as a time, for those who ask again and again.
    next_deadline: Option<Duration>,
    armed: usize,
}

/// A chain of entries, in the order in which they were started.
#[derive(Clone, Copy)]
struct Slot {
    head: u32,
    tail: u32,
    earliest: u64,
}

impl Slot {
    const EMPTY: Slot = Slot { head: NOBODY, tail: NOBODY, earliest: u64::MAX };
}

struct Entry<T> {
    due: u64,
    next: u32,
    value: Option<T>,
}

impl<T> Default for TimerWheel<T> {
    fn default() -> Self {
        TimerWheel::new()
    }
}

impl<T> TimerWheel<T> {
    /// A wheel without timers, at the start of the clock.
    pub fn new() -> TimerWheel<T> {
        TimerWheel {
            slots: vec![Slot::EMPTY; SLOTS].into_boxed_slice(),
            entries: Vec::new(),
            free: NOBODY,
            hand: 0,
            earliest: u64::MAX,
            next_deadline: None,
            armed: 0,
        }
    }

    /// Keeps `value` until `deadline`, a time on the caller's monotonic clock. Cost: constant.
    pub fn start(&mut self, deadline: Duration, value: T) {
        // Rounded up, and never into a tick already swept: a timer may be late, never early.
        let due = ticks(deadline + TICK - Duration::from_nanos(1)).max(self.hand);
        let entry = Entry { due, next: NOBODY, value: Some(value) };
        let index = match self.free {
            NOBODY => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).expect("limits allow far fewer timers")
            }
            index => {
                self.free = self.entries[index as usize].next;
                self.entries[index as usize] = entry;
                index
            }
        };
        self.append(index);
        self.set_earliest(self.earliest.min(due));
        self.armed += 1;
    }

    /// Moves everything due at `now` into `fired`, in the order of its deadlines; equal ones in
    /// the order in which they were started. What handles them may start new timers: those
    /// are not among them, so one turn ends.
    ///
    /// Cost: the ticks that have passed (at most one revolution) and the entries on their slots.
    pub fn expire(&mut self, now: Duration, fired: &mut Vec<T>) {
        let now = ticks(now);
        if now < self.earliest {
            self.hand = self.hand.max(now);
            return;
        }
        // asyncio: BaseEventLoop._run_once pops its heap while the top is due; the wheel's
        // order comes from walking the ticks in turn.
        let last = now.min(self.hand + SLOTS as u64 - 1);
        let before = fired.len();
        let mut stragglers = Vec::new();
        for tick in self.hand..=last {
            self.sweep(tick, now, &mut stragglers);
        }
        stragglers.sort_by_key(|&(due, _)| due);
        fired.extend(stragglers.into_iter().map(|(_, value)| value));
        self.armed -= fired.len() - before;
        self.hand = now;
        self.set_earliest(self.find_earliest());
    }

    /// When `expire` will next have something to do, at the earliest.
    #[inline]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.next_deadline
    }

    /// How many timers are waiting.
    pub fn len(&self) -> usize {
        self.armed
    }

    /// Whether no timer is waiting.
    pub fn is_empty(&self) -> bool {
        self.armed == 0
    }

    fn set_earliest(&mut self, tick: u64) {
        self.earliest = tick;
        // `Duration` multiplies by 32 bits only, and those count 248 days of ticks.
        let time = |tick| Duration::from_millis(TICK.as_millis() as u64 * tick);
        self.next_deadline = (tick != u64::MAX).then(|| time(tick));
    }

    fn append(&mut self, index: u32) {
        let due = self.entries[index as usize].due;
        let slot = &mut self.slots[due as usize % SLOTS];
        match slot.tail {
            NOBODY => slot.head = index,
            tail => self.entries[tail as usize].next = index,
        }
        slot.tail = index;
        slot.earliest = slot.earliest.min(due);
    }

    /// Takes what is due off one slot's chain and leaves the rest in its order.
    fn sweep(&mut self, tick: u64, now: u64, fired: &mut Vec<(u64, T)>) {
        let slot = &mut self.slots[tick as usize % SLOTS];
        if slot.earliest > now {
            return;
        }
        let mut index = slot.head;
        *slot = Slot::EMPTY;
        while index != NOBODY {
            let entry = &mut self.entries[index as usize];
            let next = entry.next;
            entry.next = NOBODY;
            if entry.due <= now {
                fired.extend(entry.value.take().map(|value| (entry.due, value)));
                entry.next = self.free;
                self.free = index;
            } else {
                self.append(index);
            }
            index = next;
        }
    }

    fn find_earliest(&self) -> u64 {
        if self.armed == 0 {
            return u64::MAX;
        }
        // Slots in the order in which the hand meets them: the first whose earliest entry is
        // due on this revolution wins, and only if none is must all be compared.
        let mut earliest = u64::MAX;
        for tick in self.hand..self.hand + SLOTS as u64 {
            let slot = &self.slots[tick as usize % SLOTS];
            if slot.earliest <= tick {
                return slot.earliest.min(earliest);
            }
            earliest = earliest.min(slot.earliest);
        }
        earliest
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        let mut found = 0;
        for (at, slot) in self.slots.iter().enumerate() {
            let mut index = slot.head;
            while index != NOBODY {
                let entry = &self.entries[index as usize];
                assert!(entry.value.is_some() && slot.earliest <= entry.due);
                assert_eq!(entry.due as usize % SLOTS, at, "an entry lies in its slot");
                assert!(self.earliest <= entry.due && self.hand <= entry.due);
                found += 1;
                index = entry.next;
            }
        }
        assert_eq!(found, self.armed);
    }
}

fn ticks(time: Duration) -> u64 {
    (time.as_nanos() / TICK.as_nanos()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const NONE: [u32; 0] = [];

    fn expired(wheel: &mut TimerWheel<u32>, now: Duration) -> Vec<u32> {
        let mut fired = Vec::new();
        wheel.expire(now, &mut fired);
        wheel.check_invariants();
        fired
    }

    #[test]
    fn fires_in_order_and_never_early() {
        let mut wheel = TimerWheel::new();
        wheel.start(30 * MS, 3);
        wheel.start(11 * MS, 1);
        wheel.start(11 * MS, 2);
        assert_eq!(expired(&mut wheel, 10 * MS), NONE);
        assert_eq!(wheel.next_deadline(), Some(15 * MS));
        assert_eq!(expired(&mut wheel, 11 * MS), NONE);
        assert_eq!(expired(&mut wheel, 40 * MS), [1, 2, 3]);
        assert_eq!((wheel.len(), wheel.next_deadline()), (0, None));
    }

    #[test]
    fn a_timer_beyond_one_revolution_waits_for_its_own() {
        let mut wheel = TimerWheel::new();
        let revolution = TICK * SLOTS as u32;
        wheel.start(revolution + TICK, 2);
        wheel.start(TICK, 1);
        assert_eq!(expired(&mut wheel, TICK), [1]);
        assert_eq!(wheel.next_deadline(), Some(revolution + TICK));
        assert_eq!(expired(&mut wheel, revolution), NONE);
        assert_eq!(expired(&mut wheel, revolution + TICK), [2]);
    }

    #[test]
    fn a_long_sleep_wakes_everything_in_the_order_of_deadlines() {
        let mut wheel = TimerWheel::new();
        for n in (0..5_000).rev() {
            wheel.start(TICK * n, n);
        }
        assert_eq!(expired(&mut wheel, TICK * 6_000), (0..5_000).collect::<Vec<_>>());
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_the_next_chance() {
        let mut wheel = TimerWheel::new();
        assert_eq!(expired(&mut wheel, 500 * MS), NONE);
        wheel.start(10 * MS, 1);
        assert_eq!(expired(&mut wheel, 500 * MS), [1]);
    }

    /// A deadline that is told too early is a loop that turns without pause until it comes.
    #[test]
    fn a_year_is_nothing_to_a_wheel() {
        let mut wheel = TimerWheel::new();
        let year = Duration::from_secs(365 * 24 * 3600);
        assert_eq!(expired(&mut wheel, year), NONE);
        wheel.start(year + 10 * MS, 1);
        assert_eq!(wheel.next_deadline(), Some(year + 10 * MS));
        assert_eq!(expired(&mut wheel, year + 10 * MS), [1]);
    }

    /// Method: random timers and random steps of the clock, beside a plain list.
    #[test]
    fn agrees_with_a_sorted_list() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut wheel = TimerWheel::new();
            let mut list: Vec<(Duration, u32)> = Vec::new();
            let mut now = Duration::ZERO;
            for n in 0..300 {
                let deadline = now + MS * random.u32(0..20_000);
                wheel.start(deadline, n);
                list.push((deadline, n));
                now += MS * random.u32(0..200);
                let fired = expired(&mut wheel, now);
                for n in fired {
                    let at = list.iter().position(|&(_, other)| other == n).expect("fires once");
                    assert!(list.remove(at).0 <= now, "never early, seed {seed}");
                }
                let late = list.iter().find(|&&(deadline, _)| deadline + TICK <= now);
                assert_eq!(late, None, "at most a tick late, seed {seed}");
            }
        }
    }
}
