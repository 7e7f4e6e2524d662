//! A herd whose clients are divided: most servers hear of most clients only what their own have
//! said. So two cannot compare all that they hold, and what a server has missed shows part by part.
//!
//! ```text
//!   A holds 3 and 9               B holds 9, and has heard clients of 3
//!   HOLDS 3 9, TOLD 9 4           the numbers of A's last batches to what B holds
//!   PARTS? 9 c1…, EVEN? 1 ───────▶
//!     ◀───── TOLD 3 17 9 8, PARTS 9 9e…+         17 of part 3 did not come: only B has them
//!     ◀───────────── L2 9 …, AT …, EVEN 1        part 9 differs: that is told as between peers
//!   HOLDS 3 9, TOLD 9 4, OWN? 3, PARTS? 9 …, EVEN? 2 ──▶
//!     ◀───────────────── AT …, …, AT …, EVEN 2   all that B has of part 3
//! ```
//!
//! All others are asked when the connection has come up, once more when their news is sure to find
//! its way here, and then every `compare_every`. A part is *complete* when all news of it has come:
//! when another holder says so of its own, and has sent what differs; or when all servers that
//! answer have answered, and no batch of theirs is missing. A server asks those that hold the same
//! parts before it has all others send what it needs of them.

use std::time::Duration;

use super::Engine;
use super::compare::{AGAIN_AFTER, AGAIN_MAX, HOLES_EVERY};
use super::members::Member;
use super::words::{PartDigest, write_digests, write_numbers};
use crate::Server;
use crate::border::Outputs;
use crate::clock::Now;
use crate::names::PeerId;
use crate::parts::Part;

/// What this server knows of its parts. By their places among those that it holds.
pub(super) struct Divided {
    /// When all others are asked next.
    at: Option<Duration>,
    /// From when on all that others publish is heard, once the connection is up.
    settled_at: Duration,
    /// It is, and everybody was asked since.
    pub is_settled: bool,
    /// Of each part, whether all earlier news of it has come; what is new is heard.
    pub complete: Vec<bool>,
    is_all_complete: bool,
    /// The connection was up once.
    has_begun: bool,
    /// When those who have not answered a good-bye hear another one, and how many they have heard.
    pub bye_until: Option<Duration>,
    pub byes: u8,
    /// Parts that others are to hold, and that we hold until they do.
    pub moving: Vec<Part>,
    /// When those are asked next.
    pub take_at: Duration,
}

impl Divided {
    pub fn new(held: usize) -> Divided {
        Divided {
            at: None,
            settled_at: Duration::ZERO,
            is_settled: false,
            complete: vec![false; held],
            is_all_complete: false,
            has_begun: false,
            bye_until: None,
            byes: 0,
            moving: Vec::new(),
            take_at: Duration::ZERO,
        }
    }

    /// The connection is over.
    pub fn lost(&mut self) {
        (self.at, self.bye_until, self.byes) = (None, None, 0);
        (self.is_settled, self.is_all_complete) = (false, false);
        self.complete.fill(false);
    }
}

impl Engine {
    /// The place of the part that is published there, if we hold it.
    pub(super) fn place_of(&self, subject: &[u8]) -> Option<usize> {
        let digits = subject.rsplit(|&byte| byte == b'.').next()?;
        let part = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let place = self.held.binary_search(&part).ok()?;
        (*self.outboxes.subject(part) == *subject).then_some(place)
    }

    /// Whether all news of a part has come.
    pub(crate) fn is_complete(&self, part: Part) -> bool {
        let is_missed = |it: &Member| !it.is_silent && it.in_parts.misses(part);
        let place = self.held.binary_search(&part);
        place.is_ok_and(|place| self.divided.complete[place]) && !self.members.iter().any(is_missed)
    }

    /// The parts of which all has come.
    pub(super) fn complete_parts(&self) -> usize {
        self.held.iter().filter(|part| self.is_complete(**part)).count()
    }

