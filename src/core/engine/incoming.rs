//! What a node brings: its own words, and the batches of other servers.

use super::batch::NotBelieved;
use super::words::parse_again;
use super::{Engine, PAYLOAD_MAX};
use crate::Server;
use crate::border::Outputs;
use crate::clock::Now;
use crate::names::{ConnId, PeerId};
use crate::nats_wire::{Inbox, Op};
use crate::peers::handover::{Heir, Stage};
use crate::reports::flood::ReportLine;
use crate::store::digest::Node;
use crate::wire::Report;
use crate::wire::fast_path;
use crate::wire::line_buffer::Lines;
use crate::wire::peer_command::{Parts, PeerLine};

const FOREIGN: &str = "it does not speak NATS";

/// Each -ERR ends the connection, here if not there: something of ours may be lost, and all that is
/// not known to be read is said again. These need somebody's help first.
const DENIALS: [(&str, &str); 5] = [
    ("authorization violation", "it does not know our user, or not its key or password"),
    ("permissions violation", "our user may not publish or hear what the herd needs"),
    ("authentication", "it wants another user, or sooner"),
    ("account", "our account is over"),
    ("maximum connections", "it has as many connections as it may"),
];

impl Server {
    /// Bytes have come from the node.
    pub(crate) fn engine_bytes(
        &mut self,
        now: Now,
        conn: ConnId,
        lines: &mut Lines<'_>,
        out: &mut Outputs,
    ) {
        let read = lines.take_all();
        self.with_engine(now, conn, out, |server, peer, engine, out| {
            let (news, stale) = (server.counters.news, server.counters.stale);
            let place = server.heard.end();
            engine.heard = now.monotonic;
            let mut inbox = std::mem::replace(&mut engine.inbox, Inbox::new(PAYLOAD_MAX));
            let mut ops = inbox.ops(read);
            while engine.conn() == Some(conn) {
                match ops.take() {
                    Ok(Some(op)) => server.engine_op(now, (peer, engine), op, out),
                    Ok(None) => break,
                    Err(_) => server.lose_engine(now, (peer, engine), FOREIGN, out),
                }
            }
            let rest = ops.rest();
            if engine.conn() == Some(conn) {
                inbox.settle(read, rest);
                engine.inbox = inbox;
            }
            let counters = &mut server.counters;
            counters.peer_stale += counters.stale - stale;
            counters.peer_news += counters.news - news;
            if server.heard.end() > place {
                server.look_at_age(now);
            }
        });
    }

    fn engine_op(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        op: Op<'_>,
        out: &mut Outputs,
    ) {
        match op {
            Op::Info(json) => self.engine_informed(now, (peer, engine), json, out),
            Op::Msg { subject, payload } => {
                if engine.up().is_some()
                    && let Err(why) = self.hear_batch(now, (peer, engine), subject, payload, out)
                {
                    engine.counters.refused[why as usize] += 1;
                }
            }
            Op::NoResponders { subject } => self.nobody_hears(now, engine, subject, out),
            Op::TooMuch { .. } => engine.counters.refused[NotBelieved::TooMuch as usize] += 1,
            Op::Ping => {
                if let Some(conn) = engine.conn() {
                    out.say(conn, |text| text.extend_from_slice(b"PONG\r\n"));
                }
            }
            Op::Pong if engine.up().is_some() => engine.ponged(now, out),
            Op::Pong => self.engine_up(now, (peer, engine), out),
            Op::Ok => {}
            Op::Err(why) => {
                let text = String::from_utf8_lossy(why).to_lowercase();
                let denial = DENIALS.iter().find(|(word, _)| text.contains(word));
                engine.denied = denial.map(|(_, why)| *why);
                let why = engine.denied.unwrap_or("it says that something is wrong");
                self.lose_engine(now, (peer, engine), why, out);
            }
        }
    }

    /// A batch has come: believes it, or says why not.
    fn hear_batch(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        subject: &[u8],
        payload: &[u8],
        out: &mut Outputs,
    ) -> Result<(), NotBelieved> {
        if let Some(heard) = self.hear_abroad(now, (peer, engine), (subject, payload), out) {
            return heard;
        }
        let held = engine.place_of(subject);
        if held.is_none() && subject != engine.for_us {
            return self.hear_questions(now, engine, (subject, payload), out);
        }
        let (head, lines) = engine.keys.open(subject, payload)?;
        // Nothing of ours is to come back: an older connection may not have ended yet.
        if *head.sender == *self.settings.name {
            return Ok(());
        }
        let mut members = engine.members.iter_mut();
        let member = members.position(|member| *member.name == *head.sender);
        if member.is_none() && held.is_none() && engine.region_of(head.sender).is_some() {
            for line in lines_of(lines) {
                self.hear_answer(now, (engine, head.sender), line, out);
            }
            return Ok(());
        }
        let member = member.ok_or(NotBelieved::Foreign)?;
        let comes_back = engine.members[member].comes_back(&head.life);
        let missing = engine.members[member].accept(&head, held)?;
        let is_for_all = held.is_some();
        engine.counters.batches_in += 1;
        self.peers.at(peer).heir = Heir::Owed;
        engine.counters.gaps += if is_for_all { missing } else { 0 };
        if !engine.settings.parts.is_whole() {
            engine.heard_in_parts(now, member, (held, missing), comes_back);
        } else if missing > 0 {
            engine.members[member].has_hole = true;
        }
        let is_comparable = head.digests == engine.digests;
        let (mut rest, mut heard, mut told_root) = (lines, 0, false);
        while let Some((line, usual)) = next_line(&mut rest) {
            heard += 1;
            if let Some(report) = usual {
                let key = self.store.key(report.client);
                self.hear_usual(now, peer, (line, &report), key, out);
            } else if is_for_all {
                engine.members[member].has_left |= line == b"BYE";
                self.hear_unusual(now, peer, line, out);
            } else {
                let (at, about) = ((peer, member), (is_comparable, told_root));
                told_root |= self.hear_own_line(now, at, (engine, about), line, out);
            }
        }
        self.counters.lines_in += heard;
        self.counters.peer_lines += heard;
        engine.counters.lines_in += if is_for_all { heard } else { 0 };
        Ok(())
    }

