//! Flooding: is it news, and who must hear it? Apart because this is the herd's whole agreement
//! on the way out; how a link comes to be is in `peers`, and what a link has missed in `repair`.
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

use crate::Server;
use crate::border::Outputs;
use crate::clock::{Now, PosixTime};
use crate::names::PeerId;
use crate::store::record::Record;
use crate::store::{Key, Verdict};
use crate::wire::Report;

/// A report whose AT line stands in the text of the outputs, as it is kept and as peers get it.
/// Passed by value, so that it stays in registers; only cold callees spill it to memory.
#[derive(Clone, Copy)]
pub(crate) struct ReportLine<'a> {
    pub client: &'a [u8],
    /// Where in the line's fields the client's id begins.
    pub client_at: usize,
    /// Where the line begins, and where it ends, with its newline.
    pub line: [usize; 2],
    /// What its time means.
    pub stamp: PosixTime,
}

impl<'a> ReportLine<'a> {
    pub fn write(report: &Report<'a>, out: &mut Outputs) -> ReportLine<'a> {
        let start = out.text.len();
        report.write_line(&mut out.text);
        let line = [start, out.text.len()];
        let (client, client_at, stamp) = (report.client, report.client_at(), report.stamp);
        ReportLine { client, client_at, line, stamp }
    }

    /// Where the line is in the text of the outputs.
    #[inline]
    pub fn range(self) -> Range<usize> {
        let [start, end] = self.line;
        start..end
    }

    /// Its fields, in the text of the outputs.
    #[inline]
    pub fn fields(self, out: &Outputs) -> &[u8] {
        Report::fields_of(&out.text[self.range()])
    }

    /// The report as it is kept, of those fields.
    #[inline(always)]
    pub fn record(self, fields: &[u8]) -> Record<'_> {
        Record::new(fields, self.client_at..self.client_at + self.client.len(), self.stamp)
    }
}

