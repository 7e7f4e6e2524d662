//! What happens to a herd: servers start, leave and die, clients come, dials arrive, wires break.
//! `world` only lets one event follow another; `scenario` decides how much of this there is.

use std::time::Duration;

use super::{Event, LameDuck, World};
use crate::client::Client;
use crate::faults::{Fault, Faults};
use crate::host::Host;
use crate::invariants::Violation;
use crate::wire::{At, Party, Wire};
use herd_core::names::{ConnKind, PeerId};

/// A far end that vanished without a word is noticed within this time, if it ever is.
const LOSS_NOTICED_MAX: Duration = Duration::from_secs(5);
/// How long a server may be dead, and how long two may be out of each other's reach.
const ABSENCE_MAX: Duration = Duration::from_millis(1_500);
/// How often a server that leaves looks whether its clients have read their last answers.
const FAREWELL_EVERY: Duration = Duration::from_secs(1);
/// How long all the rest may take then. Every timer of the dead has fired by then.
const LEAVING_MAX: Duration = Duration::from_secs(7);
/// A clock is set by up to so much.
const CLOCK_STEP_MS_MAX: i64 = 10_000;

impl World {
    pub(super) fn start(&mut self, server: usize) -> Result<(), Violation> {
        self.note("start", (server, 0), b"");
        let ahead_ms = self.random.u64(0..=self.scenario.clocks_apart_ms) as i64;
        let settings = self.read_settings(server);
        let seat = &mut self.seats[server];
        seat.run += 1;
        seat.deadline = None;
        (seat.is_leaving, seat.lame_duck) = (false, LameDuck::None);
        seat.has_lost_heirs = false;
        seat.disk_due = [false; 2];
        seat.removed.clear();
        let run = seat.run;
        let followed_seed = settings.seed ^ u64::from(run);
        let mut body = Host::new(settings, self.now, ahead_ms);
        body.set_time(self.now);
        body.be_followed(followed_seed);
        let body = self.with_journal(server, body)?;
        let clients = body.server.store().len();
        self.row(server, || match run {
            1 => "starts".to_owned(),
            _ if body.journal().is_some() => {
                format!("starts again with {clients} clients of its journal: run {run}")
            }
            _ => format!("starts again, empty: run {run}"),
        });
        self.invariants.restart(server, &body, &self.scenario.graph.names)?;
        self.seats[server].body = Some(body);
        self.tell(server, Host::start)
    }

    pub(super) fn talk(&mut self, server: usize, report: Option<String>) -> Result<(), Violation> {
        let name = &self.seats[server].name;
        let (client, bytes) = match report {
            Some(report) => Client::with_report(name, &report, &self.scenario),
            None => Client::drawn(name, &self.said, &self.scenario, &mut self.random),
        };
        self.come(server, client, &bytes)
    }

    /// A client connects to a server and says this.
    pub(super) fn come(
        &mut self,
        server: usize,
        mut client: Client,
        bytes: &[u8],
    ) -> Result<(), Violation> {
        self.event_log.counts.commands += client.waits_for() as u64;
        let (number, finished) = (self.clients.len(), client.half_closes);
        let is_refused = self.refuses_clients(server);
        let seat = &self.seats[server];
        for report in client.reports() {
            self.said.push(report.clone());
            self.invariants.said(server, report);
            if !is_refused {
                self.event_log.tell(self.now, &seat.name, || format!("a client says {report}"));
            }
        }
        client.is_cut = is_refused;
        client.stamped = self.invariants.stamped(server);
        self.clients.push(client);
        if is_refused {
            return Ok(());
        }
        let party = Party::Server { server, run: self.seats[server].run };
        let at = self.lay(party, Party::Client(number), false);
        self.tell(server, |body| body.accept(at.conn(ConnKind::Client)))?;
        self.put(at, bytes);
        self.wires[at.wire].ends[at.end].finished = finished;
        Ok(())
    }

    /// A client reads answers.
    pub(super) fn answer(&mut self, client: usize, at: At, piece: &[u8]) -> Result<(), Violation> {
        let lines = self.clients[client].hear(piece)?;
        let Party::Server { server, run } = self.wires[at.wire].ends[1 - at.end].party else {
            return Ok(());
        };
        for line in lines {
            let living = self.seats.iter().filter_map(|seat| seat.body.as_ref());
            let seat = &self.seats[server];
            let body = seat.body.as_ref().filter(|_| seat.run == run);
            let stamped = &mut self.clients[client].stamped;
            self.invariants.acknowledge(line, body.map(|body| (server, body)), stamped, living)?;
        }
        Ok(())
    }

