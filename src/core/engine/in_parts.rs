//! What is known of another server, part by part, where clients are divided. Apart from `members`
//! because nobody else has it, and from `divided` because it is an account only.

use std::collections::BTreeSet;
use std::time::Duration;

use super::compare::HOLES_EVERY;
use super::members::Member;
use crate::clock::Now;
use crate::parts::{Part, Parts};

/// A time is doubled so often at most: to about half a minute.
const DOUBLINGS_MAX: u32 = 5;

/// What is known of another server, part by part.
pub(super) struct InParts {
    /// Of each part, whether it holds it: as our file says, until it has said so itself.
    pub holds: Vec<bool>,
    /// Parts of which batches of it did not come.
    pub holes: BTreeSet<Part>,
    /// Those of which somebody else has all, as that one says: whether it does, is asked later.
    pub doubted: BTreeSet<Part>,
    /// Those of which it was asked for what it has, from the question of this number on.
    pub repairing: BTreeSet<Part>,
    pub repaired_by: u64,
    /// When it is to be asked, whatever is missing.
    pub ask_at: Option<Duration>,
    /// It was asked, and something of it must come until then.
    pub answer_until: Option<Duration>,
    /// Questions in a row to which its answer was cut short.
    pub in_vain: u32,
    /// Questions since its last answer that it has not answered in time.
    pub tries: u8,
    /// It has sent all that it knew we had missed, in answer to a question of this number or later;
    /// of none, if it is still to be asked.
    pub is_even: bool,
    pub counts_from: Option<u64>,
    /// Of which it has said that it has all.
    pub complete: BTreeSet<Part>,
    /// It keeps all that we hold of what it holds as well, now that we leave.
    pub has_kept: bool,
    /// It is to hear when nothing is missing of what it holds: we are to hold some of it instead.
    pub takes: bool,
    /// It has said so of what we hold.
    pub has_taken: bool,
}

impl InParts {
    pub fn new(name: &[u8], parts: &Parts) -> InParts {
        let divided = parts.all().filter(|_| !parts.is_whole());
        InParts {
            holds: divided.map(|part| parts.is_holder(name, part)).collect(),
            holes: BTreeSet::new(),
            doubted: BTreeSet::new(),
            repairing: BTreeSet::new(),
            repaired_by: 0,
            ask_at: None,
            answer_until: None,
            in_vain: 0,
            tries: 0,
            is_even: false,
            counts_from: None,
            complete: BTreeSet::new(),
            has_kept: false,
            takes: false,
            has_taken: false,
        }
    }

    pub fn holds(&self, part: Part) -> bool {
        self.holds[usize::from(part)]
    }

    /// How long it may take: twice as long for each question that it has not answered in time. One
    /// that is slow would else be asked again and again, begin anew each time, and never be done.
    pub fn may_take(&self, usual: Duration) -> Duration {
        usual * (1 << u32::from(self.tries).min(DOUBLINGS_MAX))
    }

    /// What was under way is lost.
    pub fn lost(&mut self) {
        self.holes.append(&mut self.repairing);
        (self.ask_at, self.answer_until, self.has_kept) = (None, None, false);
        (self.takes, self.has_taken) = (false, false);
    }

    /// Another process of it is heard: what that one has and holds, it says itself.
    pub fn begins_anew(&mut self) {
        (self.tries, self.has_taken) = (0, false);
        self.complete.clear();
    }

    /// We hold only these parts, and miss nothing of others.
    pub fn forget_all_but(&mut self, held: &[Part]) {
        for parts in [&mut self.holes, &mut self.doubted, &mut self.repairing] {
            parts.retain(|part| held.binary_search(part).is_ok());
        }
    }

    /// Another server says that it has all of a part. It may not know what it misses.
    pub fn doubt(&mut self, part: Part) {
        if self.holes.remove(&part) {
            self.doubted.insert(part);
        }
    }

    pub fn misses(&self, part: Part) -> bool {
        self.holes.contains(&part) || self.repairing.contains(&part)
    }
}

impl Member {
    /// Only the answer to another question counts; that all was sent that was compared meanwhile is
    /// none.
    pub(super) fn must_answer_anew(&mut self) {
        (self.in_parts.is_even, self.in_parts.counts_from) = (false, None);
    }

    /// Its answer has come, or will not come, and does not count: it is asked anew, later each
    /// time. Where there was no room, there is less if all ask as often as they may.
    pub(super) fn has_answered_in_vain(&mut self, now: Now) {
        self.must_answer_anew();
        self.question_is_cut = false;
        let asked_at = self.asked_at.unwrap_or(now.monotonic);
        let theirs = &mut self.in_parts;
        theirs.holes.append(&mut theirs.repairing);
        theirs.answer_until = None;
        theirs.in_vain = (theirs.in_vain + 1).min(DOUBLINGS_MAX);
        theirs.ask_at.get_or_insert(asked_at + HOLES_EVERY * (1 << theirs.in_vain));
    }

    pub(super) fn ask_soon(&mut self, now: Now) {
        let at = self.asked_at.map_or(now.monotonic, |at| at + HOLES_EVERY);
        self.in_parts.ask_at.get_or_insert(at);
    }

    /// A good-bye of it has come.
    pub(super) fn wants_kept(&mut self, now: Now, may_keep: bool) {
        self.has_left = true;
        if may_keep && !std::mem::replace(&mut self.awaits_kept, true) {
            self.must_be_asked_anew(now);
        }
    }

    /// It is asked at once, and nothing but the answer to that counts.
    pub(super) fn must_be_asked_anew(&mut self, now: Now) {
        self.must_answer_anew();
        (self.in_parts.ask_at, self.in_parts.answer_until) = (Some(now.monotonic), None);
    }
}
