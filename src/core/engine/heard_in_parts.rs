//! What others say where clients are divided: how far their batches have come, which parts they
//! have all of, and what of those differs. Apart from `divided`, which says what is asked and when.

use super::Engine;
use super::words::{Operands, Word, write_digests};
use crate::Server;
use crate::border::Outputs;
use crate::clock::Now;
use crate::names::PeerId;
use crate::parts::Part;
use crate::peers::handover::Stage;
use crate::store::digest::{Hash, Node};
use crate::wire::peer_command::PeerLine;

/// The digest of a part of which nothing is held.
const NOTHING: Hash = 0;

impl Server {
    /// Hears a line that is for us alone.
    pub(super) fn hear_in_parts(
        &mut self,
        now: Now,
        (peer, member): (PeerId, usize),
        (engine, is_comparable): (&mut Engine, bool),
        line: &[u8],
        out: &mut Outputs,
    ) {
        match Word::parse(line) {
            Some(Word::Told(numbers)) => engine.numbers_heard(member, numbers),
            Some(Word::Holds(held)) => engine.held_heard(member, held),
            Some(Word::TakeAsked(parts)) => {
                let may_take = self.stage == Stage::Serving;
                engine.take_heard(now, (member, may_take), parts);
            }
            Some(Word::Taken) => engine.members[member].in_parts.has_taken = true,
            Some(Word::OwnAsked(parts)) => {
                parts.parts().for_each(|part| self.miss_part(engine, member, part, out));
            }
            Some(Word::DigestsAsked(digests)) if is_comparable => {
                self.digests_asked(engine, member, digests, out);
            }
            Some(Word::Digests(digests)) if is_comparable => {
                self.digests_heard(engine, member, digests, out);
            }
            // Leaves are not the same there, and so are parts.
            Some(Word::DigestsAsked(_) | Word::Digests(_)) => {}
            None => match PeerLine::parse(line) {
                PeerLine::Parts(parts) if is_comparable && engine.is_within_held(parts.of) => {
                    self.engine_parts_heard(engine, member, parts, out);
                }
                PeerLine::Parts(_) => {}
                // What it wanted to know may be what was lost: it hears nothing, and asks again.
                PeerLine::EvenAsked { .. } if engine.members[member].is_cut => {}
                PeerLine::EvenAsked { number } => {
                    engine.members[member].even.unanswered = Some(number);
                    engine.answer_even(member, out);
                }
                PeerLine::Even { number } => engine.even_in_parts(now, member, number, out),
                PeerLine::Bye => {
                    let may_keep = self.stage == Stage::Serving;
                    engine.members[member].wants_kept(now, may_keep);
                }
                PeerLine::Kept => engine.members[member].in_parts.has_kept = true,
                PeerLine::Invalid => {
                    let sender = engine.members[member].name.clone();
                    self.hear_answer(now, (engine, &sender), line, out);
                }
                _ => self.hear_unusual(now, peer, line, out),
            },
        }
    }

    fn digests_asked(
        &mut self,
        engine: &mut Engine,
        member: usize,
        digests: Operands<'_>,
        out: &mut Outputs,
    ) {
        engine.tell_numbers(member, out);
        let is_held = |part: &Part| engine.held.binary_search(part).is_ok();
        let common = Vec::from_iter(digests.digests().map(|it| it.0).filter(is_held));
        let held_here = common.len();
        let ours = self.digests_of(engine, common.into_iter());
        engine.say(member, out, |text| write_digests(b"PARTS", ours.into_iter(), text));
        if held_here < digests.digests().count() {
            engine.tell_held(member, out);
        }
        for (part, theirs, _) in digests.digests() {
            if engine.held.binary_search(&part).is_ok() {
                self.compare_part(engine, member, (part, theirs), out);
            } else {
                // Its file says that we hold it, but we do not.
                self.miss_part(engine, member, part, out);
            }
        }
    }

    fn digests_heard(
        &mut self,
        engine: &mut Engine,
        member: usize,
        digests: Operands<'_>,
        out: &mut Outputs,
    ) {
        for (part, theirs, is_complete) in digests.digests() {
            if engine.held.binary_search(&part).is_err() {
                continue;
            }
            let complete = &mut engine.members[member].in_parts.complete;
            _ = if is_complete { complete.insert(part) } else { complete.remove(&part) };
            self.compare_part(engine, member, (part, theirs), out);
        }
    }

    fn compare_part(
        &self,
        engine: &mut Engine,
        member: usize,
        (part, theirs): (Part, u64),
        out: &mut Outputs,
    ) {
        let node = engine.settings.parts.node(part);
        let ours = self.store.digest().hash(node);
        if theirs == NOTHING && ours != NOTHING {
            // Where it holds nothing, there is nothing to compare.
            self.miss_part(engine, member, part, out);
        } else if ours != NOTHING && self.keyring.shown(ours) != theirs {
            self.tell_engine_parts(engine, member, node, out);
        }
    }

    /// A member is to be sent all that is held of a part.
    fn miss_part(&self, engine: &mut Engine, member: usize, part: Part, out: &mut Outputs) {
        if usize::from(part) >= engine.settings.parts.count() {
            return;
        }
        let node = engine.settings.parts.node(part);
        let leaves = self.store.digest().filled(node);
        leaves.for_each(|leaf| engine.members[member].miss(leaf));
        engine.ask_flushed(out);
    }
}

impl Engine {
    /// Whether a node of the digest lies in a part that we hold.
    fn is_within_held(&self, node: Node) -> bool {
        let parts = &self.settings.parts;
        let part = parts.of(node.leaves().start as u16);
        node.level() >= parts.node(part).level() && self.held.binary_search(&part).is_ok()
    }

    /// A member says how far its batches have come.
    fn numbers_heard(&mut self, member: usize, numbers: Operands<'_>) {
        let it = &mut self.members[member];
        for (part, number) in numbers.numbers() {
            if let Ok(place) = self.held.binary_search(&part)
                && it.has_told(place, number)
            {
                it.in_parts.holes.insert(part);
            }
        }
    }

    /// A member has sent all that it knew we had missed when it was asked.
    fn even_in_parts(&mut self, now: Now, member: usize, number: u64, out: &mut Outputs) {
        let it = &mut self.members[member];
        if number == 0 || number > it.even.asked {
            return;
        }
        // All was sent that was asked for as a whole, whatever else is still to be compared.
        if number >= it.in_parts.repaired_by {
            it.in_parts.repairing.clear();
        }
        if it.question_is_cut {
            return it.has_answered_in_vain(now);
        }
        if it.is_untold() {
            // It is asked behind what it is still to be told.
            return;
        }
        if number <= it.even.told_at {
            return self.ask_even(member, out);
        }
        let theirs = &mut it.in_parts;
        if theirs.counts_from.is_some_and(|first| number >= first) {
            (theirs.is_even, it.even_at) = (true, Some(now.monotonic));
            theirs.in_vain = 0;
        }
        if number == it.even.asked {
            (theirs.answer_until, theirs.tries) = (None, 0);
            match theirs.is_even {
                true => theirs.ask_at = None,
                false => it.ask_soon(now),
            }
        }
    }
}
