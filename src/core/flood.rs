//! Flooding: is it news, and who must hear it? Apart because this is the herd's whole agreement
//! on the way out; how a link comes to be is in `peers`, and what a link has missed in `sync`.
//!
//! Each server passes news on to every peer but the one who told it, and passes nothing else on.
//! News is what raises the register of a client in the total order of `store::rank`, so a report
//! leaves each server at most once, however many cycles the graph has:
//!
//! ```text
//!   one report, E links, N servers:   2E − N + 1 lines
//! ```
//!
//! Plain periodic gossip would need no links that stay open, and rounds of delay instead.

use super::Server;
use super::border::Outputs;
use super::clock::Now;
use super::names::PeerId;
use super::store::{Key, Verdict};
use super::wire::Report;

impl Server {
    /// Stores the report if it is news, and then floods it. Its AT line is written to the text
    /// if and only if it is news, and there exactly once.
    pub(super) fn judge(
        &mut self,
        now: Now,
        (key, report): (Key, Report<'_>),
        teller: Option<PeerId>,
        out: &mut Outputs,
    ) -> Verdict {
        self.forget_expired(report.client, now);
        // The store keeps what is told, byte for byte: it is put together once, here.
        let start = out.text.len();
        report.write_line(&mut out.text);
        let line = start..out.text.len();
        let verdict = self.store.put_text(key, &report, Report::fields_of(&out.text[line.clone()]));
        let Verdict::News { leaf } = verdict else {
            self.counters.stale += 1;
            out.text.truncate(start);
            return verdict;
        };
        self.counters.news += 1;
        self.news_at = now.monotonic;
        for peer in self.peers.ids() {
            if Some(peer) != teller {
                self.peers.tell(peer, &report, (leaf, line.clone()), out);
            }
        }
        verdict
    }
}
