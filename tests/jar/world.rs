//! The jar: a herd of minds, fake wires between them, and a clock that jumps from one event to
//! the next. Apart from `watch`, which says what must be true of it.
//!
//! ```text
//!   agenda: (time, number) → event        the only order there is; time stands still in between
//!
//!   event ──▶ a body is told ──▶ settle: its acts are done, what it owes goes into the wires,
//!                                its next deadline and every delivery go onto the agenda
//! ```
//!
//! Everything random is drawn from one generator in the order of events, so a seed is a life of
//! the herd that can be lived again.

mod fate;

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use herd::core::border::Note;
use herd::core::names::{ConnId, Door, PeerId, Ticket};

use super::body::{Act, Body};
use super::chance::{Chance, MS};
use super::talker::Talker;
use super::watch::{Tellings, Trace, agree, is_at_rest, is_faithful, lines_of};
use super::wire::{At, Party, Wire};

/// Clients come and things break until then; afterwards the herd is left in peace.
const PEACE: Duration = Duration::from_secs(8);
/// Silence is noticed within three seconds, twice if a dial went into it; a redial and a
/// catch-up through small pipes need the rest.
const END: Duration = Duration::from_secs(40);
pub struct Jar {
    chance: Chance,
    random: Rng,
    now: Duration,
    agenda: BTreeMap<(Duration, u64), Event>,
    events: u64,
    servers: Vec<Seat>,
    wires: Vec<Wire>,
    talkers: Vec<Talker>,
    /// Servers that came back empty.
    restarts: usize,
    pub trace: Trace,
    pub tellings: Tellings,
}

/// A server's place in the graph, whoever lives there now.
struct Seat {
    name: &'static str,
    /// Seats of its peers, in the order of their `PeerId`s, and whether we dial.
    peers: Vec<(usize, bool)>,
    life: u32,
    body: Option<Body>,
    /// The deadline that is on the agenda.
    deadline: Option<Duration>,
}

enum Event {
    Deliver(At),
    Dialed {
        server: usize,
        life: u32,
        peer: PeerId,
    },
    Timers {
        server: usize,
        life: u32,
    },
    Answer {
        server: usize,
        life: u32,
        ticket: Ticket,
        body: String,
    },
    /// This end notices that the wire is dead.
    Lost(At),
    Talk {
        server: usize,
    },
    Fault,
    Birth {
        server: usize,
    },
}

impl Jar {
    pub fn new(seed: u64) -> Jar {
        Jar::with(Chance::of_seed(seed), seed)
    }

    pub fn with(chance: Chance, seed: u64) -> Jar {
        let names = chance.preset.servers;
        let seat = |name: &str| names.iter().position(|&other| other == name).unwrap();
        let peers_of = |name: &str| {
            let far_end = |&(dials, accepts): &(&str, &str)| match name {
                _ if name == dials => Some((seat(accepts), true)),
                _ if name == accepts => Some((seat(dials), false)),
                _ => None,
            };
            chance.preset.links.iter().filter_map(far_end).collect()
        };
        let vacant =
            |&name| Seat { name, peers: peers_of(name), life: 0, body: None, deadline: None };
        let mut jar = Jar {
            servers: names.iter().map(vacant).collect(),
            random: Rng::with_seed(!seed),
            chance,
            now: Duration::ZERO,
            agenda: BTreeMap::new(),
            events: 0,
            wires: Vec::new(),
            talkers: Vec::new(),
            restarts: 0,
            trace: Trace::default(),
            tellings: Tellings::default(),
        };
        for server in 0..names.len() {
            let after = jar.up_to(300 * MS);
            jar.plan(after, Event::Birth { server });
        }
        for _ in 0..jar.chance.talkers {
            let first = jar.chance.first_talk;
            let (after, server) = (jar.up_to(PEACE - first), jar.random.usize(0..names.len()));
            jar.plan(first + after, Event::Talk { server });
        }
        for _ in 0..jar.chance.faults {
            let after = jar.up_to(PEACE);
            jar.plan(after, Event::Fault);
        }
        jar
    }

