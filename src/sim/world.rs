//! The world of a simulated herd: hosts, fake wires between them, and a clock that jumps from one
//! event to the next. `invariants` says what must be true of it.
//!
//! ```text
//!   agenda: (time, number) → event        the only order there is; time stands still in between
//!
//!   event ──▶ a host's input ──▶ settle: its acts are done, its outbox goes into the wires,
//!                                its next deadline and every delivery go onto the agenda
//! ```
//!
//! Everything random is drawn from one generator in the order of events, so a seed is a run of the
//! herd that can be repeated. What happens to it is in `inject`, and how it ends in
//! `quiescence`.

mod acts;
mod adversary;
mod asking;
mod disks;
mod erasing;
mod event;
mod inject;
mod lame_duck;
mod nodes;
mod parts;
mod quiescence;
mod reload;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;

use super::agenda::Agenda;
use super::client::{Client, finale};
use super::disk::SimDisk;
use super::engine::Engine;
use super::event_log::{Detail, EventLog};
use super::faults::Fault;
use super::host::Host;
use super::invariants::{Invariant, Invariants, Violation};
use super::propagation::Propagation;
use super::scenario::{MS, Scenario};
use super::settings::ANSWER_TIMEOUT;
use super::wire::{At, Party, Wire};
use asking::AtRest;
use event::Event;
use herd_core::names::ConnId;
use herd_core::parts::Parts;
use lame_duck::LameDuck;

/// Ten servers with so many events are in an endless loop: some hundred times what most runs take.
const EVENTS_MAX: u64 = 1_000_000;
/// How much longer everything takes on a slow link.
const SLOWNESS: u32 = 8;

pub struct World {
    scenario: Scenario,
    random: Rng,
    now: Duration,
    agenda: Agenda<Event>,
    seats: Vec<Seat>,
    wires: Vec<Wire>,
    /// By which servers tell each other, if they have no links.
    engine: Option<Engine>,
    /// Who holds what.
    parts: Parts,
    /// What was asked at rest.
    at_rest: AtRest,
    clients: Vec<Client>,
    /// What clients have reported, the latest last.
    said: Vec<String>,
    /// Pairs of servers that cannot dial each other until then.
    barred: BTreeMap<(usize, usize), Duration>,
    invariants: Invariants,
    pub propagation: Propagation,
    pub event_log: EventLog,
    /// Since when the herd has been at rest, and what it had done by then.
    rest: Option<quiescence::Rest>,
    is_over: bool,
}

/// A server's place in the graph, whichever run of it runs there now.
struct Seat {
    name: String,
    /// Seats of its peers, in the order of their `PeerId`s, and whether we dial.
    peers: Vec<(usize, bool)>,
    run: u32,
    body: Option<Host>,
    /// It lets its clients go one after the other.
    lame_duck: LameDuck,
    /// Its doors are closed.
    is_leaving: bool,
    /// Another server has died since it began to leave.
    has_lost_heirs: bool,
    /// The deadline that is on the agenda.
    deadline: Option<Duration>,
    /// Peers whose links were removed, by their places in `peers`.
    removed: BTreeSet<usize>,
    /// What it keeps its journal on, if it does.
    disk: Rc<SimDisk>,
    /// Whether something of the thread that writes, and of the one that syncs, is on the agenda.
    disk_due: [bool; 2],
}

impl World {
    pub fn new(scenario: Scenario, seed: u64, detail: Detail) -> World {
        let servers = scenario.graph.names.len();
        let disk_faults = scenario.durability.as_ref().map(|durability| durability.faults);
        let seat = |server: usize| Seat {
            name: scenario.graph.names[server].clone(),
            peers: match scenario.nodes {
                0 => scenario.graph.peers_of(server),
                _ => Vec::new(),
            },
            run: 0,
            body: None,
            lame_duck: LameDuck::None,
            is_leaving: false,
            has_lost_heirs: false,
            deadline: None,
            removed: BTreeSet::new(),
            disk: Rc::new(SimDisk::new(disk_faults.unwrap_or_default(), seed + server as u64)),
            disk_due: [false; 2],
        };
        let mut world = World {
            seats: (0..servers).map(seat).collect(),
            random: Rng::with_seed(!seed),
            now: Duration::ZERO,
            agenda: Agenda::new(),
            wires: Vec::new(),
            parts: scenario.parts(),
            at_rest: AtRest::default(),
            engine: (scenario.nodes > 0)
                .then(|| Engine::new(scenario.nodes, scenario.interest_after, seed)),
            clients: Vec::new(),
            said: Vec::new(),
            barred: BTreeMap::new(),
            invariants: Invariants::new(servers),
            propagation: Propagation::default(),
            event_log: EventLog::new(detail),
            rest: None,
            is_over: false,
            scenario,
        };
        world.plan_life();
        world
    }

