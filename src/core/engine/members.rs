//! The other servers on the bus: what was heard of each, and what it is to be told. Apart because
//! it is an account only.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::batch::{Head, NotBelieved};
use super::in_parts::InParts;
use crate::parts::{Part, Parts};
use crate::peers::line_mac::RunId;
use crate::peers::link::Marks;
use crate::peers::missed::Missed;
use crate::store::Span;
use crate::store::digest::{Leaf, NODES, Node};

/// Lives of one server of which numbers are remembered: it may have started again while batches of
/// its life before are on their way, and somebody may replay older ones.
const LIVES: usize = 4;

/// One whose digests cannot be compared is sent all no more often than this.
const ALL_EVERY: Duration = Duration::from_secs(60);

/// Another server of the herd.
pub(super) struct Member {
    pub name: Vec<u8>,
    /// The life that was heard last comes first.
    lives: ArrayVec<Life, LIVES>,
    /// A batch of it was missed: it must be asked.
    pub has_hole: bool,
    /// It was asked, and has not told all that was missed.
    pub is_repairing: bool,
    /// It did not answer when it was asked, and was not heard since.
    pub is_silent: bool,
    /// When it was last asked because of a hole.
    pub asked_at: Option<Duration>,
    /// It has asked, and its digests cannot be compared with ours.
    pub wants_all: bool,
    /// When it was last sent all that is held.
    pub told_all_at: Option<Duration>,
    /// Numbers what is said to it alone.
    pub told: u64,
    /// Nodes whose parts were to be told when there was no room for it.
    untold: Option<Marks>,
    /// Of what comparisons have found: leaves.
    missed: Option<Missed>,
    /// What is left of the part of which a piece was sent last.
    pub sending: Option<Span>,
    pub even: Even,
    /// Before the last batch for us alone, another one was lost.
    pub is_cut: bool,
    /// Of what we have said since we asked it last, something found no room.
    pub question_is_cut: bool,
    /// The same, since it was answered last.
    pub answer_is_cut: bool,
    /// When we last held all that it held.
    pub even_at: Option<Duration>,
    /// It leaves, and is to hear when we hold all that it holds.
    pub awaits_kept: bool,
    /// It has said good-bye, and was not heard since.
    pub has_left: bool,
    /// How far it is part by part, where clients are divided.
    pub in_parts: InParts,
    /// Parts of which we hear what it publishes.
    parts_heard: usize,
    /// Of the first life that we hear we need not know when it began: a comparison shows all.
    is_compared: bool,
}

/// How far a comparison with it has come: as `peers::even`, by batches.
#[derive(Default)]
pub(super) struct Even {
    /// The number of our latest question; 0 before the first.
    pub asked: u64,
    /// What `asked` was when we last told parts: the answer to it came too early.
    pub told_at: u64,
    /// Its latest question, which is not answered yet.
    pub unanswered: Option<u64>,
}

struct Life {
    run: RunId,
    /// The number of the last batch for all, of each part that we hold; `None` if we came while it
    /// was under way.
    reports: Vec<Option<u64>>,
    /// The number of the last batch for us alone.
    own: u64,
}

impl Member {
    /// We hold these parts.
    pub fn new(name: &[u8], parts: &Parts, held: &[Part]) -> Member {
        Member {
            name: name.to_vec(),
            lives: ArrayVec::new(),
            has_hole: false,
            is_repairing: false,
            is_silent: false,
            asked_at: None,
            wants_all: false,
            told_all_at: None,
            told: 0,
            untold: None,
            missed: None,
            sending: None,
            even: Even::default(),
            is_cut: false,
            question_is_cut: false,
            answer_is_cut: false,
            even_at: None,
            awaits_kept: false,
            has_left: false,
            in_parts: InParts::new(name, parts),
            parts_heard: held.len(),
            is_compared: parts.is_whole(),
        }
    }

    /// When it is to be sent all that is held, if it is.
    pub fn all_due_at(&self) -> Option<Duration> {
        self.wants_all.then(|| self.told_all_at.map_or(Duration::ZERO, |at| at + ALL_EVERY))
    }

