//! What a peer has missed, and how two ends of a link find out. Apart from `peers` because a
//! link's life ends with its connection, and a peer's does not.
//!
//! When a link comes up, the side that dialled sends the digest of all it holds. If the other
//! side's is the same, that was all. Else it answers with its own. A side that receives another
//! digest than its own sends the digests of the parts, the other does the same for the parts that
//! differ, and when it comes to single leaves, the reports in them are sent as plain AT lines.
//! What the other side knows already, it finds stale and passes no further.
//!
//! ```text
//!   A                                     B        and the same the other way round,
//!   ROOT 3 c1… ──────────────────────────▶         because B, too, tells its root
//!     ◀────────────── ROOT 4 9e…, L1 5f… 00… …
//!   L2 7 00… 5f… … ──────────────────────▶
//!     ◀───────────────────── L3 225 5f… 00…
//!   AT … AT … ───────────────────────────▶
//! ```
//!
//! Nothing of this is remembered: each line is answered from what is held when it comes. So a
//! link may break at any point, and reports may come at any time. Where there is no room for an
//! answer, one bit says that it is owed.
//!
//! A peer that reads more slowly than the herd reports is not hung up on and does not grow our
//! memory: above a bound, news to it only marks its leaf as missed, and so do leaves that differ.
//! When nothing is owed any more, the next of those are sent, as they are then.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::handover::Farewell;
use super::table::State;
use crate::Server;
use crate::border::{Output, Outputs, Timer};
use crate::clock::Now;
use crate::counters::RefusedFor;
use crate::names::{ConnId, PeerId};
use crate::reports::flood::ReportLine;
use crate::store::Key;
use crate::store::digest::Node;
use crate::wire::Report;
use crate::wire::fast_path;
use crate::wire::line_buffer::{Line, Lines};
use crate::wire::peer_command::{Parts, PeerLine, write_root};

/// How much of what was missed is sent at a time, if a peer may be owed as much.
const PIECE_BYTES: usize = 64 * 1024;
/// Reports are under way in the herd for less than this.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// So many comparisons are put off because reports are under way. Then one is made all the same:
/// in a herd that is never quiet, a difference must be found, too.
const DOUBTS_MAX: u8 = 10;

/// Lines of a peer that are looked up together, at first and at most: as many as of a client.
const LINES_AHEAD_MIN: usize = 4;
const LINES_AHEAD: usize = 16;

/// A line that was read and is not yet heard.
struct Ahead<'a> {
    line: &'a [u8],
    report: Report<'a>,
    key: Key,
}

const FOREIGN: &str = "it does not speak our language";

impl Server {
    /// Begins to find out what the two ends of a new link have missed.
    pub(crate) fn begin_sync(&mut self, now: Now, peer: PeerId, out: &mut Outputs) {
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        let conn = link.conn;
        if !link.shares_digest {
            link.ask_even(out);
            self.miss_all(peer, Node::ROOT, out);
        } else if link.begins {
            self.begin_comparison(peer, out);
            self.compare_later(now, conn, out);
        }
    }

    /// Hears what comes next on a link whose lines need no proof, for as long as it is reports that
    /// are spelled as usual: nearly all lines are.
    #[inline(never)]
    pub(crate) fn usual_lines(
        &mut self,
        now: Now,
        conn: ConnId,
        lines: &mut Lines<'_>,
        out: &mut Outputs,
    ) {
        let Some((peer, link)) = self.peers.link(conn) else { return };
        if link.is_sealed() {
            return;
        }
        let (mut position, mut heard) = (link.position, 0);
        loop {
            let (text, news) = (lines.ahead(), self.counters.news);
            let length = if let Some(length) = self.hear_copy(position, text) {
                position += 1;
                if position % LINES_AHEAD as u64 == 0 {
                    // What follows on copies are copies as a rule, and of which clients is known.
                    let next = self.heard.from(position, LINES_AHEAD as u64);
                    self.store.fetch_ahead::<LINES_AHEAD>(next);
                }
                length
            } else if let Some((report, behind @ [b'\n', ..])) = fast_path::at_front(text) {
                let line = &text[..text.len() - behind.len()];
                let key = self.store.key(report.client);
                position = self.hear_usual(now, peer, (line, &report), key, out);
                line.len()
            } else {
                break;
            };
            lines.pass(length + 1);
            heard += 1;
            // What follows on news is news as a rule.
            if self.counters.news > news && self.store.is_beyond_cache() {
                let lines = self.hear_news(now, peer, lines, out);
                (heard, position) = (heard + lines.0, lines.1.unwrap_or(position));
            }
        }
        if heard > 0
            && let State::Up { link, .. } = &mut self.peers.at(peer).state
        {
            link.heard = now.monotonic;
            link.position = position;
            self.counters.lines_in += heard;
        }
    }