    /// Lets the herd live, and checks what must be true at its end.
    pub fn live(&mut self) {
        while let Some(((now, _), event)) = self.agenda.pop_first() {
            if now > END {
                break;
            }
            self.now = now;
            self.happen(event);
        }
        self.check();
    }

    fn check(&self) {
        let bodies: Vec<_> = self.servers.iter().map(|seat| (seat, seat.body.as_ref())).collect();
        let mut stores = Vec::new();
        for (seat, body) in bodies {
            let body = body.expect("everybody has come back");
            is_at_rest(seat.name, &body.server, seat.peers.len());
            stores.push(lines_of(body.server.store()));
        }
        for (seat, lines) in self.servers.iter().zip(&stores) {
            agree((seat.name, lines), (self.servers[0].name, &stores[0]));
        }
        is_faithful(&stores[0], &self.talkers, self.restarts == 0);
        for talker in self.talkers.iter().filter(|talker| !talker.is_cut) {
            assert!(talker.is_content(), "somebody was not answered");
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(at) => self.deliver(at),
            Event::Dialed { server, life, peer } if self.lives(server, life) => {
                self.dialed(server, peer);
            }
            Event::Timers { server, life } if self.lives(server, life) => {
                self.servers[server].deadline = None;
                self.tell(server, Body::expire);
            }
            Event::Answer { server, life, ticket, body } if self.lives(server, life) => {
                self.note("answer", (server, 0), body.as_bytes());
                self.tell(server, |told| told.answer(ticket, body.as_bytes()));
            }
            Event::Lost(at) => self.lose(at),
            Event::Talk { server } => self.talk(server),
            Event::Fault => self.fault(),
            Event::Birth { server } => self.be_born(server),
            // Meant for somebody who has died.
            Event::Dialed { .. } | Event::Timers { .. } | Event::Answer { .. } => {}
        }
    }

    fn deliver(&mut self, at: At) {
        let wire = &mut self.wires[at.wire];
        let end = &mut wire.ends[at.end];
        end.due = false;
        if wire.cut || !end.alive {
            return;
        }
        let count = match self.random.u32(0..4) {
            0 => end.incoming.len().min(1),
            1 => self.random.usize(0..=end.incoming.len()),
            _ => end.incoming.len(),
        };
        let rest = end.incoming.split_off(count);
        let piece = std::mem::replace(&mut end.incoming, rest);
        let is_end = end.incoming.is_empty() && end.finished;
        let party = end.party;
        self.note("deliver", (at.wire, at.end), &piece);
        match party {
            Party::Server { server, .. } => {
                let conn = self.conn(at);
                self.tell(server, |body| body.arrive(conn, &piece));
                if is_end {
                    self.tell(server, |body| body.end(conn));
                }
            }
            Party::Talker(talker) => self.talkers[talker].hear(&piece),
        }
        if !is_end {
            self.plan_delivery(at);
        }
        // There is room again for whoever writes into this pipe.
        if let Party::Server { server, .. } = self.wires[at.wire].ends[1 - at.end].party {
            self.settle(server);
        }
    }

    fn lose(&mut self, at: At) {
        let end = &mut self.wires[at.wire].ends[at.end];
        if !std::mem::replace(&mut end.alive, false) {
            return;
        }
        let party = end.party;
        self.note("lost", (at.wire, at.end), b"");
        match party {
            Party::Server { server, .. } => {
                let conn = self.conn(at);
                self.tell(server, |body| body.lose(conn));
            }
            Party::Talker(talker) => self.talkers[talker].is_cut = true,
        }
    }

    fn tell(&mut self, server: usize, what: impl FnOnce(&mut Body)) {
        if let Some(body) = &mut self.servers[server].body {
            body.set_time(self.now);
            what(body);
        }
        self.settle(server);
    }

    /// Does what a body wants of the world, until it wants nothing more.
    ///
    /// Bound: what it wants anew comes of lines that it has read, and those come to an end.
    fn settle(&mut self, server: usize) {
        loop {
            let Some(body) = &mut self.servers[server].body else { return };
            body.set_time(self.now);
            let acts = body.take_acts();
            let owing = body.owing();
            let mut is_settled = acts.is_empty();
            for act in acts {
                self.act(server, act);
            }
            for conn in owing {
                is_settled &= !self.flush(server, conn);
            }
            if is_settled {
                break;
            }
        }
        self.plan_deadline(server);
    }

