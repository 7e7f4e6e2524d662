//! What servers want of the world: dials, answers of the places, ends of connections, and what they
//! have to say of the herd.

use super::{Event, MS, PATIENCE, World};
use crate::host::Act;
use crate::invariants::{Invariant, Violation};
use crate::wire::{At, Party};
use herd_core::border::Note;
use herd_core::names::{ConnKind, PeerId};

impl World {
    pub(super) fn act(&mut self, server: usize, act: Act) -> Result<(), Violation> {
        let life = self.seats[server].life;
        match act {
            Act::Dial { peer } => {
                let after = self.latency(false);
                self.plan(after, Event::Dialed { server, life, peer });
            }
            Act::Ask { conn, ticket, question } => {
                let one_in = self.scenario.late_one_in;
                let is_late = one_in > 0 && self.random.u32(0..one_in) == 0;
                let after = self.up_to(if is_late { 5_000 * MS } else { 300 * MS });
                let body = format!("{{\"radius\":{},\"results\":[]}}", question.radius_km);
                let comes = !is_late || self.random.bool();
                let far = At::of(conn).far();
                if let Party::Client(client) = self.wires[far.wire].ends[far.end].party {
                    let is_in_time = comes && after < PATIENCE;
                    let settled = self.now + if is_in_time { after } else { PATIENCE };
                    self.clients[client].promise(is_in_time, (self.now, settled))?;
                }
                if comes {
                    self.plan(after, Event::Answer { server, life, ticket, body });
                }
            }
            Act::Finish { conn } => {
                let far = At::of(conn).far();
                self.wires[far.wire].ends[far.end].finished = true;
                self.plan_delivery(far);
            }
            Act::Reset { conn } => {
                Invariant::Answers
                    .demand(conn.kind() == ConnKind::Peer, || format!("{conn} was hung up on"))?;
                let at = At::of(conn);
                self.wires[at.wire].ends[at.end].alive = false;
                if !self.wires[at.wire].ends[1 - at.end].deaf {
                    let after = self.latency(self.wires[at.wire].slow);
                    self.plan(after, Event::Lost(at.far()));
                }
            }
            Act::Over { conn } => {
                let at = At::of(conn);
                self.wires[at.wire].ends[at.end].alive = false;
                if conn.kind() == ConnKind::Client {
                    let far = &mut self.wires[at.wire].ends[at.far().end];
                    far.finished = true;
                    if let Party::Client(client) = far.party {
                        self.clients[client].is_cut |= self.seats[server].is_leaving;
                    }
                    self.plan_delivery(at.far());
                }
            }
            Act::Noted(note) => self.note_of(server, note)?,
            Act::Broken(violation) => return Err(violation),
        }
        Ok(())
    }

    fn note_of(&mut self, server: usize, note: Note) -> Result<(), Violation> {
        self.note("note", (server, 0), format!("{note:?}").as_bytes());
        let seat = &self.seats[server];
        let peer = |peer: PeerId| self.seats[seat.peers[usize::from(peer.0)].0].name.as_str();
        let row = match note {
            Note::PeerUp { peer: other, .. } => format!("joined with {}", peer(other)),
            Note::PeerDown { peer: other, why, .. } => format!("lost {}: {why}", peer(other)),
            Note::PeerUnreachable { peer: other } => format!("cannot reach {}", peer(other)),
            Note::PeerBehind { peer: other } => format!("holds news back from {}", peer(other)),
            other => format!("{other:?}"),
        };
        Invariant::Trust.demand(self.is_fair(server, note), || {
            format!("{}, among the honest: {row}", seat.name)
        })?;
        self.event_log.tell(self.now, &seat.name, || row);
        Ok(())
    }
}
