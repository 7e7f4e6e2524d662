//! What is known of another server, part by part, where clients are divided. Apart from `members`
//! because nobody else has it, and from `divided` because it is an account only.

use std::collections::BTreeSet;
use std::time::Duration;

use super::compare::HOLES_EVERY;
use super::members::Member;
use crate::clock::Now;
use crate::parts::{Part, Parts};

/// What is known of another server, part by part.
pub(super) struct InParts {
    /// Of each part, whether it holds it.
    pub holds: Vec<bool>,
    /// Parts of which batches of it did not come.
    pub holes: BTreeSet<Part>,
    /// Those of which it was asked for what it has, from the question of this number on.
    pub repairing: BTreeSet<Part>,
    pub repaired_by: u64,
    /// When it is to be asked, whatever is missing.
    pub ask_at: Option<Duration>,
    /// It was asked, and something of it must come until then.
    pub answer_until: Option<Duration>,
    /// Questions in a row that it has not answered.
    pub tries: u8,
    /// It has sent all that it knew we had missed, in answer to a question of this number or later.
    pub is_even: bool,
    pub counts_from: u64,
    /// Of which it has said that it has all.
    pub complete: BTreeSet<Part>,
    /// It keeps all that we hold of what it holds as well, now that we leave.
    pub has_kept: bool,
}

impl InParts {
    pub fn new(name: &[u8], parts: &Parts) -> InParts {
        let divided = parts.all().filter(|_| !parts.is_whole());
        InParts {
            holds: divided.map(|part| parts.is_holder(name, part)).collect(),
            holes: BTreeSet::new(),
            repairing: BTreeSet::new(),
            repaired_by: 0,
            ask_at: None,
            answer_until: None,
            tries: 0,
            is_even: false,
            counts_from: 0,
            complete: BTreeSet::new(),
            has_kept: false,
        }
    }

    pub fn holds(&self, part: Part) -> bool {
        self.holds[usize::from(part)]
    }

    /// What was under way is lost.
    pub fn lost(&mut self) {
        self.holes.append(&mut self.repairing);
        (self.ask_at, self.answer_until, self.has_kept) = (None, None, false);
    }

    pub fn misses(&self, part: Part) -> bool {
        self.holes.contains(&part) || self.repairing.contains(&part)
    }
}

impl Member {
    /// Only the answer to another question counts.
    pub(super) fn must_answer_anew(&mut self) {
        self.in_parts.is_even = false;
        self.in_parts.counts_from = self.even.asked + 1;
    }

    pub(super) fn ask_soon(&mut self, now: Now) {
        let at = self.asked_at.map_or(now.monotonic, |at| at + HOLES_EVERY);
        self.in_parts.ask_at.get_or_insert(at);
    }

    /// A good-bye of it has come.
    pub(super) fn wants_kept(&mut self, now: Now, may_keep: bool) {
        self.has_left = true;
        if may_keep && !std::mem::replace(&mut self.awaits_kept, true) {
            self.must_answer_anew();
            self.in_parts.ask_at = Some(now.monotonic);
        }
    }
}
