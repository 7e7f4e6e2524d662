//! What is taken from a client, and when it was heard. Apart from `Server`, because these questions
//! are asked where a report is first heard and nowhere else: servers whose clocks or memories
//! differ must not differ about what they take from each other.

use crate::Server;
use crate::border::{Note, Outputs};
use crate::clock::{Now, PosixTime};
use crate::names::ConnId;
use crate::store::Key;

/// A clock that is so far behind the last stamp was set back; else stamps wait for it.
const SET_BACK_SECONDS_MIN: u128 = 2;

/// When reports were heard.
///
/// No two reports have the same stamp while the clock goes on, and those of one client never go
/// back. Nothing is behind the clock for long: a clock that was a year ahead for a second must not
/// leave its mark on all reports until the next start.
#[derive(Default)]
pub(crate) struct Stamps {
    /// The last one that was given.
    last: PosixTime,
    /// The latest one that was ever given, if the clock was set back from there.
    set_back_from: Option<PosixTime>,
}

impl Stamps {
    #[inline]
    fn next(&mut self, now: PosixTime) -> PosixTime {
        let next = if now > self.last {
            now
        } else if self.last.is_seconds_after(now, SET_BACK_SECONDS_MIN) {
            self.set_back_from = self.set_back_from.max(Some(self.last));
            now
        } else {
            self.last.next()
        };
        self.last = next;
        next
    }

    /// A report was heard then, before the last restart: stamps go on from there, though the clock
    /// may have been set back meanwhile.
    pub fn restore(&mut self, heard: Option<PosixTime>) {
        self.last = self.last.max(heard.unwrap_or_default());
    }
}

impl Server {
    /// The moment at which a report of this client is heard. Inlined, or the stamp would go through
    /// memory.
    #[inline(always)]
    pub(crate) fn next_stamp(&mut self, now: Now, client: &[u8]) -> PosixTime {
        let stamp = self.stamps.next(now.posix);
        match self.stamps.set_back_from {
            Some(latest) => self.later_stamp(latest, stamp, client).unwrap_or(stamp),
            None => stamp,
        }
    }

    /// The clock was set back, so this client may have been heard later than now: the next stamp
    /// behind that.
    #[cold]
    fn later_stamp(
        &mut self,
        latest: PosixTime,
        stamp: PosixTime,
        client: &[u8],
    ) -> Option<PosixTime> {
        if stamp > latest {
            self.stamps.set_back_from = None;
            return None;
        }
        let held = self.store.find(client).filter(|held| *held.server == *self.settings.name)?;
        let next = PosixTime::heard_at(held.stamp, held.skew)?.next();
        (next > stamp).then_some(next)
    }

    /// A time far in the future would make every true report of its client stale.
    pub(crate) fn is_too_far_ahead(&self, stamp: PosixTime, heard: PosixTime) -> bool {
        let ahead_max = self.settings.limits.client_ahead_max;
        ahead_max.is_some_and(|ahead_max| stamp > heard.plus(ahead_max))
    }

    pub(crate) fn note_ahead(&mut self, now: Now, conn: ConnId, seconds: i128, out: &mut Outputs) {
        self.counters.ahead += 1;
        if self.may_note(now, "a time ahead of our clock") {
            let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
            out.note(Note::AheadOfClock { conn, seconds });
        }
    }

    /// Whether there is room for a report of this client, whose AT line this is: for a client more,
    /// or for a longer text.
    #[inline]
    pub(crate) fn may_keep(&self, key: Key, client: &[u8], line: &[u8]) -> bool {
        let limits = &self.settings.limits;
        let has_bytes = self.store.bytes() < limits.store_bytes_max;
        let has_room = has_bytes && self.store.len() < limits.clients_max;
        client.len() <= limits.id_bytes_max
            && (has_room || self.store.has_place(key, line, has_bytes))
    }

    /// A report was refused; if that is because the store is full, it is counted, and the log
    /// hears of it now and then.
    #[cold]
    pub(crate) fn note_full(&mut self, now: Now, out: &mut Outputs) {
        let is_full = self.store.len() >= self.settings.limits.clients_max
            || self.store.bytes() >= self.settings.limits.store_bytes_max;
        if is_full {
            self.counters.full += 1;
            if self.may_note(now, "the store is full") {
                let (clients, bytes) = (self.store.len(), self.store.bytes());
                out.note(Note::Full { clients, bytes });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: stamps rise while the clock stands or is set back a little, and return with it when
    /// it was wrong by far.
    #[test]
    fn stamps_follow_a_clock_that_was_wrong() {
        let mut stamps = Stamps::default();
        let mut check = |now: (u64, u32), expected: (u64, u32)| {
            let [now, expected] = [now, expected].map(|(secs, nanos)| PosixTime::new(secs, nanos));
            assert_eq!(stamps.next(now), expected);
        };
        check((100, 5), (100, 5));
        check((100, 5), (100, 6));
        check((99, 0), (100, 7));
        check((101, 0), (101, 0));
        check((32_000_000, 0), (32_000_000, 0));
        check((102, 0), (102, 0));
        check((102, 0), (102, 1));
        check((90, 0), (90, 0));
    }
}
