//! Forgetting: reports of clients that have not been heard of for long. Apart because most herds
//! never do it, and can forget this file.
//!
//! When a report expires is written in the report itself: the server that heard it first wrote its
//! own clock into the skew, and some time after that it is over. So all servers agree about it but
//! for the difference of their clocks, and nobody needs to be told. A report that is over is not
//! taken from a peer either, so none comes back.

use std::time::Duration;

use crate::Server;
use crate::border::{Output, Outputs, Timer};
use crate::clock::{Now, PosixTime};
use crate::peers::handover::Stage;
use crate::store::Cursor;
use crate::store::digest::{LEAVES, Leaf};
use crate::wire::Report;

/// How often some leaves are looked through.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// All leaves have been looked through after a minute.
const LEAVES_A_SWEEP: usize = LEAVES.div_ceil(600);
/// Reports looked at each time, a few more or less: below a millisecond. With more than two million
/// clients, or many of one leaf, a minute is not enough.
const REPORTS_A_SWEEP: usize = 4_096;

impl Server {
    pub(crate) fn sweep_later(&self, out: &mut Outputs) {
        if self.settings.limits.expire_after.is_some() && self.stage < Stage::Leaving {
            out.push(Output::StartTimer { timer: Timer::Sweep, after: SWEEP_EVERY });
        }
    }

    pub(crate) fn sweep(&mut self, now: Now, out: &mut Outputs) {
        let Some(after) = self.settings.limits.expire_after else { return };
        let mut left = REPORTS_A_SWEEP;
        for _ in 0..LEAVES_A_SWEEP {
            let cursor = self.swept;
            let reports = self.store.len_of(cursor.leaf);
            let mut gone = Vec::new();
            let is_over = |report: &Report<'_>| {
                let is_over = is_over(report, after, now);
                if is_over && self.is_watched {
                    gone.push(report.client.to_vec());
                }
                is_over
            };
            let (removed, next) = self.store.remove_where(cursor, left, is_over);
            gone.iter().for_each(|client| self.note_gone(client, out));
            self.counters.expired += removed as u64;
            self.counters.walked += reports.min(left) as u64;
            let leaf = (usize::from(cursor.leaf) + 1) % LEAVES;
            self.swept = next.unwrap_or(Cursor { leaf: leaf as Leaf, tag: 0 });
            left = left.saturating_sub(reports);
            if left == 0 {
                break;
            }
        }
        self.sweep_later(out);
    }

    /// Whether a report is over. Callers treat it as if it were not there.
    pub fn has_expired(&self, report: &Report<'_>, now: Now) -> bool {
        self.settings.limits.expire_after.is_some_and(|after| is_over(report, after, now))
    }

    /// How many of the reports held are over.
    pub fn count_expired(&self, now: Now) -> usize {
        let Some(after) = self.settings.limits.expire_after else { return 0 };
        self.store.reports().filter(|report| is_over(report, after, now)).count()
    }

    /// Makes room for a report that is older than what is held, if that is over.
    #[inline(always)]
    pub(crate) fn forget_expired(&mut self, client: &[u8], now: Now, out: &mut Outputs) {
        if let Some(after) = self.settings.limits.expire_after {
            self.forget_if_over(client, after, now, out);
        }
    }

    #[cold]
    fn forget_if_over(&mut self, client: &[u8], after: Duration, now: Now, out: &mut Outputs) {
        if self.store.find(client).is_some_and(|held| is_over(&held, after, now)) {
            let removed = self.store.remove(client);
            self.counters.expired += u64::from(removed);
            self.note_gone(client, out);
        }
    }
}

fn is_over(report: &Report<'_>, after: Duration, now: Now) -> bool {
    let heard = PosixTime::heard(report.stamp, report.skew);
    heard.saturating_add(after.as_secs().into()) <= now.posix.seconds()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Command;

    #[test]
    fn a_report_is_over_some_time_after_it_was_heard() {
        let check = |line: &str, expected: bool| {
            let Command::At(report) = Command::parse(line.as_bytes()) else { panic!("{line}") };
            let now = Now { monotonic: Duration::ZERO, posix: PosixTime::new(1_000, 0) };
            assert_eq!(is_over(&report, Duration::from_secs(100), now), expected, "{line}");
        };
        check("AT A +0.000000000 x +1-1 901", false);
        check("AT A +0.000000000 x +1-1 900", true);
        check("AT A +800.000000000 x +1-1 100.9", true);
        check("AT A +801.000000000 x +1-1 100.9", false);
        check("AT A -9999999999999999999999.5 x +1-1 10000000000000000000899.5", true);
        check("AT A -9999999999999999999998.5 x +1-1 10000000000000000000899.5", false);
        check("AT A 8.01e2 x +1-1 100", false);
        check("AT A 1e+400 x +1-1 0", false);
        check("AT A -1e400 x +1-1 0", true);
    }
}
