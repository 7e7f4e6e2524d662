//! Parts move to other servers while all of them run, because a reload has said so. Apart from
//! `divided` because it happens once in a while: a herd whose servers stay the same can forget this
//! file.
//!
//! ```text
//!   A holds 3, which C is to hold          C
//!   reads its file, holds 3 all the same   reads its file, subscribes to 3, and asks everybody
//!   TAKE? 3 ─────────────────────────────▶
//!     ◀─── HOLDS 3 7, PARTS? 3 9e…, EVEN? 5       asks A once more, whatever it knows
//!   AT …, EVEN 5 ────────────────────────▶
//!     ◀─────────────────────────── TAKEN          nothing is missing of what A held
//!   UNSUB
//! ```
//!
//! Files are read one after the other, so for a while two servers may have different ones. Nobody
//! has to know which: each says what it holds (`HOLDS`), and that is believed, not the file. So a
//! part has more holders than usual meanwhile, and never fewer. Who publishes need not know them.

use std::time::Duration;

use super::divided::Divided;
use super::words::{Operands, write_numbers};
use super::{Engine, Phase, last_token};
use crate::border::Outputs;
use crate::clock::Now;
use crate::nats_wire::{write_sub, write_unsub};
use crate::parts::{Part, Parts};

/// Who is to take a part is asked so often whether that is done.
const TAKE_EVERY: Duration = Duration::from_secs(2);

impl Engine {
    /// Other servers hold the parts from now on. What this one is to hold as well is subscribed to,
    /// and asked for; what others are to hold stays until they have it.
    pub(super) fn set_parts(&mut self, now: Now, parts: &Parts, out: &mut Outputs) {
        if *parts == self.settings.parts || parts.count() != self.settings.parts.count() {
            return;
        }
        let named = parts.held_by(last_token(&self.for_us));
        let is_in = |parts: &[Part], part: &Part| parts.binary_search(part).is_ok();
        let moving = self.held.iter().copied().filter(|part| !is_in(&named, part));
        self.divided.moving = moving.collect();
        self.settings.parts = parts.clone();
        self.hold_as_well(now, named, out);
    }

    /// In a part that we do not hold there is what others have heard first: we have held it, or our
    /// process before has. Nobody else may have it, so that is handed over, too.
    pub(super) fn others_found(&mut self, now: Now, part: Part, out: &mut Outputs) {
        if self.held.binary_search(&part).is_err() {
            self.divided.moving.push(part);
            let held = self.settings.parts.held_by(last_token(&self.for_us));
            self.hold_as_well(now, held, out);
        }
    }

    /// Holds these parts and those that move, and asks for what it did not hold before.
    fn hold_as_well(&mut self, now: Now, named: Vec<Part>, out: &mut Outputs) {
        let mut held = [named, self.divided.moving.clone()].concat();
        held.sort_unstable();
        let gained = held.iter().copied().filter(|part| self.held.binary_search(part).is_err());
        let gained = Vec::from_iter(gained);
        self.hold(held);
        self.members.iter_mut().for_each(|it| it.in_parts.has_taken = false);
        if let Phase::Informed { conn, .. } | Phase::Up { conn, .. } = self.phase
            && !gained.is_empty()
        {
            let start = out.text.len();
            for part in gained {
                write_sub(self.outboxes.subject(part), sid(part), &mut out.text);
            }
            out.send(conn, start..out.text.len());
        }
        if self.up().is_some() {
            self.ask_everybody(now);
            self.ask_flushed(out);
        }
    }

    /// Holds these parts. What is known of those that it held before stays known.
    fn hold(&mut self, held: Vec<Part>) {
        let places = held.iter().map(|part| self.held.binary_search(part).ok());
        let places = Vec::from_iter(places);
        let complete = &self.divided.complete;
        let complete = places.iter().map(|place| place.is_some_and(|place| complete[place]));
        self.divided.complete = complete.collect();
        for member in &mut self.members {
            member.hears(&places);
            member.in_parts.forget_all_but(&held);
        }
        self.held = held;
    }