    /// A dial has reached its peer, or has not.
    pub(super) fn dialed(&mut self, server: usize, peer: PeerId) -> Result<(), Violation> {
        if self.engine.is_some() {
            return self.dialed_node(server, peer);
        }
        let (far, _) = self.seats[server].peers[usize::from(peer.0)];
        let refuses = self.scenario.faults.has(Fault::Refusal) && self.now < self.scenario.peace;
        let is_unlucky = refuses && self.random.u32(0..3) == 0;
        let barred = self.barred.get(&(server.min(far), server.max(far)));
        let is_barred = barred.is_some_and(|&until| self.now < until);
        let is_out = self.seats[far].body.is_none() || self.seats[far].is_leaving;
        if is_out || is_unlucky || is_barred {
            return self.tell(server, |body| body.dial_failed(peer));
        }
        if self.has_impostor() {
            return self.dial_a_stranger(server, peer);
        }
        let [one, other] =
            [server, far].map(|server| Party::Server { server, run: self.seats[server].run });
        let slow = self.scenario.draws_slow_link(&mut self.random);
        let at = self.lay(one, other, slow);
        self.tell(far, |body| body.accept(at.far().conn(ConnKind::Peer)))?;
        self.tell(server, |body| body.connected(peer, at.conn(ConnKind::Peer)))
    }

