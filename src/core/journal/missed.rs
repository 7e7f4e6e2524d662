//! What the journal is given: news as it comes, and what it has missed when there is room for it.
//! Apart from `journal`, which says how that lies in files.
//!
//! To a server, its disk is one more slow peer. It has a mark for each part of the store of which
//! it may not hold everything; those are written from memory, a piece at a time, whatever they have
//! come of: news that found no room, a disk that has failed, or a journal that has become too long.
//!
//! An answer to a client rests on a report, and that must be kept first. Reports of clients always
//! find room, for the reactor reads no more of them while there is little. A peer's may not; if a
//! client then says or asks for what only memory holds, it is written before the answer.
//!
//! While the journal is broken, answers rest on memory alone, and what clients say may find no
//! room, too, if it is taken at all.

use std::ops::Range;

use super::appender::{Appender, Due};
use super::breaker::WhenBroken;
use super::renewed::Renewed;
use crate::Server;
use crate::border::Outputs;
use crate::peers::missed::Missed;
use crate::store::digest::Node;
use crate::store::{Key, Span};

/// The account of what the disk has been given.
pub(crate) struct Journaling {
    /// Of which the disk may not hold everything.
    pub(super) missed: Missed,
    /// What need not be written anew, if a compaction is under way or will be soon.
    renewed: Option<Renewed>,
    /// What is left of the part of which a piece was written last.
    writing: Option<Span>,
    /// Bytes that the disk takes now.
    room: usize,
    /// What becomes of clients' reports, if no answer waits for the disk.
    broken: Option<WhenBroken>,
}

impl Journaling {
    /// A disk that holds all that is known so far.
    pub fn new() -> Journaling {
        let missed = Missed::nothing();
        Journaling { missed, renewed: None, writing: None, room: 0, broken: None }
    }

    fn is_behind(&self) -> bool {
        self.writing.is_some() || !self.missed.is_empty()
    }

    fn next_span(&mut self) -> Option<Span> {
        self.writing.take().or_else(|| self.missed.take())
    }

    /// Takes a report that is news. A peer's may have to wait, and so may a client's whose answer
    /// does not. Says whether it is to be noted that it was written (`Renewed`).
    fn take(&mut self, key: Key, line: Range<usize>, is_clients: bool, out: &mut Outputs) -> bool {
        if self.room < line.len() && (!is_clients || self.broken.is_some()) {
            self.put_off(key);
            return false;
        }
        self.room = self.room.saturating_sub(line.len());
        out.push_news(line);
        self.renewed.as_ref().is_some_and(|renewed| !renewed.has(key))
    }

    fn put_off(&mut self, key: Key) {
        self.missed.add(key);
        if let Some(renewed) = &mut self.renewed {
            renewed.remove(key);
        }
    }
}

impl Server {
    /// Whether the journal has missed something.
    pub fn is_journal_behind(&self) -> bool {
        self.journaling.as_ref().is_some_and(Journaling::is_behind)
    }

    /// Gives the journal a report that is news, if there is a journal.
    #[inline(always)]
    pub(crate) fn journal_report(
        &mut self,
        key: Key,
        line: Range<usize>,
        is_clients: bool,
        out: &mut Outputs,
    ) {
        if let Some(journaling) = &mut self.journaling
            && journaling.take(key, line, is_clients, out)
        {
            self.note_renewed(key);
        }
    }

    /// A client's report is written now: if there is no other in its part of the store, the
    /// compaction that comes can pass it by.
    #[inline(never)]
    fn note_renewed(&mut self, key: Key) {
        let is_alone = self.store.len_within(Span::around(key)) == 1;
        let renewed = self.journaling.as_mut().and_then(|it| it.renewed.as_mut());
        if let Some(renewed) = renewed.filter(|_| is_alone) {
            renewed.add(key);
        }
    }

    /// Gives the journal what an answer is about to rest on, if it may have missed that.
    pub(crate) fn journal_held(&mut self, key: Key, client: &[u8], out: &mut Outputs) {
        let Some(journaling) = self.journaling.as_ref().filter(|it| it.broken.is_none()) else {
            return;
        };
        let is_writing = journaling.writing.is_some_and(|span| span.has(key));
        let is_renewed = journaling.renewed.as_ref().is_some_and(|renewed| renewed.has(key));
        if is_renewed || !is_writing && !journaling.missed.has(key) {
            return;
        }
        if let Some(held) = self.store.find(client) {
            let start = out.text.len();
            held.write_line(&mut out.text);
            out.push_news(start..out.text.len());
        }
    }

