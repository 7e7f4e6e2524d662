//! What servers want of the world: dials, answers of the places, ends of connections, and what they
//! have to say of the herd.

use super::{ANSWER_TIMEOUT, Event, MS, World};
use crate::host::Act;
use crate::invariants::{Invariant, Violation};
use crate::wire::{At, Party};
use herd_core::border::Note;
use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::session::CloseReason;

impl World {
    pub(super) fn act(&mut self, server: usize, act: Act) -> Result<(), Violation> {
        let run = self.seats[server].run;
        match act {
            Act::Dial { peer } => {
                let after = self.latency(false);
                self.plan(after, Event::Dialed { server, run, peer });
            }
            Act::Ask { conn, ticket, question } => {
                let one_in = self.scenario.late_one_in;
                let is_late = one_in > 0 && self.random.u32(0..one_in) == 0;
                let after = self.up_to(if is_late { 5_000 * MS } else { 300 * MS });
                let body = format!("{{\"radius\":{},\"results\":[]}}", question.radius_km);
                let comes = !is_late || self.random.bool();
                let far = At::of(conn).far();
                if let Party::Client(client) = self.wires[far.wire].ends[far.end].party {
                    let is_in_time = comes && after < ANSWER_TIMEOUT;
                    let settled = self.now + if is_in_time { after } else { ANSWER_TIMEOUT };
                    self.clients[client].promise(ticket, is_in_time, self.now, settled)?;
                }
                if comes {
                    self.plan(after, Event::Answer { server, run, ticket, body });
                }
            }
            Act::Finish { conn } => {
                let far = At::of(conn).far();
                self.wires[far.wire].ends[far.end].finished = true;
                self.plan_delivery(far);
            }
            Act::Closed { conn, reason } => self.close(server, conn, reason)?,
            Act::Joined { conn, .. } if conn.kind() == ConnKind::Engine => {
                self.joined_engine(server);
            }
            Act::Joined { peer, conn, held } => {
                self.invariants.joined(server, peer, At::of(conn), held);
            }
            Act::SaidBye { conn, held } => self.invariants.said_bye(At::of(conn), held),
            Act::SaidKept { conn } if self.scenario.repairs && !self.scenario.expires_soon() => {
                if let Some(body) = &self.seats[server].body {
                    self.invariants.said_kept(At::of(conn), body)?;
                }
            }
            Act::SaidKept { .. } => {}
            Act::Noted(note) => self.note_of(server, note)?,
            Act::Broken(violation) => return Err(violation),
        }
        Ok(())
    }

    /// A connection is over at this end: the far end sees a reset, or that nothing follows.
    fn close(&mut self, server: usize, conn: ConnId, reason: CloseReason) -> Result<(), Violation> {
        let is_peer = conn.kind().is_bounded_by_core();
        let is_hung_up_on = matches!(reason, CloseReason::HungUp | CloseReason::EndlessLine);
        Invariant::Answers.demand(is_peer || !is_hung_up_on, || format!("{conn}: {reason}"))?;
        let at = At::of(conn);
        let wire = &mut self.wires[at.wire];
        wire.ends[at.end].alive = false;
        let far = &mut wire.ends[at.far().end];
        if is_hung_up_on || is_peer && matches!(reason, CloseReason::Expired(_)) {
            if !far.deaf {
                let slow = wire.slow;
                let after = self.latency(slow);
                self.plan(after, Event::Lost(at.far()));
            }
            return Ok(());
        }
        far.finished = true;
        if let Party::Client(client) = far.party {
            self.clients[client].is_cut |= self.seats[server].is_leaving;
        }
        self.plan_delivery(at.far());
        Ok(())
    }

    fn note_of(&mut self, server: usize, note: Note) -> Result<(), Violation> {
        self.note("note", (server, 0), format!("{note:?}").as_bytes());
        let seat = &self.seats[server];
        let peer = |peer: PeerId| {
            let far = seat.peers.get(usize::from(peer.0));
            far.map_or("the engine", |(far, _)| &self.seats[*far].name)
        };
        let row = match note {
            Note::PeerUp { peer: other, .. } => format!("joined with {}", peer(other)),
            Note::PeerDown { peer: other, why, .. } => format!("lost {}: {why}", peer(other)),
            Note::PeerUnreachable { peer: other } => format!("cannot reach {}", peer(other)),
            Note::PeerBehind { peer: other } => format!("holds news back from {}", peer(other)),
            other => format!("{other:?}"),
        };
        if matches!(note, Note::PeerDown { .. }) {
            self.invariants.has_lost_engine(server);
        }
        Invariant::Trust.demand(self.is_fair(server, note), || {
            format!("{}, among the honest: {row}", seat.name)
        })?;
        self.event_log.tell(self.now, &seat.name, || row);
        Ok(())
    }
}
