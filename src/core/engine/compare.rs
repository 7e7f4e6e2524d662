//! What the engine has lost, and how servers find out: by the digests that links compare as well
//! (`peers::repair`), said to one server at a time.
//!
//! ```text
//!   A                                     B
//!   ROOT 3 c1…, EVEN? 1 ─────────────────▶
//!     ◀───────── L1 5f… 00… …, ROOT 4 9e…        and from here on both go down, level by level,
//!   L2 7 00… …, L1 …, ─────────────────▶         to the leaves that differ
//!     ◀───────────── L3 …, L2 …
//!   AT …, L3 … ──────────────────────────▶
//!     ◀──────────────────── AT …, EVEN 1         B has sent all that it has found
//! ```
//!
//! Somebody is asked when the connection has come up, and once more when news of all others is sure
//! to find its way; then every `compare_every`. A server is asked at once when a batch of it was
//! missed. If one does not answer in time, another one is asked; if none does, one of them again,
//! a few times.

use std::time::Duration;

use super::Engine;
use super::abroad::Abroad;
use super::members::Member;
use crate::Server;
use crate::border::Outputs;
use crate::clock::Now;
use crate::counters::KEEPS_ALL;
use crate::names::PeerId;
use crate::peers::handover::{Heir, Stage};
use crate::store::digest::Node;
use crate::wire::peer_command::{Parts, write_root};

/// Two that differ compare again after this, and not for ever: news may be under way all the time.
pub(super) const AGAIN_AFTER: Duration = Duration::from_secs(1);
pub(super) const AGAIN_MAX: u8 = 10;
/// One server is asked about its holes no more often than this.
pub(super) const HOLES_EVERY: Duration = Duration::from_secs(1);
/// A batch that says only that all has been sent, and what a node wants around it.
const ANSWER_BYTES: usize = 1_024;

/// What is being compared, and when something is next.
#[derive(Default)]
pub(super) struct Comparing {
    /// When the next comparison begins.
    pub at: Option<Duration>,
    /// Who was asked, and until when it may answer.
    asked: Option<(usize, Duration)>,
    /// Who is asked next, if it matters.
    partner: Option<usize>,
    /// Comparisons in a row that have found something.
    doubts: u8,
    /// When the second comparison of this connection is due, once the first is over.
    settled_at: Option<Duration>,
    /// Who was asked to keep all, and until when it may answer.
    bye: Option<(usize, Duration)>,
}

impl Comparing {
    /// A member has answered, if it was asked.
    pub fn answered_by(&mut self, member: usize) -> bool {
        self.asked.take_if(|(asked, _)| *asked == member).is_some()
    }

    /// Servers have other places than before.
    pub fn forget_who(&mut self) {
        (self.asked, self.partner, self.bye) = (None, None, None);
    }

    /// The connection has come up.
    pub fn begin(&mut self, now: Now, settle: Duration) {
        let settled_at = Some(now.monotonic + settle);
        *self = Comparing { at: Some(now.monotonic), settled_at, ..Comparing::default() };
    }
}

