//! What a server publishes: news of a turn as one batch, and what the node has read of it. Apart
//! from `engine` because this is the account only.
//!
//! ```text
//!                     PING, now and then       PONG of it
//!   news ──▶ since ────┼────▶ before ───────────┼────▶ forgotten: the node has it
//!     │        └───────┴─ connection lost ──┬───┘
//!     └─ no connection, or too much owed ───┴──▶ missed ──▶ said again, as it is then
//! ```

use std::ops::Range;
use std::time::Duration;

use super::abroad::{Abroad, is_anothers};
use super::batch::Head;
use super::members::Member;
use super::{Engine, last_token, write_pub};
use crate::Server;
use crate::border::{Note, Output, Outputs};
use crate::clock::Now;
use crate::counters::SILENT;
use crate::names::{ConnId, PeerId};
use crate::parts::Part;
use crate::store::{Key, Span};

/// A turn's walk through what is to be said again says so much at most, and goes by so many.
pub(super) const PIECE_BYTES: usize = 64 * 1024;
pub(super) const WALK_MAX: usize = 2_048;

/// The node is asked how far it has read no more often than this: each answer costs a turn.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(20);
/// Above this part of `owed_max`, it is asked at once: then there is room before it is needed.
const MUCH: usize = 8;

impl Engine {
    /// All members, and other regions, which are `None`; another one first each time that there is
    /// room: what one is owed may take all of it.
    fn in_turn(&mut self) -> impl Iterator<Item = Option<usize>> + use<> {
        let members = self.members.len();
        let count = members + usize::from(self.abroad.is_some());
        if self.has_room() {
            self.first = (self.first + 1).checked_rem(count).unwrap_or_default();
        }
        let first = self.first;
        (0..count).map(move |at| Some((first + at) % count).filter(|at| *at < members))
    }

    /// Takes news of this server into the batch of this turn, or remembers that it was not said.
    pub fn flood(&mut self, peer: PeerId, key: Key, line: Range<usize>, out: &mut Outputs) {
        if self.abroad.is_some() {
            self.flood_abroad(key, line.clone(), out);
        }
        if self.missed.has(key) {
            return;
        }
        if self.up().is_none() || !self.has_room_for(line.len()) {
            if self.up().is_some() && !self.is_noted {
                self.is_noted = true;
                out.note(Note::PeerBehind { peer });
            }
            self.missed.add(key);
            return;
        }
        let part = self.settings.parts.of(key.leaf());
        if self.outboxes.len(part) + line.len() > self.settings.batch_bytes_max {
            self.publish(part, out);
        }
        self.take_news(part, &[key], line, out);
    }

    /// `flood` for lines that follow each other, each about one of these clients, if all of them
    /// can be taken as they are: nobody holds less than all, nothing is missed, and there is room.
    /// Says whether they were.
    pub fn flood_all(&mut self, keys: &[Key], lines: Range<usize>, out: &mut Outputs) -> bool {
        const ALL: Part = 0;
        let goes_to_all = self.abroad.is_none() && self.settings.parts.is_whole();
        let can_be_taken = goes_to_all
            && self.up().is_some()
            && self.missed.is_empty()
            && self.has_room_for(lines.len())
            && self.outboxes.len(ALL) + lines.len() <= self.settings.batch_bytes_max;
        if can_be_taken {
            self.take_news(ALL, keys, lines, out);
        }
        can_be_taken
    }

    fn take_news(&mut self, part: Part, keys: &[Key], lines: Range<usize>, out: &mut Outputs) {
        self.since.extend(keys.iter().map(|&key| Span::around(key)));
        self.outboxes.write(part, |pending| pending.extend_from_slice(&out.text[lines]));
        self.counters.lines_out += keys.len() as u64;
        self.ask_flushed(out);
    }

    /// Asks for the end of the turn, when all that was sent before has left.
    pub(super) fn ask_flushed(&mut self, out: &mut Outputs) {
        if let Some(conn) = self.up().filter(|_| !self.asked) {
            self.asked = true;
            out.push(Output::TellFlushed { conn });
        }
    }

    /// Bytes that the node has not read, as far as we know.
    pub(super) fn owed(&self) -> usize {
        let abroad = self.abroad.as_ref().map_or(0, |abroad| abroad.outboxes.bytes());
        (self.sent - self.read) as usize + self.outboxes.bytes() + abroad
    }

    /// Whether there is room for what can also be said later.
    pub(super) fn has_room(&self) -> bool {
        self.owed() <= self.settings.owed_max / 2
    }