    /// Whether anything was ever heard of it.
    pub fn is_known(&self) -> bool {
        !self.lives.is_empty()
    }

    /// Whether it was heard and has not said good-bye.
    pub fn is_there(&self) -> bool {
        self.is_known() && !self.has_left
    }

    /// Whether this life was not the last to be heard, or is heard again after it was not.
    pub fn comes_back(&self, life: &RunId) -> bool {
        let is_another = self.lives.first().is_none_or(|last| last.run != *life);
        is_another || self.is_silent || self.has_left
    }

    /// The life that was heard last has published so many batches to a part, by its place among
    /// those that we hold. Says whether we have missed any.
    pub fn has_told(&mut self, held: usize, number: u64) -> bool {
        let Some(last) = self.lives.first_mut().and_then(|life| life.reports.get_mut(held)) else {
            return false;
        };
        let has_missed = last.unwrap_or(0) < number;
        *last = Some(number).max(*last);
        has_missed
    }

    /// We hold other parts from now on. Of each, its place among those that we held before; of one
    /// that is new to us, all that it has published is missing.
    pub fn hears(&mut self, places: &[Option<usize>]) {
        for life in &mut self.lives {
            let last = |place: &Option<usize>| place.map_or(Some(0), |place| life.reports[place]);
            life.reports = places.iter().map(last).collect();
        }
        self.parts_heard = places.len();
    }

    /// A batch of it has come, with a right tag: for us alone, or for all who hold a part, by its
    /// place among those that we hold. Gives how many are missing before it.
    pub fn accept(&mut self, head: &Head<'_>, held: Option<usize>) -> Result<u64, NotBelieved> {
        let at = match self.lives.iter().position(|life| life.run == head.life) {
            Some(at) => at,
            None => {
                let first = (self.is_known() || !self.is_compared).then_some(0);
                let reports = vec![first; self.parts_heard];
                if self.lives.is_full() {
                    self.lives.pop();
                }
                self.lives.push(Life { run: head.life, reports, own: 0 });
                // What its life before was sent is gone with it, and so is how slow that was.
                self.told_all_at = None;
                self.in_parts.begins_anew();
                self.lives.len() - 1
            }
        };
        let life = &mut self.lives[at];
        let missing = if let Some(held) = held {
            let last = life.reports[held].unwrap_or(head.number.saturating_sub(1));
            if head.number <= last {
                return Err(NotBelieved::Replayed);
            }
            life.reports[held] = Some(head.number);
            head.number - last - 1
        } else {
            if head.number <= life.own {
                return Err(NotBelieved::Replayed);
            }
            // What came before the first that we hear was for our life before, or is lost.
            let missing = head.number - life.own - 1;
            self.is_cut = life.own > 0 && missing > 0;
            life.own = head.number;
            missing
        };
        self.lives[..=at].rotate_right(1);
        (self.is_silent, self.has_left) = (false, false);
        Ok(missing)
    }

    /// Something that was to be said to it found no room. What it answers to our question will not
    /// count, so it is not waited for any longer than usual.
    pub fn is_cut_short(&mut self, usual: Duration) {
        (self.question_is_cut, self.answer_is_cut) = (true, true);
        if let (Some(until), Some(asked_at)) = (&mut self.in_parts.answer_until, self.asked_at) {
            *until = (*until).min(asked_at + usual);
        }
    }

    /// What it has answered does not count: it is asked anew.
    pub fn must_be_asked(&mut self) {
        (self.has_hole, self.is_repairing, self.question_is_cut) = (true, false, false);
    }

    /// It is to be sent what this leaf holds.
    pub fn miss(&mut self, leaf: Leaf) {
        self.missed.get_or_insert_with(Missed::nothing).add_leaf(leaf);
    }

    /// It is to be told the parts of this node once there is room.
    pub fn owe_parts(&mut self, node: Node) {
        self.untold.get_or_insert_with(|| Marks::none_of(NODES)).add(node.number());
    }

    /// The node whose parts it is to be told next.
    pub fn next_untold(&mut self) -> Option<Node> {
        let node = self.untold.as_mut()?.take();
        if node.is_none() {
            self.untold = None;
        }
        node.map(Node::numbered)
    }