    /// This end notices that its wire is dead.
    pub(super) fn lose(&mut self, at: At) -> Result<(), Violation> {
        let end = &mut self.wires[at.wire].ends[at.end];
        if !std::mem::replace(&mut end.alive, false) {
            return Ok(());
        }
        let party = end.party;
        self.note("lost", (at.wire, at.end), b"");
        match party {
            Party::Server { server, .. } => {
                let conn = self.conn(at);
                self.tell(server, |body| body.lose(conn))
            }
            Party::Client(client) => {
                self.clients[client].is_cut = true;
                Ok(())
            }
            Party::Node(node) => {
                self.node_forgets(node, at.wire);
                Ok(())
            }
            Party::Stranger => Ok(()),
        }
    }

    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        let kinds: Vec<Fault> = self.scenario.faults.and(Faults::EVENTS).list().collect();
        let kind = kinds[self.random.usize(0..kinds.len())];
        self.note("fault", (kind as usize, 0), b"");
        let server = self.random.usize(0..self.seats.len());
        match kind {
            Fault::Crash | Fault::Power => self.die(server, kind),
            Fault::Leave => self.leave(server),
            Fault::Clock => {
                let by = self.random.i64(-CLOCK_STEP_MS_MAX..=CLOCK_STEP_MS_MAX);
                self.row(server, || format!("clock set by {by} ms"));
                self.tell(server, |body| body.step_clock(by))
            }
            Fault::Reload => self.reload(server),
            kind if World::is_of_engine(kind) => {
                self.break_engine(kind);
                Ok(())
            }
            Fault::Replay => self.replay(),
            Fault::Forge => self.forge(),
            _ => {
                self.break_link(kind);
                Ok(())
            }
        }
    }

    /// Something happens to a link that works, or now and then to a client's connection.
    fn break_link(&mut self, kind: Fault) {
        let wants_link = self.random.u32(0..4) > 0;
        let fits = |wire: &Wire| wire.is_whole() && wire.is_link() == wants_link;
        let whole: Vec<usize> =
            (0..self.wires.len()).filter(|&wire| fits(&self.wires[wire])).collect();
        let Some(&wire) = whole.get(self.random.usize(0..whole.len().max(1))) else { return };
        self.event_log.counts.link_faults += 1;
        let what = match kind {
            Fault::Stall => {
                let lasts = self.up_to(self.scenario.stall_max());
                let until = (self.now + lasts).min(self.scenario.peace);
                self.wires[wire].stalled_until = until;
                format!("stalls until {:.3}", until.as_secs_f64())
            }
            Fault::Deaf if wants_link => {
                let end = self.random.usize(0..2);
                self.wires[wire].ends[end].deaf = true;
                "carries nothing one way".to_owned()
            }
            Fault::Silence | Fault::Deaf => {
                self.cut(wire);
                "falls silent".to_owned()
            }
            Fault::Meddle if wants_link => {
                self.wires[wire].meddler = Some(self.random.usize(0..2));
                "has somebody in the middle".to_owned()
            }
            _ => {
                self.reset(wire);
                "is reset".to_owned()
            }
        };
        let [one, other] = [0, 1].map(|end| self.wires[wire].ends[end].party);
        if let Party::Server { server, .. } = one {
            let far = match other {
                Party::Server { server, .. } => self.seats[server].name.clone(),
                Party::Node(node) => format!("node {node}"),
                _ => "a client".to_owned(),
            };
            self.row(server, || format!("link with {far} {what}"));
        }
    }

    /// Both ends notice; the two cannot reach each other for a while.
    pub(super) fn reset(&mut self, wire: usize) {
        for end in 0..2 {
            let after = self.latency(false);
            self.plan(after, Event::Lost(At { wire, end }));
        }
        let [one, other] = [0, 1].map(|end| self.wires[wire].ends[end].party);
        if let (Party::Server { server: one, .. }, Party::Server { server: other, .. }) =
            (one, other)
        {
            let absence = if self.random.bool() { Duration::ZERO } else { ABSENCE_MAX };
            let until = (self.now + self.up_to(absence)).min(self.scenario.peace);
            self.barred.insert((one.min(other), one.max(other)), until);
        }
    }

    /// From now on the wire carries nothing. A peer finds out by itself or from the silence;
    /// clients have only the first.
    fn cut(&mut self, wire: usize) {
        let is_link = self.wires[wire].is_link();
        for end in 0..2 {
            let at = At { wire, end };
            self.wires[wire].ends[end].deaf = true;
            if !is_link || self.random.bool() {
                let after = self.up_to(LOSS_NOTICED_MAX);
                self.plan(after, Event::Lost(at));
            }
        }
        for end in 0..2 {
            if let Party::Client(client) = self.wires[wire].ends[end].party {
                self.clients[client].is_cut = true;
            }
        }
    }

    /// A server's process is killed, or its machine loses power.
    pub(super) fn die(&mut self, server: usize, how: Fault) -> Result<(), Violation> {
        if self.seats[server].body.is_none() {
            return Ok(());
        }
        self.event_log.counts.crashes += 1;
        self.row(server, || match how {
            Fault::Power => "loses power".to_owned(),
            _ => "is killed".to_owned(),
        });
        self.end_life(server, how)
    }

    /// A server takes no more commands, and leaves.
    pub(super) fn dismiss(&mut self, server: usize) -> Result<(), Violation> {
        let seat = &mut self.seats[server];
        seat.is_leaving = true;
        let run = seat.run;
        self.row(server, || "leaves".to_owned());
        self.plan(FAREWELL_EVERY, Event::Farewell { server, run });
        self.tell(server, Host::dismiss_clients)
    }

    /// Peers are told good-bye when no client is left, as the loop does: a client may have said
    /// something that the disk keeps waiting.
    pub(super) fn farewell(&mut self, server: usize, run: u32) -> Result<(), Violation> {
        if self.seats[server].body.as_ref().is_some_and(Host::has_clients) {
            self.plan(FAREWELL_EVERY, Event::Farewell { server, run });
            return Ok(());
        }
        self.plan(LEAVING_MAX, Event::Gone { server, run });
        self.tell(server, Host::leave)
    }

    pub(super) fn be_gone(&mut self, server: usize) -> Result<(), Violation> {
        self.tell(server, Host::lose_all)?;
        self.tell(server, Host::outlive_timers)?;
        let seat = &self.seats[server];
        if let Some(body) = &seat.body {
            body.has_left(seat.peers.len())?;
        }
        self.row(server, || "has left".to_owned());
        self.end_life(server, Fault::Leave)
    }

    /// The far ends of a process that ends learn of it; those of a machine without power do not.
    fn end_life(&mut self, server: usize, how: Fault) -> Result<(), Violation> {
        let run = self.seats[server].run;
        let Some(mut body) = self.seats[server].body.take() else { return Ok(()) };
        if how == Fault::Leave {
            body.close_journal();
        }
        // A machine may be switched off when its server has left.
        let is_cut =
            how == Fault::Power || self.scenario.durability.is_some() && self.random.u32(0..4) == 0;
        if is_cut {
            self.seats[server].disk.cut();
        }
        let is_handed_over = how == Fault::Leave
            && self.scenario.repairs
            && !self.seats[server].has_lost_heirs
            && body.server.hand_over().kept_by > 0;
        // The peer that keeps the reports of one that leaves may be the one that is gone now.
        for seat in &mut self.seats {
            seat.has_lost_heirs |= seat.is_leaving;
        }
        let living = self.seats.iter().filter_map(|seat| seat.body.as_ref());
        let names = &self.scenario.graph.names;
        self.invariants.bury((server, &body, is_cut), living, names, is_handed_over)?;
        for wire in 0..self.wires.len() {
            let ends = &self.wires[wire].ends;
            let me = Party::Server { server, run };
            let Some(end) = ends.iter().position(|end| end.party == me && end.alive) else {
                continue;
            };
            let far = At { wire, end }.far();
            if let Party::Client(client) = ends[far.end].party {
                self.clients[client].cut();
            }
            self.wires[wire].ends[end].alive = false;
            match how {
                Fault::Power => self.cut(wire),
                _ => {
                    self.wires[wire].ends[far.end].finished = true;
                    self.plan_delivery(far);
                }
            }
        }
        let after = self.up_to(ABSENCE_MAX);
        self.plan(after, Event::Start { server });
        Ok(())
    }

    pub(super) fn lay(&mut self, one: Party, other: Party, slow: bool) -> At {
        self.wires.push(Wire::between(one, other, slow));
        At { wire: self.wires.len() - 1, end: 0 }
    }

    pub(super) fn row(&mut self, server: usize, what: impl FnOnce() -> String) {
        self.event_log.tell(self.now, &self.seats[server].name, what);
    }
}
