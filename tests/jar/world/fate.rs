//! What befalls a herd: servers are born and die, clients come, dials arrive, wires are cut. Apart
//! from `world`, which only lets one event follow another; how much of this there is, is decided
//! in `chance`.

use std::time::Duration;

use herd::core::PeerSettings;
use herd::core::names::{Door, PeerId};

use super::{Event, Jar, PEACE};
use crate::body::{Body, settings};
use crate::chance::MS;
use crate::talker::Talker;
use crate::wire::{At, Party, Wire};

/// A far end that vanished without a word is noticed within this time, or by its silence.
const LOSS_NOTICED_MAX: Duration = Duration::from_secs(5);

impl Jar {
    pub(super) fn be_born(&mut self, server: usize) {
        self.note("birth", (server, 0), b"");
        let ahead = MS * self.random.u64(0..=self.chance.clocks_apart_ms) as u32;
        let seed = self.random.u64(..);
        let names: Vec<_> = self.servers.iter().map(|seat| seat.name).collect();
        let seat = &mut self.servers[server];
        let peer = |&(seat, dials): &(usize, bool)| PeerSettings {
            name: names[seat].into(),
            dials,
            plain: false,
        };
        let mut settings = settings(seat.name, seat.peers.iter().map(peer).collect(), seed);
        settings.peer_owed_max = self.chance.peer_owed_max;
        seat.life += 1;
        seat.deadline = None;
        seat.body = Some(Body::new(settings, self.now, ahead));
        self.tell(server, Body::start);
    }

    pub(super) fn talk(&mut self, server: usize) {
        let (mut talker, said) =
            Talker::new(self.servers[server].name, &self.chance, &mut self.random);
        let (number, finished) = (self.talkers.len(), talker.half_closes);
        talker.is_cut = self.servers[server].body.is_none();
        let refused = talker.is_cut;
        self.talkers.push(talker);
        if refused {
            return;
        }
        let party = Party::Server { server, life: self.servers[server].life };
        let at = self.lay(party, Party::Talker(number));
        self.tell(server, |body| body.accept(at.conn(Door::Client)));
        self.put(at, &said);
        self.wires[at.wire].ends[at.end].finished = finished;
    }

    /// A dial has reached its peer, or has not.
    pub(super) fn dialed(&mut self, server: usize, peer: PeerId) {
        let (far, _) = self.servers[server].peers[usize::from(peer.0)];
        let one_in = self.chance.refused_one_in;
        let unlucky = one_in > 0 && self.now < PEACE && self.random.u32(0..one_in) == 0;
        if self.servers[far].body.is_none() || unlucky {
            return self.tell(server, |body| body.dial_failed(peer));
        }
        let [one, other] =
            [server, far].map(|server| Party::Server { server, life: self.servers[server].life });
        let at = self.lay(one, other);
        self.tell(far, |body| body.accept(at.far().conn(Door::Peer)));
        self.tell(server, |body| body.connected(peer, at.conn(Door::Peer)));
    }

    pub(super) fn fault(&mut self) {
        self.note("fault", (0, 0), b"");
        if self.chance.restarts && self.random.u32(0..3) == 0 {
            let server = self.random.usize(0..self.servers.len());
            return self.die(server);
        }
        let whole: Vec<_> =
            (0..self.wires.len()).filter(|&wire| self.wires[wire].is_whole()).collect();
        let Some(&wire) = whole.get(self.random.usize(0..whole.len().max(1))) else { return };
        self.cut(wire);
    }

    /// From now on the wire carries nothing. Each end finds out by itself, sooner or later.
    fn cut(&mut self, wire: usize) {
        self.wires[wire].cut = true;
        for end in 0..2 {
            let after = self.up_to(LOSS_NOTICED_MAX);
            self.plan(after, Event::Lost(At { wire, end }));
        }
    }

    /// A server leaves with a word or without one, or its machine loses power.
    fn die(&mut self, server: usize) {
        let how = self.random.u32(0..3);
        if how == 0 && self.servers[server].body.is_some() {
            self.tell(server, Body::leave);
        }
        let life = self.servers[server].life;
        if self.servers[server].body.take().is_none() {
            return;
        }
        self.restarts += 1;
        for wire in 0..self.wires.len() {
            let ends = &self.wires[wire].ends;
            let me = Party::Server { server, life };
            let Some(end) = ends.iter().position(|end| end.party == me && end.alive) else {
                continue;
            };
            let far = At { wire, end }.far();
            if let Party::Talker(talker) = ends[far.end].party {
                self.talkers[talker].is_cut = true;
            }
            self.wires[wire].ends[end].alive = false;
            if how == 2 {
                self.cut(wire);
            } else {
                self.wires[wire].ends[far.end].finished = true;
                self.plan_delivery(far);
            }
        }
        let after = self.up_to(1_500 * MS);
        self.plan(after, Event::Birth { server });
    }

    fn lay(&mut self, one: Party, other: Party) -> At {
        self.wires.push(Wire::between(one, other));
        At { wire: self.wires.len() - 1, end: 0 }
    }
}
