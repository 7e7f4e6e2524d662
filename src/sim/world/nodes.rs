//! An engine in the world: servers dial its nodes, nodes tell each other, and both have their
//! accidents. A herd that has links knows none of this.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Event, MS, Seat, World};
use crate::engine::{INFO, OWED_MAX, PAYLOAD_MAX, Published, QUEUE_MAX, Wish};
use crate::faults::{Fault, Faults};
use crate::host::Host;
use crate::invariants::{Invariant, Violation};
use crate::wire::{At, Party};
use herd_core::engine::{EngineSettings, EngineState, Region};
use herd_core::names::{ConnKind, PeerId};

/// How long a node may be away, routes be cut, and publishing be denied.
const TROUBLE_MAX: Duration = Duration::from_millis(2_500);
/// A report that no client has made.
const FORGED: &str = "+0.000000000 forged +1.5-1.5 3000";

impl World {
    /// What a server learns about the engine, if this herd has one.
    pub(super) fn engine_settings(&self, server: usize) -> Option<EngineSettings> {
        self.engine.as_ref()?;
        let region = |server| self.scenario.region(server);
        let seats = self.seats.iter().enumerate().filter(|(seat, _)| *seat != server);
        let (near, far) = seats.partition::<Vec<_>, _>(|(seat, _)| region(*seat) == region(server));
        let names = |seats: Vec<(usize, &Seat)>| {
            let names = seats.iter().map(|(_, seat)| seat.name.as_bytes().to_vec());
            names.collect::<Vec<_>>()
        };
        let name = |region: &str| region.as_bytes().to_vec();
        let other = far.first().and_then(|(seat, _)| region(*seat));
        let other = other.map(|other| Region { name: name(other), servers: names(far) });
        // A question about a long name has room even while servers compare: no configuration
        // allows less than eight times as much.
        let least = if self.scenario.asks_others() { 8 * 1024 } else { 4 * 1024 };
        Some(EngineSettings {
            batch_bytes_max: 512,
            owed_max: self.scenario.peer_owed_max.clamp(least, OWED_MAX),
            parts: self.parts.clone(),
            region: region(server).map(name),
            regions: other.into_iter().collect(),
            tell_every: self.scenario.division.tell_every.unwrap_or_default(),
            ..EngineSettings::new(names(near))
        })
    }