    pub(super) fn hear_unusual(&mut self, now: Now, peer: PeerId, line: &[u8], out: &mut Outputs) {
        if let PeerLine::At(report) = PeerLine::parse(line)
            && self.may_hear(&report, now)
        {
            let key = self.store.key(report.client);
            let told = ReportLine::write(&report, out);
            self.accept_report(now, (key, told), Some(peer), out);
        }
    }

    /// Hears a line that is for us alone. Says whether it is the digest of all that its sender
    /// holds.
    fn hear_own_line(
        &mut self,
        now: Now,
        (peer, member): (PeerId, usize),
        (engine, (is_comparable, told_root)): (&mut Engine, (bool, bool)),
        line: &[u8],
        out: &mut Outputs,
    ) -> bool {
        if let Some(number) = parse_again(line) {
            engine.again_heard(now, member, number);
            return false;
        }
        if !engine.settings.parts.is_whole() {
            self.hear_in_parts(now, (peer, member), (engine, is_comparable), line, out);
            return false;
        }
        match PeerLine::parse(line) {
            PeerLine::Root { .. } if !is_comparable => {
                engine.comparing.answered_by(member);
                return true;
            }
            PeerLine::Root { count, hash } => {
                self.engine_root_heard(now, (peer, engine), member, (count, hash), out);
                return true;
            }
            PeerLine::Parts(_) if !is_comparable => {}
            PeerLine::Parts(parts) => self.engine_parts_heard(engine, member, parts, out),
            PeerLine::EvenAsked { number } => {
                if told_root {
                    self.tell_engine_root(engine, member, out);
                }
                if told_root && !is_comparable {
                    engine.members[member].wants_all = true;
                    self.tell_all_that_is_due(now, engine, out);
                }
                // What it wanted to know may be what was lost: it hears nothing, and asks again.
                if !engine.members[member].is_cut {
                    engine.members[member].even.unanswered = Some(number);
                    engine.answer_even(member, out);
                }
            }
            PeerLine::Even { number } => {
                self.engine_even_heard(now, (peer, engine), member, number, out);
            }
            PeerLine::Bye => {
                let is_even = self.peers.at(peer).even_at >= engine.since();
                let is_serving = self.stage == Stage::Serving;
                engine.bye_heard(member, is_serving && is_even, out);
            }
            PeerLine::Kept => self.engine_kept(now, (peer, engine), out),
            _ => self.hear_unusual(now, peer, line, out),
        }
        false
    }

    /// Tells a member the digests of a node's parts, now or when there is room.
    pub(super) fn tell_engine_parts(
        &self,
        engine: &mut Engine,
        member: usize,
        node: Node,
        out: &mut Outputs,
    ) {
        let has_room = engine.has_room();
        let it = &mut engine.members[member];
        it.even.told_at = it.even.asked;
        if !has_room {
            // The next PONG makes some.
            return it.owe_parts(node);
        }
        let hash = |part| self.keyring.shown(self.store.digest().hash(part));
        engine.say(member, out, |text| Parts::write(node, hash, text));
    }

    /// Tells a member the parts for which there was no room, as many as there is room for. It may
    /// have answered our question before it has heard them, and is asked once more behind them.
    pub(super) fn tell_untold(&self, engine: &mut Engine, member: usize, out: &mut Outputs) {
        let was_untold = engine.members[member].is_untold();
        while engine.has_room()
            && let Some(node) = engine.members[member].next_untold()
        {
            self.tell_engine_parts(engine, member, node, out);
            engine.send_own(out);
        }
        if was_untold && !engine.members[member].is_untold() {
            engine.ask_even(member, out);
        }
    }
}

/// Takes the next line of a batch. If it is a report that is spelled as usual, as nearly all are,
/// that is read already, for it shows where the line ends.
#[inline(always)]
fn next_line<'a>(text: &mut &'a [u8]) -> Option<(&'a [u8], Option<Report<'a>>)> {
    loop {
        let (length, usual) = match fast_path::at_front(text) {
            Some((report, behind @ ([] | [b'\n', ..]))) => {
                (text.len() - behind.len(), Some(report))
            }
            _ => (memchr::memchr(b'\n', text).unwrap_or(text.len()), None),
        };
        let line = &text[..length];
        *text = text.get(length + 1..).unwrap_or_default();
        if !line.is_empty() {
            return Some((line, usual));
        }
        if text.is_empty() {
            return None;
        }
    }
}

/// The lines of a batch, which need not end with a newline.
pub(super) fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    // Not by `split`, which looks at byte after byte.
    memchr::memchr_iter(b'\n', text).chain([text.len()]).map(move |end| {
        let line = &text[start..end];
        start = end + 1;
        line
    })
}