    /// When something is due next.
    pub(super) fn next_in_parts(&self) -> Option<Duration> {
        if self.settings.parts.is_whole() {
            return None;
        }
        let answers = self.members.iter().filter_map(|it| it.in_parts.answer_until).min();
        let asks = (0..self.members.len()).filter(|_| self.has_room());
        let asks = asks.filter_map(|member| self.asks_at(member)).min();
        let take = self.next_take().filter(|_| self.has_room());
        let all = [self.divided.at, self.divided.bye_until, answers, asks, take];
        all.into_iter().flatten().min()
    }

    /// When a member is asked next.
    fn asks_at(&self, member: usize) -> Option<Duration> {
        let it = &self.members[member];
        // A question would begin anew what is not over yet.
        if it.is_untold() || it.in_parts.answer_until.is_some() {
            return None;
        }
        let mut holes = it.in_parts.holes.iter().filter(|_| !it.is_silent);
        let hole = holes
            .any(|part| self.may_be_asked(member, *part))
            .then(|| it.asked_at.map_or(Duration::ZERO, |at| at + HOLES_EVERY));
        [it.in_parts.ask_at, hole].into_iter().flatten().min()
    }

    /// Whether a member may be asked for what is missing of its part. If it does not hold it, it
    /// sends all that it has, and others who hold it may know better.
    fn may_be_asked(&self, member: usize, part: Part) -> bool {
        let place = self.held.binary_search(&part);
        let is_complete = place.is_ok_and(|place| self.divided.complete[place]);
        let may_know = |it: &Member| {
            let theirs = &it.in_parts;
            theirs.holds(part) && (!theirs.is_even || theirs.complete.contains(&part))
        };
        is_complete
            || self.members[member].in_parts.holds(part)
            || self.divided.is_settled
                && !self.members.iter().any(|it| !it.is_silent && may_know(it))
    }

    /// A batch of a member has come, to a part of this place or to us alone, and so many are
    /// missing before it.
    pub(super) fn heard_in_parts(
        &mut self,
        now: Now,
        member: usize,
        (held, missing): (Option<usize>, u64),
        comes_back: bool,
    ) {
        let it = &mut self.members[member];
        // What it has told before, nobody else may know; and what it was asked, it may not have
        // heard.
        if comes_back {
            it.in_parts.answer_until = None;
            it.ask_soon(now);
        }
        if held.is_none() {
            let then = now.monotonic + self.settings.ask_timeout;
            it.in_parts.answer_until = it.in_parts.answer_until.map(|until| until.max(then));
        }
        match held {
            _ if missing == 0 => {}
            Some(place) => {
                it.in_parts.holes.insert(self.held[place]);
            }
            None => {
                let theirs = &mut it.in_parts;
                theirs.holes.append(&mut theirs.repairing);
                it.must_answer_anew();
                // What is under way comes first: else it would come twice.
                if it.in_parts.answer_until.is_none() {
                    it.ask_soon(now);
                }
            }
        }
    }

    /// Who has not answered in time is asked again, a few times.
    fn look_for_the_silent(&mut self, now: Now) {
        for it in &mut self.members {
            let is_untold = it.is_untold();
            let theirs = &mut it.in_parts;
            if theirs.answer_until.take_if(|until| now.monotonic >= *until).is_none() {
                continue;
            }
            if is_untold {
                // It has not heard all that it is to answer.
                let time = theirs.may_take(self.settings.ask_timeout);
                theirs.answer_until = Some(now.monotonic + time);
                continue;
            }
            if it.question_is_cut {
                it.has_answered_in_vain(now);
                continue;
            }
            it.is_silent = true;
            theirs.holes.append(&mut theirs.repairing);
            theirs.tries = theirs.tries.saturating_add(1);
            if theirs.tries < AGAIN_MAX {
                theirs.ask_at = Some(now.monotonic + AGAIN_AFTER);
            }
        }
    }

