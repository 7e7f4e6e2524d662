//! What a server asks about clients that it does not hold, where clients are divided into parts: a
//! WHATSAT goes to a server that holds the part, and then on to the places as ever. Apart because a
//! herd whose servers hold all asks nothing.
//!
//! ```text
//!   asker                                    one of the holders, by NATS' choice
//!   ASK 5e… kiwi ──▶ q.PART, group h ──────▶
//!     ◀──────────────── s.ASKER ◀─────────── FOUND 5e… AT …   or   NONE 5e…
//!
//!                                            nobody is in the group, nobody answers in time,
//!                                            or who answers has just left it
//!   ASK 5f… kiwi ──▶ q ────────────────────▶ everybody
//!     ◀──────────────── s.ASKER ◀─────────── COPY 5f… AT …    or   NOCOPY 5f…, each of them
//! ```
//!
//! A server is in the group of a part as long as that is complete there (`divided`). What it
//! answers decides. If there is no such server, everybody is asked: each server keeps what its own
//! clients have said. The newest of all answers and of what is held here is the client's answer,
//! and is not kept.
//!
//! A question has a number, and its nonce is that number added to the process's: so an answer to
//! another process or to an earlier question is none. Who answers is known by the batch's proof.
//! A node says without any proof that nobody is in the group; it could as well drop the question.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answers::{Answer, Says};
use super::{Engine, write_sub};
use crate::Server;
use crate::border::Outputs;
use crate::clock::Now;
use crate::names::Ticket;
use crate::nats_wire::{write_pub_asking, write_sub_in_group, write_unsub};
use crate::parts::Part;
use crate::peers::handover::Stage;
use crate::store::digest::Leaf;
use crate::store::{Key, rank};
use crate::wire::peer_command::{from_hex, write_hex};
use crate::wire::{Command, Report};

/// Questions under way; beyond them, a client is answered with what is held here. Each may be about
/// a name of 8 KiB.
const OPEN_MAX: usize = 4_096;
/// The group of those who hold a part.
const GROUP: &[u8] = b"h";
/// The numbers of our subscriptions: where nobody hears, what all are asked, and each part's.
const SID_UNHEARD: u32 = 3_000;
const SID_ALL: u32 = 3_001;
const SID_ABROAD: u32 = 3_002;
const SID_PARTS: u32 = 4_000;

/// What was counted of questions since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuestionCounters {
    /// WHATSATs that were asked of other servers.
    pub asked: u64,
    /// Those to which another server had a report.
    pub found: u64,
    /// Those to which nobody had one.
    pub none: u64,
    /// Times that nobody was there who holds the part.
    pub no_responders: u64,
    /// Times that an answer did not come in time.
    pub too_late: u64,
    /// WHATSATs that could not be asked: no engine was there, or it was owed too much.
    pub unasked: u64,
    /// Questions that other regions were asked.
    pub abroad: u64,
}

/// The questions of a server.
pub(super) struct Questions {
    /// What all of them are asked on; a dot and a part's number make it that of the part.
    pub for_all: Vec<u8>,
    /// The process.
    life: u64,
    asked: u64,
    /// By their numbers, and so by the time until which they wait.
    open: BTreeMap<u64, Question>,
    /// The parts in whose groups we are, in their order.
    joined: Vec<Part>,
    pub counters: QuestionCounters,
}

struct Question {
    ticket: Ticket,
    /// The client's, to be given back.
    line: Vec<u8>,
    /// The best report so far, as `Report::write_fields` writes it; empty if there is none.
    best: Vec<u8>,
    /// Another server had a report.
    is_found: bool,
    asked: Asked,
    /// Other regions that were asked; without one, it is asked here.
    regions: Vec<usize>,
    /// The client's.
    leaf: Leaf,
    until: Duration,
}

/// Who was asked last, here or in the region that is asked.
enum Asked {
    /// One of those who hold the part, or nobody yet.
    Holder,
    /// All servers: the names of those that have not answered.
    All(Vec<Vec<u8>>),
}

impl Questions {
    /// `prefix` is what all subjects of this herd begin with, without the last dot.
    pub fn new(prefix: &[u8], life: [u8; 8]) -> Questions {
        Questions {
            for_all: [prefix, b".q"].concat(),
            life: u64::from_be_bytes(life),
            asked: 0,
            open: BTreeMap::new(),
            joined: Vec::new(),
            counters: QuestionCounters::default(),
        }
    }