    /// Whether there is room for so much that cannot be said later.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        self.owed() + bytes <= self.settings.owed_max
    }

    pub(super) fn is_behind(&self) -> bool {
        !self.missed.is_empty() || self.sending.is_some()
    }

    /// Publishes the batch of this turn; an empty one shows those who have missed the last that
    /// they have.
    pub(super) fn publish(&mut self, part: Part, out: &mut Outputs) {
        self.counters.batches_out += 1;
        let batch = self.outboxes.take(part);
        self.put(&batch.subject, batch.number, &batch.lines, out);
        self.outboxes.give_back(batch);
    }

    /// The same for all parts of which anything is to be said. What may be the last of a part is
    /// followed by an empty batch.
    pub(super) fn publish_all(&mut self, now: Now, out: &mut Outputs) {
        while let Some(part) = self.outboxes.any_filled() {
            self.outboxes.want_tail(part, now.monotonic);
            self.publish(part, out);
        }
        self.publish_abroad(out);
    }

    /// Says a line to one member; `write` gives it without its newline.
    pub(super) fn say(
        &mut self,
        member: usize,
        out: &mut Outputs,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.own.0 != member || self.own.1.len() >= self.settings.batch_bytes_max {
            self.send_own(out);
        }
        self.own.0 = member;
        write(&mut self.own.1);
        self.own.1.push(b'\n');
    }

    /// Sends what was said to one member. Above the bound it is not said at all: the comparison
    /// that it belongs to is made again.
    pub(super) fn send_own(&mut self, out: &mut Outputs) {
        if self.own.1.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.own.1);
        let has_room = self.owed() <= self.settings.owed_max;
        let member = &mut self.members[self.own.0];
        if has_room {
            member.told += 1;
            let number = member.told;
            let prefix = self.for_us.iter().rposition(|&byte| byte == b'.').unwrap_or(0);
            let subject = [&self.for_us[..=prefix], &member.name].concat();
            self.put(&subject, number, &lines, out);
        } else {
            member.is_cut_short(self.settings.ask_timeout);
        }
        self.own.1 = lines;
        self.own.1.clear();
    }

    pub(super) fn put(&mut self, subject: &[u8], number: u64, lines: &[u8], out: &mut Outputs) {
        self.put_by(write_pub, (subject, number), lines, out);
    }

    /// Publishes a batch; `write` gives the line before it.
    pub(super) fn put_by(
        &mut self,
        write: impl FnOnce(&[u8], usize, &mut Vec<u8>),
        (subject, number): (&[u8], u64),
        lines: &[u8],
        out: &mut Outputs,
    ) {
        let Some(conn) = self.up() else { return };
        let mut first = std::mem::take(&mut self.scratch);
        first.clear();
        let (life, digests) = (self.life, self.digests);
        let name = last_token(&self.for_us);
        let head = Head { sender: name, life, number, digests };
        self.keys.seal(subject, &head, lines, &mut first);
        let start = out.text.len();
        write(subject, first.len() + lines.len(), &mut out.text);
        for piece in [&first[..], lines, b"\r\n"] {
            out.text.extend_from_slice(piece);
        }
        self.sent += (out.text.len() - start) as u64;
        out.send(conn, start..out.text.len());
        self.scratch = first;
        self.ask_flushed(out);
    }

    /// Whether it is not known that the node has read all, and it is not asked.
    fn is_unasked(&self) -> bool {
        self.up().is_some() && self.ping.is_none() && self.sent > self.read
    }

    fn may_ask_at(&self) -> Duration {
        self.pinged_at.map_or(Duration::ZERO, |at| at + ASK_EVERY)
    }

    /// When the node is asked how far it has read, unless the turn ends before that.
    pub(super) fn asks_how_far_at(&self) -> Option<Duration> {
        (self.is_unasked() && !self.asked).then(|| self.may_ask_at())
    }

    /// Asks the node how far it has read: at once if there is more to be said, which may wait for
    /// room, or if there soon may be none; else not too often.
    fn ask_how_far(&mut self, now: Now, has_more: bool, out: &mut Outputs) {
        let Some(conn) = self.up() else { return };
        let is_urgent = has_more || self.owed() > self.settings.owed_max / MUCH;
        if self.is_unasked() && (is_urgent || now.monotonic >= self.may_ask_at()) {
            self.say_ping(now, conn, out);
        }
    }

    fn say_ping(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        self.publish_all(now, out);
        out.say(conn, |text| text.extend_from_slice(b"PING\r\n"));
        self.ping = Some((self.sent, now.monotonic));
        self.pinged_at = Some(now.monotonic);
        std::mem::swap(&mut self.since, &mut self.before);
    }

    /// The node has read all that was sent before our PING.
    pub(super) fn ponged(&mut self, now: Now, out: &mut Outputs) {
        if let Some((sent, _)) = self.ping.take() {
            self.read = sent;
            self.before.clear();
            self.is_noted &= self.is_behind();
            if self.has_more() {
                // It is asked behind what is said then, or it would have to be asked once more.
                self.ask_flushed(out);
            } else {
                self.ask_how_far(now, false, out);
            }
        }
    }

    fn has_more(&self) -> bool {
        let is_behind_abroad = self.abroad.as_ref().is_some_and(Abroad::is_behind);
        is_behind_abroad || self.is_behind() || self.members.iter().any(Member::awaits_more)
    }

    /// The connection is over: what the node may not have read is missed.
    pub(super) fn forget_connection(&mut self) {
        let unread = self.since.drain(..).chain(self.before.drain(..));
        unread.chain(self.sending.take()).for_each(|span| self.missed.add_span(span));
        self.outboxes.clear();
        self.own.1.clear();
        (self.sent, self.read, self.ping, self.pinged_at) = (0, 0, None, None);
        (self.asked, self.wakes_at) = (false, None);
        self.inbox = super::Inbox::new(super::PAYLOAD_MAX);
        self.members.iter_mut().for_each(Member::lost);
        if let Some(abroad) = &mut self.abroad {
            abroad.lost();
        }
        self.comparing = super::Comparing::default();
        self.questions.forget_connection();
        self.divided.lost();
    }
}

