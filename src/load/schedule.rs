//! A fixed rate: when requests are due, however late those before are.
//!
//! It is arithmetic only; the crowd sends them. It is what makes an open loop: a request that is
//! sent late is as old as if it had been sent in time, or a slow server would be asked less and
//! look fast ("coordinated omission").

#[derive(Clone, Copy, Default)]
pub struct Schedule {
    /// 0 if there is no schedule.
    pub per_second: u64,
    pub began_ns: u64,
    pub sent: u64,
}

impl Schedule {
    /// How many should have been sent by then.
    pub fn due(&self, now_ns: u64) -> u64 {
        let elapsed = u128::from(now_ns.saturating_sub(self.began_ns));
        // The first is due at once.
        (elapsed * u128::from(self.per_second) / 1_000_000_000) as u64 + 1
    }

    pub fn intended_ns(&self, request: u64) -> u64 {
        let offset = u128::from(request) * 1_000_000_000 / u128::from(self.per_second.max(1));
        self.began_ns + offset as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_does_not_wait_for_anybody() {
        let schedule = Schedule { per_second: 1_000, began_ns: 500, sent: 0 };
        let check = |now_ns, due| assert_eq!(schedule.due(now_ns), due, "{now_ns}");
        check(0, 1);
        check(500, 1);
        check(1_000_499, 1);
        check(1_000_500, 2);
        check(1_000_000_500, 1_001);
        // Everything that is due was intended by then, and the next was not.
        for now_ns in [500, 1_000_499, 1_000_500, 77_777_777] {
            let due = schedule.due(now_ns);
            assert!(schedule.intended_ns(due - 1) <= now_ns);
            assert!(schedule.intended_ns(due) > now_ns);
        }
    }
}