    /// A dial has reached a node, or has not.
    pub(super) fn dialed_node(&mut self, server: usize, peer: PeerId) -> Result<(), Violation> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let node = self.random.usize(0..engine.nodes.len());
        let refuses = self.scenario.faults.has(Fault::Refusal) && self.now < self.scenario.peace;
        let is_unlucky = refuses && self.random.u32(0..3) == 0;
        if engine.is_away(node, self.now) || is_unlucky {
            return self.tell(server, |body| body.dial_failed(peer));
        }
        let run = self.seats[server].run;
        let slow = self.scenario.draws_slow_link(&mut self.random);
        let at = self.lay(Party::Server { server, run }, Party::Node(node), slow);
        if let Some(engine) = &mut self.engine {
            engine.accept(node, at.wire);
        }
        self.tell(server, |body| body.connected(peer, at.conn(ConnKind::Engine)))?;
        self.put(at, INFO);
        Ok(())
    }

    /// Bytes of a server have come to a node.
    ///
    /// # Errors
    /// I9, I21.
    pub(super) fn node_hears(
        &mut self,
        node: usize,
        at: At,
        piece: &[u8],
    ) -> Result<(), Violation> {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let wishes = engine.hear((node, at.wire), piece, self.now);
        if let Party::Server { server, .. } = self.wires[at.wire].ends[1 - at.end].party {
            let name = self.seats[server].name.as_bytes();
            let any = self.seats.iter().find_map(|seat| seat.body.as_ref());
            for wish in &wishes {
                if let Wish::Route(published) = wish {
                    look_at_batch((name, any), published, &mut engine.told)?;
                }
            }
        }
        self.grant(node, wishes);
        Ok(())
    }

    fn grant(&mut self, node: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match wish {
                Wish::Send { wire, bytes } => self.send_to(node, wire, &bytes),
                Wish::Route(published) => self.route(node, &published),
                Wish::RouteTo { to, published } => self.route_to(node, to, &published),
                Wish::Close { wire } => self.cut_off(node, wire),
            }
        }
    }

    /// Who does not read is cut off.
    fn send_to(&mut self, node: usize, wire: usize, bytes: &[u8]) {
        let at = At { wire, end: 0 };
        let is_slow = self.wires[wire].ends[0].incoming.len() + bytes.len() > QUEUE_MAX;
        if is_slow {
            return self.cut_off(node, wire);
        }
        self.put(at, bytes);
    }

    /// A client of a node has hung up, or its process is gone: it wants nothing any more.
    pub(super) fn node_forgets(&mut self, node: usize, wire: usize) {
        if let Some(engine) = &mut self.engine {
            engine.forget(node, wire);
        }
    }

    fn cut_off(&mut self, node: usize, wire: usize) {
        self.node_forgets(node, wire);
        self.wires[wire].ends[0].incoming.clear();
        self.reset(wire);
    }

    fn route(&mut self, from: usize, published: &Published) {
        let nodes = self.engine.as_ref().map_or(0, |engine| engine.nodes.len());
        (0..nodes).filter(|to| *to != from).for_each(|to| self.route_to(from, to, published));
    }

    fn route_to(&mut self, from: usize, to: usize, published: &Published) {
        let after = self.latency(false);
        let now = self.now;
        let Some(engine) = &mut self.engine else { return };
        let pair = (from.min(to), from.max(to));
        let is_cut = engine.cut_until.get(&pair).is_some_and(|until| now < *until);
        if is_cut || engine.is_away(to, now) {
            return;
        }
        let last = engine.last_due.entry((from, to)).or_default();
        *last = (now + after).max(*last);
        let after = *last - now;
        self.plan(after, Event::Routed { to, published: published.clone(), at: now });
    }

    /// What was published at another node has come to this one.
    pub(super) fn routed(&mut self, to: usize, published: &Published, at: Duration) {
        let Some(engine) = self.engine.as_mut().filter(|it| !it.is_away(to, self.now)) else {
            return;
        };
        let wishes = match published.is_for_one {
            true => engine.deliver_chosen(to, published).into_iter().collect(),
            false => engine.deliver(to, None, published, Some(at)),
        };
        self.grant(to, wishes);
    }

    /// Something happens to the engine.
    pub(super) fn break_engine(&mut self, kind: Fault) {
        let until = (self.now + self.up_to(TROUBLE_MAX)).min(self.scenario.peace);
        let now = self.now;
        let Some(engine) = &mut self.engine else { return };
        let nodes = engine.nodes.len();
        let node = self.random.usize(0..nodes);
        match kind {
            Fault::NodeCrash | Fault::EngineAway => {
                let one = node..node + 1;
                for node in if kind == Fault::NodeCrash { one } else { 0..nodes } {
                    let Some(engine) = &mut self.engine else { return };
                    engine.nodes[node].away_until = until;
                    for wire in engine.clients(node) {
                        self.cut_off(node, wire);
                    }
                }
            }
            Fault::RouteCut => {
                let other = self.random.usize(0..nodes);
                engine.cut_until.insert((node.min(other), node.max(other)), until);
            }
            Fault::Denied => engine.nodes[node].denies_until = until.min(now + 500 * MS),
            Fault::LameDuck => {
                for wire in engine.clients(node) {
                    self.send_to(node, wire, b"INFO {\"ldm\":true}\r\n");
                }
            }
            Fault::SlowConsumer => {
                if let Some(wire) = self.random.choice(engine.clients(node)) {
                    self.cut_off(node, wire);
                }
            }
            _ => self.tenant(node),
        }
        self.event_log.counts.link_faults += 1;
        self.event_log.tell(now, "", || format!("the engine: {kind:?} at node {node}"));
    }

    /// Another client of the engine says again what a server has said, or something else instead.
    fn tenant(&mut self, node: usize) {
        let random = &mut self.random;
        let Some(engine) = &self.engine else { return };
        let Some(mut published) = random.choice(&engine.tape).cloned() else { return };
        let subjects = Vec::from_iter(engine.tape.iter().map(|it| it.subject.clone()));
        match random.u32(0..4) {
            0 => {}
            1 => published.subject = random.choice(subjects).unwrap_or_default(),
            2 => {
                let line = format!("AT {} {FORGED}\n", self.seats[0].name);
                published.payload.extend_from_slice(line.as_bytes());
            }
            _ => {
                let number = random.u64(1..1_000);
                let name = &self.seats[random.usize(0..self.seats.len())].name;
                let text = format!(
                    "{name} 0102030405060708 {number} 0000000000000000 - -\nAT {name} {FORGED}\n"
                );
                published.payload = text.into_bytes();
            }
        }
        let wishes = engine.deliver(node, None, &published, None);
        self.grant(node, wishes);
        self.route(node, &published);
    }

    /// A server is joined with the engine, and knows that it has caught up.
    ///
    /// # Errors
    /// I4.
    pub(super) fn is_on_engine(&self, server: usize) -> Result<(), Violation> {
        let seat = &self.seats[server];
        let Some(view) = seat.body.as_ref().and_then(|body| body.server.engine()) else {
            return Ok(());
        };
        let healed = |is_so: bool, what: &str| {
            Invariant::Agreement.demand(is_so, || format!("{} {what} for too long", seat.name))
        };
        healed(view.state == EngineState::Up, "was not on the engine")?;
        healed(view.leaves_missed == 0, "had not said all")
    }

    /// What each server has heard first, a node has read from it. Where nothing goes wrong, each
    /// report is published once and comes once to each other server.
    ///
    /// # Errors
    /// I7, I21.
    pub(super) fn judge_engine(&self) -> Result<(), Violation> {
        let Some(engine) = &self.engine else { return Ok(()) };
        for seat in &self.seats {
            // What it has heard in an earlier life, others find out by comparing.
            let body = seat.body.as_ref().filter(|_| seat.run == 1);
            body.map_or(Ok(()), |body| has_told_all(&seat.name, body, &engine.told))?;
        }
        let moves = self.scenario.division.moves.is_some();
        if !self.scenario.faults.is_empty() || !self.scenario.is_counted || moves {
            return Ok(());
        }
        let (mut first, mut said, mut heard) = (0, 0, 0);
        for body in self.seats.iter().filter_map(|seat| seat.body.as_ref()) {
            let counters = body.server.counters();
            first += counters.news - counters.peer_news;
            let engine = body.server.engine().map(|engine| engine.counters).unwrap_or_default();
            (said, heard) = (said + engine.lines_out, heard + engine.lines_in);
        }
        let must: usize = engine.told.iter().map(|line| self.holders_but_the_first(line)).sum();
        Invariant::Cost.demand(said == first && heard == must as u64, || {
            format!("{first} reports were said {said} times and heard {heard} times, not {must}")
        })
    }

    /// Kinds of trouble that only an engine has.
    pub(super) fn is_of_engine(kind: Fault) -> bool {
        Faults::of(&[kind]).and(Faults::OF_ENGINE) != Faults::NONE
    }
}