    /// Everybody is asked, and once more when all that is published from now on finds its way here.
    pub(super) fn ask_everybody(&mut self, now: Now) {
        let settled_at = now.monotonic + self.settings.settle;
        let divided = &mut self.divided;
        (divided.at, divided.settled_at) = (Some(now.monotonic), settled_at);
        (divided.is_settled, divided.is_all_complete) = (false, false);
        self.expect_all();
    }

    /// Everybody must answer from here on, even who was silent before.
    fn expect_all(&mut self) {
        for it in &mut self.members {
            (it.is_silent, it.in_parts.tries, it.in_parts.answer_until) = (false, 0, None);
            it.in_parts.complete.clear();
            it.must_answer_anew();
        }
    }

    /// What was not asked for because another server said that it had it, is asked for after all:
    /// that one may have missed the same without knowing it, and have ended since.
    fn doubt_no_more(&mut self) {
        for it in &mut self.members {
            let theirs = &mut it.in_parts;
            theirs.holes.append(&mut theirs.doubted);
        }
    }

    /// Who leaves may go when nothing is missing of it, and who holds what we are to hold may let
    /// go of that.
    fn say_kept_in_parts(&mut self, out: &mut Outputs) {
        for member in 0..self.members.len() {
            let it = &mut self.members[member];
            let is_kept = it.in_parts.is_even
                && it.in_parts.holes.is_empty()
                && it.in_parts.repairing.is_empty();
            if !is_kept {
                continue;
            }
            if std::mem::take(&mut it.awaits_kept) {
                self.say(member, out, |text| text.extend_from_slice(b"KEPT"));
            }
            if std::mem::take(&mut self.members[member].in_parts.takes) {
                self.say(member, out, |text| text.extend_from_slice(b"TAKEN"));
            }
        }
    }

    /// How far our batches have come, to the parts that a member holds.
    pub(super) fn tell_numbers(&mut self, member: usize, out: &mut Outputs) {
        let (holds, outboxes) = (&self.members[member].in_parts.holds, &self.outboxes);
        let parts = (0..holds.len()).filter(|part| holds[*part]).map(|part| part as Part);
        let numbers = parts.map(|part| (part, outboxes.number(part)));
        let told = numbers.filter(|(_, number)| *number > 0);
        let told = Vec::from_iter(told.flat_map(|(part, number)| [u64::from(part), number]));
        self.say(member, out, |text| write_numbers(b"TOLD", told.into_iter(), text));
    }
}

impl Server {
    /// The connection is up. What the process before this one has published of parts that it does
    /// not hold may be lost, and nobody could find out: it is said again, once.
    pub(super) fn begin_in_parts(&mut self, now: Now, engine: &mut Engine) {
        let divided = &mut engine.divided;
        if !std::mem::replace(&mut divided.has_begun, true) && self.journaling.is_some() {
            let parts = &engine.settings.parts;
            for part in parts.all().filter(|part| engine.held.binary_search(part).is_err()) {
                let leaves = self.store.digest().filled(parts.node(part));
                leaves.for_each(|leaf| engine.missed.add_leaf(leaf));
            }
        }
        engine.ask_everybody(now);
    }

    /// Asks the servers that are due, and looks which parts are complete.
    pub(super) fn go_on_in_parts(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        out: &mut Outputs,
    ) {
        engine.look_for_the_silent(now);
        if engine.divided.at.is_some_and(|at| now.monotonic >= at) {
            self.begin_round(now, engine);
        }
        let is_due = |engine: &Engine, member: usize| {
            engine.asks_at(member).is_some_and(|at| now.monotonic >= at)
        };
        for member in 0..engine.members.len() {
            if engine.has_room() && is_due(engine, member) {
                self.ask_in_parts(now, engine, member, out);
            }
        }
        self.look_what_is_complete(now, (peer, engine));
        engine.say_kept_in_parts(out);
        engine.go_on_moving(now, out);
    }