    /// Gives the journal what it has missed, as far as there is room, and everything if it has lost
    /// something or become too long. For each turn of the loop, when the appender knows how far the
    /// threads are. `out` is empty, and is again.
    pub fn feed_journal(&mut self, appender: &mut Appender, has_lost: bool, out: &mut Outputs) {
        // The index is not written.
        let live_bytes = self.store.bytes() - self.store.index_bytes();
        match appender.begin_compaction_if_due(live_bytes as u64) {
            _ if has_lost => self.journal_misses_all(),
            Due::All => self.journal_misses_all(),
            Due::Rest => self.journal_misses_rest(),
            Due::Noting => self.note_what_is_written(),
            Due::Nothing => {}
        }
        self.journal_room(appender.peers_room_bytes(), appender.missed_bytes(), out);
        appender.append_missed(&out.text, &out.news);
        out.clear();
        if !self.is_journal_behind() {
            appender.all_given();
        }
    }

    /// The journal has room for news, and for so much of what it has missed.
    fn journal_room(&mut self, bytes: usize, missed_bytes: usize, out: &mut Outputs) {
        let Some(journaling) = &mut self.journaling else { return };
        journaling.room = bytes;
        let start = out.text.len();
        let is_enough = |out: &Outputs| out.text.len() - start >= missed_bytes;
        while !is_enough(out)
            && let Some(span) = journaling.next_span()
        {
            let renewed = journaling.renewed.as_ref();
            let is_old = |tag| renewed.is_none_or(|renewed| renewed.lacks(span.leaf(), tag));
            journaling.writing = self.store.visit_those(span, is_old, |record| {
                record.write_line(&mut out.text);
                self.counters.walked += 1;
                is_enough(out)
            });
        }
        if out.text.len() > start {
            out.push_news(start..out.text.len());
        }
    }

    /// Whether answers rest on memory alone from now on, and what becomes of reports then; `None`:
    /// they rest on the journal.
    pub fn break_journal(&mut self, broken: Option<WhenBroken>) {
        if let Some(journaling) = &mut self.journaling {
            journaling.broken = broken;
        }
    }

    /// Whether reports of clients are refused because they would not be kept.
    #[inline]
    pub(crate) fn refuses_reports(&self) -> bool {
        self.journaling.as_ref().is_some_and(|it| it.broken == Some(WhenBroken::Refuse))
    }

    /// The journal must be given everything that is held.
    pub(super) fn journal_misses_all(&mut self) {
        if let Some(journaling) = &mut self.journaling {
            journaling.renewed = None;
        }
        self.journal_misses_rest();
    }

    /// From now on it is noted what the journal is given.
    fn note_what_is_written(&mut self) {
        if let Some(journaling) = &mut self.journaling {
            journaling.renewed = Some(Renewed::nothing());
        }
    }