    fn of_part(&self, part: Part) -> Vec<u8> {
        [&self.for_all[..], b".", itoa::Buffer::new().format(part).as_bytes()].concat()
    }

    fn nonce(&self, number: u64) -> u64 {
        self.life.wrapping_add(number)
    }

    fn number(&self, nonce: u64) -> u64 {
        nonce.wrapping_sub(self.life)
    }

    /// When the oldest has waited for long enough.
    pub fn next_due(&self) -> Option<Duration> {
        self.open.values().next().map(|question| question.until)
    }

    /// The connection is over, and no group knows us any more.
    pub fn forget_connection(&mut self) {
        self.joined.clear();
    }
}

impl Question {
    /// Takes a report into account.
    fn consider(&mut self, report: &Report<'_>) {
        if self.best.is_empty() || rank(report, &Report::from_fields(&self.best)).is_gt() {
            self.best.clear();
            report.write_fields(&mut self.best);
        }
    }

    fn client(&self) -> &[u8] {
        Command::parse(&self.line).client().unwrap_or_default()
    }

    fn best(&self) -> Option<Report<'_>> {
        (!self.best.is_empty()).then(|| Report::from_fields(&self.best))
    }
}

impl Engine {
    /// Says that we want to hear what all are asked, and what nobody hears.
    pub(super) fn write_question_subs(&self, out: &mut Vec<u8>) {
        if self.asks_others() {
            write_sub(&[&self.for_us[..], b".*"].concat(), SID_UNHEARD, out);
            write_sub(&self.questions.for_all, SID_ALL, out);
        }
        if let Some(abroad) = &self.abroad {
            write_sub(&abroad.heard_at(), SID_ABROAD, out);
        }
    }

    /// Whether all that servers here know of a part has come. Where clients are not divided, one
    /// that everybody is there to compare with is enough.
    pub(super) fn has_all_of(&self, now: Now, part: Part) -> bool {
        if !self.settings.parts.is_whole() {
            return self.is_complete(part);
        }
        let settled_at = self.since().map(|since| since + self.settings.settle);
        let mut there = self.members.iter().filter(|it| it.is_there() && !it.is_silent).peekable();
        settled_at.is_some_and(|at| now.monotonic >= at)
            && (there.peek().is_none() || there.any(|it| it.even_at.is_some()))
    }

    /// Whether servers here need not be asked about a client.
    fn has_all_there_is(&self, key: Key) -> bool {
        let parts = &self.settings.parts;
        parts.is_whole() || self.is_complete(parts.of(key.leaf()))
    }

    /// Whether there are clients of which others know more.
    pub(super) fn asks_others(&self) -> bool {
        self.settings.asks_others()
    }

    /// Is in the groups of those parts that are complete here, if it may be in any.
    fn join_groups(&mut self, now: Now, may_join: bool, out: &mut Outputs) {
        let Some(conn) = self.up() else { return };
        let questions = &self.questions;
        let parts = || {
            let held = self.held.iter().copied();
            held.filter(|part| may_join && self.has_all_of(now, *part))
        };
        if parts().eq(questions.joined.iter().copied()) {
            return;
        }
        let parts = Vec::from_iter(parts());
        let start = out.text.len();
        for part in questions.joined.iter().filter(|part| !parts.contains(part)) {
            write_unsub(SID_PARTS + u32::from(*part), &mut out.text);
        }
        for part in parts.iter().filter(|part| !questions.joined.contains(part)) {
            let sid = SID_PARTS + u32::from(*part);
            write_sub_in_group(&questions.of_part(*part), GROUP, sid, &mut out.text);
        }
        out.send(conn, start..out.text.len());
        self.questions.joined = parts;
    }

    /// Publishes a question, and has the node say so if nobody hears it.
    fn publish_question(&mut self, number: u64, subject: &[u8], client: &[u8], out: &mut Outputs) {
        let nonce = self.questions.nonce(number).to_be_bytes();
        let mut line = b"ASK ".to_vec();
        write_hex(&nonce, &mut line);
        line.push(b' ');
        line.extend_from_slice(client);
        line.push(b'\n');
        let mut reply = [&self.for_us[..], b"."].concat();
        write_hex(&nonce, &mut reply);
        let write = |subject: &[u8], bytes, out: &mut Vec<u8>| {
            write_pub_asking(subject, &reply, bytes, out);
        };
        self.put_by(write, (subject, number), &line, out);
    }