impl Engine {
    /// When something is due next.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        let comparing = &self.comparing;
        let compare = match comparing.asked {
            Some((_, until)) => Some(until),
            // Where there is no room, the question would not be said; the next PONG makes some.
            None => comparing.at.filter(|_| self.has_room()),
        };
        let holes = self.members.iter().filter(|member| member.has_hole);
        let hole = holes.filter_map(|member| member.asked_at).map(|at| at + HOLES_EVERY).min();
        let hole = hole.filter(|_| comparing.asked.is_none() && self.has_room());
        let silence = Some(match self.ping {
            Some((_, at)) => at + self.silence_max,
            None => self.heard + self.ping_after,
        });
        let bye = comparing.bye.map(|(_, until)| until);
        let all = self.members.iter().filter_map(Member::all_due_at).min();
        let question = self.questions.next_due();
        let (tail, divided) = (self.outboxes.next_tail(), self.next_in_parts());
        let abroad = self.abroad.as_ref().and_then(Abroad::next_due);
        let unread = self.asks_how_far_at();
        let all_of_them =
            [compare, hole, silence, unread, bye, all, question, tail, divided, abroad];
        all_of_them.into_iter().flatten().min()
    }

    /// Says that a member was sent all that was found, if it wants to know and has been.
    pub(super) fn answer_even(&mut self, member: usize, out: &mut Outputs) {
        if self.members[member].is_behind() {
            // Where there is no room, it goes on when the node has read more.
            if self.has_room() {
                self.ask_flushed(out);
            }
            return;
        }
        // All that is held is still to be sent.
        if self.members[member].wants_all {
            return;
        }
        // An answer that finds no room is given when the node has read more.
        if !self.has_room_for(self.own.1.len() + ANSWER_BYTES) {
            return;
        }
        let it = &mut self.members[member];
        if let Some(number) = it.even.unanswered.take() {
            let is_cut = std::mem::take(&mut it.answer_is_cut);
            self.say(member, out, |text| {
                text.extend_from_slice(if is_cut { b"AGAIN " } else { b"EVEN " });
                text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            });
        }
    }

    /// Of what a member had to say to this question, not all has found room.
    pub(super) fn again_heard(&mut self, now: Now, member: usize, number: u64) {
        let is_whole = self.settings.parts.is_whole();
        let it = &mut self.members[member];
        if number == 0 || number > it.even.asked {
            return;
        }
        if is_whole {
            return it.must_be_asked();
        }
        if number >= it.in_parts.repaired_by {
            it.in_parts.repairing.clear();
        }
        it.has_answered_in_vain(now);
    }

    /// A member leaves. It may go when nothing is missing that it has said; one that leaves as well
    /// could not pass on what it would keep. What it said before we were sure to hear it, only a
    /// comparison with it shows.
    pub(super) fn bye_heard(&mut self, member: usize, may_keep: bool, out: &mut Outputs) {
        let settled_at = self.since().map(|since| since + self.settings.settle);
        let it = &mut self.members[member];
        (it.has_left, it.awaits_kept) = (true, may_keep);
        it.has_hole |= may_keep && !it.is_repairing && it.even_at < settled_at;
        self.say_kept(member, out);
    }

    /// A member holds nothing that we do not hold.
    fn is_even_with(&mut self, now: Now, member: usize, out: &mut Outputs) {
        let it = &mut self.members[member];
        (it.even_at, it.is_repairing) = (Some(now.monotonic), false);
        self.say_kept(member, out);
    }

    fn say_kept(&mut self, member: usize, out: &mut Outputs) {
        let it = &mut self.members[member];
        if it.awaits_kept && !it.has_hole && !it.is_repairing {
            it.awaits_kept = false;
            self.say(member, out, |text| text.extend_from_slice(b"KEPT"));
        }
    }

    /// One of those who were heard and answer, or at first of all.
    fn any_member(&self, random: &mut fastrand::Rng) -> Option<usize> {
        let those = |is_one: fn(&Member) -> bool| {
            let members = self.members.iter().enumerate().filter(move |(_, it)| is_one(it));
            Vec::from_iter(members.map(|(at, _)| at))
        };
        let best = those(|it| it.is_there() && !it.is_silent);
        let next = || those(|it| !it.is_silent);
        let choice = [best].into_iter().chain([next(), those(|_| true)]);
        choice.into_iter().find_map(|members| random.choice(members))
    }
}

impl Server {
    /// Begins the comparison that is due, if one is.
    pub(super) fn go_on_comparing(&mut self, now: Now, engine: &mut Engine, out: &mut Outputs) {
        self.tell_all_that_is_due(now, engine, out);
        if let Some((member, until)) = engine.comparing.asked {
            if now.monotonic < until {
                return;
            }
            let it = &mut engine.members[member];
            it.is_silent = true;
            it.has_hole |= std::mem::take(&mut it.is_repairing);
            engine.comparing.asked = None;
            engine.comparing.partner = None;
            // As long as others may answer, they are asked at once; else soon, for a while.
            if engine.members.iter().any(|member| !member.is_silent) {
                engine.comparing.at = Some(now.monotonic);
            } else if engine.comparing.doubts < AGAIN_MAX {
                engine.comparing.doubts += 1;
                engine.comparing.at = Some(now.monotonic + AGAIN_AFTER);
            }
        }
        let is_due = |at: Option<Duration>| at.is_none_or(|at| now.monotonic >= at + HOLES_EVERY);
        if !engine.has_room() {
            return;
        }
        let hole = engine.members.iter().position(|it| it.has_hole && is_due(it.asked_at));
        if let Some(member) = hole {
            engine.members[member].has_hole = false;
            engine.members[member].is_repairing = true;
            engine.members[member].asked_at = Some(now.monotonic);
            return self.ask_member(now, engine, member, out);
        }
        if engine.comparing.at.is_some_and(|at| now.monotonic >= at) {
            self.compare_engine_later(now, engine);
            let partner = engine.comparing.partner.take();
            let partner = partner.or_else(|| engine.any_member(&mut self.peers.random));
            if let Some(member) = partner.filter(|at| *at < engine.members.len()) {
                self.ask_member(now, engine, member, out);
            }
        }
    }

    /// The time of the next comparison, if nothing brings it about earlier.
    fn compare_engine_later(&mut self, now: Now, engine: &mut Engine) {
        let every = self.settings.limits.compare_every;
        let every = every.map(|every| every.mul_f64(0.8 + 0.4 * self.peers.random.f64()));
        let usual = every.map(|every| now.monotonic + every);
        let settled_at = engine.comparing.settled_at.take_if(|at| *at > now.monotonic);
        engine.comparing.at = settled_at.or(usual);
    }

    fn ask_member(&mut self, now: Now, engine: &mut Engine, member: usize, out: &mut Outputs) {
        engine.counters.asks += 1;
        engine.members[member].question_is_cut = false;
        engine.comparing.asked = Some((member, now.monotonic + engine.settings.ask_timeout));
        self.tell_engine_root(engine, member, out);
        engine.ask_even(member, out);
    }