    /// The journal must be given everything that is held, but what was noted.
    fn journal_misses_rest(&mut self) {
        let Some(journaling) = &mut self.journaling else { return };
        self.store.digest().filled(Node::ROOT).for_each(|leaf| journaling.missed.add_leaf(leaf));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::load::Found;
    use super::super::restored::REPORTS_AHEAD;
    use super::*;
    use crate::border::{Input, Output};
    use crate::clock::{Now, PosixTime};
    use crate::names::{ConnId, ConnKind, PeerId};
    use crate::reports::flood::ReportLine;
    use crate::wire::Report;
    use crate::wire::line_buffer::{LineLimits, Lines};
    use crate::{PeerSettings, Settings};

    fn now() -> Now {
        Now { monotonic: Duration::ZERO, posix: PosixTime::new(100, 0) }
    }

    /// A server with a journal, and one peer.
    fn server() -> Server {
        let peer = PeerSettings { name: b"Bert".to_vec(), dials: false, plain: None };
        Server::new(Settings { keeps_journal: true, ..Settings::new("Anna", "test", vec![peer]) })
    }

    /// What the journal is given when a client says something, and what the client is answered.
    fn say(server: &mut Server, line: &str) -> (String, String) {
        let (mut out, limits) = (Outputs::default(), LineLimits::equal(1_000));
        let lines = &mut Lines::new(line.as_bytes(), limits);
        let conn = ConnId::new(ConnKind::Client, 1, 1);
        server.handle(now(), Input::Lines { conn, lines }, &mut out);
        let text = |range: &Range<usize>| String::from_utf8_lossy(&out.text[range.clone()]);
        let sent = out.list.iter().filter_map(|output| match output {
            Output::Send { text: range, .. } => Some(text(range)),
            _ => None,
        });
        (out.news.iter().map(text).collect(), sent.collect())
    }

    /// What it is given when a peer says something.
    fn hear(server: &mut Server, line: &str) -> usize {
        let mut out = Outputs::default();
        let report = Report::of_line(line.as_bytes()).unwrap();
        let key = server.store.key(report.client);
        let told = ReportLine::write(&report, &mut out);
        server.accept_report(now(), (key, told), Some(PeerId(0)), &mut out);
        server.peers.pass_on_rest(&mut out);
        out.news.len()
    }

    fn give(server: &mut Server, bytes: usize, missed_bytes: usize) -> String {
        let mut out = Outputs::default();
        server.journal_room(bytes, missed_bytes, &mut out);
        out.news.iter().map(|range| String::from_utf8_lossy(&out.text[range.clone()])).collect()
    }

    /// Goal: what was refused room is written later, and before any answer that rests on it.
    #[test]
    fn what_found_no_room_is_written_before_it_is_told() {
        let mut server = server();
        let line = "AT Bert +1 kiwi +1-1 7";
        assert_eq!(hear(&mut server, line), 0, "there was no room");
        assert!(server.is_journal_behind());
        // The same and older news of a client are answered, and so is a question.
        for said in ["IAMAT kiwi +2-2 6\n", "WHATSAT kiwi 1 1\n"] {
            assert_eq!(say(&mut server, said).0, format!("{line}\n"), "{said}");
        }
        assert_eq!(give(&mut server, 0, 1), format!("{line}\n"));
        assert!(!server.is_journal_behind());
        assert_eq!(say(&mut server, "WHATSAT kiwi 1 1\n").0, "");
    }

    /// Goal: clients' news always goes in, peers' while there is room, and each once.
    #[test]
    fn news_is_given_once() {
        let mut server = server();
        let (news, answer) = say(&mut server, "IAMAT kiwi +1-1 7\n");
        assert_eq!(news, answer);
        assert_eq!(say(&mut server, "IAMAT kiwi +1-1 6\n").0, "", "what is held is kept");
        give(&mut server, 1_000, 0);
        assert_eq!(hear(&mut server, "AT Bert +1 fig +1-1 7"), 1);
        assert!(!server.is_journal_behind());
    }

    /// Goal: everything is given again, in pieces, each report once.
    #[test]
    fn all_of_it_is_given_again() {
        let mut server = server();
        let said: String = (0..500).map(|client| format!("IAMAT c{client} +1-1 7\n")).collect();
        let mut lines: Vec<_> =
            said.split_inclusive('\n').map(|line| say(&mut server, line).0).collect();
        server.journal_misses_all();
        let mut given = Vec::new();
        while server.is_journal_behind() {
            let piece = give(&mut server, 0, 200);
            assert!(piece.len() < 400, "{} bytes", piece.len());
            given.extend(piece.split_inclusive('\n').map(str::to_owned));
        }
        given.sort();
        lines.sort();
        assert_eq!(given, lines);
    }

    /// Goal: where many clients are known, what finds no room brings hardly anybody else with it.
    #[test]
    fn what_found_no_room_is_written_and_little_else() {
        let mut server = server();
        for client in 0..30_000 {
            let line = format!("AT Anna +0 c{client} +1-1 7\n");
            server.restore(Found { text: line.as_bytes(), is_synced: true }).unwrap();
        }
        (0..30_000).step_by(300).for_each(|client| {
            assert_eq!(hear(&mut server, &format!("AT Bert +1 c{client} +1-1 8")), 0);
        });
        let given = give(&mut server, 0, 1_000_000);
        let lines = given.lines().count();
        assert!((100..110).contains(&lines), "{lines} lines");
        assert!(!server.is_journal_behind());
    }

    /// Goal: who has reported since a kept segment was begun is not written anew, and nobody
    /// else is left out: neither those who lie beside them, nor whose news has found no room since.
    #[test]
    fn who_has_just_reported_is_not_written_anew() {
        let mut server = server();
        let ids = || (0..30_000).map(|client| format!("c{client}"));
        for id in ids() {
            let line = format!("AT Anna +0 {id} +1-1 7\n");
            server.restore(Found { text: line.as_bytes(), is_synced: true }).unwrap();
        }
        server.note_what_is_written();
        give(&mut server, 10_000_000, 0);
        let of_third = |third: usize| ids().skip(third).step_by(3);
        for id in of_third(0).chain(of_third(1)) {
            assert_eq!(hear(&mut server, &format!("AT Bert +1 {id} +1-1 8")), 1);
        }
        give(&mut server, 0, 0);
        for id in of_third(1) {
            assert_eq!(hear(&mut server, &format!("AT Bert +1 {id} +1-1 9")), 0);
        }
        server.journal_misses_rest();
        let given = give(&mut server, 0, 10_000_000);
        let given: BTreeSet<_> =
            given.lines().map(|line| line.split(' ').nth(3).unwrap().to_owned()).collect();
        assert!(of_third(1).chain(of_third(2)).all(|id| given.contains(&id)));
        let again = of_third(0).filter(|id| given.contains(id)).count();
        assert!((100..1_000).contains(&again), "{again} of 10,000");
        // If the disk has lost something, nobody is passed by.
        server.journal_misses_all();
        assert_eq!(give(&mut server, 0, 10_000_000).lines().count(), 30_000);
    }

    /// Goal: while the journal is broken, a report is refused and leaves no trace, and what is
    /// asked is answered from memory; peers are heard. Then all is as before.
    #[test]
    fn a_broken_journal_refuses_reports() {
        let mut server = server();
        say(&mut server, "IAMAT kiwi +1-1 7\n");
        let digest = server.digest();
        server.break_journal(Some(WhenBroken::Refuse));
        // Of a client that is known, the same again and news; of one that is not.
        for line in ["IAMAT kiwi +1-1 7\n", "IAMAT kiwi +2-2 8\n", "IAMAT fig +1-1 7\n"] {
            assert_eq!(say(&mut server, line), (String::new(), format!("? {line}")));
        }
        assert_eq!((server.digest(), server.counters().unkept_refused), (digest, 3));
        assert_eq!(hear(&mut server, "AT Bert +1 plum +1-1 7"), 0, "there was no room");
        assert!(server.is_journal_behind());
        assert_eq!(say(&mut server, "WHATSAT plum 1 1\n").0, "", "nothing is written for it");
        server.break_journal(None);
        assert_eq!(
            say(&mut server, "IAMAT kiwi +2-2 8\n").0,
            "AT Anna +92.000000004 kiwi +2-2 8\n"
        );
    }

    /// Goal: if clients are served by a broken journal, their reports wait as those of peers do,
    /// and so take no more memory than there is room for.
    #[test]
    fn a_broken_journal_is_given_reports_later() {
        let mut server = server();
        give(&mut server, 40, 0);
        server.break_journal(Some(WhenBroken::Serve));
        let (given, answer) = say(&mut server, "IAMAT kiwi +1-1 7\n");
        assert_eq!(given, answer, "there was room");
        let (given, answer) = say(&mut server, "IAMAT fig +1-1 7\n");
        assert!(given.is_empty() && answer.starts_with("AT Anna "), "{answer}");
        assert_eq!(give(&mut server, 1_000, 1_000), answer);
    }

    /// Goal: a report is never stamped earlier than one that was answered before a restart, though
    /// the clock was set back meanwhile.
    #[test]
    fn stamps_go_on_after_a_restart() {
        let mut server = server();
        let text = b"AT Anna +93.5 kiwi +1-1 7\n";
        server.restore(Found { text, is_synced: true }).unwrap();
        assert!(!server.is_journal_behind());
        assert_eq!(
            say(&mut server, "IAMAT kiwi +2-2 8\n").1,
            "AT Anna +92.500000001 kiwi +2-2 8\n"
        );
        server.restore(Found { text: b"AT Bert +1 fig +1-1 7\n", is_synced: false }).unwrap();
        assert!(server.is_journal_behind(), "the disk may not have it");
    }

    /// Goal: a clock that is set back by a second after a restart stamps no two reports alike.
    #[test]
    fn stamps_stay_apart_after_a_restart() {
        let mut server = server();
        let text = b"AT Anna +93.999999999 kiwi +1-1 7\nAT Anna +94.5 fig +1-1 7\n";
        server.restore(Found { text, is_synced: true }).unwrap();
        assert_eq!(
            say(&mut server, "IAMAT kiwi +2-2 8\n").1,
            "AT Anna +93.500000001 kiwi +2-2 8\n"
        );
        assert_eq!(say(&mut server, "IAMAT fig +2-2 8\n").1, "AT Anna +93.500000002 fig +2-2 8\n");
    }

    /// Goal: what is usual and what is not is held as it was told, and what is no report is named.
    #[test]
    fn frames_are_restored_whatever_they_hold() {
        let usual = |client: usize| {
            format!(
                "AT Anna +0.250000000 client{client} +34.068930-118.445127 1520023934.000000001\n"
            )
        };
        let mut text: String = (0..3 * REPORTS_AHEAD).map(usual).collect();
        text.insert_str(usual(0).len(), "AT Bert +1 fig +1-1 7\n");
        text += &usual(0).replace("934.0", "935.0");
        let mut restored = server();
        restored.restore(Found { text: text.as_bytes(), is_synced: true }).unwrap();
        let mut told = Vec::new();
        for client in ["client0", "client1", "fig", "client47"] {
            let held = restored.store().find(client.as_bytes());
            held.expect(client).write_line(&mut told);
        }
        let expected = [&usual(0).replace("934.0", "935.0"), &usual(1), "AT Bert +1 fig +1-1 7\n"];
        assert_eq!(String::from_utf8(told).unwrap(), expected.concat() + &usual(47));
        assert_eq!(restored.store().len(), 3 * REPORTS_AHEAD + 1);

        text.push_str("AT Bert +1 fig\n");
        let found = Found { text: text.as_bytes(), is_synced: true };
        assert_eq!(server().restore(found), Err(&b"AT Bert +1 fig"[..]));
    }
}