    /// Whether there are nodes whose parts it is still to be told.
    pub fn is_untold(&self) -> bool {
        self.untold.as_ref().is_some_and(|untold| !untold.is_empty())
    }

    /// What it is to be sent next.
    pub fn next_span(&mut self) -> Option<Span> {
        if let Some(span) = self.sending.take() {
            return Some(span);
        }
        let span = self.missed.as_mut()?.take();
        if span.is_none() {
            self.missed = None;
        }
        span
    }

    /// Whether there is anything that it is to be sent.
    pub fn is_behind(&self) -> bool {
        let is_missing = self.missed.as_ref().is_some_and(|missed| !missed.is_empty());
        self.sending.is_some() || is_missing || self.is_untold()
    }

    /// Whether it is to be sent anything as soon as there is room; all that is held, it gets later.
    pub fn awaits_more(&self) -> bool {
        self.is_behind() || self.even.unanswered.is_some() && !self.wants_all
    }

    /// What was under way to it is lost.
    pub fn lost(&mut self) {
        (self.untold, self.missed, self.sending) = (None, None, None);
        self.even.unanswered = None;
        (self.even_at, self.awaits_kept) = (None, false);
        (self.question_is_cut, self.answer_is_cut) = (false, false);
        self.in_parts.lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anna() -> Member {
        Member::new(b"Anna", &Parts::whole(), &[0])
    }

    fn head(life: u8, number: u64) -> Head<'static> {
        Head { sender: b"Anna", life: [life; 8], number, digests: [0; 8] }
    }

    fn heard(member: &mut Member, life: u8, number: u64) -> Result<u64, NotBelieved> {
        member.accept(&head(life, number), Some(0))
    }

    /// PROTOCOL 15.8.
    #[test]
    fn each_part_is_counted_alone() {
        let servers = ["Anna", "Bert"].map(|name| name.as_bytes().to_vec());
        let parts = Parts::divided(32, 1, &servers).unwrap();
        let mut anna = Member::new(b"Anna", &parts, &[3, 7]);
        let mut heard = |held, number| anna.accept(&head(1, number), Some(held));
        assert_eq!(heard(0, 1), Ok(0));
        assert_eq!(heard(1, 3), Ok(2), "what came before we did is missing, too");
        assert_eq!(heard(0, 2), Ok(0));
        assert_eq!(heard(1, 3), Err(NotBelieved::Replayed));
        assert!(!anna.has_told(0, 2) && anna.has_told(1, 5), "the last two did not come");
        assert!(!anna.has_told(1, 5), "which is known now");
        assert_eq!(anna.accept(&head(1, 6), Some(1)), Ok(0));
        assert_eq!(anna.accept(&head(2, 1), Some(1)), Ok(0), "another life counts anew");
    }

    /// PROTOCOL 15.4.
    #[test]
    fn holes_are_seen_and_replays_refused() {
        let mut anna = anna();
        assert_eq!(heard(&mut anna, 1, 40), Ok(0), "we came later");
        assert_eq!(heard(&mut anna, 1, 41), Ok(0));
        assert_eq!(heard(&mut anna, 1, 41), Err(NotBelieved::Replayed));
        assert_eq!(heard(&mut anna, 1, 44), Ok(2));
        assert_eq!(heard(&mut anna, 1, 42), Err(NotBelieved::Replayed));
        assert_eq!(heard(&mut anna, 2, 1), Ok(0), "it has started again");
        assert_eq!(heard(&mut anna, 1, 45), Ok(0), "and this was on its way");
        assert_eq!(heard(&mut anna, 2, 1), Err(NotBelieved::Replayed));
        assert_eq!(heard(&mut anna, 3, 3), Ok(2), "its first ones did not come");
    }

    /// Goal: whatever somebody replays of old lives, the one that goes on is heard.
    #[test]
    fn replays_do_not_silence_anyone() {
        let mut anna = anna();
        for round in 1..100 {
            for old in 10..20 {
                let _ = heard(&mut anna, old, 7);
            }
            assert!(heard(&mut anna, 1, round).is_ok());
        }
    }
}