impl Server {
    /// Stores a report if it is news, and then floods it. Its line stays where it is. Inlined, or
    /// its arguments would be spilled to memory and loaded again.
    #[inline(always)]
    pub(crate) fn accept_report(
        &mut self,
        now: Now,
        (key, told): (Key, ReportLine<'_>),
        source: Option<PeerId>,
        out: &mut Outputs,
    ) -> Verdict {
        self.forget_expired(told.client, now, out);
        let fields = told.fields(out);
        let verdict = self.keep(now, key, told.record(fields), fields);
        if verdict.is_news() {
            if source.is_some() {
                self.heard.push(key);
            }
            self.note_told(key, told, out);
            self.spread(key, told.range(), source, out);
        } else if source.is_none() {
            self.journal_held(key, told.client, out);
        }
        verdict
    }

    /// Hears a report that is a copy of what was told at this position, and gives its length,
    /// without its newline. `None`: not recognised, so it has to be parsed. Where reports expire,
    /// each has to be.
    #[inline(always)]
    pub(crate) fn hear_copy(&mut self, position: u64, text: &[u8]) -> Option<usize> {
        let key = self.heard.at(position)?;
        let behind = self.store.behind_held(key, text.strip_prefix(b"AT ")?)?;
        if behind.first() != Some(&b'\n') || self.settings.limits.expire_after.is_some() {
            return None;
        }
        self.counters.stale += 1;
        Some(text.len() - behind.len())
    }

    /// Hears a peer's report, which is spelled as usual: it is kept and passed on as it came. Gives
    /// the position behind its client's (`Heard`).
    #[inline(always)]
    pub(crate) fn hear_usual(
        &mut self,
        now: Now,
        peer: PeerId,
        (line, report): (&[u8], &Report<'_>),
        key: Key,
        out: &mut Outputs,
    ) -> u64 {
        let fields = &line[b"AT ".len()..];
        if !self.may_hear(report, now) {
            return self.heard.behind(key);
        }
        self.forget_expired(report.client, now, out);
        if self.keep(now, key, Record::of(report, fields), fields).is_news() {
            self.heard.push(key);
            self.note_news(key, out);
            if self.journaling.is_some() || self.peers.are_others_than(peer) {
                let start = out.text.len();
                out.text.extend_from_slice(line);
                out.text.push(b'\n');
                let line = start..out.text.len();
                self.spread(key, line, Some(peer), out);
            }
        }
        self.heard.behind(key)
    }

    /// Keeps a report if it is news.
    #[inline(always)]
    fn keep(&mut self, now: Now, key: Key, record: Record<'_>, fields: &[u8]) -> Verdict {
        let verdict = self.store.put_record(key, record, fields);
        if verdict.is_news() {
            self.counters.news += 1;
            self.news_at = now.monotonic;
        } else {
            self.counters.stale += 1;
        }
        verdict
    }

    /// Gives news of a client to the journal, and to every peer but the one that told it: a line in
    /// the text of the outputs.
    #[inline(always)]
    fn spread(&mut self, key: Key, line: Range<usize>, source: Option<PeerId>, out: &mut Outputs) {
        self.journal_report(key, line.clone(), source.is_none(), out);
        if !self.peers.is_empty() {
            self.peers.pass_on(source, line, key, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::border::{Input, Output};
    use crate::names::{ConnId, ConnKind};
    use crate::settings::Settings;
    use crate::wire::line_buffer::{LineLimits, Lines};
    use crate::{PeerSettings, Server};

    /// What is sent by a text from a connection, in this order.
    fn say(server: &mut Server, conn: ConnId, text: &str) -> Vec<(ConnId, String)> {
        let now = Now { monotonic: Duration::ZERO, posix: PosixTime::new(7, 0) };
        let (mut out, lines) = (Outputs::default(), &mut Lines::new(text.as_bytes(), LIMITS));
        server.handle(now, Input::Lines { conn, lines }, &mut out);
        let sent = out.list.iter().filter_map(|output| match output {
            Output::Send { conn, text } => {
                Some((*conn, String::from_utf8_lossy(&out.text[text.clone()]).into_owned()))
            }
            _ => None,
        });
        sent.collect()
    }

    const LIMITS: LineLimits = LineLimits { line_bytes_max: 1_000, endless_bytes_max: 10_000 };

    /// Goal: news that follows each other is one piece for each peer, in its order, and peers come
    /// before the client that is answered.
    #[test]
    fn news_of_a_batch_is_told_in_one_piece() {
        let names = ["Bert", "Carl"];
        let peers = names.map(|name| PeerSettings { name: name.into(), dials: false, plain: None });
        let mut server = Server::new(Settings::new("Anna", "test", peers.into()));
        let [bert, carl] = [1, 2].map(|serial| ConnId::new(ConnKind::Peer, serial, 0));
        for (conn, name) in [(bert, "Bert"), (carl, "Carl")] {
            let now = Now { monotonic: Duration::ZERO, posix: PosixTime::new(7, 0) };
            server.handle(now, Input::Accepted { conn }, &mut Outputs::default());
            say(&mut server, conn, &format!("HERD/1 {name} Anna test {} -\n", "0".repeat(32)));
        }
        let client = ConnId::new(ConnKind::Client, 3, 0);
        let said = "IAMAT a +1-1 6\nIAMAT b +1-1 6\nIAMAT b +1-1 5\nNOPE\nIAMAT c +1-1 6\n";
        let line = |skew: &str, rest: &str| format!("AT Anna +{skew} {rest}\n");
        let first = line("1.000000000", "a +1-1 6") + &line("1.000000001", "b +1-1 6");
        let news = [first, line("1.000000003", "c +1-1 6")];
        let stale = line("2.000000002", "b +1-1 5");
        let answers = news[0].clone() + &stale + "? NOPE\n" + &news[1];
        let expected = [
            (bert, news[0].clone()),
            (carl, news[0].clone()),
            (client, answers),
            (bert, news[1].clone()),
            (carl, news[1].clone()),
        ];
        assert_eq!(say(&mut server, client, said), expected);
        let told = line("1", "d +1-1 6") + &line("1.000000000", "e +1-1 6");
        assert_eq!(say(&mut server, bert, &told), [(carl, told)], "and not to the one that tells");
    }
}