    fn act(&mut self, server: usize, act: Act) {
        let life = self.servers[server].life;
        match act {
            Act::Dial { peer } => {
                let after = self.latency();
                self.plan(after, Event::Dialed { server, life, peer });
            }
            Act::Ask { ticket, question } => {
                let one_in = self.chance.late_one_in;
                let is_late = one_in > 0 && self.random.u32(0..one_in) == 0;
                let after = self.up_to(if is_late { 5_000 * MS } else { 300 * MS });
                let body = format!("{{\"radius\":{},\"results\":[]}}", question.radius_km);
                if !is_late || self.random.bool() {
                    self.plan(after, Event::Answer { server, life, ticket, body });
                }
            }
            Act::Finish { conn } => {
                let far = At::of(conn).far();
                self.wires[far.wire].ends[far.end].finished = true;
                self.plan_delivery(far);
            }
            Act::Reset { conn } => {
                assert_eq!(conn.door(), Door::Peer, "{conn} gave no reason to be hung up on");
                let at = At::of(conn);
                self.wires[at.wire].ends[at.end].alive = false;
                let after = self.latency();
                self.plan(after, Event::Lost(at.far()));
            }
            Act::Noted(note) => self.note_of(server, note),
        }
    }

    fn note_of(&mut self, server: usize, note: Note) {
        let is_refusal = matches!(note, Note::Refused { why, .. } if why != "no greeting in time");
        assert!(!is_refusal, "honest servers were refused: {note:?}");
        self.note("note", (server, 0), format!("{note:?}").as_bytes());
    }

    /// Says whether any bytes could be sent.
    fn flush(&mut self, server: usize, conn: ConnId) -> bool {
        let at = At::of(conn);
        let far = at.far();
        let on_its_way = self.wires[far.wire].ends[far.end].incoming.len();
        let room = self.chance.pipe_bytes.saturating_sub(on_its_way);
        let Some(body) = self.servers[server].body.as_mut().filter(|_| room > 0) else {
            return false;
        };
        let sent = body.flush(conn, room);
        if self.wires[at.wire].is_link() {
            self.tellings.sent(at, &sent);
        }
        self.put(far, &sent);
        !sent.is_empty()
    }

    fn put(&mut self, at: At, bytes: &[u8]) {
        self.wires[at.wire].ends[at.end].incoming.extend_from_slice(bytes);
        self.plan_delivery(at);
    }

    fn plan_delivery(&mut self, at: At) {
        let end = &mut self.wires[at.wire].ends[at.end];
        let has_work = !end.incoming.is_empty() || end.finished;
        if has_work && !std::mem::replace(&mut end.due, true) {
            let after = self.latency();
            self.plan(after, Event::Deliver(at));
        }
    }

    fn plan_deadline(&mut self, server: usize) {
        let seat = &mut self.servers[server];
        let Some(next) = seat.body.as_ref().and_then(Body::next_deadline) else { return };
        if seat.deadline.is_none_or(|planned| next < planned) {
            seat.deadline = Some(next);
            let life = seat.life;
            self.plan(next.saturating_sub(self.now), Event::Timers { server, life });
        }
    }

    fn plan(&mut self, after: Duration, event: Event) {
        self.events += 1;
        self.agenda.insert((self.now + after, self.events), event);
    }

    fn conn(&self, at: At) -> ConnId {
        at.conn(if self.wires[at.wire].is_link() { Door::Peer } else { Door::Client })
    }

    fn lives(&self, server: usize, life: u32) -> bool {
        self.servers[server].life == life && self.servers[server].body.is_some()
    }

    fn latency(&mut self) -> Duration {
        self.up_to(self.chance.latency_max)
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.random.u64(0..=longest.as_micros() as u64))
    }

    fn note(&mut self, what: &str, at: (usize, usize), bytes: &[u8]) {
        self.trace.note(self.now.as_nanos(), what, at, bytes);
    }
}