    /// Hears news, for as long as it is that. Says how many lines that were, and behind which place
    /// the last was (`Heard`). Several are read and looked
    /// up together (`Store::fetch_ahead`), then heard one by one: in a store that no cache holds,
    /// to wait for memory takes longer than all else. What is no news ends it; it was read in vain
    /// then, as were the few lines behind it, which are copies as a rule and heard as such.
    #[inline(never)]
    fn hear_news(
        &mut self,
        now: Now,
        peer: PeerId,
        lines: &mut Lines<'_>,
        out: &mut Outputs,
    ) -> (u64, Option<u64>) {
        let (mut heard, mut position, mut together) = (0, None, LINES_AHEAD_MIN);
        loop {
            let mut ahead = ArrayVec::<Ahead<'_>, LINES_AHEAD>::new();
            let mut text = lines.ahead();
            while ahead.len() < together
                && let Some((report, behind @ [b'\n', rest @ ..])) = fast_path::at_front(text)
            {
                let line = &text[..text.len() - behind.len()];
                ahead.push(Ahead { line, report, key: self.store.key(report.client) });
                text = rest;
            }
            self.store.fetch_ahead::<LINES_AHEAD>(ahead.iter().map(|line| line.key));
            for Ahead { line, report, key } in &ahead {
                let news = self.counters.news;
                if lines.ahead().is_empty() {
                    return (heard, position);
                }
                position = Some(self.hear_usual(now, peer, (line, report), *key, out));
                lines.pass(line.len() + 1);
                heard += 1;
                if self.counters.news == news {
                    return (heard, position);
                }
            }
            if ahead.len() < together {
                return (heard, position);
            }
            together = LINES_AHEAD.min(2 * together);
        }
    }