    /// Plans every event that is not the result of another.
    fn plan_life(&mut self) {
        let servers = self.seats.len();
        for server in 0..servers {
            let after = self.up_to(300 * MS);
            self.plan(after, Event::Start { server });
        }
        let (first, peace) = (self.scenario.first_talk, self.scenario.peace);
        for number in 0..self.scenario.clients {
            let server = self.random.usize(0..servers);
            let (after, report) = if self.scenario.in_turn {
                (20 * MS * number as u32, Some(format!("c{number} +1.5-1.5 {number}.25")))
            } else {
                (self.up_to(peace - first), None)
            };
            self.plan(first + after, Event::Talk { server, report });
        }
        for _ in 0..if self.scenario.finale { self.random.usize(1..4) } else { 0 } {
            for report in finale(&self.scenario, &mut self.random) {
                let (server, early) = (self.random.usize(0..servers), self.up_to(300 * MS));
                self.plan(peace - early, Event::Talk { server, report: Some(report) });
            }
        }
        self.plan_erasures();
        if self.scenario.faults.has(Fault::RouteCut) && self.scenario.compare_every.is_none() {
            for server in 0..servers {
                let report = Some(format!("last{server} +1.5-1.5 3000"));
                self.plan(peace + 500 * MS, Event::Talk { server, report });
            }
        }
        for _ in 0..self.scenario.faults_count {
            let after = self.up_to(peace);
            self.plan(after, Event::Fault);
        }
        if let Some(moves) = self.scenario.division.moves {
            self.plan(moves.at, Event::Move);
        }
        self.plan(peace, Event::Look);
    }