/// A server has published this, and a node has read it.
///
/// # Errors
/// I9: it is longer than nodes take. I21: it says to all what another server heard first, or to
/// those who hold one part what is of another.
fn look_at_batch(
    (name, any): (&[u8], Option<&Host>),
    Published { subject, payload, .. }: &Published,
    told: &mut BTreeSet<Vec<u8>>,
) -> Result<(), Violation> {
    let bytes = payload.len();
    Invariant::Bounds.demand(bytes <= PAYLOAD_MAX, || format!("a batch of {bytes} bytes"))?;
    let subject = String::from_utf8_lossy(subject);
    let Some((_, part)) = subject.rsplit_once(".r.").or(subject.rsplit_once(".x.")) else {
        return Ok(());
    };
    let is_for_all = subject.contains(".r.");
    for line in payload.split_inclusive(|&byte| byte == b'\n') {
        let Some(report) = line.strip_prefix(b"AT ") else { continue };
        let is_own = report.strip_prefix(name).is_some_and(|rest| rest.starts_with(b" "));
        Invariant::Told.demand(is_own, || {
            format!("{} says to all: {}", name.escape_ascii(), line.escape_ascii())
        })?;
        let client = crate::client::report(&String::from_utf8_lossy(line)).client.to_vec();
        let is_there = any.is_none_or(|any| any.server.part_of(&client).to_string() == part);
        Invariant::Told.demand(is_there, || {
            format!("{} says to part {part}: {}", name.escape_ascii(), line.escape_ascii())
        })?;
        if is_for_all {
            told.insert(line.to_vec());
        }
    }
    Ok(())
}

/// # Errors
/// I21.
fn has_told_all(name: &str, body: &Host, told: &BTreeSet<Vec<u8>>) -> Result<(), Violation> {
    let store = body.server.store();
    for report in store.reports().filter(|report| *report.server == *name.as_bytes()) {
        let mut line = Vec::new();
        report.write_line(&mut line);
        Invariant::Told.demand(told.contains(&line), || {
            format!("{name} has not told the engine: {}", line.escape_ascii())
        })?;
    }
    Ok(())
}