    /// Handles one line of a peer. Says whether the link goes on.
    pub(crate) fn link_line(
        &mut self,
        now: Now,
        peer: PeerId,
        line: Line<'_>,
        out: &mut Outputs,
    ) -> bool {
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return false };
        let conn = link.conn;
        let Line::Whole(line) = line else {
            return self.break_link(now, conn, "a line of it is too long", out);
        };
        let Some(line) = link.open(line) else {
            return self.break_link(now, conn, "a line of it is not sealed as it should be", out);
        };
        link.heard = now.monotonic;
        if let Some(report) = fast_path::at(line) {
            let key = self.store.key(report.client);
            self.hear_usual(now, peer, (line, &report), key, out);
            return true;
        }
        self.unusual_line(now, peer, line, out)
    }

    /// Handles one line of a peer that is proven to be its own. Says whether the link goes on.
    fn unusual_line(&mut self, now: Now, peer: PeerId, line: &[u8], out: &mut Outputs) -> bool {
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return false };
        let conn = link.conn;
        match PeerLine::parse(line) {
            PeerLine::At(report) => {
                if self.may_hear(&report, now) {
                    let key = self.store.key(report.client);
                    if report.is_erasure() {
                        self.wipe_for(&report);
                    }
                    let told = ReportLine::write(&report, out);
                    self.accept_report(now, (key, told), Some(peer), out);
                }
            }
            PeerLine::Root { count, hash } => self.root_heard(now, peer, count, hash, out),
            PeerLine::Parts(parts) => self.parts_heard(peer, parts, out),
            PeerLine::EvenAsked { number } => self.even_asked(peer, number, out),
            PeerLine::Even { number } => {
                if !self.even_heard(now, peer, number, out) {
                    return self.break_link(now, conn, FOREIGN, out);
                }
            }
            PeerLine::Ping { number } => link.pong(now, number, out),
            PeerLine::Pong { number, posix_ns } => {
                link.ponged(now, number, posix_ns);
                self.pong_heard(now, peer, out);
            }
            PeerLine::Blank => {}
            PeerLine::Bye => {
                self.bye_heard(now, peer, conn, out);
                return false;
            }
            PeerLine::Kept if link.farewell == Farewell::Said => {
                self.kept_heard(now, peer, conn, out);
                return false;
            }
            PeerLine::Refused { why } => {
                self.peers.at(peer).trouble = Some(why);
                self.drop_link(now, conn, why, out);
                return false;
            }
            PeerLine::Greeting(_) | PeerLine::Auth { .. } | PeerLine::Kept | PeerLine::Invalid => {
                return self.break_link(now, conn, FOREIGN, out);
            }
        }
        true
    }

    /// Whether a peer's report is looked at. What has expired is not: it would come back. No other
    /// question may be asked here, for two servers could answer it differently.
    pub(crate) fn may_hear(&self, report: &Report<'_>, now: Now) -> bool {
        !self.has_expired(report, now)
    }

    fn break_link(&mut self, now: Now, conn: ConnId, why: &'static str, out: &mut Outputs) -> bool {
        self.counters.refuse(RefusedFor::Protocol);
        self.drop_link(now, conn, why, out);
        false
    }

    fn tell_root(&mut self, peer: PeerId, out: &mut Outputs) {
        let (count, hash) = (self.store.len(), self.digest());
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        link.told_nothing = count == 0;
        link.say(out, |text| write_root(count, hash, text));
    }

    /// The dialler tells its digest, and asks when all has come that is found.
    fn begin_comparison(&mut self, peer: PeerId, out: &mut Outputs) {
        self.tell_root(peer, out);
        if let State::Up { link, .. } = &mut self.peers.at(peer).state {
            link.ask_even_now(out);
        }
    }

    pub(crate) fn compare_later(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        let every = self.settings.limits.compare_every;
        // Never in step with the others.
        let after = every.map(|every| every.mul_f64(0.8 + 0.4 * self.peers.random.f64()));
        let Some((_, link)) = self.peers.link(conn) else { return };
        link.compare_at = after.map(|after| now.monotonic + after);
        let Some(after) = after else { return };
        out.push(Output::StartTimer { timer: Timer::Compare { conn }, after });
    }

    /// Tells the digest again, for whatever may have gone wrong unnoticed.
    pub(crate) fn compare_due(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        let Some((peer, link)) = self.peers.link(conn) else { return };
        if link.compare_at.is_none_or(|at| now.monotonic < at) {
            return;
        }
        // A peer that is behind differs in any case.
        if !link.is_behind() && link.has_room() {
            self.begin_comparison(peer, out);
        }
        self.compare_later(now, conn, out);
    }

    fn root_heard(
        &mut self,
        now: Now,
        peer: PeerId,
        their_count: u64,
        their_hash: u64,
        out: &mut Outputs,
    ) {
        let is_equal = self.digest() == their_hash;
        let is_busy = now.monotonic.saturating_sub(self.news_at) < UNDER_WAY;
        let entry = self.peers.at(peer);
        let State::Up { link, .. } = &mut entry.state else { return };
        let is_first = !std::mem::replace(&mut link.compared, true);
        if is_equal || their_count == 0 {
            entry.even_at = Some(now.monotonic);
        } else {
            link.first_root.get_or_insert(their_hash);
        }
        if is_equal || !link.shares_digest {
            link.doubts = 0;
            return;
        }
        if !link.begins {
            if is_busy && !is_first && link.doubts < DOUBTS_MAX {
                link.doubts += 1;
                link.even.left_alone = true;
                return;
            }
            link.doubts = 0;
            if link.has_room() {
                self.tell_root(peer, out);
            } else {
                // It goes on asking and does not read: once is enough.
                link.owe_root(out);
            }
        }
        if their_count == 0 {
            self.miss_all(peer, Node::ROOT, out);
            return;
        }
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        let (begins, told_nothing) = (link.begins, link.told_nothing);
        if !told_nothing {
            self.tell_parts(peer, Node::ROOT, out);
        }
        if !begins && let State::Up { link, .. } = &mut self.peers.at(peer).state {
            link.ask_even(out);
        }
    }

    fn parts_heard(&mut self, peer: PeerId, parts: Parts<'_>, out: &mut Outputs) {
        for (part, theirs) in parts.of.children().zip(parts.hashes()) {
            if self.keyring.shown(self.store.digest().hash(part)) == theirs {
                continue;
            }
            match part.leaf() {
                None => self.tell_parts(peer, part, out),
                Some(leaf) => {
                    self.counters.differences += 1;
                    let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
                    link.miss(leaf, out);
                }
            }
        }
    }

    /// Tells the digests of a node's parts, now or when there is room.
    fn tell_parts(&mut self, peer: PeerId, node: Node, out: &mut Outputs) {
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        let hash = |part| self.keyring.shown(self.store.digest().hash(part));
        link.parts_told();
        if link.has_room() {
            link.say(out, |text| Parts::write(node, hash, text));
        } else {
            link.owe_parts(node, out);
        }
    }

    /// The peer must be sent everything in this node.
    fn miss_all(&mut self, peer: PeerId, node: Node, out: &mut Outputs) {
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        self.store.digest().filled(node).for_each(|leaf| link.miss(leaf, out));
    }

    /// The far end of a link has taken some of what it was owed.
    pub(crate) fn taken(&mut self, conn: ConnId, bytes: usize) {
        if let Some((_, link)) = self.peers.link(conn) {
            link.taken(bytes);
        }
    }

    /// Nothing is owed to this connection any more: says the next of what there was no room for.
    pub(crate) fn flushed(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        let piece_bytes = PIECE_BYTES.min(self.settings.limits.peer_outbox_bytes_max);
        let Some((peer, link)) = self.peers.link(conn) else { return };
        link.flushed();
        if std::mem::take(&mut link.root_owed) {
            self.tell_root(peer, out);
        }
        let Some((peer, link)) = self.peers.link(conn) else { return };
        let hash = |part| self.keyring.shown(self.store.digest().hash(part));
        while link.owed < piece_bytes
            && let Some(node) = link.untold.take()
        {
            link.say(out, |text| Parts::write(Node::numbered(node), hash, text));
        }
        while link.owed < piece_bytes
            && let Some(span) = link.next_span()
        {
            link.sending = self.store.visit_span(span, |record| {
                link.say(out, |text| record.report().write_at(text));
                self.counters.walked += 1;
                link.owed >= piece_bytes
            });
        }
        link.pong_late(now, out);
        link.even_late(out);
        if link.is_behind() {
            return link.ask(out);
        }
        self.say_bye(peer, out);
    }
}
