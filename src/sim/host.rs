//! One server of a simulated herd: the core, its sessions and its driver, all as they ship. The
//! time, the bytes and the losses come from the world, and what a host cannot do alone, it leaves
//! there as an `Act`. What stands in for sockets is in `pipes`.

mod checks;
mod clock;
mod durability;
mod lame_duck;
mod pipes;
mod reload;

use std::collections::VecDeque;
use std::time::Duration;

use super::following::Follower;
use super::invariants::Violation;
use super::journal::Journal;
pub use super::settings::settings;
use clock::Clock;
pub use clock::{EPOCH, NANOS};
use herd_core::border::{Input, Note, Outputs, Timer};
use herd_core::driver::{Deferred, Driver, Sessions};
use herd_core::names::{ConnId, PeerId, Ticket};
use herd_core::session::{BufferPool, CloseReason, DeadlineScan, Moment, Phase, Session};
use herd_core::timer_wheel::TimerWheel;
use herd_core::whatsat::Question;
use herd_core::wire::Report;
use herd_core::{Server, Settings};
pub use pipes::LIMITS;
use pipes::{HIGH_WATER, Pipe, Pipes};

/// What the world must do or know.
#[derive(Clone, Debug)]
pub enum Act {
    Dial {
        peer: PeerId,
    },
    Ask {
        conn: ConnId,
        ticket: Ticket,
        question: Question,
    },
    /// Nothing will follow what was sent on this connection.
    Finish {
        conn: ConnId,
    },
    /// The connection is over at this end.
    Closed {
        conn: ConnId,
        reason: CloseReason,
    },
    Noted(Note),
    /// A link has come up, and this is what was held then.
    Joined {
        peer: PeerId,
        conn: ConnId,
        held: Vec<String>,
    },
    /// Good-bye was said to a peer, and this is what was held then.
    SaidBye {
        conn: ConnId,
        held: Vec<String>,
    },
    /// A peer that has said good-bye was told that all of that is kept.
    SaidKept {
        conn: ConnId,
    },
    /// The core asked for something that no reactor could do.
    Broken(Violation),
}

pub struct Host {
    pub server: Server,
    clock: Clock,
    wheel: TimerWheel<Timer>,
    scan: DeadlineScan,
    out: Outputs,
    deferred: VecDeque<Deferred>,
    is_catching_up: bool,
    pipes: Pipes,
    unfinished: VecDeque<ConnId>,
    buffers: BufferPool,
    peer_owed_max: usize,
    expire_after: Option<Duration>,
    acts: Vec<Act>,
    /// When client reports were received, on its own clock.
    stamps: Vec<i128>,
    timers_fired: u64,
    /// Inputs since the time was last set or lines were last told.
    inputs: usize,
    /// Reports that the server has walked by so far.
    walked: u64,
    peers: usize,
    journal: Option<Journal>,
    told: Vec<(String, u64)>,
    disk_steps: u64,
    /// If somebody follows.
    follower: Option<Box<Follower>>,
}

impl Host {
    pub fn new(settings: Settings, started: Duration, ahead_ms: i64) -> Host {
        Host {
            peers: settings.peers.len(),
            peer_owed_max: settings.limits.peer_outbox_bytes_max,
            expire_after: settings.limits.expire_after,
            server: Server::new(settings),
            clock: Clock::new(started, ahead_ms),
            wheel: TimerWheel::new(),
            scan: DeadlineScan::default(),
            out: Outputs::default(),
            deferred: VecDeque::new(),
            is_catching_up: false,
            pipes: Pipes::default(),
            unfinished: VecDeque::new(),
            buffers: BufferPool::default(),
            acts: Vec::new(),
            stamps: Vec::new(),
            timers_fired: 0,
            inputs: 0,
            walked: 0,
            journal: None,
            told: Vec::new(),
            disk_steps: 0,
            follower: None,
        }
    }