    /// All others are asked.
    fn begin_round(&mut self, now: Now, engine: &mut Engine) {
        let settled_at = engine.divided.settled_at;
        if engine.divided.is_settled {
            engine.doubt_no_more();
        } else if now.monotonic >= settled_at {
            engine.divided.is_settled = true;
            engine.expect_all();
        }
        let every = self.settings.limits.compare_every;
        let every = every.map(|every| every.mul_f64(0.8 + 0.4 * self.peers.random.f64()));
        engine.divided.at = match engine.divided.is_settled {
            true => every.map(|every| now.monotonic + every),
            false => Some(settled_at),
        };
        engine.members.iter_mut().for_each(|it| it.in_parts.ask_at = Some(now.monotonic));
    }

    fn ask_in_parts(&mut self, now: Now, engine: &mut Engine, member: usize, out: &mut Outputs) {
        engine.counters.asks += 1;
        let holes = engine.members[member].in_parts.holes.iter().copied();
        let asked = holes.filter(|part| engine.may_be_asked(member, *part));
        let asked = Vec::from_iter(asked);
        let it = &mut engine.members[member];
        (it.asked_at, it.question_is_cut) = (Some(now.monotonic), false);
        let theirs = &mut it.in_parts;
        theirs.ask_at = None;
        theirs.answer_until = Some(now.monotonic + theirs.may_take(engine.settings.ask_timeout));
        theirs.holes.retain(|part| !asked.contains(part));
        theirs.repairing.extend(asked);
        theirs.repaired_by = it.even.asked + 1;
        theirs.counts_from.get_or_insert(it.even.asked + 1);
        let own = theirs.repairing.iter().copied().filter(|part| !theirs.holds(*part));
        let own = Vec::from_iter(own.map(u64::from));
        let common = engine.held.iter().copied().filter(|part| theirs.holds(*part));
        let common = Vec::from_iter(common);
        let digests = self.digests_of(engine, common.into_iter());
        engine.tell_held(member, out);
        engine.tell_numbers(member, out);
        if !own.is_empty() {
            engine.say(member, out, |text| write_numbers(b"OWN?", own.into_iter(), text));
        }
        engine.say(member, out, |text| write_digests(b"PARTS?", digests.into_iter(), text));
        engine.ask_even(member, out);
    }

    pub(super) fn digests_of(
        &self,
        engine: &Engine,
        parts: impl Iterator<Item = Part>,
    ) -> Vec<PartDigest> {
        let digest = |part| {
            let node = engine.settings.parts.node(part);
            (part, self.keyring.shown(self.store.digest().hash(node)), engine.is_complete(part))
        };
        parts.map(digest).collect()
    }

    /// Once everybody has answered who does, a part is complete if another holder has all of it and
    /// has sent that, or if nothing is missing of anyone.
    fn look_what_is_complete(&mut self, now: Now, (peer, engine): (PeerId, &mut Engine)) {
        let Engine { divided, members, held, .. } = engine;
        let is_over = |it: &Member| it.is_silent || it.in_parts.is_even;
        if !divided.is_settled || divided.is_all_complete || !members.iter().all(is_over) {
            return;
        }
        for (part, is_complete) in held.iter().zip(&mut divided.complete) {
            let knows_all = |it: &Member| !it.is_silent && it.in_parts.complete.contains(part);
            let is_missed = |it: &Member| !it.is_silent && it.in_parts.misses(*part);
            if !*is_complete && members.iter().any(knows_all) {
                members.iter_mut().for_each(|it| it.in_parts.doubt(*part));
                *is_complete = true;
            } else if !*is_complete {
                *is_complete = !members.iter().any(is_missed);
            }
        }
        divided.is_all_complete = divided.complete.iter().all(|is_complete| *is_complete);
        if divided.is_all_complete {
            self.peers.at(peer).even_at = Some(now.monotonic);
        }
    }
}