    pub(super) fn tell_engine_root(&self, engine: &mut Engine, member: usize, out: &mut Outputs) {
        let (count, hash) = (self.store.len(), self.digest());
        engine.say(member, out, |text| write_root(count, hash, text));
    }

    pub(super) fn engine_root_heard(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        member: usize,
        (their_count, their_hash): (u64, u64),
        out: &mut Outputs,
    ) {
        let was_asked = engine.comparing.answered_by(member);
        let is_equal = self.digest() == their_hash;
        if is_equal || their_count == 0 {
            self.peers.at(peer).even_at = Some(now.monotonic);
        }
        if is_equal {
            engine.is_even_with(now, member, out);
            engine.comparing.doubts = 0;
            return;
        }
        if was_asked && engine.comparing.doubts < AGAIN_MAX {
            engine.comparing.doubts += 1;
            engine.comparing.partner = Some(member);
            engine.comparing.at = Some(now.monotonic + AGAIN_AFTER);
        }
        if their_count == 0 {
            for leaf in self.store.digest().filled(Node::ROOT) {
                engine.members[member].miss(leaf);
            }
            engine.ask_flushed(out);
        } else if !self.store.is_empty() {
            self.tell_engine_parts(engine, member, Node::ROOT, out);
        }
    }

    /// Members whose digests cannot be compared with ours have asked: they are sent all that is
    /// held, but not each time.
    pub(super) fn tell_all_that_is_due(&self, now: Now, engine: &mut Engine, out: &mut Outputs) {
        let is_due = |it: &&mut Member| it.all_due_at().is_some_and(|at| now.monotonic >= at);
        let mut is_any = false;
        for member in engine.members.iter_mut().filter(is_due) {
            (member.wants_all, member.told_all_at) = (false, Some(now.monotonic));
            self.store.digest().filled(Node::ROOT).for_each(|leaf| member.miss(leaf));
            is_any = true;
        }
        if is_any {
            engine.ask_flushed(out);
        }
    }

    pub(super) fn engine_parts_heard(
        &mut self,
        engine: &mut Engine,
        member: usize,
        parts: Parts<'_>,
        out: &mut Outputs,
    ) {
        for (part, theirs) in parts.of.children().zip(parts.hashes()) {
            if self.keyring.shown(self.store.digest().hash(part)) == theirs {
                continue;
            }
            match part.leaf() {
                None => self.tell_engine_parts(engine, member, part, out),
                Some(leaf) => {
                    self.counters.differences += 1;
                    engine.members[member].miss(leaf);
                    engine.ask_flushed(out);
                }
            }
        }
    }

    /// A member has sent all that it knew we had missed when it was asked.
    pub(super) fn engine_even_heard(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        member: usize,
        number: u64,
        out: &mut Outputs,
    ) {
        let it = &mut engine.members[member];
        if number == 0 || number > it.even.asked {
            return;
        }
        if it.question_is_cut {
            return it.must_be_asked();
        }
        if it.is_untold() {
            // It is asked behind what it is still to be told.
        } else if number <= it.even.told_at {
            engine.ask_even(member, out);
        } else {
            engine.is_even_with(now, member, out);
            self.peers.at(peer).even_at = Some(now.monotonic);
        }
    }

    /// This server leaves: once nothing is left to be said, somebody is asked to keep it; where
    /// clients are divided, all are.
    pub(super) fn leave_engine(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        out: &mut Outputs,
    ) {
        if self.stage < Stage::Leaving || engine.is_behind() {
            return;
        }
        if !engine.members.iter().any(Member::is_there) {
            self.peers.at(peer).heir = Heir::None;
            return self.lose_engine(now, (peer, engine), "nobody else is there", out);
        }
        if !engine.settings.parts.is_whole() {
            return self.leave_in_parts(now, (peer, engine), out);
        }
        if engine.comparing.bye.is_some_and(|(_, until)| now.monotonic < until) {
            return;
        }
        if let Some((member, _)) = engine.comparing.bye {
            engine.members[member].is_silent = true;
        }
        if let Some(member) = engine.any_member(&mut self.peers.random) {
            // All others hear it as well; and the batch shows whether those before it have come.
            engine.outboxes.write(0, |lines| lines.extend_from_slice(b"BYE\n"));
            engine.publish(0, out);
            engine.say(member, out, |text| text.extend_from_slice(b"BYE"));
            engine.send_own(out);
            let until = now.monotonic + engine.settings.ask_timeout;
            engine.comparing.bye = Some((member, until));
        }
    }

    /// A member has all that we have said.
    pub(super) fn engine_kept(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        out: &mut Outputs,
    ) {
        if self.stage == Stage::Leaving && engine.comparing.bye.is_some() {
            self.peers.at(peer).heir = Heir::Kept;
            self.lose_engine(now, (peer, engine), KEEPS_ALL, out);
        }
    }
}

impl Engine {
    pub(super) fn ask_even(&mut self, member: usize, out: &mut Outputs) {
        let even = &mut self.members[member].even;
        even.asked += 1;
        let number = even.asked;
        self.say(member, out, |text| {
            text.extend_from_slice(b"EVEN? ");
            text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        });
    }
}
