//! How many clients may become known by one batch of lines. Apart because the bound is not the
//! core's: the reactor knows from where somebody has come, and how many that address has introduced
//! before (`reactor::newcomers`). Here it is kept, and what it costs is counted.

use crate::Server;
use crate::border::{Note, Outputs};
use crate::clock::Now;
use crate::names::ConnId;

impl Server {
    /// Whether this client is known, or may become so by this batch. While the journal is broken, a
    /// report of one that is known may be refused, too.
    pub(crate) fn may_introduce(
        &mut self,
        now: Now,
        conn: ConnId,
        client: &[u8],
        out: &mut Outputs,
    ) -> bool {
        if self.store.len() < self.newcomers_until {
            return true;
        }
        if self.refuses_reports() {
            self.counters.unkept_refused += 1;
            return false;
        }
        if self.store.find(client).is_some() {
            return true;
        }
        self.counters.newcomers_refused += 1;
        if self.may_note(now, "too many new clients of one address") {
            out.note(Note::TooManyNewcomers { conn });
        }
        false
    }
}