    /// Lets the herd run, and checks what must be true on the way and at its end.
    ///
    /// # Errors
    /// The promise that was broken first.
    pub fn run(&mut self) -> Result<(), Violation> {
        let events_max = EVENTS_MAX * self.seats.len().div_ceil(10) as u64;
        while let Some((now, event)) = self.agenda.next() {
            self.now = now;
            self.event_log.counts.events += 1;
            self.happen(event)?;
            Invariant::Endless.demand(self.event_log.counts.events < events_max, || {
                format!("{events_max} events, and no end")
            })?;
            if self.is_over {
                break;
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Deliver(at) => self.deliver(at),
            Event::Dialed { server, run, peer } if self.is_current(server, run) => {
                self.dialed(server, peer)
            }
            Event::Timers { server, run } if self.is_current(server, run) => {
                self.seats[server].deadline = None;
                self.tell(server, Host::expire)
            }
            Event::Answer { server, run, ticket, body } if self.is_current(server, run) => {
                self.note("answer", (server, 0), body.as_bytes());
                self.tell(server, |told| told.answer(ticket, body.as_bytes()))
            }
            Event::Routed { to, published, at } => {
                self.routed(to, &published, at);
                Ok(())
            }
            Event::Lost(at) => self.lose(at),
            Event::Talk { server, report } => self.talk(server, report),
            Event::Fault => self.fault(),
            Event::Erase { server, client } => self.erase(server, &client),
            Event::Start { server } => self.start(server),
            Event::LameDuck { server, run } if self.is_current(server, run) => {
                self.step_lame_duck(server)
            }
            Event::Farewell { server, run } if self.is_current(server, run) => {
                self.farewell(server, run)
            }
            Event::Gone { server, run } if self.is_current(server, run) => self.be_gone(server),
            Event::Disk { server, run, syncs } if self.is_current(server, run) => {
                self.work_disk(server, syncs)
            }
            Event::Death { server, run, how } if self.is_current(server, run) => {
                self.die(server, how)
            }
            Event::Relink { server, run, peer } if self.is_current(server, run) => {
                self.relink(server, peer)
            }
            Event::Move => self.move_parts(),
            Event::Reread { server } => self.reread(server),
            Event::Look => self.look(),
            // Meant for a server that has died.
            Event::Dialed { .. }
            | Event::Timers { .. }
            | Event::Answer { .. }
            | Event::LameDuck { .. }
            | Event::Farewell { .. }
            | Event::Gone { .. }
            | Event::Relink { .. }
            | Event::Disk { .. }
            | Event::Death { .. } => Ok(()),
        }
    }

    fn deliver(&mut self, at: At) -> Result<(), Violation> {
        let in_pieces = self.scenario.faults.has(Fault::Pieces);
        let wire = &mut self.wires[at.wire];
        let stalled = wire.stalled_until.saturating_sub(self.now);
        let end = &mut wire.ends[at.end];
        end.due = false;
        if end.deaf {
            return Ok(());
        }
        if !end.alive {
            return self.arrive_late(at);
        }
        if stalled > Duration::ZERO {
            end.due = true;
            self.plan(stalled, Event::Deliver(at));
            return Ok(());
        }
        let count = match self.random.u32(0..4) {
            0 if in_pieces => 1,
            1 if in_pieces => self.random.usize(0..=end.incoming.len()),
            _ => end.incoming.len(),
        };
        let piece = end.take(count);
        let is_end = end.incoming.is_empty() && end.finished;
        let party = end.party;
        self.note("deliver", (at.wire, at.end), &piece);
        match party {
            Party::Server { server, .. } => {
                let conn = self.conn(at);
                self.overhear(at, server, &piece);
                self.note_said(at, &piece);
                self.tell(server, |body| body.arrive(conn, &piece))?;
                if is_end {
                    self.tell(server, |body| body.end(conn))?;
                }
            }
            Party::Client(client) => {
                self.answer(client, at, &piece)?;
                if is_end {
                    self.clients[client].ended()?;
                }
                // Some clients close when their server has sent its last byte, and some do not.
                if is_end && self.random.bool() {
                    self.wires[at.wire].ends[1 - at.end].finished = true;
                    self.plan_delivery(at.far());
                }
            }
            Party::Stranger => self.answer_falsely(at, &piece)?,
            Party::Node(node) => {
                self.node_hears(node, at, &piece)?;
                if is_end {
                    self.node_forgets(node, at.wire);
                }
            }
        }
        if !is_end {
            self.plan_delivery(at);
        }
        // There is room again for the writer of this pipe.
        if let Party::Server { server, .. } = self.wires[at.wire].ends[1 - at.end].party {
            self.settle(server)?;
        }
        Ok(())
    }

    /// The connection was closed, and its bytes come all the same: an event of the same turn.
    fn arrive_late(&mut self, at: At) -> Result<(), Violation> {
        let conn = self.conn(at);
        let end = &mut self.wires[at.wire].ends[at.end];
        let piece = std::mem::take(&mut end.incoming);
        let party = end.party;
        match party {
            Party::Server { server, run } if self.is_current(server, run) => {
                self.tell(server, |body| body.arrive(conn, &piece))
            }
            _ => Ok(()),
        }
    }

    /// Bytes on a link are read by `propagation` and by `event_log`.
    fn overhear(&mut self, at: At, server: usize, piece: &[u8]) {
        let is_read = self.scenario.is_counted || self.event_log.wants(Detail::Lines);
        let Party::Server { server: from, .. } = self.wires[at.wire].ends[1 - at.end].party else {
            return;
        };
        if is_read {
            let (now, servers) = (self.now, self.seats.len());
            for line in self.propagation.heard(at, (from, server), (now, servers), piece) {
                let [from, to] = [from, server].map(|server| &self.seats[server].name);
                self.event_log.tell(now, to, || format!("← {from}: {}", line.trim_end()));
            }
        }
    }

    fn tell(&mut self, server: usize, what: impl FnOnce(&mut Host)) -> Result<(), Violation> {
        if let Some(body) = &mut self.seats[server].body {
            body.set_time(self.now);
            what(body);
        }
        self.settle(server)
    }

    /// Does what a host wants of the world, until it wants nothing more.
    ///
    /// Bound: new wishes come only from lines that it has read, and those come to an end.
    fn settle(&mut self, server: usize) -> Result<(), Violation> {
        loop {
            let Some(body) = &mut self.seats[server].body else { return Ok(()) };
            body.set_time(self.now);
            self.keep_news(server);
            let Some(body) = &mut self.seats[server].body else { return Ok(()) };
            let acts = body.take_acts();
            let owing = body.owing();
            let mut is_settled = acts.is_empty();
            for act in acts {
                self.act(server, act)?;
            }
            for conn in owing {
                is_settled &= !self.flush(server, conn);
            }
            if is_settled {
                break;
            }
        }
        self.plan_deadline(server);
        self.plan_disk(server);
        self.look_at_removed(server)?;
        let seat = &mut self.seats[server];
        let Some(body) = &mut seat.body else { return Ok(()) };
        if self.scenario.repairs && !self.scenario.expires_soon() {
            self.invariants.look_at_peers((server, body), seat.peers.len())?;
            self.invariants.look_at_parts(server, body)?;
        }
        self.invariants.look(server, body)
    }

    /// Says whether any bytes could be sent.
    fn flush(&mut self, server: usize, conn: ConnId) -> bool {
        let far = At::of(conn).far();
        let on_its_way = self.wires[far.wire].ends[far.end].incoming.len();
        let room = self.scenario.pipe_bytes.saturating_sub(on_its_way);
        let Some(body) = self.seats[server].body.as_mut().filter(|_| room > 0) else {
            return false;
        };
        let sent = body.flush(conn, room);
        self.put(far, &sent);
        !sent.is_empty()
    }

    fn put(&mut self, at: At, bytes: &[u8]) {
        self.listen(at, bytes);
        let is_cut_short = !self.scenario.repairs && self.wires[at.wire].is_link();
        let changed = if is_cut_short {
            Some(self.wires[at.wire].without_roots(at.end, bytes))
        } else {
            self.meddle_with(at, bytes)
        };
        let arriving = changed.as_deref().unwrap_or(bytes);
        self.wires[at.wire].ends[at.end].incoming.extend_from_slice(arriving);
        self.plan_delivery(at);
    }

    fn plan_delivery(&mut self, at: At) {
        let slow = self.wires[at.wire].slow;
        let end = &mut self.wires[at.wire].ends[at.end];
        let has_work = !end.incoming.is_empty() || end.finished;
        if has_work && !std::mem::replace(&mut end.due, true) {
            let after = self.latency(slow);
            self.plan(after, Event::Deliver(at));
        }
    }

    fn plan_deadline(&mut self, server: usize) {
        let seat = &mut self.seats[server];
        let Some(next) = seat.body.as_ref().and_then(Host::next_deadline) else { return };
        if seat.deadline.is_none_or(|planned| next < planned) {
            seat.deadline = Some(next);
            let run = seat.run;
            self.plan(next.saturating_sub(self.now), Event::Timers { server, run });
        }
    }

    fn plan(&mut self, after: Duration, event: Event) {
        self.agenda.plan(self.now + after, event);
    }

    fn conn(&self, at: At) -> ConnId {
        at.conn(self.wires[at.wire].kind())
    }

    fn is_current(&self, server: usize, run: u32) -> bool {
        self.seats[server].run == run && self.seats[server].body.is_some()
    }

    fn latency(&mut self, slow: bool) -> Duration {
        let (least, most) = self.scenario.latency;
        let after = least + self.up_to(most - least);
        if slow { after * SLOWNESS } else { after }
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.random.u64(0..=longest.as_micros() as u64))
    }

    fn note(&mut self, what: &str, at: (usize, usize), bytes: &[u8]) {
        self.event_log.note(self.now, what, at, bytes);
    }
}
