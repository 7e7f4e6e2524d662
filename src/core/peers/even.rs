//! When has all come that a server had missed? Apart from `repair`, which remembers nothing of a
//! comparison: its end has to be asked for.
//!
//! ```text
//!   A has lost something                  B        and the same the other way round
//!   ROOT 3 c1…, EVEN? 1 ──────────────────▶
//!     ◀────────── ROOT 4 9e…, L1 5f… …, EVEN 1       nothing is owed, and parts are compared
//!   L1 00… …, EVEN? 2 ─────────────────────▶         A has told parts since 1: it asks again
//!     ◀───────────────────── L2 7 00… …, EVEN 2
//!   L3 225 5f… …, EVEN? 3 ─────────────────▶
//!     ◀──────────────────── AT …, AT …, EVEN 3       A has told nothing since 3: all has come
//! ```
//!
//! B answers when it owes A nothing. A link keeps its order, so A has heard all that B found before
//! it asked. If A has told parts meanwhile, B may find more in them; the digest has few levels, so
//! there are few rounds.
//!
//! A peer whose greeting does not name `even` knows none of this, and is not asked.

use super::link::Link;
use super::table::State;
use crate::Server;
use crate::border::Outputs;
use crate::clock::Now;
use crate::names::PeerId;

/// What two ends of a link have asked each other, and what is still to be said about it.
#[derive(Debug, Default)]
pub(crate) struct Even {
    /// The number of our latest question; 0 before the first.
    asked: u64,
    /// What `asked` was when we last told parts: the answer to it came too early.
    told_at: u64,
    /// A question is to be asked as soon as there is room.
    is_due: bool,
    /// The peer's latest question, which is not answered yet.
    unanswered: Option<u64>,
    /// The `ROOT` before the peer's next question was left alone.
    pub left_alone: bool,
}

impl Server {
    /// The peer asks whether it has been told all that it has missed.
    pub(crate) fn even_asked(&mut self, peer: PeerId, number: u64, out: &mut Outputs) {
        let State::Up { link, .. } = &mut self.peers.at(peer).state else { return };
        // Nobody has looked for what it has missed.
        if !std::mem::take(&mut link.even.left_alone) {
            link.even.unanswered = Some(number);
            link.answer_even(out);
        }
    }

    /// The peer has told all that it knew we had missed when it was asked. Says whether it was
    /// asked.
    pub(crate) fn even_heard(
        &mut self,
        now: Now,
        peer: PeerId,
        number: u64,
        out: &mut Outputs,
    ) -> bool {
        let entry = self.peers.at(peer);
        let State::Up { link, .. } = &mut entry.state else { return false };
        if number == 0 || number > link.even.asked {
            return false;
        }
        if number <= link.even.told_at {
            link.ask_even(out);
        } else {
            entry.even_at = Some(now.monotonic);
        }
        true
    }
}

impl Link {
    /// Asks whether all has been told that we have missed, now or when there is room: behind all
    /// that we have to say about what we hold.
    pub fn ask_even(&mut self, out: &mut Outputs) {
        if self.has_room() && self.has_told() {
            self.ask_even_now(out);
        } else if self.knows_even {
            self.even.is_due = true;
            self.ask(out);
        }
    }

    /// The same directly behind a `ROOT` of ours. There was room for that.
    pub fn ask_even_now(&mut self, out: &mut Outputs) {
        if self.knows_even {
            self.even.asked += 1;
            let number = self.even.asked;
            self.say(out, |text| write("EVEN? ", number, text));
        }
    }

    /// We tell the peer parts of our digest: in them it may find what we have missed.
    pub fn parts_told(&mut self) {
        self.even.told_at = self.even.asked;
    }

    /// Says what there was no room for, or what had to wait.
    pub fn even_late(&mut self, out: &mut Outputs) {
        if std::mem::take(&mut self.even.is_due) {
            self.ask_even(out);
        }
        self.answer_even(out);
    }

    fn answer_even(&mut self, out: &mut Outputs) {
        let Some(number) = self.even.unanswered else { return };
        if self.is_behind() || !self.has_room() {
            return self.ask(out);
        }
        self.even.unanswered = None;
        self.say(out, |text| write("EVEN ", number, text));
    }
}

fn write(word: &str, number: u64, text: &mut Vec<u8>) {
    text.extend_from_slice(word.as_bytes());
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
