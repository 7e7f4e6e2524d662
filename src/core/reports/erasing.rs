//! Forgetting a client because somebody wants it: positions of people must not stay where they are
//! not wanted. Apart because hardly anybody does it.
//!
//! What says that a client is forgotten is a report like others: it has the client's name and a
//! time, and ranks above what was held. So it floods, is found by the digest, is kept by the
//! journal and expires, with no line of the protocol more; and servers that know nothing of it pass
//! it on.
//! What tells it is its skew, `+0e0`, which no server writes for a report and no client can choose.
//! Its position is `+0+0`: a server that knows nothing of it has forgotten where the client was,
//! too, and says that it is in the Gulf of Guinea.
//!
//! The client is heard of again as soon as it reports with a later time.

use super::flood::ReportLine;
use crate::Server;
use crate::border::Outputs;
use crate::clock::{Now, SpelledTime};
use crate::store::rank;
use crate::wire::Report;
use crate::wire::is_space;

const SKEW: &[u8] = b"+0e0";
const POSITION: &[u8] = b"+0+0";

impl Report<'_> {
    /// Whether it says that its client is forgotten.
    pub fn is_erasure(&self) -> bool {
        is_erasure(self.skew, self.position)
    }
}

/// Whether a report of this skew and position says that its client is forgotten.
fn is_erasure(skew: &[u8], position: &[u8]) -> bool {
    skew == SKEW && position == POSITION
}

/// The same of what stands before the client's name, without a look at the position: what has this
/// skew and another position is no erasure, and no server writes it.
#[inline]
pub(super) fn is_before_erased(teller: &[u8]) -> bool {
    teller.strip_suffix(b" ").is_some_and(|teller| teller.ends_with(SKEW))
}

/// The same of a line that this server has made, by what stands behind its name there: it spells no
/// other skew like that.
pub(crate) fn is_of_erasure(rest: &[u8]) -> bool {
    rest.strip_prefix(SKEW).is_some_and(|rest| rest.starts_with(b" "))
}

impl Server {
    /// Whether this client is to be forgotten, and has not reported since.
    pub fn is_erased(&self, client: &[u8]) -> bool {
        self.store.find(client).is_some_and(|held| held.is_erasure())
    }

    /// Forgets a client, whether or not it is known here: another server may know it. It does not,
    /// and `is_erased` says so, if there is no room or nothing can be kept.
    pub(crate) fn erase(&mut self, now: Now, client: &[u8], out: &mut Outputs) {
        let is_word = !client.is_empty() && !client.iter().any(|&byte| is_space(byte));
        if !is_word || self.refuses_reports() {
            return;
        }
        let heard = self.next_stamp(now, client);
        // A clock that is ahead may have said when the client was there.
        let held = self.store.find(client).map(|held| held.stamp.next());
        let stamp = held.map_or(heard, |held| held.max(heard));
        let (server, time) = (self.settings.name.clone(), stamp.to_string());
        let time = SpelledTime::InText(time.as_bytes());
        let (skew, position) = (SKEW, POSITION);
        let report = Report { server: &server, skew, client, position, time, stamp };
        let told = ReportLine::write(&report, out);
        let key = self.store.key(client);
        if !self.may_keep(key, client, &out.text[told.range()]) {
            out.text.truncate(told.range().start);
            return self.note_full(now, out);
        }
        self.wipe_for(&report);
        self.accept_report(now, (key, told), None, out);
    }

    /// Where a report that is forgotten for this one lies, nothing of it is left.
    #[cold]
    pub(crate) fn wipe_for(&mut self, erasure: &Report<'_>) {
        let held = self.store.find(erasure.client);
        if held.is_some_and(|held| rank(&held, erasure).is_lt()) {
            self.store.wipe(erasure.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROTOCOL 5.8.
    #[test]
    fn an_erasure_is_told_by_its_skew() {
        for (line, is_so) in [
            ("AT A +0e0 kiwi +0+0 1520023934", true),
            ("AT A +0 kiwi +0+0 1520023934", false),
            ("AT A +0.000000000 kiwi +0+0 1520023934", false),
            ("AT A +0e0 kiwi +1+1 1520023934", false),
        ] {
            assert_eq!(Report::of_line(line.as_bytes()).unwrap().is_erasure(), is_so, "{line}");
        }
    }
}