impl Server {
    /// The turn is over, and all that was sent before has left: publishes what was news in it, and
    /// then the next of what was missed.
    pub(crate) fn engine_flushed(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        self.with_engine(now, conn, out, |server, _, engine, out| {
            engine.publish_all(now, out);
            server.say_missed(now, engine, out);
            let has_more = engine.has_more();
            engine.ask_how_far(now, has_more, out);
            // Another end of a turn is of use only if something is left that has room now.
            engine.asked = false;
            if has_more && engine.has_room() {
                engine.ask_flushed(out);
            }
        });
    }

    /// Says what was missed, some of it: to all what we heard first, and to each member what a
    /// comparison has found.
    fn say_missed(&mut self, now: Now, engine: &mut Engine, out: &mut Outputs) {
        let until = engine.sent + PIECE_BYTES as u64;
        let mut walked = 0;
        while engine.has_room() && engine.sent < until && walked < WALK_MAX {
            let next = engine.sending.take().or_else(|| engine.missed.take());
            let Some(span) = next else { break };
            let batch_max = engine.settings.batch_bytes_max;
            let part = engine.settings.parts.of(span.leaf());
            let (mut lines, mut bytes) = (0, engine.outboxes.len(part));
            let (members, outboxes) = (&engine.members, &mut engine.outboxes);
            let abroad = engine.abroad.as_ref();
            let is_others = |server: &[u8]| is_anothers((members, abroad), server);
            let mut has_others = false;
            engine.sending = self.store.visit_span(span, |record| {
                let report = record.report();
                walked += 1;
                if !is_others(report.server) {
                    bytes = outboxes.write(part, |pending| report.write_line(pending));
                    lines += 1;
                } else {
                    has_others = true;
                }
                bytes >= batch_max || walked >= WALK_MAX
            });
            // Of what others heard first, nothing is said.
            engine.since.extend((lines > 0).then_some(span));
            engine.counters.lines_out += lines;
            if has_others {
                engine.others_found(now, part, out);
            }
            if bytes >= batch_max || engine.missed.is_empty() {
                engine.outboxes.want_tail(part, now.monotonic);
                engine.publish(part, out);
            }
        }
        engine.publish_all(now, out);
        self.counters.walked += walked as u64;
        for member in engine.in_turn() {
            let Some(member) = member else {
                self.say_abroad(engine, until, out);
                continue;
            };
            if !engine.members[member].awaits_more() {
                continue;
            }
            // What goes beyond the bound would not be said, and not be known to be missing.
            let piece_max = PIECE_BYTES.min(engine.settings.owed_max / 4);
            while engine.has_room()
                && engine.sent < until
                && let Some(span) = engine.members[member].next_span()
            {
                let mut piece = 0;
                let rest = self.store.visit_span(span, |record| {
                    let report = record.report();
                    self.counters.walked += 1;
                    piece += report.line_len();
                    engine.say(member, out, |text| report.write_at(text));
                    piece >= piece_max
                });
                engine.members[member].sending = rest;
                engine.send_own(out);
            }
            // Behind reports, which make less of it differ.
            self.tell_untold(engine, member, out);
            engine.answer_even(member, out);
        }
    }

    /// A moment has come at which something of the engine was due.
    pub(crate) fn engine_due(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        self.with_engine(now, conn, out, |server, peer, engine, out| {
            // Another timer has taken the place of this one.
            if engine.wakes_at.is_some_and(|at| now.monotonic < at) {
                return;
            }
            engine.wakes_at = None;
            if engine.up().is_none() {
                return;
            }
            if engine.ping.is_some_and(|(_, at)| now.monotonic >= at + engine.silence_max) {
                return server.lose_engine(now, (peer, engine), SILENT, out);
            }
            while let Some(part) = engine.outboxes.take_tail(now.monotonic) {
                engine.publish(part, out);
            }
            if engine.ping.is_none() && now.monotonic >= engine.heard + engine.ping_after {
                engine.say_ping(now, conn, out);
            }
            engine.ask_how_far(now, false, out);
        });
    }
}