    /// A question goes to all who are where it was asked last, or has come to its end there: then
    /// it is given back.
    fn ask_all(&mut self, now: Now, mut question: Question, out: &mut Outputs) -> Option<Question> {
        let Asked::Holder = question.asked else { return Some(question) };
        let region = question.regions.last().zip(self.abroad.as_ref());
        let (subject, awaited) = match region {
            Some((region, abroad)) => (abroad.subject(*region, &[b"q"]), abroad.servers(*region)),
            // All that is known is here.
            None if self.settings.parts.is_whole() => return Some(question),
            None => (self.questions.for_all.clone(), self.members_there()),
        };
        if awaited.is_empty() {
            return Some(question);
        }
        question.asked = Asked::All(awaited);
        self.ask(now, question, &subject, out)
    }

    /// The names of those who are to answer. Soon after the connection has come up, those are
    /// there as well who were not heard yet.
    fn members_there(&self) -> Vec<Vec<u8>> {
        let there = self.members.iter().filter(|it| !it.has_left && !it.is_silent);
        there.map(|it| it.name.to_vec()).collect()
    }

    /// A question goes to another region, or has come to its end: then it is given back.
    fn ask_region(
        &mut self,
        now: Now,
        mut question: Question,
        out: &mut Outputs,
    ) -> Option<Question> {
        let region = self.region_to_ask(question.best().as_ref(), &question.regions);
        let Some((region, abroad)) = region.zip(self.abroad.as_ref()) else {
            return Some(question);
        };
        let part = self.settings.parts.of(question.leaf).to_string();
        let subject = abroad.subject(region, &[b"q", part.as_bytes()]);
        question.regions.push(region);
        question.asked = Asked::Holder;
        self.questions.counters.abroad += 1;
        self.ask(now, question, &subject, out)
    }

    /// Publishes a question under the next number, or gives it back if there is no room.
    fn ask(
        &mut self,
        now: Now,
        mut question: Question,
        subject: &[u8],
        out: &mut Outputs,
    ) -> Option<Question> {
        let client = question.client().to_vec();
        if self.up().is_none() || !self.has_room_for(client.len()) {
            return Some(question);
        }
        question.until = now.monotonic + self.settings.ask_timeout;
        self.questions.asked += 1;
        let number = self.questions.asked;
        self.questions.open.insert(number, question);
        self.publish_question(number, subject, &client, out);
        None
    }
}

impl Server {
    /// Whether what is held of this client here is what there is to know of it.
    pub(crate) fn is_authority(&self, key: Key, client: &[u8]) -> bool {
        let is_all = |engine: &Engine| {
            let held = self.store.find(client);
            engine.has_all_there_is(key) && engine.region_to_ask(held.as_ref(), &[]).is_none()
        };
        self.peers.engine_view().is_none_or(is_all)
    }

    /// Asks others about the client of a WHATSAT, or answers with what is held here if nobody can
    /// be asked. `line` is the client's.
    pub(crate) fn ask_others(
        &mut self,
        now: Now,
        ticket: Ticket,
        (key, client, line): (Key, &[u8], &[u8]),
        out: &mut Outputs,
    ) {
        let mut question = Question {
            ticket,
            line: line.to_vec(),
            best: Vec::new(),
            is_found: false,
            asked: Asked::Holder,
            regions: Vec::new(),
            leaf: key.leaf(),
            until: Duration::ZERO,
        };
        if let Some(held) = self.store.find(client) {
            question.consider(&held);
        }
        self.journal_held(key, client, out);
        let mut unasked = Some(question);
        if let Some(conn) = self.peers.engine_view().and_then(Engine::up) {
            self.with_engine(now, conn, out, |_, _, engine, out| {
                let is_full = engine.questions.open.len() >= OPEN_MAX;
                let has_room = !is_full && engine.has_room_for(client.len());
                let Some(question) = unasked.take_if(|_| has_room) else {
                    engine.questions.counters.unasked += 1;
                    return;
                };
                engine.questions.counters.asked += 1;
                if engine.has_all_there_is(key) {
                    unasked = engine.ask_region(now, question, out);
                    return;
                }
                let subject = engine.questions.of_part(engine.settings.parts.of(key.leaf()));
                unasked = engine.ask(now, question, &subject, out);
            });
        }
        if let Some(question) = unasked {
            self.answer_question(now, question, out);
        }
    }

