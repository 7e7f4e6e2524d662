//! A server of a herd whose clients are divided leaves: what it holds of each part must be with
//! somebody else who holds it. Where clients are not divided, one server is enough (`compare`).
//!
//! ```text
//!   A leaves                      B holds 3 and 9, C holds 9
//!   BYE ─────────────────▶ B, C
//!     ◀─── OWN? …, PARTS? …, EVEN? 7       each asks once more, whatever it knows
//!   AT …, EVEN 7 ────────▶ B, C
//!     ◀─── KEPT                            from B it is enough: A holds 3 and 9
//! ```

use super::Engine;
use super::members::Member;
use crate::Server;
use crate::border::Outputs;
use crate::clock::Now;
use crate::counters::KEEPS_ALL;
use crate::names::PeerId;
use crate::parts::Part;
use crate::peers::handover::Heir;

/// Who does not answer hears so many good-byes.
const BYES_MAX: u8 = 10;

impl Server {
    /// All are asked to keep what they hold of a server that leaves and has said all. It goes when
    /// each of its parts has somebody, or nobody who is there can have the rest.
    pub(super) fn leave_in_parts(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        out: &mut Outputs,
    ) {
        let owed = self.parts_owed(engine);
        if owed.is_empty() {
            self.peers.at(peer).heir = Heir::Kept;
            return self.lose_engine(now, (peer, engine), KEEPS_ALL, out);
        }
        let may_keep =
            |it: &Member| it.is_there() && owed.iter().any(|part| it.in_parts.holds(*part));
        let is_patient = engine.divided.byes < BYES_MAX;
        if !is_patient || !engine.members.iter().any(may_keep) {
            let why = "nobody who is there keeps the rest";
            return self.lose_engine(now, (peer, engine), why, out);
        }
        if engine.divided.bye_until.is_some_and(|until| now.monotonic < until) {
            return;
        }
        for member in 0..engine.members.len() {
            let it = &engine.members[member];
            if it.is_there() && !it.in_parts.has_kept {
                engine.say(member, out, |text| text.extend_from_slice(b"BYE"));
            }
        }
        engine.divided.byes += 1;
        engine.divided.bye_until = Some(now.monotonic + engine.settings.ask_timeout);
    }

    /// Parts of which anything is held here that nobody else keeps for sure.
    fn parts_owed(&self, engine: &Engine) -> Vec<Part> {
        let parts = &engine.settings.parts;
        let is_kept = |part: Part| {
            engine.members.iter().any(|it| it.in_parts.has_kept && it.in_parts.holds(part))
        };
        let is_filled = |part| self.store.digest().filled(parts.node(part)).next().is_some();
        parts.all().filter(|part| !is_kept(*part) && is_filled(*part)).collect()
    }
}
