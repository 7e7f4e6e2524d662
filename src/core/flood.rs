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

use std::ops::Range;

use super::Server;
use super::border::Outputs;
use super::clock::Now;
use super::names::PeerId;
use super::store::{Key, Verdict};
use super::wire::Report;

/// A report whose AT line stands in the text of the outputs, as it is kept and as peers hear it.
pub(super) struct Told<'a> {
    pub client: &'a [u8],
    /// Where in the line's fields the client's id begins.
    pub client_at: usize,
    /// The line, with its newline.
    pub line: Range<usize>,
}

impl<'a> Told<'a> {
    pub fn write(report: &Report<'a>, out: &mut Outputs) -> Told<'a> {
        let start = out.text.len();
        report.write_line(&mut out.text);
        let line = start..out.text.len();
        Told { client: report.client, client_at: report.client_at(), line }
    }
}

impl Server {
    /// Stores a report if it is news, and then floods it. Its line stays where it is.
    pub(super) fn accept_report(
        &mut self,
        now: Now,
        (key, told): (Key, &Told<'_>),
        source: Option<PeerId>,
        out: &mut Outputs,
    ) -> Verdict {
        self.forget_expired(told.client, now);
        let fields = Report::fields_of(&out.text[told.line.clone()]);
        let verdict = self.store.put_fields(key, fields, told.client_at, told.client);
        let Verdict::News { leaf } = verdict else {
            self.counters.stale += 1;
            if source.is_none() {
                self.lay_held(key, told.client, out);
            }
            return verdict;
        };
        self.counters.news += 1;
        self.news_at = now.monotonic;
        self.lay(leaf, told.line.clone(), source.is_none(), out);
        for peer in self.peers.ids() {
            if Some(peer) != source {
                self.peers.tell(peer, told, leaf, out);
            }
        }
        verdict
    }
}