    /// Somebody follows from now on.
    pub fn be_followed(&mut self, seed: u64) {
        self.server.watch();
        self.follower = Some(Box::new(Follower::new("sim", seed)));
    }

    /// Who follows reads all that is still to be told, and goes.
    ///
    /// # Errors
    /// I16.
    pub fn end_following(&mut self) -> Result<(), Violation> {
        let now = self.clock.now.monotonic;
        self.follower.take().map_or(Ok(()), |mut it| it.finish(&self.server, now))
    }

    /// Tells who follows what an input has changed.
    fn tell_follower(&mut self) {
        let Some(follower) = &mut self.follower else { return };
        let now = self.clock.now.monotonic;
        follower.note(&self.server, &self.out, now);
        if let Err(broken) = follower.read(&self.server, now) {
            self.acts.push(Act::Broken(broken));
        }
    }

    // ---- what the world tells ----

    /// The world's time, before anything else is said.
    pub fn set_time(&mut self, now: Duration) {
        self.clock.set(now);
        self.inputs = 0;
    }

    /// The clock of the day is set.
    pub fn step_clock(&mut self, by_ms: i64) {
        self.clock.step(by_ms);
    }

    pub fn start(&mut self) {
        self.tell(Input::Started);
    }

    /// What is known of a client.
    pub fn look_up(&self, client: &[u8]) -> Option<Report<'_>> {
        self.server.look_up(client, self.clock.now)
    }

    /// Whether this server is one of those that hold what all servers know of a client.
    pub fn holds_part_of(&self, client: &[u8]) -> bool {
        let settings = self.server.settings();
        let part = self.server.part_of(client);
        let engine = settings.engine.as_ref();
        engine.is_none_or(|engine| engine.parts.is_holder(&settings.name, part))
    }

    /// Whether this server hears all that another one hears first: it is in the same region.
    pub fn hears_of(&self, server: &[u8]) -> bool {
        let engine = self.server.settings().engine.as_ref();
        engine.is_none_or(|engine| engine.regions.iter().all(|it| !it.has(server)))
    }

    /// Somebody has a client forgotten.
    pub fn erase(&mut self, client: &[u8]) {
        // It takes a stamp also if there is no room for it: what is heard next comes behind that.
        self.stamps.push(self.clock.posix_nanos());
        self.tell(Input::Erase { client });
    }

    /// No more commands are taken: clients get the answers that they wait for, and are let go.
    pub fn dismiss_clients(&mut self) {
        self.tell(Input::Draining);
        self.conns().into_iter().for_each(|conn| self.dismiss(conn));
        self.serve_unfinished();
    }

    pub fn has_clients(&self) -> bool {
        !self.clients().is_empty()
    }

    pub fn leave(&mut self) {
        self.tell(Input::Leaving);
    }

    /// Loses every connection that is left.
    pub fn lose_all(&mut self) {
        self.conns().into_iter().for_each(|conn| self.lose(conn));
    }

    pub fn accept(&mut self, conn: ConnId) {
        self.admit(conn);
        self.tell(Input::Accepted { conn });
    }

    pub fn connected(&mut self, peer: PeerId, conn: ConnId) {
        self.admit(conn);
        self.tell(Input::Connected { peer, conn });
    }

    pub fn dial_failed(&mut self, peer: PeerId) {
        self.tell(Input::DialFailed { peer });
    }

    /// A question was answered.
    pub fn answer(&mut self, ticket: Ticket, body: &[u8]) {
        self.tell(Input::PlacesArrived { ticket, body });
        self.serve_unfinished();
    }

    /// Bytes have come.
    pub fn arrive(&mut self, conn: ConnId, bytes: &[u8]) {
        self.stir(conn);
        let Some(pipe) = self.pipes.0.get_mut(&conn) else { return };
        pipe.arrived.extend_from_slice(bytes);
        pipe.session.flags.readable |= !bytes.is_empty();
        self.queue_if_unfinished(conn);
        self.serve_unfinished();
    }

    /// The far end will send no more.
    pub fn end(&mut self, conn: ConnId) {
        let Some(pipe) = self.pipes.0.get_mut(&conn) else { return };
        pipe.has_ended = true;
        (pipe.session.flags.readable, pipe.session.flags.read_on) = (true, true);
        self.queue_if_unfinished(conn);
        self.serve_unfinished();
    }

    /// The connection is gone.
    pub fn lose(&mut self, conn: ConnId) {
        self.bury(conn);
        self.tell_deferred();
    }

    /// Does what is due: timers of the core, then deadlines of sessions.
    pub fn expire(&mut self) {
        let mut fired = Vec::new();
        self.wheel.expire(self.clock.now.monotonic, &mut fired);
        self.timers_fired += fired.len() as u64;
        fired.into_iter().for_each(|timer| self.tell(Input::TimerFired { timer }));
        let conns = self.conns();
        let places = self.scan.advance(self.moment(), conns.len());
        let looked_at = conns.into_iter().skip(places.start).take(places.len());
        looked_at.for_each(|conn| self.check_deadline(conn));
        self.tell_deferred();
        self.serve_unfinished();
    }

    /// In the world's time.
    pub fn next_deadline(&self) -> Option<Duration> {
        let deadlines = [self.wheel.next_deadline(), self.scan.next_deadline()];
        deadlines.into_iter().flatten().min().map(|deadline| self.clock.in_world(deadline))
    }

    /// Gives up to `room` bytes of a connection's outbox to the kernel.
    pub fn flush(&mut self, conn: ConnId, room: usize) -> Vec<u8> {
        let now = self.moment();
        self.settle(conn);
        self.stir(conn);
        let Some(session) = self.pipes.session(conn) else { return Vec::new() };
        let sent = session.to_send(room).to_vec();
        session.sent(sent.len(), now);
        session.end_writing(session.free_bytes() > 0);
        let next = session.after_write(&mut self.buffers, HIGH_WATER);
        self.note_told(conn, &sent);
        self.written(conn, sent.len(), next);
        self.tell_if_drained(conn);
        self.tell_deferred();
        self.serve_unfinished();
        sent
    }

    // ---- what the world asks ----

    /// Connections that something is to be sent to.
    pub fn owing(&self) -> Vec<ConnId> {
        let owing = self.pipes.0.iter().filter(|(_, pipe)| pipe.session.queued_bytes() > 0);
        owing.map(|(&conn, _)| conn).collect()
    }

    /// Bytes in a connection's outbox.
    pub fn owed(&self, conn: ConnId) -> usize {
        self.pipes.0.get(&conn).map_or(0, |pipe| pipe.session.queued_bytes())
    }

    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    pub fn timers_fired(&self) -> u64 {
        self.timers_fired
    }

    /// When client reports were received since the last call, on its own clock, in nanoseconds.
    pub fn take_stamps(&mut self) -> Vec<i128> {
        std::mem::take(&mut self.stamps)
    }

    /// The clock was seen to be behind what it had shown, by seconds.
    pub fn was_set_back(&self) -> bool {
        self.clock.was_set_back
    }

    /// For how long a report has been over on this server's clock, in nanoseconds; less than
    /// nothing if it is not over, `None` if none ever is.
    pub fn over_for(&self, report: &Report<'_>) -> Option<i128> {
        self.expire_after.map(|after| self.clock.over_for(report, after))
    }

    // ---- the pipes ----

    fn moment(&self) -> Moment {
        Moment::at(self.clock.now.monotonic)
    }

    fn conns(&self) -> Vec<ConnId> {
        self.pipes.0.keys().copied().collect()
    }

    fn admit(&mut self, conn: ConnId) {
        let session = Session::new(conn, Phase::Open, self.moment());
        let (arrived, leaving, has_ended) = (Vec::new(), Vec::new(), false);
        let quiet_since = self.clock.now.monotonic;
        self.pipes.0.insert(conn, Pipe { session, arrived, has_ended, leaving, quiet_since });
        self.check_deadline(conn);
    }
}