    /// A question has its answer: the places are asked, or the client's line comes back. News may
    /// have come meanwhile.
    fn answer_question(&mut self, now: Now, mut question: Question, out: &mut Outputs) {
        if let Some(held) = self.store.find(question.client()) {
            question.consider(&held);
        }
        let report = question.best();
        let report = report.filter(|it| !it.is_erasure() && !self.has_expired(it, now));
        self.whatsat_answered(question.ticket, &question.line, report, out);
    }

    /// Answers for those parts of which all is here, as long as it serves.
    pub(super) fn join_groups(&self, now: Now, engine: &mut Engine, out: &mut Outputs) {
        if engine.asks_others() {
            engine.join_groups(now, self.stage == Stage::Serving, out);
        }
    }

    /// No more questions are to come: who asks finds others.
    pub(crate) fn leave_groups(&mut self, now: Now, out: &mut Outputs) {
        if let Some(conn) = self.peers.engine_view().and_then(Engine::up) {
            self.with_engine(now, conn, out, |_, _, _, _| {});
        }
    }

    /// A server has answered, or has said something that nobody understands.
    pub(super) fn hear_answer(
        &mut self,
        now: Now,
        (engine, sender): (&mut Engine, &[u8]),
        line: &[u8],
        out: &mut Outputs,
    ) {
        let Some(Answer { says, nonce, report }) = Answer::parse(line) else { return };
        let number = engine.questions.number(nonce);
        let Some(question) = engine.questions.open.get_mut(&number) else { return };
        let report = report.filter(|it| it.client == question.client());
        if let Some(report) = report.filter(|it| !self.has_expired(it, now)) {
            question.is_found = true;
            question.consider(&report);
        }
        let is_awaiting = match &mut question.asked {
            Asked::All(awaited) => {
                awaited.retain(|name| *name != *sender);
                !awaited.is_empty()
            }
            Asked::Holder => false,
        };
        if says == Says::Copy && is_awaiting {
            return;
        }
        let question = engine.questions.open.remove(&number);
        match says {
            Says::Holder => self.end_question(now, engine, question, out),
            Says::Copy => self.ask_further(now, engine, question, out),
        }
    }

    /// A node has nobody who hears what was published with this subject for the reply.
    pub(super) fn nobody_hears(
        &mut self,
        now: Now,
        engine: &mut Engine,
        subject: &[u8],
        out: &mut Outputs,
    ) {
        let nonce = subject.strip_prefix(&engine.for_us[..]).and_then(|it| it.strip_prefix(b"."));
        let Some(nonce) = nonce.and_then(from_hex).map(u64::from_be_bytes) else { return };
        let number = engine.questions.number(nonce);
        let question = engine.questions.open.remove(&number);
        engine.questions.counters.no_responders += u64::from(question.is_some());
        self.ask_further(now, engine, question, out);
    }

    /// Goes on with those that nobody has answered in time.
    pub(super) fn go_on_asking(&mut self, now: Now, engine: &mut Engine, out: &mut Outputs) {
        while engine.questions.next_due().is_some_and(|due| now.monotonic >= due) {
            let question = engine.questions.open.pop_first().map(|(_, question)| question);
            engine.questions.counters.too_late += 1;
            self.ask_further(now, engine, question, out);
        }
    }

    /// The connection is over: what is held here is the answer.
    pub(super) fn questions_lost(&mut self, now: Now, engine: &mut Engine, out: &mut Outputs) {
        while let Some((_, question)) = engine.questions.open.pop_first() {
            engine.questions.counters.too_late += 1;
            self.end_question(now, engine, Some(question), out);
        }
    }

    fn ask_further(
        &mut self,
        now: Now,
        engine: &mut Engine,
        question: Option<Question>,
        out: &mut Outputs,
    ) {
        let question = question.and_then(|question| engine.ask_all(now, question, out));
        self.end_question(now, engine, question, out);
    }

    fn end_question(
        &mut self,
        now: Now,
        engine: &mut Engine,
        question: Option<Question>,
        out: &mut Outputs,
    ) {
        let question = question.and_then(|question| engine.ask_region(now, question, out));
        let Some(question) = question else { return };
        let counters = &mut engine.questions.counters;
        let outcome = if question.is_found { &mut counters.found } else { &mut counters.none };
        *outcome += 1;
        self.answer_question(now, question, out);
    }
}