    /// What this server holds, for another one to know.
    pub(super) fn tell_held(&mut self, member: usize, out: &mut Outputs) {
        let held = Vec::from_iter(self.held.iter().copied().map(u64::from));
        self.say(member, out, |text| write_numbers(b"HOLDS", held.into_iter(), text));
    }

    /// A member has said what it holds.
    pub(super) fn held_heard(&mut self, member: usize, held: Operands<'_>) {
        let mut holds = vec![false; self.settings.parts.count()];
        for part in held.parts() {
            if let Some(holds) = holds.get_mut(usize::from(part)) {
                *holds = true;
            }
        }
        let theirs = &mut self.members[member].in_parts;
        if theirs.holds != holds {
            theirs.complete.retain(|part| holds[usize::from(*part)]);
            (theirs.holds, theirs.has_taken) = (holds, false);
        }
    }

    /// A member is to have these parts from us.
    pub(super) fn take_heard(
        &mut self,
        now: Now,
        (member, may_take): (usize, bool),
        parts: Operands<'_>,
    ) {
        let it = &mut self.members[member];
        for part in parts.parts() {
            if let Some(holds) = it.in_parts.holds.get_mut(usize::from(part)) {
                *holds = true;
            }
        }
        if may_take && !std::mem::replace(&mut it.in_parts.takes, true) {
            it.must_be_asked_anew(now);
        }
    }

    /// When somebody is asked next whether it has taken a part.
    pub(super) fn next_take(&self) -> Option<Duration> {
        let Divided { moving, is_settled, take_at, .. } = &self.divided;
        (!moving.is_empty() && *is_settled).then_some(*take_at)
    }

    /// Lets go of parts that all who are to hold them have, and asks the others.
    pub(super) fn go_on_moving(&mut self, now: Now, out: &mut Outputs) {
        if self.next_take().is_none_or(|at| now.monotonic < at) || !self.has_room() {
            return;
        }
        self.divided.take_at = now.monotonic + TAKE_EVERY;
        for part in self.divided.moving.clone() {
            if self.is_taken(part) {
                self.let_go(part, out);
            }
        }
        for member in 0..self.members.len() {
            let it = &self.members[member];
            if !it.is_there() || it.is_silent {
                continue;
            }
            let moving = self.divided.moving.iter().copied();
            let theirs = moving.filter(|part| self.settings.parts.is_holder(&it.name, *part));
            let theirs = Vec::from_iter(theirs.map(u64::from));
            if !theirs.is_empty() {
                self.say(member, out, |text| write_numbers(b"TAKE?", theirs.into_iter(), text));
                self.members[member].ask_soon(now);
            }
        }
    }

    /// Whether all who are to hold a part hold it, miss nothing that they know of, and have all
    /// that we held.
    fn is_taken(&self, part: Part) -> bool {
        self.settings.parts.holders(part).all(|name| {
            let taker = self.members.iter().find(|it| *it.name == *name);
            taker.is_some_and(|it| {
                let theirs = &it.in_parts;
                let has_it = theirs.holds(part) && theirs.complete.contains(&part);
                has_it && theirs.has_taken && it.is_there() && !it.is_silent
            })
        })
    }

    /// Hears nothing of a part any more. What is held of it stays until it expires, as what a
    /// server has heard first of any part does. Who holds the part and starts again must know that
    /// there is something to ask for, also if we have published nothing.
    fn let_go(&mut self, part: Part, out: &mut Outputs) {
        let Some(conn) = self.up() else { return };
        out.say(conn, |text| write_unsub(sid(part), text));
        self.outboxes.begin(part);
        self.divided.moving.retain(|it| *it != part);
        self.hold(self.held.iter().copied().filter(|it| *it != part).collect());
    }
}

/// By which a node knows that we hear what is published to a part.
pub(super) fn sid(part: Part) -> u32 {
    u32::from(part) + 1
}
